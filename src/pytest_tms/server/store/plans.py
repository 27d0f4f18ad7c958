"""Plans: the durations by which the shards of an execution divide its tests, fixed once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec
from sqlalchemy import Connection, insert, select

from pytest_tms.server.store import tables
from pytest_tms.server.store.result_documents import zstd
from pytest_tms.server.store.test_durations import SetupMedian


class Durations(msgspec.Struct, frozen=True, array_like=True):
    """Milliseconds of tests by node id, the ids of the executions that they are of, and shared setups."""

    by_test: Mapping[str, int]
    executions: Sequence[str]
    setups: Sequence[SetupMedian] = ()


class Plan(NamedTuple):
    """The plan of an execution; ``created_at`` is milliseconds since 1970."""

    created_at: int
    durations: Durations


def get(connection: Connection, execution: int) -> Plan | None:
    """Return the plan of an execution, by its number; None if it has none yet."""
    plan = tables.plans.c
    query = select(plan.created_at, plan.document).where(plan.execution == execution)
    row = connection.execute(query).one_or_none()
    if row is None:
        return None
    return Plan(row.created_at, _DOCUMENT.decode(zstd.decompress(row.document)))


def add(connection: Connection, execution: int, plan: Plan) -> None:
    """Store the plan of an execution that has none."""
    document = zstd.compress(msgspec.json.encode(plan.durations))
    connection.execute(
        insert(tables.plans).values(execution=execution, created_at=plan.created_at, document=document)
    )


_DOCUMENT = msgspec.json.Decoder(Durations)  # made at import: see calls.decoder
