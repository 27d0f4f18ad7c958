"""Results of tests: each once per attempt of its shard; the newest attempt is the verdict.

Results of an execution are numbered in the order of arrival, and stored in that order: narrow rows in
``results``, errors and excerpts of those that did not pass in ``result_details``, and the documents as they
were sent in ``result_documents``. A result that is sent again replaces the one of the same attempt.
"""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from itertools import islice
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import ColumnElement, Connection, bindparam, func, insert, or_, select, update

from pytest_tms import wire
from pytest_tms.server.domain import attempt_documents, counts
from pytest_tms.server.domain.attempts_of_tests import (
    Merged,
    ResultVerdict,
    StoredAttempt,
    by_arrival,
    merge,
)
from pytest_tms.server.domain.executions import Execution
from pytest_tms.server.domain.failure_causes import FailureCause
from pytest_tms.server.domain.result_rows import ResultRow
from pytest_tms.server.store import bulk, failures, result_documents, sealed, series, tables, test_registry
from pytest_tms.server.store.test_registry import TestIdentity

STATUSES: tuple[wire.TestStatus, ...] = ("passed", "failed", "skipped")
"""The statuses of results; their positions are stored."""


class Submission(NamedTuple):
    """One POST /results as it is stored.

    ``document`` is its body without the tests, ``files`` the JSON text of the files that a page shows.
    """

    id: str
    execution_id: str
    shard_id: str
    received_at: int
    tests: int
    document: str
    files: str


class Change(NamedTuple):
    """What stored results changed.

    ``counts`` is to be added to those of the shard; ``new`` results are of tests that their attempt had not.
    ``others`` is to be added to the counts of other shards of a queue, whose verdicts were superseded.
    """

    counts: wire.Counts
    new: int
    others: Mapping[str, wire.Counts] = {}


class ReceivedResults(NamedTuple):
    """Results of an attempt of a shard, whose execution is locked.

    ``is_first`` says that the shard has no results yet.
    """

    execution: Execution
    shard_id: str
    attempt: int
    rows: Sequence[ResultRow]
    is_first: bool


def put(
    connection: Connection,
    execution: Execution,
    shard_id: str,
    rows: Sequence[ResultRow],
    attempt: int,
    now: int,
    *,
    is_first: bool,
) -> Change:
    """Store results of an attempt of one shard: see ``put_all``."""
    received = ReceivedResults(execution, shard_id, attempt, rows, is_first)
    return put_all(connection, [received], now)[0]


def put_all(connection: Connection, received: Sequence[ReceivedResults], now: int) -> list[Change]:
    """Store results of different shards, which arrived at ``now``; return what those of each changed.

    The newest attempt of a test is its verdict: one of an earlier attempt that arrives late is stored as
    superseded. In an execution with a queue, a test has one verdict over all shards, and the result that
    arrived last is of its newest attempt; only one shard of such an execution may be given.
    """
    changes = []
    added: dict[int, tuple[Execution, list[_NewResult]]] = {}
    removed: dict[int, Counter[int]] = {}
    identified = _identify(connection, received, now)
    stored = _stored_of_shards(connection, received, identified)
    for each, ids in zip(received, identified, strict=True):
        execution = each.execution
        earlier = stored.get((execution.number, each.shard_id), {})
        merged, holders, digests = _merge(each, ids, earlier)
        if earlier:
            removed[execution.number] = removed.get(execution.number, Counter()) + _rewrite(
                connection, execution.number, merged
            )
        added.setdefault(execution.number, (execution, []))[1].extend(
            _NewResult(each.shard_id, each.attempt, *values)
            for values in zip(each.rows, ids, digests, merged, strict=True)
            if values[-1].is_stored
        )
        changes.append(_change(each.shard_id, merged, holders) if merged else Change(counts.NONE, 0))
    causes = _insert(connection, list(added.values()))
    for (execution, _), found in zip(added.values(), causes, strict=True):
        without = removed.get(execution.number, Counter())
        failures.count(connection, execution.number, execution.project_id, found, without)
    return changes


def insert_before(connection: Connection, execution: Execution, shard_id: str, attempt: int) -> None:
    """Renumber the results of an attempt, because an earlier attempt of the shard reports later."""
    table = tables.results.c
    connection.execute(
        update(tables.results)
        .where(table.execution == execution.number, table.shard_id == shard_id, table.attempt == attempt)
        .values(attempt=attempt + 1)
    )


def page(
    connection: Connection, execution: Execution, *, status: str | None, after: int, limit: int
) -> tuple[list[dict[str, Any]], int | None]:
    """Return results as they were sent, in the order of arrival, and the cursor of the next page or None.

    ``earlierAttempts`` of a test are the documents of earlier attempts of its shard, the newest first.
    """
    table = tables.results.c
    query = (
        select(table.sequence, table.test_id, table.shard_id, table.attempt, table.document)
        .where(table.execution == execution.number, table.sequence > after, table.is_superseded.is_(False))
        .order_by(table.sequence)
        .limit(limit + 1)
    )
    if status is not None:
        query = query.where(*has_status(status))
    rows = connection.execute(query).all()
    shown = rows[:limit]
    earlier = _earlier(connection, execution, shown)
    places = {row.sequence: row.document for row in shown}
    for attempts in earlier.values():
        places.update({sequence: place for _, sequence, place in attempts})
    documents = result_documents.get(connection, execution.number, places)
    found = []
    for row in shown:
        # Fields stay JSON text, so that numbers beyond the range of Python's floats are returned unchanged.
        result = {"shardId": row.shard_id, **_FIELDS.decode(documents[row.sequence])}
        if older := earlier.get((row.test_id, _shard_of_attempts(execution, row))):
            result["earlierAttempts"] = [
                attempt_documents.bounded(documents[sequence], attempt) for attempt, sequence, _ in older
            ]
        found.append(result)
    return found, rows[limit - 1].sequence if len(rows) > limit else None


def has_status(status: str) -> list[ColumnElement[bool]]:
    """Return the conditions that select a status by its index."""
    column = tables.results.c.status
    number = STATUSES.index(status)
    return [column == number, column != tables.constant(0)] if number else [column == number]


def settled(connection: Connection, execution: Execution, shard_id: str) -> list[str]:
    """Return the node ids of a shard's tests that passed or were skipped, in the order of arrival."""
    statement = (
        "SELECT t.node_id FROM results AS r JOIN tests AS t ON t.id = r.test_id "
        "WHERE r.execution = {} AND r.shard_id = {} AND NOT r.is_superseded AND r.status <> {} "
        "AND t.node_id <> '' ORDER BY r.sequence"
    )
    rows = bulk.rows(connection, statement, (execution.number, shard_id, _CODES["failed"]))
    return [row[0] for row in rows]


def tests_duration(connection: Connection, execution: Execution, shard_id: str) -> int:
    """Return the sum of the durations of a shard's results, in milliseconds."""
    table = tables.results.c
    query = select(func.sum(table.duration)).where(
        table.execution == execution.number, table.shard_id == shard_id, table.is_superseded.is_(False)
    )
    return min(int(connection.scalar(query) or 0), wire.MAX_COUNT)


def add_submission(connection: Connection, submission: Submission) -> None:
    """Store a submission."""
    (document, files), encrypted = sealed.seal(
        connection, sealed.SUBMISSIONS, (submission.id,), (submission.document, submission.files)
    )
    values = {**submission._asdict(), "document": document, "files": files, "sealed": encrypted}
    if encrypted is not None:
        values["digest"] = sealed.digest(submission.document)
    connection.execute(insert(tables.submissions).values(**values))


def has_submission(connection: Connection, submission: Submission) -> bool:
    """Return whether a submission with the same document is stored already."""
    table = tables.submissions.c
    query = select(table.id).where(
        table.execution_id == submission.execution_id,
        table.shard_id == submission.shard_id,
        table.tests == submission.tests,
        or_(table.document == submission.document, table.digest == sealed.digest(submission.document)),
    )
    return connection.execute(query.limit(1)).one_or_none() is not None


_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_CODES = {status: number for number, status in enumerate(STATUSES)}
_COLUMNS = tuple(column.name for column in tables.results.c)
_DETAILS = tuple(column.name for column in tables.result_details.c)
_SETUPS = tuple(column.name for column in tables.shared_setups.c)
_OF_STORED = "test_id, sequence, attempt, is_superseded, digest, status, retries, failed_before, shard_id"
_BY_TEST = "ix_results_test_id"
_STORED = (
    f"SELECT {_OF_STORED} FROM {{pairs}} CROSS JOIN results "  # noqa: S608  # a constant of this module
    "WHERE execution = {} AND shard_id = pairs.one AND test_id = pairs.other"
)
_STORED_OF_ALL = f"SELECT {_OF_STORED} FROM results WHERE execution = {{}} AND test_id IN {{}}"  # noqa: S608  # the same


def _digest(document: str) -> int:
    return int.from_bytes(blake2b(document.encode(), digest_size=8).digest(), "big", signed=True)


class _NewResult(NamedTuple):
    """A result that is to be inserted; ``digest`` is that of its document."""

    shard_id: str
    attempt: int
    row: ResultRow
    test_id: int
    digest: int
    merged: Merged


def _identify(connection: Connection, received: Sequence[ReceivedResults], now: int) -> list[list[int]]:
    """Return the ids of the tests of all received results; those of a project are found at once."""
    names: dict[int, list[TestIdentity]] = {}
    for each in received:
        names.setdefault(each.execution.project_id, []).extend(
            TestIdentity(row.test_key, row.title, row.file, row.node_id, row.owner, row.tags, row.cases)
            for row in each.rows
        )
    ids = {
        project_id: iter(test_registry.identify(connection, project_id, names[project_id], now))
        for project_id in sorted(names)
        if names[project_id]
    }
    return [
        list(islice(ids[each.execution.project_id], len(each.rows))) if each.rows else [] for each in received
    ]


def _merge(
    received: ReceivedResults, ids: Sequence[int], earlier: Mapping[int, Sequence[StoredAttempt]]
) -> tuple[list[Merged], list[str], list[int]]:
    """Merge results with ``earlier`` ones of their tests.

    Return how, the shards of the verdicts before, and the digests of the documents.
    """
    merged, holders, digests = [], [], []
    for row, test_id in zip(received.rows, ids, strict=True):
        stored = earlier.get(test_id, ())
        number = received.attempt
        if received.execution.queue_state is not None:
            number, stored = by_arrival(received.shard_id, number, stored)
        digests.append(_digest(row.document))
        merged.append(merge(ResultVerdict(row.status, row.retries), number, digests[-1], stored))
        holders.append(next((each.shard_id for each in stored if not each.is_superseded), received.shard_id))
    return merged, holders, digests


_Earlier = dict[int, list[StoredAttempt]]
"""Stored results by the number of their test."""


def _stored_of_shards(
    connection: Connection, received: Sequence[ReceivedResults], identified: Sequence[Sequence[int]]
) -> dict[tuple[int, str], _Earlier]:
    """Return stored results of received tests, by execution and shard; those of a queue are of all shards."""
    found: dict[tuple[int, str], _Earlier] = {}
    wanted: dict[int, list[tuple[str, int]]] = {}
    for each, ids in zip(received, identified, strict=True):
        number = each.execution.number
        if each.execution.queue_state is not None:
            rows = bulk.select(connection, _STORED_OF_ALL, (number,), ids, index=_BY_TEST)
            _collect(rows, found.setdefault((number, each.shard_id), {}))
        elif not each.is_first:
            wanted.setdefault(number, []).extend((each.shard_id, test_id) for test_id in ids)
    for number, pairs in wanted.items():
        for row in bulk.pairs(connection, _STORED, (number,), pairs, ("text", "bigint"), index=_BY_TEST):
            _collect([row], found.setdefault((number, row[8]), {}))
    return found


def _collect(rows: Iterable[Any], found: _Earlier) -> None:
    for row in rows:
        verdict = ResultVerdict(STATUSES[row[5]], row[6], bool(row[7]))
        attempt = StoredAttempt(row[1], row[2], bool(row[3]), row[4], verdict, row[8])
        found.setdefault(row[0], []).append(attempt)


def _change(shard_id: str, merged: Sequence[Merged], holders: Sequence[str]) -> Change:
    """Return what merged results of a shard change; ``holders`` are the shards of the verdicts before."""
    removed: dict[str, list[ResultVerdict]] = {shard_id: []}
    added: dict[str, list[ResultVerdict]] = {shard_id: []}
    for each, holder in zip(merged, holders, strict=True):
        is_unchanged = each.is_superseded or not each.is_stored
        if each.before is not None:
            removed.setdefault(holder, []).append(each.before)
        added.setdefault(holder if is_unchanged else shard_id, []).append(each.after)
    changes = {
        name: counts.change(_count(removed.get(name, ())), _count(added.get(name, ())))
        for name in {**removed, **added}
    }
    own = changes.pop(shard_id)
    return Change(own, sum(each.is_new for each in merged), changes)


def _rewrite(connection: Connection, execution: int, merged: Sequence[Merged]) -> Counter[int]:
    """Delete and mark the results that others replace or supersede; return the causes that they had."""
    table = tables.results.c
    replaced = [each.replaced for each in merged if each.replaced is not None]
    superseded = [each.superseded for each in merged if each.superseded is not None]
    removed = failures.remove(connection, execution, [*replaced, *superseded])
    for statement in (
        "DELETE FROM results WHERE execution = {} AND sequence IN {}",
        "DELETE FROM result_details WHERE execution = {} AND sequence IN {}",
        "DELETE FROM shared_setups WHERE execution = {} AND sequence IN {}",
    ):
        bulk.execute(connection, statement, (execution,), replaced)
    statement = "UPDATE results SET is_superseded = true WHERE execution = {} AND sequence IN {}"
    bulk.execute(connection, statement, (execution,), superseded)
    marked = [each for each in merged if each.failed_before is not None]
    if marked:
        connection.execute(
            update(tables.results)
            .where(table.execution == execution, table.sequence == bindparam("number"))
            .values(failed_before=True, is_flaky=bindparam("flaky")),
            [{"number": each.failed_before, "flaky": each.after.is_flaky} for each in marked],
        )
    return removed


def _insert(
    connection: Connection, new: Sequence[tuple[Execution, Sequence[_NewResult]]]
) -> list[list[FailureCause]]:
    """Insert results of each execution; return the causes of those that are failed verdicts."""
    documents: list[tuple[int, int, bytes]] = []
    rows: list[tuple[Any, ...]] = []
    setups: list[tuple[Any, ...]] = []
    details: list[tuple[Any, ...]] = []
    causes: list[list[FailureCause]] = []
    for execution, of_execution in new:
        if not of_execution:
            causes.append([])
            continue
        first, previous = _reserve(connection, execution, len(of_execution))
        numbered = list(enumerate(of_execution, first))
        texts = [each.row.document for each in of_execution]
        packed, places = result_documents.rows_of(connection, execution.number, first, texts)
        documents += packed
        rows += [
            _row(execution.number, sequence, each, place)
            for (sequence, each), place in zip(numbered, places, strict=True)
        ]
        setups += [
            (execution.number, sequence, position, *setup)
            for sequence, each in numbered
            for position, setup in enumerate(each.row.setups)
        ]
        details += _details(connection, execution, previous, numbered)
        causes.append(
            [each.row.cause for each in of_execution if each.row.cause is not None and _is_failure(each)]
        )
    result_documents.insert(connection, documents)
    bulk.insert(connection, "results", _COLUMNS, rows)
    bulk.insert(connection, "shared_setups", _SETUPS, setups)
    bulk.insert(connection, "result_details", _DETAILS, details)
    return causes


def _row(execution: int, sequence: int, new: _NewResult, place: int) -> tuple[Any, ...]:
    """Return the row of ``results``, whose document is in the row ``place``."""
    row, merged = new.row, new.merged
    return (
        execution,
        sequence,
        new.test_id,
        new.shard_id,
        new.attempt,
        merged.is_superseded,
        _CODES[row.status],
        row.outcome,
        row.duration,
        row.retries,
        merged.verdict.failed_before,
        merged.verdict.is_flaky,
        row.started_at,
        row.worker,
        place,
        new.digest,
    )


def _is_failure(new: _NewResult) -> bool:
    """Return whether a result is a failed verdict."""
    return new.row.cause is not None and not new.merged.is_superseded


def _details(
    connection: Connection, execution: Execution, previous: int, numbered: Sequence[tuple[int, _NewResult]]
) -> list[tuple[Any, ...]]:
    """Return the rows of ``result_details`` of the results that did not pass."""
    failed = [each.test_id for _, each in numbered if _is_failure(each)]
    streaks = failures.streaks(connection, execution, previous, failed)
    found = []
    for sequence, each in numbered:
        if each.row.status == "passed":
            continue
        cause: tuple[Any, ...] = (None, None, None, False)
        if each.row.cause is not None and _is_failure(each):
            streak = streaks[each.test_id]
            cause = (each.row.cause.number, streak.since, streak.runs, each.row.is_quarantined)
        found.append(_detail(connection, execution.number, sequence, each.row, cause))
    return found


def _detail(
    connection: Connection, execution: int, sequence: int, row: ResultRow, cause: tuple[Any, ...]
) -> tuple[Any, ...]:
    """Return the row of ``result_details`` of a result; ``cause`` are its columns from ``cause`` on."""
    texts, encrypted = sealed.seal(
        connection, sealed.RESULT_DETAILS, (execution, sequence), (row.error, row.details)
    )
    return (execution, sequence, *texts, *cause, encrypted)


_RESERVE = (  # made once: see ``executions``
    update(tables.executions)
    .where(tables.executions.c.id == bindparam("its_id"))
    .values(results_stored=tables.executions.c.results_stored + bindparam("more"))
    .returning(tables.executions.c.results_stored, tables.executions.c.previous)
)


def _reserve(connection: Connection, execution: Execution, number: int) -> tuple[int, int]:
    """Return the first of so many free numbers for results of an execution, which is locked.

    The second value is the number of the run that it is compared with, 0 if there is none.
    """
    table = tables.executions.c
    row = connection.execute(_RESERVE, {"its_id": execution.id, "more": number}).one()
    previous = row.previous
    if previous is None:
        previous = series.find_previous(connection, execution)
        connection.execute(
            update(tables.executions).where(table.id == execution.id).values(previous=previous)
        )
    return int(row.results_stored) - number + 1, int(previous)


def _shard_of_attempts(execution: Execution, row: Any) -> str:
    """Return the shard whose attempts of a test belong to a result, empty if all of the execution do."""
    return str(row.shard_id) if execution.queue_state is None else ""


def _earlier(
    connection: Connection, execution: Execution, shown: Sequence[Any]
) -> dict[tuple[int, str], list[tuple[int, int, int]]]:
    """Return the superseded attempts of results as (attempt, sequence, row of the document)."""
    rows = [row for row in shown if row.attempt > 1 or execution.queue_state is not None]
    found: dict[tuple[int, str], list[tuple[int, int, int]]] = {}
    statement = (
        "SELECT test_id, shard_id, attempt, sequence, document FROM results "
        "WHERE execution = {} AND is_superseded AND test_id IN {}"
    )
    for row in bulk.select(connection, statement, (execution.number,), {row.test_id for row in rows}):
        shard_id = "" if execution.queue_state is not None else row[1]
        found.setdefault((row[0], shard_id), []).append((row[2], row[3], row[4]))
    newest_first = operator.itemgetter(1) if execution.queue_state is not None else None
    return {
        name: sorted(attempts, key=newest_first, reverse=True)[: attempt_documents.MAX_EARLIER]
        for name, attempts in found.items()
    }


def _count(verdicts: Iterable[ResultVerdict]) -> wire.Counts:
    counted = {"passed": 0, "failed": 0, "skipped": 0}
    flaky = 0
    for verdict in verdicts:
        counted[verdict.status] += 1
        flaky += verdict.is_flaky
    return wire.Counts(total=sum(counted.values()), flaky=flaky, **counted)
