"""The integration document's parts, found by the headings and labels above them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Block:
    """One fenced block: its heading, bold label, language and text."""

    heading: str
    label: str
    language: str
    text: str


@dataclass(frozen=True)
class Document:
    """The document's fenced blocks, endpoints and events; raises LookupError unless there is exactly one match."""

    text: str
    blocks: tuple[Block, ...]

    @classmethod
    def read(cls, path: Path) -> Document:
        text = path.read_text(encoding="utf-8")
        return cls(text, tuple(_blocks(text)))

    def block(self, heading: str, language: str, label: str = "") -> str:
        wanted = (heading, label, language)
        found = [
            block.text for block in self.blocks if (block.heading, block.label, block.language) == wanted
        ]
        if len(found) != 1:
            raise LookupError(f"The document has {len(found)} blocks {wanted}, not one.")
        return found[0]

    def endpoint(self, heading: str) -> tuple[str, str]:
        """The method and path under a heading."""
        section = self.text.partition(f"\n#### {heading}\n")[2].partition("\n#### ")[0]
        found = re.findall(r"^\*\*Endpoint:\*\* `([A-Z]+) (\S+)`$", section, re.MULTILINE)
        if len(found) != 1:
            raise LookupError(f"The document has {len(found)} endpoints under {heading!r}, not one.")
        method, path = found[0]
        return method, path

    @property
    def events(self) -> list[str]:
        """The names in the table of event types."""
        found = re.findall(r"^\| `([a-z]+\.[a-z]+)` \|", self.text, re.MULTILINE)
        if not found:
            raise LookupError("The document has no table of event types.")
        return found


def _blocks(text: str) -> Iterator[Block]:
    heading = label = ""
    language: str | None = None
    lines: list[str] = []
    for line in text.splitlines():
        if language is not None:
            if line == "```":
                yield Block(heading, label, language, "\n".join(lines) + "\n")
                language, lines = None, []
            else:
                lines.append(line)
        elif line.startswith("```"):
            language = line[3:]
        elif line.startswith("#"):
            heading, label = line.lstrip("#").strip(), ""
        elif bold := re.fullmatch(r"\*\*(.+):\*\*", line):
            label = bold[1]
