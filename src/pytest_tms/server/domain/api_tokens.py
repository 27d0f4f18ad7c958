"""API tokens and the tokens of executions: their text, its hash, their scopes and how long they are valid."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import zlib
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Literal, get_args

from pytest_tms.client.calls import Scope
from pytest_tms.errors import Conflict
from pytest_tms.server.domain.ids import new_id

State = Literal["valid", "expired", "revoked"]
SCOPES: tuple[str, ...] = get_args(Scope)
DEFAULT_SCOPES = ("executions:read", "executions:write", "webhooks:write")
WEBHOOK_TOKEN = "wh_token_"  # noqa: S105  # the documented prefix
BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True, kw_only=True)
class ApiToken:
    """A token without its value.

    Times are milliseconds since 1970. Empty ``environments`` mean all. ``previous_until`` is when the text
    before the last rotation expires.
    """

    id: str
    name: str
    scopes: tuple[str, ...]
    environments: tuple[str, ...] = ()
    created_at: int
    expires_at: int | None = None
    revoked_at: int | None = None
    used_at: int | None = None
    previous_until: int | None = None

    def state(self, now: int) -> State:
        """Return whether the token is valid at ``now``, or why it is not."""
        if self.revoked_at is not None:
            return "revoked"
        return "valid" if self.expires_at is None or now < self.expires_at else "expired"

    def is_valid(self, now: int) -> bool:
        """Return whether the token is valid at ``now``."""
        return self.state(now) == "valid"

    def allows(self, scope: str) -> bool:
        """Return whether the token has ``scope``; ``admin`` includes every scope."""
        return scope in self.scopes or "admin" in self.scopes

    def has_access_to(self, environments: Collection[str] | None) -> bool:
        """Return whether the token gives access to these environments; None or none means all of them."""
        return not self.environments or bool(environments and set(environments) <= set(self.environments))

    def rotated(self, now: int, overlap: int, expires_at: int | None) -> ApiToken:
        """Return the token with a new text.

        The previous text stays valid for ``overlap`` milliseconds, but not beyond its own end. ``expires_at``
        is when the new text expires, None for the end that the token has.

        Raises:
            Conflict: The token is revoked, or has expired and ``expires_at`` is None.
        """
        if self.revoked_at is not None:
            raise Conflict(f"The token {self.id} is revoked: create a new token.")
        if not self.is_valid(now) and expires_at is None:
            raise Conflict(
                f"The token {self.id} has expired: set how long the new text is valid with --expires."
            )
        until = min(now + overlap, self.expires_at or now + overlap)
        return replace(self, previous_until=until, expires_at=expires_at or self.expires_at)


def new_token(
    name: str,
    now: int,
    scopes: tuple[str, ...] = DEFAULT_SCOPES,
    expires_at: int | None = None,
    environments: tuple[str, ...] = (),
) -> tuple[ApiToken, str]:
    """Return a new token and its text. Times are milliseconds since 1970; no ``environments`` mean all."""
    token = ApiToken(
        id=new_id("tok"),
        name=name,
        scopes=scopes,
        environments=environments,
        created_at=now,
        expires_at=expires_at,
    )
    return token, new_text()


def new_text() -> str:
    """Return the text of a new token.

    It is ``tms_``, 30 random characters and a checksum of 6, by which secret scanners recognise it.
    """
    random = "".join(secrets.choice(BASE62) for _ in range(30))
    return f"tms_{random}{_checksum(random)}"


def new_webhook_token() -> str:
    """Return a new token of one execution."""
    return f"{WEBHOOK_TOKEN}{secrets.token_urlsafe(32)}"


def derived_webhook_token(derived: bytes) -> str:
    """Return the token of an execution that is made of 32 secret bytes."""
    return f"{WEBHOOK_TOKEN}{derived.hex()}"


def hash_token(text: str) -> str:
    """Return the hash that is stored instead of a token.

    The text is random, so a plain SHA-256 is as hard to reverse as the text is to guess.
    """
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


def is_well_formed(text: str) -> bool:
    """Return whether a text has the form of an API token and a correct checksum."""
    return (
        len(text) == 40
        and text.isascii()
        and text.startswith("tms_")
        and hmac.compare_digest(text[34:], _checksum(text[4:34]))
    )


def _checksum(text: str) -> str:
    number = zlib.crc32(text.encode())
    digits = ""
    for _ in range(6):
        number, digit = divmod(number, 62)
        digits = BASE62[digit] + digits
    return digits
