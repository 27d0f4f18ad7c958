"""`tms webhook`."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import IO, Any

import click

from pytest_tms import signing
from pytest_tms.cli.options import Group, connect, json_option, url_option

LARGEST_BODY = 1024 * 1024
"""Bytes of the largest delivery that `listen` reads."""


@click.group(cls=Group)
def webhook() -> None:
    """Webhooks: register, check, replay, and receive them.

    The API token comes from TMS_API_TOKEN or TMS_API_TOKEN_FILE, a webhook's secret from TMS_WEBHOOK_SECRET.
    """


@webhook.command()
@click.argument("endpoint")
@click.option("--event", "events", multiple=True, help="What to hear of; repeatable. All by default.")
@click.option("--suite", "suites", multiple=True, help="Only these test suites; repeatable.")
@click.option("--environment", "environments", multiple=True, help="Only these environments; repeatable.")
@url_option
@json_option
def create(
    endpoint: str,
    events: tuple[str, ...],
    suites: tuple[str, ...],
    environments: tuple[str, ...],
    url: str,
    as_json: bool,
) -> None:
    """Register ENDPOINT. The secret is TMS_WEBHOOK_SECRET, or a new one that is shown this once."""
    from typing import get_args

    import msgspec

    from pytest_tms import wire

    known = get_args(wire.EventName)
    for event in events:
        if event not in known:
            raise click.BadParameter(f"{event!r} is none of {', '.join(known)}", param_hint="--event")
    request = wire.WebhookRequest(
        url=endpoint,
        events=msgspec.convert(events or known, list[wire.EventName]),
        secret=os.environ.get("TMS_WEBHOOK_SECRET") or None,
        filters=wire.WebhookFilters(test_suites=list(suites), environments=list(environments)),
    )
    with connect(url) as client:
        made = client.create_webhook(request)
    if as_json:
        click.echo(msgspec.json.encode(made).decode())
        return
    click.echo(made.webhook_id)
    if made.secret:
        click.echo(f"secret {made.secret}  (shown this once, keep it for the receiver)")


@webhook.command("list")
@url_option
@json_option
def list_webhooks(url: str, as_json: bool) -> None:
    """Show the webhooks and how they fare."""
    import msgspec

    with connect(url) as client:
        found = client.list_webhooks()
    if as_json:
        click.echo(msgspec.json.encode(found).decode())
        return
    for each in found:
        trouble = f"  {each.reason}" if each.reason else ""
        if each.failing_since and not trouble:
            trouble = f"  failing since {each.failing_since}"
        click.echo(f"{each.webhook_id}  {each.status}  {each.url}{trouble}")


@webhook.command()
@click.argument("webhook_id")
@url_option
@json_option
def validate(webhook_id: str, url: str, as_json: bool) -> None:
    """Have a signed test payload sent; the exit status is 1 where the endpoint did not take it."""
    import msgspec

    with connect(url) as client:
        found = client.validate_webhook(webhook_id)
    if as_json:
        click.echo(msgspec.json.encode(found).decode())
    else:
        why = f": {found.reason}" if found.reason else ""
        click.echo(f"{found.status}: {found.response_code} in {found.response_time} ms{why}")
    if found.status != "valid":
        sys.exit(1)


@webhook.command()
@click.argument("webhook_id")
@click.option("--delivery", metavar="ID", help="Send this one, whatever its end. All that failed by default.")
@url_option
@json_option
def replay(webhook_id: str, delivery: str | None, url: str, as_json: bool) -> None:
    """Send deliveries again; each keeps its webhook-id."""
    with connect(url) as client:
        number = client.replay_deliveries(webhook_id, delivery)
    click.echo(json.dumps({"deliveries": number}) if as_json else f"{number} deliveries are sent again")


@webhook.command()
@click.option("--port", type=click.IntRange(0, 65535), default=8766, help="The port (8766); 0 is any.")
@click.option("--status", type=click.IntRange(200, 599), default=200, help="What to answer (200).")
@click.option("--delay", type=click.FloatRange(0), default=0.0, help="Seconds to wait before the answer.")
@json_option
def listen(port: int, status: int, delay: float, as_json: bool) -> None:
    """Receive webhooks on this machine: print each, check its signature, and answer as told.

    Signatures are checked with TMS_WEBHOOK_SECRET; what fails is answered with 401. The TMS
    sends here where its operator set TMS_SERVER_ALLOW_INSECURE_WEBHOOKS=1.
    """
    secret = os.environ.get("TMS_WEBHOOK_SECRET", "")
    if secret:
        signing.key(secret)
    with ThreadingHTTPServer(("127.0.0.1", port), _receiver(secret, status, delay, as_json)) as server:
        click.echo(f"listening on http://127.0.0.1:{server.server_port}/", err=as_json)
        if not secret:
            click.echo("signatures are not checked: set TMS_WEBHOOK_SECRET", err=True)
        server.serve_forever()


@webhook.command()
@click.argument("body", type=click.File("rb"))
@click.option("--id", "message_id", required=True, help="The header webhook-id.")
@click.option("--timestamp", required=True, help="The header webhook-timestamp.")
@click.option("--signature", required=True, help="The header webhook-signature.")
@click.option("--tolerance", type=float, default=signing.TOLERANCE, help="Seconds that it may be old (300).")
def verify(body: IO[bytes], message_id: str, timestamp: str, signature: str, tolerance: float) -> None:
    """Check a delivery that was kept: BODY is a file, or - for stdin. The exit status is 1 for a bad one."""
    secret = os.environ.get("TMS_WEBHOOK_SECRET", "")
    if not secret:
        raise click.UsageError("there is no secret: set TMS_WEBHOOK_SECRET")
    headers = {
        "webhook-id": message_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": signature,
    }
    try:
        signing.verify(secret, headers, body.read(), tolerance=tolerance)
    except signing.InvalidSignature as error:
        raise click.ClickException(str(error)) from None
    click.echo("valid")


def _receiver(secret: str, status: int, delay: float, as_json: bool) -> Callable[..., BaseHTTPRequestHandler]:
    class Receiver(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            length = self.headers.get("Content-Length", "0")
            if not length.isdecimal() or int(length) > LARGEST_BODY:
                self.close_connection = True
                self._answer(413)
                return
            body = self.rfile.read(int(length))
            signed = "not checked"
            if secret:
                try:
                    signing.verify(secret, dict(self.headers), body)
                    signed = "valid"
                except signing.InvalidSignature as error:
                    signed = str(error)
            _show(self.headers.get("webhook-id", ""), signed, body, as_json)
            time.sleep(delay)
            self._answer(status if signed in ("valid", "not checked") else 401)

        def _answer(self, code: int) -> None:
            self.send_response(code)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """What there is to say was said."""

    return Receiver


def _show(message_id: str, signed: str, body: bytes, as_json: bool) -> None:
    """One line for a delivery; what a stranger sent is written as JSON, which has no control characters."""
    try:
        payload: Any = json.loads(body)
    except ValueError:
        payload = body.decode("utf-8", "replace")
    if as_json:
        click.echo(json.dumps({"id": message_id, "signature": signed, "payload": payload}))
        return
    event = payload.get("event") if isinstance(payload, dict) else None
    click.echo(f"{json.dumps(event)} {json.dumps(message_id)} signature {signed}  {json.dumps(payload)}")
