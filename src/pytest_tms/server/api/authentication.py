"""Who may call: Bearer tokens, and an execution's own token for its events."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
import zlib
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, get_args

from anyio.to_thread import run_sync

from pytest_tms.client import calls
from pytest_tms.client.calls import Call, Scope
from pytest_tms.errors import Forbidden, NotFound, Unauthorized
from pytest_tms.server.api.token_usage import TokenUsage
from pytest_tms.server.domain.actors import Actor
from pytest_tms.server.domain.ids import new_id
from pytest_tms.server.store import executions, tokens, webhooks
from pytest_tms.server.store.database import Database
from pytest_tms.server.store.tokens import ApiToken

if TYPE_CHECKING:  # `tms token` makes tokens without loading the framework
    from litestar import Request
    from litestar.connection import ASGIConnection
    from litestar.handlers import BaseRouteHandler

SCOPES: tuple[str, ...] = get_args(Scope)
DEFAULT_SCOPES = ("executions:read", "executions:write", "webhooks:write")
WEBHOOK_TOKEN = "wh_token_"  # noqa: S105  # the documented prefix
BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True, kw_only=True)
class Caller(Actor):
    """Who makes a request; ``token`` is None where it came with an execution's own token."""

    token: ApiToken | None = None

    def by(self, token: ApiToken) -> Caller:
        """The same request, known to be made with a token."""
        return replace(self, id=token.id, name=token.name, token=token)

    def reaches(self, environments: Collection[str] | None) -> bool:
        """Whether it may touch what concerns these environments; none stands for all of them."""
        return self.token is None or self.token.reaches(environments)

    def check_reach(self, environments: Collection[str] | None) -> None:
        """Raise Forbidden where it may not touch what concerns these environments."""
        if self.token is not None and not self.reaches(environments):
            bound = ", ".join(self.token.environments)
            raise Forbidden(
                f"The token {self.id} is bound to {bound}: use one that may touch this environment."
            )


def new_token(
    name: str,
    scopes: tuple[str, ...] = DEFAULT_SCOPES,
    expires_at: int | None = None,
    environments: tuple[str, ...] = (),
) -> tuple[ApiToken, str]:
    """A token and its text."""
    token = ApiToken(
        id=new_id("tok"),
        name=name,
        scopes=scopes,
        environments=environments,
        created_at=now(),
        expires_at=expires_at,
    )
    return token, new_text()


def new_text() -> str:
    """The text of a token: ``tms_``, 30 random characters, and 6 of checksum by which scanners know it."""
    random = "".join(secrets.choice(BASE62) for _ in range(30))
    return f"tms_{random}{_checksum(random)}"


def new_webhook_token() -> str:
    """The token of one execution."""
    return f"{WEBHOOK_TOKEN}{secrets.token_urlsafe(32)}"


def hashed(text: str) -> str:
    """What is kept of a token. It is random, so a plain hash is as hard to reverse as the token to guess."""
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


def now() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


async def guard(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """Let a call through and note its caller, or raise Unauthorized or Forbidden.

    Asks the database each time, on a thread, so that a token that was revoked opens nothing on any replica.
    """
    call: Call[Any, Any] = handler.opt["call"]
    if call.scope is None:
        return
    state = connection.app.state
    visits: TokenUsage = state.visits
    anyone = stranger(connection)
    text = bearer(connection)
    try:
        if call == calls.SEND_EVENT and text.startswith(WEBHOOK_TOKEN):
            execution_id = connection.path_params["execution_id"]
            await run_sync(_check_own, state.database, text, execution_id, state.settings.token_grace)
            caller = replace(anyone, id=execution_id)
        else:
            caller = await run_sync(_check, state.database, text, call, anyone, connection.path_params)
    except Unauthorized as error:
        visits.failed(anyone, error.message)
        raise
    if caller.token is not None:
        visits.used(caller.token, now())
    connection.state.caller = caller


def caller(request: Request[Any, Any, Any]) -> Caller:
    """The one whom the guard let through."""
    found: Caller = request.state.caller
    return found


def find(database: Database, text: str) -> ApiToken:
    """The valid token with this text. Raises Unauthorized, with the reason."""
    if not text:
        raise Unauthorized("The request has no token: send Authorization: Bearer and an API token.")
    if not _is_whole(text):
        raise Unauthorized("The token is no API token, or not a whole one: its checksum does not fit.")
    with database.read() as connection:
        token = tokens.find(connection, hashed(text))
    state = "unknown" if token is None else token.state(now())
    if token is None or state != "valid":
        name = "" if token is None else f" {token.id}"
        raise Unauthorized(f"The token{name} is {state}: use another.")
    return token


def carried(connection: ASGIConnection[Any, Any, Any, Any], database: Database) -> ApiToken | None:
    """The valid API token that a request carries, if it does."""
    try:
        return find(database, bearer(connection))
    except Unauthorized:
        return None


def stranger(connection: ASGIConnection[Any, Any, Any, Any]) -> Caller:
    """Who makes a request, before anything is known but where it comes from."""
    return Caller(id="anyone", request_id=connection.state.request_id, address=address(connection))


def address(connection: ASGIConnection[Any, Any, Any, Any]) -> str:
    """Where a request comes from; behind a proxy, what it says."""
    return connection.client.host[:64] if connection.client else ""


def bearer(connection: ASGIConnection[Any, Any, Any, Any]) -> str:
    """The token's text that a request carries, or an empty one."""
    scheme, _, text = connection.headers.get("Authorization", "").partition(" ")
    return text.strip() if scheme.lower() == "bearer" else ""


def _check(
    database: Database, text: str, call: Call[Any, Any], anyone: Caller, path: Mapping[str, Any]
) -> Caller:
    token = find(database, text)
    if call.scope is not None and not token.allows(call.scope):
        raise Forbidden(f"The token {token.id} lacks the scope {call.scope}.")
    caller = anyone.by(token)
    check_reach(database, caller, path)
    return caller


def check_reach(database: Database, caller: Caller, path: Mapping[str, Any]) -> None:
    """Raise Forbidden where a caller may not touch the execution or the webhook that a path names."""
    if caller.token is None or not caller.token.environments:
        return
    with database.read() as connection:
        if "execution_id" in path:
            caller.check_reach([executions.get(connection, path["execution_id"]).environment])
        if "webhook_id" in path:
            caller.check_reach(webhooks.get(connection, path["webhook_id"]).filters.environments)


def _check_own(database: Database, text: str, execution_id: str, grace: int) -> None:
    """Raise Unauthorized where this is not the execution's own token, or ``grace`` seconds after its end."""
    execution = None
    with database.read() as connection, suppress(NotFound):  # who has no valid token learns nothing of it
        execution = executions.get(connection, execution_id)
    if not hmac.compare_digest(execution.token_hash if execution else "", hashed(text)):
        raise Unauthorized("The token is not that of this execution.")
    if execution is not None and execution.ended_at is not None:
        # What a replay tells may have ended before the execution was created here.
        ended = max(execution.ended_at, execution.created_at)
        if now() > ended + 1000 * grace:
            raise Unauthorized("The token ended with its execution: send what is late with an API token.")


def _is_whole(text: str) -> bool:
    """Whether a text has the form of an API token, checksum included."""
    return (
        len(text) == 40
        and text.isascii()
        and text.startswith("tms_")
        and hmac.compare_digest(text[34:], _checksum(text[4:34]))
    )


def _checksum(text: str) -> str:
    number = zlib.crc32(text.encode())
    digits = ""
    for _ in range(6):
        number, digit = divmod(number, 62)
        digits = BASE62[digit] + digits
    return digits
