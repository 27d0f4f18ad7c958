"""Calls by which a runner selects the tests of a shard."""

from __future__ import annotations

from typing import Any

from pytest_tms import wire
from pytest_tms.client import calls
from pytest_tms.errors import Problem
from pytest_tms.server.api.filters import MAX_FILTER
from pytest_tms.server.api.routes import route
from pytest_tms.server.domain.actors import Caller
from pytest_tms.server.domain.problems import refuse
from pytest_tms.server.services import timings
from pytest_tms.server.services.idempotency import IdempotentRequest
from pytest_tms.server.store import executions, results
from pytest_tms.server.store.database import Database


@route(calls.GET_TIMINGS)
def get_timings(database: Database, caller: Caller, query: dict[str, Any]) -> wire.Timings:
    """Return the median durations of the tests of a suite, environment and branch."""
    names = ("testSuite", "environment", *(each for each in ("branch", "project") if each in query))
    refuse(
        Problem(name, f"Must be a text of 1 to {MAX_FILTER} characters")
        for name in names
        if not (1 <= len(query.get(name, "")) <= MAX_FILTER and "\x00" not in query[name])
    )
    return timings.get_timings(
        database,
        suite=query["testSuite"],
        environment=query["environment"],
        branch=query.get("branch", ""),
        project=query.get("project", ""),
        caller=caller,
    )


@route(calls.FIX_PLAN)
def fix_plan(
    database: Database, caller: Caller, idempotency: IdempotentRequest, execution_id: str
) -> wire.ExecutionPlan:
    """Return the plan of an execution, which the first call makes."""
    return timings.fix_plan(database, execution_id, caller=caller, idempotency=idempotency)


@route(calls.LIST_SETTLED)
def list_settled(
    database: Database, caller: Caller, execution_id: str, query: dict[str, Any]
) -> wire.SettledTests:
    """Return the tests of a shard that passed or were skipped."""
    shard = query.get("shardId", "")
    if not (1 <= len(shard) <= MAX_FILTER and "\x00" not in shard):
        refuse([Problem("shardId", f"Must be a text of 1 to {MAX_FILTER} characters")])
    with database.read() as connection:
        execution = executions.get(connection, execution_id)
        caller.require_access([execution.environment])
        found = results.settled(connection, execution, shard)
    return wire.SettledTests(execution_id=execution_id, shard_id=shard, node_ids=found)


HANDLERS = (get_timings, fix_plan, list_settled)
