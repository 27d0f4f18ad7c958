"""The login by an API token, the logout, and what a visitor sees instead of an error."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from anyio.to_thread import run_sync
from litestar import Request, Response, get, post
from litestar.exceptions import HTTPException
from litestar.response import Redirect

from pytest_tms.errors import BY_STATUS, ApiError, InternalError, Unauthorized
from pytest_tms.server import error_responses
from pytest_tms.server.pages import error_pages
from pytest_tms.server.pages.page_session import PageSession, current_session, new_key
from pytest_tms.server.pages.templates import page
from pytest_tms.server.request_context import request_context
from pytest_tms.server.services.page_sessions import log_in, log_out
from pytest_tms.server.services.rate_limits import RateLimits
from pytest_tms.server.services.token_usage import TokenUsage
from pytest_tms.server.store.database import Database


@get("/login", opt={"scope": None}, sync_to_thread=False)
def login_form(page_session: PageSession, to: str = "/") -> Response[Any]:
    """The login page."""
    if page_session.is_trusted or page_session.token is not None:
        return Redirect(_inside(to))
    return page(page_session, "login.html", to=_inside(to), wrong="")


@post("/login", opt={"scope": None})
async def login(
    database: Database,
    rate_limits: RateLimits,
    token_usage: TokenUsage,
    page_session: PageSession,
    form: dict[str, str],
) -> Response[Any]:
    """Log in, and go on to the page that was asked for."""
    to = _inside(form.get("to", "/"))
    try:
        known = await run_sync(_enter, database, rate_limits, page_session, form.get("token", "").strip())
    except Unauthorized as error:
        token_usage.failed(page_session.caller, error.message)
        return page(page_session, "login.html", error.status, to=to, wrong=error.message)
    return Redirect(to, status_code=303, cookies=[known.cookie])


def _enter(database: Database, rate_limits: RateLimits, page_session: PageSession, text: str) -> PageSession:
    """The visitor, logged in with a token. Raises Unauthorized, and RateLimited after too many wrong ones."""
    meter = rate_limits.meter("logins", page_session.caller.address)
    if meter is not None and (error := meter.charge(1)):
        raise error
    key = new_key()  # somebody may have planted the old one
    token = log_in(database, text, page_session.key, key)
    if meter is not None:
        meter.charge(-1)  # only wrong ones count
    return replace(page_session, caller=page_session.caller.with_token(token), key=key)


@post("/logout", opt={"scope": None}, sync_to_thread=True)
def logout(database: Database, page_session: PageSession) -> Response[Any]:
    """Log out: the cookie opens nothing any more, wherever it was copied to."""
    log_out(database, page_session.key)
    return Redirect("/login", status_code=303)


def answer_api_error(request: Request[Any, Any, Any], error: ApiError) -> Response[Any]:
    """Answer with the page of an error, or the login page for a 401; JSON for clients that ask for it."""
    if error_pages.wants_json(request.scope):
        return error_responses.api_error_response(request, error)
    page_session = current_session(request)
    if isinstance(error, Unauthorized):
        query = request.scope["query_string"].decode("latin-1")
        asked = request.scope["raw_path"].decode("latin-1") + (f"?{query}" if query else "")
        to = _inside(asked if request.method == "GET" else "/")
        return page(page_session, "login.html", error.status, to=to, wrong="")
    title = error_pages.title(error.status)
    answer = page(page_session, "error.html", error.status, title=title, message=error.message)
    if error.retry_after is not None:
        answer.headers["Retry-After"] = str(round(error.retry_after))
    return answer


def answer_http_error(request: Request[Any, Any, Any], error: HTTPException) -> Response[Any]:
    """Answer what the framework refused: an unknown path, a wrong method, a form that is too large."""
    if error_pages.wants_json(request.scope):
        return error_responses.http_error_response(request, error)
    if error.status_code >= 500:
        return answer_unexpected(request, error)
    if error.status_code == 405:
        title, message = error_pages.title(405), f"{request.method} is not possible at this address."
        answer = page(current_session(request), "error.html", 405, title=title, message=message)
        answer.headers["Allow"] = error_responses.allowed(error)
        return answer
    return answer_api_error(request, BY_STATUS.get(error.status_code, BY_STATUS[400])())


def answer_unexpected(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    """Log an unexpected error and answer with a page that names the request."""
    answer = error_responses.unexpected_error_response(request, error)
    if error_pages.wants_json(request.scope):
        return answer
    said = f"The server failed; quote {request_context(request.scope).request_id} to whoever runs it."
    return answer_api_error(request, InternalError(said))


def _inside(to: str) -> str:
    """An address of ours to go on to; the start page for anything that could lead elsewhere."""
    plain = to.isascii() and to.isprintable() and "\\" not in to and len(to) < 2000
    parts = urlsplit(to) if plain and to.startswith("/") and not to.startswith("//") else None
    return "/" if parts is None or parts.netloc or parts.path in ("/login", "/logout") else to
