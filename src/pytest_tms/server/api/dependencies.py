"""Parameters of handlers that the framework provides from the request."""

from __future__ import annotations

import re
from typing import Any

from litestar import Request

from pytest_tms.errors import BadRequest
from pytest_tms.server.domain.urls import Urls
from pytest_tms.server.request_context import bearer_token, request_context
from pytest_tms.server.services.idempotency import IdempotentRequest
from pytest_tms.server.settings import ServerSettings

HOST = re.compile(r"([a-z0-9._-]{1,253}|\[[0-9a-f:.]{2,45}\])(:[0-9]{1,5})?", re.ASCII | re.IGNORECASE)
"""A valid Host header; it becomes part of links in pages and payloads."""


def request_urls(request: Request[Any, Any, Any], settings: ServerSettings) -> Urls:
    """Return the URLs below the public URL that the operator set, else below that of the request.

    Raises:
        BadRequest: The Host header is not valid.
    """
    if settings.public_url:
        return Urls(settings.public_url)
    host = request.headers.get("Host", "")
    if not HOST.fullmatch(host):
        raise BadRequest(
            f"The Host header {host[:100]!r} is not valid: send a host name and an optional port."
        )
    return Urls(f"{request.scope['scheme']}://{host}")


def idempotent_request(request: Request[Any, Any, Any], body: bytes) -> IdempotentRequest:
    """Return the idempotency key that a request carries, with the token, path and body that it belongs to."""
    return IdempotentRequest(
        key=request.headers.get("Idempotency-Key", ""),
        token=bearer_token(request),
        path=request.scope["path"],
        body=body,
        meter=request_context(request.scope).meter,
    )
