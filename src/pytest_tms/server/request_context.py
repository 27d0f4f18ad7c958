"""What the layers store about one request while it is handled, in one typed object of its ASGI scope."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from litestar.connection import ASGIConnection
from litestar.types import Scope

from pytest_tms.server.domain.actors import Caller
from pytest_tms.server.services.rate_limits import Meter

_KEY = "request_context"
_REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="")


@dataclass
class RequestContext:
    """One request.

    The middleware creates it, authentication sets ``caller``, and rate limiting sets ``meter`` if the call is
    limited. ``is_head`` is whether the method of a request that is handled as GET is HEAD. ``is_stream`` is
    whether its response has begun and has no end of its own. ``status`` and ``size`` are the status and the
    bytes of the body that were sent; the status is 0 before.
    """

    request_id: str
    is_head: bool = False
    is_stream: bool = False
    caller: Caller | None = None
    meter: Meter | None = None
    status: int = 0
    size: int = 0

    def attach(self, scope: Scope) -> None:
        """Store this object in the scope of the request, and the request's id for log records."""
        _REQUEST_ID.set(self.request_id)
        scope.setdefault("state", {})[_KEY] = self


def request_context(scope: Scope) -> RequestContext:
    """Return the context of a request."""
    found: RequestContext = scope["state"][_KEY]
    return found


def current_request_id() -> str:
    """Return the id of the request that is being handled; empty outside of requests."""
    return _REQUEST_ID.get()


def is_stream(scope: Scope) -> bool:
    """Return whether the response to a request is a stream that has begun."""
    found: RequestContext | None = scope.get("state", {}).get(_KEY)
    return found is not None and found.is_stream


def anonymous_caller(connection: ASGIConnection[Any, Any, Any, Any]) -> Caller:
    """Return the sender of a request that is not authenticated."""
    address = connection.client.host[:64] if connection.client else ""  # behind a trusted proxy, as it says
    return Caller(id="anyone", request_id=request_context(connection.scope).request_id, address=address)


def bearer_token(connection: ASGIConnection[Any, Any, Any, Any]) -> str:
    """Return the text of the Bearer token that a request carries, empty if there is none."""
    scheme, _, text = connection.headers.get("Authorization", "").partition(" ")
    return text.strip() if scheme.lower() == "bearer" else ""
