"""Text from tests as it can be sent: valid Unicode of bounded length; and counts in words."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_tms.wire.executions import Counts, ReportedCounts
    from pytest_tms.wire.history import ChangedTests, FailingSince, RunChanges

MAX_MESSAGE = 1000
"""Characters of a message (an error, a reason) that are kept."""

_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\))")
_COMMIT = re.compile(r"[0-9A-Za-z.-]{1,64}", re.ASCII)
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
_LONGEST_NOTE = 40
"""Characters of the note about what is left out of a message, at most."""


def clean(text: str, *, limit: int = 0) -> str:
    """Return ``text`` with lone surrogates as escapes, shortened to ``limit`` characters (0: never)."""
    if limit and len(text) > limit:
        head = limit // 2
        tail = limit - head
        text = f"{text[:head]}\n… {len(text) - limit} characters left out …\n{text[-tail:]}"
    if text.isascii():
        return text
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def text_of(value: object) -> str:
    """Return ``str(value)``; ``<TypeName>`` if a user's ``__str__`` or ``__repr__`` raises."""
    if type(value) is str:
        return value
    try:
        text = str.__str__(value) if isinstance(value, str) else str(value)
        return text if type(text) is str else str.__str__(text)
    except KeyboardInterrupt:
        raise
    except BaseException:  # pytest's own outcomes, such as pytest.fail, are not Exceptions
        return f"<{type(value).__name__}>"


def without_escapes(text: str) -> str:
    """Return ``text`` without the escape sequences of a terminal."""
    return _ESCAPES.sub("", text) if "\x1b" in text else text


def shorten(text: str, limit: int = MAX_MESSAGE) -> str:
    """Return at most ``limit`` characters of ``text``: its beginning and its end, with a note between."""
    if len(text) > limit:
        kept = limit - _LONGEST_NOTE
        head = kept // 2
        note = f" … {len(text) - kept} characters left out … "
        text = f"{text[:head]}{note}{text[head - kept :]}"
    return clean(text)


def stopped_early(not_run: int, expected: int | None) -> str:
    """Return how many tests did not run, in words."""
    of_all = f" of {expected:,}" if expected else ""
    return f"stopped early: {not_run:,}{of_all} did not run"


def is_notable_exit(exit_status: int | None, failed: int) -> bool:
    """Return whether an exit status is not the one that follows from the tests: 0 if none failed, else 1."""
    return exit_status is not None and exit_status != (1 if failed else 0)


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, as in "1 test" and "2 tests"."""
    return f"{number} {noun}{'s' * (number != 1)}"


def describe_counts(counts: ReportedCounts | Counts) -> str:
    """Return counts in words, without those that are zero."""
    named = (("failed", counts.failed), ("passed", counts.passed), ("skipped", counts.skipped))
    parts = [f"{number} {name}" for name, number in named if number]
    flaky = f" ({counts.flaky} flaky)" if counts.flaky else ""
    return (", ".join(parts) or "no tests") + flaky


def describe_changes(changes: RunChanges) -> str:
    """Return changes in words, as in "1 new, 3 known since 4f2a9c1 (2026-11-24); 2 fixed"."""
    known = changes.known_failures
    parts = [f"{changes.new_failures.count:,} new"] if changes.new_failures.count else []
    if known.count:
        parts.append(f"{known.count:,} known{_known_since(known)}")
    if changes.quarantined.count:
        parts.append(f"{changes.quarantined.count:,} in quarantine")
    others = [
        f"{some.count:,} {name}"
        for name, some in (("fixed", changes.fixed), ("flaky", changes.flaky))
        if some.count
    ]
    return "; ".join(", ".join(some) for some in (parts, others) if some)


def describe_since(since: FailingSince) -> str:
    """Return in words when a test began to fail: the commit, if it looks like one, and the day."""
    day = since.created_at[:10] if _DAY.match(since.created_at) else "an earlier run"
    commit = since.commit[:10] if _COMMIT.fullmatch(since.commit) else ""
    return f"{commit} ({day})" if commit else day


def _known_since(known: ChangedTests) -> str:
    """Return since when known failures fail; empty if some of them are not listed."""
    found = sorted(
        {test.since.execution_id: test.since for test in known.tests if test.since}.values(),
        key=lambda since: since.created_at,
    )
    if not found or len(known.tests) < known.count:
        return ""
    is_same = len(found) == 1 and all(test.since for test in known.tests)
    return f"{' ' if is_same else ', the oldest '}since {describe_since(found[0])}"


def first_line(text: str, *, limit: int = MAX_MESSAGE) -> str:
    """Return the first line of ``text`` that is not empty, at most ``limit`` characters of it."""
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    return shorten(line, limit)
