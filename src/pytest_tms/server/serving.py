"""Run the server on a listening socket: one process, several processes, or the local server."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from tempfile import TemporaryDirectory

import uvicorn
from litestar.types import ASGIApp
from uvicorn.supervisors import Multiprocess

from pytest_tms.server import metrics
from pytest_tms.server.app import create_app
from pytest_tms.server.asgi.connections import Connection
from pytest_tms.server.asgi.headers import MAX_HEAD
from pytest_tms.server.asgi.middleware import Middleware
from pytest_tms.server.domain import clock
from pytest_tms.server.domain.actors import Actor
from pytest_tms.server.domain.api_tokens import DEFAULT_SCOPES, hash_token, new_token
from pytest_tms.server.local import lifetime
from pytest_tms.server.local.state_file import TOKEN_ID
from pytest_tms.server.operation import logs
from pytest_tms.server.operation.tracing import traced
from pytest_tms.server.services.encryption import data_cipher
from pytest_tms.server.settings import ServerSettings
from pytest_tms.server.store import audit, tokens
from pytest_tms.server.store.database import Database, lock_exclusively

SHUTDOWN_TIMEOUT = 10
"""Seconds that requests in progress have after SIGTERM."""
GARBAGE_COLLECTION = (50_000, 20, 100)
"""Thresholds of the garbage collector: with Python's own, it takes half of the time of a large submission."""


def create_first_token(database: Database, store: Callable[[str], None]) -> bool:
    """Create an API token if there is none yet, and return whether it did.

    ``store`` receives its text before the transaction is committed: if it raises, no token is created.
    """
    with database.write() as connection:
        lock_exclusively(connection)
        if any(token.id != TOKEN_ID for token in tokens.every(connection)):
            return False
        token, text = new_token("first", clock.now())
        tokens.add(connection, token, hash_token(text))
        audit.add(connection, Actor(id="server"), "token.created", token.id, token.created_at)
        store(text)
    return True


def serve(settings: ServerSettings, database: Database, sock: socket.socket) -> None:
    """Serve until SIGTERM or SIGINT."""
    logs.configure(settings)
    if settings.workers > 1:
        with TemporaryDirectory(prefix="tms-metrics-") as folder:
            os.environ.update(settings.environ(), **{metrics.FOLDER: folder})
            config = _config(settings, "pytest_tms.server.serving:worker_app")
            Multiprocess(config, sockets=[sock]).run()
        return
    app = traced(_app(settings, database), database.engine)
    uvicorn.Server(_config(settings, app)).run(sockets=[sock])


def worker_app() -> ASGIApp:
    """Return the application by the TMS_SERVER_* variables alone, for the worker processes of uvicorn."""
    settings = ServerSettings.read()
    logs.configure(settings)
    database = Database(settings.database, data_cipher(settings))
    return traced(_app(settings, database), database.engine)


def serve_local(settings: ServerSettings, database: Database, sock: socket.socket, url: str) -> None:
    """Serve as the local server of the data dir until no session needs it.

    ``url`` is the base URL of the API. Each start creates a new token and deletes that of the previous start.
    """
    token, text = new_token("local", clock.now(), (*DEFAULT_SCOPES, "quarantine:write"))
    with database.write() as connection:
        tokens.delete_token(connection, TOKEN_ID)
        tokens.add(connection, replace(token, id=TOKEN_ID), hash_token(text))
    logs.configure(settings)
    app = _app(settings, database)
    sessions = lifetime.Sessions(settings.data_dir)
    server = uvicorn.Server(_config(settings, app))
    publish = partial(lifetime.publish, settings.data_dir, url, text)
    withdraw = partial(lifetime.withdraw, settings.data_dir, url, lambda: sessions.needs_server(app.idle))
    asyncio.run(_serve_until(server, sock, publish, withdraw))


def _app(settings: ServerSettings, database: Database) -> Middleware:
    """Return the application of a process that does nothing else."""
    app = create_app(settings, database)
    gc.freeze()
    gc.set_threshold(*GARBAGE_COLLECTION)
    return app


async def _serve_until(
    server: uvicorn.Server, sock: socket.socket, publish: Callable[[], None], withdraw: Callable[[], bool]
) -> None:
    """Publish the server and serve until ``withdraw``, called once per second, returns True."""
    serving = asyncio.create_task(server.serve(sockets=[sock]))
    publish()
    while not serving.done():
        await asyncio.wait([serving], timeout=1)
        if withdraw():
            server.should_exit = True
    await serving


def _config(settings: ServerSettings, app: ASGIApp | str) -> uvicorn.Config:
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
        log_level="error",  # uvicorn's warnings are about single requests
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=SHUTDOWN_TIMEOUT,
    )
