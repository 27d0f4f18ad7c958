"""Requests that the user of this machine sends himself, and that therefore need no login."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from typing import Any

from anyio.to_thread import run_sync
from litestar.connection import ASGIConnection

from pytest_tms.server.domain.hosts import is_loopback
from pytest_tms.server.pages.local_users import owner

PROXY_HEADERS = re.compile(
    r"via|proxy-.*|.*(forwarded|client-?ip|real-?ip|peer-?ip|connecting-?ip|originating-?ip"
    r"|remote-(ip|addr|host|user)|proxyuser).*"
    r"|(cf|cdn|fastly|fly|akamai|do)-.*|x-(original|envoy|amzn?|azure|arr|appengine|cloud|cluster|akamai|host|port"
    r"|proto|scheme|url-scheme|ssl)(-.*)?",
    re.IGNORECASE,
)
"""Names of headers that proxies and load balancers add, and no browser sends."""


async def is_own_user(connection: ASGIConnection[Any, Any, Any, Any]) -> bool:
    """Return whether a browser of the server's user on this machine sent the request, without a proxy."""
    return is_direct(connection) and await run_sync(_has_own_user, connection)


def is_direct(connection: ASGIConnection[Any, Any, Any, Any]) -> bool:
    """Return whether a browser on this machine sent the request itself, and no proxy passed it on.

    The peer is a loopback address (a Unix socket has none), the Host a loopback name, the HTTP version not
    1.0, which of all clients of pages only proxies send (nginx without settings), and no header is one that
    proxies add. `docs/deploying.md` says which proxies this cannot detect.
    """
    client = connection.client
    return (
        client is not None
        and is_loopback(client.host)
        and is_loopback(_hostname(connection.headers.get("host", "")))
        and not is_forwarded(connection.scope.get("http_version", ""), connection.headers)
    )


def is_forwarded(http_version: str, names: Iterable[str]) -> bool:
    """Return whether the HTTP version or the ``names`` of the headers show that a proxy passed it on."""
    return http_version == "1.0" or any(PROXY_HEADERS.fullmatch(name.replace("_", "-")) for name in names)


def _has_own_user(connection: ASGIConnection[Any, Any, Any, Any]) -> bool:
    """Return whether the peer process has the user of this server, which a proxy usually has not.

    True if the operating system does not list the owners of connections.
    """
    client, server = connection.scope["client"], connection.scope["server"]
    user = owner(client[1], server[1] or 0) if client and server else None
    return user is None or user == os.getuid()


def _hostname(host: str) -> str:
    """Return the name in a Host header, without port and brackets."""
    name = host.rpartition(":")[0] or host if not host.endswith("]") else host
    return name.removeprefix("[").removesuffix("]").rstrip(".").lower()
