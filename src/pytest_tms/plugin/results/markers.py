"""A test's markers as tags and arguments, and the values of ``@pytest.mark.tms``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

import pytest

from pytest_tms.plugin.results.json_values import json_value, parameter
from pytest_tms.text import clean, text_of

MARKER = "tms"
POSITIONAL = ("id", "title", "tags", "owner")
"""The arguments of ``@pytest.mark.tms`` in their order."""
MAX_NAME = 500
"""Characters of an id, a title, an owner or a tag that are kept."""

_NOT_TAGS = """
parametrize usefixtures filterwarnings skip skipif xfail
anyio asyncio asyncio_cooperative trio twisted gevent
order run first last dependency depends random_order no_random_order
timeout flaky retry repeat rerun forked isolated xdist_group limit_memory limit_leaks benchmark
django_db urls ignore_template_errors freeze_time vcr block_network default_cassette
enable_socket disable_socket allow_hosts httpx_mock respx no_cover hypothesis
browser_context_args only_browser skip_browser pytestmark
"""
NOT_TAGS = frozenset(_NOT_TAGS.split())
"""Markers that control how a test runs. A pattern of ``tms_tags`` that is exactly such a name allows it."""


class Markers(NamedTuple):
    """Tags, arguments by marker, and ``names``: id, title and owner. Several ids are a list."""

    tags: list[str]
    arguments: dict[str, list[Any]]
    names: dict[str, Any]


class MarkerReader:
    """Reads markers; ``tags`` are the patterns of the setting ``tms_tags``."""

    def __init__(self, tags: Sequence[str] = ()) -> None:
        self._wanted = [pattern for pattern in tags if not pattern.startswith("!")] or ["*"]
        self._unwanted = [pattern[1:] for pattern in tags if pattern.startswith("!")]

    def is_tag(self, name: str) -> bool:
        """Return whether a marker of this name becomes a tag."""
        if name == MARKER or (name in NOT_TAGS and name not in self._wanted):
            return False
        return any(fnmatchcase(name, pattern) for pattern in self._wanted) and not any(
            fnmatchcase(name, pattern) for pattern in self._unwanted
        )

    def read(self, markers: Iterable[pytest.Mark]) -> Markers:
        """Read markers, the closest to the test first: the first id, title and owner count."""
        tags: dict[str, None] = {}
        arguments: dict[str, list[Any]] = {}
        names: dict[str, Any] = {}
        for marker in markers:
            if marker.name == MARKER:
                values = {**dict(zip(POSITIONAL, marker.args, strict=False)), **marker.kwargs}
                tags.update(dict.fromkeys(_tags(values.get("tags"))))
                if ids := _ids(values.get("id")):
                    names.setdefault("id", ids)
                for key in ("title", "owner"):
                    if text := _name(values.get(key)):
                        names.setdefault(key, text)
            elif self.is_tag(marker.name):
                tags[f"@{clean(marker.name)}"] = None
                if marker.args or marker.kwargs:
                    arguments.setdefault(clean(marker.name), []).extend(_arguments(marker))
        return Markers(list(tags), arguments, names)


def merged(own: Markers, inherited: Markers) -> dict[str, Any]:
    """Return both as an enrichment: a test's own markers come first, and their names count."""
    extra: dict[str, Any] = {**inherited.names, **own.names}
    if tags := list(dict.fromkeys([*own.tags, *inherited.tags])):
        extra["tags"] = tags
    if own.arguments or inherited.arguments:
        extra["marks"] = marks = {}
        for name in {**own.arguments, **inherited.arguments}:
            values: list[Any] = []
            for value in (*own.arguments.get(name, ()), *inherited.arguments.get(name, ())):
                if value not in values:
                    values.append(value)
            marks[name] = values[0] if len(values) == 1 else values
    return extra


def parameters(case: Any) -> dict[str, Any]:
    """Return the parameters of a test, without those that plugins add for internal use."""
    return {
        clean(text_of(name)): parameter(value)
        for name, value in case.params.items()
        if not text_of(name).startswith("__")
    }


def _arguments(marker: pytest.Mark) -> list[Any]:
    values = [json_value(value, described=False) for value in marker.args]
    if marker.kwargs:
        values.append(json_value(dict(marker.kwargs), described=False))
    return values


def _tags(value: Any) -> list[str]:
    if value is None:
        return []
    if isinstance(value, (set, frozenset)):
        value = sorted(value, key=text_of)
    texts = [_name(tag) for tag in (value if isinstance(value, (list, tuple)) else [value])]
    return [f"@{text.lstrip('@')}" for text in texts if text.lstrip("@")]


def _ids(given: Any) -> str | list[str]:
    """Return one id as a text, several as a list; empty if there is none."""
    if not isinstance(given, (list, tuple)):
        return _name(given)
    texts = [text for each in given if (text := _name(each))]
    return texts[0] if len(texts) == 1 else texts


def _name(value: Any) -> str:
    return "" if value is None else clean(" ".join(text_of(value).split()), limit=MAX_NAME)
