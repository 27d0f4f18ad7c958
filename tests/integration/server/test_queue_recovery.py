"""Queues whose shards die, leave, are late or lose the TMS: their tests run elsewhere, and each counts once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from pytest_tms.server.store import tables
from pytest_tms.server.store.database import Database
from tests.helpers.queue_runners import QueueRunner
from tests.helpers.simulated_tms import SimulatedTms

pytestmark = pytest.mark.filterwarnings(  # of Litestar 3
    "ignore::litestar.exceptions.LitestarDeprecationWarning"
)
NAMES = [f"tests/test_{number // 4}.py::test_{number}" for number in range(24)]
LEASE = 15_000


@pytest.fixture
def tms(empty_database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SimulatedTms]:
    url = empty_database.engine.url.render_as_string(hide_password=False)
    made = SimulatedTms(url, tmp_path, monkeypatch)
    made.wait(60_000)  # after a start, a server waits for runners before it marks them as lost
    yield made
    made.start()
    made.close()


class Build:
    """The runners of one execution."""

    def __init__(self, tms: SimulatedTms, shards: int | None = 2, tests: list[str] = NAMES) -> None:
        self.tms = tms
        self.tests = tests
        fields: dict[str, Any] = {} if shards is None else {"configuration": {"shards": shards}}
        self.execution = tms.create(runKey="build", **fields)

    def runner(
        self, shard: str, tests: list[str] | None = None, attempt: int | None = None, **claims: Any
    ) -> QueueRunner:
        if attempt is not None:
            claims["attempt"] = attempt
        made = QueueRunner(self.tms, self.execution, shard, tests or self.tests, **claims)
        made.start(**({} if attempt is None else {"attempt": attempt}))
        return made

    @property
    def status(self) -> dict[str, Any]:
        return self.tms.status(self.execution)

    def shard(self, shard: str) -> dict[str, Any]:
        found: dict[str, Any] = next(each for each in self.status["shardResults"] if each["shardId"] == shard)
        return found

    def verdicts(self) -> dict[str, dict[str, Any]]:
        """The tests by node id; each has one verdict."""
        found = self.tms.tests(self.execution)
        by_name = {test["nodeId"]: test for test in found}
        assert len(by_name) == len(found) == self.status["results"]["total"]
        assert sum(each["results"]["total"] for each in self.status["shardResults"]) == len(found)
        return by_name


def test_the_tests_of_a_runner_that_is_silent_run_elsewhere(tms: SimulatedTms) -> None:
    build = Build(tms)
    dead, living = build.runner("1"), build.runner("2")
    taken = dead.take()
    dead.report(taken[:1])
    assert not set(living.take_all()) & set(taken)
    for _ in range(3):
        tms.wait(5_000)
        living.send("execution.progress", running=[])
    tms.wait(1_000)
    assert build.shard("1")["status"] == "lost"
    number = len(taken) - 1
    unfinished = "1 unfinished test was" if number == 1 else f"{number} unfinished tests were"
    assert build.shard("1")["reason"] == f"Its runner stopped reporting; {unfinished} given to other shards"
    assert sorted(living.take_all()) == sorted(taken[1:])


@pytest.mark.parametrize("way", ["event", "result", "claim"])
def test_every_report_renews_the_lease_of_a_runner(tms: SimulatedTms, way: str) -> None:
    build = Build(tms, shards=1)
    runner = build.runner("1")
    taken = runner.take()
    for _ in range(3):
        tms.wait(LEASE - 1_000)
        if way == "event":
            runner.send("execution.progress", running=[])
        elif way == "result":
            runner.report(taken[:1])
        else:
            taken += runner.take()
    assert build.shard("1")["status"] == "running"
    assert not set(taken) & set(build.runner("2").take_all())


def test_a_runner_that_was_silent_and_returns_takes_tests_again(tms: SimulatedTms) -> None:
    build = Build(tms)
    runner = build.runner("1")
    taken = runner.take()
    tms.wait(LEASE + 1_000)
    assert build.shard("1")["status"] == "lost"
    runner.report(taken)
    assert build.shard("1")["status"] == "running"
    assert sorted(taken + runner.run()[len(taken) :]) == sorted(NAMES)
    assert build.status["status"] == "completed"


def test_leases_do_not_expire_while_the_server_is_down(tms: SimulatedTms) -> None:
    build = Build(tms)
    runner, other = build.runner("1"), build.runner("2")
    taken = runner.take()
    tms.stop()
    tms.wait(60_000)
    tms.start()
    tms.wait(5_000)
    assert not set(other.take_all()) & set(taken)
    assert build.shard("1")["status"] == "running"


def test_tests_are_free_at_once_when_a_runner_leaves(tms: SimulatedTms) -> None:
    build = Build(tms)
    leaving, other = build.runner("1"), build.runner("2")
    taken = leaving.take()
    leaving.report(taken[:1])
    assert leaving.claim(isLeaving=True)["state"] == "finished"
    leaving.end("cancelled")
    assert sorted(other.run()) == sorted({*NAMES} - {taken[0]})
    assert build.status["status"] == "completed"
    assert build.shard("1")["status"] == "cancelled"


def test_a_test_that_ends_a_shard_runs_once_more_and_then_is_crashed(tms: SimulatedTms) -> None:
    build = Build(tms, shards=3)
    first, second, third = (build.runner(shard) for shard in "123")
    poison = first.take()[0]
    first.send("execution.progress", running=[poison])
    first.end("error", reason="pytest was killed")
    assert poison in second.take()
    second.send("execution.progress", running=[poison])
    second.end("error", reason="pytest was killed")
    assert poison not in third.run()
    found = build.verdicts()[poison]
    assert (found["status"], found["outcome"], found["shardId"]) == ("failed", "crashed", "2")
    assert found["error"] == "The shards 1 and 2 ended while they ran this test: it is not run again"
    status = build.status
    assert (status["status"], status["results"]["failed"]) == ("completed", 1)
    assert "given to other shards" in build.shard("1")["reason"]


def test_a_killed_shard_names_its_test_in_flight_as_one_that_did_not_run(tms: SimulatedTms) -> None:
    build = Build(tms, shards=3)
    poison = ""
    for shard in "12":
        runner = build.runner(shard)
        poison = runner.take()[0]
        runner.end("error", notRunTests=[poison], notRun=20, reason="pytest was killed")
    assert poison not in build.runner("3").run()
    assert build.verdicts()[poison]["outcome"] == "crashed"
    assert build.status["progress"]["testsNotRun"] == 0


def test_a_test_that_passes_when_it_runs_again_has_passed(tms: SimulatedTms) -> None:
    build = Build(tms)
    first, second = build.runner("1"), build.runner("2")
    running = first.take()[0]
    first.send("execution.progress", running=[running])
    first.end("error")
    assert running in second.run()
    assert build.verdicts()[running]["status"] == "passed"
    assert build.status["status"] == "completed"


def test_one_idle_shard_waits_for_the_tests_of_others(tms: SimulatedTms) -> None:
    build = Build(tms, shards=3)
    busy, idle, spare = (build.runner(shard) for shard in "123")
    taken = busy.take()
    idle.report(idle.take_all())
    waiting = idle.claim()
    assert (waiting["state"], waiting["tests"]) == ("waiting", [])
    assert 0 < waiting["retryAfter"] <= 2_000
    assert spare.claim()["state"] == "finished"
    assert busy.claim()["state"] == "finished"  # nobody else has tests that it could take
    busy.end("error")
    assert sorted(idle.take_all()) == sorted(taken)
    idle.report(taken)
    assert idle.claim()["state"] == "finished"


def test_a_shard_that_still_runs_tests_remains_while_others_do(tms: SimulatedTms) -> None:
    build = Build(tms)
    first, second = build.runner("1"), build.runner("2")
    first.take()
    second.take_all()
    assert [first.claim()["state"], second.claim()["state"]] == ["waiting", "waiting"]


def test_another_shard_waits_if_the_waiting_one_is_silent(tms: SimulatedTms) -> None:
    build = Build(tms, shards=3)
    busy, silent, other = (build.runner(shard) for shard in "123")
    busy.take()
    silent.report(silent.take_all())
    assert silent.claim()["state"] == "waiting"
    tms.wait(6_000)
    busy.send("execution.progress", running=[])
    assert other.claim()["state"] == "waiting"


def announced(tms: SimulatedTms, event: str) -> int:
    """How many deliveries of an event there are."""
    with tms.database.read() as connection:
        query = select(tables.deliveries.c.id).where(tables.deliveries.c.event == event)
        return len(connection.execute(query).all())


@pytest.mark.parametrize("attempt", [None, 2])
def test_a_late_joiner_of_a_finished_queue_ends_at_once_and_nothing_is_announced_again(
    tms: SimulatedTms, attempt: int | None
) -> None:
    hook = {"url": "https://hooks.invalid/", "events": ["execution.completed", "execution.started"]}
    tms.request("POST", "/webhooks", hook)
    build = Build(tms)
    build.runner("1").run()
    assert build.status["status"] == "completed"
    assert announced(tms, "execution.completed") == 1
    late = build.runner("late", attempt=attempt)
    assert late.claim()["state"] == "finished"
    assert late.end()["executionStatus"] == "completed"
    assert announced(tms, "execution.completed") == 1
    assert announced(tms, "execution.started") == 1
    assert build.status["queue"]["state"] == "complete"


def test_a_late_joiner_with_other_tests_runs_them_and_the_execution_ends_again(tms: SimulatedTms) -> None:
    build = Build(tms)
    build.runner("1").run()
    late = build.runner("2", [*NAMES, "tests/test_new.py::test"])
    assert late.take() == ["tests/test_new.py::test"]
    assert build.status["status"] == "running"
    late.report(["tests/test_new.py::test"])
    assert late.claim()["state"] == "finished"
    late.end()
    assert build.status["status"] == "completed"
    assert len(build.verdicts()) == len(NAMES) + 1


def test_tests_of_a_shard_that_leaves_in_its_first_request_are_known(tms: SimulatedTms) -> None:
    build = Build(tms)
    build.runner("1").run()
    stopped = build.runner("2", [*NAMES, "tests/test_new.py::test"])
    collected = [{"nodeId": each, "group": "tests"} for each in stopped.tests]
    assert stopped.claim(isLeaving=True, tests=collected)["state"] == "finished"
    stopped.end("cancelled")
    status = build.status
    assert status["status"] == "cancelled"
    assert "1 test did not run: tests/test_new.py::test" in status["reason"]


def test_a_lost_shard_does_not_fail_an_execution_whose_tests_all_ran(tms: SimulatedTms) -> None:
    build = Build(tms, shards=8)
    lost, other = build.runner("1"), build.runner("2")
    lost.take()
    for _ in range(4):
        tms.wait(5_000)
        other.send("execution.progress", running=[])
    other.run()
    status = build.status  # six of the declared shards have not reported: the queue is complete without them
    assert (status["status"], status["reason"]) == ("completed", None)
    assert build.shard("1")["status"] == "lost"
    assert "given to other shards" in build.shard("1")["reason"]


def test_an_error_that_pytest_reports_fails_the_execution(tms: SimulatedTms) -> None:
    build = Build(tms)
    broken, other = build.runner("1"), build.runner("2")
    broken.take()
    broken.end("error", exitStatus=3)
    other.run()
    assert (build.status["status"], build.status["reason"]) == ("failed", "A shard ended in error")


def test_an_execution_fails_and_names_the_tests_that_no_shard_ran(tms: SimulatedTms) -> None:
    build = Build(tms, shards=1)
    runner = build.runner("1")
    runner.report(runner.take())
    runner.end("error")
    status = build.status
    left = [name for name in NAMES if name not in runner.finished]
    assert status["status"] == "failed"
    assert status["reason"].startswith(f"{len(left)} tests did not run: ")
    assert sum(name in status["reason"] for name in left) == min(20, len(left))
    assert status["progress"]["testsNotRun"] == len(left)
    assert status["progress"]["testsExpected"] == len(NAMES)


def test_declared_shards_that_never_reported_are_named_at_the_deadline(tms: SimulatedTms) -> None:
    execution = tms.create(runKey="static", configuration={"shards": 4, "timeout": 60_000})
    for shard in "13":
        tms.send(execution, "shard.started", runner=f"r{shard}", shardId=shard)
        tms.send(execution, "shard.completed", runner=f"r{shard}", shardId=shard, status="completed")
    assert tms.status(execution)["status"] == "running"
    tms.wait(62_000)
    status = tms.status(execution)
    assert status["status"] == "failed"
    assert status["reason"] == "Shards 2, 4 of 4 never reported. It ran longer than its timeout of 60 s"


def test_a_queue_waits_for_declared_shards_and_names_them_with_the_tests_at_the_deadline(
    tms: SimulatedTms,
) -> None:
    execution = tms.create(runKey="queue", configuration={"shards": 2, "timeout": 60_000})
    runner = QueueRunner(tms, execution, "1", NAMES[:2])
    runner.start()
    runner.report(runner.take())
    runner.end("error")
    assert tms.status(execution)["status"] == "running"
    tms.wait(62_000)
    reason = tms.status(execution)["reason"]
    assert reason.startswith(
        "Shard 2 of 2 never reported. It ran longer than its timeout of 60 s. 1 test did"
    )


def test_results_of_a_shard_that_ran_tests_without_the_server_count_once(tms: SimulatedTms) -> None:
    build = Build(tms)
    alone, other = build.runner("1"), build.runner("2")
    alone.take()
    taken = other.take()
    alone.report(NAMES)  # its own tests, unclaimed ones, and those of the other shard
    other.report(taken[:1])
    assert other.claim()["state"] == "finished"
    assert alone.claim()["state"] == "finished"
    other.end()
    alone.end()
    assert sorted(build.verdicts()) == sorted(NAMES)
    assert build.status["status"] == "completed"
    assert build.status["queue"]["unclaimed"] == 0


def test_tests_that_ran_without_the_server_are_found_when_the_last_shard_ends(tms: SimulatedTms) -> None:
    build = Build(tms, shards=1)
    alone = build.runner("1")
    alone.take()
    alone.report(NAMES)
    alone.end()
    assert build.status["status"] == "completed"


def test_the_newest_of_two_results_of_a_test_counts(tms: SimulatedTms) -> None:
    build = Build(tms)
    first, second = build.runner("1"), build.runner("2")
    first.take()
    name, other = NAMES[:2]
    first.report([name, other], "failed")
    second.report([name])
    verdicts = build.verdicts()
    assert (verdicts[name]["status"], verdicts[name]["shardId"]) == ("passed", "2")
    assert [each["status"] for each in verdicts[name]["earlierAttempts"]] == ["failed"]
    counted = build.status["results"]
    assert (counted["failed"], counted["passed"], counted["flaky"]) == (1, 1, 1)
    second.report([other], "skipped")
    first.report([other])
    assert build.verdicts()[other]["status"] == "skipped"  # a result that is repeated stays the older one
    assert build.status["results"]["failed"] == 0


def test_a_repeated_ci_attempt_runs_failed_tests_and_those_without_a_result(tms: SimulatedTms) -> None:
    build = Build(tms, shards=2)
    first = build.runner("1", attempt=1)
    taken = first.take()
    first.report(taken[:1], "failed")
    first.report(taken[1:])
    first.end("error")
    build.runner("2", attempt=1).end("error")
    assert build.status["status"] == "failed"
    again = [build.runner(shard, attempt=2) for shard in "12"]
    assert build.status["status"] == "running"
    ran = [*again[0].take(), *again[1].take_all()]
    assert sorted(ran) == sorted({*NAMES} - {*taken[1:]})
    queue = build.status["queue"]
    assert (queue["tests"], queue["leftOut"]) == (len(NAMES) - len(taken) + 1, len(taken) - 1)
    again[0].report(ran)
    for each in again:
        assert each.claim()["state"] == "finished"
        each.end()
    assert build.status["status"] == "completed"
    assert build.status["progress"]["testsExpected"] == len(NAMES)
    assert sorted(build.verdicts()) == sorted(NAMES)
    assert first.claim()["state"] == "finished"  # the runner of the earlier attempt, if it still lives


def test_a_repeated_ci_attempt_can_run_all_tests(tms: SimulatedTms) -> None:
    build = Build(tms, shards=1)
    build.runner("1", attempt=1).run()
    assert sorted(build.runner("1", attempt=2, rerun="all").run()) == sorted(NAMES)
    assert build.status["status"] == "completed"
    assert len(build.verdicts()) == len(NAMES)


def test_shards_that_collected_different_tests_run_only_their_own(tms: SimulatedTms) -> None:
    build = Build(tms)
    only = ["tests/test_0.py::test_only_here"]
    first, second = build.runner("1", NAMES[2:]), build.runner("2", [*NAMES[:20], *only])
    first_taken, second_taken = first.take_all(), second.take_all()
    assert {*first_taken} <= {*NAMES[2:]}
    assert {*second_taken} <= {*NAMES[:20], *only}
    assert sorted(first_taken + second_taken) == sorted([*NAMES, *only])
    status = build.status
    assert status["progress"]["testsExpected"] == len(NAMES) + 1
    assert status["queue"]["differences"] == [
        {"shards": ["1"], "tests": 22, "missing": 3, "missingTests": sorted([*NAMES[:2], *only])},
        {"shards": ["2"], "tests": 21, "missing": 4, "missingTests": sorted(NAMES[20:])},
    ]


def test_the_ranges_that_are_left_are_those_of_the_tests_of_the_shard(tms: SimulatedTms) -> None:
    build = Build(tms)
    build.runner("1", NAMES[2:]).take()
    second = build.runner("2", NAMES[:20])
    claim = second.claim()
    order = [NAMES[position] for position in claim["order"]]
    assert sorted(order) == sorted(NAMES[:20])
    left = [order[n] for start, end in claim["unclaimed"] for n in range(start, end)]
    assert left == second.take_all()


def test_two_runners_of_one_shard_share_its_tests(tms: SimulatedTms) -> None:
    build = Build(tms)
    first, double = build.runner("1"), build.runner("1")
    taken = first.take()
    assert sorted(first.claim()["shards"] + double.claim()["shards"]) == ["1", "1", "1-2"]
    assert not set(double.take_all()) & {*taken}


def test_the_tests_of_a_cancelled_execution_are_given_to_no_shard(tms: SimulatedTms) -> None:
    build = Build(tms)
    runner = build.runner("1")
    runner.take()
    tms.request("DELETE", f"/executions/{build.execution['executionId']}")
    assert (runner.claim()["state"], build.runner("2").claim()["tests"]) == ("finished", [])


def test_a_shard_that_reports_late_which_test_ended_it_counts(tms: SimulatedTms) -> None:
    build = Build(tms, shards=3)
    late, second, third = (build.runner(shard) for shard in "123")
    poison = late.take()[0]
    tms.wait(LEASE + 1_000)
    assert build.shard("1")["status"] == "lost"
    assert poison in second.take()
    second.send("execution.progress", running=[poison])
    second.end("error")
    for _ in range(2):  # the second time changes nothing
        late.end("error", notRunTests=[poison])
    assert build.verdicts()[poison]["outcome"] == "crashed"
    assert poison not in third.run()
    assert build.status["status"] == "completed"


def test_results_that_arrive_after_an_execution_failed_complete_it(tms: SimulatedTms) -> None:
    build = Build(tms, shards=1)
    runner = build.runner("1")
    taken = runner.take_all()
    tms.wait(LEASE + 1_000)
    assert build.status["reason"].startswith(f"{len(NAMES)} tests did not run: ")
    runner.report(taken[:-1])
    runner.end("error")
    assert build.status["reason"] == f"1 test did not run: {taken[-1]}"
    assert build.status["progress"]["testsNotRun"] == 1
    runner.report(taken)
    runner.end("error")
    status = build.status
    assert (status["status"], status["reason"]) == ("completed", None)
    assert status["progress"]["testsNotRun"] == 0
