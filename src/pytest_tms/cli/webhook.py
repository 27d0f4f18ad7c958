"""The command group `tms webhook`."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import IO, TYPE_CHECKING, Any

import click

from pytest_tms import signing
from pytest_tms.cli.options import Group, connect, json_option, url_option
from pytest_tms.cli.output import print_json, print_rows

if TYPE_CHECKING:
    from pytest_tms import wire

MAX_BODY_BYTES = 1024 * 1024
"""Bytes of a delivery that `listen` reads."""


@click.group(cls=Group)
def webhook() -> None:
    """Register, check, replay and receive webhooks.

    The API token is read from TMS_API_TOKEN or TMS_API_TOKEN_FILE, the secret of a webhook from
    TMS_WEBHOOK_SECRET.
    """


@webhook.command()
@click.argument("endpoint")
@click.option(
    "--event",
    "events",
    multiple=True,
    help="Send only this event; repeatable. [default: all that the format has]",
)
@click.option(
    "--format",
    "format_name",
    type=click.Choice(["json", "slack", "teams", "discord"]),
    default="json",
    show_default=True,
    help="Payload: the documented JSON of every event, or one chat message at the end of each run.",
)
@click.option(
    "--suite", "suites", multiple=True, help="Send only events of this test suite; repeatable. [default: all]"
)
@click.option(
    "--environment",
    "environments",
    multiple=True,
    help="Send only events of this environment; repeatable. [default: all]",
)
@url_option
@json_option
def create(
    endpoint: str,
    events: tuple[str, ...],
    suites: tuple[str, ...],
    environments: tuple[str, ...],
    format_name: wire.WebhookFormat,
    url: str,
    as_json: bool,
) -> None:
    """Register the URL ENDPOINT as a webhook.

    The secret is TMS_WEBHOOK_SECRET, or a new one, which is shown only once.
    """
    from typing import get_args

    import msgspec

    from pytest_tms import wire

    known = get_args(wire.EventName)
    default = known if format_name == "json" else wire.ENDED_EVENTS
    for event in events:
        if event not in known:
            raise click.BadParameter(
                f"{event!r} is not an event: use one of {', '.join(known)}", param_hint="--event"
            )
    request = wire.WebhookRequest(
        url=endpoint,
        events=msgspec.convert(events or default, list[wire.EventName]),
        secret=os.environ.get("TMS_WEBHOOK_SECRET") or None,
        filters=wire.WebhookFilters(test_suites=list(suites), environments=list(environments)),
        format=None if format_name == "json" else format_name,
    )
    with connect(url) as client:
        created = client.create_webhook(request)
    if as_json:
        print_json(created)
        return
    click.echo(created.webhook_id)
    if created.secret and format_name == "json":  # a chat checks no signature
        click.echo(f"secret {created.secret}  (shown only once; the receiver needs it)")


@webhook.command("list")
@url_option
@json_option
def list_webhooks(url: str, as_json: bool) -> None:
    """List the webhooks with their status."""

    with connect(url) as client:
        found = client.list_webhooks()
    if as_json:
        print_json(found)
        return
    print_rows(
        [
            each.webhook_id,
            each.status,
            each.url,
            each.reason or (f"failing since {each.failing_since}" if each.failing_since else ""),
        ]
        for each in found
    )


@webhook.command()
@click.argument("webhook_id")
@url_option
@json_option
def validate(webhook_id: str, url: str, as_json: bool) -> None:
    """Send a signed test payload. The exit status is 1 if the endpoint did not accept it."""

    with connect(url) as client:
        found = client.validate_webhook(webhook_id)
    if as_json:
        print_json(found)
    else:
        reason = f": {found.reason}" if found.reason else ""
        click.echo(f"{found.status}: {found.response_code} in {found.response_time} ms{reason}")
    if found.status != "valid":
        sys.exit(1)


@webhook.command()
@click.argument("webhook_id")
@click.option(
    "--delivery",
    metavar="ID",
    help="Send this delivery, even if it was delivered. [default: all failed ones]",
)
@url_option
@json_option
def replay(webhook_id: str, delivery: str | None, url: str, as_json: bool) -> None:
    """Send deliveries again. Each keeps its webhook-id."""
    with connect(url) as client:
        number = client.replay_deliveries(webhook_id, delivery)
    if as_json:
        print_json({"deliveries": number})
    else:
        click.echo(f"{number} deliveries are sent again")


@webhook.command()
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8766,
    show_default=True,
    help="Port to listen on; 0 chooses a free one.",
)
@click.option(
    "--status",
    type=click.IntRange(200, 599),
    default=200,
    show_default=True,
    help="Status code of the response to a delivery.",
)
@click.option(
    "--delay", type=click.FloatRange(0), default=0.0, show_default=True, help="Seconds before the response."
)
@json_option
def listen(port: int, status: int, delay: float, as_json: bool) -> None:
    """Receive webhooks on this machine: print each delivery and check its signature.

    Signatures are checked with TMS_WEBHOOK_SECRET; the response to an invalid one is 401. The TMS sends to
    this machine only if its operator has set TMS_SERVER_ALLOW_INSECURE_WEBHOOKS=1.
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
@click.option("--id", "message_id", required=True, help="Value of the header webhook-id.")
@click.option("--timestamp", required=True, help="Value of the header webhook-timestamp.")
@click.option("--signature", required=True, help="Value of the header webhook-signature.")
@click.option(
    "--tolerance",
    type=float,
    default=signing.TOLERANCE,
    show_default=True,
    help="Maximum age of the delivery in seconds.",
)
def verify(body: IO[bytes], message_id: str, timestamp: str, signature: str, tolerance: float) -> None:
    """Check the signature of a delivery whose body is in the file BODY, or - for standard input.

    The exit status is 1 if it is not valid.
    """
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
            if not length.isdecimal() or int(length) > MAX_BODY_BYTES:
                self.close_connection = True
                self._respond(413)
                return
            body = self.rfile.read(int(length))
            signature = "not checked"
            if secret:
                try:
                    signing.verify(secret, dict(self.headers), body)
                    signature = "valid"
                except signing.InvalidSignature as error:
                    signature = str(error)
            _print_delivery(self.headers.get("webhook-id", ""), signature, body, as_json)
            time.sleep(delay)
            self._respond(status if signature in ("valid", "not checked") else 401)

        def _respond(self, code: int) -> None:
            self.send_response(code)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Log nothing: each delivery is printed."""

    return Receiver


def _print_delivery(message_id: str, signature: str, body: bytes, as_json: bool) -> None:
    """Print a delivery on one line. Its values are printed as JSON, which has no control characters."""
    try:
        payload: Any = json.loads(body)
    except ValueError:
        payload = body.decode("utf-8", "replace")
    if as_json:
        print_json({"id": message_id, "signature": signature, "payload": payload})
        return
    event = payload.get("event") if isinstance(payload, dict) else None
    click.echo(f"{json.dumps(event)} {json.dumps(message_id)} signature {signature}  {json.dumps(payload)}")
