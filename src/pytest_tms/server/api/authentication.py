"""Authentication of calls: Bearer tokens, and an execution's own token for its events."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from anyio.to_thread import run_sync
from litestar import Request
from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler

from pytest_tms.client import calls
from pytest_tms.client.calls import Call
from pytest_tms.errors import Forbidden, Unauthorized
from pytest_tms.server.api.routes import Check
from pytest_tms.server.batcher import Batcher
from pytest_tms.server.domain import clock
from pytest_tms.server.domain.actors import Caller
from pytest_tms.server.domain.api_tokens import WEBHOOK_TOKEN, ApiToken
from pytest_tms.server.request_context import anonymous_caller, bearer_token, request_context
from pytest_tms.server.services.token_usage import TokenUsage
from pytest_tms.server.services.tokens import check_access, check_execution_tokens, find_tokens
from pytest_tms.server.settings import ServerSettings
from pytest_tms.server.store.database import Database

OF_THE_EXECUTION = (calls.SEND_EVENT, calls.CLAIM_TESTS)
"""Calls for which the token of the execution itself is enough."""
MAX_TOKENS = 500
"""Tokens that one query reads."""


def authentication_guard(settings: ServerSettings, database: Database, token_usage: TokenUsage) -> Check:
    """Return the guard that authenticates the caller of each API call.

    It reads the token from the database for every request, so a revoked token is refused by every replica;
    one query reads those of all requests that wait for it.
    It raises Unauthorized if a request has no valid token, and Forbidden if the token lacks the scope of the
    call or is bound to other environments.
    """

    execution_tokens = Batcher(
        partial(check_execution_tokens, database, grace=settings.token_grace), MAX_TOKENS
    )
    api_tokens = Batcher(partial(find_tokens, database), MAX_TOKENS)

    async def authenticate(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
        call: Call[Any, Any] | None = handler.opt.get("call")
        if call is None or call.scope is None:
            return
        anonymous = anonymous_caller(connection)
        text = bearer_token(connection)
        path = connection.path_params
        try:
            if call in OF_THE_EXECUTION and text.startswith(WEBHOOK_TOKEN):
                execution_id = path["execution_id"]
                await execution_tokens((text, execution_id))
                caller = replace(anonymous, id=execution_id)
            else:
                caller = anonymous.with_token(_with_scope(await api_tokens(text), call.scope))
        except Unauthorized as error:
            token_usage.failed(anonymous, error.message)
            raise
        if caller.token is not None:
            if caller.token.environments:
                execution_id, webhook_id = path.get("execution_id"), path.get("webhook_id")
                check = partial(
                    check_access, database, caller, execution_id=execution_id, webhook_id=webhook_id
                )
                await run_sync(check)
            token_usage.used(caller.token, clock.now())
        request_context(connection.scope).caller = caller

    return authenticate


def authenticated_caller(request: Request[Any, Any, Any]) -> Caller:
    """Return the caller that the guard has set."""
    caller = request_context(request.scope).caller
    assert caller is not None  # noqa: S101  # the guard runs before every handler with a caller
    return caller


def _with_scope(token: ApiToken, scope: str) -> ApiToken:
    if not token.allows(scope):
        raise Forbidden(
            f"The token {token.id} lacks the scope {scope}.",
            hint=f"On the server, `tms token create --name NAME --scope {scope}` makes one that has it.",
        )
    return token
