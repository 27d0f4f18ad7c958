"""Sources of a value: the kinds of entries in the table of providers.

Each source reads one text from the environment of a job; a value that is absent or invalid is empty.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, Protocol

Environment = Mapping[str, str]


class Source(Protocol):
    """A source from which a value is read."""

    def read(self, environ: Environment) -> str:
        """Return the value, or an empty text."""


class Variable(NamedTuple):
    """A variable; the value ``ignored`` counts as absent."""

    name: str
    ignored: str = ""

    def read(self, environ: Environment) -> str:
        """Return its value."""
        value = environ.get(self.name, "")
        return "" if value == self.ignored else value


class Template(NamedTuple):
    """A text with {VARIABLES}; empty if one of them is."""

    text: str

    def read(self, environ: Environment) -> str:
        """Return the text with the variables' values."""
        names = re.findall(r"{(\w+)}", self.text)
        if not all(environ.get(name) for name in names):
            return ""
        return self.text.format_map({name: environ[name] for name in names})


class Match(NamedTuple):
    """The first group of a regular expression in a variable; ``add`` is added to a number."""

    name: str
    pattern: str
    add: int = 0

    def read(self, environ: Environment) -> str:
        """Return the group."""
        found = re.search(self.pattern, environ.get(self.name, ""))
        group = found.group(1) if found else ""
        return add_to(group, self.add) if self.add else group


class Number(NamedTuple):
    """A variable that holds a whole number, to which ``add`` is added."""

    name: str
    add: int

    def read(self, environ: Environment) -> str:
        """Return the sum."""
        return add_to(environ.get(self.name, ""), self.add)


class Repeated(NamedTuple):
    """The attempt "2" if a variable has the value, of a provider that counts no attempts.

    Without a ``value`` any but ``0`` counts.
    """

    name: str
    value: str = ""

    def read(self, environ: Environment) -> str:
        """Return "2", or an empty text."""
        found = environ.get(self.name, "").lower()
        is_repeated = found == self.value if self.value else found not in ("", "0")
        return "2" if is_repeated else ""


class JsonField(NamedTuple):
    """A text or whole number in the JSON file that a variable names, by the keys that lead to it."""

    file: str
    keys: tuple[str, ...]

    def read(self, environ: Environment) -> str:
        """Return the field."""
        try:
            value = json.loads(Path(environ[self.file]).read_text(encoding="utf-8"))
        except (KeyError, OSError, ValueError, RecursionError):
            return ""
        for key in self.keys:
            value = value.get(key) if isinstance(value, dict) else None
        return str(value) if type(value) in (str, int) else ""


class Property(NamedTuple):
    """A property in the Java properties files of a build.

    The variable ``file`` names the first file; its property ``more`` names the second.
    """

    file: str
    more: str
    name: str
    add: int = 0

    def read(self, environ: Environment) -> str:
        """Return the property."""
        properties = _read_properties(environ.get(self.file, ""))
        properties.update(_read_properties(properties.get(self.more, "")))
        value = properties.get(self.name, "")
        return add_to(value, self.add) if self.add else value


def add_to(number: str, add: int) -> str:
    """Return a whole number plus ``add``; empty if the text is not a number."""
    return str(int(number) + add) if re.fullmatch(r"-?\d{1,18}", number) else ""


def _read_properties(path: str) -> dict[str, str]:
    try:
        text = Path(path).read_text(encoding="latin-1")
    except (OSError, ValueError):
        return {}
    pairs = (line.partition("=") for line in text.splitlines() if line and line[0] not in "#!")
    return {key.strip(): re.sub(r"\\(.)", r"\1", value.strip()) for key, _, value in pairs}
