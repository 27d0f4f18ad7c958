"""Microsoft Teams: an Adaptive Card for a workflow that receives webhook requests.

Texts of runners are ``TextRun`` elements, in which Teams parses no Markdown. A mention would need an entity
of the card, and there is none.
"""

from __future__ import annotations

from typing import Any

import msgspec

from pytest_tms.server.domain.chat.message import RunMessage

MAX_BYTES = 25_000
"""Bytes of a message; Teams allows about 28 KB."""


def teams_payload(message: RunMessage, lines: int) -> dict[str, Any]:
    """Return a message with at most so many tests in each list."""
    colour = "good" if message.is_good else "attention"
    body = [_block(message.title, weight="bolder", size="large", color=colour)]
    body += [_block(fact) for fact in message.facts]
    for each in message.lists:
        shown, more = each.first(lines)
        body.append(_block(f"{each.title} ({each.count:,})", weight="bolder"))
        for name, detail in shown:
            body.append(_block(f"• {name}"))
            if detail:
                body.append(_block(detail, isSubtle=True))
        if more:
            body.append(_block(f"… and {more:,} more", isSubtle=True))
    card: dict[str, Any] = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "msteams": {"width": "Full"},
        "body": body,
    }
    if message.url:
        card["actions"] = [{"type": "Action.OpenUrl", "title": "Open the run", "url": message.url}]
    attachment = {
        "contentType": "application/vnd.microsoft.card.adaptive",
        "contentUrl": None,
        "content": card,
    }
    return {"type": "message", "attachments": [attachment]}


def teams_fits(payload: dict[str, Any]) -> bool:
    """Return whether a message is within the limit of Teams."""
    return len(msgspec.json.encode(payload)) <= MAX_BYTES


def _block(text: str, **style: Any) -> dict[str, Any]:
    return {
        "type": "RichTextBlock",
        "spacing": "small",
        "inlines": [{"type": "TextRun", "text": text, **style}],
    }
