"""Error pages; clients that prefer JSON receive the documented error."""

from __future__ import annotations

from litestar.types import Scope

from pytest_tms.errors import ApiError
from pytest_tms.server.domain.actors import Caller
from pytest_tms.server.domain.content_negotiation import weights
from pytest_tms.server.pages.page_session import PageSession
from pytest_tms.server.pages.templates import page

TITLES = {
    403: "Not allowed",
    404: "Not found",
    405: "Method not allowed",
    409: "Conflict",
    429: "Too many requests",
    503: "Service unavailable",
}
"""The headings of error pages by status."""
FALLBACK_TITLE = "Something went wrong"


def wants_json(scope: Scope) -> bool:
    """Return whether an error should be JSON: under /api, and for clients that prefer JSON to HTML."""
    if scope["path"] == "/api" or scope["path"].startswith("/api/"):
        return True
    accept = ",".join(text.decode("latin-1") for name, text in scope["headers"] if name == b"accept")
    accepted = weights(accept)
    json = max(accepted.get("application/json", 0.0), accepted.get("application/*", 0.0))
    html = max(
        accepted.get("text/html", 0.0),
        accepted.get("application/xhtml+xml", 0.0),
        accepted.get("text/*", 0.0),
    )
    return json > html


def title(status: int) -> str:
    """Return the heading of an error page."""
    return TITLES.get(status, FALLBACK_TITLE)


def render(error: ApiError) -> str:
    """Return the HTML of an error page for an unauthenticated request."""
    page_session = PageSession(caller=Caller(id="anyone"))
    return page(
        page_session, "error.html", error.status, title=title(error.status), message=error.message
    ).content
