"""The owners of files by a CODEOWNERS file, as GitHub and GitLab read it."""

from __future__ import annotations

import re
from pathlib import Path

from pytest_tms.text import clean

LOCATIONS = (".github/CODEOWNERS", "CODEOWNERS", "docs/CODEOWNERS", ".gitlab/CODEOWNERS")
"""Where the file may be in a repository; the first one that exists counts."""
MAX_BYTES = 3_000_000
"""Bytes of the largest file that is read, as on GitHub."""
MAX_OWNER = 200
"""Characters of an owner that are kept."""

_SECTION = re.compile(r"\^?\[[^\]]*\](?:\[\d*\])?(.*)")
_WILDCARD = re.compile(r"[*?\\]")
_WORD = re.compile(r"(?:\\.|[^\s\\])+")


class CodeOwners:
    """Finds the owner of each file by ``text``, the CODEOWNERS of the repository in the folder ``root``.

    A file has the owner of the last pattern that matches it, and none if that pattern names none. Of several
    owners the first one counts. Patterns follow the rules of GitHub: those of gitignore, without ``!`` and
    ``[ ]``. In a section of GitLab, a pattern without an owner has that of the heading.
    """

    def __init__(self, root: Path, text: str) -> None:
        self._root = root
        self._rules = _rules(text)
        self._known: dict[Path, str] = {}

    def owner_of(self, path: Path) -> str:
        """Return the owner of a file; empty if it has none. The patterns are compared once for each file."""
        owner = self._known.get(path)
        if owner is None:
            owner = self._known[path] = self._find(path)
        return owner

    def _find(self, path: Path) -> str:
        try:
            name = path.relative_to(self._root).as_posix()
        except ValueError:  # outside the repository
            return ""
        for rule in self._rules:
            if rule.matches(name):
                return rule.owner
        return ""


class _Rule:
    """A pattern with its owner, which is empty if it names none."""

    def __init__(self, pattern: str, owner: str) -> None:
        self.owner = owner
        self._pattern = pattern
        self._is_anchored = "/" in pattern.rstrip("/")
        self._is_folder = pattern.endswith("/")
        self._name = "" if _WILDCARD.search(pattern) else pattern.strip("/")
        self._expression: re.Pattern[str] | None = None

    def matches(self, name: str) -> bool:
        """Return whether the pattern matches a path, which is relative to the repository."""
        if self._name:  # most patterns have no wildcard
            if self._is_anchored or self._pattern.startswith("/"):
                return name.startswith(f"{self._name}/") or (name == self._name and not self._is_folder)
            place = f"/{name}"
            return f"/{self._name}/" in place or (place.endswith(f"/{self._name}") and not self._is_folder)
        if self._expression is None:
            self._expression = re.compile(_expression(self._pattern))
        return self._expression.fullmatch(name) is not None


def find_code_owners(folder: Path) -> CodeOwners | None:
    """Return the owners of the repository that contains ``folder``; None if it has no CODEOWNERS file."""
    root = next((each for each in (folder, *folder.parents) if (each / ".git").exists()), folder)
    for location in LOCATIONS:
        try:
            with (root / location).open(encoding="utf-8", errors="replace") as file:
                return CodeOwners(root, file.read(MAX_BYTES))
        except OSError:
            continue
    return None


def _rules(text: str) -> list[_Rule]:
    """Return the rules of a file, the last one first."""
    found = []
    default = ""
    for line in text.lstrip("\ufeff").splitlines():
        stripped = line.strip()
        if section := _SECTION.fullmatch(stripped):
            default = _owner(section[1].split())
        elif stripped and not stripped.startswith(("#", "!")):
            pattern, *owners = _WORD.findall(stripped) or [""]
            if pattern.strip("/"):
                found.append(_Rule(pattern, _owner(owners) or default))
    return found[::-1]


def _owner(words: list[str]) -> str:
    """Return the first owner of a line; a comment may follow the owners."""
    return "" if not words or words[0].startswith("#") else clean(words[0][:MAX_OWNER])


def _expression(pattern: str) -> str:
    """Return the regular expression of a pattern of gitignore."""
    parts = [part for part in pattern.strip("/").split("/") if part]
    is_anchored = pattern.startswith("/") or len(parts) > 1
    expression = "" if is_anchored else "(?:.*/)?"
    for place, part in enumerate(parts):
        is_last = place == len(parts) - 1
        if part == "**":
            if is_last:
                return f"{expression}.*"
            if not expression.endswith("(?:.*/)?"):
                expression += "(?:.*/)?"
            continue
        expression += _segment(part) + ("" if is_last else "/")
    if pattern.endswith("/"):
        return f"{expression}/.*"
    # docs/* has the files of the folder and not those below its folders
    is_direct = is_anchored and parts[-1] == "*"
    return expression if is_direct else f"{expression}(?:/.*)?"


def _segment(part: str) -> str:
    found = ""
    characters = iter(part)
    for character in characters:
        if character == "*":
            found += "" if found.endswith("[^/]*") else "[^/]*"
        elif character == "?":
            found += "[^/]"
        else:
            found += re.escape(next(characters, "\\") if character == "\\" else character)
    return found
