"""The service itself: what it is, and its OpenAPI document."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from litestar import get

from pytest_tms import calls, wire
from pytest_tms.server.api.openapi import document
from pytest_tms.server.api.routes import route

CAPABILITIES = ("control", "gzip", "idempotency", "live-tests", "replay", "tests")
"""The additions to the documented API that this server speaks; see docs/protocol.md."""


@route(calls.DESCRIBE_SERVICE)
def describe_service() -> wire.ServiceInfo:
    """What this server is."""
    return wire.ServiceInfo(
        service="pytest-tms", version=version("pytest-tms"), capabilities=list(CAPABILITIES)
    )


@get("/openapi.json", sync_to_thread=False)
def openapi() -> dict[str, Any]:
    """Every call with its messages and status codes, as OpenAPI 3.1."""
    return document()
