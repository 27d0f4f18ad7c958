"""The verdict of an execution: one sentence, and the kind of outcome that its colour and icon show."""

from __future__ import annotations

from typing import Literal, NamedTuple

from pytest_tms import wire
from pytest_tms.text import stopped_early

VerdictKind = Literal["passed", "failed", "running", "cancelled", "skipped", "none"]
"""``skipped`` and ``none`` are executions that neither passed nor failed."""
SYMBOLS: dict[VerdictKind, str] = {"passed": "✓", "failed": "✗", "running": "●", "cancelled": "■"}
"""Symbols for titles of pages, by kind; a circle for the others."""


class Verdict(NamedTuple):
    """The heading of an execution; ``kind`` is the CSS class that gives its colour."""

    kind: VerdictKind
    title: str

    @property
    def symbol(self) -> str:
        """The symbol of the kind, for the title of a page."""
        return SYMBOLS.get(self.kind, "○")

    @property
    def favicon(self) -> str:
        """The name of the icon of a page: passed, failed, running or none."""
        return self.kind if self.kind in ("passed", "failed", "running") else "none"


def verdict(
    status: wire.ExecutionState,
    counts: wire.Counts,
    not_run: int = 0,
    expected: int | None = None,
    *,
    new: int | None = None,
    known: int | None = None,
    quarantined: int = 0,
    cancelled_by: str = "",
) -> Verdict:
    """Return the verdict of an execution.

    ``expected`` is the number of tests that were collected. ``new`` and ``known`` are the numbers of failures
    that the previous run did not have, and had; None if there is none. ``quarantined`` are those in
    quarantine, which are neither. ``cancelled_by`` names the person.
    """
    more = [_failures(counts.failed, new, known, quarantined)] if counts.failed else []
    if not_run:
        more.append(stopped_early(not_run, expected))
    if status == "cancelled":
        first = f"Cancelled by {cancelled_by}" if cancelled_by else "Cancelled"
        return Verdict("cancelled", ", ".join([first, *more]))
    if status == "failed":
        return Verdict("failed", ", ".join(["The run failed", *more]))
    if status == "completed":
        if more:
            title = ", ".join(more)
            return Verdict("failed" if counts.failed else "none", title[0].upper() + title[1:])
        if not counts.total:
            return Verdict("none", "No tests ran")
        if not counts.passed:
            return Verdict("skipped", "All tests were skipped")
        title = "All tests passed"
        if counts.flaky:
            title += f", {counts.flaky:,} of them flaky"
        return Verdict("passed", title)
    state = "Running" if status == "running" else "Waiting for the first shard"
    return Verdict("failed" if counts.failed else "running", ", ".join([state, *more]))


def _failures(failed: int, new: int | None, known: int | None, quarantined: int) -> str:
    """Return the number of failures, and how many of them are new if that is known of all."""
    title = f"{failed:,} {'test' if failed == 1 else 'tests'} failed"
    if quarantined >= failed:
        return f"{title}, {'in quarantine' if failed == 1 else 'all in quarantine'}"
    if quarantined:
        parts = [f"{new:,} new"] if new else []
        parts += [f"{known:,} known"] if known else []
        return f"{title}: {', '.join([*parts, f'{quarantined:,} in quarantine'])}"
    if new is None or known is None or new + known != failed:
        return title
    if not known:
        return f"{title}: {'new' if failed == 1 else 'all new'} since the previous run"
    if not new:
        return f"{title}: {'known' if failed == 1 else 'all known'} from the previous run"
    return f"{title}: {new:,} new, {known:,} known"
