"""The durations of tests, and the plan by which the shards of an execution divide them."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import pytest
from sqlalchemy import insert

from pytest_tms.server.store import plans, tables
from pytest_tms.server.store.database import Database
from pytest_tms.server.store.result_documents import zstd
from tests.helpers.api import Api, expect_error, expect_success, invalid_fields, result


class Runs:
    """Runs of a project that no other test has."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.project = uuid.uuid4().hex[:8]

    def create(self, branch: str = "main", **metadata: str) -> str:
        execution = self.api.create(metadata={"project": self.project, "branch": branch, **metadata})
        return str(execution["executionId"])

    def report(self, *tests: dict[str, Any], branch: str = "main") -> str:
        execution = self.create(branch)
        self.api.submit({"executionId": execution}, tests=list(tests))
        return execution

    def plan(self, execution: str) -> dict[str, Any]:
        return expect_success(self.api.request("POST", f"/executions/{execution}/plan"), 200)

    def timings(self, branch: str = "main") -> dict[str, Any]:
        query = f"testSuite=all&environment=dev&branch={branch}&project={self.project}"
        return expect_success(self.api.request("GET", f"/timings?{query}"), 200)


@pytest.fixture
def runs(api: Api) -> Runs:
    return Runs(api)


def timed(name: str, duration: int, status: str = "passed", **more: Any) -> dict[str, Any]:
    return {**result(name, status), "nodeId": f"t.py::{name}", "duration": duration, **more}


def durations(found: dict[str, Any]) -> dict[str, int]:
    return {each["nodeId"].removeprefix("t.py::"): each["duration"] for each in found["tests"]}


def test_durations_are_medians_of_the_latest_runs(runs: Runs) -> None:
    runs.report(timed("a", 9000))  # the sixth run before does not count
    made = [runs.report(timed("a", duration), timed("gone", 5)) for duration in (10, 30, 20, 50, 40)]
    found = runs.timings()
    assert durations(found) == {"a": 30, "gone": 5}
    assert found["executions"] == made[::-1]


def test_failed_and_skipped_results_do_not_skew_durations(runs: Runs) -> None:
    runs.report(timed("a", 100), timed("b", 70, "failed", error="E"), timed("c", 3, "skipped"))
    runs.report(timed("a", 9, "skipped"), timed("b", 90, "failed", error="E"), timed("c", 3, "skipped"))
    runs.report(timed("a", 5, "failed", error="E"), timed("c", 3, "skipped"), result("without a node id"))
    assert durations(runs.timings()) == {"a": 100, "b": 70, "c": 0}


def setup(node: str, fixture: str, duration: float, scope: str = "module") -> dict[str, Any]:
    return {"scope": scope, "node": node, "fixture": fixture, "duration": duration}


def test_setups_of_shared_fixtures_are_not_part_of_the_durations_of_tests(runs: Runs) -> None:
    site, rows = setup("", "site", 700, "session"), setup("t.py", "rows", 200)
    for worker, more in (("gw0", 0), ("gw1", 100), ("gw2", 2_000)):
        runs.report(
            timed("a", 1_000 + more, sharedSetups=[{**site, "duration": 700 + more}, rows], worker=worker),
            timed("b", 50),
        )
    found = runs.timings()
    assert durations(found) == {"a": 100, "b": 50}
    assert found["sharedSetups"] == [rows, {**site, "duration": 800}]
    plan = runs.plan(runs.create())
    assert (durations(plan), plan["sharedSetups"]) == ({"a": 100, "b": 50}, found["sharedSetups"])


def test_a_setup_takes_the_median_of_the_processes_of_a_run_and_the_sum_in_each(runs: Runs) -> None:
    execution = {"executionId": runs.create()}
    for number, duration in enumerate((10, 30, 20)):
        paid = [setup("t.py", "rows", duration), setup("t.py", "rows", 5), setup("t.py", "odd", 1)]
        runs.api.submit(execution, str(number), tests=[timed(f"t{number}", 9, sharedSetups=paid)])
    found = runs.timings()
    assert {each["fixture"]: each["duration"] for each in found["sharedSetups"]} == {"rows": 25, "odd": 1}
    assert set(durations(found).values()) == {0}  # never less than nothing


def test_a_result_that_is_sent_again_replaces_its_setups(runs: Runs) -> None:
    execution = {"executionId": runs.create()}
    runs.api.submit(execution, tests=[timed("a", 100, sharedSetups=[setup("t.py", "rows", 60)])])
    runs.api.submit(execution, tests=[timed("a", 100, sharedSetups=[setup("t.py", "rows", 40)])])
    found = runs.timings()
    assert (durations(found), found["sharedSetups"]) == ({"a": 60}, [setup("t.py", "rows", 40)])


def test_invalid_setups_are_refused(runs: Runs) -> None:
    execution = runs.create()
    for wrong, field in (
        ({"scope": "function"}, "scope"),
        ({"duration": -1}, "duration"),
        ({"node": None}, "node"),
    ):
        paid = [{**setup("t.py", "rows", 1), **wrong}]
        body = {"executionId": execution, "shardId": "1", "tests": [timed("a", 1, sharedSetups=paid)]}
        response = runs.api.request("POST", "/results", body)
        assert invalid_fields(response) == {f"tests[0].sharedSetups[0].{field}"}
    many = [setup("t.py", f"f{n}", 1) for n in range(101)]
    body = {"executionId": execution, "shardId": "1", "tests": [timed("a", 1, sharedSetups=many)]}
    assert invalid_fields(runs.api.request("POST", "/results", body)) == {"tests[0].sharedSetups"}


def test_a_renamed_test_has_the_duration_of_its_earlier_name_until_it_has_its_own(runs: Runs) -> None:
    old, new = (f"{name}_{runs.project}" for name in ("old", "new"))
    runs.report(timed(old, 700), timed("other", 5))
    runs.report(timed(new, 1), branch="topic")
    found = expect_success(runs.api.request("GET", f"/tests?q={runs.project}"), 200)
    keys = {each["nodeId"].removeprefix("t.py::"): each["key"] for each in found["tests"]}
    body = {"earlierKey": keys[old], "isSame": True}
    expect_success(runs.api.request("PUT", f"/tests/{keys[new]}/rename", body), 200)
    assert durations(runs.plan(runs.create())) == {old: 700, new: 700, "other": 5}
    runs.report(timed(new, 800))
    assert durations(runs.plan(runs.create()))[new] == 800


def test_every_shard_of_an_execution_gets_the_same_plan(runs: Runs) -> None:
    first = runs.report(timed("a", 100))
    execution = runs.create()
    with ThreadPoolExecutor(8) as pool:
        plans = list(pool.map(lambda _: runs.plan(execution), range(8)))
    assert all(each == plans[0] for each in plans)
    assert (durations(plans[0]), plans[0]["executions"]) == ({"a": 100}, [first])
    runs.api.submit({"executionId": execution}, tests=[timed("a", 500)])
    runs.report(timed("a", 900))
    assert runs.plan(execution) == plans[0]
    assert durations(runs.plan(runs.create())) == {"a": 500}


def test_the_first_run_of_a_project_has_an_empty_plan(runs: Runs) -> None:
    found = runs.plan(runs.create())
    assert (found["tests"], found["executions"]) == ([], [])


def test_a_branch_with_few_runs_also_uses_its_base_branch(runs: Runs) -> None:
    base = runs.report(timed("a", 100), timed("b", 10), branch="develop")
    own = runs.report(timed("a", 300), branch="topic")
    execution = runs.create("topic", baseBranch="develop")
    found = runs.plan(execution)
    assert found["executions"] == [own, base]
    assert durations(found) == {"a": 100, "b": 10}


def test_plans_of_unknown_executions_and_invalid_filters_are_refused(runs: Runs) -> None:
    expect_error(runs.api.request("POST", "/executions/exec_none/plan"), 404)
    assert invalid_fields(runs.api.request("GET", "/timings")) == {"testSuite", "environment"}
    path = f"/timings?testSuite=all&environment=dev&branch={'x' * 201}&project="
    assert invalid_fields(runs.api.request("GET", path)) == {"branch", "project"}
    unknown = runs.api.request("GET", "/timings?testSuite=all&environment=dev&branch=main&project=no-such")
    assert expect_success(unknown, 200) == {
        "tests": [],
        "sharedSetups": [],
        "executions": [],
    }


def test_executions_without_a_branch_have_durations_of_their_own(runs: Runs) -> None:
    made = runs.report(timed("a", 7), branch="")
    runs.report(timed("a", 9))
    query = f"testSuite=all&environment=dev&project={runs.project}"
    found = expect_success(runs.api.request("GET", f"/timings?{query}"), 200)
    assert (durations(found), found["executions"]) == ({"a": 7}, [made])


def test_settled_tests_are_those_that_passed_or_were_skipped_in_a_shard(runs: Runs) -> None:
    execution = {"executionId": runs.create()}
    runs.api.submit(
        execution,
        tests=[
            timed("a", 1),
            timed("b", 1, "failed", error="E"),
            timed("c", 1, "skipped"),
            result("no node id"),
        ],
    )
    runs.api.submit(execution, "2", tests=[timed("d", 1)])
    path = f"/executions/{execution['executionId']}/settled"
    found = expect_success(runs.api.request("GET", f"{path}?shardId=1"), 200)
    assert found["nodeIds"] == ["t.py::a", "t.py::c"]
    runs.api.submit(execution, tests=[timed("b", 1)])
    found = expect_success(runs.api.request("GET", f"{path}?shardId=1"), 200)
    assert sorted(found["nodeIds"]) == ["t.py::a", "t.py::b", "t.py::c"]
    assert expect_success(runs.api.request("GET", f"{path}?shardId=none"), 200)["nodeIds"] == []
    assert invalid_fields(runs.api.request("GET", path)) == {"shardId"}
    expect_error(runs.api.request("GET", "/executions/exec_none/settled?shardId=1"), 404)


def test_a_plan_of_an_earlier_version_has_no_setups(empty_database: Database) -> None:
    document = zstd.compress(msgspec.json.encode(({"t.py::a": 7}, ["exec_1"])))
    with empty_database.write() as connection:
        connection.execute(insert(tables.plans).values(execution=1, created_at=5, document=document))
    with empty_database.read() as connection:
        found = plans.get(connection, 1)
    assert found == plans.Plan(5, plans.Durations({"t.py::a": 7}, ["exec_1"]))
