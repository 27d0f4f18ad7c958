"""Idempotency-Key: the same key and body have one effect and one answer, however often they arrive."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec
from litestar import Request
from sqlalchemy import Connection

from pytest_tms.errors import Problem, Unprocessable
from pytest_tms.server.api import authentication
from pytest_tms.server.api.rate_limits import Meter
from pytest_tms.server.store import idempotency_keys

T = TypeVar("T")

LONGEST_KEY = 255
"""Characters of the longest key."""


@dataclass(frozen=True)
class IdempotencyGuard:
    """The key of one request; an empty one lets everything through. Keys of different tokens are separate."""

    key: str
    token: str
    path: str
    meter: Meter | None

    def recall(self, connection: Connection, body: bytes, kind: type[T]) -> T | None:
        """The answer to an earlier request of this key, or None where this one has to be carried out.

        Raises Unprocessable where the key was used with another body, or is too long, and InFlight where the
        earlier request is under way and goes on.
        """
        if not self.key:
            return None
        if len(self.key) > LONGEST_KEY:
            problem = Problem("Idempotency-Key", f"Must be at most {LONGEST_KEY} characters")
            raise Unprocessable(details=[problem])
        # With the token as the key, so that nobody can try what a body with a secret may have been.
        content = self.path.encode() + b"\0" + body
        request = hashlib.blake2b(content, digest_size=16, key=self._derived("request")).hexdigest()
        earlier = idempotency_keys.claim(connection, self._owner, self.key, request, authentication.now())
        if earlier is None:
            return None
        if earlier[0] != request:
            raise Unprocessable(
                details=[Problem("Idempotency-Key", "Must be a new one: this one was used with another body")]
            )
        if self.meter is not None:
            self.meter.charge(-1)
        return msgspec.json.decode(earlier[1], type=kind)

    def keep(self, connection: Connection, answer: T) -> T:
        """Keep the answer for the next request of this key, and give it."""
        if self.key:
            idempotency_keys.keep(connection, self._owner, self.key, msgspec.json.encode(answer).decode())
        return answer

    def free(self, connection: Connection) -> None:
        """Give the key back, after a ``recall`` that was committed and came to nothing."""
        if self.key:
            idempotency_keys.free(connection, self._owner, self.key)

    def webhook_token(self, execution_id: str) -> str:
        """A token for a new execution: the same again for the same key, without being kept anywhere."""
        if not self.key:
            return authentication.new_webhook_token()
        return f"wh_token_{self._derived(execution_id).hex()}"

    def webhook_secret(self, webhook_id: str) -> str:
        """A secret for a webhook, in the same way."""
        made = self._derived(f"{webhook_id}\0secret") if self.key else secrets.token_bytes(32)
        return f"whsec_{base64.b64encode(made).decode()}"

    def _derived(self, text: str) -> bytes:
        return hmac.new(self.token.encode(), f"{text}\0{self.key}".encode(), hashlib.sha256).digest()

    @property
    def _owner(self) -> str:
        return authentication.hashed(self.token)


def idempotency_guard(request: Request[Any, Any, Any]) -> IdempotencyGuard:
    """The key that a request carries."""
    meter = request.scope["state"].get("meter")
    key = request.headers.get("Idempotency-Key", "")
    return IdempotencyGuard(key, authentication.bearer(request), request.scope["path"], meter)
