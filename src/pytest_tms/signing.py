"""Sign and verify webhook deliveries by the Standard Webhooks specification (https://www.standardwebhooks.com).

A receiver makes one call before it parses the body:

from pytest_tms import signing

signing.verify(secret, request.headers, request.body)

The signature is an HMAC-SHA256 of ``id.timestamp.body``. A secret that begins with ``whsec_`` is base64, as
the specification has it; any other secret is used as UTF-8 bytes.
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
"""Seconds by which the timestamp of a delivery may differ from the receiver's clock, by default."""


class InvalidSignature(Exception):
    """The delivery must be rejected: it is forged, modified, too old, or not signed."""


def verify(
    secret: str | Sequence[str],
    headers: Mapping[str, str],
    body: bytes | str,
    *,
    tolerance: float = TOLERANCE,
    now: float | None = None,
) -> str:
    """Verify a delivery and return its ``webhook-id``, which is the same when a delivery is repeated.

    Args:
        secret: the secret of the webhook, or several while one replaces another.
        headers: the headers of the request, with names in any case.
        body: the body exactly as received.
        tolerance: seconds by which ``webhook-timestamp`` may differ from ``now``, so that a captured
            delivery cannot be sent again later.
        now: the time in seconds since 1970; None for the clock.

    Raises:
        InvalidSignature: the delivery must be rejected.
        ValueError: a secret is malformed.
    """
    named = {name.lower(): value for name, value in headers.items()}
    try:
        message_id, sent, signatures = (named[f"webhook-{name}"] for name in ("id", "timestamp", "signature"))
    except KeyError as missing:
        raise InvalidSignature(f"the delivery has no {missing.args[0]} header") from None
    if not (sent.isascii() and sent.isdigit() and len(sent) < 16):
        raise InvalidSignature("webhook-timestamp is not a number of seconds")
    if abs((time.time() if now is None else now) - int(sent)) > tolerance:
        raise InvalidSignature(f"webhook-timestamp differs from the clock by more than {tolerance:.0f} s")
    content = body.encode() if isinstance(body, str) else body
    secrets = [secret] if isinstance(secret, str) else secret
    wanted = [_signature(each, message_id, sent, content).encode() for each in secrets]
    received = [each.encode("utf-8", "replace") for each in signatures.split()]
    if not any(hmac.compare_digest(one, other) for one in wanted for other in received):
        raise InvalidSignature("the signature does not match the secret, the headers and the body")
    return message_id


def sign(secrets: Sequence[str], message_id: str, sent: int, body: bytes) -> dict[str, str]:
    """Return the three headers of a delivery that is sent at ``sent``, in seconds since 1970.

    They contain a signature for each of ``secrets``.
    """
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(sent),
        "webhook-signature": " ".join(_signature(secret, message_id, str(sent), body) for secret in secrets),
    }


def key(secret: str) -> bytes:
    """Return the bytes of a secret.

    Raises:
        ValueError: it begins with ``whsec_`` and the rest is not base64.
    """
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
