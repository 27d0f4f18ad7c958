"""Words of test runners for outcomes, in addition to passed, failed and skipped."""

from __future__ import annotations

import re
from collections.abc import Iterable

from pytest_tms import wire

FAILED_WORDS = {
    **dict.fromkeys(
        ("fail", "failed", "failure", "failing", "ko", "nok", "not ok", "unsuccessful"), "failed"
    ),
    **dict.fromkeys(("error", "errored", "errors", "broken", "not runnable", "notrunnable"), "error"),
    **dict.fromkeys(("crash", "crashed"), "crashed"),
    **dict.fromkeys(
        ("blocked", "aborted", "timeout", "timedout", "timed out", "killed", "interrupted", "ambiguous"), None
    ),
}
"""Words of a test that failed, with the outcome; None stands for the word itself."""
SKIPPED_WORDS = {
    *("skipped", "skip", "ignored", "disabled", "notrun", "pending", "todo", "inconclusive"),
    *("ignore", "suppressed", "excluded", "filtered", "deselected", "undefined", "untested", "cancelled"),
    *("canceled", "not run", "not executed", "notexecuted", "not started"),
}
"""Words of a test that was not run."""


def outcome_of_words(words: Iterable[str]) -> tuple[wire.TestStatus, str] | None:
    """Return status and outcome of a test that a report describes by these words.

    None if no word says that it failed or was skipped. A word for a failure takes
    precedence over one for a skip.
    """
    found = [" ".join(re.split(r"[\s_-]+", word.strip().lower())) for word in words if word]
    for word in found:
        if word in FAILED_WORDS:
            return "failed", FAILED_WORDS[word] or word.replace(" ", "")
    return ("skipped", "skipped") if not SKIPPED_WORDS.isdisjoint(found) else None
