"""The page of API tokens: who may do what, when each was used last, and revocation."""

from __future__ import annotations

from typing import Any

from litestar import Response, get, post
from litestar.response import Redirect

from pytest_tms.server.domain import clock
from pytest_tms.server.pages.page_session import ADMIN, PageSession
from pytest_tms.server.pages.templates import page
from pytest_tms.server.services.tokens import revoke_token
from pytest_tms.server.store import tokens
from pytest_tms.server.store.database import Database

LISTED = 100
"""Tokens on one page."""


@get("/tokens", opt={"scope": ADMIN}, sync_to_thread=True)
def list_tokens(database: Database, page_session: PageSession, after: str = "") -> Response[str]:
    """Return the list of the tokens, the oldest first. Their texts are stored nowhere."""
    start = after if after.isascii() and after.isprintable() else ""
    with database.read() as connection:
        found = tokens.page(connection, after=start, limit=LISTED + 1)
    now = clock.now()
    return page(
        page_session,
        "tokens.html",
        tokens=[(token, token.state(now)) for token in found[:LISTED]],
        following=found[LISTED - 1].id if len(found) > LISTED else None,
        first_page=not start,
    )


@post("/tokens/{token_id:str}/revoke", opt={"scope": ADMIN}, sync_to_thread=True)
def revoke(database: Database, page_session: PageSession, token_id: str) -> Response[Any]:
    """Revoke a token permanently, with all logins by it."""
    revoke_token(database, page_session.caller, token_id.replace("\x00", ""))
    return Redirect("/tokens", status_code=303)


HANDLERS = (list_tokens, revoke)
