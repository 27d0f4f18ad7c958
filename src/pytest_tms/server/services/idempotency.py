"""Idempotency keys: a repeated request with the same key and body has one effect and one response."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec
from sqlalchemy import Connection

from pytest_tms.errors import Problem, Unprocessable
from pytest_tms.server.domain import clock
from pytest_tms.server.domain.api_tokens import derived_webhook_token, hash_token, new_webhook_token
from pytest_tms.server.services.rate_limits import Meter
from pytest_tms.server.store import idempotency_keys
from pytest_tms.server.store.database import Database

T = TypeVar("T")

MAX_KEY = 255
"""Characters of the longest key."""


@dataclass(frozen=True)
class IdempotentRequest:
    """The idempotency key of one request, empty if it has none. Keys of different tokens are separate.

    ``token``, ``path`` and ``body`` are those of the request, ``meter`` counted it.
    """

    key: str
    token: str
    path: str
    body: bytes
    meter: Meter | None

    def recall(self, connection: Connection, kind: type[T]) -> T | None:
        """Return the response to an earlier request with this key, or None if there was none.

        The rate limit is refunded for a repeated request.

        Raises:
            Unprocessable: The key was used with another body, or is too long.
            InFlight: The earlier request is still being handled.
        """
        if not self.key:
            return None
        if len(self.key) > MAX_KEY:
            problem = Problem("Idempotency-Key", f"Must be at most {MAX_KEY} characters")
            raise Unprocessable(details=[problem])
        request = self.request_hash
        earlier = idempotency_keys.reserve(connection, self.owner, self.key, request, clock.now())
        if earlier is None:
            return None
        if earlier[0] != request:
            raise Unprocessable(
                details=[Problem("Idempotency-Key", "Must be a new one: this one was used with another body")]
            )
        self.refund()
        return msgspec.json.decode(earlier[1], type=kind)

    def refund(self) -> None:
        """Take this request back from the rate limit, for one that created nothing."""
        if self.meter is not None:
            self.meter.charge(-1)

    def keep(self, connection: Connection, response: T) -> T:
        """Store the response for later requests with this key, and return it."""
        if self.key:
            idempotency_keys.keep(connection, self.owner, self.key, msgspec.json.encode(response).decode())
        return response

    def release(self, connection: Connection) -> None:
        """Release the key, after a ``recall`` that was committed and whose request failed."""
        if self.key:
            idempotency_keys.release(connection, self.owner, self.key)

    def webhook_token(self, execution_id: str) -> str:
        """Return the token of a new execution: the same for the same key, so it need not be stored."""
        return derived_webhook_token(self._derived(execution_id)) if self.key else new_webhook_token()

    def webhook_secret(self, webhook_id: str) -> str:
        """Return a secret for a webhook: the same for the same key, so it need not be stored."""
        made = self._derived(f"{webhook_id}\0secret") if self.key else secrets.token_bytes(32)
        return f"whsec_{base64.b64encode(made).decode()}"

    def _derived(self, text: str) -> bytes:
        return hmac.new(self.token.encode(), f"{text}\0{self.key}".encode(), hashlib.sha256).digest()

    @property
    def owner(self) -> str:
        """The hash of the token."""
        return hash_token(self.token)

    @property
    def request_hash(self) -> str:
        """A hash of path and body, keyed with the token: nobody can search for a secret in a body by it."""
        content = self.path.encode() + b"\0" + self.body
        return hashlib.blake2b(content, digest_size=16, key=self._derived("request")).hexdigest()


def are_new(connection: Connection, requests: Sequence[IdempotentRequest]) -> list[bool]:
    """Return whether each request is known to be no repetition, of a stored one or of one before it."""
    keys = [(each.owner, each.key) for each in requests]
    known = idempotency_keys.known(connection, {each for each in keys if each[1]})
    found = []
    for each in keys:
        found.append(not each[1] or (len(each[1]) <= MAX_KEY and each not in known))
        known.add(each)
    return found


def keep_all(connection: Connection, responses: Sequence[tuple[IdempotentRequest, Any]]) -> None:
    """Store the responses to new requests; those without a key need none.

    Raises:
        IntegrityError: Another request with one of the keys was stored meanwhile.
    """
    idempotency_keys.add(
        connection,
        [
            (request.owner, request.key, request.request_hash, msgspec.json.encode(response).decode())
            for request, response in responses
            if request.key
        ],
        clock.now(),
    )


def is_replay(database: Database, token: str, key: str) -> bool:
    """Return whether a request with this token and key was already carried out."""
    if not key:
        return False
    with database.read() as connection:
        return idempotency_keys.is_known(connection, hash_token(token), key, clock.now())
