"""Random suites: what the recorder settles, and what is stored of real runs, against a model of a few lines."""

from __future__ import annotations

import os
import random
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_tms import wire
from pytest_tms.plugin.recorder import Recorder
from pytest_tms.plugin.run import Shard
from tests.conftest import Tms
from tests.truth import harness

EXAMPLES = int(os.environ.get("RANDOM_SUITES", "100"))
"""Suites to make of reports; `make nightly` makes 1,000. One in twenty is run for real."""


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


def report(node_id: str, when: str, outcome: str, worker: str) -> pytest.TestReport:
    longrepr = (
        None
        if outcome == "passed"
        else ("it.py", 1, "Skipped: why")
        if outcome == "skipped"
        else f"{when} broke"
    )
    made = pytest.TestReport(node_id, ("it.py", 1, "x"), {}, outcome, longrepr, when, duration=0.001)  # type: ignore[arg-type]
    if worker:
        made.worker_id = worker  # type: ignore[attr-defined]
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


@given(
    st.dictionaries(st.integers(0, 30).map("it.py::test_{}".format), tries(), max_size=20),
    st.integers(0, 3),
    st.randoms(use_true_random=False),
)
@settings(max_examples=EXAMPLES, deadline=None)
def test_random_reports_settle_as_the_model_says(
    suite: dict[str, list[Attempt]], workers: int, luck: random.Random
) -> None:
    queues: dict[str, list[pytest.TestReport]] = {}
    worker_of = {node_id: f"gw{luck.randrange(workers)}" if workers else "" for node_id in suite}
    for node_id, attempts in suite.items():
        queues.setdefault(worker_of[node_id], []).extend(reports(node_id, attempts, worker_of[node_id]))
    recorder, shard = Recorder(str), Shard("1", 0.0, b"")
    settled: list[wire.TestResult] = []
    while queues:
        name = luck.choice(sorted(queues))
        result = recorder.add(queues[name].pop(0))
        if result is not None:
            settled.append(result)
            shard.count(result)
        if not queues[name]:
            del queues[name]
    assert list(recorder.unsettled()) == []
    assert sorted(result.node_id or "" for result in settled) == sorted(suite)
    for result in settled:
        attempts = suite[result.node_id or ""]
        assert result.outcome == attempts[-1].outcome
        assert (result.retries or 0) == len(attempts) - 1
        told = [each.outcome for each in result.attempts or ()]
        assert told == ([each.outcome for each in attempts] if len(attempts) > 1 else [])
        assert result.worker == (worker_of[result.node_id or ""] or None)
    lasts = [(attempts[-1].outcome, len(attempts) > 1) for attempts in suite.values()]
    assert shard.totals() == wire.GivenCounts(
        total=len(suite),
        passed=sum(outcome == "passed" for outcome, _ in lasts),
        skipped=sum(outcome == "skipped" for outcome, _ in lasts),
        failed=sum(outcome in ("failed", "error", "crashed") for outcome, _ in lasts),
        flaky=sum(outcome == "passed" and again for outcome, again in lasts),
    )


CONFTEST = """
import pytest

HOW = {"failed": lambda: pytest.fail("failed"), "skipped": lambda: pytest.skip("skipped"), "passed": lambda: None}

@pytest.fixture
def phases(request):
    setup, _, teardown = request.param
    HOW[setup]()
    yield
    HOW[teardown]()
"""


@pytest.mark.parametrize("seed", range(EXAMPLES // 20))
def test_random_suites_are_stored_as_the_model_says(seed: int, tms: Tms, tmp_path: Path) -> None:
    luck = random.Random(seed)
    files = {"conftest.py": CONFTEST}
    expected: list[harness.Test] = []
    for file in range(luck.randint(1, 4)):
        text = "import pytest\nfrom conftest import HOW\n"
        for number in range(luck.randint(1, 12)):
            attempt = Attempt(
                luck.choice(["passed", "passed", "failed", "skipped"]),
                luck.choice(["passed", "passed", "failed", "skipped"]),
                luck.choice(["passed", "passed", "failed"]),
            )
            phases = (attempt.setup, attempt.call, attempt.teardown)
            group = f"@pytest.mark.xdist_group('g{luck.randint(1, 3)}')\n" if luck.random() < 0.3 else ""
            text += f"{group}@pytest.mark.parametrize('phases', [{phases}], ids=['x'], indirect=True)\n"
            text += f"def test_{number}(phases): HOW[{attempt.call!r}]()\n\n"
            # A fixture that did not set up is not torn down.
            ends = attempt if attempt.setup == "passed" else Attempt(attempt.setup)
            status = {"passed": "passed", "skipped": "skipped"}.get(ends.outcome, "failed")
            expected.append(harness.Test(f"test_{file}.py::test_{number}[x]", status, ends.outcome))
        files[f"test_{file}.py"] = text
    ways = [(), ("-n", "2"), ("-n", "2", "--dist", luck.choice(["loadgroup", "loadfile", "worksteal"]))]
    named = ("--tms-shard", "only") if luck.random() < 0.4 else ()
    ran = harness.run(tms, tmp_path, files, *luck.choice(ways), *named)
    harness.assert_stored(ran.stored, expected)
    harness.assert_counted(ran)
    assert harness.odd_ones(ran) == set()
    assert ran.exit == int(Counter(test.status for test in expected)["failed"] > 0)
