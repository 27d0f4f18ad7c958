"""The listening socket of a server and its TLS certificate."""

from __future__ import annotations

import errno
import socket
import ssl

from pytest_tms.server.settings import ServerSettings

BACKLOG = 2048
"""Connections that wait to be accepted."""


def listen(settings: ServerSettings, *, any_port: bool = False) -> socket.socket:
    """Return a socket that listens on the address of the settings.

    With ``any_port`` it listens on a free port if that of the settings is in use.

    Raises:
        ValueError: The address cannot be listened on. The message is one sentence.
    """
    try:
        return _listen(settings, any_port=any_port)
    except OSError as error:
        is_host = isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL
        raise ValueError(
            f"{settings.host}:{settings.port} cannot be used ({error.strerror}): choose another "
            f"{'--host' if is_host else '--port'}"
        ) from None


def _listen(settings: ServerSettings, *, any_port: bool) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    # With protocol 0 asyncio would not set TCP_NODELAY, and small responses would be delayed.
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((settings.host, settings.port))
    except OSError:
        if not any_port:
            sock.close()
            raise
        sock.bind((settings.host, 0))
    sock.listen(BACKLOG)
    return sock


def check_tls(settings: ServerSettings) -> None:
    """Check that the certificate and the key of the settings can be used, if there are any.

    Raises:
        ValueError: One of them is missing, or cannot be used. The message is one sentence.
    """
    cert, key = settings.tls_cert, settings.tls_key
    if bool(cert) != bool(key):
        raise ValueError("TLS needs both --tls-cert and --tls-key")
    if cert:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            # Without a password here OpenSSL would prompt for that of an encrypted key.
            context.load_cert_chain(cert, key, password="")
        except (OSError, ValueError) as error:
            reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
            raise ValueError(
                f"{cert} and {key} cannot be used ({reason}): give a certificate and its key, both PEM, "
                f"the key without a password"
            ) from None
