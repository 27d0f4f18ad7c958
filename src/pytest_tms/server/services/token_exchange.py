"""Exchange of a CI job's ID token for an API token that is valid for hours."""

from __future__ import annotations

from collections.abc import Mapping

from pytest_tms.errors import Forbidden, Unauthorized
from pytest_tms.server.domain import api_tokens, clock
from pytest_tms.server.domain.actors import Actor
from pytest_tms.server.domain.api_tokens import ApiToken
from pytest_tms.server.domain.trusted_issuers import TrustedIssuers, describe_mismatches
from pytest_tms.server.services.openid import OpenIdProvider, unverified_issuer
from pytest_tms.server.store import audit, tokens
from pytest_tms.server.store.database import Database

MAX_NAME = 200
"""Characters of the subject that name the token."""
SETTING = "The operator of the server decides this with TMS_SERVER_TRUSTED_ISSUERS."


class TokenExchange:
    """Exchanges ID tokens by the rules of the operator."""

    def __init__(self, trusted: TrustedIssuers) -> None:
        self._trusted = trusted
        self._providers: Mapping[str, OpenIdProvider] = {
            issuer: OpenIdProvider(issuer) for issuer in trusted.issuers
        }

    @property
    def is_configured(self) -> bool:
        """Whether any issuer is trusted."""
        return bool(self._providers)

    def exchange(self, database: Database, actor: Actor, id_token: str) -> tuple[ApiToken, str]:
        """Create an API token for the job of an ID token, and return it with its text.

        Its name is the subject of the ID token. It has the permissions of the first rule that matches.

        Raises:
            Unauthorized: The ID token is not valid, or not of a trusted issuer.
            Forbidden: No rule matches; the message names the claims.
            ServiceUnavailable: The issuer cannot be reached.
        """
        if not self.is_configured:
            raise Unauthorized(
                "This server accepts no ID tokens of CI jobs: send an API token.", hint=SETTING
            )
        issuer = unverified_issuer(id_token)
        provider = self._providers.get(issuer)
        if provider is None:
            raise Unauthorized(f"The issuer {issuer[:200]!r} of the ID token is not trusted.", hint=SETTING)
        rules = self._trusted.of(issuer)
        audiences = dict.fromkeys(audience for rule in rules for audience in rule.audiences)
        claims = provider.verify(id_token, audiences)
        rule = next((each for each in rules if not each.mismatches(claims)), None)
        subject = _printable(str(claims["sub"]))
        if rule is None:
            raise Forbidden(
                f"No rule for {issuer} matches the ID token of {subject!r}: "
                f"{describe_mismatches(rules, claims)} of the closest rule does not match.",
                hint=SETTING,
            )
        now = clock.now()
        token, text = api_tokens.new_token(subject, now, rule.scopes, now + rule.validity, rule.environments)
        with database.write() as connection:
            tokens.add(connection, token, api_tokens.hash_token(text), is_of_job=True)
            audit.add(connection, actor, audit.TOKEN_EXCHANGED, token.id, now, issuer=issuer, subject=subject)
        return token, text


def _printable(text: str) -> str:
    return "".join(each if each.isprintable() else "?" for each in text)[:MAX_NAME]
