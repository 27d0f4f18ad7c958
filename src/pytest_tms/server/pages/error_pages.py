"""Errors outside the API: a page for browsers, the documented error for clients that ask for JSON."""

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
    405: "Not possible",
    409: "Not possible",
    429: "Too many attempts",
    503: "Not now",
}
"""The headings of error pages."""
FALLBACK_TITLE = "That did not work"


def wants_json(scope: Scope) -> bool:
    """Return whether an error should be JSON: under /api, and for clients that prefer JSON to HTML."""
    if scope["path"] == "/api" or scope["path"].startswith("/api/"):
        return True
    accept = ",".join(text.decode("latin-1") for name, text in scope["headers"] if name == b"accept")
    asked = weights(accept)
    json = max(asked.get("application/json", 0.0), asked.get("application/*", 0.0))
    html = max(asked.get("text/html", 0.0), asked.get("application/xhtml+xml", 0.0), asked.get("text/*", 0.0))
    return json > html


def title(status: int) -> str:
    """Return the heading of an error page."""
    return TITLES.get(status, FALLBACK_TITLE)


def render(error: ApiError) -> str:
    """Render the page of an error about which no visitor is known."""
    page_session = PageSession(caller=Caller(id="anyone"))
    return page(
        page_session, "error.html", error.status, title=title(error.status), message=error.message
    ).content
