"""Slack: blocks for an incoming webhook.

Texts of runners are objects of the type ``plain_text``, in which no markup is parsed, and ``&``, ``<`` and
``>`` are escaped as Slack asks for.
"""

from __future__ import annotations

from typing import Any

from pytest_tms.server.domain.chat.message import RunMessage, plain

MAX_HEADER = 150
"""Characters of a header."""
MAX_SECTION = 3000
"""Characters of a text in a section."""


def slack_payload(message: RunMessage, lines: int) -> dict[str, Any]:
    """Return a message with at most so many tests in each list."""
    title = f"{'✅' if message.is_good else '❌'} {message.title}"
    blocks: list[dict[str, Any]] = [
        {"type": "header", "text": _text(plain(title, MAX_HEADER), MAX_HEADER)},
        _section("\n".join(message.facts)),
    ]
    for each in message.lists:
        shown, more = each.first(lines)
        texts = [f"• {name}" + (f"\n    {detail}" if detail else "") for name, detail in shown]
        rest = [f"… and {more:,} more"] if more else []
        blocks.append(_section("\n".join([f"{each.title} ({each.count:,})", *texts, *rest])))
    if message.url:
        link = f"<{_escaped(message.url).replace('|', '%7C')}|Open the run>"
        blocks.append({"type": "section", "text": {"type": "mrkdwn", "text": link, "verbatim": True}})
    return {"text": _escaped(title), "mrkdwn": False, "unfurl_links": False, "blocks": blocks}


def slack_fits(payload: dict[str, Any]) -> bool:
    """Return whether each section is within Slack's limit."""
    return all(_length(block["text"]["text"]) <= MAX_SECTION for block in payload["blocks"])


def _section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": _text(text)}


def _text(text: str, limit: int = 0) -> dict[str, Any]:
    """Return a text object; with a limit, of a text that is within it after escaping."""
    escaped = _escaped(text)
    while limit and _length(escaped) > limit:
        text = text[: len(text) * 9 // 10]
        escaped = _escaped(f"{text}…")
    return {"type": "plain_text", "text": escaped, "emoji": False}


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _length(text: str) -> int:
    """Return the length in UTF-16, which is that of every way to count characters or more."""
    return len(text.encode("utf-16-le", "replace")) // 2
