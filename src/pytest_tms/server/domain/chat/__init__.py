"""Messages about ended runs for chat systems, each within the limits of its system.

Names and errors of tests come from runners: each format shows them as plain text, so that they mention
nobody, link nothing and change no layout.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from pytest_tms.server.domain.chat.discord import discord_fits, discord_payload
from pytest_tms.server.domain.chat.message import LINES, RunMessage
from pytest_tms.server.domain.chat.slack import slack_fits, slack_payload
from pytest_tms.server.domain.chat.teams import teams_fits, teams_payload

Payload = dict[str, Any]

_FORMATS: Mapping[str, tuple[Callable[[RunMessage, int], Payload], Callable[[Payload], bool]]] = {
    "slack": (slack_payload, slack_fits),
    "teams": (teams_payload, teams_fits),
    "discord": (discord_payload, discord_fits),
}
"""By the name of a format: a function that writes a message with so many tests in each list, and one that
returns whether the result is within the limits of the system."""


def write_message(format_name: str, message: RunMessage) -> str:
    """Return a message as JSON, with as many tests in each list as fit."""
    write, fits = _FORMATS[format_name]
    payload: Payload = {}
    for lines in (LINES, 6, 3, 1, 0):
        payload = write(message, lines)
        if fits(payload):
            break
    return msgspec.json.encode(payload).decode()
