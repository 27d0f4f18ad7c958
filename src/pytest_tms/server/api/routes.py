"""Routes of the framework, made from declared calls."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar, Union

from litestar import Response
from litestar.connection import ASGIConnection
from litestar.enums import HttpMethod
from litestar.handlers import BaseRouteHandler, HTTPRouteHandler
from litestar.response import Stream
from litestar.types import Empty

from pytest_tms.client import calls
from pytest_tms.client.calls import Call
from pytest_tms.errors import Problem
from pytest_tms.server.domain.problems import refuse

Gives = TypeVar("Gives")
Returned = Union[  # noqa: UP007  # generic
    Gives,
    Response[Gives],
    Stream,
    dict[str, Any],
    Coroutine[Any, Any, Gives],
    Coroutine[Any, Any, Response[Gives]],
    Coroutine[Any, Any, Stream],
]


Check = Callable[[ASGIConnection[Any, Any, Any, Any], BaseRouteHandler], Awaitable[None]]
"""A guard that is a coroutine function: the framework calls any other guard on a thread."""


def guard_of(*checks: Check) -> Check:
    """Return one guard that makes some checks in turn: the framework copies the handler for each guard."""

    async def guard(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
        for check in checks:
            await check(connection, handler)

    return guard


async def check_query(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """Check the query parameters of a call; a guard.

    Raises:
        Unprocessable: There are unknown ones, each of which is listed.
    """
    call: Call[Any, Any] | None = handler.opt.get("call")
    if call is None:
        return
    known = [parameter.name for parameter in call.query]
    allowed = f"use {', '.join(known)}" if known else "this call takes none"
    unknown = dict.fromkeys(name for name in connection.query_params if name and name not in known)
    refuse(Problem(name[:100], f"Unknown query parameter: {allowed}") for name in unknown)


def options() -> list[HTTPRouteHandler]:
    """Return the OPTIONS handlers of all paths.

    Those of the framework list only the methods of the first call of a path.
    """
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
        )(_no_content)
        for path, allowed in methods.items()
    ]


def _no_content() -> None:
    """Return an empty response."""


def _path(call: Call[Any, Any]) -> str:
    return call.path.replace("}", ":str}")


def route(
    call: Call[Any, Gives],
) -> Callable[[Callable[..., Returned[Gives]]], HTTPRouteHandler]:
    """Make a function the handler of ``call``; it runs on a thread unless it is a coroutine function."""

    def decorate(function: Callable[..., Returned[Gives]]) -> HTTPRouteHandler:
        handler = HTTPRouteHandler(
            path=_path(call),
            http_method=HttpMethod(call.method),
            status_code=call.status,
            opt={"call": call},
            name=call.name,
            request_max_body_size=None if call.takes is bytes else Empty,  # limited by its handler
            sync_to_thread=None if inspect.iscoroutinefunction(function) else True,
        )
        return handler(function)

    return decorate
