"""Results as they are stored: from the messages that carry them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from pytest_tms import wire
from pytest_tms.server.domain import test_keys
from pytest_tms.server.domain.case_ids import case_ids
from pytest_tms.server.domain.column_values import without_nul
from pytest_tms.server.domain.failure_causes import FailureCause, cause_of
from pytest_tms.server.domain.page_details import details

MAX_ERROR = 1000
"""Characters of an error that lists show."""
MAX_WORD = 100
"""Characters of an outcome, or of a worker's name, that lists show."""
MAX_NODE_ID = 2_000
"""Characters of a node id that are kept."""
MAX_OWNER = 200
"""Characters of an owner that are kept."""
MAX_TAGS = 50
"""Tags of a test that are kept, each of ``MAX_WORD`` characters."""
MAX_RETRIES = 2**31 - 1
"""The largest number of a column for small ones."""


class SetupRow(NamedTuple):
    """The setup of a shared fixture: see ``wire.SharedSetup``. ``duration`` is in milliseconds."""

    scope: str
    node: str
    fixture: str
    duration: int


class ResultRow(NamedTuple):
    """One result as it was sent.

    ``outcome`` is None if it says the same as ``status``. ``started_at`` is milliseconds since 1970.
    ``document`` is its JSON text, ``details`` the JSON text of what lists show of a failed test. ``cause`` is
    that of a failed test. ``node_id`` and ``owner`` are empty if they were not sent; ``tags`` and ``cases``
    are JSON lists. ``is_quarantined`` is whether a failure did not fail the run.
    """

    test_key: str
    status: wire.TestStatus
    outcome: str | None
    title: str
    file: str
    duration: int
    retries: int
    started_at: int | None
    worker: str | None
    error: str | None
    document: str
    details: str | None
    cause: FailureCause | None = None
    node_id: str = ""
    owner: str = ""
    tags: str = "[]"
    is_quarantined: bool = False
    cases: str = "[]"
    setups: tuple[SetupRow, ...] = ()


def result_rows(tests: Sequence[wire.TestResult], documents: Sequence[str]) -> list[ResultRow]:
    """Return the tests of one message as they are stored, beside the JSON text of each."""
    return [
        result_row(key, test, document)
        for key, test, document in zip(test_keys.keys(tests), tests, documents, strict=True)
    ]


def result_row(key: str, test: wire.TestResult, document: str) -> ResultRow:
    """Return one test as it is stored, under its key."""
    return ResultRow(
        key,
        test.status,
        None if test.outcome is None or test.outcome == test.status else without_nul(test.outcome[:MAX_WORD]),
        without_nul(test.title),
        without_nul(test.file or ""),
        round(test.duration or 0),
        min(test.retries or 0, MAX_RETRIES),
        _milliseconds(test.started_at),
        None if test.worker is None else without_nul(test.worker[:MAX_WORD]),
        None if test.error is None else without_nul(test.error[:MAX_ERROR]),
        document,
        msgspec.json.encode(details(test)).decode() if test.status == "failed" else None,
        cause_of(test),
        without_nul((test.node_id or "")[:MAX_NODE_ID]),
        without_nul((test.owner or "").strip()[:MAX_OWNER]),
        _tags(test.tags) if test.tags else "[]",
        bool(test.quarantined) and test.status == "failed",
        case_ids(test.properties) if test.properties else "[]",
        _setups(test.shared_setups) if test.shared_setups else (),
    )


def _setups(setups: Sequence[wire.SharedSetup]) -> tuple[SetupRow, ...]:
    return tuple(
        SetupRow(
            setup.scope,
            without_nul(setup.node[:MAX_NODE_ID]),
            without_nul(setup.fixture[:MAX_NODE_ID]),
            round(setup.duration),
        )
        for setup in setups
    )


def _tags(tags: Sequence[str]) -> str:
    text = msgspec.json.encode(tags).decode()
    if len(text) <= MAX_WORD and "\\u0000" not in text:  # nothing to shorten or replace
        return text
    return msgspec.json.encode([without_nul(tag[:MAX_WORD]) for tag in tags[:MAX_TAGS]]).decode()


def _milliseconds(time: str | None) -> int | None:
    try:
        return None if time is None else round(wire.parse_time(time).timestamp() * 1000)
    except (ValueError, OverflowError):
        return None
