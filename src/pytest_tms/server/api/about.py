"""Calls about the service itself: its description and its OpenAPI document."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from litestar import Request, get

from pytest_tms import wire
from pytest_tms.client import calls
from pytest_tms.errors import Unauthorized
from pytest_tms.server.api.openapi import document
from pytest_tms.server.api.routes import route
from pytest_tms.server.domain import clock
from pytest_tms.server.domain.api_tokens import ApiToken
from pytest_tms.server.domain.capabilities import CAPABILITIES, ID_TOKENS
from pytest_tms.server.request_context import bearer_token
from pytest_tms.server.services.token_exchange import TokenExchange
from pytest_tms.server.services.tokens import find_token
from pytest_tms.server.settings import ServerSettings
from pytest_tms.server.store.database import Database


@route(calls.DESCRIBE_SERVICE)
def describe_service(
    request: Request[Any, Any, Any],
    database: Database,
    settings: ServerSettings,
    token_exchange: TokenExchange,
) -> wire.ServiceInfo:
    """Return the version and capabilities of the server, and the permissions of a valid token."""
    try:
        token = find_token(database, bearer_token(request))
    except Unauthorized:
        token = None
    return wire.ServiceInfo(
        service="pytest-tms",
        version=version("pytest-tms"),
        capabilities=sorted([*CAPABILITIES, *([ID_TOKENS] if token_exchange.is_configured else [])]),
        token=None if token is None else _token_info(token),
        suites=[] if token is None else list(settings.suites),
        environments=[] if token is None else list(settings.environments),
    )


@get("/openapi.json", sync_to_thread=False)
def openapi(settings: ServerSettings) -> dict[str, Any]:
    """Return every call with its messages and status codes, as OpenAPI 3.1."""
    return document(settings.suites, settings.environments)


def _token_info(token: ApiToken) -> wire.TokenInfo:
    return wire.TokenInfo(
        id=token.id,
        scopes=list(token.scopes),
        environments=list(token.environments),
        expires_at=clock.optional_timestamp(token.expires_at),
    )
