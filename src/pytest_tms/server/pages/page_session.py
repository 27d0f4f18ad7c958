"""The session of a browser on the pages: authentication, authorisation and CSRF protection."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import parse_qsl, urlsplit

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
from pytest_tms.server.domain.people import USER_PREFIX
from pytest_tms.server.pages.direct_requests import is_own_user
from pytest_tms.server.request_context import anonymous_caller
from pytest_tms.server.services.page_sessions import DURATION, PERSON_DURATION, session_token
from pytest_tms.server.services.token_usage import TokenUsage
from pytest_tms.server.services.tokens import check_access
from pytest_tms.server.settings import ServerSettings
from pytest_tms.server.store.database import Database

READS = "executions:read"
"""The scope that a page requires unless it names another one."""
WRITES = "executions:write"
WEBHOOKS = "webhooks:write"
QUARANTINE = "quarantine:write"
ADMIN = "admin"
MAX_FIELDS = 20
"""Fields of one form."""


@dataclass(frozen=True, kw_only=True)
class PageSession:
    """The session of one request; ``caller`` has a token after a login.

    ``key`` is the secret in the cookie. ``is_trusted`` is whether the request needs no login, because the
    user of this machine sent it; ``is_secure`` whether it came over https; ``has_cookie`` whether the browser
    sent the cookie. ``provider`` is the host of the OpenID provider at which people can log in.
    """

    caller: Caller
    key: str = ""
    is_trusted: bool = False
    is_secure: bool = False
    has_cookie: bool = True
    provider: str = ""

    @property
    def token(self) -> ApiToken | None:
        """The token of the login, None without one."""
        return self.caller.token

    @property
    def is_authenticated(self) -> bool:
        """Whether there was a login, or none is needed."""
        return self.is_trusted or self.token is not None

    def may(self, scope: str) -> bool:
        """Return whether the session has a scope."""
        return self.is_trusted or (self.token is not None and self.token.allows(scope))

    @property
    def environments(self) -> tuple[str, ...]:
        """The environments that the user may see; empty for all."""
        return self.token.environments if self.token else ()

    @property
    def is_of_person(self) -> bool:
        """Whether a person logged in at the OpenID provider."""
        return self.token is not None and self.token.id.startswith(USER_PREFIX)

    @property
    def csrf_token(self) -> str:
        """The token in each form, which pages of other sites cannot know: it is derived from the cookie."""
        return hmac.new(self.key.encode(), b"form", hashlib.sha256).hexdigest()

    @property
    def _duration(self) -> int | None:
        """The seconds for which the browser keeps the cookie; None until it ends."""
        if self.token is None:
            return None
        return PERSON_DURATION if self.is_of_person else DURATION

    @property
    def cookie(self) -> Cookie:
        """The session cookie. It is SameSite=Lax so that links in e-mails and chats open reports."""
        return Cookie(
            key=cookie_name(self.is_secure),
            value=self.key,
            max_age=self._duration,
            httponly=True,
            secure=self.is_secure,
            samesite="lax",
        )


def cookie_name(is_secure: bool) -> str:
    """Return the name of the cookie. Browsers accept the prefix ``__Host-`` only from this very host."""
    return "__Host-tms" if is_secure else "tms"


def new_key() -> str:
    """Return a new secret for a cookie."""
    return secrets.token_urlsafe(32)


def page_guard(settings: ServerSettings, database: Database, token_usage: TokenUsage) -> Guard:
    """Return the guard of the pages, which authenticates a request and checks its scope and CSRF token.

    It stores the page session of the request and the fields of its form. ``scope`` in the options of a
    handler is the scope that it requires, None for no authentication. The guard raises Unauthorized if the
    page requires a login, and Forbidden if the token lacks the scope or the CSRF token does not match.
    """

    issuer = settings.oidc_issuer
    provider = urlsplit(issuer).netloc

    async def check(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
        is_secure = connection.scope["scheme"] == "https" or settings.public_url.startswith("https:")
        is_trusted = not settings.requires_login and await is_own_user(connection)
        key = connection.cookies.get(cookie_name(is_secure), "")
        caller = anonymous_caller(connection)
        if key and not is_trusted and (token := await run_sync(session_token, database, key, issuer)):
            caller = caller.with_token(token)
            if not token.id.startswith(USER_PREFIX):
                token_usage.used(token, clock.now())
        page_session = PageSession(
            caller=caller,
            key=key or new_key(),
            is_trusted=is_trusted,
            is_secure=is_secure,
            has_cookie=bool(key),
            provider=provider,
        )
        connection.scope["state"]["page_session"] = page_session
        scope = handler.opt.get("scope", READS)
        if scope is not None and not page_session.may(scope):
            if page_session.token is None:
                raise Unauthorized("Log in to open this page.")
            if page_session.is_of_person:
                raise Forbidden(f"Your role does not permit this: it needs the scope {scope}.")
            raise Forbidden(f"The token of your login lacks the scope {scope}: log in with another one.")
        await run_sync(_check_access, database, caller, connection.path_params)
        request = cast("Request[Any, Any, Any]", connection)
        if request.method == "POST":
            form = await _form(request)
            if not hmac.compare_digest(form.get("csrf_token", "").encode(), page_session.csrf_token.encode()):
                raise Forbidden(
                    "The form belongs to another session: go back, reload the page and try again."
                )
            connection.scope["state"]["form"] = form

    return check


def current_session(request: Request[Any, Any, Any]) -> PageSession:
    """Return the session that the guard stored; an unauthenticated one if it raised early."""
    found: PageSession = request.scope["state"].get("page_session") or PageSession(
        caller=anonymous_caller(request)
    )
    return found


def form(request: Request[Any, Any, Any]) -> dict[str, str]:
    """Return the fields of the submitted form."""
    fields: dict[str, str] = request.scope["state"].get("form", {})
    return fields


async def _form(request: Request[Any, Any, Any]) -> dict[str, str]:
    try:
        return dict(parse_qsl((await request.body()).decode(), max_num_fields=MAX_FIELDS))
    except ValueError:
        return {}


def _check_access(database: Database, caller: Caller, path: Mapping[str, Any]) -> None:
    execution_id, webhook_id = path.get("execution_id"), path.get("webhook_id")
    check_access(database, caller, execution_id=execution_id, webhook_id=webhook_id)
