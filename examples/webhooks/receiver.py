#!/usr/bin/env python3
"""Receive the events of a TMS, verify their signatures, and record each event once.

    TMS_WEBHOOK_SECRET=whsec_… python receiver.py

Needs Python 3.10 and no packages. The variables PORT (8766), HOST (127.0.0.1) and DATABASE (events.sqlite3)
change the address and the database. Run it behind a proxy that terminates https.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import sqlite3
import sys
import time
from collections.abc import Mapping
from contextlib import closing, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOLERANCE = 300
"""Seconds by which the time of a delivery may differ from the clock: a recorded one cannot be sent later."""
MAX_BODY = 64 * 1024


def verify(secret: str, headers: Mapping[str, str], body: bytes) -> str | None:
    """Return the id of a delivery, the same each time it is repeated, or None if it is not from the TMS."""
    delivery, sent = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not delivery or not (sent.isascii() and sent.isdigit() and abs(time.time() - int(sent)) <= TOLERANCE):
        return None
    key = base64.b64decode(secret[6:]) if secret.startswith("whsec_") else secret.encode()
    content = f"{delivery}.{sent}.".encode() + body
    wanted = b"v1," + base64.b64encode(hmac.digest(key, content, hashlib.sha256))
    # After a rotation of the secret there are two signatures, divided by a space.
    received = headers.get("webhook-signature", "").encode("utf-8", "replace").split()
    return delivery if any(hmac.compare_digest(wanted, each) for each in received) else None


def record(database: str, delivery: str, payload: dict[str, Any]) -> bool:
    """Store an event; return whether it is new.

    The id of the delivery and its effect are one transaction: after a crash both are stored or neither, and
    the TMS repeats a delivery that was not answered. Put your own changes where the second INSERT is.
    """
    with closing(sqlite3.connect(database, timeout=10)) as connection, connection:
        is_new = connection.execute("INSERT OR IGNORE INTO deliveries VALUES (?)", (delivery,)).rowcount == 1
        if is_new:
            connection.execute(
                "INSERT INTO events VALUES (?, ?, ?, ?)",
                (payload.get("executionId"), payload.get("sequence"), payload["event"], json.dumps(payload)),
            )
    return is_new


class Receiver(BaseHTTPRequestHandler):
    """Responds with 204 to an stored event, 401 to a wrong signature, 400 or 413 to any other body."""

    timeout = 10

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if not length.isdigit() or int(length) > MAX_BODY:
            return self.respond(413)
        body = self.rfile.read(int(length))
        delivery = verify(os.environ["TMS_WEBHOOK_SECRET"], self.headers, body)
        if delivery is None:
            return self.respond(401)
        try:
            payload = json.loads(body)
            is_new = record(database(), delivery, payload)
        except (ValueError, LookupError, TypeError):
            return self.respond(400)
        if is_new:
            print(payload["event"], payload.get("executionId") or "", flush=True)
        return self.respond(204)

    def respond(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002  # named by http.server
        """Print no line for each request."""


def database() -> str:
    return os.environ.get("DATABASE", "events.sqlite3")


def main() -> None:
    if not os.environ.get("TMS_WEBHOOK_SECRET"):
        sys.exit("receiver.py: Set TMS_WEBHOOK_SECRET to the secret of the webhook.")
    with closing(sqlite3.connect(database())) as connection, connection:
        connection.execute("CREATE TABLE IF NOT EXISTS deliveries (id TEXT PRIMARY KEY)")
        connection.execute(
            "CREATE TABLE IF NOT EXISTS events (execution TEXT, sequence INT, event TEXT, payload TEXT)"
        )
    address = os.environ.get("HOST", "127.0.0.1"), int(os.environ.get("PORT", "8766"))
    with ThreadingHTTPServer(address, Receiver) as server:
        print(f"Listening on http://{server.server_address[0]}:{server.server_port}/", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        main()
