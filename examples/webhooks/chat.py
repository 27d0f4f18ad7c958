#!/usr/bin/env python3
"""Post the end of each run to a chat, with the failures that are new.

    CHAT_URL=https://chat.example.com/hooks/… TMS_WEBHOOK_SECRET=whsec_… python chat.py

Needs Python 3.10, no packages, and receiver.py beside it. The chat receives {"text": …} by POST, as Slack,
Mattermost, Rocket.Chat and Google Chat accept it. For Slack, Teams and Discord no program is needed: register
their URL with `tms webhook create --format slack`.
"""

from __future__ import annotations

import json
import os
import sys
import urllib.error
import urllib.request
from contextlib import suppress
from http.server import ThreadingHTTPServer
from typing import Any, ClassVar

import receiver

ENDS = {
    "execution.completed": "completed",
    "execution.failed": "broke",
    "execution.cancelled": "was cancelled",
}


def message(payload: dict[str, Any]) -> str:
    """Return the text for the end of a run."""
    data = payload["data"]
    counts, new = data["results"], data["changes"]["newFailures"]
    lines = [f"The run {ENDS[payload['event']]}: {counts['passed']} passed, {counts['failed']} failed."]
    if data.get("reason"):
        lines.append(f"Reason: {data['reason']}")
    if new["count"]:
        lines.append(f"{new['count']} new:")
        lines += [f"- {test}" for test in new["tests"]]
    lines.append(data["artifacts"]["reportUrl"])
    return "\n".join(lines)


def post(text: str) -> None:
    """Send a text to the chat.

    Raises:
        OSError: the chat does not answer, or refuses the message.
    """
    body = json.dumps({"text": text}).encode()
    request = urllib.request.Request(os.environ["CHAT_URL"], body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10):
        pass


class Chat(receiver.Receiver):
    """Responds with 204 to an event that is posted or not of interest, 503 if the chat did not take it."""

    posted: ClassVar[set[str]] = set()
    """Deliveries that are in the chat. It is lost when this program ends: then a message may appear twice."""

    def do_POST(self) -> None:  # noqa: N802  # the name that http.server calls
        length = self.headers.get("Content-Length", "")
        if not length.isdigit() or int(length) > receiver.MAX_BODY:
            return self.respond(413)
        body = self.rfile.read(int(length))
        delivery = receiver.verify(os.environ["TMS_WEBHOOK_SECRET"], self.headers, body)
        if delivery is None:
            return self.respond(401)
        try:
            payload = json.loads(body)
            text = message(payload) if payload["event"] in ENDS else None
        except (ValueError, LookupError, TypeError):
            return self.respond(400)
        if text is not None and delivery not in self.posted:
            try:
                post(text)
            except OSError as error:
                print(f"chat.py: {error}", file=sys.stderr, flush=True)
                return self.respond(503)  # the TMS repeats the delivery later
            self.posted.add(delivery)
        return self.respond(204)


def main() -> None:
    if not os.environ.get("TMS_WEBHOOK_SECRET") or not os.environ.get("CHAT_URL"):
        sys.exit(
            "chat.py: Set TMS_WEBHOOK_SECRET to the secret of the webhook, and CHAT_URL to that of the chat."
        )
    address = os.environ.get("HOST", "127.0.0.1"), int(os.environ.get("PORT", "8766"))
    with ThreadingHTTPServer(address, Chat) as server:
        print(f"Listening on http://{server.server_address[0]}:{server.server_port}/", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        main()
