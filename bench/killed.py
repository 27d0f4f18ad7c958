"""What reporters keep of a run whose process is killed: the finished tests of which a result is there."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench.overhead import reporters
from bench.runs import PLUGINS, interpreter
from bench.server import serving
from bench.stubs import swallowing
from bench.table import table
from pytest_tms import TmsClient

FINISHED = 100
"""Tests that finish before one kills its process."""
SUITE = """
import os, signal, time
import pytest

@pytest.mark.parametrize("number", range({total}))
def test_one(number):
    time.sleep(0.02)
    if number == {finished}:
        os.kill(os.getpid(), signal.SIGKILL)
"""
WAIT = 20
"""Seconds in which results may still arrive."""


def measure() -> str:
    """The table: of how many finished tests a reporter has results, soon after pytest was killed."""
    with (
        tempfile.TemporaryDirectory() as temporary,
        serving(Path(temporary) / "data") as (url, token),
    ):
        folder = Path(temporary)
        suite = folder / "suite"
        suite.mkdir()
        (suite / "pytest.ini").write_text("[pytest]\n")
        (suite / "test_it.py").write_text(SUITE.format(total=2 * FINISHED, finished=FINISHED))
        requests: list[tuple[str, str, bytes]] = []
        rows = []
        with swallowing(requests) as stub:
            compared = reporters(temporary, url, token, stub, 1)
            counts: dict[str, Callable[[], int]] = {
                "tms": lambda: reported(url, token),
                "--junitxml": lambda: found_in(folder / "junit.xml", rb"<testcase "),
                "pytest-reportlog": lambda: found_in(folder / "log.jsonl", rb'"when": "teardown"'),
                "allure-pytest": lambda: len(list((folder / "allure").glob("*-result.json"))),
                "buildkite-test-collector": lambda: sum(body.count(b"test_one[") for _, _, body in requests),
                "pytest-reportportal, batched": lambda: sum(
                    method == "PUT" and "/item/" in path and b'"status"' in body
                    for method, path, body in requests
                ),
            }
            for name, count in counts.items():
                requests.clear()
                chosen = compared[name]
                others = [word for each in PLUGINS if each != chosen.plugin for word in ("-p", f"no:{each}")]
                command = [interpreter(), "-m", "pytest", "-q", "-p", "no:cacheprovider", *others]
                killed = subprocess.run(
                    [*command, *chosen.options],
                    cwd=suite,
                    env={**os.environ, **chosen.environ},
                    capture_output=True,
                    check=False,
                )
                assert killed.returncode == -9, killed
                end = time.monotonic() + WAIT
                while count() < FINISHED and time.monotonic() < end:
                    time.sleep(0.2)
                rows.append([name, f"{count()} of {FINISHED}"])
    return f"pytest is killed (SIGKILL) in test {FINISHED + 1}\n{table(['reporter', 'results'], rows)}"


def reported(url: str, token: str) -> int:
    """Return how many passed tests the newest execution of the TMS has."""
    with TmsClient(url, token) as client:
        executions = client.list_executions(limit=1).executions
        return executions[0].results.passed if executions else 0


def found_in(path: Path, pattern: bytes) -> int:
    """Return how often a pattern is in a file, 0 if there is none."""
    return len(re.findall(pattern, path.read_bytes())) if path.exists() else 0
