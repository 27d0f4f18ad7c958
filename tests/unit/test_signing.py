"""Signatures, held against the reference implementation in both directions."""

from __future__ import annotations

import base64
import time
from datetime import datetime, timezone
from pathlib import Path

import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from pytest_tms import signing
from tests.helpers.processes import run_tms

SECRETS = ["whsec_" + base64.b64encode(b"0123456789abcdef0123456789").decode(), "webhook_secret_key", "ünï☃"]
BODY = '{"event": "execution.started", "☃": 1}'.encode()


def reference(secret: str) -> Webhook:
    return Webhook(secret if secret.startswith("whsec_") else secret.encode())


@pytest.mark.parametrize("secret", SECRETS)
def test_the_reference_believes_ours(secret: str) -> None:
    headers = signing.sign([secret], "msg_1", int(time.time()), BODY)
    assert reference(secret).verify(BODY, headers)["event"] == "execution.started"
    with pytest.raises(WebhookVerificationError):
        reference(secret).verify(BODY + b" ", headers)


@pytest.mark.parametrize("secret", SECRETS)
def test_we_believe_the_reference(secret: str) -> None:
    now = datetime.now(timezone.utc)
    signature = reference(secret).sign("msg_1", now, BODY.decode())
    headers = {
        "Webhook-Id": "msg_1",
        "Webhook-Timestamp": str(int(now.timestamp())),
        "Webhook-Signature": f"v1a,other {signature}",
    }
    assert signing.verify(secret, headers, BODY) == "msg_1"
    assert signing.verify(["another", secret], headers, BODY.decode()) == "msg_1"


@pytest.mark.parametrize(
    "change",
    [
        {"webhook-id": "msg_2"},
        {"webhook-timestamp": "{later}"},
        {"webhook-timestamp": "now"},
        {"webhook-timestamp": "٣"},
        {"webhook-timestamp": "9" * 400},
        {"webhook-signature": ""},
        {"webhook-signature": "v1,"},
        {"webhook-signature": "v1,☃"},
        {"webhook-signature": "v2,{signature}"},
    ],
    ids=str,
)
def test_a_forgery_is_not_believed(change: dict[str, str]) -> None:
    headers = signing.sign(["secret"], "msg_1", int(time.time()) - 9, BODY)
    signing.verify("secret", headers, BODY)
    bare = headers["webhook-signature"].removeprefix("v1,")
    known = {"{signature}": bare, "{later}": str(int(time.time()) + 1)}
    forged = headers | change
    for placeholder, text in known.items():
        forged = {name: value.replace(placeholder, text) for name, value in forged.items()}
    with pytest.raises(signing.InvalidSignature):
        signing.verify("secret", forged, BODY)


def test_another_secret_another_body_and_missing_headers_are_not_believed() -> None:
    headers = signing.sign(["secret"], "msg_1", int(time.time()), BODY)
    for secret, body in (("other", BODY), ("secret", BODY[:-1])):
        with pytest.raises(signing.InvalidSignature):
            signing.verify(secret, headers, body)
    for name in headers:
        with pytest.raises(signing.InvalidSignature, match=name):
            signing.verify("secret", {k: v for k, v in headers.items() if k != name}, BODY)


@pytest.mark.parametrize("away", [-301, 301])
def test_a_delivery_is_believed_for_five_minutes(away: int) -> None:
    headers = signing.sign(["secret"], "msg_1", 1_000_000, BODY)
    signing.verify("secret", headers, BODY, now=1_000_000 + away // 2)
    with pytest.raises(signing.InvalidSignature, match="300 s"):
        signing.verify("secret", headers, BODY, now=1_000_000 + away)


def test_the_command_verifies_what_was_kept(tmp_path: Path) -> None:
    body = tmp_path / "body.json"
    body.write_bytes(BODY)
    headers = signing.sign(["secret"], "msg_1", int(time.time()), BODY)
    options = [f"--{name.removeprefix('webhook-')}={value}" for name, value in headers.items()]
    completed = run_tms("webhook", "verify", str(body), *options, TMS_WEBHOOK_SECRET="secret")
    assert (completed.returncode, completed.stdout) == (0, "valid\n")
    completed = run_tms("webhook", "verify", str(body), *options, TMS_WEBHOOK_SECRET="other")
    assert completed.returncode == 1
    assert completed.stderr.startswith("tms: the signature does not match")
