"""Tests of a shard that has had more than one attempt: the newest verdict counts, the older ones are kept.

A shard with one attempt needs none of this: see ``results.put_tests``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Connection, bindparam, insert, select, update

from pytest_tms import wire
from pytest_tms.server.domain import counts
from pytest_tms.server.store import tables
from pytest_tms.server.store.results import KEYS_AT_ONCE, TestRow

MAX_EARLIER = 10
"""Earlier attempts of a test that are kept."""
MAX_DOCUMENT = 8_000
"""Characters of the document of an earlier attempt; a longer one loses its output, then more."""
MAX_TRACEBACK = 4_000
"""Characters that are kept of the end of a traceback in a document that is too long."""
_LONG = ("stdout", "stderr", "log", "attempts", "subtests", "artifacts", "properties", "parameters", "tags")
_SHORT = (
    "title",
    "file",
    "status",
    "nodeId",
    "outcome",
    "error",
    "duration",
    "retries",
    "startedAt",
    "worker",
)
_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])  # made at import: see calls.decoder
_LIST = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])
_TABLE = tables.tests.c


class Merged(NamedTuple):
    """What tests changed: what to add to the shard's counts, and how many are new to their attempt."""

    change: wire.Counts
    new: int


class _Known(NamedTuple):
    """A row as it is, and as it will be."""

    id: int
    status: str
    retries: int
    attempt: int
    was_failed: bool
    document: str
    earlier: str | None


def merge(
    connection: Connection, execution_id: str, shard_id: str, rows: Sequence[TestRow], attempt: int
) -> Merged:
    """Keep tests that an attempt of a shard sent, whose execution is locked.

    A test of the same attempt is replaced. One of an earlier attempt moves behind the newer; one of a later
    attempt stays, and this one moves behind it.
    """
    total = Merged(counts.NONE, 0)
    for start in range(0, len(rows), KEYS_AT_ONCE):
        some = _merge(connection, execution_id, shard_id, rows[start : start + KEYS_AT_ONCE], attempt)
        change = [getattr(total.change, name) + getattr(some.change, name) for name in _COUNTS]
        total = Merged(wire.Counts(**dict(zip(_COUNTS, change, strict=True))), total.new + some.new)
    return total


def insert_before(connection: Connection, execution_id: str, shard_id: str, attempt: int) -> None:
    """Make room for an attempt that was earlier than this one but reports later: this one is the next."""
    for table in (tables.tests, tables.runners):
        connection.execute(
            update(table)
            .where(
                table.c.execution_id == execution_id,
                table.c.shard_id == shard_id,
                table.c.attempt == attempt,
            )
            .values(attempt=attempt + 1)
        )


def _merge(
    connection: Connection, execution_id: str, shard_id: str, rows: Sequence[TestRow], attempt: int
) -> Merged:
    known = _known(connection, execution_id, shard_id, [row.test_key for row in rows])
    before, after, inserted, updated, new = [], [], [], [], 0
    for row in rows:
        old = known.get(row.test_key)
        if old is None:
            place = {"execution_id": execution_id, "shard_id": shard_id, "attempt": attempt}
            inserted.append({**place, **row._asdict()})
            after.append(_end(row.status, row.retries, was_failed=False))
            new += 1
            continue
        before.append(_end(old.status, old.retries, was_failed=old.was_failed))
        values: dict[str, Any]
        if old.attempt <= attempt:
            values = row._asdict()
            del values["test_key"]
            values.update(attempt=attempt, was_failed=old.was_failed, earlier=old.earlier)
            if old.attempt < attempt:
                values["was_failed"] = old.was_failed or _has_failed(old.status, old.retries)
                values["earlier"] = _behind(old.earlier, old.attempt, old.document)
                new += 1
        else:
            values = {name: getattr(old, name) for name in ("status", "retries", "attempt", "document")}
            values["was_failed"] = old.was_failed or _has_failed(row.status, row.retries)
            values["earlier"] = _behind(old.earlier, attempt, row.document)
        after.append(_end(values["status"], values["retries"], was_failed=values["was_failed"]))
        updated.append({"row_id": old.id, "values": values})
    if inserted:
        connection.execute(insert(tables.tests), inserted)
    _update(connection, updated)
    return Merged(counts.change(_sum(before), _sum(after)), new)


def _known(
    connection: Connection, execution_id: str, shard_id: str, keys: Sequence[str]
) -> dict[str, _Known]:
    query = select(_TABLE.test_key, *(_TABLE[name] for name in _Known._fields)).where(
        _TABLE.execution_id == execution_id, _TABLE.shard_id == shard_id, _TABLE.test_key.in_(keys)
    )
    return {row[0]: _Known(*row[1:]) for row in connection.execute(query)}


def _update(connection: Connection, rows: Sequence[dict[str, Any]]) -> None:
    """Write rows back; those that set the same columns in one statement."""
    for names in {tuple(row["values"]) for row in rows}:
        new: dict[str, Any] = {name: bindparam(f"new_{name}") for name in names}
        connection.execute(
            update(tables.tests).where(_TABLE.id == bindparam("row_id")).values(**new),
            [
                {"row_id": row["row_id"], **{f"new_{name}": row["values"][name] for name in names}}
                for row in rows
                if tuple(row["values"]) == names
            ],
        )


def _behind(earlier: str | None, attempt: int, document: str) -> str:
    """The documents of earlier attempts with another one, the newest attempt first."""
    mark = msgspec.Raw(msgspec.json.encode(attempt))
    kept = [each for each in _LIST.decode(earlier or "[]") if bytes(each["attempt"]) != bytes(mark)]
    kept.append({**_bounded(document), "attempt": mark})
    kept.sort(key=lambda each: -int(bytes(each["attempt"])))
    return msgspec.json.encode(kept[:MAX_EARLIER]).decode()


def _bounded(document: str) -> dict[str, msgspec.Raw]:
    fields = _FIELDS.decode(document)
    if len(document) <= MAX_DOCUMENT:
        return fields
    for name in _LONG:
        fields.pop(name, None)
    if "longrepr" in fields:
        fields["longrepr"] = _cut(fields["longrepr"], MAX_TRACEBACK)
    if sum(len(bytes(each)) for each in fields.values()) <= MAX_DOCUMENT:
        return fields
    return {name: _cut(fields[name], MAX_DOCUMENT // 16) for name in _SHORT if name in fields}


def _cut(value: msgspec.Raw, most: int) -> msgspec.Raw:
    """A text without its beginning if it is too long; the end of a traceback is what went wrong."""
    text = msgspec.json.decode(value)
    if not isinstance(text, str) or len(text) <= most:
        return value
    return msgspec.Raw(msgspec.json.encode(f"…{text[-most:]}"))


def _has_failed(status: str, retries: int) -> bool:
    return status == "failed" or retries > 0


def _end(status: str, retries: int, *, was_failed: bool) -> tuple[str, bool]:
    """How a test counts, and whether as flaky: one that passed, but not at once."""
    return status, status == "passed" and (retries > 0 or was_failed)


def _sum(ends: Sequence[tuple[str, bool]]) -> wire.Counts:
    tallied = {"passed": 0, "failed": 0, "skipped": 0}
    for status, _ in ends:
        tallied[status] += 1
    return wire.Counts(total=len(ends), flaky=sum(flaky for _, flaky in ends), **tallied)


_COUNTS = wire.Counts.__struct_fields__
