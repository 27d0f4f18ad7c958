"""Lists of the tests of one execution: found by filters, searched, sorted, a page at a time.

A page is found in two steps: first the numbers of its results, by an index, then their rows. Without a
filter that has an index, the results of the execution are read in their order: at most ``RANGE`` for a page
in the order of arrival.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Select,
    and_,
    bindparam,
    func,
    literal_column,
    or_,
    select,
    tuple_,
)

from pytest_tms import wire
from pytest_tms.server.domain.column_values import without_nul
from pytest_tms.server.domain.failure_causes import fingerprint_of, number_of
from pytest_tms.server.domain.page_details import MAX_NAME
from pytest_tms.server.store import bulk, sealed, tables
from pytest_tms.server.store.page_queries import SLOW
from pytest_tms.server.store.results import STATUSES, has_status

Sort = Literal["arrival", "duration", "name"]
"""The order of a list: of arrival, the slowest first, or by key."""

RANGE = 200_000
"""Results that one page in the order of arrival searches; the next page continues there."""
MAX_DECRYPTED = 10_000
"""Encrypted errors that a search decrypts for one page."""
MAX_FILE_PREFIX = 200
"""Characters of a file in its index."""

_Position = Annotated[int, msgspec.Meta(ge=0, lt=2**62)]

_RESULT = tables.results.c
_TEST = tables.tests.c
_DETAIL = tables.result_details.c


@dataclass(frozen=True, kw_only=True)
class TestFilter:
    """Which tests a list has; what is empty or False excludes none.

    ``q`` is a part of the key, title, file, owner, tags or error, without regard to case. ``outcome`` is
    pytest's word. ``file``, ``tag``, ``shard``, ``worker``, ``owner`` are whole values. ``cause`` is a
    fingerprint. ``is_new`` are failures that the previous run did not have, ``is_quarantined`` those of tests
    in quarantine.
    """

    __test__ = False

    q: str = ""
    status: str = ""
    outcome: str = ""
    file: str = ""
    tag: str = ""
    shard: str = ""
    worker: str = ""
    owner: str = ""
    cause: str = ""
    is_new: bool = False
    is_flaky: bool = False
    is_quarantined: bool = False
    sort: Sort = "arrival"

    @property
    def has_index(self) -> bool:
        """Whether an index has the results in question, so that no others are read."""
        is_failure = self.status not in ("", "passed") or self.outcome not in ("", "passed")
        return bool(is_failure or self.is_flaky or self.has_details)

    @property
    def has_details(self) -> bool:
        """Whether an index of the details of verdicts has the results in question."""
        return bool(self.is_new or self.cause or self.is_quarantined)

    @property
    def is_narrow(self) -> bool:
        """Whether it excludes tests, so that few of the slowest may match."""
        return self != TestFilter(sort=self.sort)


class ListedTest(NamedTuple):
    """The verdict of a test in a shard of an execution; times and durations are milliseconds.

    ``title`` and ``file`` have at most ``MAX_NAME`` characters. ``node_id`` is empty if it was not sent.
    ``outcome`` is pytest's word, or the status. ``attempts`` counts retries and attempts of the shard.
    ``error`` is its first 1000 characters. ``cause`` is a fingerprint; ``failing_since`` is the number of the
    execution in which the test began to fail, None if there was none to compare with.
    """

    sequence: int
    test_id: int
    shard_id: str
    title: str
    file: str
    node_id: str
    owner: str
    tags: list[str]
    status: wire.TestStatus
    outcome: str
    duration: int
    attempts: int
    error: str | None
    is_flaky: bool
    is_new: bool
    cause: str | None
    failing_since: int | None
    failing_runs: int | None
    started_at: int | None
    worker: str | None
    is_quarantined: bool


def find(
    connection: Connection, execution: int, wanted: TestFilter, *, after: str | None = None, limit: int = 100
) -> tuple[list[ListedTest], str | None]:
    """Return the tests of an execution, by its number, and the cursor of the next page or None.

    ``after`` is the cursor. If few tests match, a page has fewer than ``limit`` and yet a cursor.

    Raises:
        ValueError: The cursor, the status or the fingerprint is not valid.
    """
    position = None if after is None else _decoded(after, wanted.sort)
    conditions = _conditions(connection, execution, wanted)
    sequence = _sequence(wanted)
    if wanted.sort == "arrival":
        low = 0 if position is None else position[1]
        # SQLite would search the primary key for a range. The plus sign hides the column from that.
        number = literal_column(f"+{sequence}", BigInteger) if wanted.has_index else sequence
        conditions.append(number > bindparam("low", low))
        if not wanted.has_index:
            conditions.append(number <= bindparam("high", low + RANGE))
        found = _search(connection, wanted, conditions, (sequence.label("value"), sequence), limit + 1)
        if not wanted.has_index and len(found) <= limit and _last(connection, execution) > low + RANGE:
            return by_sequence(connection, execution, [each[1] for each in found]), str(low + RANGE)
    elif wanted.sort == "duration":
        found = _by_duration(connection, wanted, conditions, position, limit + 1)
    else:
        # By code points on every database, as Python sorts what a search found.
        name = _TEST.key.collate("C") if connection.dialect.name == "postgresql" else _TEST.key
        key = (name.label("value"), _RESULT.sequence)
        if position is not None:
            conditions.append(tuple_(name, _RESULT.sequence) > position)
        found = _search(connection, wanted, conditions, key, limit + 1)
    following = _encoded(found[limit - 1], wanted.sort) if len(found) > limit else None
    return by_sequence(connection, execution, [each[1] for each in found[:limit]]), following


def by_sequence(connection: Connection, execution: int, sequences: Sequence[int]) -> list[ListedTest]:
    """Return results by their numbers, in the order of these; without those that do not exist."""
    rows = {row[0]: row for row in bulk.select(connection, _LISTED, (execution,), sequences)}
    return [_listed(connection, execution, rows[each]) for each in sequences if each in rows]


def _listed(connection: Connection, execution: int, row: Any) -> ListedTest:
    status = STATUSES[row[8]]
    return ListedTest(
        sequence=row[0],
        test_id=row[1],
        shard_id=row[2],
        title=row[3],
        file=row[4],
        node_id=row[5],
        owner=row[6],
        tags=msgspec.json.decode(row[7], type=list[str]),
        status=status,
        outcome=row[9] or status,
        duration=row[10],
        attempts=row[11] + row[12],
        error=sealed.detail(connection, execution, row[0], row[13], row[21]),
        is_flaky=bool(row[14]),
        is_new=row[16] == execution,
        cause=None if row[15] is None else fingerprint_of(row[15]),
        failing_since=row[16],
        failing_runs=row[17],
        started_at=row[18],
        worker=row[19],
        is_quarantined=bool(row[20]),
    )


_LISTED = f"""
    SELECT r.sequence, r.test_id, r.shard_id, substr(t.title, 1, {MAX_NAME}), substr(t.file, 1, {MAX_NAME}),
        t.node_id, t.owner, t.tags, r.status, r.outcome, r.duration, r.retries, r.attempt, d.error,
        r.is_flaky, d.cause, d.failing_since, d.failing_runs, r.started_at, r.worker,
        d.is_quarantined, d.sealed
    FROM results AS r
    JOIN tests AS t ON t.id = r.test_id
    LEFT JOIN result_details AS d ON d.execution = r.execution AND d.sequence = r.sequence
    WHERE r.execution = {{}} AND r.sequence IN {{}}
"""  # noqa: S608  # with our own numbers only

Found = tuple[Any, int]
"""The value by which a list is sorted, and the number of a result."""


def _search(
    connection: Connection,
    wanted: TestFilter,
    conditions: Collection[ColumnElement[bool]],
    order: tuple[ColumnElement[Any], ColumnElement[int]],
    limit: int,
    *,
    is_descending: bool = False,
) -> list[Found]:
    """Return the first results in an order; of a search, those found by names and those found by errors."""
    by_names = select(*order)
    if wanted.has_details:
        by_names = by_names.select_from(tables.result_details).join(tables.results, _is_of_result())
    elif wanted.file:
        by_names = by_names.select_from(tables.tests).join(tables.results, _TEST.id == _RESULT.test_id)
    else:
        by_names = by_names.select_from(tables.results)
    has_tests = bool(wanted.file) and not wanted.has_details
    if not has_tests and (wanted.q or wanted.tag or wanted.file or wanted.owner or wanted.sort == "name"):
        by_names = by_names.join(tables.tests, _TEST.id == _RESULT.test_id)
    query = by_names.where(*conditions)
    queries = [query]
    if wanted.q:
        text = without_nul(wanted.q.lower())
        queries = [query.where(contains(connection, _TEST.search_text, text))]
        by_errors = query
        if not wanted.has_details:
            by_errors = by_errors.join(tables.result_details, _is_of_result())
        is_found = or_(  # SQLite converts only ASCII to lower case
            contains(connection, func.lower(_DETAIL.error), text),
            contains(connection, _DETAIL.error, without_nul(wanted.q)),
        )
        by_errors = by_errors.where(_RESULT.status != tables.constant(0))
        queries.append(by_errors.where(is_found))
    found: set[Found] = set()
    for each in queries:
        sorted_by = order[1:] if wanted.sort == "arrival" else order
        columns = [column.desc() if is_descending else column for column in sorted_by]
        found.update((row[0], row[1]) for row in connection.execute(each.order_by(*columns).limit(limit)))
    if wanted.q:
        encrypted = by_errors.add_columns(_DETAIL.execution, _DETAIL.sequence, _DETAIL.sealed).where(
            _DETAIL.sealed.is_not(None)
        )
        found.update(
            _in_encrypted(connection, encrypted.order_by(*columns).limit(MAX_DECRYPTED), wanted.q, limit)
        )
    return sorted(found, reverse=is_descending)[:limit]


def _in_encrypted(connection: Connection, query: Select[Any], text: str, limit: int) -> Iterator[Found]:
    """Yield the first results whose encrypted errors contain a text."""
    wanted = text.lower()
    found = 0
    for value, sequence, execution, number, encrypted in connection.execute(query).all():
        error = sealed.detail(connection, execution, number, None, encrypted)
        if error and wanted in error.lower():
            yield value, sequence
            found += 1
            if found == limit:
                return


def _by_duration(
    connection: Connection,
    wanted: TestFilter,
    conditions: Sequence[ColumnElement[bool]],
    position: Found | None,
    limit: int,
) -> list[Found]:
    """Return the slowest results: those of the index first, then the others."""
    order = (_RESULT.duration.label("value"), _RESULT.sequence)
    after = [] if position is None else [tuple_(_RESULT.duration, _RESULT.sequence) < position]
    found: list[Found] = []
    if wanted.is_narrow:  # most of the slowest may not match
        parts: list[list[ColumnElement[bool]]] = [[]]
    else:
        slow = tables.constant(SLOW)
        parts = [[_RESULT.duration >= slow], [_RESULT.duration < slow]]
    for part in parts:
        if len(found) < limit:
            some = [*conditions, *after, *part]
            found += _search(connection, wanted, some, order, limit - len(found), is_descending=True)
    return found


def _conditions(connection: Connection, execution: int, wanted: TestFilter) -> list[ColumnElement[bool]]:
    is_by_details = wanted.has_details  # which only verdicts have
    found: list[ColumnElement[bool]] = (
        [_DETAIL.execution == execution]
        if is_by_details
        else [_RESULT.execution == execution, _RESULT.is_superseded.is_(False)]
    )
    if wanted.status:
        if wanted.status not in STATUSES:
            raise ValueError(f"Invalid status {wanted.status[:100]!r}: use passed, failed or skipped.")
        found += has_status(wanted.status)
    if wanted.outcome in STATUSES:
        found += [*has_status(wanted.outcome), _RESULT.outcome.is_(None)]
    elif wanted.outcome:
        found += [_RESULT.outcome == without_nul(wanted.outcome), _RESULT.outcome.is_not(None)]
    if wanted.is_flaky:
        found += is_flaky()
    if wanted.shard:
        found.append(_RESULT.shard_id == without_nul(wanted.shard))
    if wanted.worker:
        found.append(_RESULT.worker == without_nul(wanted.worker))
    if wanted.owner:
        found.append(_TEST.owner == without_nul(wanted.owner))
    if wanted.cause:
        found += [_DETAIL.cause == number_of(wanted.cause), _DETAIL.cause.is_not(None)]
    if wanted.is_new:
        found += [_DETAIL.failing_since == execution, _DETAIL.failing_since.is_not(None)]
    if wanted.is_quarantined:
        found += [
            literal_column("result_details.is_quarantined"),
            _DETAIL.is_quarantined.is_(True),
        ]
    if wanted.tag:
        found.append(contains(connection, _TEST.tags, msgspec.json.encode(without_nul(wanted.tag)).decode()))
    if wanted.file:
        project = select(tables.executions.c.project_id).where(tables.executions.c.number == execution)
        file = without_nul(wanted.file)
        length = tables.constant(MAX_FILE_PREFIX)
        prefix = func.substr(_TEST.file, tables.constant(1), length) == file[:MAX_FILE_PREFIX]
        found += [_TEST.project_id == (connection.scalar(project) or 0), prefix, _TEST.file == file]
    return found


def _sequence(wanted: TestFilter) -> ColumnElement[int]:
    """Return the column of the number of a result in the index that is followed."""
    return _DETAIL.sequence if wanted.has_details else _RESULT.sequence


def _is_of_result() -> ColumnElement[bool]:
    return and_(_DETAIL.execution == _RESULT.execution, _DETAIL.sequence == _RESULT.sequence)


def is_flaky() -> list[ColumnElement[bool]]:
    """Return the conditions that select flaky results by their index.

    The first is the condition of the index, the second is for its column.
    """
    return [literal_column("results.is_flaky"), _RESULT.is_flaky.is_(True)]


def contains(connection: Connection, column: ColumnElement[Any], text: str) -> ColumnElement[bool]:
    """Return the condition that a text is in a column, letter by letter."""
    position = func.strpos if connection.dialect.name == "postgresql" else func.instr
    return position(column, text) > 0


def _last(connection: Connection, execution: int) -> int:
    table = tables.executions.c
    return int(connection.scalar(select(table.results_stored).where(table.number == execution)) or 0)


def _encoded(found: Found, sort: Sort) -> str:
    """Return the cursor after a result."""
    if sort == "arrival":
        return str(found[1])
    return base64.urlsafe_b64encode(msgspec.json.encode(found)).decode().rstrip("=")


def _decoded(cursor: str, sort: Sort) -> Found:
    """Return the position of a cursor.

    Raises:
        ValueError: It is not valid.
    """
    try:
        if sort == "arrival":
            number = msgspec.json.decode(cursor, type=_Position)
            return number, number
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        if sort == "duration":
            return msgspec.json.decode(text, type=tuple[_Position, _Position])
        return msgspec.json.decode(text, type=tuple[str, _Position])
    except (ValueError, binascii.Error, msgspec.MsgspecError):
        raise ValueError(f"Invalid cursor {cursor[:100]!r}: use the one of the previous page.") from None
