"""Counts of tests: those derived from the tests that were sent, and those that the runner gave itself.

Given counts are used if they cover at least as many tests as were sent ("Counts that are given win over a
partial ``tests`` list", docs/protocol.md). A failure in either of them always remains visible.
"""

from __future__ import annotations

from collections.abc import Iterable

from pytest_tms import wire
from pytest_tms.errors import Problem

NONE = wire.Counts()
PARTS = ("passed", "failed", "skipped")
"""Every test is one of these."""


def complete(reported: wire.ReportedCounts | None, derived: wire.Counts = NONE) -> wire.Counts | None:
    """Return given counts, with missing ones taken from ``derived``; None if none were given.

    If the total is given, the first missing one of passed, failed and skipped is the remainder.
    """
    if reported is None or all(value is None for value in _values(reported)):
        return None
    parts = {name: getattr(reported, name) for name in PARTS}
    missing = [name for name in PARTS if parts[name] is None]
    left = None if reported.total is None else reported.total - sum(parts[name] or 0 for name in PARTS)
    for name in reversed(missing):
        counted = getattr(derived, name)
        if left is not None:
            counted = left if name == missing[0] else min(counted, left)
            left -= counted
        parts[name] = counted
    flaky = derived.flaky if reported.flaky is None else reported.flaky
    return wire.Counts(total=sum(parts.values()), flaky=min(flaky, parts["passed"]), **parts)


def problems(reported: wire.ReportedCounts | None, path: str) -> list[Problem]:
    """Return the contradictions: passed + failed + skipped must be total, and flaky at most passed."""
    if reported is None:
        return []
    found = []
    parts = [part for part in (reported.passed, reported.failed, reported.skipped) if part is not None]
    if reported.total is not None and (
        sum(parts) > reported.total or (len(parts) == 3 and sum(parts) != reported.total)
    ):
        found.append(Problem(f"{path}.total", f"Must be passed + failed + skipped, which is {sum(parts)}"))
    if reported.flaky is not None and reported.passed is not None and reported.flaky > reported.passed:
        found.append(Problem(f"{path}.flaky", "Must be at most passed, which it is a part of"))
    return found


def effective(derived: wire.Counts, reported: wire.Counts | None) -> wire.Counts:
    """Return the counts to show: the given ones unless more tests were sent than they cover.

    The failures are the larger number of both.
    """
    if reported is None:
        return derived
    if reported.total >= derived.total:
        return with_failures(reported, derived.failed)
    return with_failures(derived, reported.failed)


def with_failures(counts: wire.Counts, failed: int) -> wire.Counts:
    """Return the counts with at least ``failed`` failures, taken from passed, then from skipped.

    The total grows only if these are too few.
    """
    if failed <= counts.failed:
        return counts
    missing = failed - counts.failed
    from_passed = min(missing, counts.passed)
    from_skipped = min(missing - from_passed, counts.skipped)
    passed, skipped = counts.passed - from_passed, counts.skipped - from_skipped
    return wire.Counts(
        total=passed + failed + skipped,
        passed=passed,
        failed=failed,
        skipped=skipped,
        flaky=min(counts.flaky, passed),
    )


def add(counts: Iterable[wire.Counts]) -> wire.Counts:
    """Return the sum of counts, limited to what databases and JSON readers can represent."""
    sums = map(sum, zip(*map(_values, counts), strict=True))
    kept = (max(0, min(number, wire.MAX_COUNT)) for number in sums)
    return wire.Counts(**dict(zip(NONE.__struct_fields__, kept, strict=False)))


def change(before: wire.Counts, after: wire.Counts) -> wire.Counts:
    """Return ``after`` minus ``before``, to update a sum that contains ``before``; values may be negative."""
    return wire.Counts(
        **{name: getattr(after, name) - getattr(before, name) for name in NONE.__struct_fields__}
    )


def _values(counts: wire.Counts | wire.ReportedCounts) -> tuple[int, ...]:
    return tuple(getattr(counts, name) for name in NONE.__struct_fields__)
