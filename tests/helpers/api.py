"""A real server on either database, and the calls that tests make to it."""

from __future__ import annotations

import atexit
import json
import secrets
import shutil
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import requests

from tests.helpers.processes import run_tms, serve
from tests.helpers.server_processes import ServerProcess

Serve = Callable[..., tuple[ServerProcess, str]]
POSTGRES = "postgresql+psycopg://postgres@127.0.0.1:5432"
KEY = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
"""A key for TMS_SERVER_KEYS, which all servers of one PostgreSQL database share."""


@dataclass(frozen=True)
class Api:
    """A running server, and requests to it over HTTP."""

    url: str
    token: str
    data_dir: Path
    database: tuple[str, ...] = ()
    session: requests.Session = field(default_factory=requests.Session)

    @property
    def root(self) -> str:
        return self.url.removesuffix("/api")

    def request(
        self, method: str, path: str, body: object = None, *, token: str | None = None, **headers: str
    ) -> requests.Response:
        """Send one request: bytes unchanged, any other body as JSON; an empty ``token`` sends none."""
        sent: dict[str, str] = {"Content-Type": "application/json"}
        if token is None or token:
            sent["Authorization"] = f"Bearer {token or self.token}"
        sent.update({name.replace("_", "-"): value for name, value in headers.items()})
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        url = path if path.startswith("http") else f"{self.url}{path}"
        return self.session.request(method, url, data=data, headers=sent, timeout=60)

    def create(self, **fields: Any) -> dict[str, Any]:
        body = {"testSuite": "all", "environment": "dev", **fields}
        return expect_success(self.request("POST", "/executions", body), 201)

    def send(self, execution: dict[str, Any], event: str, **data: Any) -> dict[str, Any]:
        """Send an event with the token of the execution."""
        body = {"event": event, "executionId": execution["executionId"], "data": data}
        response = self.request("POST", execution["webhookUrl"], body, token=execution["webhookToken"])
        return expect_success(response, 202)

    def submit(self, execution: dict[str, Any], shard: str = "1", **fields: Any) -> dict[str, Any]:
        body = {"executionId": execution["executionId"], "shardId": shard, **fields}
        return expect_success(self.request("POST", "/results", body), 201)

    def status(self, execution: dict[str, Any]) -> dict[str, Any]:
        return expect_success(self.request("GET", f"/executions/{execution['executionId']}"), 200)

    def shard(self, execution: dict[str, Any], shard: str = "1") -> dict[str, Any]:
        shards = self.status(execution)["shardResults"]
        return next(each for each in shards if each["shardId"] == shard)

    def tests(self, execution: dict[str, Any]) -> list[dict[str, Any]]:
        """Every test of an execution, over all pages."""
        path = f"/executions/{execution['executionId']}/tests?limit=200"
        page = expect_success(self.request("GET", path), 200)
        found: list[dict[str, Any]] = page["tests"]
        while page["cursor"]:
            page = expect_success(self.request("GET", f"{path}&cursor={page['cursor']}"), 200)
            found += page["tests"]
        return found

    def delete_webhooks(self) -> None:
        """Delete the webhooks that a test created: they would receive the events of later tests."""
        for webhook in expect_success(self.request("GET", "/webhooks"), 200)["webhooks"]:
            expect_success(self.request("DELETE", f"/webhooks/{webhook['webhookId']}"), 200)

    def page(self, path: str) -> requests.Response:
        return self.session.get(f"{self.root}{path}", timeout=60)

    def output(self) -> str:
        """Return the output of the server."""
        return (self.data_dir / "serve.log").read_text()


def expect_success(response: requests.Response, status: int) -> dict[str, Any]:
    """Return the JSON body of a response, after checking its status."""
    assert response.status_code == status, f"{response.status_code}: {response.text[:2000]}"
    document: dict[str, Any] = response.json()
    return document


def expect_error(response: requests.Response, status: int) -> dict[str, Any]:
    """Return the error of a response, after checking its status and its documented form."""
    assert response.status_code == status, f"{response.status_code}: {response.text[:2000]}"
    assert response.headers["Content-Type"].partition(";")[0] == "application/json"
    document = response.json()
    assert set(document) == {"error"}
    error: dict[str, Any] = document["error"]
    assert set(error) - {"hint"} == {"code", "message", "details", "requestId", "timestamp"}
    assert error["requestId"].startswith("req_")
    assert error["requestId"] == response.headers["X-Request-Id"]
    assert error["message"]
    return error


def invalid_fields(response: requests.Response) -> set[str]:
    """Return the fields that a 422 response names."""
    return {problem["field"] for problem in expect_error(response, 422)["details"]}


def result(title: str = "t", status: str = "passed", **more: Any) -> dict[str, Any]:
    return {"title": title, "status": status, **more}


@contextmanager
def scratch_database(template: str = "template1") -> Iterator[str]:
    """The URL of a new PostgreSQL database; skips the test if there is no PostgreSQL.

    It is empty, unless ``template`` names a database to copy.
    """
    psycopg = pytest.importorskip("psycopg", reason="psycopg is not installed")
    try:
        with socket.create_connection(("127.0.0.1", 5432), timeout=1):
            pass
    except OSError:
        pytest.skip("no PostgreSQL responds on 127.0.0.1:5432")
    name = f"tms_test_{secrets.token_hex(6)}"
    with psycopg.connect(f"{POSTGRES.replace('+psycopg', '')}/postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        try:
            yield f"{POSTGRES}/{name}"
        finally:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def upgraded_database() -> Iterator[str]:
    """The URL of a PostgreSQL database with empty tables: a copy, which takes a fifth of the time of an upgrade."""
    with scratch_database(_postgresql_template()) as url:
        yield url


def write_sqlite_database(data_dir: Path) -> None:
    """Write a database with empty tables to a data directory, unless it has a database."""
    file = data_dir / "tms.sqlite3"
    if not file.exists():
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        shutil.copy(_sqlite_template(), file)


_templates = ExitStack()
"""What the copied databases need; it is closed at the end of this process."""
atexit.register(_templates.close)


@cache
def _postgresql_template() -> str:
    """Return the name of a PostgreSQL database with empty tables."""
    url = _templates.enter_context(scratch_database())
    _upgrade(url)
    return url.rpartition("/")[2]


@cache
def _sqlite_template() -> Path:
    """Return a SQLite database with empty tables."""
    folder = Path(_templates.enter_context(TemporaryDirectory()))
    _upgrade(f"sqlite:///{folder}/tms.sqlite3")
    return folder / "tms.sqlite3"


def _upgrade(url: str) -> None:
    from pytest_tms.server.store.database import Database  # here: few tests load the server

    database = Database(url)
    with TemporaryDirectory() as folder:
        database.upgrade(Path(folder))
    database.close()


@contextmanager
def running(data_dir: Path, *database: str, options: Sequence[str] = (), **environ: str) -> Iterator[Api]:
    """Start a server, on SQLite without a ``database``, and stop it at the end."""
    if not database:
        write_sqlite_database(data_dir)
    process, url = serve(data_dir, *database, *options, **environ)
    url = url.replace("//0.0.0.0:", "//127.0.0.1:")
    try:
        made = run_tms("token", "create", "--name", "tests", "--json", "--data-dir", str(data_dir), *database)
        assert made.returncode == 0, made.stderr
        api = Api(url, json.loads(made.stdout)["token"], data_dir, database)
        yield api
        api.session.close()
    finally:
        process.terminate()
        process.wait(timeout=20)
