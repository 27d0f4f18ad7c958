"""The application of a TMS in the process of the test, by a clock that the test sets."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from pytest_tms.server.app import create_app
from pytest_tms.server.domain import api_tokens, clock
from pytest_tms.server.domain.egress import EgressPolicy
from pytest_tms.server.jobs.deadlines import DeadlineJob
from pytest_tms.server.metrics import Metrics
from pytest_tms.server.settings import ServerSettings
from pytest_tms.server.store import tokens
from pytest_tms.server.store.database import Database
from pytest_tms.server.webhooks.delivery_worker import DeliveryWorker
from pytest_tms.server.webhooks.encryption import SecretEncryption
from tests.helpers.api import KEY

STEP = 1_000
"""Milliseconds after which the job that enforces deadlines runs again."""


class Unavailable(Exception):
    """No server responds, or its response is lost."""


class SimulatedTms:
    """A TMS on a database. ``now`` is its time in milliseconds since 1970; ``close`` ends it."""

    def __init__(self, url: str, data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1_900_000_000_000
        monkeypatch.setattr(clock, "now", lambda: self.now)
        self.settings = ServerSettings(data_dir=data_dir, database_url=url, keys=KEY, rate_limits="off")
        self._loop = asyncio.new_event_loop()
        self._start()
        token, self.token = api_tokens.new_token("tests", self.now, api_tokens.SCOPES)
        with self.database.write() as connection:
            tokens.add(connection, token, api_tokens.hash_token(self.token))

    def _start(self) -> None:
        self.database = Database(self.settings.database_url)
        self._app: Any = create_app(self.settings, self.database)
        worker = DeliveryWorker(
            self.settings,
            self.database,
            SecretEncryption(self.settings.keys, self.settings.data_dir),
            EgressPolicy(True),
            Metrics(),
        )
        self._job = DeadlineJob(self.settings, self.database, worker)
        self.is_running = True

    def stop(self) -> None:
        """Stop the server; ``start`` starts another one on its database."""
        self.database.close()
        self.is_running = False

    def start(self) -> None:
        """Start the server again, unless it runs."""
        if not self.is_running:
            self._start()

    def close(self) -> None:
        """End the server, and what it needs."""
        self.stop()
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()

    def wait(self, milliseconds: int) -> None:
        """Let time pass; the job that enforces deadlines runs meanwhile if the server does."""
        end = self.now + milliseconds
        while self.now < end:
            self.now = min(end, self.now + STEP)
            if self.is_running:
                self._job.run()

    def create(self, **fields: Any) -> dict[str, Any]:
        """Create an execution, or join the one of its run key."""
        return self.request("POST", "/executions", {"testSuite": "all", "environment": "dev", **fields})

    def send(self, execution: dict[str, Any], event: str, **data: Any) -> dict[str, Any]:
        """Send an event with the token of the execution."""
        body = {"event": event, "executionId": execution["executionId"], "data": data}
        path = f"/webhooks/executions/{execution['executionId']}"
        return self.request("POST", path, body, execution["webhookToken"])

    def status(self, execution: dict[str, Any]) -> dict[str, Any]:
        """Return the status of an execution."""
        return self.request("GET", f"/executions/{execution['executionId']}")

    def tests(self, execution: dict[str, Any]) -> list[dict[str, Any]]:
        """Return the tests of an execution, over all pages."""
        path = f"/executions/{execution['executionId']}/tests?limit=200"
        page = self.request("GET", path)
        found: list[dict[str, Any]] = page["tests"]
        while page["cursor"]:
            page = self.request("GET", f"{path}&cursor={page['cursor']}")
            found += page["tests"]
        return found

    def request(self, method: str, path: str, body: object = None, token: str = "") -> dict[str, Any]:
        """Send one request to the API and return the JSON body of its response.

        Raises:
            Unavailable: The server does not run.
            AssertionError: The response is an error.
        """
        if not self.is_running:
            raise Unavailable("no server runs")
        content = b"" if body is None else json.dumps(body).encode()
        status, answer = self._loop.run_until_complete(
            self._exchange(method, path, content, token or self.token)
        )
        assert status < 400, f"{status}: {answer.decode()[:2000]}"
        document: dict[str, Any] = json.loads(answer)
        return document

    async def _exchange(self, method: str, path: str, content: bytes, token: str) -> tuple[int, bytes]:
        name, _, query = f"/api{path}".partition("?")
        headers = [(b"host", b"localhost"), (b"authorization", f"Bearer {token}".encode())]
        if content:
            headers += [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(content))]
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": name,
            "raw_path": name.encode(),
            "root_path": "",
            "query_string": query.encode(),
            "headers": headers,
            "client": ("127.0.0.1", 1),
            "server": ("localhost", 80),
        }
        sent = [{"type": "http.request", "body": content, "more_body": False}]
        received: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            if sent:
                return sent.pop()
            await asyncio.Event().wait()
            raise AssertionError  # nothing sets the event

        async def send(message: dict[str, Any]) -> None:
            received.append(message)

        await self._app(scope, receive, send)
        return received[0]["status"], b"".join(each.get("body", b"") for each in received[1:])
