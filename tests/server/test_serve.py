"""`tms serve`: how it starts, stops, shares its data, and behaves while the database is busy."""

from __future__ import annotations

import json
import signal
import socket
import sqlite3
import stat
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from pytest_tms.errors import ServiceUnavailable
from pytest_tms.server.store.database import Database
from tests.conftest import TOKEN, run_tms, wait_for
from tests.server.conftest import Api, Serve, result, running, scratch_database


def stop(process: subprocess.Popen[bytes], how: signal.Signals = signal.SIGTERM) -> int:
    process.send_signal(how)
    return process.wait(timeout=20)


def said(data_dir: Path) -> str:
    return (data_dir / "serve.log").read_text()


def answers(url: str) -> bool:
    try:
        return requests.get(f"{url}/", timeout=5).status_code == 200
    except (requests.ConnectionError, requests.Timeout):  # a busy machine answers late
        return False


def test_only_the_first_start_shows_a_token_and_it_opens_the_api(start: Serve, tmp_path: Path) -> None:
    process, url = start(tmp_path)
    wait_for(lambda: answers(url))
    token = TOKEN.search(said(tmp_path))
    assert token
    body = {"testSuite": "all", "environment": "dev"}
    headers = {"Authorization": f"Bearer {token[0]}"}
    assert requests.post(f"{url}/executions", json=body, headers=headers, timeout=20).status_code == 201
    stop(process)
    process, url = start(tmp_path)
    wait_for(lambda: answers(url))
    assert not TOKEN.search(said(tmp_path))
    assert requests.post(f"{url}/executions", json=body, headers=headers, timeout=20).status_code == 201
    stop(process)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("workers", ["1", "2"])
def test_it_ends_quietly_when_it_is_told_to(
    start: Serve, tmp_path: Path, how: signal.Signals, workers: str
) -> None:
    process, url = start(tmp_path, "--workers", workers)
    wait_for(lambda: answers(url))
    assert stop(process, how) in (0, -how, 128 + how)
    assert not answers(url)
    lines = said(tmp_path).strip().splitlines()  # Ctrl-C ends the terminal's own line
    assert [line.split()[0] for line in lines] == ["TMS", "data", "token"], lines


@pytest.mark.parametrize("on_postgres", [False, True], ids=["sqlite", "postgresql"])
def test_first_starts_at_once_share_one_data_dir_and_make_one_token(
    start: Serve, tmp_path: Path, on_postgres: bool
) -> None:
    def begin(number: int, *options: str) -> tuple[subprocess.Popen[bytes], str]:
        folder = tmp_path / f"log{number}"
        return start(
            folder, "--data-dir", str(tmp_path / (f"own{number}" if options else "shared")), *options
        )

    def check(*options: str) -> None:
        with ThreadPoolExecutor(3) as threads:
            started = list(threads.map(lambda number: begin(number, *options), range(3)))
        wait_for(lambda: all(answers(url) for _, url in started))
        for process, _ in started:
            stop(process)
        logs = [(tmp_path / f"log{number}" / "serve.log").read_text() for number in range(3)]
        assert sum(bool(TOKEN.search(log)) for log in logs) == 1
        assert not any("Traceback" in log for log in logs)

    if on_postgres:
        with scratch_database() as url:
            check("--database-url", url)
    else:
        check()


def test_two_workers_share_what_they_know(start: Serve, tmp_path: Path) -> None:
    made = run_tms("token", "create", "--name", "x", "--json", "--data-dir", str(tmp_path))
    process, url = start(tmp_path, "--workers", "2")
    wait_for(lambda: answers(url))
    token = json.loads(made.stdout)["token"]

    def submit(number: int) -> int:
        with requests.Session() as session:  # a connection of its own, which either worker may take
            one = Api(url, token, tmp_path, session=session)
            one.submit(execution, str(number), tests=[result(str(number))])
            return int(one.status(execution)["results"]["total"])

    with requests.Session() as session:
        api = Api(url, token, tmp_path, session=session)
        execution = api.create(configuration={"shards": 20})
        with ThreadPoolExecutor(8) as threads:
            assert max(threads.map(submit, range(20))) == 20
        assert api.status(execution)["status"] == "completed"
    stop(process)
    assert "Traceback" not in said(tmp_path)


def test_what_it_keeps_is_its_owners_alone(tmp_path: Path) -> None:
    with running(tmp_path / "data") as api:
        api.create()
        assert mode(api.data_dir) == 0o700
        found = {file.name: mode(file) for file in api.data_dir.glob("tms.sqlite3*")}
        assert len(found) >= 2
        assert set(found.values()) == {0o600}
    assert run_tms("db", "upgrade", "--data-dir", str(tmp_path / "fresh")).returncode == 0
    assert mode(tmp_path / "fresh") == 0o700
    assert {mode(file) for file in (tmp_path / "fresh").iterdir()} == {0o600}


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_database_that_is_locked_is_unavailable_and_says_when_to_come_back(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'tms.sqlite3'}"
    patient = Database(url)
    patient.upgrade(tmp_path)
    hasty = Database(f"{url}?timeout=0.05")
    with patient.write(), hasty.read() as reading:
        assert reading.exec_driver_sql("SELECT count(*) FROM tokens").scalar() == 0
        with pytest.raises(ServiceUnavailable) as found, hasty.write():
            pytest.fail("the lock was taken twice")
    assert found.value.retry_after == 5
    with hasty.write():
        pass  # free again
    patient.close()
    hasty.close()


def test_a_locked_database_is_503_with_retry_after_and_recovers(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with running(data, "--database-url", f"sqlite:///{data / 'tms.sqlite3'}?timeout=0.05") as api:
        execution = api.create()
        holder = sqlite3.connect(data / "tms.sqlite3", isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        answer = api.ask("POST", "/executions", {"testSuite": "all", "environment": "dev"})
        assert answer.status_code == 503
        assert answer.headers["Retry-After"] == "5"
        assert answer.json()["error"]["code"] == "SERVICE_UNAVAILABLE"
        assert api.status(execution)["status"] == "created"
        holder.execute("ROLLBACK")
        holder.close()
        api.create()
        assert "Traceback" not in api.said()


def test_a_database_that_goes_away_is_503_and_recovers(tmp_path: Path) -> None:
    psycopg = pytest.importorskip("psycopg", reason="psycopg is not installed")
    with scratch_database() as url, running(tmp_path / "data", "--database-url", url) as api:
        execution = api.create()
        with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        assert api.status(execution)["status"] == "created"
        assert "Traceback" not in api.said()


def test_behind_a_proxy_links_lead_to_the_public_address_and_its_name_is_known(
    start: Serve, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process, url = start(tmp_path, "--port", str(port), "--public-url", "https://tms.example/")
    assert url == "https://tms.example/api"
    wait_for(lambda: answers(f"http://127.0.0.1:{port}/api"))
    token = TOKEN.search(said(tmp_path))
    assert token
    created = requests.post(
        f"http://127.0.0.1:{port}/api/executions",
        json={"testSuite": "all", "environment": "dev"},
        headers={"Authorization": f"Bearer {token[0]}", "Host": "tms.example"},
        timeout=20,
    ).json()
    assert created["webhookUrl"].startswith("https://tms.example/api/webhooks/executions/exec_")
    assert created["reportUrl"] == f"https://tms.example/reports/{created['executionId']}"
    stop(process)
