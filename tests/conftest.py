"""What every test may use: a real TMS, started as users start it, and a foreign server that obeys."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeVar

import pytest

from pytest_tms.client import TmsClient

pytest_plugins = ["pytester"]

T = TypeVar("T")

TMS = [sys.executable, "-c", "from pytest_tms.cli import main; main()"]
"""The command `tms`, by this interpreter."""


TOKEN = re.compile(r"tms_\w{36}")
"""What a server shows at its first start, if it has a terminal."""


def first_token(data_dir: Path) -> str:
    """The token that a server without a terminal wrote at its first start."""
    file = data_dir / "first-token"
    return wait_for(lambda: file.exists() and file.read_text()).strip()


def peak_memory(pid: int) -> int:
    """The most bytes of memory that a process has had."""
    status = Path(f"/proc/{pid}/status")
    if not status.exists():
        pytest.skip("this system does not tell how much memory a process takes")
    return int(status.read_text().partition("VmHWM:")[2].split()[0]) * 1024


@pytest.fixture(autouse=True)
def _no_settings_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees the TMS settings of whoever runs it, nor the CI that it runs in."""
    for name in list(os.environ):
        if name.startswith("TMS_") or name == "CI":
            monkeypatch.delenv(name)


def outside(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment as it is outside of a test: a pytest that finds itself in one reports only if asked."""
    return {name: value for name, value in environ.items() if name != "PYTEST_CURRENT_TEST"}


@dataclass(frozen=True)
class Tms:
    """A running TMS."""

    url: str
    token: str
    data_dir: Path

    @property
    def root(self) -> str:
        """The address of its pages."""
        return self.url.removesuffix("/api")

    def client(self) -> TmsClient:
        return TmsClient(self.url, self.token, retries=0)


def run_tms(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run the command `tms` to its end."""
    return subprocess.run(
        [*TMS, *arguments], capture_output=True, text=True, env={**os.environ, **environ}, check=False
    )


def serve(data_dir: Path, *options: str, **environ: str) -> tuple[subprocess.Popen[bytes], str]:
    """Start `tms serve` on a free port; the process and its base URL. What it says goes to data_dir/serve.log.

    Tests share its token, so it limits nothing unless TMS_SERVER_RATE_LIMITS says so.
    """
    data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    log = data_dir / "serve.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*TMS, "serve", "--port", "0", "--data-dir", str(data_dir), *options],
            stdout=output,
            stderr=subprocess.STDOUT,
            env={
                "TMS_SERVER_RATE_LIMITS": "off",
                **os.environ,
                **environ,
                "PYTHONUNBUFFERED": "1",
                "PYTHONFAULTHANDLER": "1",
            },
        )
    found = wait_for(
        lambda: re.search(r"(https?://\S+/api)\ndata .*\n", log.read_text()) or process.poll() is not None
    )
    assert isinstance(found, re.Match), f"tms serve did not start: {log.read_text()}"
    return process, found[1]


def wait_for(condition: Callable[[], T], seconds: float = 30) -> T:
    """Ask until ``condition`` is true, and give what it answered; fail after ``seconds``."""
    deadline = time.monotonic() + seconds
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"waited {seconds} s in vain"
        time.sleep(0.02)
    return answer


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
