"""What a run was to do and did not: tests that did not run, tests in flight, exit statuses; on each database."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from pytest_tms import wire
from tests.helpers.api import Api, expect_error, expect_success, invalid_fields, result
from tests.helpers.processes import run_tms
from tests.integration.server.test_executions import counts

NOT_RUN = [f"tests/test_x.py::test_{number}" for number in range(38)]


def show(api: Api, execution: dict[str, Any]) -> str:
    shown = run_tms("execution", "show", execution["executionId"], TMS_URL=api.url, TMS_API_TOKEN=api.token)
    assert shown.returncode == 0, shown.stderr
    return shown.stdout


def stopped_early(api: Api, **data: Any) -> dict[str, Any]:
    """An execution of 45 tests that stopped after 7."""
    execution = api.create()
    api.send(execution, "shard.started", shardId="1", runner="a", collected=45)
    finished = [result(f"t{number}", "failed" if number == 6 else "passed") for number in range(7)]
    api.submit(
        execution, "1", runner="a", tests=finished, notRun=38, notRunReason="maxfail 1 was reached",
        notRunTests=NOT_RUN, exitStatus=1, **data,
    )  # fmt: skip
    return execution


def test_tests_that_did_not_run_are_counted_and_named(api: Api) -> None:
    execution = stopped_early(api)
    status = api.status(execution)
    assert status["results"] == counts(passed=6, failed=1)
    assert set(status["results"]) == {"total", "passed", "failed", "skipped", "flaky"}
    assert (status["progress"]["testsExpected"], status["progress"]["testsNotRun"]) == (45, 38)
    assert status["progress"]["estimatedEnd"] is None
    [shard] = status["shardResults"]
    assert shard["collected"] == 45
    assert shard["notRun"] == 38
    assert shard["notRunReason"] == "maxfail 1 was reached"
    assert shard["notRunTests"] == NOT_RUN
    assert shard["exitStatus"] == 1
    report = api.page(f"/runs/{execution['executionId']}").text
    for text in (report, api.page("/").text):
        assert re.search(r"1 test failed(: [\w ]+)?, stopped early: 38 of 45 did not run", text)
    assert "maxfail 1 was reached" in report
    assert NOT_RUN[0] in report
    assert "18 more" in report
    shown = show(api, execution)
    assert "stopped early: 38 of 45 did not run" in shown
    assert "maxfail 1 was reached" in shown
    assert NOT_RUN[0] in shown
    assert "28 more" in shown


def test_a_run_that_stopped_without_a_failure_never_looks_whole(api: Api) -> None:
    execution = api.create()
    api.submit(execution, status="completed", tests=[result("a"), result("b")], collected=600, notRun=598)
    report = api.page(f"/runs/{execution['executionId']}").text
    assert "Stopped early: 598 of 600 did not run" in report
    assert "All tests passed" not in report
    assert 'class="verdict passed"' not in report
    widths = [float(width) for width in re.findall(r'class="passed" x="0.0" width="([\d.]+)"', report)]
    assert len(widths) == 1
    assert max(widths) < 1


def test_a_whole_run_says_nothing_of_tests_that_did_not_run(api: Api) -> None:
    execution = api.create()
    api.submit(execution, tests=[result("a")], collected=1, notRun=0, exitStatus=0)
    progress = api.status(execution)["progress"]
    assert (progress["testsExpected"], progress["testsNotRun"]) == (1, 0)
    shown = show(api, execution) + api.page(f"/runs/{execution['executionId']}").text
    assert "did not run" not in shown
    assert "exit status" not in shown
    assert "All tests passed" in shown


def test_clients_without_the_addition_have_no_expectations(api: Api) -> None:
    execution = api.create()
    api.submit(execution, tests=[result("a")])
    status = api.status(execution)
    assert status["running"] == []
    for name in ("testsExpected", "testsNotRun", "estimatedEnd"):
        assert status["progress"][name] is None
    shard = status["shardResults"][0]
    assert (shard["collected"], shard["notRun"], shard["exitStatus"]) == (None, None, None)
    assert shard["attempt"] == 1


def test_a_run_under_way_says_what_runs_and_when_it_will_end(api: Api) -> None:
    execution = api.create()
    started = "2026-01-01T00:00:00.000Z"
    api.send(execution, "shard.started", shardId="1", runner="a", collected=4)
    api.send(
        execution, "execution.progress", shardId="1", runner="a", tests=[result("a", nodeId="x::a")],
        running=[{"nodeId": "x::b", "worker": "gw0", "startedAt": started}, "x::c"],
    )  # fmt: skip
    status = api.status(execution)
    assert status["running"] == [
        {"nodeId": "x::b", "shardId": "1", "worker": "gw0", "startedAt": started},
        {"nodeId": "x::c", "shardId": "1", "worker": None, "startedAt": None},
    ]
    assert status["progress"]["testsExpected"] == 4
    assert status["progress"]["testsNotRun"] is None
    end = wire.parse_time(status["progress"]["estimatedEnd"])
    assert end >= wire.parse_time(status["progress"]["startedAt"])
    assert "x::b" in api.page(f"/runs/{execution['executionId']}").text
    assert "running now: x::c" in show(api, execution)
    api.send(
        execution, "execution.progress", shardId="1", runner="a", tests=[result("b", nodeId="x::b")]
    )  # fmt: skip
    assert [test["nodeId"] for test in api.status(execution)["running"]] == ["x::c"]
    api.submit(execution, "1", runner="a", tests=[result("c", nodeId="x::c"), result("d", nodeId="x::d")])
    status = api.status(execution)
    assert status["running"] == status["shardResults"][0]["inFlight"] == []
    assert status["progress"]["testsNotRun"] == 0


def test_a_report_without_a_shard_of_its_own_says_what_runs_in_those_that_it_names(api: Api) -> None:
    execution = api.create(configuration={"shards": 2})
    for shard in ("1", "2"):
        api.send(execution, "shard.started", shardId=shard, runner="a")
    running = [{"nodeId": "x::a", "shardId": "1"}, {"nodeId": "x::b", "shardId": "2"}, "x::c"]
    for data in ({"shards": ["1", "2"]}, {"shardId": "2", "shards": ["1", "2"], "tests": [result("t")]}):
        api.send(execution, "execution.progress", runner="a", running=running, **data)
        found = {(test["nodeId"], test["shardId"]) for test in api.status(execution)["running"]}
        assert found == {("x::a", "1"), ("x::b", "2"), ("x::c", data.get("shardId", "1"))}
    api.send(execution, "execution.progress", runner="b", shards=["1"], running=["x::other"])
    assert len(api.status(execution)["running"]) == 3


def test_a_shard_that_died_names_the_tests_in_flight_and_counts_the_rest(api: Api) -> None:
    execution = api.create()
    api.send(execution, "shard.started", shardId="1", runner="a", collected=9)
    api.send(
        execution, "execution.progress", shardId="1", runner="a", tests=[result("a")], running=["x::hangs"]
    )  # fmt: skip
    api.send(
        execution, "shard.completed", shardId="1", runner="a", status="error", reason="pytest was killed",
        exitStatus=-9,
    )  # fmt: skip
    status = api.status(execution)
    assert status["status"] == "failed"
    assert status["running"] == []
    [shard] = status["shardResults"]
    assert [test["nodeId"] for test in shard["inFlight"]] == ["x::hangs"]
    assert (shard["notRun"], shard["exitStatus"], shard["reason"]) == (8, -9, "pytest was killed")
    assert (status["progress"]["testsExpected"], status["progress"]["testsNotRun"]) == (9, 8)
    report, shown = api.page(f"/runs/{execution['executionId']}").text, show(api, execution)
    for text in (report, shown):
        assert "x::hangs" in text
        assert "stopped early: 8 of 9 did not run" in text
        assert "exit status -9" in text
        assert "pytest was killed" in text


def test_an_exit_status_that_the_tests_do_not_explain_is_shown(api: Api) -> None:
    execution = api.create()
    api.submit(execution, tests=[result()], exitStatus=1)  # as pytest-cov's --cov-fail-under
    assert api.status(execution)["status"] == "completed"
    assert "exit status 1" in show(api, execution)
    assert "exit status 1" in api.page(f"/runs/{execution['executionId']}").text


def test_a_runner_may_send_its_whole_number_with_the_first_of_its_shards(api: Api) -> None:
    execution = api.create(configuration={"shards": 2})
    api.send(execution, "shard.started", shardId="gw0", runner="a", collected=5)
    api.send(execution, "shard.started", shardId="gw1", runner="a")
    api.submit(execution, "gw0", runner="a", tests=[result("a"), result("b")])
    assert api.status(execution)["progress"]["testsNotRun"] is None
    api.submit(execution, "gw1", runner="a", tests=[result("c"), result("d"), result("e")])
    progress = api.status(execution)["progress"]
    assert (progress["testsExpected"], progress["testsNotRun"]) == (5, 0)


def test_the_next_attempt_begins_with_nothing_that_did_not_run(api: Api) -> None:
    execution = stopped_early(api)
    api.send(execution, "shard.started", shardId="1", runner="b", collected=39)
    shard = api.shard(execution)
    assert (shard["notRun"], shard["notRunTests"], shard["exitStatus"]) == (None, [], None)
    api.submit(execution, "1", runner="b", status="error", tests=[result("t6"), result("new")])
    progress = api.status(execution)["progress"]
    assert (progress["testsExpected"], progress["testsNotRun"]) == (45, 37)


def test_names_are_bounded_and_any_text_is_kept(api: Api) -> None:
    execution = api.create()
    names = ["x\x00" + "\N{SNOWMAN}" * 9_000] * 1000
    api.submit(
        execution, notRun=2**53 - 1, notRunTests=names, notRunReason="\x00" * 9_000, collected=2**53 - 1
    )
    status = api.status(execution)
    assert status["progress"]["testsExpected"] == 2**53 - 1
    assert 0 < len(json.dumps(status["shardResults"][0]["notRunTests"])) < 1_000_000
    assert api.page(f"/runs/{execution['executionId']}").status_code == 200
    data = {
        "shardId": "1",
        "running": ["\x00", {"nodeId": "n", "startedAt": "yesterday"}],
        "collected": 2**53 - 1,
    }
    other = api.create()
    api.send(other, "execution.progress", **data, tests=[result()])
    assert [test["startedAt"] for test in api.status(other)["running"]] == [None, None]


@pytest.mark.parametrize(
    ("data", "bad"),
    [
        ({"collected": -1}, "collected"),
        ({"notRunTests": ["x"] * 1001}, "notRunTests"),
        ({"exitStatus": 2**40}, "exitStatus"),
        ({"notRun": "many"}, "notRun"),
    ],
)
def test_what_cannot_be_is_named(api: Api, data: dict[str, Any], bad: str) -> None:
    execution = api.create()
    body = {"executionId": execution["executionId"], "shardId": "1", **data}
    assert invalid_fields(api.request("POST", "/results", body)) == {bad}
    event = {
        "event": "shard.completed",
        "executionId": execution["executionId"],
        "data": {"shardId": "1", **data},
    }
    assert invalid_fields(api.request("POST", execution["webhookUrl"], event)) == {f"data.{bad}"}


def test_an_execution_that_has_ended_is_cancelled_while_a_shard_still_reports(api: Api) -> None:
    execution = api.create(configuration={"shards": 2})
    path = f"/executions/{execution['executionId']}"
    api.send(execution, "execution.progress", shardId="1", runner="a")
    api.send(execution, "execution.completed", results=counts(passed=1))
    assert "/cancel" in api.page(f"/runs/{execution['executionId']}").text
    assert api.page(f"/runs/{execution['executionId']}/cancel").url.endswith(
        f"/runs/{execution['executionId']}/cancel"
    )
    response = expect_success(api.request("DELETE", path), 200)
    assert response["status"] == "cancelled"
    assert expect_success(api.request("DELETE", path), 200) == response
    assert (
        api.send(execution, "execution.progress", shardId="1", runner="a")["executionStatus"] == "cancelled"
    )
    ended = api.create()
    api.submit(ended, tests=[result()])
    assert (
        "completed"
        in expect_error(api.request("DELETE", f"/executions/{ended['executionId']}"), 409)["message"]
    )
    assert "/cancel" not in api.page(f"/runs/{ended['executionId']}").text
