"""What an execution's metadata says of its build, in the fields by which executions are found."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from pytest_tms.server.domain.column_values import without_nul

DEFAULT_PROJECT = "default"
"""The project of executions that name none."""
MAX_NAME = 200
"""Characters of each field that are kept."""


class BuildFields(NamedTuple):
    """The project, branch, commit and author of an execution; a field is empty if it was not sent."""

    project: str
    branch: str
    commit: str
    author: str


def build_fields(metadata: Mapping[str, Any]) -> BuildFields:
    """Return the fields of an execution's ``metadata``.

    The project is the one that it names, else the name of its repository.
    """
    project = _text(metadata.get("project")) or _repository(_text(metadata.get("repository")))
    return BuildFields(
        project=project or DEFAULT_PROJECT,
        branch=_text(metadata.get("branch")),
        commit=_text(metadata.get("commit")),
        author=_text(metadata.get("author") or metadata.get("actor") or metadata.get("triggeredBy")),
    )


def search_text(*texts: str) -> str:
    """Return the text by which an execution is found: its id, branch, commit, suite and author."""
    return "\n".join(texts).lower()


def _repository(url: str) -> str:
    """Return the last part of a repository's URL or path."""
    return url.rstrip("/").removesuffix(".git").replace(":", "/").rpartition("/")[2]


def _text(value: object) -> str:
    return without_nul(value.strip()[:MAX_NAME]) if isinstance(value, str) else ""
