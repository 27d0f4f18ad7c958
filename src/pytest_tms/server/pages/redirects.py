"""Redirects from earlier addresses of the pages of a run, which payloads and answers of the API contain."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, urlsplit

from litestar import Request, get
from litestar.exceptions import NotFoundException
from litestar.handlers import HTTPRouteHandler
from litestar.response import Redirect

PAGES = {"reports": "", "logs": "/events", "artifacts": "/files", "cancel": "/cancel", "delete": "/delete"}
"""The addresses below `/runs/{id}`, by the first part of the earlier ones."""


def _handler(first: str, page: str) -> HTTPRouteHandler:
    @get(f"/{first}/{{run:str}}", opt={"scope": None}, sync_to_thread=False)
    def redirect(request: Request[Any, Any, Any], run: str) -> Redirect:
        """Redirect to the page of a run; that page checks whether the user may see it."""
        return _to(request, run, page)

    return redirect


@get("/reports/{run:str}/{part:path}", opt={"scope": None}, sync_to_thread=False)
def part_of_report(request: Request[Any, Any, Any], run: str, part: str) -> Redirect:
    """Redirect the link to an export to that export, and the link to a shard to the run.

    The id of a shard may contain slashes.
    """
    part = part.lstrip("/")
    return _to(request, run, f"/{quote(part, safe='')}" if part.startswith("export.") else "")


def _to(request: Request[Any, Any, Any], run: str, page: str) -> Redirect:
    if run in (".", ".."):  # clients would resolve it to the address of another page
        raise NotFoundException
    query = request.scope["query_string"].decode("latin-1")
    path = f"/runs/{quote(run, safe='')}{page}"
    return Redirect(f"{path}?{query}" if query else path, status_code=301)


HANDLERS = [*(_handler(first, page) for first, page in PAGES.items()), part_of_report]


def safe_redirect(to: str) -> str:
    """Return a path of this server to redirect to; ``/`` for anything that could lead elsewhere."""
    is_plain = to.isascii() and to.isprintable() and "\\" not in to and len(to) < 2000
    parts = urlsplit(to) if is_plain and to.startswith("/") and not to.startswith("//") else None
    is_elsewhere = parts is None or bool(parts.netloc)
    return "/" if is_elsewhere or to.startswith(("/login", "/logout")) else to
