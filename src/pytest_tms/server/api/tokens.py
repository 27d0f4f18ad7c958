"""The call by which CI jobs get an API token."""

from __future__ import annotations

from typing import Any

from anyio.to_thread import run_sync
from litestar import Request

from pytest_tms import wire
from pytest_tms.client import calls
from pytest_tms.errors import Forbidden, Unauthorized
from pytest_tms.server.api.routes import route
from pytest_tms.server.api.validation import decode
from pytest_tms.server.domain import clock
from pytest_tms.server.request_context import anonymous_caller
from pytest_tms.server.services.token_exchange import TokenExchange
from pytest_tms.server.services.token_usage import TokenUsage
from pytest_tms.server.store.database import Database


@route(calls.EXCHANGE_ID_TOKEN)
async def exchange_id_token(
    body: bytes,
    request: Request[Any, Any, Any],
    database: Database,
    token_exchange: TokenExchange,
    token_usage: TokenUsage,
) -> wire.IssuedToken:
    """Return an API token with the permissions that the rules of the operator give to the job.

    Its value is stored nowhere, so a repeated request has another response, whatever its idempotency key.
    """
    sent, _ = decode(body, wire.TokenRequest, lambda _: ())
    caller = anonymous_caller(request)
    try:
        token, text = await run_sync(token_exchange.exchange, database, caller, sent.id_token)
    except (Unauthorized, Forbidden) as error:
        token_usage.failed(caller, error.message)
        raise
    return wire.IssuedToken(
        token=text,
        id=token.id,
        name=token.name,
        scopes=list(token.scopes),
        environments=list(token.environments),
        expires_in=((token.expires_at or 0) - clock.now()) // 1000,
    )
