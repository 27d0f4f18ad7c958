"""How long tests take, and the plan by which the shards of an execution divide them."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection

from pytest_tms import wire
from pytest_tms.server.domain import clock
from pytest_tms.server.domain.actors import Caller
from pytest_tms.server.domain.builds import DEFAULT_PROJECT
from pytest_tms.server.domain.executions import Execution
from pytest_tms.server.domain.series import base_branches
from pytest_tms.server.services.idempotency import IdempotentRequest
from pytest_tms.server.store import execution_lists, executions, plans, projects, series, test_durations
from pytest_tms.server.store.database import Database
from pytest_tms.server.store.plans import Durations, Plan

RUNS = 5
"""Latest runs whose durations count."""


def get_timings(
    database: Database, *, suite: str, environment: str, branch: str, project: str, caller: Caller
) -> wire.Timings:
    """Return the median durations of the tests of a suite, environment and branch.

    If the branch has fewer than ``RUNS`` runs, those of the default branches count too. ``project`` is a
    name, empty for the default one.

    Raises:
        Forbidden: The caller has no access to the environment.
    """
    caller.require_access([environment])
    branches = [branch, *base_branches({}, branch)]
    with database.read() as connection:
        project_id = projects.find(connection, project or DEFAULT_PROJECT)
        runs = series.latest(connection, project_id or 0, suite, environment, branches, RUNS)
        found = _durations(connection, runs)
    return wire.Timings(tests=_tests(found), shared_setups=_setups(found), executions=list(found.executions))


def fix_plan(
    database: Database, execution_id: str, *, caller: Caller, idempotency: IdempotentRequest
) -> wire.ExecutionPlan:
    """Return the plan of an execution, and make it if there is none yet.

    It is made from the latest runs of the execution's branch, and of its base branch if these are few.

    Raises:
        NotFound: The execution does not exist.
        Forbidden: The caller has no access to its environment.
        Unprocessable: The idempotency key was used with another body.
    """
    with database.read() as connection:
        execution = executions.get(connection, execution_id)
        caller.require_access([execution.environment])
        plan = plans.get(connection, execution.number)
        computed = Plan(clock.now(), _of_earlier_runs(connection, execution)) if plan is None else plan
    with database.write() as connection:
        # The plan itself is stored already: the response of the key need not repeat it.
        if idempotency.recall(connection, wire.ExecutionPlan) is None:
            idempotency.keep(connection, wire.ExecutionPlan(execution_id=execution_id))
        if plan is None:
            executions.lock(connection, execution_id)
            plan = plans.get(connection, execution.number)  # another shard may have made one meanwhile
        if plan is None:
            plans.add(connection, execution.number, computed)
    plan = plan or computed
    return wire.ExecutionPlan(
        execution_id=execution_id,
        created_at=clock.timestamp(plan.created_at),
        tests=_tests(plan.durations),
        shared_setups=_setups(plan.durations),
        executions=list(plan.durations.executions),
    )


def make_plan(database: Database, execution_id: str, caller: Caller) -> None:
    """Make the plan of an execution if there is none yet.

    Raises:
        NotFound: The execution does not exist.
        Forbidden: The caller has no access to its environment.
    """
    with database.read() as connection:
        execution = executions.get(connection, execution_id)
        caller.require_access([execution.environment])
        if plans.get(connection, execution.number) is not None:
            return
        computed = Plan(clock.now(), _of_earlier_runs(connection, execution))
    with database.write() as connection:
        executions.lock(connection, execution_id)
        if plans.get(connection, execution.number) is None:  # another shard may have made one meanwhile
            plans.add(connection, execution.number, computed)


def _of_earlier_runs(connection: Connection, execution: Execution) -> Durations:
    branch = series.branch_of(connection, execution.number)
    branches = [branch, *base_branches(execution.metadata, branch)]
    suite, environment = execution.test_suite, execution.environment
    runs = series.latest(connection, execution.project_id, suite, environment, branches, RUNS + 1)
    return _durations(connection, [number for number in runs if number != execution.number][:RUNS])


def _tests(durations: Durations) -> list[wire.TestDuration]:
    return [wire.TestDuration(node_id=name, duration=value) for name, value in durations.by_test.items()]


def _setups(durations: Durations) -> list[wire.SharedSetup]:
    return [wire.SharedSetup(**setup._asdict()) for setup in durations.setups]


def _durations(connection: Connection, runs: Sequence[int]) -> Durations:
    by_number = execution_lists.by_number(connection, runs)
    found = test_durations.medians(connection, runs)
    executions_read = [by_number[number].id for number in runs if number in by_number]
    return Durations(found.by_test, executions_read, found.setups)
