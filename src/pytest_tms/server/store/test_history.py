"""Earlier results of tests: the last ones of each test of a page, and the history of one test."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import Connection, and_, func, select, union_all

from pytest_tms import wire
from pytest_tms.server.domain.failure_causes import fingerprint_of
from pytest_tms.server.domain.flakiness import is_infrastructure_failure
from pytest_tms.server.domain.page_details import MAX_NAME
from pytest_tms.server.store import bulk, renames, sealed, series, tables
from pytest_tms.server.store.results import STATUSES

MAX_READ = 2_000
"""Results of a test that one page of its history reads at most."""


class RecentResult(NamedTuple):
    """How a test ended in a run, given by its number: failed if it failed in any shard."""

    execution: int
    status: wire.TestStatus
    is_flaky: bool
    duration: int


class HistoryEntry(NamedTuple):
    """One result of a test in a run; times and durations are milliseconds.

    ``execution`` is the number of the run, ``execution_id`` its id. ``commit`` is empty if it was not sent.
    ``cause`` is a fingerprint. ``is_infrastructure_failure`` is whether most tests of the run failed.
    """

    execution: int
    execution_id: str
    created_at: int
    test_suite: str
    environment: str
    branch: str
    commit: str
    is_infrastructure_failure: bool
    sequence: int
    test_id: int
    shard_id: str
    status: wire.TestStatus
    outcome: str
    duration: int
    is_flaky: bool
    error: str | None
    cause: str | None
    failing_since: int | None
    failing_runs: int | None


class RegisteredTest(NamedTuple):
    """A test of a project over all runs; times are milliseconds since 1970, names are of its latest result.

    ``title`` and ``file`` have at most ``MAX_NAME`` characters; ``node_id`` and ``owner`` are empty if they
    were not sent, ``tags`` is a JSON list.
    """

    id: int
    project_id: int
    key: str
    title: str
    file: str
    node_id: str
    owner: str
    tags: str
    first_seen: int
    last_seen: int


@dataclass(frozen=True, kw_only=True)
class HistoryFilter:
    """Which results a history has; what is empty excludes none. ``environments`` are those allowed."""

    environments: Collection[str] = ()
    suite: str = ""
    environment: str = ""
    branch: str = ""


def recent(
    connection: Connection, execution: int, test_ids: Collection[int], *, limit: int = 10
) -> dict[int, list[RecentResult]]:
    """Return the last results of tests up to and including an execution, the newest first, by test id.

    Only runs of its suite, environment and branch count, and of the run with which it is compared if the
    branch has too few. An execution that has no results has none.
    """
    found: dict[int, dict[int, RecentResult]] = {test_id: {} for test_id in test_ids}
    if not found:
        return {}
    own = {test_id: test_id for test_id in found}  # by each name that a test had
    for test_id, some in renames.earlier(connection, found).items():
        own |= {name: test_id for name in some if name not in found}
    statement = (
        "SELECT test_id, status, is_flaky, duration FROM results "
        "WHERE execution = {} AND NOT is_superseded AND test_id IN {}"
    )
    for number in _runs(connection, execution, limit):
        for test_id, code, is_flaky, duration in bulk.select(
            connection, statement, (number,), own, index="ix_results_test_id"
        ):
            results = found[own[test_id]]
            known = results.get(number)
            if known is None or (known.status != "failed" and STATUSES[code] == "failed"):
                results[number] = RecentResult(number, STATUSES[code], bool(is_flaky), duration)
    return {test_id: list(results.values()) for test_id, results in found.items()}


def get_test(connection: Connection, test_id: int) -> RegisteredTest | None:
    """Return a test by its id, None if there is none."""
    found = get_tests(connection, [test_id])
    return found[0] if found else None


def get_tests(connection: Connection, test_ids: Collection[int]) -> list[RegisteredTest]:
    """Return tests by their ids, in the order of these; without those that do not exist."""
    test = tables.tests.c
    query = select(
        test.id,
        test.project_id,
        test.key,
        func.substr(test.title, 1, MAX_NAME),
        func.substr(test.file, 1, MAX_NAME),
        *(test[name] for name in ("node_id", "owner", "tags", "first_seen", "last_seen")),
    ).where(test.id.in_(test_ids))
    rows = {row.id: RegisteredTest(*row) for row in connection.execute(query)}
    return [rows[test_id] for test_id in test_ids if test_id in rows]


def history(
    connection: Connection,
    test_id: int,
    wanted: HistoryFilter | None = None,
    *,
    before: int | None = None,
    limit: int = 50,
) -> tuple[list[HistoryEntry], int | None]:
    """Return the verdicts of a test, those of the newest run first, and the cursor of the next page or None.

    Those of earlier tests that were joined to it are among them.

    ``before`` is the cursor. All results of one run are on one page, which may have more than ``limit``.
    A page reads at most ``MAX_READ`` results: if few match, it has fewer than ``limit`` and yet a cursor.
    """
    found: list[HistoryEntry] = []
    last: int | None = None
    names = [test_id, *renames.earlier(connection, [test_id]).get(test_id, ())]
    for most in (2 * limit, MAX_READ):  # most pages need few
        found.clear()
        rows = _read(connection, names, before, most)
        for row in rows:
            if len(found) >= limit and row.execution != last:
                return found, last
            last = row.execution
            if _is_wanted(row, wanted or HistoryFilter()):
                found.append(_entry(connection, row))
        if len(rows) < most:
            return found, None
    return found, last


def _read(connection: Connection, test_ids: Sequence[int], before: int | None, limit: int) -> Sequence[Any]:
    """Return the next results of tests with their runs and errors, those of the newest run first."""
    result, run, detail = tables.results.c, tables.executions.c, tables.result_details.c
    reads = []
    for test_id in test_ids:  # each by the index, and not all results of all of them
        read = select(result.execution, result.sequence).where(result.test_id == test_id)
        if before is not None:
            read = read.where(result.execution < before)
        reads.append(read.order_by(result.execution.desc()).limit(limit))
    if len(reads) == 1:
        some = reads[0].subquery()
    else:
        every = union_all(*(select(read.subquery()) for read in reads)).subquery()
        newest = select(every).order_by(every.c.execution.desc(), every.c.sequence)
        some = newest.limit(limit).subquery()
    query = (
        select(
            result.execution,
            run.id,
            run.created_at,
            run.test_suite,
            run.environment,
            run.branch,
            run.commit,
            run.total,
            run.failed,
            result.sequence,
            result.test_id,
            result.shard_id,
            result.status,
            result.outcome,
            result.duration,
            result.is_flaky,
            result.is_superseded,
            run.deleted_at,
            detail.error,
            detail.sealed,
            detail.cause,
            detail.failing_since,
            detail.failing_runs,
        )
        .select_from(some)
        .join(tables.results, and_(result.execution == some.c.execution, result.sequence == some.c.sequence))
        .join(tables.executions, run.number == some.c.execution)
        .outerjoin(
            tables.result_details,
            and_(detail.execution == some.c.execution, detail.sequence == some.c.sequence),
        )
        .order_by(some.c.execution.desc(), some.c.sequence)
    )
    return connection.execute(query).all()


def _is_wanted(row: Any, wanted: HistoryFilter) -> bool:
    return (
        not row.is_superseded
        and row.deleted_at is None
        and (not wanted.environments or row.environment in wanted.environments)
        and wanted.suite in ("", row.test_suite)
        and wanted.environment in ("", row.environment)
        and wanted.branch in ("", row.branch)
    )


def _entry(connection: Connection, row: Any) -> HistoryEntry:
    status = STATUSES[row.status]
    return HistoryEntry(
        execution=row.execution,
        execution_id=row.id,
        created_at=row.created_at,
        test_suite=row.test_suite,
        environment=row.environment,
        branch=row.branch,
        commit=row.commit,
        is_infrastructure_failure=is_infrastructure_failure(row.total, row.failed),
        sequence=row.sequence,
        test_id=row.test_id,
        shard_id=row.shard_id,
        status=status,
        outcome=row.outcome or status,
        duration=row.duration,
        is_flaky=bool(row.is_flaky),
        error=sealed.detail(connection, row.execution, row.sequence, row.error, row.sealed),
        cause=None if row.cause is None else fingerprint_of(row.cause),
        failing_since=row.failing_since,
        failing_runs=row.failing_runs,
    )


def _runs(connection: Connection, execution: int, limit: int) -> list[int]:
    """Return an execution and the earlier runs that it is compared with, the newest first."""
    own = [execution, *(each for each in series.up_to(connection, execution, limit) if each != execution)]
    if len(own) < limit:
        previous = series.previous(connection, execution)
        if previous and previous not in own:
            own += series.up_to(connection, previous, limit - len(own))
    return own[:limit]
