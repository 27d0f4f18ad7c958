"""The capability history: causes of failures, comparisons and tests over all executions."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from pytest_tms import TmsClient
from tests.helpers.api import Api, expect_error, expect_success, invalid_fields, result
from tests.integration.server.test_tokens import stored


class Suite:
    """Runs of a suite of a project that no other test has."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.name = uuid.uuid4().hex[:8]

    def run(self, *tests: dict[str, Any], environment: str = "dev", **metadata: str) -> str:
        execution = self.api.create(
            testSuite="all",
            environment=environment,
            metadata={"project": self.name, "branch": f"main-{self.name}", **metadata},
        )
        self.api.submit(execution, tests=list(tests))
        return str(execution["executionId"])

    def test(self, title: str, status: str = "passed", **fields: Any) -> dict[str, Any]:
        return {
            **result(f"{title}_{self.name}", status),
            "nodeId": f"tests/test_{self.name}.py::{title}",
            **fields,
        }

    def get(self, path: str) -> dict[str, Any]:
        return expect_success(self.api.request("GET", path), 200)


@pytest.fixture
def suite(api: Api) -> Suite:
    return Suite(api)


def titles(found: list[dict[str, Any]]) -> list[str]:
    """The names of the tests' functions."""
    return [each["nodeId"].rpartition("::")[2] for each in found]


def test_the_capability_is_announced(api: Api) -> None:
    assert "history" in api.create()["capabilities"]
    assert "history" in expect_success(api.request("GET", "/"), 200)["capabilities"]


def test_failures_are_listed_by_cause(suite: Suite) -> None:
    known = suite.test("known", "failed", error="ValueError: order 1 of 'x'")
    first = suite.run(known, commit="c1")
    many = [suite.test(f"t{n}", "failed", error=f"ValueError: order {n} of 'y'") for n in range(7)]
    second = suite.run(known, *many, suite.test("other", "failed", error="KeyError: 'z'"))
    page = suite.get(f"/executions/{second}/failures?limit=1")
    (cause,) = page["causes"]
    assert (cause["exception"], cause["message"], cause["count"]) == ("ValueError", "order # of '…'", 8)
    assert cause["isNew"] is False
    assert cause["firstSeen"] is not None
    assert titles(cause["tests"]) == ["known", "t0", "t1", "t2", "t3"]
    assert cause["tests"][0]["since"]["executionId"] == first
    assert (cause["tests"][0]["since"]["commit"], cause["tests"][0]["since"]["runs"]) == ("c1", 2)
    rest = suite.get(f"/executions/{second}/failures?cursor={page['cursor']}")
    assert [(each["message"], each["isNew"]) for each in rest["causes"]] == [("'…'", True)]
    assert rest["cursor"] is None


def test_an_execution_is_compared_with_the_previous_or_any_other(suite: Suite) -> None:
    first = suite.run(suite.test("a", "failed"), suite.test("b", "failed"), suite.test("gone"))
    second = suite.run(suite.test("a", "failed"), suite.test("b"), suite.test("new", "failed"))
    for query in ("", f"?with={first}"):
        found = suite.get(f"/executions/{second}/compare{query}")
        assert found["comparedWith"] == first
        names = ("newlyFailing", "fixed", "stillFailing", "added", "removed")
        assert [titles(found[name]) for name in names] == [["new"], ["b"], ["a"], ["new"], ["gone"]]
        assert found["counts"] == {**dict.fromkeys(names, 1), "slower": 0}
        assert found["isComplete"] is True
    missing = expect_error(suite.api.request("GET", f"/executions/{first}/compare"), 404)
    assert missing["message"].endswith("has no previous execution: name one in the parameter with.")
    expect_error(suite.api.request("GET", f"/executions/{first}/compare?with=exec_none"), 404)


def test_executions_of_different_projects_are_not_compared(suite: Suite) -> None:
    first = suite.run(suite.test("a"))
    other = suite.run(suite.test("a"), project=f"other {suite.name}")
    response = suite.api.request("GET", f"/executions/{first}/compare?with={other}")
    assert invalid_fields(response) == {"with"}
    assert "different projects" in suite.api.page(f"/runs/{first}/compare?with={other}").text


def test_what_changed_since_the_previous_run(suite: Suite) -> None:
    first = suite.run(suite.test("a", "failed"), suite.test("b", "failed"), commit="c1")
    alone = suite.get(f"/executions/{first}/changes")
    assert alone["comparedWith"] is None
    assert alone["newFailures"] == alone["knownFailures"] == {"count": 0, "tests": []}
    second = suite.run(
        suite.test("a", "failed"),
        suite.test("b"),
        suite.test("new", "failed", error="ValueError: 3"),
        suite.test("again", retries=1),
    )
    found = suite.get(f"/executions/{second}/changes")
    names = ("newFailures", "knownFailures", "fixed", "flaky")
    assert (found["comparedWith"], found["isComplete"]) == (first, True)
    assert [titles(found[name]["tests"]) for name in names] == [["new"], ["a"], ["b"], ["again"]]
    assert [found[name]["count"] for name in names] == [1, 1, 1, 1]
    assert found["newFailures"]["tests"][0]["error"] == "ValueError: 3"
    assert found["knownFailures"]["tests"][0]["since"]["commit"] == "c1"


def test_changes_of_shards_count_only_their_tests(suite: Suite) -> None:
    suite.run(suite.test("a", "failed"), suite.test("b", "failed"))
    execution = suite.api.create(
        testSuite="all",
        environment="dev",
        configuration={"shards": 3},
        metadata={"project": suite.name, "branch": f"main-{suite.name}"},
    )
    suite.api.submit(execution, shardId="1", tests=[suite.test("a", "failed"), suite.test("x", "failed")])
    suite.api.submit(execution, shardId="2/ä&b", tests=[suite.test("b"), suite.test("y", "failed")])
    suite.api.submit(execution, shardId="3", tests=[suite.test("z", retries=1)])
    path = f"/executions/{execution['executionId']}/changes"

    def listed(*shards: str) -> list[list[str]]:
        with TmsClient(suite.api.url, suite.api.token) as client:
            found = client.get_changes(execution["executionId"], shards=shards)
        lists = (found.new_failures, found.known_failures, found.fixed, found.flaky)
        assert [each.count for each in lists] == [len(each.tests) for each in lists]
        return [[test.node_id.rpartition("::")[2] for test in each.tests] for each in lists]

    assert listed() == [["x", "y"], ["a"], ["b"], ["z"]]
    assert listed("1") == [["x"], ["a"], [], []]
    assert listed("2/ä&b") == [["y"], [], ["b"], []]
    assert listed("2/ä&b", "3") == [["y"], [], ["b"], ["z"]]
    assert listed("nobody") == [[], [], [], []]
    limited = suite.get(f"{path}?limit=1")
    assert (limited["newFailures"]["count"], len(limited["newFailures"]["tests"])) == (2, 1)
    many = "&".join(f"shard={number}" for number in range(201))
    assert set(invalid_fields(suite.api.request("GET", f"{path}?{many}"))) == {"shard"}


def test_the_history_of_a_test(suite: Suite) -> None:
    suite.run(suite.test("a", owner="Ada", tags=["@x"]), commit="c1")
    suite.run(suite.test("a", "failed", error="ValueError: 3"), commit="c2")
    suite.run(suite.test("a", retries=1), commit="c3")
    suite.run(suite.test("a"), commit="c4", branch="other")
    (found,) = suite.get(f"/tests?q={suite.name}")["tests"]
    assert (found["lastStatus"], found["runs"], found["passRate"], found["flakeRate"]) == (
        "passed",
        4,
        0.75,
        0.25,
    )
    assert found["flakeRateLow"] < 0.25 < found["flakeRateHigh"]
    history = suite.get(f"/tests/{found['key']}/history?limit=2")
    assert history["test"] == found
    assert [each["commit"] for each in history["results"]] == ["c4", "c3"]
    rest = suite.get(f"/tests/{found['key']}/history?cursor={history['cursor']}")
    assert [(each["commit"], each["status"]) for each in rest["results"]] == [
        ("c2", "failed"),
        ("c1", "passed"),
    ]
    assert rest["results"][0]["failingRuns"] == 1
    other = suite.get(f"/tests/{found['key']}/history?branch=other&testSuite=all&environment=dev")
    assert [each["commit"] for each in other["results"]] == ["c4"]
    expect_error(suite.api.request("GET", "/tests/999999999/history"), 404)
    expect_error(suite.api.request("GET", "/tests/x/history"), 404)


def test_the_catalogue_has_filters_and_pages(suite: Suite) -> None:
    branch = f"main-{suite.name}"
    suite.run(suite.test("a", owner=suite.name), suite.test("b"), suite.test("flaky", retries=1))
    suite.run(suite.test("a", "failed", owner=suite.name), suite.test("c"), commit=suite.name)
    suite.run(suite.test("a", owner=suite.name), suite.test("c"), commit=suite.name)
    suite.run(*[suite.test("c", "failed") for _ in range(9)], branch="infra")
    found = suite.get(f"/tests?branch={branch}")["tests"]
    assert titles(found) == ["a", "c"]
    flaky = suite.get(f"/tests?flaky=true&q={suite.name}")["tests"]
    assert sorted(titles(flaky)) == ["a", "flaky"]
    assert flaky[0]["flakeRate"] > 0
    first = suite.get(f"/tests?branch={branch}&limit=1")
    second = suite.get(f"/tests?branch={branch}&limit=1&cursor={first['cursor']}")
    assert titles([*first["tests"], *second["tests"]]) == ["a", "c"]
    assert titles(suite.get(f"/tests?q={suite.name}&owner=nobody")["tests"]) == []
    assert titles(suite.get(f"/tests?owner={suite.name}")["tests"]) == ["a"]
    assert titles(suite.get(f"/tests?flaky=true&owner={suite.name}")["tests"]) == ["a"]


def test_flaky_tests_are_ranked_by_the_lower_bound_of_their_rate(suite: Suite) -> None:
    """Three of four is more certain than one of one, and than four of twelve."""

    def tests(number: int) -> list[dict[str, Any]]:
        found = [suite.test("seldom", retries=int(number % 3 == 0), duration=100, owner="ada")]
        if number < 4:
            found.append(suite.test("often", retries=2 * (number < 3), duration=1000))
        if number == 11:
            found.append(suite.test("once", retries=1, duration=5))
        return [*found, suite.test("steady")]

    for number in range(12):
        suite.run(*tests(number))
    suite.run(*[suite.test(f"down{n}", "failed") for n in range(9)], suite.test("often", retries=1))
    query = f"/tests?flaky=true&branch=main-{suite.name}&testSuite=all"
    found = suite.get(query)["tests"]
    assert titles(found) == ["often", "once", "seldom"]
    assert [(each["runs"], each["flakeRate"]) for each in found] == [(4, 0.75), (1, 1.0), (12, 0.3333)]
    assert [each["flakeCost"] for each in found] == [6000, 5, 400]
    assert found[0]["flakeRateLow"] > found[1]["flakeRateLow"] > found[2]["flakeRateLow"]
    assert [each["flakeTrend"] for each in found] == ["steady"] * 3
    assert titles(suite.get(f"{query}&owner=ada")["tests"]) == ["seldom"]
    first = suite.get(f"{query}&limit=2")
    rest = suite.get(f"{query}&limit=2&cursor={first['cursor']}")
    assert titles([*first["tests"], *rest["tests"]]) == ["often", "once", "seldom"]
    assert rest["cursor"] is None
    assert suite.get(f"/tests?q={suite.name}")["tests"][0]["flakeTrend"] is None


def test_a_failed_attempt_of_the_shard_costs_its_duration(suite: Suite) -> None:
    execution = suite.api.create(metadata={"project": suite.name, "branch": f"main-{suite.name}"})
    for attempt, status, duration in (("1", "failed", 700), ("2", "passed", 50)):
        started = {"runner": f"r{attempt}", "attempt": int(attempt)}
        suite.api.send(execution, "shard.started", shardId="1", **started)
        suite.api.submit(execution, tests=[suite.test("a", status, duration=duration)], runner=f"r{attempt}")
    (found,) = suite.get(f"/tests?flaky=true&branch=main-{suite.name}")["tests"]
    assert (found["flakeCost"], found["flakeRate"]) == (700, 1.0)


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/tests?flaky=maybe&limit=0", ["limit"]),
        ("/tests?flaky=maybe", ["flaky"]),
        ("/tests?q=&owner=%00", ["q", "owner"]),
        ("/tests?x=1", ["x"]),
        ("/tests?cursor=a", ["cursor"]),
        ("/tests/1/history?branch=", ["branch"]),
        ("/executions/{}/failures?cursor=5", ["cursor"]),
        ("/executions/{}/failures?cursor=5-ABCDEF0123456789", ["cursor"]),
        ("/executions/{}/failures?limit=201", ["limit"]),
        ("/executions/{}/compare?with=", ["with"]),
        ("/executions/{}/changes?shard=", ["shard"]),
        ("/executions/{}/changes?limit=0", ["limit"]),
    ],
)
def test_wrong_parameters_are_listed(suite: Suite, path: str, fields: list[str]) -> None:
    execution = suite.run(suite.test("a"))
    assert set(invalid_fields(suite.api.request("GET", path.format(execution)))) == set(fields)


def test_the_client_has_every_call(suite: Suite) -> None:
    first = suite.run(suite.test("a"))
    second = suite.run(suite.test("a", "failed", error="ValueError: 3"))
    with TmsClient(suite.api.url, suite.api.token) as client:
        assert client.compare_executions(second).compared_with == first
        assert client.compare_executions(second, first).counts.newly_failing == 1
        assert client.list_failures(second).causes[0].message == "#"
        (found,) = client.list_registered_tests(q=suite.name).tests
        assert [each.status for each in client.get_test_history(found.key).results] == ["failed", "passed"]


def test_a_token_that_is_bound_to_environments_sees_only_their_results(suite: Suite) -> None:
    dev = suite.run(suite.test("only"), suite.test("both"))
    staging = suite.run(suite.test("both", "failed", error="ValueError: 3"), environment="staging")
    found = suite.get(f"/tests?q={suite.name}")["tests"]
    key = next(each["key"] for each in found if each["title"].startswith("only"))
    bound = stored(suite.api, environments=("staging",))
    listed = suite.api.request("GET", f"/tests?q={suite.name}", token=bound)
    (both,) = expect_success(listed, 200)["tests"]
    assert (both["runs"], both["lastStatus"]) == (1, "failed")
    history = suite.api.request("GET", f"/tests/{both['key']}/history", token=bound)
    assert [each["executionId"] for each in expect_success(history, 200)["results"]] == [staging]
    expect_error(suite.api.request("GET", f"/tests/{key}/history", token=bound), 404)
    expect_success(suite.api.request("GET", f"/executions/{staging}/failures", token=bound), 200)
    for path in (f"{dev}/failures", f"{dev}/compare?with={staging}", f"{staging}/compare?with={dev}"):
        expect_error(suite.api.request("GET", f"/executions/{path}", token=bound), 403)
