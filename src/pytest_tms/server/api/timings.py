"""Calls about the durations of tests."""

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
from pytest_tms.server.store.database import Database


@route(calls.GET_TIMINGS)
def get_timings(database: Database, caller: Caller, query: dict[str, Any]) -> wire.Timings:
    """Return the median durations of the tests of a suite, environment and branch."""
    names = ("testSuite", "environment", "branch", *(["project"] if "project" in query else []))
    refuse(
        Problem(name, f"Must be a text of 1 to {MAX_FILTER} characters")
        for name in names
        if not (1 <= len(query.get(name, "")) <= MAX_FILTER and "\x00" not in query[name])
    )
    return timings.get_timings(
        database,
        suite=query["testSuite"],
        environment=query["environment"],
        branch=query["branch"],
        project=query.get("project", ""),
        caller=caller,
    )


@route(calls.FIX_PLAN)
def fix_plan(database: Database, caller: Caller, execution_id: str) -> wire.ExecutionPlan:
    """Return the plan of an execution, which the first call makes."""
    return timings.fix_plan(database, execution_id, caller=caller)


HANDLERS = (get_timings, fix_plan)
