"""Servers that are no TMS, or one in a bad state: each takes connections and misbehaves in its own way."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

Behave = Callable[[socket.socket, threading.Event], None]


def hangs(connection: socket.socket, over: threading.Event) -> None:
    over.wait()


def drips(connection: socket.socket, over: threading.Event) -> None:
    connection.sendall(
        b"HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n"
    )
    while not over.wait(0.05):
        connection.sendall(b" ")


def resets(connection: socket.socket, over: threading.Event) -> None:
    connection.sendall(b'HTTP/1.1 201 Created\r\nContent-Length: 1000\r\n\r\n{"executionId": "e')
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def answers(status: str, body: bytes = b"", **headers: str) -> Behave:
    """Always the same, headers with underscores for dashes."""
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    head = "\r\n".join([f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *lines])

    def behave(connection: socket.socket, over: threading.Event) -> None:
        connection.sendall(head.encode() + b"\r\n\r\n" + body)

    return behave


PEERS: dict[str, Behave] = {
    "hangs": hangs,
    "drips": drips,
    "resets": resets,
    "html": answers("200 OK", b"<html>Welcome</html>", Content_Type="text/html"),
    "login": answers("302 Found", Location="https://sso.example.com/login"),
    "expired": answers("200 OK", b"{}"),
}
"""By name; ``expired`` speaks TLS with a certificate that has run out."""


@contextmanager
def peer(behave: Behave, tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """A base URL at which ``behave`` meets each request."""
    over = threading.Event()

    def meet(connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            if tls is not None:
                connection = tls.wrap_socket(connection, server_side=True)
            with connection:
                asked = b""
                while b"\r\n\r\n" not in asked:
                    asked += connection.recv(65536)
                behave(connection, over)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = server.accept()
                threading.Thread(target=meet, args=(connection,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield f"http{'s' if tls else ''}://127.0.0.1:{server.getsockname()[1]}/api"
        over.set()
        server.shutdown(socket.SHUT_RDWR)
    thread.join()


@contextmanager
def misbehaving(name: str, folder: Path) -> Iterator[str]:
    """One of PEERS at work; ``folder`` takes its certificate."""
    with peer(PEERS[name], _expired(folder) if name == "expired" else None) as url:
        yield url


def _expired(folder: Path) -> ssl.SSLContext:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=2))
        .not_valid_after(now - timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    path = folder / "expired.pem"
    form = (serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(
        certificate.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, *form)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context
