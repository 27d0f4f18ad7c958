"""kill -9 to pytest, to an xdist worker and to the server at random moments loses and doubles nothing."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from pytest_tms.client import TmsClient
from tests.helpers.processes import first_token, run_tms, serve
from tests.helpers.server_processes import ServerProcess

KILLS = int(os.environ.get("KILLS", "3"))
"""Moments to try; `make nightly` tries 200."""

SUITE = """
import time, pytest

@pytest.mark.parametrize("n", range(60))
def test_it(n):
    time.sleep(0.01)
    assert n % 10 != 7
"""


@pytest.mark.slow
@pytest.mark.parametrize("moment", range(KILLS))
def test_a_kill_loses_and_doubles_nothing(tmp_path: Path, moment: int) -> None:
    chance = random.Random(moment)
    victim = ("pytest", "server", "worker", "pytest")[moment % 4]
    data = tmp_path / "data"
    server, url = serve(data)
    token = first_token(data)
    suite = tmp_path / "suite"
    suite.mkdir()
    (suite / "test_it.py").write_text(SUITE)
    environ = {**os.environ, "TMS_API_TOKEN": token}
    workers = ["-n", "2"] if victim == "worker" or chance.random() < 0.3 else []
    options = ["-v", "--tms-url", url, "-o", "tms_progress_interval=1", *workers]
    run = subprocess.Popen(
        [sys.executable, "-u", "-m", "pytest", *options],
        cwd=suite,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert run.stdout is not None
        said = ""
        after = chance.randrange(60)
        seen: set[str] = set()
        for line in run.stdout:
            said += line
            if found := re.search(
                r"(test_it\[\d+\]).*(PASSED|FAILED)|(PASSED|FAILED).*(test_it\[\d+\])", line
            ):
                seen.add(found[1] or found[4])
            if len(seen) >= after and "collected" in said + "scheduling":
                break
        kill(victim, run, server)
        if victim == "server":
            server.wait()
            server, _ = serve(data, "--port", str(urlsplit(url).port))
        rest = run.stdout.read()
        run.wait(timeout=60)
        replay = run_tms("replay", str(suite / ".tms"), "--url", url, "--json", TMS_API_TOKEN=token)
        assert replay.returncode == 0, replay.stderr
        links = re.findall(r"reports/(exec_\w+)", said + rest) + re.findall(
            r"reports/(exec_\w+)", replay.stdout
        )
        if not links:
            assert victim == "pytest"  # killed before it had begun
            return
        with TmsClient(url, token) as client:
            stored = Counter(test["title"] for test in client.iter_tests(links[0]))
            execution = client.get_execution(links[0])
    finally:
        run.kill()
        run.wait()
        if run.stdout is not None:
            run.stdout.close()
        server.terminate()
        server.wait()
    assert max(stored.values(), default=1) == 1
    assert execution.results.total == sum(stored.values())
    # What the terminal showed as finished had been written before.
    assert seen <= set(stored)
    if victim != "pytest":
        assert len(stored) == 60, rest
    assert not list(suite.glob(".tms/journal/*.jsonl"))


def kill(victim: str, run: subprocess.Popen[str], server: ServerProcess) -> None:
    if victim == "pytest":
        run.kill()
    elif victim == "server":
        server.kill()
    elif workers := children(run.pid):
        os.kill(workers[0], signal.SIGKILL)


def children(pid: int) -> list[int]:
    """The processes that another one started, the youngest first."""
    listed = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False
    )
    return sorted(map(int, listed.stdout.split()), reverse=True)
