"""Two servers of one PostgreSQL behind a proxy: what one does, the other knows; one that ends loses nothing."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import requests
from sqlalchemy import func, select, text

from pytest_tms.client import TmsClient
from pytest_tms.server.domain import clock
from pytest_tms.server.store import pending_work, revisions, tables
from pytest_tms.server.store.database import Database
from tests.helpers import reported_runs
from tests.helpers.api import (
    KEY,
    Api,
    Serve,
    expect_success,
    result,
    running,
    scratch_database,
    upgraded_database,
)
from tests.helpers.event_streams import event_stream
from tests.helpers.ports import accepts, free_port
from tests.helpers.processes import TmsServer, run_tms, wait_for
from tests.helpers.replicas import balanced
from tests.helpers.reported_runs import FinishedRun
from tests.helpers.server_processes import ServerProcess
from tests.helpers.subscribers import Subscribers, subscribing

PROJECT = Path(__file__).parents[3]
PREVIOUS = "119f9b0"
"""A commit whose schema is 0024: earlier code, which runs while newer code upgrades the database."""
RUN = {"testSuite": "all", "environment": "dev"}


@dataclass(frozen=True)
class Replicas:
    """Two servers, and requests to each of them and to the proxy."""

    one: Api
    two: Api
    proxy: Api
    processes: tuple[ServerProcess, ServerProcess]
    place: tuple[str, ...]


@pytest.fixture
def replicas(start: Serve, tmp_path: Path) -> Iterator[Replicas]:
    """Two servers, on one machine with one folder of files."""
    with upgraded_database() as url, replicas_of(start, tmp_path, url) as found:
        yield found


@contextmanager
def replicas_of(start: Serve, folder: Path, url: str, **environ: str) -> Iterator[Replicas]:
    place = ("--data-dir", str(folder / "data"), "--database-url", url)
    settings = {
        "TMS_SERVER_KEYS": KEY,
        "TMS_SERVER_ALLOW_INSECURE_WEBHOOKS": "1",
        "TMS_SERVER_SHARD_SILENCE": "2",
        **environ,
    }
    ports = (free_port(), free_port())
    started = []
    for number, port in enumerate(ports):
        process, _ = start(folder / f"log{number}", *place, "--port", str(port), **settings)
        started.append(process)
    made = run_tms("token", "create", "--name", "tests", "--scope", "admin", "--json", *place, **settings)
    assert made.returncode == 0, made.stderr
    token = json.loads(made.stdout)["token"]

    def api(port: int, number: int) -> Api:
        return Api(f"http://127.0.0.1:{port}/api", token, folder / f"log{number}")

    one, two = (api(port, number) for number, port in enumerate(ports))
    for each in (one, two):
        wait_for(partial(_is_ready, each.root))
    with balanced(folder / "proxy", ports) as root:
        proxy = replace(one, url=f"{root}/api", session=requests.Session())
        yield Replicas(one, two, proxy, (started[0], started[1]), place)
    for each in (one, two, proxy):
        each.session.close()


def _is_ready(root: str) -> bool:
    try:
        return requests.get(f"{root}/readyz", timeout=10).status_code == 200
    except requests.RequestException:
        return False


@pytest.mark.slow
def test_changes_by_one_replica_are_visible_in_the_other_at_once(replicas: Replicas) -> None:
    one, two, proxy = replicas.one, replicas.two, replicas.proxy
    execution = one.create()
    # A live page of one replica is notified of a result, and of a cancellation, by the other.
    visit = _logged_in(two)
    with event_stream(f"{two.root}/runs/{execution['executionId']}/stream", visit) as stream:
        one.send(execution, "execution.progress", shardId="1", tests=[result("a")])
        stream.next("changed")
        assert one.request("DELETE", f"/executions/{execution['executionId']}").status_code == 200
        stream.next("changed")
    accepted = two.send(execution, "execution.progress", shardId="1", tests=[result("b")])
    assert accepted["executionStatus"] == "cancelled"  # by which the runner stops
    # An idempotency key and a run key have one effect, however the requests are distributed.
    with ThreadPoolExecutor(8) as threads:
        for body, headers in ((RUN, {"Idempotency_Key": "one"}), ({**RUN, "runKey": "a run"}, {})):

            def send(number: int, body: Any = body, headers: Any = headers) -> str:
                api = (one, two, proxy)[number % 3]
                own = replace(api, session=requests.Session())
                for _ in range(50):
                    response = own.request("POST", "/executions", body, **headers)
                    if response.status_code != 409:  # the first request is still in progress
                        break
                assert response.status_code in (200, 201), response.text
                own.session.close()
                return str(response.json()["executionId"])

            assert len(set(threads.map(send, range(24)))) == 1
    # A token that was revoked by the command is refused by both.
    made = json.loads(run_tms("token", "create", "--name", "x", "--json", *replicas.place).stdout)
    for api in (one, two):
        assert api.request("GET", "/executions", token=made["token"]).status_code == 200
    assert run_tms("token", "revoke", made["id"], *replicas.place).returncode == 0
    for api in (one, two, proxy):
        assert api.request("GET", "/executions", token=made["token"]).status_code == 401


def _logged_in(api: Api) -> requests.Session:
    """A session for pages; on this machine no login is needed."""
    return api.session


@pytest.mark.slow
def test_a_killed_replica_loses_no_accepted_result_and_the_other_takes_its_jobs(replicas: Replicas) -> None:
    one, two, proxy = replicas.one, replicas.two, replicas.proxy
    with subscribing() as subscribers:
        hook = {"url": subscribers.url("killed"), "events": ["execution.completed", "execution.failed"]}
        expect_success(one.request("POST", "/webhooks", hook), 201)
        silent = one.create(configuration={"shards": 1})
        one.send(silent, "shard.started", shardId="1", interval=1)
        one.send(silent, "execution.progress", shardId="1", interval=1, running=[])
        accepted: list[str] = []
        killed = threading.Event()

        def report(number: int) -> None:
            with TmsClient(proxy.url, proxy.token, retries=8) as client:
                made = client.create_execution(_request(), key=f"run {number}")
                client.submit_results(_submission(made.execution_id), key=f"results {number}")
                accepted.append(made.execution_id)
                if number == 10:
                    replicas.processes[0].kill()
                    killed.set()

        with ThreadPoolExecutor(6) as threads:
            list(threads.map(report, range(40)))
        assert killed.is_set()
        assert len(accepted) == 40
        for execution_id in accepted:
            assert two.status({"executionId": execution_id})["results"]["total"] == 3
        subscribers.wait_for(lambda: _delivered(subscribers) >= set(accepted))
        wait_for(lambda: two.shard(silent)["status"] == "lost")


def _delivered(subscribers: Subscribers) -> set[str]:
    return {got.payload["executionId"] for got in subscribers.of("killed")}


def _request() -> Any:
    from pytest_tms import wire

    return wire.ExecutionRequest(test_suite="all", environment="dev")


def _submission(execution_id: str) -> Any:
    from pytest_tms import wire

    tests = [wire.TestResult(title=name, status="passed") for name in "abc"]
    return wire.ResultsSubmission(execution_id=execution_id, shard_id="1", tests=tests)


QUEUE_SUITE = """
import os, pathlib, pytest

@pytest.mark.parametrize("n", range(40))
def test_it(n):
    with open(os.environ["RAN"], "a") as file:
        file.write(f"{n}\\n")
    if n == 10:
        pathlib.Path(os.environ["GO"]).read_bytes()  # a pipe: until it is written to
"""


@pytest.mark.slow
def test_shards_of_a_queue_run_each_test_once_although_a_replica_is_killed(
    replicas: Replicas, tmp_path: Path
) -> None:
    tms = TmsServer(replicas.proxy.url, replicas.proxy.token, tmp_path)
    ran, go = tmp_path / "ran", tmp_path / "go"
    ran.touch()
    os.mkfifo(go)

    def run(shard: str) -> FinishedRun:
        folder = tmp_path / f"shard-{shard[0]}"
        folder.mkdir()
        options = ("--tms-run-key", f"queue-{tmp_path}", "--tms-split", "queue", "--tms-shard", shard)
        return reported_runs.run(
            tms, folder, {"test_it.py": QUEUE_SUITE}, *options, extra={"RAN": str(ran), "GO": str(go)}
        )

    with ThreadPoolExecutor(2) as threads:
        runs = [threads.submit(run, shard) for shard in ("1/2", "2/2")]
        wait_for(lambda: "10" in ran.read_text().split(), 60)
        replicas.processes[0].kill()
        go.write_text("go")
        finished = [each.result() for each in runs]
    assert [each.exit for each in finished] == [0, 0]
    assert sorted(map(int, ran.read_text().split())) == list(range(40))
    execution = {"executionId": finished[0].status.execution_id if finished[0].status else ""}
    found = replicas.two.status(execution)
    assert (found["status"], found["results"]["passed"]) == ("completed", 40)


@pytest.mark.slow
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGSTOP])
def test_a_replica_takes_over_the_job_of_one_that_is_killed_or_suspended_in_a_transaction(
    replicas: Replicas, end: signal.Signals
) -> None:
    one, two = replicas.one, replicas.two
    first, second = replicas.processes
    execution = one.create()
    one.submit(execution, tests=[result(f"test {number}") for number in range(3)])
    database = Database(replicas.place[3])

    def is_held() -> bool:
        lease = tables.leases.c
        query = select(lease.leased_until).where(lease.name == "retention")
        with database.read() as connection:
            return (connection.scalar(query) or 0) > clock.now()

    def is_deleted() -> bool:
        with database.read() as connection:
            return connection.scalar(select(func.count()).select_from(tables.executions)) == 0

    second.send_signal(signal.SIGSTOP)  # so that the first one takes the job
    with database.write() as connection:
        # The rows are locked, so that the first one ends in the midst of a transaction.
        connection.execute(select(tables.results).with_for_update())
        deleted = one.request("POST", f"/executions/{execution['executionId']}/delete")
        assert deleted.status_code == 200
        wait_for(is_held)
        wait_for(lambda: _waits_for_a_lock(database))
        first.send_signal(end)
    second.send_signal(signal.SIGCONT)
    wait_for(is_deleted, 90)
    assert "Traceback" not in two.output()
    if end == signal.SIGSTOP:
        first.send_signal(signal.SIGCONT)
        wait_for(partial(_is_ready, one.root))
        one.submit(one.create(), tests=[result("later")])
        assert "Traceback" not in one.output()
    database.close()


def _waits_for_a_lock(database: Database) -> bool:
    with database.read() as connection:
        return pending_work.lock_waiters(connection) > 0


@pytest.mark.slow
def test_a_replica_that_stops_finishes_its_requests(replicas: Replicas) -> None:
    one, two = replicas.one, replicas.two
    execution = one.create()
    content = b"x" * 200_000
    path = f"/api/executions/{execution['executionId']}/artifacts/{sha256(content).hexdigest()}"
    port = int(re.findall(r":(\d+)/", one.url)[0])
    head = (
        f"PUT {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {one.token}\r\n"
        f"Content-Type: text/plain\r\nContent-Length: {len(content)}\r\n\r\n"
    ).encode()
    with (
        socket.create_connection(("127.0.0.1", port), 20) as uploading,
        event_stream(f"{one.root}/runs/{execution['executionId']}/stream") as stream,
    ):
        uploading.sendall(head + content[:100_000])
        wait_for(lambda: list((Path(replicas.place[1]) / "uploads").glob("upload-*")))
        replicas.processes[0].terminate()
        stream.until_its_end()
        wait_for(lambda: not accepts(port))  # a proxy sends further requests to the other one
        uploading.sendall(content[100_000:])
        assert uploading.recv(12) == b"HTTP/1.1 201"
    assert replicas.processes[0].wait(20) in (0, -signal.SIGTERM)
    assert two.request("GET", f"{path.removeprefix('/api')}/content").content == content


def earlier(folder: Path) -> Path:
    """The source of an earlier commit; skips the test where the history does not have it."""
    archive = folder / "earlier.tar"
    command = ["git", "-C", str(PROJECT), "archive", "--format=tar", f"--output={archive}", PREVIOUS, "src"]
    completed = subprocess.run(command, capture_output=True, text=True, check=False)
    if completed.returncode:
        pytest.skip(f"the history has no commit {PREVIOUS}: {completed.stderr.strip()[:100]}")
    with tarfile.open(archive) as found:
        found.extractall(folder / "earlier", filter="data")
    return folder / "earlier" / "src"


@pytest.mark.slow
def test_an_earlier_version_continues_after_a_newer_one_has_upgraded_the_database(
    start: Serve, tmp_path: Path
) -> None:
    source, port = earlier(tmp_path), free_port()
    with scratch_database() as url:
        place = ["--data-dir", str(tmp_path / "data"), "--database-url", url]
        environ = {**os.environ, "PYTHONPATH": str(source), "TMS_SERVER_KEYS": KEY}
        log = tmp_path / "earlier.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "pytest_tms.cli", "serve", "--port", str(port), *place],
                env=environ,
                stdout=output,
                stderr=output,
            )
        try:
            old_root = f"http://127.0.0.1:{port}"
            wait_for(lambda: process.poll() is not None or accepts(port), 60)
            assert process.poll() is None, log.read_text()
            database = Database(url)
            with database.read() as connection:
                before = revisions.state(connection).found
            assert before == "0024"
            with running(tmp_path / "new", "--database-url", url, TMS_SERVER_KEYS=KEY) as new:
                with database.read() as connection:
                    assert revisions.state(connection).found == revisions.known()[0] != before
                old = replace(new, url=f"{old_root}/api", session=requests.Session())
                for first, second in ((old, new), (new, old)):
                    execution = first.create()
                    second.send(execution, "execution.progress", shardId="1", tests=[result("a")])
                    first.submit(execution, tests=[result("a"), result("b", "failed")])
                    for api in (first, second):
                        assert api.status(execution)["results"]["failed"] == 1
                        assert {each["title"] for each in api.tests(execution)} == {"a", "b"}
                    page = requests.get(f"{second.root}/runs/{execution['executionId']}", timeout=20)
                    assert page.status_code == 200
                old.session.close()
            database.close()
            assert "Traceback" not in log.read_text()
        finally:
            process.terminate()
            process.wait(20)


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_server_starts_with_a_newer_database_that_is_compatible_and_refuses_another(
    kind: str, tmp_path: Path
) -> None:
    if kind == "sqlite":
        _check_newer(f"sqlite:///{tmp_path}/tms.sqlite3", tmp_path)
    else:
        with scratch_database() as url:
            _check_newer(url, tmp_path)


def _check_newer(url: str, folder: Path) -> None:
    database = Database(url)
    database.upgrade(folder)
    with database.write() as connection:
        connection.execute(text("ALTER TABLE executions ADD COLUMN of_the_future VARCHAR(10)"))
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with running(folder / "data", "--database-url", url, TMS_SERVER_KEYS=KEY) as api:
        api.submit(api.create(), tests=[result("a")])
        assert api.session.get(f"{api.root}/readyz", timeout=20).json()["checks"]["migrations"] == "ok"
        with database.write() as connection:
            connection.execute(text("UPDATE schema_compatibility SET since = '9998'"))
        wait_for(lambda: not _is_ready(api.root))
    refused = run_tms("serve", "--port", "0", "--data-dir", str(folder / "data"), "--database-url", url)
    assert refused.returncode == 1
    assert "was upgraded by a newer version of pytest-tms (its schema is 9999" in refused.stderr
    database.close()


def test_a_schema_is_compatible_with_the_newest_of_what_its_revisions_declare() -> None:
    assert revisions.oldest_compatible([("4", "2"), ("3", "3"), ("2", "1"), ("1", "1")]) == "3"
    assert revisions.oldest_compatible([("4", "2"), ("3", "2"), ("2", "2"), ("1", "1")]) == "2"
    assert revisions.compatible_since() in revisions.known()
