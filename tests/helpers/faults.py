"""Faults below a server while it is under load, and the count of what it accepted and lost.

Each scenario starts what it breaks: a PostgreSQL or a Redis on a free port, a small file system, two servers.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.helpers.api import KEY, Api, result, running
from tests.helpers.ports import accepts, free_port
from tests.helpers.processes import serve, wait_for
from tests.helpers.replicas import balanced

THREADS = 6
EXECUTIONS = 60
"""Executions that are confirmed before a fault, and after it."""
RESULTS = 20
"""Results of one execution of the load."""
GIVE_UP = 90.0
"""Seconds for which a request is repeated."""


class Postgres:
    """A PostgreSQL of its own, from the programs that Debian installs. Skips the test if there are none."""

    def __init__(self) -> None:
        found = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"))
        program = found[-1] if found else shutil.which("pg_ctl")
        if program is None:
            pytest.skip("the programs of PostgreSQL are not installed")
        self._programs = Path(program).parent
        self._folder = Path(tempfile.mkdtemp(prefix="tms-postgres-"))
        self._owner: dict[str, Any] = {}
        if os.getuid() == 0:  # it refuses to run as root
            owner = pwd.getpwnam("postgres")
            os.chown(self._folder, owner.pw_uid, owner.pw_gid)
            self._owner = {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}
        self.port = free_port()
        data = str(self._folder / "data")
        self._run("initdb", "--pgdata", data, "--username", "postgres", "--auth", "trust", "--no-sync")
        self.start()

    @property
    def url(self) -> str:
        return f"postgresql+psycopg://postgres@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -k {self._folder}"
        self._control("start", "-o", options, "-l", str(self._folder / "log"))

    def stop(self, mode: str) -> None:
        """Stop it; ``immediate`` is like a crash, after which it recovers from its log."""
        self._control("stop", "-m", mode)

    def close(self) -> None:
        self.stop("immediate")
        shutil.rmtree(self._folder)

    def terminate_connections(self) -> None:
        """Cut all connections of others."""
        import psycopg

        with psycopg.connect(self.url.replace("+psycopg", ""), autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
                " AND backend_type = 'client backend'"
            )

    def _control(self, *arguments: str) -> None:
        self._run("pg_ctl", "-w", "-D", str(self._folder / "data"), *arguments)

    def _run(self, program: str, *arguments: str) -> None:
        with (self._folder / "output").open("ab") as output:
            subprocess.run(
                [self._programs / program, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                check=True,
                cwd="/",
                **self._owner,
            )


@dataclass
class Load:
    """Runners that report through ``url``, and repeat what is refused with the same idempotency key."""

    url: str
    token: str
    uploads: bool = False
    interval: float = 0.0
    """Seconds between two executions of one runner, if they take less."""
    accepted: dict[str, int] = field(default_factory=dict)
    """The results of each execution that the server has confirmed."""
    statuses: Counter[str] = field(default_factory=Counter)
    """Responses, and requests without one."""
    confirmed_at: list[float] = field(default_factory=list)
    """When results were confirmed."""
    without_retry_after: int = 0
    given_up: int = 0
    _stopping: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def start(self) -> None:
        self._threads = [threading.Thread(target=self._report, args=(number,)) for number in range(THREADS)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Send the executions that were begun, and end."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def confirmed_since(self, moment: float) -> int:
        return sum(at > moment for at in list(self.confirmed_at))

    def _report(self, thread: int) -> None:
        tests = [result(f"test {number}", nodeId=f"a.py::test_{number}") for number in range(RESULTS)]
        number, due = 0, time.monotonic()
        with requests.Session() as session:
            while not self._stopping.is_set():
                self._stopping.wait(max(0.0, due - time.monotonic()))
                due = max(due + self.interval, time.monotonic() - self.interval)
                number += 1
                key = f"{thread}.{number}"
                made = self._post(
                    session, "/executions", {"testSuite": "all", "environment": "dev"}, f"e{key}"
                )
                if made is None:
                    continue
                execution_id = made["executionId"]
                if self.uploads:
                    self._put(session, execution_id, key)
                body = {"executionId": execution_id, "shardId": "1", "tests": tests}
                if self._post(session, "/results", body, f"r{key}") is not None:
                    self.accepted[execution_id] = RESULTS
                    self.confirmed_at.append(time.monotonic())

    def _put(self, session: requests.Session, execution_id: str, content: str) -> None:
        from hashlib import sha256

        path = f"/executions/{execution_id}/artifacts/{sha256(content.encode()).hexdigest()}"
        self._send(session, "PUT", path, "", data=content.encode(), headers={"Content-Type": "text/plain"})

    def _post(self, session: requests.Session, path: str, body: Any, key: str) -> Any:
        response = self._send(session, "POST", path, key, json=body)
        return None if response is None else response.json()

    def _send(
        self, session: requests.Session, method: str, path: str, key: str, **given: Any
    ) -> requests.Response | None:
        """Return a confirmation; None if there was none in time."""
        headers = {"Authorization": f"Bearer {self.token}", **given.pop("headers", {})}
        if key:
            headers["Idempotency-Key"] = key
        until = time.monotonic() + GIVE_UP
        while time.monotonic() < until:
            try:
                response = session.request(method, f"{self.url}{path}", headers=headers, timeout=60, **given)
            except requests.RequestException as error:
                self.statuses[type(error).__name__] += 1
            else:
                self.statuses[str(response.status_code)] += 1
                if response.status_code < 300:
                    return response
                if response.status_code == 503 and "Retry-After" not in response.headers:
                    self.without_retry_after += 1
            self._stopping.wait(0.2)
        self.given_up += 1
        return None


@dataclass(frozen=True)
class Outcome:
    """What a fault did. ``recovery`` is the seconds from its end to the first confirmation of results."""

    confirmed: int
    lost: int
    statuses: Counter[str]
    without_retry_after: int
    given_up: int
    recovery: float
    tracebacks: int
    """Tracebacks in the logs of the servers."""


@dataclass(frozen=True)
class Scenario:
    """What runs, and how to break it and to repair it."""

    api: Api
    break_it: Callable[[], None]
    repair: Callable[[], None]
    duration: float = 3.0
    """Seconds of the fault."""
    uploads: bool = False
    others: Sequence[Api] = ()
    """Further servers, whose logs are read."""
    checked: Api | None = None
    """The server from which stored results are read, if not the one that receives the load."""


def run_scenario(scenario: Scenario) -> Outcome:
    """Break a scenario under load, repair it, and count what was accepted and lost."""
    load = Load(scenario.api.url, scenario.api.token, scenario.uploads)
    load.start()
    try:
        started = time.monotonic()
        wait_for(lambda: load.confirmed_since(started) > EXECUTIONS, 60)
        scenario.break_it()
        time.sleep(scenario.duration)  # the fault itself: the load goes on meanwhile
        scenario.repair()
        repaired = time.monotonic()
        wait_for(lambda: load.confirmed_since(repaired), GIVE_UP)
        recovery = min(at for at in list(load.confirmed_at) if at > repaired) - repaired
        wait_for(lambda: load.confirmed_since(repaired) > EXECUTIONS, GIVE_UP)
    finally:
        load.stop()
    api = scenario.checked or scenario.api
    lost = sum(
        expected - min(expected, api.status({"executionId": execution_id})["results"]["total"])
        for execution_id, expected in load.accepted.items()
    )
    logs = [each.output() for each in (scenario.api, *scenario.others)]
    return Outcome(
        confirmed=sum(load.accepted.values()),
        lost=lost,
        statuses=load.statuses,
        without_retry_after=load.without_retry_after,
        given_up=load.given_up,
        recovery=recovery,
        tracebacks=sum(log.count("Traceback") for log in logs),
    )


@contextmanager
def postgres() -> Iterator[Postgres]:
    found = Postgres()
    try:
        yield found
    finally:
        found.close()


@contextmanager
def postgres_restarts(folder: Path) -> Iterator[Scenario]:
    with postgres() as server, running(folder / "data", "--database-url", server.url) as api:
        yield Scenario(api, lambda: server.stop("immediate"), server.start)


@contextmanager
def connections_are_cut(folder: Path) -> Iterator[Scenario]:
    def cut() -> None:
        for _ in range(5):
            server.terminate_connections()
            time.sleep(0.2)  # the load opens connections that the next round cuts

    with postgres() as server, running(folder / "data", "--database-url", server.url) as api:
        yield Scenario(api, cut, lambda: None, duration=0)


@contextmanager
def redis_stops(folder: Path) -> Iterator[Scenario]:
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("there is no redis-server")
    port = free_port()
    started: list[subprocess.Popen[bytes]] = []

    def begin() -> None:
        command = [program, "--port", str(port), "--save", "", "--dir", str(folder)]
        started.append(subprocess.Popen(command, stdout=subprocess.DEVNULL))
        wait_for(lambda: accepts(port))

    def end() -> None:
        started[-1].kill()
        started[-1].wait()

    begin()
    settings = {
        "TMS_SERVER_REDIS_URL": f"redis://127.0.0.1:{port}/0",
        "TMS_SERVER_RATE_LIMITS": "executions=1000000/hour, results=1000000/hour",
    }
    try:
        with running(folder / "data", **settings) as api:
            yield Scenario(api, end, begin)
    finally:
        end()


@contextmanager
def storage_refuses(folder: Path) -> Iterator[Scenario]:
    with running(folder / "data") as api:
        stored, away = api.data_dir / "artifacts", api.data_dir / "away"

        def refuse() -> None:
            stored.rename(away)
            stored.write_text("a file in place of the folder")

        def accept() -> None:
            stored.unlink()
            away.rename(stored)

        yield Scenario(api, refuse, accept, uploads=True)


@contextmanager
def disk_is_full(folder: Path) -> Iterator[Scenario]:
    small = folder / "small"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256m,mode=700", "tmpfs", str(small)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip("a small file system cannot be mounted")
    try:
        filler = small / "filler"

        def fill() -> None:
            with filler.open("wb", buffering=0) as file:
                block = b"x" * (1 << 16)
                try:
                    while True:
                        file.write(block)
                except OSError:
                    block = b"x"
                try:
                    while True:
                        file.write(block * 4096)
                except OSError:
                    pass

        # The log of the server is on another disk.
        with running(
            folder / "log", "--data-dir", str(small), "--database-url", f"sqlite:///{small}/tms.sqlite3"
        ) as api:
            yield Scenario(api, fill, filler.unlink)
    finally:
        subprocess.run(["umount", "-l", str(small)], check=True)


@contextmanager
def replica_is_killed(folder: Path) -> Iterator[Scenario]:
    with ExitStack() as stack:
        server = stack.enter_context(postgres())
        ports = (free_port(), free_port())
        place = ("--database-url", server.url)
        first = stack.enter_context(
            running(folder / "one", *place, options=["--port", str(ports[0])], TMS_SERVER_KEYS=KEY)
        )
        options = (*place, "--port", str(ports[1]))
        process, _ = serve(folder / "two", *options, TMS_SERVER_KEYS=KEY)
        stack.callback(process.wait, 20)
        stack.callback(process.terminate)
        root = stack.enter_context(balanced(folder / "proxy", ports))
        proxy = Api(f"{root}/api", first.token, folder / "two")
        stack.callback(proxy.session.close)

        def kill() -> None:
            process.send_signal(signal.SIGKILL)
            process.wait(20)

        yield Scenario(proxy, kill, lambda: None, others=[first], checked=first)


SCENARIOS = {
    "PostgreSQL restarted": postgres_restarts,
    "connections cut": connections_are_cut,
    "Redis stopped": redis_stops,
    "storage refusing": storage_refuses,
    "disk full": disk_is_full,
    "replica killed": replica_is_killed,
}
