"""CTRF, the Common Test Report Format (https://ctrf.io), version 1.0.0."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

import msgspec

from pytest_tms.exports.fields import (
    CHUNK_BYTES,
    mapping,
    number,
    objects,
    retries_of,
    status_of,
    text,
    texts,
    title_of,
)
from pytest_tms.wire.base import parse_time
from pytest_tms.wire.executions import ExecutionStatus

CONTENT_TYPES = {"screenshot": "image/png", "video": "video/webm", "trace": "application/zip"}
"""Content types by kind of an artifact; that of other kinds is ``application/octet-stream``."""

EXTRA = ("nodeId", "owner", "properties", "log", "sections", "quarantined")
"""Fields that CTRF does not have."""


def write_ctrf(execution: ExecutionStatus, tests: Iterable[Mapping[str, Any]]) -> Iterator[bytes]:
    """Yield a CTRF document, whose summary has the totals of the execution."""
    encoder = msgspec.json.Encoder()
    head = encoder.encode(_head(execution))
    buffer = bytearray(head[:-2] + b',"tests":[')  # inside the object ``results``
    separator = b"\n"
    for test in tests:
        buffer += separator + encoder.encode(_test(test))
        separator = b",\n"
        if len(buffer) >= CHUNK_BYTES:
            yield bytes(buffer)
            buffer.clear()
    yield bytes(buffer + b"\n]}}\n")


def _head(execution: ExecutionStatus) -> dict[str, Any]:
    """Return the document without its tests; the object ``results`` is its last member."""
    counts, progress = execution.results, execution.progress
    start = _epoch(progress.started_at or execution.created_at)
    stop = _epoch(progress.completed_at or "") or start + (progress.duration or 0)
    return {
        "reportFormat": "CTRF",
        "specVersion": "1.0.0",
        "generatedBy": "pytest-tms",
        "results": {
            "tool": {"name": execution.provider or "custom"},
            "summary": {
                "tests": counts.total,
                "passed": counts.passed,
                "failed": counts.failed,
                "skipped": counts.skipped,
                "pending": 0,
                "other": 0,
                "flaky": counts.flaky,
                "start": start,
                "stop": stop,
            },
            "environment": {
                "testEnvironment": execution.environment,
                "extra": {
                    "executionId": execution.execution_id,
                    "testSuite": execution.test_suite,
                    **execution.metadata,
                },
            },
        },
    }


def _test(test: Mapping[str, Any]) -> dict[str, Any]:
    status = status_of(test)
    start, duration = _epoch(text(test, "startedAt")), max(0, number(test, "duration") or 0)
    retries = retries_of(test)
    attempts = objects(test, "attempts")
    found = {
        "name": title_of(test),
        "status": status,
        "duration": duration,
        "start": start,
        "stop": start + duration if start else 0,
        "message": text(test, "error"),
        "trace": text(test, "longrepr"),
        "rawStatus": text(test, "outcome"),
        "tags": texts(test, "tags"),
        "filePath": text(test, "file"),
        "retries": retries,
        "flaky": status == "passed" and retries > 0,
        "stdout": text(test, "stdout").splitlines(),
        "stderr": text(test, "stderr").splitlines(),
        "threadId": text(test, "worker"),
        "parameters": mapping(test, "parameters"),
        "steps": [{"name": title_of(each), "status": status_of(each)} for each in objects(test, "subtests")],
        "attachments": _attachments(test),
        "retryAttempts": [_attempt(each, count) for count, each in enumerate(attempts, 1)],
        "extra": {name: test[name] for name in EXTRA if test.get(name)},
    }
    return {
        name: value
        for name, value in found.items()
        if value or name in ("name", "status", "duration")  # the required members
    }


def _attempt(attempt: Mapping[str, Any], attempt_number: int) -> dict[str, Any]:
    word = text(attempt, "outcome")
    found = {
        "attempt": attempt_number,
        "status": {"passed": "passed", "xpassed": "passed", "skipped": "skipped", "xfailed": "skipped"}.get(
            word, "failed"
        ),
        "rawStatus": word,
        "duration": max(0, number(attempt, "duration") or 0),
        "start": _epoch(text(attempt, "startedAt")),
        "message": text(attempt, "error"),
        "trace": text(attempt, "longrepr"),
        "stdout": text(attempt, "stdout").splitlines(),
        "stderr": text(attempt, "stderr").splitlines(),
        "attachments": _attachments(attempt),
    }
    return {name: value for name, value in found.items() if value}


def _attachments(item: Mapping[str, Any]) -> list[dict[str, str]]:
    return [
        {
            "name": text(each, "name") or text(each, "path"),
            "contentType": text(each, "contentType")
            or CONTENT_TYPES.get(text(each, "kind"), "application/octet-stream"),
            "path": text(each, "path"),
        }
        for each in objects(item, "artifacts")
        if text(each, "path")
    ]


def _epoch(time: str) -> int:
    """Return a time as milliseconds after the start of 1970; 0 if it is not a time."""
    try:
        moment: datetime = parse_time(time)
        return max(0, round(moment.timestamp() * 1000))
    except (ValueError, OverflowError, OSError):
        return 0
