"""The service itself: what it is, and its OpenAPI document."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from litestar import Request, get

from pytest_tms import wire
from pytest_tms.client import calls
from pytest_tms.server.api import authentication
from pytest_tms.server.api.openapi import document
from pytest_tms.server.api.routes import route
from pytest_tms.server.settings import ServerSettings
from pytest_tms.server.store.database import Database
from pytest_tms.server.store.tokens import ApiToken

CAPABILITIES = ("attempts", "control", "expected", "gzip", "idempotency", "live-tests", "replay", "tests")
"""The additions to the documented API that this server speaks; see docs/protocol.md."""


@route(calls.DESCRIBE_SERVICE)
def describe_service(
    request: Request[Any, Any, Any], database: Database, settings: ServerSettings
) -> wire.ServiceInfo:
    """What this server is, and what it allows the token of the request to do."""
    token = authentication.carried(request, database)
    return wire.ServiceInfo(
        service="pytest-tms",
        version=version("pytest-tms"),
        capabilities=list(CAPABILITIES),
        token=None if token is None else _shown(token),
        suites=[] if token is None else list(settings.suites),
        environments=[] if token is None else list(settings.environments),
    )


@get("/openapi.json", sync_to_thread=False)
def openapi(settings: ServerSettings) -> dict[str, Any]:
    """Every call with its messages and status codes, as OpenAPI 3.1."""
    return document(settings.suites, settings.environments)


def _shown(token: ApiToken) -> wire.TokenInfo:
    ends = None if token.expires_at is None else wire.timestamp(wire.moment(token.expires_at))
    return wire.TokenInfo(
        id=token.id, scopes=list(token.scopes), environments=list(token.environments), expires_at=ends
    )
