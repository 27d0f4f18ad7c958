"""From a declared call to a route of the framework."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar, Union

from litestar import Request
from litestar.connection import ASGIConnection
from litestar.enums import HttpMethod
from litestar.handlers import BaseRouteHandler, HTTPRouteHandler

from pytest_tms.client import calls
from pytest_tms.client.calls import Call
from pytest_tms.errors import BadRequest, Problem
from pytest_tms.server.api import authentication, rate_limits
from pytest_tms.server.api.validation import refuse
from pytest_tms.server.domain.urls import Urls

Gives = TypeVar("Gives")
Answered = Union[Gives, dict[str, Any], Coroutine[Any, Any, Gives]]  # noqa: UP007  # generic
HOST = re.compile(r"([a-z0-9._-]{1,253}|\[[0-9a-f:.]{2,45}\])(:[0-9]{1,5})?", re.ASCII | re.IGNORECASE)
"""A Host header; what it says stands in links of pages and payloads."""


def addresses(request: Request[Any, Any, Any]) -> Urls:
    """The public URL that the operator set, else the one that was asked. Raises BadRequest."""
    if public := request.app.state.settings.public_url:
        return Urls(public)
    host = request.headers.get("Host", "")
    if not HOST.fullmatch(host):
        raise BadRequest(f"The Host header names no host: {host[:100]!r}.")
    return Urls(f"{request.scope['scheme']}://{host}")


def check_query(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """Raise Unprocessable for query parameters that the call does not have, each by its name."""
    call: Call[Any, Any] = handler.opt["call"]
    known = [parameter.name for parameter in call.query]
    allowed = f"use {', '.join(known)}" if known else "this call takes none"
    unknown = dict.fromkeys(name for name in connection.query_params if name and name not in known)
    refuse(Problem(name[:100], f"Unknown query parameter: {allowed}") for name in unknown)


def options() -> list[HTTPRouteHandler]:
    """OPTIONS of every path. The framework's own tells only the methods of the first call to a path."""
    methods: dict[str, set[str]] = {}
    for call in calls.ALL:
        found = methods.setdefault(_path(call), {"OPTIONS"})
        found |= {call.method, "HEAD"} if call.method == "GET" else {call.method}
    return [
        HTTPRouteHandler(
            path=path,
            http_method=HttpMethod.OPTIONS,
            status_code=204,
            response_headers={"Allow": ", ".join(sorted(allowed))},
            sync_to_thread=False,
        )(_nothing)
        for path, allowed in methods.items()
    ]


def _nothing() -> None:
    """An empty answer."""


def _path(call: Call[Any, Any]) -> str:
    return call.path.replace("}", ":str}")


def route(
    call: Call[Any, Gives],
) -> Callable[[Callable[..., Answered[Gives]]], HTTPRouteHandler]:
    """Make a function the handler of ``call``, behind its guards; on a thread unless it is a coroutine."""

    def decorate(function: Callable[..., Answered[Gives]]) -> HTTPRouteHandler:
        handler = HTTPRouteHandler(
            path=_path(call),
            http_method=HttpMethod(call.method),
            status_code=call.status,
            guards=[authentication.guard, rate_limits.guard, check_query],
            opt={"call": call},
            name=call.name,
            sync_to_thread=None if inspect.iscoroutinefunction(function) else True,
        )
        return handler(function)

    return decorate
