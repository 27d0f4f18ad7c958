"""Login with an API token, logout, and the exception handlers of pages."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from anyio.to_thread import run_sync
from litestar import Request, Response, get, post
from litestar.exceptions import HTTPException
from litestar.response import Redirect

from pytest_tms.errors import BY_STATUS, ApiError, InternalError, Unauthorized
from pytest_tms.server import error_responses
from pytest_tms.server.pages import error_pages
from pytest_tms.server.pages.page_session import PageSession, current_session, new_key
from pytest_tms.server.pages.redirects import safe_redirect
from pytest_tms.server.pages.templates import page
from pytest_tms.server.request_context import request_context
from pytest_tms.server.services.page_sessions import log_in, log_out
from pytest_tms.server.services.rate_limits import RateLimits
from pytest_tms.server.services.token_usage import TokenUsage
from pytest_tms.server.store.database import Database


@get("/login", opt={"scope": None}, sync_to_thread=False)
def login_form(page_session: PageSession, to: str = "/") -> Response[Any]:
    """Return the login page; redirect if no login is needed."""
    if page_session.is_trusted or page_session.token is not None:
        return Redirect(safe_redirect(to))
    return page(page_session, "login.html", to=safe_redirect(to), error="")


@post("/login", opt={"scope": None})
async def login(
    database: Database,
    rate_limits: RateLimits,
    token_usage: TokenUsage,
    page_session: PageSession,
    form: dict[str, str],
) -> Response[Any]:
    """Log in and redirect to the page that was requested."""
    to = safe_redirect(form.get("to", "/"))
    try:
        logged_in = await run_sync(
            _log_in, database, rate_limits, page_session, form.get("token", "").strip()
        )
    except Unauthorized as error:
        token_usage.failed(page_session.caller, error.message)
        return page(page_session, "login.html", error.status, to=to, error=error.message)
    return Redirect(to, status_code=303, cookies=[logged_in.cookie])


def _log_in(database: Database, rate_limits: RateLimits, page_session: PageSession, text: str) -> PageSession:
    """Return the session after a login with a token.

    Raises:
        Unauthorized: The token is not valid.
        RateLimited: There were too many failed logins from this address.
    """
    meter = rate_limits.meter("logins", page_session.caller.address)
    if meter is not None and (error := meter.charge(1)):
        raise error
    key = new_key()  # prevents session fixation
    token = log_in(database, text, page_session.key, key)
    if meter is not None:
        meter.charge(-1)  # only failed logins count
    return replace(page_session, caller=page_session.caller.with_token(token), key=key)


@post("/logout", opt={"scope": None}, sync_to_thread=True)
def logout(database: Database, page_session: PageSession) -> Response[Any]:
    """Log out: the session is deleted, so copies of its cookie are not valid either."""
    log_out(database, page_session.key)
    return Redirect("/login", status_code=303)


def handle_api_error(request: Request[Any, Any, Any], error: ApiError) -> Response[Any]:
    """Return an error page, the login page for a 401, or JSON if the client prefers it."""
    if error_pages.wants_json(request.scope):
        return error_responses.api_error_response(request, error)
    page_session = current_session(request)
    if isinstance(error, Unauthorized):
        query = request.scope["query_string"].decode("latin-1")
        requested = request.scope["raw_path"].decode("latin-1") + (f"?{query}" if query else "")
        to = safe_redirect(requested if request.method == "GET" else "/")
        return page(page_session, "login.html", error.status, to=to, error="")
    title = error_pages.title(error.status)
    response = page(page_session, "error.html", error.status, title=title, message=error.message)
    if error.retry_after is not None:
        response.headers["Retry-After"] = str(round(error.retry_after))
    return response


def handle_http_error(request: Request[Any, Any, Any], error: HTTPException) -> Response[Any]:
    """Return the response for an error of the framework: unknown path, wrong method, form too large."""
    if error_pages.wants_json(request.scope):
        return error_responses.http_error_response(request, error)
    if error.status_code >= 500:
        return handle_unexpected(request, error)
    if error.status_code == 405:
        title, message = error_pages.title(405), f"The method {request.method} is not allowed for this page."
        response = page(current_session(request), "error.html", 405, title=title, message=message)
        response.headers["Allow"] = error_responses.allowed(error)
        return response
    return handle_api_error(request, BY_STATUS.get(error.status_code, BY_STATUS[400])())


def handle_unexpected(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    """Log an unexpected error and return a page with the request id."""
    response = error_responses.unexpected_error_response(request, error)
    if error_pages.wants_json(request.scope):
        return response
    request_id = request_context(request.scope).request_id
    return handle_api_error(
        request, InternalError(f"Internal server error. Give the operator the request id {request_id}.")
    )
