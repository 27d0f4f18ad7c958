"""Shards of a queue that are killed or stopped, and a TMS that is away: every test runs all the same."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from pytest_tms import TmsClient
from tests.helpers.api import Serve
from tests.helpers.processes import (
    TmsServer,
    environ_outside_pytest,
    first_token,
    serve,
    wait_for,
    wait_for_end,
)

SUITE = """
import os, pathlib, time, pytest

FOLDER = pathlib.Path(os.environ["NOTES"])

def note(text):
    with (FOLDER / "notes").open("a") as file:
        file.write(f"{os.environ['TMS_SHARD']} {text}\\n")

@pytest.mark.parametrize("n", range(40))
def test_it(n):
    note(f"began {n}")
    held = os.environ.get("HOLD", "").split()
    if str(n) in held:
        while not (FOLDER / f"release-{n}").exists():
            time.sleep(0.01)
    note(f"ended {n}")
"""
EVERY = {str(n) for n in range(40)}


@dataclass
class Job:
    """Shards of one CI run, in folders of their own, each in a process that can be killed."""

    folder: Path
    url: str
    token: str
    key: str = field(default_factory=lambda: uuid.uuid4().hex)

    @contextmanager
    def start(self, shard: str, *options: str, hold: str = "") -> Iterator[subprocess.Popen[str]]:
        """Start a shard; tests with a number in ``hold`` last until they are released."""
        project = self.folder / shard.replace("/", "-")
        project.mkdir()
        (project / "test_it.py").write_text(SUITE)
        environ = {
            **environ_outside_pytest(os.environ),
            "TMS_URL": self.url,
            "TMS_API_TOKEN": self.token,
            "TMS_SHARD": shard,
            "NOTES": str(self.folder),
            "HOLD": hold,
        }
        command = [sys.executable, "-m", "pytest", "--tms-run-key", self.key, "--tms-split", "queue"]
        run = subprocess.Popen(
            [*command, "-p", "no:cacheprovider", *options],
            cwd=project,
            env=environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            # A job in the background of a script, as CI may be, ignores Ctrl-C, and so would its children.
            preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
        )
        try:
            yield run
        finally:
            run.kill()
            run.communicate()

    def run(self, shard: str, *options: str) -> str:
        """Run a shard to its end, and return its output."""
        with self.start(shard, *options) as run:
            output, _ = run.communicate(timeout=120)
        print(output)
        assert run.returncode == 0
        return output

    def release(self, number: int) -> None:
        (self.folder / f"release-{number}").touch()

    def notes(self, kind: str, shard: str = "") -> list[str]:
        """Return the numbers of the tests that began or ended, in one shard or in all."""
        path = self.folder / "notes"
        lines = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
        return [number for its, what, number in lines if what == kind and shard in ("", its)]

    def wait_for(self, kind: str, number: int) -> None:
        wait_for(lambda: str(number) in self.notes(kind), seconds=60)

    def sender(self, shard: str) -> int:
        """Return the process id of the sender of a shard."""
        for process in Path("/proc").glob("[0-9]*"):
            try:
                command = (process / "cmdline").read_bytes()
                variables = (process / "environ").read_bytes().split(b"\0")
            except OSError:
                continue
            own = {f"NOTES={self.folder}".encode(), f"TMS_SHARD={shard}".encode()}
            if b"pytest_tms.sender.process" in command and own <= set(variables):
                return int(process.name)
        raise AssertionError("there is no sender")


@pytest.fixture
def job(tms: TmsServer, tmp_path: Path) -> Job:
    return Job(tmp_path, tms.url, tms.token)


@pytest.mark.slow
@pytest.mark.parametrize(
    "number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=lambda each: each.name
)
def test_tests_of_a_stopped_shard_run_in_another(job: Job, number: signal.Signals) -> None:
    with job.start("1/2", hold="5") as run:
        job.wait_for("began", 5)
        sender = job.sender("1/2")
        run.send_signal(number)
        run.communicate(timeout=60)
    wait_for_end(sender)
    output = job.run("2/2")
    assert set(job.notes("ended")) == EVERY
    assert {test: count for test, count in Counter(job.notes("began")).items() if count > 1} == {"5": 2}
    assert f"queue: {40 - len(job.notes('ended', '1/2'))} of 40 tests here" in output


@pytest.mark.slow
def test_tests_of_a_lost_machine_run_in_another_shard(job: Job) -> None:
    with job.start("1/2", hold="5") as run:
        job.wait_for("began", 5)
        os.kill(job.sender("1/2"), signal.SIGKILL)
        run.kill()
    with job.start("2/2") as run:
        output, _ = run.communicate(timeout=90)
    assert run.returncode == 0
    assert set(job.notes("ended")) == EVERY
    assert "no test is free: waiting until other shards have finished theirs" in output


@pytest.mark.slow
def test_the_remaining_tests_are_divided_by_name_if_the_tms_stops_responding(tmp_path: Path) -> None:
    process, url = serve(tmp_path / "data")
    job = Job(tmp_path, url, first_token(tmp_path / "data"))
    try:
        with job.start("1/1", "-o", "tms_deadline=1", hold="0") as run:
            job.wait_for("began", 0)
            process.kill()
            process.wait()
            job.release(0)
            output, _ = run.communicate(timeout=90)
    finally:
        process.kill()
    assert run.returncode == 0
    assert Counter(job.notes("ended")) == dict.fromkeys(EVERY, 1)
    assert re.search(r"tms: no queue \(.*\): free tests are divided over 1 shard by their names; \d+", output)
    assert "40 passed" in output
    assert "results kept; send with: tms replay" in output


@pytest.mark.slow
def test_a_tms_that_responds_again_assigns_the_remaining_tests(tmp_path: Path, start: Serve) -> None:
    data = tmp_path / "data"
    process, url = start(data)
    port = re.findall(r":(\d+)/", url)[0]
    job = Job(tmp_path, url, first_token(data))
    with job.start("1/1", hold="0 20") as run:
        job.wait_for("began", 0)
        process.kill()
        process.wait()
        job.release(0)
        job.wait_for("began", 20)
        start(data, "--port", port)
        responses = tmp_path / "1-1" / ".tms" / "journal"
        before = sum(len(path.read_text().splitlines()) for path in responses.glob("*.claims"))
        wait_for(
            lambda: sum(len(path.read_text().splitlines()) for path in responses.glob("*.claims")) > before
        )
        job.release(20)
        output, _ = run.communicate(timeout=90)
    assert run.returncode == 0
    assert "tms: the TMS responds again, and assigns tests" in output
    assert "40 results reported" in output
    assert Counter(job.notes("ended")) == dict.fromkeys(EVERY, 1)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["alone", "xdist"])
def test_a_run_that_is_cancelled_in_the_tms_stops(job: Job, workers: tuple[str, ...]) -> None:
    with job.start("1/1", *workers, hold="0 1") as run:
        job.wait_for("began", 0)
        [acks] = (job.folder / "1-1" / ".tms" / "journal").glob("*.acks")
        execution = re.findall(r"exec_\w+", acks.read_text())[0]
        with TmsClient(job.url, job.token) as client:
            client.cancel_execution(execution)
        job.release(0)
        job.release(1)
        output, _ = run.communicate(timeout=60)
    assert run.returncode == 2, output
    assert "the execution was cancelled in the TMS" in output
    assert len(job.notes("ended")) < 40
