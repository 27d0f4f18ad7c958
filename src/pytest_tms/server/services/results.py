"""Submitted results: the tests of a shard that has ended."""

from __future__ import annotations

from functools import partial
from typing import Any

import msgspec
from sqlalchemy import Connection

from pytest_tms import wire
from pytest_tms.server.domain import clock, page_details
from pytest_tms.server.domain.actors import Caller
from pytest_tms.server.domain.column_values import without_nul
from pytest_tms.server.domain.executions import Shard
from pytest_tms.server.domain.ids import new_id
from pytest_tms.server.domain.result_rows import result_rows
from pytest_tms.server.domain.urls import Urls
from pytest_tms.server.services import shard_reports
from pytest_tms.server.services.execution_changes import save_execution
from pytest_tms.server.services.idempotency import IdempotentRequest
from pytest_tms.server.services.shard_assignment import ReportSource
from pytest_tms.server.services.shard_reports import ShardReport
from pytest_tms.server.settings import ServerSettings
from pytest_tms.server.store import artifacts, executions, queues, results
from pytest_tms.server.store.database import Database
from pytest_tms.server.store.results import Submission
from pytest_tms.server.webhooks.delivery_worker import DeliveryWorker


def submit_results(
    database: Database,
    settings: ServerSettings,
    submission: wire.ResultsSubmission[msgspec.Raw],
    tests: list[wire.TestResult],
    documents: list[str],
    fields: dict[str, msgspec.Raw],
    *,
    urls: Urls,
    delivery_worker: DeliveryWorker,
    idempotency: IdempotentRequest,
    caller: Caller,
) -> wire.SubmissionAccepted:
    """Store the tests of a shard and its end, and the end of the execution if this was its last shard.

    ``documents`` are the JSON texts of the ``tests``, ``fields`` all other fields of the submission as sent.

    Raises:
        NotFound: The execution does not exist.
        Forbidden: The caller has no access to its environment.
    """
    rows = result_rows(tests, documents)
    hashes = {each.sha256 for test in tests for each in page_details.artifacts(test) if each.sha256}
    now = clock.now()
    then = clock.reported_time(submission.happened_at, now)
    stored = Submission(
        id=new_id("sub"),
        execution_id=submission.execution_id,
        shard_id=without_nul(submission.shard_id),
        received_at=now,
        tests=len(rows),
        document=msgspec.json.encode(fields).decode(),
        files=_files(fields.get("artifacts")),
    )
    with database.write() as connection:
        if earlier := idempotency.recall(connection, wire.SubmissionAccepted):
            return earlier
        before = executions.lock(connection, submission.execution_id)
        caller.require_access([before.environment])
        if submission.runner is not None:
            before = before.without_start_timeout()
        if submission.runner is not None and before.queue_state is not None:
            queues.renew(connection, before.number, without_nul(submission.runner), now)
        execution = before.with_status("running", then) if before.status == "created" else before
        report = ShardReport(
            source=ReportSource(
                shard_id=without_nul(submission.shard_id),
                runner=None if submission.runner is None else without_nul(submission.runner),
                starts_new_attempt=partial(_starts_new_attempt, connection, stored, submission.status),
            ),
            message=submission,
            rows=rows,
            is_end=True,
            status=submission.status,
            duration=_duration(submission.metadata or {}),
        )
        reported = shard_reports.store(
            connection, execution, report, now, then, settings.shard_silence * 1000
        )
        results.add_submission(connection, stored._replace(shard_id=reported.after.shard_id))
        change = (reported.before, reported.after)
        execution, deliveries = save_execution(
            connection, urls, before, reported.execution.timed(now), [change], now
        )
        response = wire.SubmissionAccepted(
            submission_id=stored.id,
            execution_id=execution.id,
            shard_id=submission.shard_id if submission.runner is None else reported.after.shard_id,
            processed_at=clock.timestamp(now),
            summary=wire.SubmissionSummary(
                tests_processed=len(rows),
                artifacts_uploaded=len(artifacts.uploaded(connection, execution.id, hashes)),
                webhooks_triggered=deliveries,
            ),
        )
        idempotency.keep(connection, response)
    if deliveries:
        delivery_worker.wake()
    return response


def _files(named: msgspec.Raw | None) -> str:
    """Return the JSON text of the files that a page shows of a submission's artifacts."""
    kinds = {} if named is None else msgspec.json.decode(named, type=dict[str, msgspec.Raw] | None)
    return msgspec.json.encode(page_details.files(kinds or {})).decode()


def _duration(metadata: dict[str, Any]) -> int | None:
    """Return the milliseconds that a shard took: its ``duration``, or the time from its start to its end."""
    duration = metadata.get("duration")
    if (
        isinstance(duration, (int, float))
        and not isinstance(duration, bool)
        and 0 <= duration <= wire.MAX_COUNT
    ):
        return round(duration)
    try:
        span = wire.parse_time(metadata["endTime"]) - wire.parse_time(metadata["startTime"])
    except (KeyError, TypeError, ValueError):
        return None
    return max(0, round(span.total_seconds() * 1000))


def _starts_new_attempt(connection: Connection, stored: Submission, status: str | None, shard: Shard) -> bool:
    """Return whether a submission without a runner is another attempt of a shard.

    It is if the shard was cancelled, the submission says that it ended otherwise, and it is not a repetition.
    """
    return (
        shard.status == "cancelled"
        and status not in (None, "cancelled")
        and not results.has_submission(connection, stored)
    )
