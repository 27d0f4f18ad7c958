"""Status, outcome and attempts of a test case."""

from __future__ import annotations

from pytest_tms import wire
from pytest_tms.cli.formats.durations import milliseconds
from pytest_tms.cli.formats.junit.dialects import (
    FAILED,
    RERUN,
    RETRIED,
    SKIPPED,
)
from pytest_tms.cli.formats.junit.elements import Case, Detail
from pytest_tms.cli.formats.status_words import outcome_of_words
from pytest_tms.text import first_line

MAX_ATTEMPTS = 100
"""Attempts of one test that are kept, the newest."""


def outcome_of(case: Case) -> tuple[wire.TestStatus, str, Detail | None]:
    """Return the status, the outcome, and the detail that decides them.

    A failure takes precedence over a skip, and a detail over the value of an attribute.
    """
    if case.details:
        for detail in case.details:
            if detail.tag in FAILED:
                return "failed", FAILED[detail.tag], detail
        if reruns := case.named(RERUN):
            return "failed", RERUN[reruns[-1].tag], reruns[-1]
        for detail in case.named(SKIPPED):
            is_xfail = detail.attributes.get("type") == "pytest.xfail"
            return "skipped", "xfailed" if is_xfail else "skipped", detail
    words = (case.attributes.get(name) for name in ("status", "result", "outcome"))
    found = outcome_of_words(word for word in words if word)
    if found is not None and found[0] == "failed":
        return *found, None
    attributes = case.attributes
    is_not_executed = attributes.get("executed", "").lower() == "false"
    if attributes.get("success", "").lower() == "false" and not is_not_executed:
        return "failed", "failed", None
    if is_not_executed or found is not None:
        return "skipped", "skipped", None
    return "passed", "passed", None


def error_of_attributes(case: Case, status: wire.TestStatus) -> str | None:
    """Return why a test without a detail for it failed: the attributes that say so."""
    if status != "failed":
        return None
    named = [
        f"{name}={case.attributes[name]!r}"
        for name in ("status", "result", "outcome", "success")
        if name in case.attributes
    ]
    return first_line(" ".join(named)) or None


def attempts_of(case: Case, outcome: str) -> tuple[list[wire.Attempt], int]:
    """Return the attempts of a test that was tried several times, and how many followed the first."""
    retried = case.named(RETRIED) if case.details else []
    if not retried:
        return [], 0
    attempts = [_attempt(each) for each in retried[-MAX_ATTEMPTS:]]
    if failures := case.named(FAILED):  # the failure is the first attempt, the reruns follow it
        return [_attempt(failures[0]), *attempts], len(retried)
    if case.named(RERUN):
        return attempts, len(retried) - 1
    return [*attempts, wire.Attempt(outcome=outcome)], len(retried)


def _attempt(detail: Detail) -> wire.Attempt:
    return wire.Attempt(
        outcome=RETRIED.get(detail.tag) or FAILED[detail.tag],
        duration=milliseconds(detail.attributes.get("time") or detail.attributes.get("duration")),
        error=detail.error,
        longrepr=detail.longrepr or None,
    )
