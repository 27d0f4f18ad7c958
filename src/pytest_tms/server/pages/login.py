"""The login by an API token, the logout, and what a visitor sees instead of an error."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from litestar import Request, Response, get, post
from litestar.exceptions import HTTPException
from litestar.response import Redirect

from pytest_tms.errors import BY_STATUS, ApiError, Unauthorized
from pytest_tms.server.api import auth, errors
from pytest_tms.server.pages.templates import page
from pytest_tms.server.pages.visitor import LASTS, Visitor, new_key
from pytest_tms.server.pages.visitor import visitor as visitor_of
from pytest_tms.server.store import sessions, tokens
from pytest_tms.server.store.database import Database

TITLES = {403: "Not allowed", 404: "Not found", 409: "Not possible", 503: "Not now"}


@get("/login", opt={"scope": None}, sync_to_thread=False)
def login_form(visitor: Visitor, to: str = "/") -> Response[Any]:
    """The login page."""
    if visitor.is_trusted or visitor.token is not None:
        return Redirect(_inside(to))
    return page(visitor, "login.html", to=_inside(to), wrong="")


@post("/login", opt={"scope": None}, sync_to_thread=True)
def login(database: Database, visitor: Visitor, form: dict[str, str]) -> Response[Any]:
    """Log in, and go on to the page that was asked for."""
    to = _inside(form.get("to", "/"))
    hashed = auth.hashed(form.get("token", "").strip())
    now = auth.now()
    with database.read() as connection:
        token = tokens.find(connection, hashed)
    if token is None or not token.is_valid(now):
        wrong = "The token is unknown, expired or revoked."
        return page(visitor, "login.html", 401, to=to, wrong=wrong)
    before, visitor = (
        visitor,
        replace(visitor, key=new_key(), token=token),
    )  # whoever planted the old one has nothing
    with database.write() as connection:
        sessions.end(connection, auth.hashed(before.key))
        sessions.add(connection, auth.hashed(visitor.key), hashed, now, now + 1000 * LASTS)
    return Redirect(to, status_code=303, cookies=[visitor.cookie])


@post("/logout", opt={"scope": None}, sync_to_thread=True)
def logout(database: Database, visitor: Visitor) -> Response[Any]:
    """Log out: the cookie opens nothing any more, wherever it was copied to."""
    with database.write() as connection:
        sessions.end(connection, auth.hashed(visitor.key))
    return Redirect("/login", status_code=303)


def answer_api_error(request: Request[Any, Any, Any], error: ApiError) -> Response[Any]:
    """An error as a page; where a login is missing, the login in its place."""
    visitor = visitor_of(request)
    if isinstance(error, Unauthorized):
        query = request.scope["query_string"].decode("latin-1")
        asked = request.scope["raw_path"].decode("latin-1") + (f"?{query}" if query else "")
        to = _inside(asked if request.method == "GET" else "/")
        return page(visitor, "login.html", error.status, to=to, wrong="")
    title = TITLES.get(error.status, "That did not work")
    answer = page(visitor, "error.html", error.status, title=title, message=error.message)
    if error.retry_after is not None:
        answer.headers["Retry-After"] = str(round(error.retry_after))
    return answer


def answer_http_error(request: Request[Any, Any, Any], error: HTTPException) -> Response[Any]:
    """What the framework refused, as a page."""
    if error.status_code in (404, 405) or error.status_code >= 500:
        return errors.answer_http_error(request, error)
    return answer_api_error(request, BY_STATUS.get(error.status_code, BY_STATUS[400])())


def _inside(to: str) -> str:
    """An address of ours to go on to; the start page for anything that could lead elsewhere."""
    plain = to.isascii() and to.isprintable() and "\\" not in to and len(to) < 2000
    parts = urlsplit(to) if plain and to.startswith("/") and not to.startswith("//") else None
    return "/" if parts is None or parts.netloc or parts.path in ("/login", "/logout") else to
