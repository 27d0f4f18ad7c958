"""OpenID providers: discovery, signing keys with rotation, and complete verification of their ID tokens.

Nothing of a token is used to decide which address is requested: the operator configures the issuers.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec

from pytest_tms.errors import ServiceUnavailable, Unauthorized
from pytest_tms.server.domain.hosts import is_loopback

if TYPE_CHECKING:
    import requests

LOG = logging.getLogger("pytest_tms.server")
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""The signatures that are accepted: asymmetric ones only, so that no public key serves as a shared secret."""
LEEWAY = 60
"""Seconds by which the clock of an issuer may differ."""
MAX_TOKEN = 16_384
"""Characters of the longest ID token."""
MAX_DOCUMENT = 1 << 20
"""Bytes of the largest document of an issuer."""
MAX_KEYS = 100
"""Keys of an issuer that are read."""
CONNECT_TIMEOUT = 3.0
"""Seconds for the connection to an issuer."""
READ_TIMEOUT = 5.0
"""Seconds between two parts of its response."""
EXCHANGE_TIMEOUT = 10.0
"""Seconds for its complete response."""
LIFETIME = 3600.0
"""Seconds after which its documents are read again."""
MAX_LIFETIME = 24 * 3600.0
"""Seconds for which known keys are used while it cannot be reached."""
KEY_INTERVAL = 30.0
"""Seconds between two requests for its keys, at least, however many tokens have unknown ones."""
FAILURE_INTERVAL = 5.0
"""Seconds after a failure in which it is not requested again."""


class Metadata(msgspec.Struct, frozen=True):
    """What is used of the document of an issuer (OpenID Connect Discovery 1.0, section 3)."""

    issuer: str
    jwks_uri: str
    authorization_endpoint: str = ""
    token_endpoint: str = ""
    end_session_endpoint: str = ""
    token_endpoint_auth_methods_supported: tuple[str, ...] = ("client_secret_basic",)


@dataclass
class _Documents:
    """The documents of an issuer, and when each was read: seconds of the monotonic clock."""

    metadata: Metadata
    metadata_at: float
    keys: Mapping[str, Mapping[str, Any]]
    keys_at: float


class OpenIdProvider:
    """One issuer. Methods may be called by several threads; one of them requests its documents.

    Methods raise ServiceUnavailable if the issuer cannot be reached or has no valid documents.
    """

    def __init__(self, issuer: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.issuer = issuer
        self._clock = clock
        self._lock = threading.Lock()
        self._documents: _Documents | None = None
        self._failed_until = float("-inf")
        self._failure = ""

    def metadata(self) -> Metadata:
        """Return the document of the issuer, at most ``LIFETIME`` seconds old unless it cannot be reached."""
        return self._current(lambda documents: self._clock() - documents.metadata_at < LIFETIME).metadata

    def verify(self, token: str, audiences: Collection[str]) -> dict[str, Any]:
        """Return the claims of an ID token of this issuer for one of ``audiences``.

        Its signature, issuer, audience, times and subject are checked. A token for further audiences is
        refused: one of these could have sent it.

        Raises:
            Unauthorized: The token is not valid; the message says why.
        """
        import jwt

        try:
            header = jwt.get_unverified_header(_limited(token))
            algorithm, key_id = header.get("alg"), header.get("kid")
            if algorithm not in ALGORITHMS:
                raise Unauthorized(
                    f"The ID token is signed with {str(algorithm)[:20]!r}, which is not accepted."
                )
            if "crit" in header:  # older versions of PyJWT ignore it
                raise Unauthorized("The ID token has a critical extension, which is not supported.")
            if not isinstance(key_id, str) or not key_id:
                raise Unauthorized("The ID token does not name its key (kid).")
            key = self._key(key_id)
            if key is None or key.get("alg", algorithm) != algorithm:
                raise Unauthorized(f"The ID token is signed with a key that {self.issuer} does not have.")
            claims: dict[str, Any] = jwt.decode(
                token,
                jwt.PyJWK(dict(key), algorithm),
                algorithms=[algorithm],
                audience=list(audiences),
                issuer=self.issuer,
                leeway=LEEWAY,
                options={"require": ["exp", "iat", "iss", "aud", "sub"]},
            )
        except jwt.InvalidAudienceError:
            raise Unauthorized(
                f"The ID token is for another audience: request one for {' or '.join(audiences)}."
            ) from None
        except jwt.ExpiredSignatureError:
            raise Unauthorized("The ID token has expired.") from None
        except (jwt.PyJWTError, ValueError, TypeError, ArithmeticError, RecursionError) as error:
            raise Unauthorized(f"The ID token is not valid: {_reason(error)}.") from None
        audience = claims["aud"]
        if isinstance(audience, list) and not set(audience) <= set(audiences):
            raise Unauthorized("The ID token is for further audiences: request one for this server alone.")
        return claims

    def _key(self, key_id: str) -> Mapping[str, Any] | None:
        """Return a key; those of the issuer are read again if it is unknown, but not for every token."""
        documents = self._current(
            lambda known: (
                (key_id in known.keys and self._clock() - known.keys_at < LIFETIME)
                or self._clock() - known.keys_at < KEY_INTERVAL
            )
        )
        return documents.keys.get(key_id)

    def _current(self, is_current: Callable[[_Documents], bool]) -> _Documents:
        """Return the documents; read them if there are none, or those that are known are not current."""
        known = self._documents
        if known is not None and is_current(known):
            return known
        with self._lock:
            known = self._documents
            if known is not None and is_current(known):
                return known
            if self._clock() >= self._failed_until:
                try:
                    self._documents = known = self._read()
                except ServiceUnavailable as error:
                    self._failed_until = self._clock() + FAILURE_INTERVAL
                    self._failure = error.message
                    LOG.warning("%s", error.message)
                else:
                    return known
        if known is not None and self._clock() - known.keys_at < MAX_LIFETIME:
            return known
        raise ServiceUnavailable(self._failure, retry_after=FAILURE_INTERVAL)

    def _read(self) -> _Documents:
        url = f"{self.issuer.rstrip('/')}/.well-known/openid-configuration"
        try:
            metadata = msgspec.json.decode(self._fetch(url), type=Metadata)
        except msgspec.MsgspecError as error:
            raise self._unavailable(f"{url} is not an OpenID configuration ({error})") from None
        if metadata.issuer != self.issuer:
            raise self._unavailable(f"{url} is the configuration of {metadata.issuer[:200]!r}")
        for name in ("jwks_uri", "authorization_endpoint", "token_endpoint", "end_session_endpoint"):
            if (address := getattr(metadata, name)) and not self._is_safe(address):
                raise self._unavailable(f"its {name} {address[:200]!r} is not an https URL")
        try:
            found = msgspec.json.decode(self._fetch(metadata.jwks_uri))["keys"][:MAX_KEYS]
            keys = {each["kid"]: each for each in found if _is_signing_key(each)}
        except (msgspec.MsgspecError, KeyError, TypeError, AttributeError):
            raise self._unavailable(f"{metadata.jwks_uri} is not a set of keys") from None
        now = self._clock()
        return _Documents(metadata, now, keys, now)

    def _is_safe(self, url: str) -> bool:
        """Return whether a URL is https; an issuer on this machine, for tests, may name others on it."""
        try:
            parts = urlsplit(url)
        except ValueError:
            return False
        is_test = is_loopback(urlsplit(self.issuer).hostname or "") and is_loopback(parts.hostname or "")
        return parts.scheme == "https" or (parts.scheme == "http" and is_test)

    def _fetch(self, url: str) -> bytes:
        """Return a document of the issuer."""
        response, content = exchange("GET", url, lambda reason: self._unavailable(f"{url}: {reason}"))
        if response.status_code != 200:
            raise self._unavailable(f"{url} has the status {response.status_code}")
        return content

    def _unavailable(self, reason: str) -> ServiceUnavailable:
        return ServiceUnavailable(f"The OpenID provider {self.issuer} cannot be used: {reason}.")


def exchange(
    method: str, url: str, unavailable: Callable[[str], ServiceUnavailable], **options: Any
) -> tuple[requests.Response, bytes]:
    """Send a request to a provider, and return its response with the body; redirects are not followed.

    ``options`` are those of ``requests``. Proxies and certificates come from the environment.

    Raises:
        ServiceUnavailable: The provider did not respond in full in time; see ``unavailable``.
    """
    import requests

    deadline = time.monotonic() + EXCHANGE_TIMEOUT
    content = bytearray()
    options.setdefault("auth", lambda request: request)  # without it, requests reads netrc
    try:
        with requests.request(
            method,
            url,
            stream=True,
            allow_redirects=False,
            timeout=(CONNECT_TIMEOUT, READ_TIMEOUT),
            **options,
        ) as response:
            for chunk in response.iter_content(1 << 16):
                content += chunk
                if len(content) > MAX_DOCUMENT:
                    raise unavailable(f"its response has more than {MAX_DOCUMENT:,} bytes")
                if time.monotonic() > deadline:
                    raise unavailable(f"its response took more than {EXCHANGE_TIMEOUT:g} s")
    except (requests.RequestException, ValueError, OSError) as error:
        raise unavailable(_network_reason(error)) from None
    return response, bytes(content)


def _network_reason(error: Exception) -> str:
    """Return why there is no response, without the text of the request."""
    import requests

    from pytest_tms.client.responses import describe_failure

    described = describe_failure(error) if isinstance(error, requests.RequestException) else None
    return described or "the request failed"


def unverified_issuer(token: str) -> str:
    """Return the issuer that a token names, to select the one that verifies it.

    Raises:
        Unauthorized: The text is not an ID token.
    """
    import jwt

    try:
        claims = jwt.decode(_limited(token), options={"verify_signature": False})
    except (jwt.PyJWTError, ValueError, TypeError, ArithmeticError, RecursionError):
        claims = {}
    issuer = claims.get("iss")
    if not isinstance(issuer, str) or not issuer:
        raise Unauthorized("The text is not an ID token: send the JSON Web Token of a CI job.")
    return issuer


def _limited(token: str) -> str:
    if len(token) > MAX_TOKEN:
        raise Unauthorized(f"The ID token has more than {MAX_TOKEN:,} characters.")
    return token


def _is_signing_key(key: Mapping[str, Any]) -> bool:
    return (
        isinstance(key.get("kid"), str)
        and key.get("kty") in ("RSA", "EC", "OKP")
        and key.get("use", "sig") == "sig"
    )


def _reason(error: Exception) -> str:
    """Return what is wrong with a token, from the short messages of the library alone."""
    import jwt

    text = str(error).rstrip(".")
    is_plain = isinstance(error, jwt.PyJWTError) and text.isprintable() and len(text) <= 100
    return text if is_plain else "it is malformed"
