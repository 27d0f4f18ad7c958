"""From a declared call to a route of the framework."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from litestar import Request
from litestar.enums import HttpMethod
from litestar.handlers import HTTPRouteHandler

from pytest_tms.calls import Call
from pytest_tms.server.api.auth import guard

Gives = TypeVar("Gives")


@dataclass(frozen=True)
class Addresses:
    """Where this server's pages and calls are, as the caller reaches it."""

    root: str

    @property
    def api(self) -> str:
        """The base URL of the API."""
        return f"{self.root}/api"

    def report(self, execution_id: str) -> str:
        """An execution's report page."""
        return f"{self.root}/reports/{execution_id}"

    def logs(self, execution_id: str) -> str:
        """An execution's logs page."""
        return f"{self.root}/logs/{execution_id}"

    def artifacts(self, execution_id: str) -> str:
        """An execution's artifacts page."""
        return f"{self.root}/artifacts/{execution_id}"


def addresses(request: Request[Any, Any, Any]) -> Addresses:
    """The public URL that the operator set, else the one that was asked."""
    return Addresses(request.app.state.settings.public_url or str(request.base_url).rstrip("/"))


def route(
    call: Call[Any, Gives],
) -> Callable[[Callable[..., Gives | dict[str, Any]]], HTTPRouteHandler]:
    """Make a function the handler of ``call``: on a thread, behind the call's guard, with its status."""

    def decorate(function: Callable[..., Gives | dict[str, Any]]) -> HTTPRouteHandler:
        handler = HTTPRouteHandler(
            path=call.path.replace("}", ":str}"),
            http_method=HttpMethod(call.method),
            status_code=call.status,
            guards=[guard],
            opt={"call": call},
            name=call.name,
            sync_to_thread=True,
        )
        return handler(function)

    return decorate
