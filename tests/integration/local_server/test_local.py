"""The local server: one per data dir, started on demand, stopped when no session needs it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import requests

import pytest_tms
from tests.helpers.api import Serve
from tests.helpers.processes import first_token, run_tms, wait_for, wait_for_end

FIND = [sys.executable, "-m", "pytest_tms.server.local", "--session"]


class Place:
    """A data dir, and processes that use its server."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.sessions: list[subprocess.Popen[bytes]] = []

    def session(self) -> subprocess.Popen[bytes]:
        """Start a process that takes the place of a pytest run."""
        process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
        self.sessions.append(process)
        return process

    def request(self, session: int, *, ci: bool = True, **more: str) -> subprocess.Popen[str]:
        environ = {
            **os.environ,
            "TMS_SERVER_DATA_DIR": str(self.folder),
            **({"CI": "true"} if ci else {}),
            **more,
        }
        return subprocess.Popen(
            [*FIND, str(session)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environ
        )

    def find(self, session: int | None = None) -> dict[str, str]:
        """Return the URL and token that a session in CI receives."""
        return read_output(self.request(os.getpid() if session is None else session))

    def tms(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return run_tms("local", *arguments, TMS_SERVER_DATA_DIR=str(self.folder))

    def state(self) -> dict[str, Any]:
        try:
            document: dict[str, Any] = json.loads((self.folder / "local.json").read_text())
        except FileNotFoundError:
            return {}
        return document

    def log(self) -> str:
        return (self.folder / "local.log").read_text()

    def close(self) -> None:
        for process in self.sessions:
            process.kill()
            process.communicate()
        if pid := self.state().get("pid"):
            end(pid)


def read_output(process: subprocess.Popen[str]) -> dict[str, str]:
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    document: dict[str, str] = json.loads(out)
    assert set(document) == {"url", "token"}
    return document


def alive(pid: int) -> bool:
    """Return whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def end(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    wait_for_end(pid)


def works(found: dict[str, str]) -> bool:
    headers = {"Authorization": f"Bearer {found['token']}"}
    body = {"testSuite": "all", "environment": "dev"}
    answered = requests.post(f"{found['url']}/executions", json=body, headers=headers, timeout=20)
    return answered.status_code == 201


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    found = Place(tmp_path / "data")
    yield found
    found.close()


@pytest.mark.slow
def test_ten_concurrent_sessions_share_one_server(place: Place) -> None:
    asking = [place.request(os.getpid()) for _ in range(10)]
    found = [read_output(process) for process in asking]
    assert len({json.dumps(each) for each in found}) == 1
    assert works(found[0])
    assert place.find() == found[0]


def test_a_running_server_is_found_without_its_framework(place: Place) -> None:
    place.find()
    code = f"""
import sys
sys.argv = ["local", "--session", "{os.getpid()}"]
from pytest_tms.server.local.__main__ import main
assert main() == 0
print(sorted({{"litestar", "sqlalchemy", "alembic", "uvicorn", "pytest"}} & set(sys.modules)))
"""
    environ = {**os.environ, "TMS_SERVER_DATA_DIR": str(place.folder)}
    completed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environ, check=True
    )
    assert completed.stdout.endswith("[]\n"), completed.stdout


@pytest.mark.slow
def test_a_killed_server_is_replaced_on_its_port_and_keeps_its_data(place: Place) -> None:
    first = place.find()
    assert works(first)
    end(place.state()["pid"])
    second = place.find()
    assert second["url"] == first["url"]
    assert second["token"] != first["token"]
    assert works(second)
    headers = {"Authorization": f"Bearer {first['token']}"}
    assert requests.get(f"{second['url']}/executions/x", headers=headers, timeout=20).status_code == 401


def test_another_port_is_used_if_the_previous_one_is_in_use(place: Place) -> None:
    first = place.find()
    pid = place.state()["pid"]
    os.kill(pid, signal.SIGSTOP)  # it holds its port, and answers nobody
    state = {**place.state(), "pid": 2**22 + 1}
    (place.folder / "local.json").write_text(json.dumps(state))
    second = place.find()
    end(pid)
    assert second["url"] != first["url"]
    assert works(second)


@pytest.mark.slow
def test_in_ci_it_stops_soon_after_its_last_session(place: Place) -> None:
    session, other = place.session(), place.session()
    found = place.find(session.pid)
    place.find(other.pid)
    pid = place.state()["pid"]
    other.kill()
    other.wait()
    # The file of the session that ended is gone: the server has looked, and found the one that lives.
    wait_for(lambda: [entry.name for entry in (place.folder / "sessions").iterdir()] == [str(session.pid)])
    assert alive(pid)
    assert works(found)
    session.kill()
    session.wait()
    wait_for_end(pid)
    assert place.state() == {"url": found["url"]}
    assert "Traceback" not in place.log()
    assert place.find()["url"] == found["url"]


@pytest.mark.slow
def test_outside_ci_it_continues_after_its_last_session(place: Place) -> None:
    session = place.session()
    found = read_output(place.request(session.pid, ci=False))
    session.kill()
    session.wait()
    wait_for(lambda: not list((place.folder / "sessions").iterdir()))
    assert works(found)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"url": 1, "token": [], "pid": "x"}',
        b'{"url": "nonsense", "token": "t", "pid": 1}',
        b'{"url": "http://127.0.0.1:99999/api", "token": "t", "pid": 1}',
        b'{"url": "http://127.0.0.1:x/api", "token": "t", "pid": -1}',
        b'{"url": "http://127.0.0.1:1/api", "token": "t", "pid": 99999999999999999999}',
    ],
)
def test_an_invalid_state_file_is_replaced(tmp_path: Path, content: bytes) -> None:
    from pytest_tms.server.local import state_file

    (tmp_path / "local.json").write_bytes(content)
    state = state_file.read(tmp_path)
    assert not state_file.is_responding(state)
    assert 0 <= state_file.port(state) <= 65535


def test_a_server_is_started_beside_a_corrupted_state_file(place: Place) -> None:
    place.folder.mkdir()
    (place.folder / "local.json").write_bytes(b'{"url": "http://[", "token": 1')
    assert works(place.find())


def test_its_files_are_readable_by_their_owner_only(place: Place) -> None:
    place.find()
    for path in [place.folder, *place.folder.rglob("*")]:
        allowed = stat.S_IMODE(path.stat().st_mode)
        if path.is_dir() or path.name in ("local.json", "local.log") or path.name.startswith("tms.sqlite3"):
            assert allowed & 0o077 == 0, f"{path} {allowed:o}"


def test_a_server_that_cannot_start_is_a_one_line_error(place: Place) -> None:
    place.folder.mkdir()
    (place.folder / "tms.sqlite3").write_text("no database " * 1000)
    process = place.request(os.getpid())
    out, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert not out
    assert "not a database" in err
    assert err.count("\n") == 1


@pytest.mark.slow
def test_it_leaves_other_tokens_valid(place: Place) -> None:
    found = place.find()
    made = run_tms("token", "create", "--name", "local", "--json", "--data-dir", str(place.folder))
    mine = {"url": found["url"], "token": json.loads(made.stdout)["token"]}
    assert works(mine)
    assert works(found)


def test_a_later_tms_serve_still_creates_its_first_token(place: Place, start: Serve) -> None:
    place.find()
    assert not (place.folder / "first-token").exists()
    start(place.folder)
    assert first_token(place.folder)


def installed(folder: Path, version: str) -> str:
    """Install a copy of the package with this version, and return its PYTHONPATH."""
    shutil.copytree(Path(pytest_tms.__file__).parent, folder / "pytest_tms")
    metadata = folder / f"pytest_tms-{version}.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text(f"Metadata-Version: 2.1\nName: pytest-tms\nVersion: {version}\n")
    return str(folder)


@pytest.mark.slow
def test_a_newer_version_replaces_a_running_server_that_no_other_session_uses(
    place: Place, tmp_path: Path
) -> None:
    mine, other = place.session(), place.session()
    old = read_output(place.request(other.pid, ci=False))
    place.find(mine.pid)
    pid = place.state()["pid"]
    newer = {"PYTHONPATH": installed(tmp_path / "site", "9.9")}
    assert (
        read_output(place.request(mine.pid, ci=False, **newer)) == old
    )  # the other session keeps its server
    assert place.state()["pid"] == pid
    other.kill()
    other.wait()
    new = read_output(place.request(mine.pid, ci=False, **newer))
    assert new["url"] == old["url"]
    assert works(new)
    assert not alive(pid)
    assert json.loads(place.tms("status", "--json").stdout)["version"] == "9.9"
    assert place.find(mine.pid) == new  # an older version uses the newer server


@pytest.mark.slow
def test_a_server_stops_when_its_package_is_uninstalled_though_a_session_lives(
    place: Place, tmp_path: Path
) -> None:
    site = tmp_path / "site"
    read_output(place.request(os.getpid(), ci=False, PYTHONPATH=installed(site, "0.1.0")))
    pid = place.state()["pid"]
    shutil.rmtree(site)
    wait_for_end(pid)
    assert "pid" not in place.state()
    assert "Traceback" not in place.log()


@pytest.mark.slow
def test_a_server_whose_package_was_replaced_stops_soon_after_its_last_session(
    place: Place, tmp_path: Path
) -> None:
    site, session = tmp_path / "site", place.session()
    found = read_output(place.request(session.pid, ci=False, PYTHONPATH=installed(site, "0.1.0")))
    pid = place.state()["pid"]
    shutil.rmtree(site / "pytest_tms-0.1.0.dist-info")
    (site / "pytest_tms-9.9.dist-info").mkdir()
    (site / "pytest_tms-9.9.dist-info" / "METADATA").write_text("Name: pytest-tms\nVersion: 9.9\n")
    assert works(found)
    session.kill()
    session.wait()
    wait_for_end(pid)


@pytest.mark.slow
def test_the_command_shows_and_stops_the_server(place: Place) -> None:
    path = str(place.folder)
    assert place.tms("path").stdout == f"{path}\n"
    assert json.loads(place.tms("path", "--json").stdout) == {"path": path}
    nothing = {"running": False, "url": None, "pid": None, "version": None, "sessions": None, "path": path}
    assert json.loads(place.tms("status", "--json").stdout) == nothing
    assert place.tms("status").stdout == f"not running, data in {path}\n"
    assert json.loads(place.tms("stop", "--json").stdout) == {"stopped": False}
    assert not place.folder.exists()  # asking creates nothing
    session = place.session()
    found = read_output(place.request(session.pid, ci=False))
    pid = place.state()["pid"]
    shown = place.tms("status")
    assert found["url"] in shown.stdout
    assert found["token"] not in shown.stdout
    status = json.loads(place.tms("status", "--json").stdout)
    assert status == {
        "running": True,
        "url": found["url"],
        "pid": pid,
        "version": metadata.version("pytest-tms"),
        "sessions": [session.pid],
        "path": path,
    }
    assert place.tms("stop").stdout == "stopped\n"
    assert not alive(pid)
    assert json.loads(place.tms("status", "--json").stdout) == nothing
    assert place.tms("stop").stdout == "not running\n"
    assert read_output(place.request(session.pid, ci=False))["url"] == found["url"]


def test_a_process_without_the_token_is_not_stopped(place: Place, start: Serve) -> None:
    process, url = start(place.folder)
    state = {"url": url, "token": first_token(place.folder), "pid": process.pid}
    (place.folder / "local.json").write_text(json.dumps(state))
    assert json.loads(place.tms("stop", "--json").stdout) == {"stopped": False}
    assert process.poll() is None
    (place.folder / "local.json").unlink()
