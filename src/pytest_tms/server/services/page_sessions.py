"""Logins to the pages: sessions that map the secret in a browser's cookie to an API token."""

from __future__ import annotations

from pytest_tms.server.domain import clock
from pytest_tms.server.domain.api_tokens import ApiToken, hash_token
from pytest_tms.server.services.tokens import find_token
from pytest_tms.server.store import page_sessions, tokens
from pytest_tms.server.store.database import Database

DURATION = 7 * 86_400
"""Seconds from a login to its end."""


def log_in(database: Database, text: str, old_key: str, new_key: str) -> ApiToken:
    """Replace the page session of ``old_key`` by one of ``new_key`` for the API token with this text.

    Raises:
        Unauthorized: There is no such valid token.
    """
    token = find_token(database, text)
    now = clock.now()
    with database.write() as connection:
        page_sessions.end(connection, hash_token(old_key))
        page_sessions.add(connection, hash_token(new_key), hash_token(text), now, now + 1000 * DURATION)
    return token


def log_out(database: Database, key: str) -> None:
    """End a page session; nothing happens if there is none."""
    with database.write() as connection:
        page_sessions.end(connection, hash_token(key))


def session_token(database: Database, key: str) -> ApiToken | None:
    """Return the token of a page session, or None if the session or the token is not valid."""
    now = clock.now()
    with database.read() as connection:
        hashed = page_sessions.token_hash(connection, hash_token(key), now)
        token = tokens.find(connection, hashed) if hashed else None
    return token if token is not None and token.is_valid(now) else None
