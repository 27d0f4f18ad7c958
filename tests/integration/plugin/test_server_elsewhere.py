"""The local server in an environment of its own: the user's suite has the plugin alone."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.environments import python

pytestmark = pytest.mark.plugins
SUITE = """
from importlib.util import find_spec

def test_the_server_is_not_here():
    assert not find_spec("litestar")
    assert not find_spec("faker")

def test_it(request):
    assert not request.config.pluginmanager.hasplugin("faker")
"""
HERE = Path(sys.executable).parent


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "test_it.py").write_text(SUITE)
    yield tmp_path
    try:
        pid = json.loads((tmp_path / "data" / "local.json").read_text()).get("pid")
    except FileNotFoundError:
        return
    if pid:
        os.kill(pid, signal.SIGKILL)


def run(folder: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run the suite in an environment without the server."""
    environ = {**os.environ, "PATH": "/usr/bin:/bin", "TMS_SERVER_DATA_DIR": str(folder / "data"), **environ}
    command = [python("rerunfailures"), "-m", "pytest", "--tms-url", "local", "-o", "tms_deadline=120"]
    return subprocess.run(
        command, cwd=folder, env=environ, capture_output=True, text=True, timeout=120, check=False
    )


def program(folder: Path, body: str) -> str:
    """A folder with a program `tms`."""
    folder.mkdir()
    (folder / "tms").write_text(f"#!/bin/sh\n{body}\n")
    (folder / "tms").chmod(0o755)
    return str(folder)


def test_a_server_that_is_nowhere_is_said_with_what_installs_it(folder: Path) -> None:
    completed = run(folder)
    assert completed.returncode == 0
    assert 'pip install "pytest-tms[server]"' in completed.stdout
    assert "pipx install" in completed.stdout


@pytest.mark.slow
def test_the_python_of_another_environment_runs_the_server(folder: Path) -> None:
    completed = run(folder, TMS_SERVER_PYTHON=sys.executable, PYTHONPATH=str(folder / "nothing"))
    assert completed.returncode == 0, completed.stdout
    assert re.search(r"http://127\.0\.0\.1:\d+/reports/exec_", completed.stdout)


def test_a_python_that_cannot_be_run_is_named(folder: Path) -> None:
    completed = run(folder, TMS_SERVER_PYTHON=str(folder / "nope"))
    assert completed.returncode == 0
    assert "TMS_SERVER_PYTHON" in completed.stdout
    assert str(folder / "nope") in completed.stdout


@pytest.mark.slow
def test_another_tms_on_the_path_runs_the_server(folder: Path) -> None:
    own = Path(python("rerunfailures")).parent  # first on the path where an environment is activated
    other = program(folder / "tools", f'exec "{HERE}/tms" "$@"')
    completed = run(folder, PATH=os.pathsep.join([str(own), other, "/usr/bin:/bin"]))
    assert completed.returncode == 0, completed.stdout
    assert re.search(r"http://127\.0\.0\.1:\d+/reports/exec_", completed.stdout)


def test_a_tms_that_is_something_else_is_one_line(folder: Path) -> None:
    other = program(folder / "tools", "echo hello")
    completed = run(folder, PATH=os.pathsep.join([other, "/usr/bin:/bin"]))
    assert completed.returncode == 0
    assert "the local server did not start" in completed.stdout
    assert "Traceback" not in completed.stdout + completed.stderr
    assert "2 passed" in completed.stdout
