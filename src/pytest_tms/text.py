"""Text from tests, made fit to travel: valid Unicode, of bounded length."""

from __future__ import annotations


def clean(text: str, *, limit: int = 0) -> str:
    """``text`` with lone surrogates as escapes, cut in the middle to ``limit`` characters (0: never)."""
    if limit and len(text) > limit:
        head = limit // 2
        tail = limit - head
        text = f"{text[:head]}\n… {len(text) - limit} characters left out …\n{text[-tail:]}"
    if text.isascii():
        return text
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def stopped_early(not_run: int, expected: int | None) -> str:
    """Return how many tests did not run, in words."""
    of_all = f" of {expected:,}" if expected else ""
    return f"stopped early: {not_run:,}{of_all} did not run"


def is_notable_exit(exit_status: int | None, failed: int) -> bool:
    """Return whether an exit status says more than the tests do: 0 is none failed, 1 is that some did."""
    return exit_status is not None and exit_status != (1 if failed else 0)


def first_line(text: str, *, limit: int = 1000) -> str:
    """The first line of ``text`` that says anything, at most ``limit`` characters of it."""
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    return clean(line if len(line) <= limit else f"{line[: limit - 1]}…")
