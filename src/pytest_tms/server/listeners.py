"""Runs the server: one process, or several behind one port."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import uvicorn
from uvicorn.supervisors import Multiprocess

from pytest_tms.server.app import create_app
from pytest_tms.server.asgi.connections import Connection
from pytest_tms.server.asgi.headers import MAX_HEAD
from pytest_tms.server.asgi.middleware import Middleware
from pytest_tms.server.domain import clock
from pytest_tms.server.domain.actors import Actor
from pytest_tms.server.domain.api_tokens import hash_token, new_token
from pytest_tms.server.local import EMBEDDED, Sessions, retire, write_state
from pytest_tms.server.settings import ServerSettings
from pytest_tms.server.store import audit, tokens
from pytest_tms.server.store.database import Database, alone


def listen(settings: ServerSettings, *, any_port: bool = False) -> socket.socket:
    """A socket on the settings' address, with ``any_port`` on a free port where that one is taken."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    # Named, not left at 0: asyncio sends small answers at once only on sockets that it knows to be TCP.
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((settings.host, settings.port))
    except OSError:
        if not any_port:
            sock.close()
            raise
        sock.bind((settings.host, 0))
    sock.listen(2048)
    return sock


def first_token(database: Database, keep: Callable[[str], None]) -> bool:
    """Create a token if there is none yet, and hand its text to ``keep``; return whether it did.

    If ``keep`` fails, there is no token, and the next start makes one.
    """
    with database.write() as connection:
        alone(connection)
        if any(token.id != EMBEDDED for token in tokens.every(connection)):
            return False
        token, text = new_token("first", clock.now())
        tokens.add(connection, token, hash_token(text))
        audit.add(connection, Actor(id="server"), "token.created", token.id, token.created_at)
        keep(text)
    return True


def serve(settings: ServerSettings, database: Database, sock: socket.socket) -> None:
    """Serve until SIGTERM or SIGINT."""
    if settings.workers > 1:
        os.environ.update(settings.environ())
        config = _config(settings, "pytest_tms.server.app:from_environment")
        Multiprocess(config, sockets=[sock]).run()
        return
    uvicorn.Server(_config(settings, create_app(settings, database))).run(sockets=[sock])


def serve_embedded(settings: ServerSettings, database: Database, sock: socket.socket, url: str) -> None:
    """Serve until no session wants it any more; its token is new at each start."""
    token, text = new_token("local", clock.now())
    with database.write() as connection:
        tokens.forget(connection, EMBEDDED)
        tokens.add(connection, replace(token, id=EMBEDDED), hash_token(text))
    app = create_app(settings, database)
    sessions = Sessions(settings.data_dir)
    server = uvicorn.Server(_config(settings, app))
    announce = partial(write_state, settings.data_dir, url, text)
    retires = partial(retire, settings.data_dir, url, lambda: sessions.is_wanted(app.idle))
    asyncio.run(_serve_until(server, sock, retires, announce))


async def _serve_until(
    server: uvicorn.Server, sock: socket.socket, retires: Callable[[], bool], announce: Callable[[], None]
) -> None:
    serving = asyncio.create_task(server.serve(sockets=[sock]))
    announce()
    while not serving.done():
        await asyncio.wait([serving], timeout=1)
        if retires():
            server.should_exit = True
    await serving


def check_tls(settings: ServerSettings) -> None:
    """Raise ValueError, in a sentence, where there is half a certificate, or one that cannot be used."""
    cert, key = settings.tls_cert, settings.tls_key
    if bool(cert) != bool(key):
        raise ValueError("TLS needs both --tls-cert and --tls-key")
    if cert:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            context.load_cert_chain(cert, key, password="")  # else OpenSSL would ask the terminal for one
        except (OSError, ValueError) as error:
            reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
            raise ValueError(
                f"{cert} and {key} cannot be used ({reason}): give a certificate and its key, both PEM, "
                f"the key without a password"
            ) from None


def _config(settings: ServerSettings, app: Middleware | str) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        factory=isinstance(app, str),
        workers=settings.workers,
        ssl_certfile=settings.tls_cert or None,
        ssl_keyfile=settings.tls_key or None,
        forwarded_allow_ips=settings.trusted_proxies,
        http=Connection,
        ws="none",
        h11_max_incomplete_event_size=MAX_HEAD,
        timeout_keep_alive=settings.keep_alive,
        log_level="error",  # a warning of uvicorn is about one client's request
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=10,
    )
