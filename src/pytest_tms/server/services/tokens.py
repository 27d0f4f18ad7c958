"""API tokens: create, rotate, revoke, and authentication by a token."""

from __future__ import annotations

import hmac
from contextlib import suppress

from pytest_tms import wire
from pytest_tms.errors import NotFound, Unauthorized
from pytest_tms.server.domain import api_tokens, clock
from pytest_tms.server.domain.actors import Actor, Caller
from pytest_tms.server.domain.api_tokens import DEFAULT_SCOPES, ApiToken
from pytest_tms.server.store import audit, executions, tokens, webhooks
from pytest_tms.server.store.database import Database


def create_token(
    database: Database,
    actor: Actor,
    name: str,
    *,
    scopes: tuple[str, ...] = DEFAULT_SCOPES,
    environments: tuple[str, ...] = (),
    expires_in: int | None = None,
) -> tuple[ApiToken, str]:
    """Create a token, and return it with its text, which is stored nowhere.

    ``expires_in`` is in milliseconds, None for a token that does not expire.
    """
    now = clock.now()
    expires_at = None if expires_in is None else now + expires_in
    token, text = api_tokens.new_token(name, now, scopes, expires_at, environments)
    with database.write() as connection:
        tokens.add(connection, token, api_tokens.hash_token(text))
        granted = {"name": name, "scopes": scopes, "environments": environments}
        audit.add(connection, actor, "token.created", token.id, now, **granted)
    return token, text


def rotate_token(
    database: Database, actor: Actor, token_id: str, *, overlap: int, expires_in: int | None = None
) -> tuple[ApiToken, str]:
    """Give a token a new text, and return both.

    The previous text stays valid for ``overlap`` milliseconds. ``expires_in`` is the milliseconds until the
    new text expires, None for the end that the token has.

    Raises:
        NotFound: The token does not exist.
        Conflict: The token is revoked, or has expired and ``expires_in`` is None.
    """
    now, text = clock.now(), api_tokens.new_text()
    expires_at = None if expires_in is None else now + expires_in
    with database.write() as connection:
        token = tokens.lock(connection, token_id).rotated(now, overlap, expires_at)
        tokens.save_rotated(connection, token, api_tokens.hash_token(text))
        until = wire.timestamp(wire.moment(token.previous_until or now))
        audit.add(connection, actor, "token.rotated", token_id, now, previousUntil=until)
    return token, text


def revoke_token(database: Database, actor: Actor, token_id: str) -> None:
    """Revoke a token permanently. A token that is revoked already stays as it is.

    Raises:
        NotFound: The token does not exist.
    """
    now = clock.now()
    with database.write() as connection:
        if tokens.lock(connection, token_id).revoked_at is None:
            tokens.revoke(connection, token_id, now)
            audit.add(connection, actor, "token.revoked", token_id, now)


def find_token(database: Database, text: str) -> ApiToken:
    """Return the valid token with this text.

    Raises:
        Unauthorized: There is none; the message says why.
    """
    if not text:
        raise Unauthorized("The request has no token: send Authorization: Bearer and an API token.")
    if not api_tokens.is_well_formed(text):
        raise Unauthorized(
            "The token is not a complete API token: its checksum does not match. Copy the whole token."
        )
    with database.read() as connection:
        token = tokens.find(connection, api_tokens.hash_token(text))
    state = "unknown" if token is None else token.state(clock.now())
    if token is None or state != "valid":
        name = "" if token is None else f" {token.id}"
        raise Unauthorized(f"The token{name} is {state}: use another token.")
    return token


def check_execution_token(database: Database, text: str, execution_id: str, grace: int) -> None:
    """Check that ``text`` is the token of an execution that runs or ended at most ``grace`` seconds ago.

    Raises:
        Unauthorized: It is not; whether the execution exists is not revealed.
    """
    execution = None
    with database.read() as connection, suppress(NotFound):
        execution = executions.get(connection, execution_id)
    if not hmac.compare_digest(execution.token_hash if execution else "", api_tokens.hash_token(text)):
        raise Unauthorized("The token is not that of this execution.")
    if execution is not None and execution.ended_at is not None:
        # A replayed run may have ended before its execution was created here, or before a job joined it.
        ended = max(execution.ended_at, execution.created_at, execution.joined_at or 0)
        if clock.now() > ended + 1000 * grace:
            raise Unauthorized("The token ended with its execution: send late events with an API token.")


def check_access(
    database: Database, caller: Caller, *, execution_id: str | None = None, webhook_id: str | None = None
) -> None:
    """Check that a caller has access to an execution and a webhook, by the environments of its token.

    Raises:
        Forbidden: The token is bound to other environments.
        NotFound: The execution or webhook does not exist.
    """
    if caller.token is None or not caller.token.environments:
        return
    with database.read() as connection:
        if execution_id is not None:
            caller.require_access([executions.get(connection, execution_id).environment])
        if webhook_id is not None:
            caller.require_access(webhooks.get(connection, webhook_id).filters.environments)
