"""Files that a report refers to: attachments, ``[[ATTACHMENT|path]]`` in output, properties with a path."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

from pytest_tms import wire
from pytest_tms.text import clean

ArtifactKind = Literal["screenshot", "video", "trace", "log"]

SUFFIXES: Mapping[str, ArtifactKind] = {
    **dict.fromkeys((".png", ".jpg", ".jpeg", ".gif", ".webp", ".bmp", ".avif"), "screenshot"),
    **dict.fromkeys((".webm", ".mp4", ".mov", ".avi", ".mkv"), "video"),
    ".zip": "trace",
}
"""Kinds by the end of a file's name; other files are of the kind ``log``."""
CONTENT_TYPES: Mapping[str, ArtifactKind] = {"image": "screenshot", "video": "video"}
"""Kinds by the first part of the content type."""
MAX_PATH_LENGTH = 4096
"""Characters of a path."""
MAX_ARTIFACTS = 1000
"""Artifacts of one test."""

ATTACHMENT = r"\[\[ATTACHMENT\|(.{1,4096}?)\]\](?!\])"
ANYWHERE = re.compile(ATTACHMENT)
LINE = re.compile(rf"(?m)^[^\S\n]*{ATTACHMENT}[^\S\n]*(?:\n|\Z)")
PROPERTY = re.compile(r"(?:.*[_.:-])?attachments?(?:[_.:-]?\d+)?|playwright_(?:screenshot|video|trace)", re.I)
"""Names of properties whose value is a path."""
FILE_PROPERTY = re.compile(r"screenshots?|videos?|traces?", re.I)
"""Names of properties whose value is a path if it ends as a file of such a kind does."""


def in_output(text: str) -> tuple[list[str], str]:
    """Return the paths that captured output names, and the output without the lines that only name a path."""
    if "[[ATTACHMENT|" not in text:
        return [], text
    paths = [path.strip() for path in ANYWHERE.findall(text)]
    return [path for path in paths if path], LINE.sub("", text)


def is_attachment(name: str, value: str) -> bool:
    """Return whether a property names a file."""
    if not re.search(r"[./\\]", value) or "\n" in value or "://" in value or len(value) > MAX_PATH_LENGTH:
        return False
    if PROPERTY.fullmatch(name):
        return True
    return FILE_PROPERTY.fullmatch(name) is not None and _suffix(value) in SUFFIXES


def artifacts(paths: list[str], folder: Path) -> list[wire.Artifact]:
    """Return an artifact for each path, once. See ``artifact``."""
    return distinct([artifact(path, folder) for path in paths[:MAX_ARTIFACTS]])


def distinct(found: Iterable[wire.Artifact | None]) -> list[wire.Artifact]:
    """Return the artifacts, each path once."""
    kept: dict[str, wire.Artifact] = {}
    for each in found:
        if each is not None:
            kept.setdefault(each.path, each)
    return list(kept.values())[:MAX_ARTIFACTS]


def artifact(path: str, folder: Path, *, name: str = "", content_type: str = "") -> wire.Artifact | None:
    """Return the artifact at a path; None if it is too long for a path.

    A relative path that exists below ``folder``, the report's, is made absolute; others stay as they are. The
    name of the file determines its kind, else ``content_type``.
    """
    if len(path) > MAX_PATH_LENGTH:
        return None
    name = name or re.split(r"[/\\]", path.rstrip("/\\"))[-1] or path
    kind = SUFFIXES.get(_suffix(path)) or CONTENT_TYPES.get(content_type.partition("/")[0].lower(), "log")
    return wire.Artifact(name=clean(name, limit=200), kind=kind, path=clean(_resolve(path, folder)))


def _resolve(path: str, folder: Path) -> str:
    try:
        full = (folder / path).resolve()
        if not Path(path).is_absolute() and full.is_relative_to(folder.resolve()) and full.is_file():
            return str(full)
    except (OSError, ValueError, RuntimeError):  # too long, a zero byte, or a loop of links
        pass
    return path


def _suffix(path: str) -> str:
    return "." + path.rpartition(".")[2].lower()
