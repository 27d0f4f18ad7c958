"""Logins to the pages: sessions that map the secret in a browser's cookie to an API token or a person."""

from __future__ import annotations

from pytest_tms.errors import NotFound
from pytest_tms.server.domain import clock
from pytest_tms.server.domain.actors import Actor
from pytest_tms.server.domain.api_tokens import ApiToken, hash_token
from pytest_tms.server.domain.people import Person, access_of
from pytest_tms.server.services.tokens import find_token
from pytest_tms.server.store import audit, page_sessions, tokens
from pytest_tms.server.store.database import Database

DURATION = 7 * 86_400
"""Seconds from a login with a token to its end."""
PERSON_DURATION = 12 * 3600
"""Seconds from a login of a person to its end: then the provider decides again who may log in."""


def log_in(database: Database, text: str, old_key: str, new_key: str) -> ApiToken:
    """Replace the page session of ``old_key`` by one of ``new_key`` for the API token with this text.

    Raises:
        Unauthorized: There is no such valid token.
    """
    token = find_token(database, text)
    now = clock.now()
    with database.write() as connection:
        page_sessions.end(connection, hash_token(old_key))
        until = now + 1000 * DURATION
        page_sessions.add(connection, hash_token(new_key), now, until, token_hash=hash_token(text))
    return token


def log_in_person(database: Database, actor: Actor, person: Person, old_key: str, new_key: str) -> ApiToken:
    """Replace the page session of ``old_key`` by one of ``new_key`` for a person.

    ``actor`` is the unauthenticated caller, for the audit log. Return the permissions of the person.
    """
    now = clock.now()
    until = now + 1000 * PERSON_DURATION
    access = access_of(person.id, person.shown_name, person.role, now, until)
    author = Actor(id=access.id, name=access.name, request_id=actor.request_id, address=actor.address)
    details = {"issuer": person.issuer, "subject": person.subject, "email": person.email, "role": person.role}
    with database.write() as connection:
        page_sessions.end(connection, hash_token(old_key))
        page_sessions.add(connection, hash_token(new_key), now, until, person=person)
        audit.add(connection, author, "login.succeeded", person.id, now, **details)
    return access


def log_out(database: Database, key: str) -> None:
    """End a page session; nothing happens if there is none."""
    with database.write() as connection:
        page_sessions.end(connection, hash_token(key))


def end_logins(database: Database, actor: Actor, user_id: str) -> int:
    """End all logins of a person, and return their number.

    Raises:
        NotFound: There is none.
    """
    with database.write() as connection:
        ended = page_sessions.end_of_person(connection, user_id)
        if not ended:
            raise NotFound(f"{user_id[:100]} is not logged in: `tms login list` shows who is.")
        audit.add(connection, actor, "login.ended", user_id, clock.now(), logins=ended)
    return ended


def session_token(database: Database, key: str, issuer: str) -> ApiToken | None:
    """Return the token of a page session, or None if the session or the token is not valid.

    For a person it has the scopes of the person's role, and is valid only if the login was at ``issuer``, the
    provider of the present settings.
    """
    now = clock.now()
    with database.read() as connection:
        session = page_sessions.find(connection, hash_token(key), now)
        if session is None:
            return None
        if session.user_id:
            if not issuer or session.issuer != issuer:
                return None
            return access_of(
                session.user_id, session.user_name, session.role, session.created_at, session.expires_at
            )
        token = tokens.find(connection, session.token_hash) if session.token_hash else None
    return token if token is not None and token.is_valid(now) else None
