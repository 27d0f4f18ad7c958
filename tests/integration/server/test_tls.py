"""https by the server itself, and what it believes of a proxy."""

from __future__ import annotations

import contextlib
import socket
import threading
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import requests
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from pytest_tms import errors
from pytest_tms.client import TmsClient
from tests.helpers.api import Api, Serve, running
from tests.helpers.certificates import self_signed
from tests.helpers.processes import run_tms, wait_for
from tests.integration.server.test_audit import entries
from tests.integration.server.test_tokens import one_line


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate that 127.0.0.1 signed itself, and its key."""
    return self_signed(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "2"])
def test_it_speaks_https_with_the_certificate_that_it_is_given(
    start: Serve, tmp_path: Path, pair: tuple[Path, Path], workers: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: list[str] = ["--tls-cert", str(pair[0]), "--tls-key", str(pair[1])]
    if workers == "2":
        monkeypatch.setenv("TMS_SERVER_TLS_CERT", options[1])
        monkeypatch.setenv("TMS_SERVER_TLS_KEY", options[3])
        options = []
    _, url = start(tmp_path / "data", "--workers", workers, *options)
    assert url.startswith("https://127.0.0.1:")

    def response() -> requests.Response | None:
        try:
            return requests.get(f"{url}/", verify=str(pair[0]), timeout=20)
        except requests.exceptions.SSLError:
            raise
        except requests.ConnectionError:
            return None  # the workers are not there yet

    assert wait_for(response).json()["service"] == "pytest-tms"
    with pytest.raises(requests.exceptions.SSLError):
        requests.get(f"{url}/", timeout=20)
    with pytest.raises(requests.ConnectionError):
        requests.get(f"{url}/".replace("https", "http"), timeout=20)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(pair[0]))
    with TmsClient(url, "", retries=0) as client:  # as the plugin and the commands ask
        assert client.describe_service().service == "pytest-tms"


@contextmanager
def tunnels(asked: list[tuple[str, str | None]]) -> Iterator[str]:
    """A proxy's address; it opens a tunnel for each CONNECT, and notes where to and with which login."""

    class Handler(BaseHTTPRequestHandler):
        def do_CONNECT(self) -> None:
            asked.append((self.path, self.headers["Proxy-Authorization"]))
            host, _, port = self.path.rpartition(":")
            with socket.create_connection((host, int(port))) as there:
                self.send_response(200)
                self.end_headers()
                back = threading.Thread(target=copy, args=(there, self.connection))
                back.start()
                copy(self.connection, there)
                back.join()

        def log_message(self, *_: object) -> None:
            """Write no log."""

    def copy(source: socket.socket, target: socket.socket) -> None:
        while piece := source.recv(65536):
            target.sendall(piece)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.slow
def test_https_goes_through_the_environments_proxy_which_sees_no_token(
    start: Serve, tmp_path: Path, pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, url = start(tmp_path / "data", "--tls-cert", str(pair[0]), "--tls-key", str(pair[1]))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(pair[0]))
    asked: list[tuple[str, str | None]] = []
    with tunnels(asked) as proxy, TmsClient(url, "tms_secret", retries=0) as client:
        monkeypatch.setenv("https_proxy", f"http://me:p%40ss@{proxy}")
        for _ in range(2):
            assert client.describe_service().service == "pytest-tms"
        monkeypatch.setenv("https_proxy", "http://127.0.0.1:1")
        with pytest.raises(errors.Unreachable, match="the proxy failed: Connection refused"):
            client.describe_service()
        client.close()
    host = url.removeprefix("https://").partition("/")[0]
    assert asked == [(host, f"Basic {b64encode(b'me:p@ss').decode()}")]


@pytest.mark.parametrize("wrong", ["missing", "half", "swapped", "nonsense", "locked"])
def test_a_certificate_that_cannot_be_used_is_one_line(
    tmp_path: Path, pair: tuple[Path, Path], wrong: str
) -> None:
    cert, key = pair
    if wrong == "nonsense":
        cert.write_text("nonsense")
    elif wrong == "missing":
        cert.unlink()
    elif wrong == "locked":
        loaded = serialization.load_pem_private_key(key.read_bytes(), None)
        assert isinstance(loaded, ec.EllipticCurvePrivateKey)
        key.write_bytes(
            loaded.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.BestAvailableEncryption(b"secret"),
            )
        )
    elif wrong == "swapped":
        cert, key = key, cert
    options = (
        ["--tls-cert", str(cert)] if wrong == "half" else ["--tls-cert", str(cert), "--tls-key", str(key)]
    )
    completed = run_tms("serve", "--port", "0", "--data-dir", str(tmp_path / "data"), *options)
    assert completed.returncode == 1
    assert "--tls-key" in one_line(completed.stderr) or str(key) in completed.stderr


@pytest.mark.slow
def test_what_a_trusted_proxy_says_of_the_visitor_is_believed(tmp_path: Path) -> None:
    said = {"X_Forwarded_For": "203.0.113.7", "X_Forwarded_Proto": "https"}

    def address(api: Api) -> str:
        api.request("POST", "/executions", {"testSuite": "all", "environment": "dev"}, **said)
        return entries(api)[0].actor.address

    with running(tmp_path / "near") as api:
        assert address(api) == "203.0.113.7"
    with running(tmp_path / "far", TMS_SERVER_TRUSTED_PROXIES="10.0.0.0/8") as api:
        assert address(api) == "127.0.0.1"
