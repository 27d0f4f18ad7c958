"""Discord: an embed for a webhook of a channel.

Names and errors of tests are inline code, in which Discord parses nothing; in other texts its markup is
escaped. ``allowed_mentions`` is empty, so that no text notifies anybody.
"""

from __future__ import annotations

import re
from typing import Any

from pytest_tms.server.domain.chat.message import RunMessage, plain

MAX_TITLE = 256
"""Characters of the title of an embed."""
MAX_DESCRIPTION = 4096
"""Characters of the description of an embed."""
MARKUP = re.compile(r"([\\`*_{}\[\]()<>#+\-.!|~:@&/])")
"""Characters that Discord gives a meaning, at the beginning of a line, in a mention or in a URL."""
GREEN, RED = 0x2E7D32, 0xC62828


def discord_payload(message: RunMessage, lines: int) -> dict[str, Any]:
    """Return a message with at most so many tests in each list."""
    parts = [_escaped(fact) for fact in message.facts]
    for each in message.lists:
        shown, more = each.first(lines)
        parts.append(f"\n**{each.title} ({each.count:,})**")
        parts += [f"• {_code(name)}" + (f"\n  {_code(detail)}" if detail else "") for name, detail in shown]
        parts += [f"… and {more:,} more"] if more else []
    embed: dict[str, Any] = {
        "title": plain(_escaped(plain(message.title, MAX_TITLE // 2)), MAX_TITLE),
        "description": "\n".join(parts),
        "color": GREEN if message.is_good else RED,
    }
    if message.url:
        embed["url"] = message.url
        embed["description"] += f"\n\n[Open the run]({_url(message.url)})"
    return {"embeds": [embed], "allowed_mentions": {"parse": []}}


def discord_fits(payload: dict[str, Any]) -> bool:
    """Return whether the description is within Discord's limit."""
    description: str = payload["embeds"][0]["description"]
    return len(description.encode("utf-16-le", "replace")) // 2 <= MAX_DESCRIPTION


def _code(text: str) -> str:
    """Return a text as inline code, which ends at the next backtick."""
    return f"`{text.replace('`', 'ˋ')}`"


def _escaped(text: str) -> str:
    return MARKUP.sub(r"\\\1", text)


def _url(url: str) -> str:
    return url.replace("(", "%28").replace(")", "%29")
