"""Executions and their shards: create, read, lock, save."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import cache
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Connection, Row, Select, Update, bindparam, func, insert, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from pytest_tms import wire
from pytest_tms.errors import NotFound
from pytest_tms.server.domain.builds import build_fields, search_text
from pytest_tms.server.domain.executions import Execution, Shard
from pytest_tms.server.store import projects, sealed, tables, versions

COUNTS = wire.Counts.__struct_fields__


def create(connection: Connection, execution: Execution) -> bool:
    """Insert an execution, and its project if it is the first of it.

    Return False if another execution has its run key, suite and environment. This waits for a transaction
    that creates one at the same time.
    """
    fields = build_fields(execution.metadata)
    table = tables.executions
    is_postgresql = connection.dialect.name == "postgresql"
    inserting = postgresql.insert(table) if is_postgresql else sqlite.insert(table)
    inserted = connection.execute(
        inserting.values(
            id=execution.id,
            number=_next_number(connection),
            project_id=projects.identify(connection, fields.project, execution.created_at),
            branch=fields.branch,
            commit=fields.commit,
            author=fields.author,
            search_text=search_text(
                execution.id, fields.branch, fields.commit, execution.test_suite, fields.author
            ),
            **_execution_row(execution),
        )
        .on_conflict_do_nothing(
            index_elements=[table.c.run_key, table.c.test_suite, table.c.environment],
            index_where=table.c.run_key.is_not(None),
        )
        .returning(table.c.id)
    )
    if inserted.one_or_none() is None:
        return False
    versions.notify(connection, [execution.id])
    return True


def lock_by_run_key(
    connection: Connection, run_key: str, test_suite: str, environment: str
) -> Execution | None:
    """Return the execution of a run key, locked until the transaction ends; None if there is none."""
    table = tables.executions.c
    query = select(tables.executions).where(
        table.run_key == run_key, table.test_suite == test_suite, table.environment == environment
    )
    row = connection.execute(query.with_for_update()).one_or_none()
    return None if row is None else _execution(row)


def get(connection: Connection, execution_id: str) -> Execution:
    """Return the execution with this id.

    Raises:
        NotFound: There is none.
    """
    return _one(connection, _GET, execution_id)


def lock(connection: Connection, execution_id: str) -> Execution:
    """Return the execution with this id, locked until the transaction ends.

    Raises:
        NotFound: There is none.
    """
    return _one(connection, _LOCK, execution_id)


def lock_all(connection: Connection, execution_ids: Collection[str], *, waits: bool) -> dict[str, Execution]:
    """Return executions by their ids, locked until the transaction ends, except those that do not exist.

    Without ``waits``, those that another transaction has locked are left out.
    """
    known = sorted(each for each in execution_ids if "\x00" not in each)  # see ``_one``
    query = _LOCK_ALL if waits else _LOCK_UNLOCKED
    return {row.id: _execution(row) for row in connection.execute(query, {"its_ids": known})}


class ExecutionToken(NamedTuple):
    """The hash of the token of an execution, and when the execution ended; None if it has not.

    A replayed run may have ended before its execution was created here, or before a job joined it: the latest
    of these times counts.
    """

    token_hash: str
    ended_at: int | None


def tokens(connection: Connection, execution_ids: Collection[str]) -> dict[str, ExecutionToken]:
    """Return the tokens of executions that exist, by their ids."""
    known = sorted(each for each in execution_ids if "\x00" not in each)  # see ``_one``
    found = {}
    for row in connection.execute(_TOKENS, {"its_ids": known}):
        ended = None if row.ended_at is None else max(row.ended_at, row.created_at, row.joined_at or 0)
        found[row.id] = ExecutionToken(row.token_hash, ended)
    return found


def save(connection: Connection, execution: Execution) -> None:
    """Update a locked execution."""
    save_all(connection, [(execution, True)])


def save_all(connection: Connection, changed: Sequence[tuple[Execution, bool]]) -> None:
    """Update locked executions, each given with whether pages show anything of what has changed."""
    shown, others = (
        [{**_execution_row(each), "its_id": each.id} for each, is_shown in changed if is_shown is which]
        for which in (True, False)
    )
    if len(shown) == 1:
        connection.execute(_next_version(connection.dialect.name), shown)
    elif shown:
        connection.execute(_SHOW, shown)
        versions.notify(connection, [each["its_id"] for each in shown])
    if others:
        connection.execute(_SAVE, others)


def shards(
    connection: Connection, execution_id: str, *, limit: int | None = None, with_metadata: bool = True
) -> list[Shard]:
    """Return the shards that have reported: those with a numeric id first, in numeric order.

    Beyond ``limit``, those with the shortest ids.
    """
    table = tables.shards.c
    columns = [column for column in table if with_metadata or column is not table.metadata]
    query = select(*columns).where(table.execution_id == execution_id)
    if limit is not None:
        query = query.order_by(func.length(table.shard_id), table.shard_id).limit(limit)
    found = [_shard(row) for row in connection.execute(query)]
    return sorted(found, key=lambda shard: _natural(shard.shard_id))


def save_shard(connection: Connection, execution_id: str, before: Shard | None, after: Shard) -> None:
    """Store a shard of a locked execution; ``before`` is the stored one, None if it is new."""
    if before is None:
        add_shards(connection, [(execution_id, after)])
    elif before != after:
        save_shards(connection, [(execution_id, after)])


def add_shards(connection: Connection, shards: Sequence[tuple[str, Shard]]) -> None:
    """Store new shards of locked executions, which are given by their ids."""
    if shards:
        rows = [
            {"execution_id": execution_id, "shard_id": shard.shard_id, **_shard_row(shard)}
            for execution_id, shard in shards
        ]
        connection.execute(_ADD_SHARD, rows)


def save_shards(connection: Connection, shards: Sequence[tuple[str, Shard]]) -> None:
    """Store known shards of locked executions, which are given by their ids."""
    if shards:
        connection.execute(
            _SAVE_SHARD,
            [
                {**_shard_row(shard), "its_execution": execution_id, "its_shard": shard.shard_id}
                for execution_id, shard in shards
            ],
        )


def find_shards(connection: Connection, wanted: Collection[tuple[str, str]]) -> dict[tuple[str, str], Shard]:
    """Return the shards with these pairs of an execution's id and a shard's, by the pairs."""
    if not wanted:
        return {}
    ids, names = sorted({each[0] for each in wanted}), sorted({each[1] for each in wanted})
    rows = connection.execute(_FIND_SHARDS, {"its_executions": ids, "its_shards": names}).all()
    pairs = ((row, (row.execution_id, row.shard_id)) for row in rows)
    return {pair: _shard(row) for row, pair in pairs if pair in wanted}


def shard_states(connection: Connection, execution_id: str) -> set[str]:
    """Return the different states of an execution's shards."""
    query = select(tables.shards.c.status).where(tables.shards.c.execution_id == execution_id)
    return set(connection.scalars(query.distinct()))


def get_shard(connection: Connection, execution_id: str, shard_id: str) -> Shard | None:
    """Return a shard, None if it has not reported."""
    keys = {"its_execution": execution_id, "its_shard": shard_id}
    row = connection.execute(_GET_SHARD, keys).one_or_none()
    return None if row is None else _shard(row)


def lost(
    connection: Connection, execution_id: str, shard_ids: Collection[str], runner: str | None
) -> list[Shard]:
    """Return the lost ones of these shards; with ``runner``, not those that another runner runs now."""
    keys = {"its_execution": execution_id, "its_shards": list(shard_ids)}
    found = [_shard(row) for row in connection.execute(_LOST, keys)]
    return [shard for shard in found if runner is None or shard.runner in (None, runner)]


def set_in_flight(
    connection: Connection,
    execution_id: str,
    shard_id: str,
    runner: str | None,
    tests: Sequence[wire.RunningTest],
) -> None:
    """Store the tests in flight of a running shard; with ``runner``, not if another runner runs it now."""
    table = tables.shards.c
    query = update(tables.shards).where(*_is(execution_id, shard_id), table.status == "running")
    if runner is not None:
        query = query.where(or_(table.runner.is_(None), table.runner == runner))
    in_flight = _text(tests)
    if connection.execute(query.where(table.in_flight != in_flight).values(in_flight=in_flight)).rowcount:
        versions.increase(connection, execution_id)


def results_stored(connection: Connection, execution_id: str) -> int:
    """Return the sequence of the latest result of an execution, 0 if it has none."""
    table = tables.executions.c
    return int(connection.scalar(select(table.results_stored).where(table.id == execution_id)) or 0)


def newest_attempt(connection: Connection, execution_id: str) -> int | None:
    """Return the largest number of a CI attempt that a runner of an execution sent."""
    table = tables.shards.c
    query = select(func.max(table.ci_attempt)).where(table.execution_id == execution_id)
    number: int | None = connection.scalar(query)
    return number


def running_or_lost_shards(connection: Connection, execution_id: str) -> list[Shard]:
    """Return the shards of an execution that run, or are lost."""
    table = tables.shards.c
    query = select(tables.shards).where(
        table.execution_id == execution_id, table.status.in_(("running", "lost"))
    )
    return [_shard(row) for row in connection.execute(query)]


def has_expectations(connection: Connection, execution_id: str) -> bool:
    """Return whether a runner sent how many tests it collected, or how many did not run."""
    table = tables.shards.c
    query = select(table.shard_id).where(
        table.execution_id == execution_id, or_(table.collected.is_not(None), table.not_run.is_not(None))
    )
    return connection.execute(query.limit(1)).one_or_none() is not None


def has_event(connection: Connection, execution_id: str, event: str, document: str) -> bool:
    """Return whether an identical event is stored."""
    table = tables.events.c
    query = select(table.id).where(
        table.execution_id == execution_id,
        table.event == event,
        or_(table.document == document, table.digest == sealed.digest(document)),
    )
    return connection.execute(query.limit(1)).one_or_none() is not None


def add_event(connection: Connection, execution_id: str, event: str, document: str, now: int) -> None:
    """Store an inbound event as it was sent."""
    add_events(connection, [(execution_id, event, document, now)])


def add_events(connection: Connection, events: Sequence[tuple[str, str, str, int]]) -> None:
    """Store inbound events as they were sent: the id of the execution, the name, the document, the time."""
    rows = []
    for execution_id, event, document, now in events:
        (text,), encrypted = sealed.seal(connection, sealed.EVENTS, (execution_id,), (document,))
        rows.append(
            {
                "execution_id": execution_id,
                "event": event,
                "received_at": now,
                "document": text,
                "sealed": encrypted,
                "digest": None if encrypted is None else sealed.digest(document),
            }
        )
    if rows:
        connection.execute(_ADD_EVENT, rows)


# Statements of each live message, made once: SQLAlchemy takes ten times as long to make one as to run it.
_ITS_SHARD = (
    tables.shards.c.execution_id == bindparam("its_execution"),
    tables.shards.c.shard_id == bindparam("its_shard"),
)
_GET_SHARD = select(tables.shards).where(*_ITS_SHARD)
_LOST = select(tables.shards).where(
    tables.shards.c.execution_id == bindparam("its_execution"),
    tables.shards.c.shard_id.in_(bindparam("its_shards", expanding=True)),
    tables.shards.c.status == "lost",
)
_ADD_SHARD = insert(tables.shards)
_ADD_EVENT = insert(tables.events)
_GET = select(tables.executions).where(
    tables.executions.c.id == bindparam("its_id"), tables.executions.c.deleted_at.is_(None)
)
_LOCK = _GET.with_for_update()
_TOKENS = select(
    *(tables.executions.c[name] for name in ("id", "token_hash", "ended_at", "created_at", "joined_at"))
).where(
    tables.executions.c.id.in_(bindparam("its_ids", expanding=True)),
    tables.executions.c.deleted_at.is_(None),
)
_GET_ALL = (
    select(tables.executions)
    .where(
        tables.executions.c.id.in_(bindparam("its_ids", expanding=True)),
        tables.executions.c.deleted_at.is_(None),
    )
    .order_by(tables.executions.c.id)  # so that two transactions cannot wait for each other
)
_LOCK_ALL = _GET_ALL.with_for_update()
_LOCK_UNLOCKED = _GET_ALL.with_for_update(skip_locked=True)
_FIND_SHARDS = select(tables.shards).where(
    tables.shards.c.execution_id.in_(bindparam("its_executions", expanding=True)),
    tables.shards.c.shard_id.in_(bindparam("its_shards", expanding=True)),
)


_SAVE = update(tables.executions).where(tables.executions.c.id == bindparam("its_id"))
_SHOW = _SAVE.values(version=tables.executions.c.version + 1)
_SAVE_SHARD = update(tables.shards).where(*_ITS_SHARD)


@cache
def _next_version(dialect: str) -> Update:
    """Return ``_SHOW`` for one execution, which also notifies all server processes."""
    return versions.with_next_version(dialect, _SAVE)


def _next_number(connection: Connection) -> int:
    """Return a number larger than that of any execution; SQLite has one transaction that writes at a time."""
    if connection.dialect.name == "postgresql":
        query: Select[Any] = select(func.nextval("execution_numbers"))
    else:
        query = select(func.coalesce(func.max(tables.executions.c.number), 0) + 1)
    return int(connection.scalar(query) or 1)


def _natural(shard_id: str) -> tuple[bool, int, str]:
    return (not shard_id.isdecimal(), len(shard_id) if shard_id.isdecimal() else 0, shard_id)


def _is(execution_id: str, shard_id: str) -> Sequence[Any]:
    return (tables.shards.c.execution_id == execution_id, tables.shards.c.shard_id == shard_id)


def _one(connection: Connection, query: Select[Any], execution_id: str) -> Execution:
    known = "\x00" not in execution_id  # PostgreSQL takes no NUL, not even to look for
    row = connection.execute(query, {"its_id": execution_id}).one_or_none() if known else None
    if row is None:
        raise NotFound(f"There is no execution {execution_id[:100]}.")
    return _execution(row)


def _execution(row: Row[Any]) -> Execution:
    columns = row._mapping  # SQLAlchemy's public name for it
    return Execution(
        **{name: columns[name] for name in (*_PLAIN_EXECUTION, "number", "project_id", "version")},
        configuration=msgspec.json.decode(columns["configuration"]),
        metadata=msgspec.json.decode(columns["metadata"]),
        extra=msgspec.json.decode(columns["extra"]),
        summed=wire.Counts(**{name: columns[name] for name in COUNTS}),
        reported_counts=_decode_counts(columns["reported_counts"]),
        declared_shards=_NUMBERS.decode(columns["declared_shards"]),
    )


_PLAIN_EXECUTION = (
    "id",
    "status",
    "test_suite",
    "environment",
    "provider",
    "trigger_source",
    "token_hash",
    "root",
    "created_at",
    "started_at",
    "ended_at",
    "deadline_at",
    "timeout_given",
    "max_shard_duration",
    "cancelled_by_user",
    "tests_expected",
    "not_run",
    "reason",
    "shards_total",
    "shards_seen",
    "shards_finished",
    "run_key",
    "joined_at",
    "idle_since",
    "queue_state",
)
_PLAIN_SHARD = (
    "status",
    "started_at",
    "ended_at",
    "duration",
    "tests_duration",
    "silence_deadline_at",
    "last_reported_at",
    "runner",
    "attempt",
    "ci_attempt",
    "tests_received",
    "collected",
    "not_run",
    "not_run_reason",
    "exit_status",
    "division",
    "reason",
)
_NAMES = msgspec.json.Decoder(tuple[str, ...])  # made at import: see calls.decoder
_NUMBERS = msgspec.json.Decoder(tuple[int, ...])
_RUNNING = msgspec.json.Decoder(tuple[wire.RunningTest, ...])


def _execution_row(execution: Execution) -> dict[str, Any]:
    return {
        **{name: getattr(execution, name) for name in _PLAIN_EXECUTION[1:]},
        **{name: getattr(execution.summed, name) for name in COUNTS},
        "configuration": _text(execution.configuration),
        "metadata": _text(execution.metadata),
        "extra": _text(execution.extra),
        "reported_counts": None if execution.reported_counts is None else _text(execution.reported_counts),
        "declared_shards": _text(execution.declared_shards),
    }


def _shard_row(shard: Shard) -> dict[str, Any]:
    return {
        **{name: getattr(shard, name) for name in _PLAIN_SHARD},
        **{name: getattr(shard.derived, name) for name in COUNTS},
        "reported_counts": None if shard.reported_counts is None else _text(shard.reported_counts),
        "metadata": _text(shard.metadata),
        "not_run_tests": _text(shard.not_run_tests),
        "in_flight": _text(shard.in_flight),
    }


def _shard(row: Row[Any]) -> Shard:
    columns = row._mapping  # SQLAlchemy's public name for it
    return Shard(
        shard_id=columns["shard_id"],
        **{name: columns[name] for name in _PLAIN_SHARD},
        derived=wire.Counts(**{name: columns[name] for name in COUNTS}),
        reported_counts=_decode_counts(columns["reported_counts"]),
        metadata=msgspec.json.decode(columns["metadata"]) if "metadata" in columns else {},
        not_run_tests=_NAMES.decode(columns["not_run_tests"]),
        in_flight=_RUNNING.decode(columns["in_flight"]),
    )


def _decode_counts(text: str | None) -> wire.Counts | None:
    return None if text is None else msgspec.json.decode(text, type=wire.Counts)


def _text(value: object) -> str:
    return msgspec.json.encode(value).decode()
