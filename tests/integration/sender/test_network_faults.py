"""Whatever happens between a run and the TMS, in the end the TMS has every result once."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_tms import TmsClient, wire
from pytest_tms.errors import TmsError
from pytest_tms.journal.lines import (
    VERSION,
    Closed,
    Opened,
    ShardEnded,
    ShardStarted,
    encode,
    encode_tested,
    text_as_json,
)
from pytest_tms.journal.reader import Journal
from pytest_tms.journal.writer import JournalWriter
from pytest_tms.sender.uploader import Uploader
from tests.helpers.fault_proxy import FAULTS, Proxy, proxy
from tests.helpers.processes import TmsServer

EXAMPLES = int(os.environ.get("FAULT_SCHEDULES", "40"))
"""Schedules to try; `make nightly` tries 1,000."""

names = itertools.count()


@pytest.fixture(scope="module")
def between(tms: TmsServer) -> Iterator[Proxy]:
    with proxy(tms.url) as running:
        yield running


def write(journal: JournalWriter, counts: dict[str, int], *, ended: bool, documented: bool) -> None:
    """A run with so many tests in each shard."""
    configuration = wire.Configuration(shards=len(counts))
    request = wire.ExecutionRequest(test_suite="all", environment="dev", configuration=configuration)
    opened = Opened(version=VERSION, run=journal.path.stem, request=request, documented=documented)
    journal.append(encode(opened))
    for shard in counts:
        journal.append(encode(ShardStarted(shard=shard)))
    for shard, count in counts.items():
        for number in range(count):
            test = wire.TestResult(title=f"test_{number}", status="passed", node_id=f"a.py::test_{number}")
            journal.append(
                encode_tested(text_as_json(shard), msgspec.json.encode(test), test_number=number + 1)
            )
    if ended:
        for shard, count in counts.items():
            totals = wire.ReportedCounts(total=count, passed=count, failed=0, skipped=0, flaky=0)
            journal.append(encode(ShardEnded(shard=shard, status="completed", results=totals, duration=1)))
        journal.append(encode(Closed(event="execution.completed", status="completed")))


@pytest.mark.slow
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    plan=st.lists(st.sampled_from(FAULTS), max_size=12),
    counts=st.lists(st.integers(0, 5), min_size=1, max_size=3),
    ended=st.booleans(),
    documented=st.booleans(),
)
def test_every_result_arrives_once(
    tms: TmsServer,
    between: Proxy,
    tmp_path: Path,
    plan: list[str],
    counts: list[int],
    ended: bool,
    documented: bool,
) -> None:
    """At most one attempt for each fault of the plan, then a replay by another process's eyes."""
    shards = {str(number): count for number, count in enumerate(counts, 1)}
    writer = JournalWriter.create([tmp_path], f"run-{next(names)}")
    write(writer, shards, ended=ended, documented=documented)
    writer.close()
    journal = Journal.adopt(writer.path)
    assert journal is not None
    between.plan[:] = plan
    with TmsClient(between.url, tms.token, retries=0, read_timeout=0.2) as client:
        delivery = Uploader(client, journal)
        while between.plan and not delivery.is_done:
            try:
                delivery.upload()
            except TmsError:
                continue
    journal.close(delivered=False)
    between.plan.clear()

    left = Journal.adopt(journal.path)
    assert left is not None
    with tms.client() as client:
        replay = Uploader(client, left, is_replay=True)
        replay.upload()
        replay.close_unfinished()
        assert replay.is_done
        assert not replay.refused
        assert replay.execution is not None
        execution = client.get_execution(replay.execution.execution_id)
        stored = Counter(
            (test["shardId"], test["title"]) for test in client.iter_tests(replay.execution.execution_id)
        )
    left.close(delivered=True)
    assert stored == {
        (shard, f"test_{number}"): 1 for shard, count in shards.items() for number in range(count)
    }
    assert execution.results.total == execution.results.passed == sum(counts)
    assert execution.status == ("completed" if ended else "failed")
    assert not list(tmp_path.glob(f"{journal.path.stem}*"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "workers"),
    [
        ("reset after", ()),
        ("truncate", ()),
        ("html", ()),
        ("503", ()),
        ("hang after", ()),
        ("reset before", ("-n", "2")),
        ("429", ("-n", "2")),
    ],
)
def test_a_run_keeps_its_exit_status_and_loses_nothing(
    tms: TmsServer, between: Proxy, tmp_path: Path, fault: str, workers: tuple[str, ...]
) -> None:
    """Every second request of the run meets the fault."""
    (tmp_path / "test_it.py").write_text(
        "import pytest\n@pytest.mark.parametrize('n', range(20))\ndef test_it(n): assert n != 7\n"
    )
    between.plan[:] = ["none", fault] * 30
    environ = {**os.environ, "TMS_API_TOKEN": tms.token}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "--tms-url",
        between.url,
        "-o",
        "tms_deadline=2",
        *workers,
    ]
    run = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False)
    between.plan.clear()
    assert run.returncode == 1, run.stdout + run.stderr
    assert "1 failed, 19 passed" in run.stdout
    assert "Traceback" not in run.stdout + run.stderr
    replay = subprocess.run(
        [sys.executable, "-m", "pytest_tms.cli", "replay", "--url", tms.url],
        cwd=tmp_path,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert replay.returncode == 0, replay.stderr
    link = next(word for word in (run.stdout + replay.stdout).split() if "/reports/exec_" in word)
    with tms.client() as client:
        execution = client.get_execution(link.rpartition("/")[2])
        titles = Counter(test["title"] for test in client.iter_tests(execution.execution_id))
    assert titles == {f"test_it[{number}]": 1 for number in range(20)}
    assert (execution.results.total, execution.results.failed) == (20, 1)
