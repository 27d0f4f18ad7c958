"""Servers that are not a TMS, or a broken one: each accepts connections and causes one kind of fault."""

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


def responds_with(status: str, body: bytes = b"", **headers: str) -> Behave:
    """Return a behaviour that sends this response; underscores in names of headers become dashes."""
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    head = "\r\n".join([f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *lines])

    def behave(connection: socket.socket, over: threading.Event) -> None:
        connection.sendall(head.encode() + b"\r\n\r\n" + body)

    return behave


FAULTS: dict[str, Behave] = {
    "hangs": hangs,
    "drips": drips,
    "resets": resets,
    "html": responds_with("200 OK", b"<html>Welcome</html>", Content_Type="text/html"),
    "login": responds_with("302 Found", Location="https://sso.example.com/login"),
    "expired": responds_with("200 OK", b"{}"),
}
"""Behaviours by name; ``expired`` uses TLS with an expired certificate."""


@contextmanager
def faulty_server(behave: Behave, tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """Yield the base URL of a server that handles each request by ``behave``."""
    over = threading.Event()

    def handle(connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            if tls is not None:
                connection = tls.wrap_socket(connection, server_side=True)
            with connection:
                head = b""
                while b"\r\n\r\n" not in head:
                    head += connection.recv(65536)
                behave(connection, over)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = server.accept()
                threading.Thread(target=handle, args=(connection,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield f"http{'s' if tls else ''}://127.0.0.1:{server.getsockname()[1]}/api"
        over.set()
        server.shutdown(socket.SHUT_RDWR)
    thread.join()


@contextmanager
def named_faulty_server(name: str, folder: Path) -> Iterator[str]:
    """Yield the base URL of a server with the named fault; its certificate is written to ``folder``."""
    with faulty_server(FAULTS[name], _expired(folder) if name == "expired" else None) as url:
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
