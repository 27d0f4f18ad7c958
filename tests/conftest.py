"""What every test may use: a real TMS, started as users start it, and a foreign server that obeys."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.helpers.api import Api, Serve, running, scratch_database
from tests.helpers.processes import Tms, run_tms, serve

pytest_plugins = ["pytester"]

T = TypeVar("T")


@pytest.fixture(autouse=True)
def _no_settings_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees the TMS settings of whoever runs it, nor the CI that it runs in."""
    for name in list(os.environ):
        if name.startswith("TMS_") or name == "CI":
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def tms(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tms]:
    """A TMS on SQLite that all tests share; each makes executions of its own."""
    data_dir = tmp_path_factory.mktemp("tms")
    process, url = serve(data_dir)
    made = run_tms("token", "create", "--name", "tests", "--json", "--data-dir", str(data_dir))
    assert made.returncode == 0, made.stderr
    yield Tms(url, json.loads(made.stdout)["token"], data_dir)
    process.terminate()
    process.wait(timeout=20)


@dataclass
class Foreign:
    """A server that is not ours: it notes each request and answers from a list, its last answer for good."""

    url: str
    answers: list[tuple[int, dict[str, str], bytes]] = field(default_factory=list)
    requests: list[dict[str, Any]] = field(default_factory=list)
    route: Callable[[str, str], tuple[int, dict[str, str], bytes] | None] | None = None

    def will_answer(self, status: int, body: object = None, **headers: str) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.answers.append(
            (
                status,
                {"Content-Type": "application/json", **{k.replace("_", "-"): v for k, v in headers.items()}},
                content,
            )
        )


@pytest.fixture
def foreign() -> Iterator[Foreign]:
    """A foreign server on a free port."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            known.requests.append(
                {"method": self.command, "path": self.path, "headers": dict(self.headers), "body": body}
            )
            routed = known.route(self.command, self.path) if known.route else None
            if routed is None:
                routed = known.answers.pop(0) if len(known.answers) > 1 else known.answers[0]
            status, headers, content = routed
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_DELETE = answer  # noqa: N815

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    known = Foreign(f"http://127.0.0.1:{server.server_port}/api")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield known
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="session")
def sqlite_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """A server on SQLite."""
    with running(tmp_path_factory.mktemp("sqlite") / "data") as api:
        yield api


@pytest.fixture(scope="session")
def postgres_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """A server on PostgreSQL."""
    folder = tmp_path_factory.mktemp("postgres") / "data"
    with scratch_database() as url, running(folder, "--database-url", url) as api:
        yield api


@pytest.fixture(params=["sqlite", "postgresql"])
def server(request: pytest.FixtureRequest) -> Api:
    """A server on each database in turn."""
    name = "sqlite_api" if request.param == "sqlite" else "postgres_api"
    found: Api = request.getfixturevalue(name)
    return found


@pytest.fixture
def api(server: Api) -> Iterator[Api]:
    """A server on each database in turn, which writes nothing to its terminal while it is asked."""
    before = server.said()
    yield server
    server.forget_webhooks()
    assert server.said() == before


@pytest.fixture
def start() -> Iterator[Serve]:
    """Start `tms serve`; what a failing test leaves running is stopped."""
    started: list[subprocess.Popen[bytes]] = []

    def one(data_dir: Path, *options: str, **environ: str) -> tuple[subprocess.Popen[bytes], str]:
        process, url = serve(data_dir, *options, **environ)
        started.append(process)
        return process, url

    yield one
    for process in started:
        if process.poll() is None:
            process.terminate()
            process.wait(timeout=20)
