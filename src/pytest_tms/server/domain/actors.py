"""Actors: the entry of the audit log about who made a change, and the authenticated caller of a request."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from pytest_tms.errors import Forbidden
from pytest_tms.server.domain.api_tokens import ApiToken


@dataclass(frozen=True, kw_only=True)
class Actor:
    """The author of a change.

    ``id`` is the id of an API token or of a person who logged in, the id of an execution that used its own
    token, or ``command``, ``server`` or ``anyone``. ``name`` is the name of the token, of the person, or of
    the user who runs a command. An actor
    behind a request also has its ``request_id`` and ``address``.
    """

    id: str
    name: str = ""
    request_id: str = ""
    address: str = ""


@dataclass(frozen=True, kw_only=True)
class Caller(Actor):
    """The sender of a request; ``token`` is None for an execution's own token and before authentication."""

    token: ApiToken | None = None

    def with_token(self, token: ApiToken) -> Caller:
        """Return the caller authenticated by ``token``."""
        return replace(self, id=token.id, name=token.name, token=token)

    def has_access_to(self, environments: Collection[str] | None) -> bool:
        """Return whether the caller has access to these environments; None or none means all of them."""
        return self.token is None or self.token.has_access_to(environments)

    def require_access(self, environments: Collection[str] | None) -> None:
        """Check the access to these environments; None or none means all of them.

        Raises:
            Forbidden: The token is bound to other environments.
        """
        if self.token is not None and not self.has_access_to(environments):
            bound = ", ".join(self.token.environments)
            raise Forbidden(
                f"The token {self.id} is bound to {bound}: use a token with access to this environment."
            )
