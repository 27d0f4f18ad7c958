"""Signatures of webhooks, by Standard Webhooks (https://www.standardwebhooks.com).

A receiver needs one call, before it looks at the body:

from pytest_tms import signing

signing.verify(secret, request.headers, request.body)

The signature is HMAC-SHA256 over ``id.timestamp.body``. A secret that begins with ``whsec_`` is base64 by
that standard; any other is used as its UTF-8 bytes.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import time
from collections.abc import Mapping, Sequence

PREFIX = "whsec_"
TOLERANCE = 300
"""Seconds by which a delivery's timestamp may differ from the receiver's clock."""


class InvalidSignature(Exception):
    """A delivery that must not be believed: forged, changed on the way, too old, or not signed at all."""


def verify(
    secret: str | Sequence[str],
    headers: Mapping[str, str],
    body: bytes | str,
    *,
    tolerance: float = TOLERANCE,
    now: float | None = None,
) -> str:
    """Check one delivery, and answer its ``webhook-id``, by which a receiver knows a repeated one.

    ``body`` is the body as it arrived, byte for byte. ``headers`` may have names in any case. Several secrets
    may be given while one replaces another. ``tolerance`` are seconds that ``webhook-timestamp`` may
    be away from ``now`` (seconds since 1970, the clock where None), so that a captured delivery
    cannot be sent again later. Raises InvalidSignature; ValueError where a secret is malformed.
    """
    named = {name.lower(): value for name, value in headers.items()}
    try:
        message_id, sent, signatures = (named[f"webhook-{name}"] for name in ("id", "timestamp", "signature"))
    except KeyError as missing:
        raise InvalidSignature(f"the delivery has no header {missing.args[0]}") from None
    if not (sent.isascii() and sent.isdigit() and len(sent) < 16):
        raise InvalidSignature("webhook-timestamp is no number of seconds")
    if abs((time.time() if now is None else now) - int(sent)) > tolerance:
        raise InvalidSignature(f"webhook-timestamp is more than {tolerance:.0f} s away from this clock")
    content = body.encode() if isinstance(body, str) else body
    secrets = [secret] if isinstance(secret, str) else secret
    wanted = [_signature(each, message_id, sent, content).encode() for each in secrets]
    given = [each.encode("utf-8", "replace") for each in signatures.split()]
    if not any(hmac.compare_digest(one, other) for one in wanted for other in given):
        raise InvalidSignature("the signature is not that of the secret, the headers and the body")
    return message_id


def sign(secrets: Sequence[str], message_id: str, sent: int, body: bytes) -> dict[str, str]:
    """The three headers of a delivery, with a signature for each secret; ``sent`` is seconds since 1970."""
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(sent),
        "webhook-signature": " ".join(_signature(secret, message_id, str(sent), body) for secret in secrets),
    }


def key(secret: str) -> bytes:
    """The bytes that a secret stands for. Raises ValueError where it begins with whsec_ and is no base64."""
    if not secret.startswith(PREFIX):
        return secret.encode()
    try:
        found = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        found = b""
    if not found:
        raise ValueError(f"Must be base64 after {PREFIX}")
    return found


def _signature(secret: str, message_id: str, sent: str, body: bytes) -> str:
    content = f"{message_id}.{sent}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(key(secret), content, hashlib.sha256).digest()).decode()
