"""The sections of a report: captured output by stream, and the texts that other plugins add."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from pytest_tms.plugin.results.observed_tests import Sections
from pytest_tms.text import clean
from pytest_tms.wire.results import Section

MAX_SECTIONS = 100
"""Sections of other plugins that are kept of a test."""

Clip = Callable[[str], str]
"""Returns a long text as it is kept: masked and cut."""


def split_output(sections: Sections, clip: Clip) -> dict[str, Any]:
    """Return captured output by stream, its phases in their order, and the sections of other plugins.

    The names are those of the fields of ``wire.TestResult``.
    """
    streams: dict[str, Any] = {}
    foreign: list[Section] = []
    for name, text in sections:
        stream = _STREAMS.get(name) or _stream(name)
        if stream is None:
            foreign.append(Section(name=clean(name)[:200], text=clip(text)))
        elif stream in streams:
            streams[stream].append(text)
        else:
            streams[stream] = [text]
    for stream, texts in streams.items():
        streams[stream] = clip("\n".join(texts) if len(texts) > 1 else texts[0])
    if foreign:
        streams["sections"] = foreign[:MAX_SECTIONS]
    return streams


_STREAMS = {
    f"Captured {stream} {when}": stream
    for stream in ("stdout", "stderr", "log")
    for when in ("setup", "call", "teardown")
}


def _stream(name: str) -> str | None:
    found = re.fullmatch(r"Captured (stdout|stderr|log)(?: \S+)?", name)
    return found and found[1]
