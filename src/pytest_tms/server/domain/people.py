"""People who log in at an OpenID provider, and the roles that its claims give them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

from pytest_tms.server.domain.api_tokens import ApiToken

Role = Literal["viewer", "member", "admin"]
ROLES: tuple[Role, ...] = get_args(Role)
"""The roles; each includes those before it."""
SCOPES: Mapping[Role, tuple[str, ...]] = {
    "viewer": ("executions:read",),
    "member": ("executions:read", "executions:write", "webhooks:write", "quarantine:write"),
    "admin": ("admin",),
}
"""The scopes of each role on the pages."""
USER_PREFIX = "user_"
"""The beginning of the id of a person in the audit log."""
MAX_TEXT = 200
"""Characters of a name and of an e-mail address."""


@dataclass(frozen=True)
class RoleMapping:
    """Which values of a claim give which role; its text is that of the setting."""

    text: str = ""
    values: Mapping[Role, frozenset[str]] | None = None

    def __str__(self) -> str:
        return self.text

    def role(self, claims: Mapping[str, Any], claim: str) -> Role | None:
        """Return the highest role that a claim gives; None if it gives none.

        ``claim`` is the name of a claim, or names separated by dots that lead to it. An e-mail address counts
        only if the provider has verified it.
        """
        if claim == "email" and claims.get("email_verified") is not True:
            return None
        found = set(_texts(_find(claims, claim)))
        values = self.values or {}
        return next((role for role in reversed(ROLES) if found & values.get(role, frozenset())), None)


@dataclass(frozen=True, kw_only=True)
class Person:
    """A person who logged in. ``subject`` identifies the person at ``issuer``."""

    issuer: str
    subject: str
    name: str
    email: str
    role: Role

    @property
    def id(self) -> str:
        """The id in the audit log: the same in each login."""
        digest = hashlib.sha256(f"{self.issuer}\0{self.subject}".encode("utf-8", "replace")).hexdigest()
        return f"{USER_PREFIX}{digest[:24]}"

    @property
    def shown_name(self) -> str:
        """The name with the e-mail address."""
        if not self.name or self.name == self.email:
            return self.email or self.subject
        return f"{self.name} <{self.email}>" if self.email else self.name


def access_of(user_id: str, name: str, role: str, created_at: int, expires_at: int) -> ApiToken:
    """Return what a person may do from a login to its end, in the form in which pages check it.

    Times are milliseconds since 1970.
    """
    return ApiToken(
        id=user_id,
        name=name,
        scopes=SCOPES.get(cast("Role", role), ()),
        created_at=created_at,
        expires_at=expires_at,
    )


def parse_roles(text: str) -> RoleMapping:
    """Return the mapping of a setting such as ``viewer=staff, member=developers, admin=tms-admins``.

    A role may be named several times.

    Raises:
        ValueError: The text is not such a list. The message says what to write.
    """
    values: dict[Role, set[str]] = {}
    for word in text.split(","):
        role, is_pair, value = (part.strip() for part in word.partition("="))
        if not word.strip():
            continue
        if role not in ROLES or not is_pair or not value:
            raise ValueError(
                f"{word.strip()!r} is not a role with a value: use viewer=VALUE, member=VALUE and "
                "admin=VALUE, separated by commas"
            )
        values.setdefault(role, set()).add(value)
    if not values:
        raise ValueError("there is no role: use viewer=VALUE, member=VALUE and admin=VALUE")
    return RoleMapping(text, {role: frozenset(found) for role, found in values.items()})


def person_of(issuer: str, claims: Mapping[str, Any], role: Role) -> Person:
    """Return the person of an ID token whose claims are verified."""
    email = _plain(claims.get("email")) if claims.get("email_verified") is not False else ""
    name = _plain(claims.get("name")) or _plain(claims.get("preferred_username"))
    return Person(issuer=issuer, subject=_plain(claims["sub"]), name=name, email=email, role=role)


def _find(claims: Mapping[str, Any], name: str) -> object:
    """Return a claim by its name, which may have dots itself, or by the names that lead to it."""
    if name in claims:
        return claims[name]
    value: object = claims
    for part in name.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _texts(value: object) -> Iterator[str]:
    for each in value if isinstance(value, list) else [value]:
        if isinstance(each, (str, int)) and not isinstance(each, bool):
            yield str(each)


def _plain(value: object) -> str:
    """Return a text on one line, empty for any other value."""
    text = value if isinstance(value, str) else ""
    return "".join(each if each.isprintable() else " " for each in text).strip()[:MAX_TEXT]
