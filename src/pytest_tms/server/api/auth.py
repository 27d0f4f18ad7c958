"""Who may call: Bearer tokens, and an execution's own token for its events."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
import zlib
from typing import TYPE_CHECKING, Any, get_args

from anyio.to_thread import run_sync

from pytest_tms import calls
from pytest_tms.calls import Call, Scope
from pytest_tms.errors import Forbidden, NotFound, Unauthorized
from pytest_tms.server.model.ids import new_id
from pytest_tms.server.store import executions, tokens
from pytest_tms.server.store.database import Database
from pytest_tms.server.store.tokens import ApiToken

if TYPE_CHECKING:  # `tms token` makes tokens without loading the framework
    from litestar.connection import ASGIConnection
    from litestar.handlers import BaseRouteHandler

SCOPES: tuple[str, ...] = get_args(Scope)
DEFAULT_SCOPES = ("executions:read", "executions:write", "webhooks:write")
BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def new_token(
    name: str, scopes: tuple[str, ...] = DEFAULT_SCOPES, expires_at: int | None = None
) -> tuple[ApiToken, str]:
    """A token and its text: ``tms_``, 30 random characters, and 6 of checksum by which scanners know it."""
    random = "".join(secrets.choice(BASE62) for _ in range(30))
    text = f"tms_{random}{_checksum(random)}"
    token = ApiToken(id=new_id("tok"), name=name, scopes=scopes, created_at=now(), expires_at=expires_at)
    return token, text


def new_webhook_token() -> str:
    """The token of one execution."""
    return f"wh_token_{secrets.token_urlsafe(32)}"


def hashed(text: str) -> str:
    """What is kept of a token. It is random, so a plain hash is as hard to reverse as the token to guess."""
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


def now() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


async def guard(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """Let a call through, or raise Unauthorized or Forbidden; on a thread, since it asks the database."""
    call: Call[Any, Any] = handler.opt["call"]
    if call.scope is None:
        return
    text = bearer(connection)
    if not text:
        raise Unauthorized("The request has no token: send Authorization: Bearer followed by an API token.")
    database: Database = connection.app.state.database
    await run_sync(_check, database, text, call, connection.path_params.get("execution_id", ""))


def carried(connection: ASGIConnection[Any, Any, Any, Any], database: Database) -> ApiToken | None:
    """The valid API token that a request carries, if it does."""
    with database.read() as transaction:
        token = tokens.find(transaction, hashed(bearer(connection)))
    return token if token is not None and token.is_valid(now()) else None


def bearer(connection: ASGIConnection[Any, Any, Any, Any]) -> str:
    """The token's text that a request carries, or an empty one."""
    scheme, _, text = connection.headers.get("Authorization", "").partition(" ")
    return text.strip() if scheme.lower() == "bearer" else ""


def _check(database: Database, text: str, call: Call[Any, Any], execution_id: str) -> None:
    with database.read() as connection:
        token = tokens.find(connection, hashed(text))
        if token is not None and token.is_valid(now()):
            if call.scope is not None and not token.allows(call.scope):
                raise Forbidden(f"The token {token.id} lacks the scope {call.scope}.")
            return
        if token is None and call == calls.SEND_EVENT:
            try:
                own = executions.get(connection, execution_id).token_hash
            except NotFound:  # who has no valid token learns nothing about what exists
                own = ""
            if hmac.compare_digest(own, hashed(text)):
                return
    raise Unauthorized("The token is unknown, expired or revoked.")


def _checksum(text: str) -> str:
    number = zlib.crc32(text.encode())
    digits = ""
    for _ in range(6):
        number, digit = divmod(number, 62)
        digits = BASE62[digit] + digits
    return digits
