"""Who looks at a page, and the guard that every page stands behind."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import parse_qsl

from anyio.to_thread import run_sync
from litestar import Request
from litestar.connection import ASGIConnection
from litestar.datastructures import Cookie
from litestar.handlers import BaseRouteHandler
from litestar.types import Guard

from pytest_tms.errors import Forbidden, Unauthorized
from pytest_tms.server.domain import clock
from pytest_tms.server.domain.actors import Caller
from pytest_tms.server.domain.api_tokens import ApiToken
from pytest_tms.server.pages.local_users import owner
from pytest_tms.server.request_context import anonymous_caller
from pytest_tms.server.services.page_sessions import DURATION, session_token
from pytest_tms.server.services.token_usage import TokenUsage
from pytest_tms.server.services.tokens import check_access
from pytest_tms.server.settings import ServerSettings, is_loopback
from pytest_tms.server.store.database import Database

READS = "executions:read"
"""The scope that a page needs which names no other."""
WRITES = "executions:write"
WEBHOOKS = "webhooks:write"
ADMIN = "admin"
FIELDS = 20
"""Fields of the largest form."""
FORWARDING = re.compile(
    r"via|proxy-.*|.*(forwarded|client-?ip|real-?ip|peer-?ip|connecting-?ip|originating-?ip"
    r"|remote-(ip|addr|host|user)|proxyuser).*"
    r"|(cf|cdn|fastly|fly|akamai|do)-.*|x-(original|envoy|amzn?|azure|arr|appengine|cloud|cluster|akamai|host|port"
    r"|proto|scheme|url-scheme|ssl)(-.*)?",
    re.IGNORECASE,
)
"""Names of the headers that proxies and load balancers add, and that no browser sends."""


@dataclass(frozen=True, kw_only=True)
class PageSession:
    """Who looks at a page; ``caller`` has a token where somebody logged in.

    ``key`` is the secret that the browser keeps in its cookie, ``is_trusted`` whether the request needs no
    login, since it comes from this machine, ``is_secure`` whether the browser came over https.
    """

    caller: Caller
    key: str = ""
    is_trusted: bool = False
    is_secure: bool = False
    has_cookie: bool = True

    @property
    def token(self) -> ApiToken | None:
        """What the visitor logged in with."""
        return self.caller.token

    @property
    def is_known(self) -> bool:
        """Whether the visitor got past the door."""
        return self.is_trusted or self.token is not None

    def may(self, scope: str) -> bool:
        """Whether the visitor may do what needs this scope."""
        return self.is_trusted or (self.token is not None and self.token.allows(scope))

    @property
    def environments(self) -> tuple[str, ...]:
        """Those that the visitor sees; none means all."""
        return self.token.environments if self.token else ()

    @property
    def proof(self) -> str:
        """What each form carries: it shows that our page sent it, for no other page can read the cookie."""
        return hmac.new(self.key.encode(), b"form", hashlib.sha256).hexdigest()

    @property
    def cookie(self) -> Cookie:
        """The key as the browser keeps it. Lax, since links in mails and chats lead to reports."""
        return Cookie(
            key=cookie_name(self.is_secure),
            value=self.key,
            max_age=DURATION if self.token else None,
            httponly=True,
            secure=self.is_secure,
            samesite="lax",
        )


def cookie_name(is_secure: bool) -> str:
    """Over https a name that browsers let no other site of the domain set."""
    return "__Host-tms" if is_secure else "tms"


def new_key() -> str:
    """A secret for a cookie."""
    return secrets.token_urlsafe(32)


def page_guard(settings: ServerSettings, database: Database, token_usage: TokenUsage) -> Guard:
    """Return the guard of every page: it lets those in who may see it, and forms that the page itself made.

    It sets the page session of a request and the fields of its form. The ``scope`` of a handler is what a
    token needs for it, None for everybody. It raises Unauthorized if the page needs a login, and Forbidden if
    the token lacks the scope or the form is not from the page.
    """

    async def admit(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
        is_secure = connection.scope["scheme"] == "https" or settings.public_url.startswith("https:")
        is_trusted = (
            not settings.requires_login and is_direct(connection) and await run_sync(_is_own_user, connection)
        )
        key = connection.cookies.get(cookie_name(is_secure), "")
        caller = anonymous_caller(connection)
        if key and not is_trusted and (token := await run_sync(session_token, database, key)):
            caller = caller.with_token(token)
            token_usage.used(token, clock.now())
        page_session = PageSession(
            caller=caller,
            key=key or new_key(),
            is_trusted=is_trusted,
            is_secure=is_secure,
            has_cookie=bool(key),
        )
        connection.scope["state"]["page_session"] = page_session
        scope = handler.opt.get("scope", READS)
        if scope is not None and not page_session.may(scope):
            if page_session.token is None:
                raise Unauthorized("Log in to see this page.")
            raise Forbidden(
                f"The token that you logged in with lacks the scope {scope}: log in with another."
            )
        await run_sync(_check_access, database, caller, connection.path_params)
        request = cast("Request[Any, Any, Any]", connection)
        if request.method == "POST":
            form = await _form(request)
            if not hmac.compare_digest(form.get("proof", "").encode(), page_session.proof.encode()):
                raise Forbidden(
                    "This form was made for another visit: go back, reload the page and try again."
                )
            connection.scope["state"]["form"] = form

    return admit


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
        and connection.scope.get("http_version") != "1.0"
        and is_loopback(_hostname(connection.headers.get("host", "")))
        and not any(FORWARDING.fullmatch(name.replace("_", "-")) for name in connection.headers)
    )


def _is_own_user(connection: ASGIConnection[Any, Any, Any, Any]) -> bool:
    """Return whether the peer runs as the user of this server: a proxy has a user of its own.

    True if the system does not tell.
    """
    client, server = connection.scope["client"], connection.scope["server"]
    user = owner(client[1], server[1] or 0) if client and server else None
    return user is None or user == os.getuid()


def _hostname(host: str) -> str:
    """Return the name in a Host header, without port and brackets."""
    name = host.rpartition(":")[0] or host if not host.endswith("]") else host
    return name.removeprefix("[").removesuffix("]").rstrip(".").lower()


def current_session(request: Request[Any, Any, Any]) -> PageSession:
    """The visitor that the guard found; a stranger where it came to no end."""
    found: PageSession = request.scope["state"].get("page_session") or PageSession(
        caller=anonymous_caller(request)
    )
    return found


def form(request: Request[Any, Any, Any]) -> dict[str, str]:
    """The fields of the form that was sent."""
    fields: dict[str, str] = request.scope["state"].get("form", {})
    return fields


async def _form(request: Request[Any, Any, Any]) -> dict[str, str]:
    try:
        return dict(parse_qsl((await request.body()).decode(), max_num_fields=FIELDS))
    except ValueError:
        return {}


def _check_access(database: Database, caller: Caller, path: Mapping[str, Any]) -> None:
    execution_id, webhook_id = path.get("execution_id"), path.get("webhook_id")
    check_access(database, caller, execution_id=execution_id, webhook_id=webhook_id)
