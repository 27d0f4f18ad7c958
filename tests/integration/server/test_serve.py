"""`tms serve`: how it starts, stops, shares its data, and behaves while the database is busy."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import socket
import sqlite3
import stat
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests
from sqlalchemy import BigInteger, Integer, insert

from pytest_tms.errors import ServiceUnavailable
from pytest_tms.server.store import tables
from pytest_tms.server.store.database import Database
from pytest_tms.server.webhooks.encryption import SecretEncryption
from tests.helpers.api import KEY, Api, Serve, expect_error, expect_success, result, running, scratch_database
from tests.helpers.processes import TMS, TOKEN, first_token, run_tms, wait_for
from tests.helpers.server_processes import ServerProcess
from tests.integration.server.test_tokens import one_line


def stop(process: ServerProcess | subprocess.Popen[bytes], how: signal.Signals = signal.SIGTERM) -> int:
    process.send_signal(how)
    return process.wait(timeout=20)


def said(data_dir: Path) -> str:
    return (data_dir / "serve.log").read_text()


def responds(url: str) -> bool:
    try:
        return requests.get(f"{url}/", timeout=5).status_code == 200
    except (requests.ConnectionError, requests.Timeout):  # a busy machine answers late
        return False


def opens(url: str, token: str) -> bool:
    body = {"testSuite": "all", "environment": "dev"}
    headers = {"Authorization": f"Bearer {token}"}
    return requests.post(f"{url}/executions", json=body, headers=headers, timeout=20).status_code == 201


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("no URL", "the database URL cannot be parsed: write sqlite:///FILE or postgresql+psycopg://"),
        ("postgresql://tms@db:hiddenword/tms", "the database URL has a port that is not a number: "),
        ("mysql://tms:hiddenword@db/tms", "the database URL begins with mysql://: write sqlite:///FILE or "),
        ("sqlite:///:memory:", "the database URL names no file: write sqlite:///FILE"),
    ],
)
def test_a_database_url_that_cannot_be_used_is_one_line_without_its_password(
    tmp_path: Path, url: str, message: str
) -> None:
    completed = run_tms("serve", "--port", "0", "--data-dir", str(tmp_path), TMS_SERVER_DATABASE_URL=url)
    assert completed.returncode != 0
    assert one_line(completed.stderr).startswith(f"tms: {message}")
    assert "word" not in completed.stderr.replace("a password", "").replace("PASSWORD", "")


@pytest.mark.parametrize("host", ["nonsense.invalid", "192.0.2.1"])
def test_a_host_that_is_not_of_this_machine_asks_for_another_host(tmp_path: Path, host: str) -> None:
    completed = run_tms("serve", "--port", "0", "--host", host, "--data-dir", str(tmp_path))
    assert completed.returncode == 1
    said_of_it = one_line(completed.stderr)
    assert said_of_it.startswith(f"tms: {host}:0 cannot be used (")
    assert said_of_it.endswith("): choose another --host\n")


def test_a_postgresql_url_without_a_driver_is_used(start: Serve, tmp_path: Path) -> None:
    with scratch_database() as url:
        _, base_url = start(tmp_path, "--database-url", url.replace("+psycopg", "", 1))
        assert opens(base_url, first_token(tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "3"])
def test_the_first_token_is_in_a_file_of_its_owner_and_not_in_what_a_collector_reads(
    start: Serve, tmp_path: Path, workers: str
) -> None:
    process, url = start(tmp_path, "--workers", workers)
    token, file = first_token(tmp_path), tmp_path / "first-token"
    assert TOKEN.fullmatch(token)
    assert mode(file) == 0o600
    assert opens(url, token)
    assert str(file) in said(tmp_path)
    stop(process)
    assert not TOKEN.search(said(tmp_path))
    file.unlink()
    process, url = start(tmp_path)
    wait_for(lambda: responds(url))
    assert opens(url, token)
    stop(process)
    assert not file.exists()  # there is a token: the second start makes none
    assert "token" not in said(tmp_path).replace(str(tmp_path), "")


@pytest.mark.parametrize("namespace", [[], ["unshare", "--user", "--map-root-user", "--pid", "--fork"]])
def test_the_terminal_of_a_container_does_not_show_the_first_token(
    tmp_path: Path, namespace: list[str]
) -> None:
    if namespace and subprocess.run([*namespace, "true"], capture_output=True, check=False).returncode:
        pytest.skip("processes cannot have a namespace of their own here")
    terminal, end = pty.openpty()
    command = [*namespace, *TMS, "serve", "--port", "0", "--data-dir", str(tmp_path)]
    environ = {**os.environ, **({} if namespace else {"KUBERNETES_SERVICE_HOST": "10.0.0.1"})}
    process = subprocess.Popen(
        command, stdin=end, stdout=end, stderr=end, env=environ, start_new_session=True
    )
    os.close(end)
    try:
        shown = ""
        while "token in" not in shown:
            shown += os.read(terminal, 10_000).decode()
        url = re.search(r"http://\S+/api", shown)
        assert url
        wait_for(lambda: responds(url[0]))
        token = first_token(tmp_path)
        assert opens(url[0], token)
        assert mode(tmp_path / "first-token") == 0o600
        assert token not in shown
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=20)
        os.close(terminal)


def test_the_first_token_is_shown_on_a_terminal_alone(tmp_path: Path) -> None:
    terminal, end = pty.openpty()
    command = [*TMS, "serve", "--port", "0", "--data-dir", str(tmp_path)]
    process = subprocess.Popen(command, stdin=end, stdout=end, stderr=end)
    os.close(end)
    try:
        shown = ""
        while not (found := TOKEN.search(shown)):
            shown += os.read(terminal, 10_000).decode()
        url = re.search(r"http://\S+/api", shown)
        assert url
        assert opens(url[0], found[0])
        assert not (tmp_path / "first-token").exists()
    finally:
        stop(process)
        os.close(terminal)


@pytest.mark.slow
def test_a_first_token_that_cannot_be_written_is_made_at_the_next_start(start: Serve, tmp_path: Path) -> None:
    (tmp_path / "first-token").mkdir()
    completed = run_tms("serve", "--port", "0", "--data-dir", str(tmp_path))
    assert completed.returncode == 1
    assert "first-token" in one_line(completed.stderr.splitlines(keepends=True)[-1])
    (tmp_path / "first-token").rmdir()
    _, url = start(tmp_path)
    assert opens(url, first_token(tmp_path))


@pytest.mark.slow
def test_servers_of_one_database_need_one_key(start: Serve, tmp_path: Path) -> None:
    with scratch_database() as url:
        place = ("--database-url", url)
        first, base = start(tmp_path / "one", *place)  # alone it makes a key of its own
        hook = {
            "url": "https://example.com/x",
            "events": ["execution.completed"],
            "secret": "0123456789abcdef",
        }
        headers = {"Authorization": f"Bearer {first_token(tmp_path / 'one')}"}
        assert requests.post(f"{base}/webhooks", json=hook, headers=headers, timeout=20).status_code == 201
        refuse = ["serve", "--port", "0", "--data-dir", str(tmp_path / "two"), *place]
        other = run_tms("key", "create").stdout.strip()
        for environ in ({}, {"TMS_SERVER_KEYS": other}):
            completed = run_tms(*refuse, **environ)
            assert completed.returncode == 1
            said = one_line(completed.stderr)
            assert "TMS_SERVER_KEYS" in said
            assert "`tms key create`" in said
            assert url.partition("//")[2] in said
            assert other not in said
        key = (tmp_path / "one" / "secrets.key").read_text().strip()
        second, base = start(tmp_path / "two", *place, TMS_SERVER_KEYS=key)
        wait_for(lambda: responds(base))
        stop(first)
        stop(second)
        # The new key comes first, the former one stays until the secrets are encrypted anew.
        both = {"TMS_SERVER_KEYS": f"{other},{key}"}
        assert run_tms("key", "rotate", "--data-dir", str(tmp_path / "two"), *place, **both).returncode == 0
        third, base = start(tmp_path / "three", *place, TMS_SERVER_KEYS=other)
        wait_for(lambda: responds(base))
        stop(third)
        completed = run_tms("serve", "--port", "0", "--data-dir", str(tmp_path / "one"), *place)
        assert completed.returncode == 1
        assert "tms key reset" in one_line(completed.stderr)
        assert run_tms("key", "reset", "--data-dir", str(tmp_path / "one"), *place).returncode == 0
        start(tmp_path / "one", *place)


def test_a_server_whose_database_has_secrets_of_another_key_does_not_register_its_own(tmp_path: Path) -> None:
    with scratch_database() as url:
        database = Database(url)
        database.upgrade(tmp_path)
        with database.write() as connection:
            values = {column.name: "" for column in tables.webhooks.c if not column.nullable}
            numbers = {
                column.name: 0
                for column in tables.webhooks.c
                if isinstance(column.type, BigInteger | Integer)
            }
            secret = {"secret": SecretEncryption(KEY, tmp_path).encrypt("x")}
            connection.execute(insert(tables.webhooks).values({**values, **numbers, **secret}))
        database.close()
        completed = run_tms("serve", "--port", "0", "--data-dir", str(tmp_path), "--database-url", url)
        assert completed.returncode == 1
        assert "TMS_SERVER_KEYS" in one_line(completed.stderr)


def test_a_malformed_key_is_one_line_at_the_start(tmp_path: Path) -> None:
    completed = run_tms("serve", "--port", "0", "--data-dir", str(tmp_path), TMS_SERVER_KEYS="nonsense")
    assert completed.returncode == 1
    assert "TMS_SERVER_KEYS" in one_line(completed.stderr)
    assert "nonsense" not in completed.stderr


@pytest.mark.parametrize("content", [b"nonsense\n", b"\xff\n"])
def test_a_malformed_key_file_is_one_line_at_the_start_and_a_503_later(
    tmp_path: Path, content: bytes
) -> None:
    hook = {"url": "https://example.com/x", "events": ["execution.completed"], "secret": "0123456789abcdef"}
    with running(tmp_path) as api:
        expect_success(api.request("POST", "/webhooks", hook), 201)
        (tmp_path / "secrets.key").write_bytes(content)
        error = expect_error(api.request("POST", "/webhooks", hook), 503)
        assert "secrets.key" in error["message"]
    completed = run_tms("serve", "--port", "0", "--data-dir", str(tmp_path))
    assert completed.returncode == 1
    assert "secrets.key" in one_line(completed.stderr)


def test_a_variable_that_is_no_setting_is_named_at_the_start(start: Serve, tmp_path: Path) -> None:
    _, url = start(tmp_path, TMS_SERVER_WORKER="2")
    wait_for(lambda: responds(url))
    assert "note  TMS_SERVER_WORKER is not a setting: did you mean TMS_SERVER_WORKERS?" in said(tmp_path)


def test_servers_with_different_keys_do_not_share_an_sqlite_file(tmp_path: Path) -> None:
    hook = {"url": "https://example.com/x", "events": ["execution.completed"], "secret": "0123456789abcdef"}
    with running(tmp_path / "one") as api:
        expect_success(api.request("POST", "/webhooks", hook), 201)
        url = f"sqlite:///{tmp_path / 'one' / 'tms.sqlite3'}"
        options = ("serve", "--port", "0", "--data-dir", str(tmp_path / "two"), "--database-url", url)
        for environ in ({}, {"TMS_SERVER_KEYS": KEY}):
            refused = run_tms(*options, **environ)
            assert refused.returncode == 1
            assert "set TMS_SERVER_KEYS to the same value" in one_line(refused.stderr)


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("workers", ["1", "2"])
def test_it_ends_quietly_when_it_is_told_to(
    start: Serve, tmp_path: Path, how: signal.Signals, workers: str
) -> None:
    process, url = start(tmp_path, "--workers", workers)
    wait_for(lambda: responds(url))
    assert stop(process, how) in (0, -how, 128 + how)
    assert not responds(url)
    lines = said(tmp_path).strip().splitlines()  # Ctrl-C ends the terminal's own line
    assert [line.split()[0] for line in lines] == ["TMS", "data", "token"], lines


@pytest.mark.slow
@pytest.mark.parametrize("on_postgres", [False, True], ids=["sqlite", "postgresql"])
def test_first_starts_at_once_share_one_data_dir_and_make_one_token(
    start: Serve, tmp_path: Path, on_postgres: bool
) -> None:
    def begin(number: int, *options: str) -> tuple[ServerProcess, str]:
        folder = tmp_path / f"log{number}"
        data_dir = str(tmp_path / (f"own{number}" if options else "shared"))
        return start(folder, "--data-dir", data_dir, *options, TMS_SERVER_KEYS=KEY)

    def check(*options: str) -> None:
        with ThreadPoolExecutor(3) as threads:
            started = list(threads.map(lambda number: begin(number, *options), range(3)))
        wait_for(lambda: all(responds(url) for _, url in started))
        for process, _ in started:
            stop(process)
        logs = [(tmp_path / f"log{number}" / "serve.log").read_text() for number in range(3)]
        assert sum("first-token" in log for log in logs) == 1
        assert not any(TOKEN.search(log) for log in logs)
        assert not any("Traceback" in log for log in logs)

    if on_postgres:
        with scratch_database() as url:
            check("--database-url", url)
    else:
        check()


@pytest.mark.slow
def test_two_workers_share_what_they_know(start: Serve, tmp_path: Path) -> None:
    process, url = start(tmp_path, "--workers", "2")
    wait_for(lambda: responds(url))
    token = first_token(tmp_path)

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


def test_a_revoked_token_is_refused_by_every_worker_at_once(start: Serve, tmp_path: Path) -> None:
    process, url = start(tmp_path, "--workers", "2")
    wait_for(lambda: responds(url))
    place = ("--data-dir", str(tmp_path))
    made = json.loads(run_tms("token", "create", "--name", "x", "--json", *place).stdout)

    def read(_: int) -> int:
        with requests.Session() as session:  # a connection of its own, which either worker may take
            api = Api(url, made["token"], tmp_path, session=session)
            return api.request("GET", "/executions").status_code

    with ThreadPoolExecutor(8) as threads:
        assert set(threads.map(read, range(40))) == {200}
        assert run_tms("token", "revoke", made["id"], *place).returncode == 0
        assert set(threads.map(read, range(40))) == {401}
    stop(process)
    assert "Traceback" not in said(tmp_path)


@pytest.mark.slow
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
        response = api.request("POST", "/executions", {"testSuite": "all", "environment": "dev"})
        assert response.status_code == 503
        assert response.headers["Retry-After"] == "5"
        assert response.json()["error"]["code"] == "SERVICE_UNAVAILABLE"
        assert api.status(execution)["status"] == "created"
        holder.execute("ROLLBACK")
        holder.close()
        api.create()
        assert "Traceback" not in api.output()


@pytest.mark.slow
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
        assert "Traceback" not in api.output()


def test_behind_a_proxy_links_lead_to_the_public_address_and_its_name_is_known(
    start: Serve, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process, url = start(tmp_path, "--port", str(port), "--public-url", "https://tms.example/")
    assert url == "https://tms.example/api"
    wait_for(lambda: responds(f"http://127.0.0.1:{port}/api"))
    created = requests.post(
        f"http://127.0.0.1:{port}/api/executions",
        json={"testSuite": "all", "environment": "dev"},
        headers={"Authorization": f"Bearer {first_token(tmp_path)}", "Host": "tms.example"},
        timeout=20,
    ).json()
    assert created["webhookUrl"].startswith("https://tms.example/api/webhooks/executions/exec_")
    assert created["reportUrl"] == f"https://tms.example/reports/{created['executionId']}"
    stop(process)


@pytest.mark.parametrize(("access", "verb"), [(0o777, "write to"), (0o755, "read"), (0o770, "write to")])
def test_a_data_dir_that_others_may_use_is_named_once_with_the_command_that_mends_it(
    start: Serve, tmp_path: Path, access: int, verb: str
) -> None:
    folder = tmp_path / "data dir"
    folder.mkdir()
    folder.chmod(access)
    _, url = start(folder, "--workers", "2")
    wait_for(lambda: "note" in said(folder))
    wait_for(lambda: responds(url))
    (note,) = [line for line in said(folder).splitlines() if "data dir" in line and "note" in line]
    assert note == (
        f"note  other users may {verb} the data dir {folder} (mode {access:o}), which has the secrets of the "
        f"server: run chmod 700 '{folder}'"
    )


def test_a_data_dir_of_its_owner_alone_gives_no_warning(start: Serve, tmp_path: Path) -> None:
    folder = tmp_path / "new"
    process, url = start(folder)
    wait_for(lambda: responds(url))
    stop(process)
    assert mode(folder) == 0o700
    assert "note" not in said(folder)
