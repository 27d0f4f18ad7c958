"""API tokens: create, rotate, revoke, and authentication by a token."""

from __future__ import annotations

import hmac
from collections.abc import Mapping, Sequence

from pytest_tms import wire
from pytest_tms.errors import Unauthorized
from pytest_tms.server.domain import api_tokens, clock
from pytest_tms.server.domain.actors import Actor, Caller
from pytest_tms.server.domain.api_tokens import DEFAULT_SCOPES, ApiToken
from pytest_tms.server.store import audit, executions, tokens, webhooks
from pytest_tms.server.store.database import Database
from pytest_tms.server.store.executions import ExecutionToken


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
    [found] = find_tokens(database, [text])
    if isinstance(found, Unauthorized):
        raise found
    return found


def find_tokens(database: Database, texts: Sequence[str]) -> list[ApiToken | Unauthorized]:
    """Return the valid token with each text, or the error to raise."""
    hashes = {api_tokens.hash_token(each) for each in texts if api_tokens.is_well_formed(each)}
    known: Mapping[str, ApiToken] = {}
    if hashes:
        with database.read() as connection:
            known = tokens.find_all(connection, hashes)
    now = clock.now()
    return [_valid(each, known, now) for each in texts]


def check_execution_tokens(
    database: Database, tokens_of: Sequence[tuple[str, str]], grace: int
) -> list[Unauthorized | None]:
    """Check that texts are tokens of executions that run, or ended at most ``grace`` seconds ago.

    ``tokens_of`` are (text, execution id). Return the error to raise for each, None if there is none. It does
    not reveal whether the execution exists.
    """
    with database.read() as connection:
        found = executions.tokens(connection, {execution_id for _, execution_id in tokens_of})
    now = clock.now()
    return [_refusal(text, found.get(execution_id), now - 1000 * grace) for text, execution_id in tokens_of]


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


def _valid(text: str, known: Mapping[str, ApiToken], now: int) -> ApiToken | Unauthorized:
    if not text:
        return Unauthorized("The request has no token: send Authorization: Bearer and an API token.")
    if not api_tokens.is_well_formed(text):
        return Unauthorized(
            "The token is not a complete API token: its checksum does not match. Copy the whole token."
        )
    token = known.get(api_tokens.hash_token(text))
    state = "unknown" if token is None else token.state(now)
    if token is None or state != "valid":
        name = "" if token is None else f" {token.id}"
        return Unauthorized(f"The token{name} is {state}: use another token.")
    return token


def _refusal(text: str, token: ExecutionToken | None, since: int) -> Unauthorized | None:
    """Return why a text is not the token of an execution that runs, or ended after ``since``."""
    if not hmac.compare_digest(token.token_hash if token else "", api_tokens.hash_token(text)):
        return Unauthorized("The token is not that of this execution.")
    if token is not None and token.ended_at is not None and token.ended_at < since:
        return Unauthorized("The token ended with its execution: send late events with an API token.")
    return None
