"""A 422 names every bad field by its path; null is absent; what is unknown is kept."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_tms import TmsClient, wire
from pytest_tms.errors import Unprocessable
from tests.helpers.api import Api, expect_error, expect_success, invalid_fields, result


def test_every_bad_field_of_a_new_execution_is_named(api: Api) -> None:
    body = {
        "environment": "moon",
        "provider": "",
        "triggerSource": "cosmic",
        "configuration": {"shards": 0, "timeout": "long", "parallel": "yes", "browsers": [1], "retries": -1},
        "metadata": [],
    }
    assert invalid_fields(api.request("POST", "/executions", body)) == {
        "testSuite",
        "environment",
        "provider",
        "triggerSource",
        "configuration.shards",
        "configuration.timeout",
        "configuration.parallel",
        "configuration.browsers[0]",
        "configuration.retries",
        "metadata",
    }


def test_a_whole_number_may_be_written_with_a_point(api: Api) -> None:
    execution = api.create(configuration={"shards": 2.0, "timeout": 6e4})
    assert execution["configuration"]["shards"] == 2
    api.submit(execution, results={"total": 2.0, "passed": 1.0}, tests=[result(retries=1.0, mine=1.5)])
    api.send(execution, "shard.completed", shardId="2", results={"total": 3.0})
    assert api.status(execution)["results"] == {
        "total": 5,
        "passed": 4,
        "failed": 1,
        "skipped": 0,
        "flaky": 1,
    }
    assert api.tests(execution) == [{"shardId": "1", **result(retries=1, mine=1.5)}]


def test_every_bad_field_of_a_submission_is_named_with_those_of_its_tests(api: Api) -> None:
    body = {
        "executionId": "",
        "status": "fine",
        "results": {"total": 5, "passed": 1, "failed": 1, "skipped": 1},
        "artifacts": {"logs": "test.log"},
        "metadata": 1,
        "tests": [
            result(),
            {"status": "broken", "duration": -1},
            "no test",
            result(tags=["a", 1], retries=1.5, error=[], attempts=[{"duration": 1}]),
        ],
    }
    assert invalid_fields(api.request("POST", "/results", body)) == {
        "executionId",
        "shardId",
        "status",
        "results.total",
        "artifacts.logs",
        "metadata",
        "tests[1].title",
        "tests[1].status",
        "tests[1].duration",
        "tests[2]",
        "tests[3].tags[1]",
        "tests[3].retries",
        "tests[3].error",
        "tests[3].attempts[0].outcome",
    }


def test_counts_are_checked_beside_bad_tests(api: Api) -> None:
    body = {
        "executionId": "any",
        "shardId": "1",
        "results": {"passed": 1, "flaky": 2},
        "tests": [{"title": "t"}],
    }
    assert invalid_fields(api.request("POST", "/results", body)) == {"results.flaky", "tests[0].status"}


def test_every_bad_field_of_an_event_is_named(api: Api) -> None:
    execution = api.create()
    body = {
        "event": "shard.completed",
        "executionId": "exec_another",
        "timestamp": "yesterday",
        "happenedAt": "tomorrow",
        "data": {
            "duration": -1,
            "results": {"passed": 2, "total": 1},
            "tests": [{"title": "t"}],
            "running": 1,
        },
    }
    assert invalid_fields(api.request("POST", execution["webhookUrl"], body)) == {
        "executionId",
        "timestamp",
        "happenedAt",
        "data.shardId",
        "data.duration",
        "data.results.total",
        "data.tests[0].status",
        "data.running",
    }
    assert invalid_fields(api.request("POST", execution["webhookUrl"], {"event": "nope"})) == {
        "event",
        "executionId",
    }


@pytest.mark.parametrize(
    ("body", "settings"),
    [
        ({"testSuite": "nope", "environment": "dev"}, "TMS_SERVER_SUITES"),
        ({"testSuite": "nope", "environment": "moon"}, "TMS_SERVER_SUITES and TMS_SERVER_ENVIRONMENTS"),
        ({"testSuite": "nope", "environment": 1, "provider": ""}, "TMS_SERVER_SUITES"),
    ],
)
def test_a_refused_suite_or_environment_comes_with_the_setting_that_allows_it(
    api: Api, body: dict[str, Any], settings: str
) -> None:
    error = api.request("POST", "/executions", body).json()["error"]
    assert error["hint"] == f"The operator of the TMS allows others with {settings}."
    with TmsClient(api.url, api.token) as client, pytest.raises(Unprocessable, match="TMS_SERVER_SUITES"):
        client.create_execution(
            wire.ExecutionRequest(test_suite="nope", environment=str(body["environment"]))
        )


def test_other_errors_have_no_hint(api: Api) -> None:
    for body in ({}, {"testSuite": "all", "environment": "dev", "provider": ""}):
        assert "hint" not in api.request("POST", "/executions", body).json()["error"]


def test_a_message_says_what_a_field_must_be(api: Api) -> None:
    body = {"testSuite": "nope", "environment": 1, "configuration": {"shards": 0}, "provider": "x" * 201}
    messages = {
        p["field"]: p["message"]
        for p in expect_error(api.request("POST", "/executions", body), 422)["details"]
    }
    assert messages == {
        "testSuite": "Must be one of: smoke, regression, api, ui, all",
        "environment": "Must be a string",
        "configuration.shards": "Must be at least 1",
        "provider": "Must be at most 200 characters",
    }


def test_a_thousand_problems_are_listed_and_the_rest_is_said_to_be(api: Api) -> None:
    lists: list[list[dict[str, Any]]] = [[{}] * 2000, [result(tags=[1] * 2000)]]
    for tests in lists:
        body = {"executionId": "any", "shardId": "1", "tests": tests}
        details = expect_error(api.request("POST", "/results", body), 422)["details"]
        assert len(details) == 1001
        assert details[-1] == {"field": "", "message": "There are more than 1000 problems"}
        assert all(problem["field"].startswith("tests[") for problem in details[:-1])


def test_a_refused_submission_leaves_nothing_behind(api: Api) -> None:
    execution = api.create()
    body = {"executionId": execution["executionId"], "shardId": "1", "tests": [result(), {}]}
    expect_error(api.request("POST", "/results", body), 422)
    assert api.tests(execution) == []
    assert api.status(execution)["status"] == "created"


def test_null_is_as_if_it_were_absent(api: Api) -> None:
    optional = ("provider", "triggerSource", "configuration", "metadata")
    execution = api.create(**dict.fromkeys(optional))
    status = api.status(execution)
    assert status["provider"] == "custom"
    assert status["triggerSource"] == "api"
    assert status["configuration"]["shards"] == 1
    assert status["configuration"]["timeout"] == 1_800_000
    assert status["metadata"] == {}
    nulls: dict[str, Any] = dict.fromkeys(
        ("file", "duration", "error", "retries", "tags", "nodeId", "attempts", "subtests")
    )
    submitted: dict[str, Any] = dict.fromkeys(("provider", "status", "results", "artifacts", "metadata"))
    api.submit(execution, tests=[result(**nulls)], **submitted)
    assert api.status(execution)["results"]["passed"] == 1
    for absent in ({"tests": None}, {}):
        api.submit(execution, "2", **absent)
    execution = api.create(
        configuration=dict.fromkeys(("shards", "timeout", "retries", "parallel", "browsers"))
    )
    assert api.status(execution)["progress"]["totalShards"] == 1
    data = dict.fromkeys(
        ("shardId", "status", "results", "duration", "reason", "metadata", "tests", "running")
    )
    assert api.send(execution, "execution.progress", **data)["executionStatus"] == "running"


def test_a_required_field_that_is_null_is_refused(api: Api) -> None:
    assert invalid_fields(api.request("POST", "/executions", {"testSuite": None, "environment": None})) == {
        "testSuite",
        "environment",
    }


def test_unknown_fields_come_back_where_they_were_sent(api: Api) -> None:
    mine = {"a": [1, {"b": None}], "c": "☃"}
    execution = api.create(
        mine=mine, configuration={"shards": 2, "mine": mine}, metadata={"mine": mine, "commit": "abc"}
    )
    api.submit(execution, mine=mine, tests=[result(mine=mine)], metadata={"mine": mine})
    api.send(execution, "shard.completed", shardId="2", mine=mine, metadata={"mine": mine})
    status = api.status(execution)
    assert status["mine"] == mine
    assert status["configuration"]["mine"] == mine
    assert status["metadata"] == {"mine": mine, "commit": "abc"}
    assert [shard["metadata"] for shard in status["shardResults"]] == [{"mine": mine}, {"mine": mine}]
    assert api.tests(execution) == [{"shardId": "1", **result(mine=mine)}]


def test_an_unknown_field_never_hides_a_documented_one(api: Api) -> None:
    execution = api.create(status="mine", results="mine", executionId="mine", progress=1)
    status = api.status(execution)
    assert status["executionId"] == execution["executionId"]
    assert status["status"] == "created"
    assert status["results"]["total"] == 0


@pytest.mark.parametrize(
    "time",
    [
        "2026-01-01T00:00:00.123456Z",
        "2026-01-01T00:00:00",
        "2026-01-01T00:00:00+05:30",
        "2026-01-01 00:00:00",
    ],
)
def test_any_iso_time_is_taken(api: Api, time: str) -> None:
    execution = api.create()
    body = {"event": "execution.started", "executionId": execution["executionId"], "timestamp": time}
    expect_success(api.request("POST", execution["webhookUrl"], body), 202)


def test_tests_are_paged_in_the_order_they_were_sent_and_by_status(api: Api) -> None:
    execution = api.create()
    titles = [f"t{number}" for number in range(450)]
    tests = [result(t, "failed" if n % 3 == 0 else "passed") for n, t in enumerate(titles)]
    api.submit(execution, tests=tests)
    assert [test["title"] for test in api.tests(execution)] == titles
    path = f"/executions/{execution['executionId']}/tests"
    assert len(expect_success(api.request("GET", path), 200)["tests"]) == 100
    failed = expect_success(api.request("GET", f"{path}?status=failed&limit=150"), 200)
    assert [test["title"] for test in failed["tests"]] == titles[::3]
    assert failed["cursor"] is None
