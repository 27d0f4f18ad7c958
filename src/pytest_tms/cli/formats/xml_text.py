"""Makes damaged XML well-formed: replaces illegal characters and references."""

from __future__ import annotations

import re
from html.entities import html5

ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
AMPERSAND = re.compile(
    r"&(?:(?:amp|lt|gt|quot|apos);|#x([0-9a-fA-F]{1,8});|#([0-9]{1,9});|([A-Za-z]\w{0,31};))?"
)
CDATA = "<![CDATA["
CDATA_END = "]]>"
MAX_PARTIAL = 40
"""Characters at the end of a chunk that may be the beginning of a reference or of a section."""


class Repair:
    """Repairs the text of one document, chunk by chunk; it keeps the number of lines."""

    def __init__(self) -> None:
        self._in_cdata = False
        self._held = ""

    def feed(self, chunk: str) -> str:
        """Return the part of the text so far that can be parsed."""
        text = self._held + ILLEGAL.sub("\ufffd", chunk)
        end = max(text.rfind(start, -MAX_PARTIAL) for start in "&<]")
        if end >= 0 and text.startswith("]", end) and text[end - 1 : end] == "]":
            end -= 1
        self._held = text[end:] if end >= 0 else ""
        return self._repair(text[:end] if end >= 0 else text)

    def finish(self) -> str:
        """Return the remaining text."""
        held, self._held = self._held, ""
        return self._repair(held)

    def _repair(self, text: str) -> str:
        if not self._in_cdata and CDATA not in text:
            return AMPERSAND.sub(_reference, text) if "&" in text else text
        parts = []
        position = 0
        while position < len(text):
            mark = CDATA_END if self._in_cdata else CDATA
            end = text.find(mark, position)
            end = len(text) if end < 0 else end + len(mark)
            part = text[position:end]
            parts.append(part if self._in_cdata else AMPERSAND.sub(_reference, part))
            if part.endswith(mark):
                self._in_cdata = not self._in_cdata
            position = end
        return "".join(parts)


def _reference(found: re.Match[str]) -> str:
    """Return a reference that every XML parser supports, in place of the found one."""
    hexadecimal, decimal, name = found.groups()
    if name:
        characters = html5.get(name)
        return "".join(f"&#{ord(each)};" for each in characters) if characters else f"&amp;{name}"
    if hexadecimal or decimal:
        code = int(hexadecimal, 16) if hexadecimal else int(decimal)
        legal = code <= 0x10FFFF and not ILLEGAL.match(chr(code))
        return found[0] if legal else "\ufffd"
    return found[0] if found[0] != "&" else "&amp;"
