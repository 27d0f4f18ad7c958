"""Random suites: what the recorder returns, and what is stored of real runs, against a model of a few lines."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from pytest_tms import wire
from pytest_tms.plugin.results.recorder import Recorder
from pytest_tms.plugin.results.shard_counts import ShardCounts
from tests.helpers import reported_runs
from tests.helpers.environments import python
from tests.helpers.processes import TmsServer

SUITES = int(os.environ.get("RANDOM_SUITES", "7"))
"""Suites that are run for real, each against the TMS; `make nightly` runs 1,000."""


@dataclass(frozen=True)
class Attempt:
    """How each phase of one try ends."""

    setup: str = "passed"
    call: str = "passed"
    teardown: str = "passed"

    @property
    def outcome(self) -> str:
        """The model: the whole of what the recorder is measured against."""
        if self.setup == "failed":
            return "error"
        if self.setup == "passed" and self.call in ("failed", "crashed"):
            return self.call
        if self.teardown == "failed":
            return "error"
        return "skipped" if "skipped" in (self.setup, self.call) else "passed"

    @property
    def phases(self) -> int:
        """How many reports there are: a test whose setup did not pass is not called."""
        return 3 if self.setup == "passed" and self.call != "crashed" else 2

    @property
    def has_failed(self) -> bool:
        return self.outcome not in ("passed", "skipped")


PHASE = st.sampled_from(["passed", "passed", "passed", "skipped", "failed"])
ATTEMPT = st.builds(
    Attempt,
    PHASE,
    st.sampled_from(["passed", "passed", "skipped", "failed", "crashed"]),
    st.sampled_from(["passed", "passed", "failed"]),
)


@st.composite
def tries(draw: st.DrawFn) -> list[Attempt]:
    """The attempts of one test: all but the last have failed, and none but the last crashes."""
    last = draw(ATTEMPT)
    earlier = draw(
        st.lists(ATTEMPT.filter(lambda each: each.has_failed and each.call != "crashed"), max_size=3)
    )
    return [*earlier, last]


@cache
def location_of(node_id: str) -> tuple[str, int, str]:
    """One object for all reports of a test, as they have in the process that runs it."""
    return ("it.py", 1, node_id)


def report(node_id: str, when: str, outcome: str, worker: str) -> pytest.TestReport:
    longrepr = (
        None
        if outcome == "passed"
        else ("it.py", 1, "Skipped: why")
        if outcome == "skipped"
        else f"{when} broke"
    )
    location = ("it.py", 1, node_id) if worker else location_of(node_id)
    made = pytest.TestReport(
        node_id,
        location,
        {},
        outcome,  # type: ignore[arg-type]  # pytest-rerunfailures also sets "rerun"
        longrepr,
        when,  # type: ignore[arg-type]  # plugins set other phases, too
        duration=0.001,
    )
    if worker:
        made.worker_id = worker  # type: ignore[attr-defined]  # pytest-xdist adds the attribute
    return made


def reports(node_id: str, attempts: list[Attempt], worker: str) -> list[pytest.TestReport]:
    """What rerunfailures logs of a test with these attempts."""
    made = []
    for number, attempt in enumerate(attempts, 1):
        failed = "rerun" if number < len(attempts) else "failed"
        phases = [("setup", attempt.setup)]
        if attempt.setup == "passed":
            if attempt.call == "crashed":
                made += [report(node_id, "setup", "passed", worker), report(node_id, "???", "failed", worker)]
                continue
            phases.append(("call", attempt.call))
        phases.append(("teardown", attempt.teardown))
        made += [
            report(node_id, when, failed if outcome == "failed" else outcome, worker)
            for when, outcome in phases
        ]
    return made


@pytest.mark.parametrize("worker", ["", "gw0"])
def test_a_teardown_takes_no_other_test_s_reports(worker: str) -> None:
    recorder = Recorder(str)
    setup, call, teardown = reports("it.py::test_a", [Attempt()], worker)
    alone = report("it.py::test_b", "teardown", "passed", worker)
    assert [recorder.add(each) for each in (setup, call, alone)] == [None, None, None]
    result = recorder.add(teardown)
    assert result is not None
    assert (result.node_id, result.duration) == ("it.py::test_a", 3)


@given(
    st.dictionaries(st.integers(0, 30).map("it.py::test_{}".format), tries(), max_size=20),
    st.integers(0, 3),
    st.randoms(use_true_random=False),
)
@settings(max_examples=max(100, SUITES), deadline=None)
def test_random_reports_have_the_results_of_the_model(
    suite: dict[str, list[Attempt]], workers: int, luck: random.Random
) -> None:
    """A worker runs one test after another; without workers, here, several run at once, as in threads."""
    queues: dict[str, list[pytest.TestReport]] = {}
    worker_of = {node_id: f"gw{luck.randrange(workers)}" if workers else "" for node_id in suite}
    for node_id, attempts in suite.items():
        worker = worker_of[node_id]
        queues.setdefault(worker or node_id, []).extend(reports(node_id, attempts, worker))
    recorder, shard = Recorder(str), ShardCounts("1", 0.0)
    complete: list[wire.TestResult] = []
    while queues:
        name = luck.choice(sorted(queues))
        result = recorder.add(queues[name].pop(0))
        if result is not None:
            complete.append(result)
            shard.count(result.node_id, result)
        if not queues[name]:
            del queues[name]
    assert list(recorder.flush()) == []
    assert sorted(result.node_id or "" for result in complete) == sorted(suite)
    for result in complete:
        attempts = suite[result.node_id or ""]
        assert result.outcome == attempts[-1].outcome
        assert result.duration == attempts[-1].phases  # of a millisecond each
        assert (result.retries or 0) == len(attempts) - 1
        attempt_outcomes = [each.outcome for each in result.attempts or ()]
        assert attempt_outcomes == ([each.outcome for each in attempts] if len(attempts) > 1 else [])
        assert result.worker == (worker_of[result.node_id or ""] or None)
    lasts = [(attempts[-1].outcome, len(attempts) > 1) for attempts in suite.values()]
    assert shard.totals() == wire.ReportedCounts(
        total=len(suite),
        passed=sum(outcome == "passed" for outcome, _ in lasts),
        skipped=sum(outcome == "skipped" for outcome, _ in lasts),
        failed=sum(outcome in ("failed", "error", "crashed") for outcome, _ in lasts),
        flaky=sum(outcome == "passed" and again for outcome, again in lasts),
    )


CONFTEST = """
import pytest

TRIES = {}

@pytest.fixture
def attempt(request):
    number = TRIES[request.node.nodeid] = TRIES.get(request.node.nodeid, -1) + 1
    setup, call, teardown = request.param[number]
    request.module.HOW[setup]()
    yield call
    request.module.HOW[teardown]()
"""
HOW = """
import os, pytest

HOW = {
    "passed": lambda: None,
    "failed": lambda: pytest.fail("failed"),
    "skipped": lambda: pytest.skip("skipped"),
    "crashed": lambda: os._exit(1),
}
"""
TEST = """
{group}@pytest.mark.parametrize("attempt", [{phases}], ids=["x"], indirect=True)
def test_{number}(attempt): HOW[attempt]()
"""


@dataclass(frozen=True)
class Planned:
    """A test: how each try would end, and the group that xdist keeps it with (0: none)."""

    tries: list[Attempt]
    group: int

    def seen(self, reruns: int) -> list[Attempt]:
        """The tries that there are where each failed one is followed by another, ``reruns`` times at most."""
        successes = (number for number, each in enumerate(self.tries, 1) if not each.has_failed)
        return self.tries[: min(next(successes, reruns + 1), reruns + 1)]


@dataclass(frozen=True)
class Suite:
    """Files of tests, and how they are run: over workers, tried again, in which shards."""

    files: list[list[Planned]]
    options: tuple[str, ...]
    reruns: int
    shards: tuple[str, ...]

    @property
    def text(self) -> dict[str, str]:
        texts = {"conftest.py": CONFTEST, "pytest.ini": "[pytest]\n"}
        for file, tests in enumerate(self.files):
            texts[f"test_{file}.py"] = HOW
            for number, test in enumerate(tests):
                group = f"@pytest.mark.xdist_group('g{test.group}')\n" if test.group else ""
                phases = [(each.setup, each.call, each.teardown) for each in test.tries]
                texts[f"test_{file}.py"] += TEST.format(group=group, phases=phases, number=number)
        return texts

    @property
    def expected(self) -> dict[str, list[str]]:
        """How each try of each test ends, by node id: the model of what is stored."""
        return {
            f"test_{file}.py::test_{number}[x]": [each.outcome for each in test.seen(self.reruns)]
            for file, tests in enumerate(self.files)
            for number, test in enumerate(tests)
        }


@st.composite
def suites(draw: st.DrawFn) -> Suite:
    distributed = draw(st.integers(0, 3)) == 0
    reruns = draw(st.sampled_from([0, 0, 1, 2]))
    calls = ["passed", "passed", "skipped", "failed"]
    dist = draw(st.sampled_from(["load", "loadscope", "loadfile", "loadgroup", "worksteal"]))
    if distributed and not reruns and dist == "load":
        calls.append("crashed")
    attempt = st.builds(
        Attempt, PHASE, st.sampled_from(calls), st.sampled_from(["passed", "passed", "failed"])
    ).map(lambda each: each if each.setup == "passed" else Attempt(each.setup))  # then none is torn down
    test = st.builds(Planned, st.lists(attempt, min_size=3, max_size=3), st.integers(0, 3))
    files = draw(st.lists(st.lists(test, min_size=1, max_size=8), min_size=1, max_size=4))
    options = ("-n", "2", "--dist", dist) if distributed else ()
    shards = draw(st.sampled_from([("",), ("",), ("only",), ("1/2", "2/2")]))
    return Suite(files, options, reruns, shards)


@pytest.fixture(scope="module")
def forks(tms: TmsServer) -> Iterator[subprocess.Popen[str]]:
    """The process that runs suites: as of `forks.py`, with pytest-rerunfailures."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    with subprocess.Popen(
        [python("rerunfailures"), Path(reported_runs.__file__).with_name("forks.py")],
        env={**inherited, "TMS_URL": tms.url, "TMS_API_TOKEN": tms.token, "PYTHONDONTWRITEBYTECODE": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield process


@pytest.mark.slow
@pytest.mark.plugins
@given(suites())
@settings(
    max_examples=SUITES,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # to shrink what fails would take minutes
)
def test_random_suites_are_stored_as_the_model_says(
    forks: subprocess.Popen[str], tms: TmsServer, tmp_path_factory: pytest.TempPathFactory, suite: Suite
) -> None:
    folder = tmp_path_factory.mktemp("suite")
    reported_runs.write(folder, suite.text)
    options = [*suite.options, f"--reruns={suite.reruns}", "--junitxml=junit.xml", "--report-log=log.jsonl"]
    if len(suite.shards) > 1:
        configuration = wire.Configuration(shards=len(suite.shards))
        request = wire.ExecutionRequest(test_suite="all", environment="dev", configuration=configuration)
        with tms.client() as client:
            options.append(f"--tms-execution={client.create_execution(request).execution_id}")
    statuses = set()
    for shard in suite.shards:
        assert forks.stdin is not None
        assert forks.stdout is not None
        print(json.dumps([str(folder), [*options, f"--tms-shard={shard}"]]), file=forks.stdin, flush=True)
        statuses.add(int(forks.stdout.readline()))
    ran = reported_runs.read(tms, folder, max(statuses), (folder / "output.txt").read_text())
    model = suite.expected
    stored = {
        test["nodeId"]: [each["outcome"] for each in test.get("attempts") or [test]] for test in ran.stored
    }
    assert stored == model
    assert len(ran.stored) == len(model)
    lasts = Counter(outcomes[-1] for outcomes in model.values())
    assert ran.status is not None
    assert ran.status.status == "completed"
    assert ran.status.results == wire.Counts(
        total=len(model),
        passed=lasts["passed"],
        skipped=lasts["skipped"],
        failed=lasts["failed"] + lasts["error"] + lasts["crashed"],
        flaky=sum(outcomes[-1] == "passed" and len(outcomes) > 1 for outcomes in model.values()),
    )
    reported_runs.assert_counted(ran)
    assert len(suite.shards) > 1 or reported_runs.differing_tests(ran) == set()
    assert statuses <= {0, 1}
    assert max(statuses) == int(ran.status.results.failed > 0)
    shutil.rmtree(folder)
