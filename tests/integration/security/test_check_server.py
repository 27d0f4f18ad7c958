"""The program examples/security/check_server.py: a server as it should be passes, one with a gap does not."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.helpers.api import Api, running
from tests.integration.server.test_authentication import BEYOND

PROGRAM = Path(__file__).parents[3] / "examples" / "security" / "check_server.py"


def check(url: str, token: str = "") -> tuple[int, dict[str, list[str]]]:
    """The exit status, and the names of the checks by their outcome."""
    completed = subprocess.run(
        [sys.executable, PROGRAM, url],
        env={**os.environ, "TMS_API_TOKEN": token},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    print(completed.stdout, completed.stderr)
    found: dict[str, list[str]] = {"ok": [], "failed": [], "skipped": []}
    for line in completed.stdout.splitlines():
        outcome, _, name = line.partition(" ")
        if outcome in found:
            found[outcome].append(name.strip().partition(":")[0])
    return completed.returncode, found


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """A server whose pages ask for a login."""
    with running(tmp_path_factory.mktemp("checked") / "data", options=BEYOND) as api:
        yield api


def test_a_server_for_a_team_passes_every_check_that_applies(closed: Api) -> None:
    status, found = check(closed.root, closed.token)
    assert status == 0
    assert found["failed"] == []
    assert found["skipped"] == ["connections are encrypted", "metrics are not public"]
    assert len(found["ok"]) == 9


def test_without_a_token_fewer_checks_apply(closed: Api) -> None:
    status, found = check(closed.url)
    assert (status, found["failed"]) == (0, [])
    assert len(found["skipped"]) == 5


def test_a_server_that_permits_insecure_webhooks_fails(tmp_path: Path) -> None:
    with running(tmp_path / "data", options=BEYOND, TMS_SERVER_ALLOW_INSECURE_WEBHOOKS="1") as api:
        status, found = check(api.root, api.token)
    assert (status, found["failed"]) == (1, ["webhooks cannot reach internal addresses"])


def test_an_open_server_fails() -> None:
    class Open(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "12")
            self.end_headers()
            self.wfile.write(b"Traceback /l" if "nothing" in self.path else b"see /login  ")

        def do_POST(self) -> None:
            self.do_GET()

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Open)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        status, found = check(f"http://127.0.0.1:{server.server_port}")
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert status == 1
    assert found["failed"] == [
        "the API needs a token",
        "pages need a login",
        "pages have security headers",
        "forms of other sites are refused",
        "errors reveal nothing",
        "huge bodies are refused",
    ]


@pytest.mark.parametrize("url", ["tms.example.com", "http://127.0.0.1:1"])
def test_a_url_without_a_server_is_named(url: str) -> None:
    completed = subprocess.run(
        [sys.executable, PROGRAM, url], capture_output=True, text=True, check=False, timeout=60
    )
    assert completed.returncode == 1
    assert completed.stderr.startswith("check_server.py: ")
    assert url in completed.stderr
