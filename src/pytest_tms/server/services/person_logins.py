"""Logins of people at an OpenID provider: authorization code flow with PKCE, state and nonce.

What the callback needs of the start is in an encrypted cookie of the browser, so that nothing is stored for
a login that does not end, and another replica can handle the callback.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from pytest_tms.errors import Forbidden, ServiceUnavailable, Unauthorized
from pytest_tms.server.domain import clock
from pytest_tms.server.domain.people import Person, person_of
from pytest_tms.server.services.openid import Metadata, OpenIdProvider, exchange
from pytest_tms.server.settings import ServerSettings
from pytest_tms.server.webhooks.encryption import SecretEncryption

CALLBACK = "/login/callback"
"""The path to which the provider sends the browser back."""
MAX_DURATION = 600
"""Seconds from the start of a login to its callback, at most."""
MAX_PARAMETER = 4096
"""Characters of the longest parameter of a callback."""
AGAIN = "Log in again."


class _Started(msgspec.Struct, frozen=True):
    """A started login, valid until a time in milliseconds; ``kind`` distinguishes it from other secrets."""

    kind: str
    state: str
    nonce: str
    verifier: str
    to: str
    until: int


class _TokenResponse(msgspec.Struct, frozen=True):
    id_token: str


class LoginStart(NamedTuple):
    """Where to send the browser, and the value of the cookie that the callback needs."""

    url: str
    cookie: str


class PersonLogins:
    """Starts and ends logins at the provider of the settings."""

    def __init__(self, settings: ServerSettings, encryption: SecretEncryption) -> None:
        self._settings = settings
        self._encryption = encryption
        self._provider = OpenIdProvider(settings.oidc_issuer)

    @property
    def is_configured(self) -> bool:
        """Whether there is a provider."""
        return bool(self._settings.oidc_issuer)

    def start(self, to: str) -> LoginStart:
        """Start a login, after which the browser is sent to the path ``to``.

        Raises:
            ServiceUnavailable: The provider cannot be reached.
        """
        metadata = self._metadata()
        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=")
        parameters = {
            "response_type": "code",
            "client_id": self._settings.oidc_client_id,
            "redirect_uri": self._redirect_uri,
            "scope": self._settings.oidc_scopes,
            "state": state,
            "nonce": nonce,
            "code_challenge": challenge.decode(),
            "code_challenge_method": "S256",
        }
        started = _Started("login", state, nonce, verifier, to, clock.now() + 1000 * MAX_DURATION)
        separator = "&" if urlsplit(metadata.authorization_endpoint).query else "?"
        return LoginStart(
            f"{metadata.authorization_endpoint}{separator}{urlencode(parameters)}",
            self._encryption.encrypt(msgspec.json.encode(started).decode()),
        )

    def finish(self, parameters: Mapping[str, str], cookie: str) -> tuple[Person, str]:
        """Return the person of a callback with these query parameters, and the path to open.

        Raises:
            Unauthorized: The login is not valid, or the provider refused it; the message is for the person.
            Forbidden: The person has no role.
            ServiceUnavailable: The provider cannot be reached.
        """
        started = self._started(cookie)
        if not hmac.compare_digest(parameters.get("state", "").encode(), started.state.encode()):
            raise Unauthorized(f"This response belongs to another login. {AGAIN}")
        if parameters.get("iss", self._settings.oidc_issuer) != self._settings.oidc_issuer:
            raise Unauthorized(f"This response is from another provider. {AGAIN}")
        if error := parameters.get("error", ""):
            raise Unauthorized(f"The provider refused the login ({_shown(error)}). {AGAIN}")
        code = parameters.get("code", "")
        if not code or len(code) > MAX_PARAMETER:
            raise Unauthorized(f"The provider sent no code. {AGAIN}")
        claims = self._provider.verify(
            self._id_token(self._metadata(), code, started.verifier), [self._settings.oidc_client_id]
        )
        if not hmac.compare_digest(
            str(claims.get("nonce", "")).encode("utf-8", "replace"), started.nonce.encode()
        ):
            raise Unauthorized(f"The ID token is of another login. {AGAIN}")
        if claims.get("azp", self._settings.oidc_client_id) != self._settings.oidc_client_id:
            raise Unauthorized("The ID token is for another client of the provider.")
        claim = self._settings.oidc_roles_claim
        role = self._settings.oidc_roles.role(claims, claim)
        if role is None:
            who = person_of(self._provider.issuer, claims, "viewer").shown_name
            raise Forbidden(
                f"{who} has no role here: no value of the claim {claim} of the ID token gives one. "
                "Ask the operator of this server for a role."
            )
        return person_of(self._provider.issuer, claims, role), started.to

    @property
    def _redirect_uri(self) -> str:
        return f"{self._settings.public_url}{CALLBACK}"

    def _metadata(self) -> Metadata:
        metadata = self._provider.metadata()
        if not metadata.authorization_endpoint or not metadata.token_endpoint:
            raise self._unavailable("its configuration has no endpoints for logins")
        return metadata

    def _started(self, cookie: str) -> _Started:
        try:
            text = self._encryption.decrypt(cookie)
            started = msgspec.json.decode(text, type=_Started)
            is_valid = started.kind == "login" and clock.now() < started.until
        except (ValueError, msgspec.MsgspecError):
            is_valid = False
        if not is_valid:
            raise Unauthorized(
                f"The login took more than {MAX_DURATION // 60} minutes, or began in another browser. {AGAIN}"
            )
        return started

    def _id_token(self, metadata: Metadata, code: str, verifier: str) -> str:
        """Return the ID token for a code.

        Raises:
            Unauthorized: The provider does not accept the code.
            ServiceUnavailable: The response is not valid, or the provider refuses this server.
        """
        client_id, secret = self._settings.oidc_client_id, self._secret()
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._redirect_uri,
            "code_verifier": verifier,
        }
        headers = {"Accept": "application/json"}
        if secret and "client_secret_basic" in metadata.token_endpoint_auth_methods_supported:
            pair = f"{quote(client_id, safe='')}:{quote(secret, safe='')}"
            headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        else:
            form |= {"client_id": client_id, **({"client_secret": secret} if secret else {})}
        response, content = exchange(
            "POST", metadata.token_endpoint, self._unavailable, data=form, headers=headers
        )
        if response.status_code == 401 or b'"invalid_client"' in content:
            raise self._unavailable(
                "it does not accept this server: check TMS_SERVER_OIDC_CLIENT_ID and the client secret"
            )
        if response.status_code == 400:
            raise Unauthorized(f"The provider does not accept the code of this login. {AGAIN}")
        if response.status_code != 200:
            raise self._unavailable(f"its token endpoint has the status {response.status_code}")
        try:
            return msgspec.json.decode(content, type=_TokenResponse).id_token
        except msgspec.MsgspecError:
            raise self._unavailable("the response of its token endpoint has no ID token") from None

    def _secret(self) -> str:
        try:
            return self._settings.oidc_secret()
        except ValueError as error:
            raise self._unavailable(str(error)) from None

    def _unavailable(self, reason: str) -> ServiceUnavailable:
        return ServiceUnavailable(f"The OpenID provider {self._provider.issuer} cannot be used: {reason}.")


def _shown(text: str) -> str:
    return "".join(each for each in text[:100] if each.isalnum() or each in "_-. ")
