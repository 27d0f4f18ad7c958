"""Streams of server-sent events, read as they arrive."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import requests

TIMEOUT = 30
"""Seconds without any data after which reading a stream fails."""


@dataclass
class EventStream:
    """An open stream; each event is its fields by their names."""

    response: requests.Response
    events: Iterator[dict[str, str]]

    def next(self, name: str) -> dict[str, str]:
        """The next event with this name; earlier ones are skipped."""
        return next(event for event in self.events if event.get("event") == name)

    def until_its_end(self) -> list[dict[str, str]]:
        """The rest of the events; the end may also be that of the connection."""
        found: list[dict[str, str]] = []
        with suppress(requests.exceptions.ChunkedEncodingError):
            found.extend(self.events)
        return found


@contextmanager
def event_stream(url: str, session: Any = requests, **headers: str) -> Iterator[EventStream]:
    """Open a stream, and read its first event."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    with session.get(
        url, headers={"Accept": "text/event-stream", **named}, stream=True, timeout=TIMEOUT
    ) as response:
        assert response.status_code == 200, f"{response.status_code}: {response.text[:500]}"
        stream = EventStream(response, _events(response))
        stream.next("opened")
        yield stream


def _events(response: requests.Response) -> Iterator[dict[str, str]]:
    fields: dict[str, str] = {}
    for line in response.iter_lines(chunk_size=1, decode_unicode=True):
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
        elif fields:
            yield fields
            fields = {}
