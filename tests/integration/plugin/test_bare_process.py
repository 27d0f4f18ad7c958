"""The process that runs the tests belongs to the user: under the plugin it is as it is without it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.processes import TmsServer

OBSERVES = """
import json, logging, os, random, signal, sys, threading, time, warnings

def children():
    with open(f"/proc/self/task/{os.getpid()}/children") as file:
        return file.read().split()

def test_observe():
    names = {number: os.readlink(f"/proc/self/fd/{number}") for number in map(int, os.listdir("/proc/self/fd"))
             if os.path.lexists(f"/proc/self/fd/{number}")}
    random.seed(7)
    time.sleep(1.2)
    seen = {
        "threads": sorted(thread.name for thread in threading.enumerate()),
        "tasks": len(os.listdir("/proc/self/task")),
        "files": sorted(name for number, name in names.items() if number > 2 and "/fd" not in name),
        "handlers": {str(number): str(signal.getsignal(number)) for number in signal.valid_signals()},
        "loggers": sorted(logging.root.manager.loggerDict),
        "log handlers": [type(handler).__name__ for handler in logging.root.handlers],
        "modules": sorted(sys.modules),
        "filters": len(warnings.filters),
        "random": random.random(),
        "children": children(),
        "environment": sorted(os.environ),
    }
    try:
        os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        seen["wait"] = "no child"
    with open(os.environ["SEEN"], "w") as file:
        json.dump(seen, file)
"""


def observed(folder: Path, *options: str, **environ: str) -> dict[str, Any]:
    """What the suite sees of its own process."""
    seen = folder / "seen.json"
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", *options]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "COV"))}
    completed = subprocess.run(
        command,
        cwd=folder,
        env={**inherited, "SEEN": str(seen), **environ},
        capture_output=True,
        text=True,
        check=False,
    )
    assert completed.returncode == 0, completed.stdout + completed.stderr
    found: dict[str, Any] = json.loads(seen.read_text())
    return found


def kinds(files: list[str]) -> Counter[str]:
    """Open files without what differs from run to run: pipes, and the deleted files of pytest's capture."""
    return Counter(
        name.partition(":")[0]
        if ":" in name
        else "deleted"
        if "(deleted)" in name
        else str(Path(name).parent)
        for name in files
    )


NOT_LOADED = ("requests", "urllib3", "charset_normalizer", "idna", "certifi", "http", "filelock", "ssl")
"""Packages that only the sender process needs."""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="looks at the process by way of Linux's /proc")
def test_the_process_of_the_tests_is_as_it_is_without_the_plugin(tmp_path: Path, tms: TmsServer) -> None:
    (tmp_path / "test_it.py").write_text(OBSERVES)
    bare = observed(tmp_path, "-p", "no:tms", TMS_API_TOKEN=tms.token)
    ours = observed(tmp_path, "--tms-url", tms.url, TMS_API_TOKEN=tms.token)
    added = kinds(ours.pop("files")) - kinds(bare.pop("files"))
    assert added == {"pipe": 1, f"{tmp_path}/.tms/journal": 1}
    modules = set(ours.pop("modules")) - set(bare.pop("modules"))
    assert not {name for name in modules if name.split(".")[0] in NOT_LOADED}
    assert not {"pytest_tms.client", "pytest_tms.sender.process"} & modules
    assert ours == bare


INTERFERES = """
import os, random, signal, socket, sys, threading, time
from unittest import mock
import multiprocessing
import pytest

def test_signals():
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    assert threading.active_count() == 1

def test_process_is_terminated():
    process = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
    process.start()
    process.terminate()
    process.join()
    assert process.exitcode == -15

def test_pool():
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map(abs, [-1, -2]) == [1, 2]

def test_fork_leaves_by_exit():
    child = os.fork()
    if not child:
        sys.exit(3)
    os.waitpid(child, 0)

def test_clock_is_replaced():
    with mock.patch("time.monotonic", side_effect=[0.0, 31.0]), mock.patch("time.time", side_effect=[1.0]):
        begun = threading.Event()
        begun.wait(1.5)

def test_sleep_is_replaced():
    with mock.patch("time.sleep") as sleep, mock.patch("os.write") as write, mock.patch("os.read") as read:
        threading.Event().wait(1.5)
        sleep.assert_not_called()
        write.assert_not_called()
        read.assert_not_called()

def test_nothing_talks(monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with mock.patch("http.client.HTTPConnection.request") as request, mock.patch("socket.socket") as sockets:
        threading.Event().wait(1.5)
        request.assert_not_called()
        sockets.assert_not_called()

def test_nothing_is_logged(caplog):
    caplog.set_level("DEBUG")
    threading.Event().wait(1.2)
    assert caplog.records == []

def test_sequence():
    random.seed(7)
    threading.Event().wait(1.2)
    assert [random.random() for _ in range(2)] == [random.Random(7).random(), pytest.approx(0.15084917392450192)]

def test_files_are_closed():
    # As a daemon would; the run goes on all the same.
    child = os.fork()
    if not child:
        os.closerange(3, 64)
        os._exit(0)
    os.waitpid(child, 0)
"""


@pytest.mark.slow
def test_a_suite_that_replaces_what_it_can_passes_and_is_delivered_whole(
    pytester: pytest.Pytester, tms: TmsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMS_API_TOKEN", tms.token)
    pytester.makepyfile(test_it=INTERFERES)
    result = pytester.runpytest_subprocess("--tms-url", tms.url, "-p", "no:xdist", "-p", "no:faker")
    assert result.ret == 0
    passed = len(re.findall(r"^def test_", INTERFERES, re.M))
    result.stdout.fnmatch_lines([f"tms: {passed} results reported: *"])
    (execution,) = re.findall(r"/(exec_\w+)", result.stdout.str())
    with tms.client() as client:
        assert client.get_execution(execution).results.passed == passed


@pytest.mark.slow
def test_where_no_process_can_be_started_everything_is_delivered_at_the_end(
    pytester: pytest.Pytester, tms: TmsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMS_API_TOKEN", tms.token)
    pytester.makeconftest("import sys\nsys.executable = ''\n")
    pytester.makepyfile("def test_a(): pass\ndef test_b(): pass\n")
    result = pytester.runpytest_subprocess("--tms-url", tms.url)
    result.stdout.fnmatch_lines(["tms: 2 results reported: *"])


@pytest.mark.slow
def test_a_sender_that_dies_is_replaced_at_the_end(
    pytester: pytest.Pytester, tms: TmsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMS_API_TOKEN", tms.token)
    pytester.makepyfile(
        """
        import os, signal, subprocess

        def test_kills():
            listed = subprocess.run(["pgrep", "-f", "pytest_tms.sender"], capture_output=True, text=True)
            for pid in map(int, listed.stdout.split()):
                folder = os.readlink(f"/proc/{pid}/cwd")
                if folder == os.getcwd():
                    os.kill(pid, signal.SIGKILL)

        def test_after(): pass
        """
    )
    result = pytester.runpytest_subprocess("--tms-url", tms.url)
    result.stdout.fnmatch_lines(["tms: 2 results reported: *"])


WITHOUT_POSIX = """
import os, select, signal, sys

for name in ("fork", "posix_spawn", "pidfd_open", "getppid", "pread", "setsid", "killpg", "set_blocking"):
    if hasattr(os, name) and name != "fork":
        delattr(os, name)
for name in ("fcntl", "resource", "pwd", "grp"):
    sys.modules[name] = None
for name in ("SIGKILL", "SIGHUP", "SIGUSR1"):
    if hasattr(signal, name):
        delattr(signal, name)
"""


@pytest.mark.slow
def test_a_run_needs_no_call_that_only_posix_has(
    pytester: pytest.Pytester, tms: TmsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMS_API_TOKEN", tms.token)
    pytester.makeconftest(
        WITHOUT_POSIX.replace(', "set_blocking"', "")
        + "def refuse(*_): raise OSError('not on this system')\nos.set_blocking = refuse\n"
    )
    pytester.makepyfile("def test_a(): pass\ndef test_b(): assert 0\n")
    result = pytester.runpytest_subprocess("--tms-url", tms.url, "-p", "no:faulthandler")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["tms: 2 results reported: *"])
