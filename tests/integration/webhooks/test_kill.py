"""The server killed at random while events go out: every event arrives signed, with one id, in order."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import threading
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest
import requests

from pytest_tms import signing
from tests.helpers.api import Api, result, upgraded_database
from tests.helpers.processes import first_token, serve, wait_for
from tests.helpers.server_processes import ServerProcess
from tests.helpers.subscribers import ReceivedRequest, Subscribers, responds_with
from tests.integration.webhooks.conftest import ENVIRON, SECRET

EVENTS = int(os.environ.get("WEBHOOK_EVENTS", "200"))
KILLS = max(3, EVENTS // 200)
ORDER = ["execution.started", "shard.started", "shard.completed", "execution.completed"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("database", "workers"),
    [
        ("sqlite", "1"),
        ("postgresql", "2"),
        pytest.param("sqlite", "2", marks=pytest.mark.nightly),
        pytest.param("postgresql", "1", marks=pytest.mark.nightly),
    ],
)
def test_every_event_arrives_although_servers_are_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, subscribers: Subscribers, database: str, workers: str
) -> None:
    for name, value in ENVIRON.items():
        monkeypatch.setenv(name, value)
    names = [f"{database}-{workers}-{kind}" for kind in ("steady", "shaky")]
    luck = random.Random(7)

    async def shaky(got: ReceivedRequest, writer: asyncio.StreamWriter) -> None:
        await responds_with(500 if luck.random() < 0.1 else 200)(got, writer)

    subscribers.behave[names[1]] = shaky
    with ExitStack() as stack:
        options = ["--workers", workers]
        if database == "postgresql":
            options += ["--database-url", stack.enter_context(upgraded_database())]
        process, url = serve(tmp_path, *options)
        token = first_token(tmp_path)

        @stack.callback
        def stop() -> None:
            if process.poll() is None:
                kill_all(process)

        port = url.split(":")[2].partition("/")[0]
        again = [*options, "--port", port]
        committed: set[str] = set()
        over = threading.Event()
        stack.callback(over.set)

        def insist(method: str, path: str, body: object) -> dict[str, str]:
            """Ask until there is an answer; what a kill left in doubt is asked again."""
            key = os.urandom(8).hex()
            while not over.is_set():
                try:
                    api = Api(url, token, tmp_path)
                    response = api.request(method, path, body, Idempotency_Key=key)
                    if response.status_code < 300:
                        found: dict[str, str] = response.json()
                        return found
                    assert response.status_code >= 500, response.text
                except requests.RequestException:
                    continue
            raise AssertionError("the test has ended before its requests were answered")

        policy = {"maxRetries": 20, "retryDelay": 50, "exponentialBackoff": False}
        for name in names:
            body = {"url": subscribers.url(name), "events": ORDER, "secret": SECRET, "retryPolicy": policy}
            insist("POST", "/webhooks", body)

        def one(_: int) -> None:
            created = insist("POST", "/executions", {"testSuite": "all", "environment": "dev"})
            body = {"executionId": created["executionId"], "shardId": "1", "tests": [result()]}
            insist("POST", "/results", body)
            committed.add(created["executionId"])

        def work() -> None:
            with ThreadPoolExecutor(4) as threads:
                list(threads.map(one, range(EVENTS // len(ORDER))))

        def is_reached(process: ServerProcess, goal: int) -> bool:
            return len(committed) >= goal or process.poll() is not None

        worker = threading.Thread(target=work, daemon=True)
        worker.start()
        for kill in range(1, KILLS + 1):
            goal = min(EVENTS // len(ORDER) - 1, kill * EVENTS // len(ORDER) // (KILLS + 1))
            wait_for(partial(is_reached, process, goal), 120)
            assert process.poll() is None, f"ended by itself: {(tmp_path / 'serve.log').read_text()}"
            kill_all(process)
            process, _ = serve(tmp_path, *again)
        worker.join()
        assert len(committed) == EVENTS // len(ORDER)

        def first(name: str) -> dict[str, list[str]]:
            """Each execution's events in the order of their first arrival."""
            orders: dict[str, list[str]] = defaultdict(list)
            for got in list(subscribers.of(name)):
                if got.payload["event"] not in orders[got.payload["executionId"]]:
                    orders[got.payload["executionId"]].append(got.payload["event"])
            return orders

        def is_complete(name: str) -> bool:
            orders = first(name)
            return all(len(orders[each]) == len(ORDER) for each in committed)

        for name in names:
            subscribers.wait_for(partial(is_complete, name), 120)
            orders = first(name)
            assert all(orders[each] == ORDER for each in committed)
            assert set(orders) == committed  # nothing is told that was not committed
            ids: dict[tuple[str, str], set[str]] = defaultdict(set)
            for got in subscribers.of(name):
                signed_at = int(got.headers["webhook-timestamp"])
                signing.verify(SECRET, got.headers, got.body, now=signed_at)
                ids[got.payload["executionId"], got.payload["event"]].add(got.headers["webhook-id"])
            assert {len(each) for each in ids.values()} == {1}
        process.terminate()
        process.wait(timeout=20)


def kill_all(process: ServerProcess) -> None:
    """Send SIGKILL to the server and its workers, which would survive their parent."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    process.send_signal(signal.SIGSTOP)
    for pid in map(int, children):
        os.kill(pid, signal.SIGKILL)
    process.kill()
    process.wait(timeout=20)
