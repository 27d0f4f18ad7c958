"""One run over two workers to a local server, and its pages: what every dependency has a part in."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from tests.helpers.processes import run_tms

SUITE = """
import pytest

@pytest.mark.parametrize("number", range(20))
def test_it(number):
    assert number % 5
"""


@pytest.mark.slow
def test_a_run_over_workers_is_on_the_pages_of_the_local_server(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(SUITE)
    data = tmp_path / "data"
    environ = {**os.environ, "TMS_SERVER_DATA_DIR": str(data)}
    command = [sys.executable, "-m", "pytest", "-n", "2", "--tms-url", "local", "-o", "tms_deadline=120"]
    completed = subprocess.run(
        command, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False
    )
    assert completed.returncode == 1, completed.stdout + completed.stderr
    assert (data / "local.json").exists(), completed.stdout
    state = json.loads((data / "local.json").read_text())
    try:
        report = re.search(r"http://\S+/reports/exec_\w+", completed.stdout)
        assert report, completed.stdout
        for path in (report[0], state["url"].removesuffix("/api"), f"{state['url']}/openapi.json"):
            assert requests.get(path, timeout=60).status_code == 200
        shown = run_tms(
            "execution", "show", report[0].rpartition("/")[2], "--json", **{**environ, "TMS_URL": "local"}
        )
        results = json.loads(shown.stdout)["results"]
        assert (results["total"], results["failed"]) == (20, 4)
        assert "execution.created" in run_tms("audit", "--data-dir", str(data)).stdout
    finally:
        os.kill(state["pid"], signal.SIGKILL)
