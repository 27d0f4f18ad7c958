"""Login at the OpenID provider: the redirect to it, and the callback from it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from anyio.to_thread import run_sync
from litestar import Request, Response, get
from litestar.datastructures import Cookie
from litestar.response import Redirect

from pytest_tms.errors import ApiError, Forbidden, NotFound, ServiceUnavailable, Unauthorized
from pytest_tms.server.pages.page_session import PageSession, new_key
from pytest_tms.server.pages.redirects import safe_redirect
from pytest_tms.server.pages.templates import page
from pytest_tms.server.services.page_sessions import log_in_person
from pytest_tms.server.services.person_logins import CALLBACK, MAX_DURATION, PersonLogins
from pytest_tms.server.services.rate_limits import RateLimits
from pytest_tms.server.services.token_usage import TokenUsage
from pytest_tms.server.store.database import Database


@get("/login/provider", opt={"scope": None})
async def start_login(page_session: PageSession, person_logins: PersonLogins, to: str = "/") -> Response[Any]:
    """Redirect to the provider, whose response must arrive in the same browser.

    If the provider cannot be reached, return the login page with the reason.

    Raises:
        NotFound: There is no provider.
    """
    if not person_logins.is_configured:
        raise NotFound("This server has no OpenID provider: log in with an API token.")
    try:
        started = await run_sync(person_logins.start, safe_redirect(to))
    except ServiceUnavailable as error:
        return _login_page(page_session, error, safe_redirect(to))
    cookie = _cookie(page_session, started.cookie, MAX_DURATION)
    return Redirect(started.url, status_code=303, cookies=[cookie])


@get(CALLBACK, opt={"scope": None})
async def finish_login(
    request: Request[Any, Any, Any],
    database: Database,
    rate_limits: RateLimits,
    token_usage: TokenUsage,
    page_session: PageSession,
    person_logins: PersonLogins,
) -> Response[Any]:
    """Log in the person whom the provider sent, and redirect to the page that was requested.

    If that is not possible, return the login page with the reason.

    Raises:
        NotFound: There is no provider.
        RateLimited: There were too many failed logins from this address.
    """
    if not person_logins.is_configured:
        raise NotFound("This server has no OpenID provider: log in with an API token.")
    parameters = dict(request.query_params.items())
    cookie = request.cookies.get(_cookie_name(page_session), "")
    try:
        logged_in, to = await run_sync(
            _log_in, database, rate_limits, page_session, person_logins, parameters, cookie
        )
    except (Unauthorized, Forbidden) as error:
        token_usage.failed(page_session.caller, error.message)
        response = _login_page(page_session, error, "/")
        response.set_cookie(_cookie(page_session, "", 0))
        return response
    except ServiceUnavailable as error:
        return _login_page(page_session, error, "/")
    return Redirect(to, status_code=303, cookies=[logged_in.cookie, _cookie(page_session, "", 0)])


HANDLERS = (start_login, finish_login)


def _log_in(
    database: Database,
    rate_limits: RateLimits,
    page_session: PageSession,
    person_logins: PersonLogins,
    parameters: dict[str, str],
    cookie: str,
) -> tuple[PageSession, str]:
    meter = rate_limits.meter("logins", page_session.caller.address)
    if meter is not None and (error := meter.charge(1)):
        raise error
    person, to = person_logins.finish(parameters, cookie)
    key = new_key()  # prevents session fixation
    access = log_in_person(database, page_session.caller, person, page_session.key, key)
    if meter is not None:
        meter.charge(-1)  # only failed logins count
    return replace(page_session, caller=page_session.caller.with_token(access), key=key), to


def _login_page(page_session: PageSession, error: ApiError, to: str) -> Response[Any]:
    """Return the login page with the reason why a login failed."""
    message = error.message
    if isinstance(error, ServiceUnavailable):
        message = f"{message} Try again later, or log in with an API token."
    response = page(page_session, "login.html", error.status, to=to, error=message)
    if error.retry_after is not None:
        response.headers["Retry-After"] = str(round(error.retry_after))
    return response


def _cookie_name(page_session: PageSession) -> str:
    return "__Host-tms-login" if page_session.is_secure else "tms-login"


def _cookie(page_session: PageSession, value: str, seconds: int) -> Cookie:
    """Return the cookie of a login in progress. SameSite=Lax: it comes back with a link of the provider."""
    return Cookie(
        key=_cookie_name(page_session),
        value=value,
        max_age=seconds,
        httponly=True,
        secure=page_session.is_secure,
        samesite="lax",
    )
