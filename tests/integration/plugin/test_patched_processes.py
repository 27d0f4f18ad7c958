"""Beside packages that replace clocks, files, sockets and threads: everything is delivered all the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.helpers import reported_runs
from tests.helpers.processes import TmsServer

pytestmark = pytest.mark.plugins

FROZEN = """
import pytest, time
from freezegun import freeze_time

@pytest.fixture(scope="module", autouse=True)
def frozen():
    with freeze_time("2020-01-01"):
        yield

def test_a(): pass
def test_b(): time.time()
def test_c(): assert time.gmtime().tm_year == 2020
"""
FROZEN_SESSION = """
import pytest
from freezegun import freeze_time

@pytest.fixture(scope="session", autouse=True)
def frozen():
    freezer = freeze_time("2020-01-01")
    freezer.start()  # and never stopped

def test_a(): pass
def test_b(): pass
def test_c(): pass
"""
TRAVELLED = """
import time_machine

@time_machine.travel(0)
def test_a(): pass
@time_machine.travel("9000-01-01", tick=False)
def test_b(): pass
def test_c(): pass
"""
FAKE_FILES = """
import os

def test_a(fs, tms):
    fs.create_file("/fake.txt")
    tms.attach(b"kept", name="a.txt")
    assert os.listdir("/") != []

def test_b(fs): os.mkdir("/there")
def test_c(): pass
"""
PATCHED = """
from gevent import monkey
monkey.patch_all()
import threading, time

def test_a(): time.sleep(0.1)
def test_b():
    thread = threading.Thread(target=time.sleep, args=(0.1,))
    thread.start()
    thread.join()
def test_c(): pass
"""
PLAIN = "def test_a(): pass\ndef test_b(): pass\ndef test_c(): pass\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("suite", "options"),
    [
        (FROZEN, ()),
        (FROZEN_SESSION, ()),
        (TRAVELLED, ()),
        (FAKE_FILES, ()),
        (PATCHED, ()),
        (PLAIN, ("--disable-socket",)),
    ],
    ids=["freezegun", "freezegun-session", "time-machine", "pyfakefs", "gevent", "pytest-socket"],
)
def test_every_result_is_delivered(
    tms: TmsServer, tmp_path: Path, suite: str, options: tuple[str, ...]
) -> None:
    ran = reported_runs.run(tms, tmp_path, {"test_it.py": suite}, *options, environment="replacing")
    assert ran.exit == 0
    assert ran.status is not None
    assert (ran.status.status, ran.status.results.passed) == ("completed", 3)
    assert ran.reported == (3, 3, 0)
    assert ran.warnings == []
    assert all(test.get("duration") is None or test["duration"] >= 0 for test in ran.stored)


def test_a_file_attached_while_files_are_faked_is_kept(tms: TmsServer, tmp_path: Path) -> None:
    ran = reported_runs.run(tms, tmp_path, {"test_it.py": FAKE_FILES}, environment="replacing")
    files: list[dict[str, Any]] = [file for test in ran.stored for file in test.get("artifacts", ())]
    assert [Path(file["path"]).read_bytes() for file in files] == [b"kept"]


@pytest.mark.slow
def test_a_proxy_that_a_test_sets_receives_nothing_of_ours(tms: TmsServer, tmp_path: Path) -> None:
    suite = """
import http.server, threading

def test_proxy(monkeypatch):
    seen = []
    class Proxy(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            seen.append(self.path)
        do_GET = do_POST
    server = http.server.HTTPServer(("127.0.0.1", 0), Proxy)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{server.server_port}")
    threading.Event().wait(2.5)
    server.shutdown()
    server.server_close()
    assert seen == []
"""
    ran = reported_runs.run(tms, tmp_path, {"test_it.py": suite}, "-o", "tms_progress_interval=1")
    assert (ran.exit, ran.reported) == (0, (1, 1, 0))
