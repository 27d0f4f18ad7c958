"""From a declared call to a route of the framework."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from litestar import Request
from litestar.enums import HttpMethod
from litestar.handlers import HTTPRouteHandler

from pytest_tms.calls import Call
from pytest_tms.server.api import auth, limits
from pytest_tms.server.model.addresses import Addresses

Gives = TypeVar("Gives")


def addresses(request: Request[Any, Any, Any]) -> Addresses:
    """The public URL that the operator set, else the one that was asked."""
    return Addresses(request.app.state.settings.public_url or str(request.base_url).rstrip("/"))


def route(
    call: Call[Any, Gives],
) -> Callable[[Callable[..., Gives | dict[str, Any]]], HTTPRouteHandler]:
    """Make a function the handler of ``call``: on a thread, behind its guards, with its status."""

    def decorate(function: Callable[..., Gives | dict[str, Any]]) -> HTTPRouteHandler:
        handler = HTTPRouteHandler(
            path=call.path.replace("}", ":str}"),
            http_method=HttpMethod(call.method),
            status_code=call.status,
            guards=[auth.guard, limits.guard],
            opt={"call": call},
            name=call.name,
            sync_to_thread=True,
        )
        return handler(function)

    return decorate
