"""Queries of the pages of one execution, given by its number. Each is bounded and follows an index."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Connection, Select, Subquery, and_, case, func, select

from pytest_tms.server.domain.page_details import MAX_NAME, Details, ShownFile
from pytest_tms.server.domain.timelines import Kind, Stretch
from pytest_tms.server.store import sealed, tables
from pytest_tms.server.store.results import STATUSES, has_status

MAX_COUNTED = 20_000
"""Results that are counted by outcome or file."""
MAX_REASONS = 2_000
"""Skipped tests whose reasons are read."""
MAX_TESTS_WITH_FILES = 300
"""Failed tests that are searched for files."""
MAX_FIRST = 500
"""Results that are searched for the first start."""
MAX_STRETCHES = 20_000
"""Stretches of one timeline."""
MAX_TIMED = 250_000
"""Results of an execution whose timeline shows all tests; of more, only slow and failed ones."""
SLOW = 100
"""Milliseconds from which on a test is in the index of slow ones."""

_R, _T, _D = tables.results.c, tables.tests.c, tables.result_details.c


class OutcomeCount(NamedTuple):
    """How many results have an outcome; ``is_complete`` is False if there are more than were counted."""

    tests: int
    is_complete: bool


class FileCount(NamedTuple):
    """A file, and how many tests of it failed."""

    file: str
    tests: int


class OwnerCount(NamedTuple):
    """An owner, and how many tests of them failed; the owner is empty if the tests have none."""

    owner: str
    tests: int


class ReasonCount(NamedTuple):
    """A reason for which tests were skipped, and how many were."""

    reason: str
    tests: int


class FileSummary(NamedTuple):
    """The tests of one file in a run; ``duration`` adds up theirs, in milliseconds."""

    file: str
    tests: int
    failed: int
    flaky: int
    skipped: int
    duration: int


class FileOwner(NamedTuple):
    """The failed test that has a file."""

    test_id: int
    shard_id: str
    title: str


class Timed(NamedTuple):
    """When a result was measured: its shard, start in milliseconds since 1970, and duration."""

    shard_id: str
    started_at: int
    duration: int


def slowest(connection: Connection, execution: int, limit: int) -> list[int]:
    """Return the numbers of the slowest results, of those that take ``SLOW`` milliseconds or longer."""
    query = select(_R.sequence).where(
        _R.execution == execution, _R.duration >= tables.constant(SLOW), _R.is_superseded.is_(False)
    )
    return list(connection.scalars(query.order_by(_R.duration.desc(), _R.sequence.desc()).limit(limit)))


def outcome_counts(
    connection: Connection, execution: int, outcomes: Sequence[str]
) -> dict[str, OutcomeCount]:
    """Return the numbers of results by those outcomes that differ from the status, as xfailed and error."""
    rows = (
        select(_R.outcome)
        .where(
            _R.execution == execution,
            _R.outcome.is_not(None),
            _R.outcome.in_(outcomes),
            _R.is_superseded.is_(False),
        )
        .limit(MAX_COUNTED + 1)
        .subquery()
    )
    found = connection.execute(select(rows.c.outcome, func.count()).group_by(rows.c.outcome)).all()
    is_complete = sum(number for _, number in found) <= MAX_COUNTED
    return {outcome: OutcomeCount(number, is_complete) for outcome, number in found}


def failed_node_ids(connection: Connection, execution: int, limit: int) -> list[str]:
    """Return the node ids of failed tests, in the order of arrival; without those that were not sent."""
    rows = connection.scalars(
        select(_T.node_id)
        .join_from(tables.results, tables.tests, _T.id == _R.test_id)
        .where(_R.execution == execution, *has_status("failed"), _R.is_superseded.is_(False))
        .order_by(_R.sequence)
        .limit(limit)
    )
    return [node_id for node_id in rows if node_id]


def failed_files(connection: Connection, execution: int, limit: int) -> list[FileCount]:
    """Return the files with the most failed tests, of the first ``MAX_COUNTED`` failures."""
    rows = _failed_tests(execution)
    file = func.substr(_T.file, 1, MAX_NAME).label("file")
    query = (
        select(file, func.count().label("tests"))
        .join_from(rows, tables.tests, _T.id == rows.c.test_id)
        .group_by(file)
        .order_by(func.count().desc(), file)
        .limit(limit)
    )
    return [FileCount(*row) for row in connection.execute(query)]


def _failed_tests(execution: int) -> Subquery:
    """Return the tests of the first failures of an execution."""
    return (
        select(_R.test_id)
        .where(_R.execution == execution, *has_status("failed"), _R.is_superseded.is_(False))
        .order_by(_R.sequence)
        .limit(MAX_COUNTED)
        .subquery()
    )


def failed_owners(connection: Connection, execution: int, limit: int) -> list[OwnerCount]:
    """Return the owners of the most failed tests, of the first ``MAX_COUNTED`` failures."""
    rows = _failed_tests(execution)
    query = (
        select(_T.owner, func.count().label("tests"))
        .join_from(rows, tables.tests, _T.id == rows.c.test_id)
        .group_by(_T.owner)
        .order_by(func.count().desc(), _T.owner)
        .limit(limit)
    )
    return [OwnerCount(*row) for row in connection.execute(query)]


def files(
    connection: Connection,
    execution: int,
    *,
    status: str | None = None,
    is_flaky: bool = False,
    after: tuple[int, int] = (0, 0),
    limit: int,
) -> tuple[list[FileSummary], tuple[int, int] | None]:
    """Return the files of tests in alphabetical order, and the cursor of the next page or None.

    The files are those of ``MAX_COUNTED`` results, in the order of arrival: a file of a larger run may be
    listed again with its other tests. ``after`` is the cursor: the number of a result, and that of files.
    """
    start, skipped = after
    read = select(_R.sequence, _R.test_id, _R.status, _R.is_flaky, _R.duration).where(
        _R.execution == execution, _R.is_superseded.is_(False), _R.sequence > start
    )
    if status is not None:
        read = read.where(*has_status(status))
    if is_flaky:
        read = read.where(_R.is_flaky if connection.dialect.name == "sqlite" else _R.is_flaky.is_(True))
    rows = read.order_by(_R.sequence).limit(MAX_COUNTED).subquery()
    file = func.substr(_T.file, 1, MAX_NAME).label("file")
    query = (
        select(
            file,
            func.count().label("tests"),
            func.sum(case((rows.c.status == STATUSES.index("failed"), 1), else_=0)).label("failed"),
            func.sum(case((rows.c.is_flaky, 1), else_=0)).label("flaky"),
            func.sum(case((rows.c.status == STATUSES.index("skipped"), 1), else_=0)).label("skipped"),
            func.sum(rows.c.duration).label("duration"),
            func.max(rows.c.sequence).label("last"),
        )
        .join_from(rows, tables.tests, _T.id == rows.c.test_id)
        .group_by(file)
    )
    found = sorted(connection.execute(query).all(), key=lambda row: row.file)
    following = None
    if len(found) > skipped + limit:
        following = start, skipped + limit
    elif sum(row.tests for row in found) >= MAX_COUNTED:
        following = max(row.last for row in found), 0
    return [FileSummary(*map(_plain, row[:6])) for row in found[skipped : skipped + limit]], following


def _plain(value: Any) -> Any:
    """Return a sum, which is a decimal number on PostgreSQL, as an integer."""
    return value if isinstance(value, str) else int(value)


def skip_reasons(connection: Connection, execution: int, limit: int) -> tuple[list[ReasonCount], bool]:
    """Return the most frequent reasons of skipped tests, and whether all skipped tests were counted."""
    rows = (
        select(_R.sequence)
        .where(_R.execution == execution, *has_status("skipped"), _R.is_superseded.is_(False))
        .order_by(_R.sequence)
        .limit(MAX_REASONS + 1)
        .subquery()
    )
    error = func.coalesce(_D.error, "").label("reason")
    is_of_row = and_(_D.execution == execution, _D.sequence == rows.c.sequence)
    counted: Counter[str] = Counter()
    for reason, tests in connection.execute(
        select(error, func.count())
        .join_from(rows, tables.result_details, is_of_row)
        .where(_D.sealed.is_(None))
        .group_by(error)
    ):
        counted[reason] += tests
    encrypted = connection.execute(
        select(_D.sequence, _D.error, _D.sealed)
        .join_from(rows, tables.result_details, is_of_row)
        .where(_D.sealed.is_not(None))
    ).all()
    for row in encrypted:
        counted[sealed.detail(connection, execution, *row) or ""] += 1
    grouped = sorted(counted.items(), key=lambda each: (-each[1], each[0]))
    return [ReasonCount(*each) for each in grouped[:limit]], counted.total() <= MAX_REASONS


def error_texts(connection: Connection, execution: int, sequence: int) -> tuple[str, str]:
    """Return the error and the shortened traceback of a failed result; empty if there are none."""
    row = connection.execute(
        select(_D.error, _D.details, _D.sealed).where(_D.execution == execution, _D.sequence == sequence)
    ).one_or_none()
    if row is None:
        return "", ""
    place = (execution, sequence)
    error, details = sealed.opened(
        connection, sealed.RESULT_DETAILS, place, (row.error, row.details), row.sealed
    )
    return error or "", msgspec.json.decode(details or "{}", type=Details).longrepr


class _Shown(msgspec.Struct):
    files: list[ShownFile] = []


_DETAILS = msgspec.json.Decoder(_Shown)  # made at import: see calls.decoder


def tests_of_files(connection: Connection, execution: int, hashes: Collection[str]) -> dict[str, FileOwner]:
    """Return the failed tests that have files, by the hashes of these, of the first failures."""
    if not hashes:
        return {}
    rows = connection.execute(
        select(_R.test_id, _R.shard_id, func.substr(_T.title, 1, MAX_NAME), _D.details)
        .add_columns(_D.error, _D.sealed, _D.sequence)
        .join_from(tables.results, tables.tests, _T.id == _R.test_id)
        .join(tables.result_details, and_(_D.execution == _R.execution, _D.sequence == _R.sequence))
        .where(_R.execution == execution, *has_status("failed"), _R.is_superseded.is_(False))
        .order_by(_R.sequence)
        .limit(MAX_TESTS_WITH_FILES)
    ).all()
    found: dict[str, FileOwner] = {}
    for test_id, shard_id, title, shown, error, encrypted, sequence in rows:
        place = (execution, sequence)
        details = sealed.opened(connection, sealed.RESULT_DETAILS, place, (error, shown), encrypted)[1]
        for file in _DETAILS.decode(details or "{}").files:
            if file.sha256 in hashes:
                found.setdefault(file.sha256, FileOwner(test_id, shard_id, title))
    return found


def failed_times(connection: Connection, execution: int, limit: int) -> list[Timed]:
    """Return when failed tests ran, of those that arrived first."""
    rows = connection.execute(
        select(_R.shard_id, _R.started_at, _R.duration)
        .where(_R.execution == execution, *has_status("failed"), _R.is_superseded.is_(False))
        .order_by(_R.sequence)
        .limit(limit)
    )
    return [Timed(*row) for row in rows if row.started_at is not None]


def first_start(connection: Connection, execution: int) -> int | None:
    """Return the earliest start of the results that arrived first, in milliseconds since 1970."""
    rows = (
        select(_R.started_at)
        .where(_R.execution == execution)
        .order_by(_R.sequence)
        .limit(MAX_FIRST)
        .subquery()
    )
    first: int | None = connection.scalar(select(func.min(rows.c.started_at)))
    return first


def stretches(
    connection: Connection,
    execution: int,
    *,
    slot: int,
    start: int | None = None,
    end: int | None = None,
    is_large: bool = False,
) -> list[Stretch]:
    """Return what ran when, grouped by lane, kind and slots of ``slot`` milliseconds.

    ``start`` and ``end`` are milliseconds since 1970. Of an execution with more than ``MAX_TIMED`` results
    (``is_large``), only tests that are slow or did not pass are read, by their indexes.
    """
    if not is_large:
        return _stretches(connection, execution, slot, start, end)
    slow = select(_R.sequence).where(_R.execution == execution, _R.duration >= tables.constant(SLOW))
    notable = select(_R.sequence).where(_R.execution == execution, *has_status("failed"))
    sequences = {
        *connection.scalars(slow.order_by(_R.duration.desc()).limit(MAX_STRETCHES // 2)),
        *connection.scalars(notable.order_by(_R.sequence).limit(MAX_STRETCHES // 2)),
    }
    ordered = sorted(sequences)
    found: list[Stretch] = []
    for first in range(0, len(ordered), 5000):
        found += _stretches(connection, execution, slot, start, end, ordered[first : first + 5000])
    return found


def _stretches(
    connection: Connection,
    execution: int,
    slot: int,
    start: int | None,
    end: int | None,
    sequences: Sequence[int] | None = None,
) -> list[Stretch]:
    kind = case(
        (_R.status == STATUSES.index("failed"), "failed"),
        (_R.status == STATUSES.index("skipped"), "skipped"),
        (_R.is_flaky, "flaky"),
        else_="passed",
    )
    worker = func.coalesce(_R.worker, "")
    place = _R.started_at.op("/")(slot)
    query: Select[Any] = select(
        _R.shard_id,
        worker.label("worker"),
        kind.label("kind"),
        func.count().label("tests"),
        func.min(_R.started_at).label("start"),
        func.max(_R.started_at + _R.duration).label("end"),
        func.sum(_R.duration).label("busy"),
        func.min(_R.sequence).label("sequence"),
    ).where(_R.execution == execution, _R.is_superseded.is_(False), _R.started_at.is_not(None))
    if start is not None:
        query = query.where(_R.started_at + _R.duration >= start)
    if end is not None:
        query = query.where(_R.started_at <= end)
    if sequences is not None:
        query = query.where(_R.sequence.in_(sequences))
    rows = connection.execute(query.group_by("shard_id", "worker", "kind", place).limit(MAX_STRETCHES))
    return [_stretch(*row) for row in rows]


def _stretch(
    shard_id: str, worker: str, kind: Kind, tests: int, start: int, end: int, busy: int, sequence: int
) -> Stretch:
    return Stretch(shard_id, worker, kind, tests, start, end, int(busy), sequence)
