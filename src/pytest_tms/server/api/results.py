"""POST /results: a shard's tests and how it ended."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec
from sqlalchemy import Connection

from pytest_tms import calls, wire
from pytest_tms.server.api import authentication
from pytest_tms.server.api.authentication import Caller
from pytest_tms.server.api.idempotency import IdempotencyGuard
from pytest_tms.server.api.routes import route
from pytest_tms.server.api.validation import decode_results, happened
from pytest_tms.server.domain.column_values import plain
from pytest_tms.server.domain.executions import Shard
from pytest_tms.server.domain.ids import new_id
from pytest_tms.server.domain.page_details import files
from pytest_tms.server.domain.result_rows import ResultRow, result_rows
from pytest_tms.server.domain.urls import Urls
from pytest_tms.server.services import shard_reports
from pytest_tms.server.services.claims import Origin
from pytest_tms.server.services.shard_reports import ShardReport
from pytest_tms.server.settings import ServerSettings
from pytest_tms.server.store import executions, results
from pytest_tms.server.store.database import Database
from pytest_tms.server.store.results import Submission
from pytest_tms.server.webhooks.delivery_worker import DeliveryWorker
from pytest_tms.server.webhooks.outbox import announce


@route(calls.SUBMIT_RESULTS)
def submit_results(
    body: bytes,
    database: Database,
    settings: ServerSettings,
    addresses: Urls,
    worker: DeliveryWorker,
    once: IdempotencyGuard,
    caller: Caller,
) -> wire.SubmissionAccepted:
    """Keep a shard's tests, close the shard, and complete the execution where it was the last one."""
    submission, tests, texts, rest = decode_results(body)
    rows = result_rows(tests, texts)
    now = authentication.now()
    then = happened(submission.happened_at, now)
    kept = Submission(
        id=new_id("sub"),
        execution_id=submission.execution_id,
        shard_id=plain(submission.shard_id),
        received_at=now,
        tests=len(rows),
        document=msgspec.json.encode(rest).decode(),
        shown=_files(rest.get("artifacts")),
    )
    with database.write() as connection:
        if earlier := once.recall(connection, body, wire.SubmissionAccepted):
            return earlier
        found = execution = executions.lock(connection, submission.execution_id)
        caller.check_reach([execution.environment])
        if submission.runner is not None:
            found = execution = execution.begun_late()
        if execution.status == "created":
            execution = execution.became("running", then)
        report = _report(submission, rows, partial(_begins_anew, connection, kept, submission.status))
        stored = shard_reports.store(connection, execution, report, now, then, settings.shard_silence * 1000)
        results.add_submission(connection, kept._replace(shard_id=stored.after.shard_id))
        execution = shard_reports.close(connection, stored.execution.timed(now), now)
        executions.save(connection, execution)
        told = announce(connection, addresses, found, execution, [(stored.before, stored.after)])
        answer = wire.SubmissionAccepted(
            submission_id=kept.id,
            execution_id=execution.id,
            shard_id=submission.shard_id if submission.runner is None else stored.after.shard_id,
            processed_at=wire.timestamp(wire.moment(now)),
            summary=wire.SubmissionSummary(
                tests_processed=len(rows),
                artifacts_uploaded=0,  # a submission names files and does not carry them
                webhooks_triggered=told,
            ),
        )
        once.keep(connection, answer)
    if told:
        worker.wake()
    return answer


def _files(artifacts: msgspec.Raw | None) -> str:
    kinds = {} if artifacts is None else msgspec.json.decode(artifacts, type=dict[str, msgspec.Raw] | None)
    return msgspec.json.encode(files(kinds or {})).decode()


def _duration(metadata: dict[str, Any]) -> int | None:
    """Milliseconds that a runner says its shard took: ``duration``, or the time from its start to its end."""
    given = metadata.get("duration")
    if isinstance(given, (int, float)) and not isinstance(given, bool) and 0 <= given <= wire.MAX_COUNT:
        return round(given)
    try:
        span = wire.parse_time(metadata["endTime"]) - wire.parse_time(metadata["startTime"])
    except (KeyError, TypeError, ValueError):
        return None
    return max(0, round(span.total_seconds() * 1000))


def _report(
    submission: wire.ResultsSubmission[msgspec.Raw],
    rows: list[ResultRow],
    begins_anew: Callable[[Shard], bool],
) -> ShardReport:
    return ShardReport(
        origin=Origin(
            shard_id=plain(submission.shard_id),
            runner=None if submission.runner is None else plain(submission.runner),
            begins_anew=begins_anew,
        ),
        told=submission,
        rows=rows,
        is_end=True,
        status=submission.status,
        duration=_duration(submission.metadata or {}),
    )


def _begins_anew(connection: Connection, kept: Submission, status: str | None, shard: Shard) -> bool:
    """Whether a submission without a runner is another attempt: it ends a cancelled shard, not repeated."""
    return (
        shard.status == "cancelled"
        and status not in (None, "cancelled")
        and not results.has_submission(connection, kept)
    )
