"""JSON: the execution and its tests, as the API returns them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from pytest_tms.exports.fields import CHUNK_BYTES
from pytest_tms.wire.executions import ExecutionStatus


def write_json(execution: ExecutionStatus, tests: Iterable[Mapping[str, Any]]) -> Iterator[bytes]:
    """Yield an object with the members ``execution`` and ``tests``."""
    encoder = msgspec.json.Encoder()
    buffer = bytearray(b'{"execution":' + encoder.encode(execution) + b',"tests":[')
    separator = b"\n"
    for test in tests:
        buffer += separator + encoder.encode(test)
        separator = b",\n"
        if len(buffer) >= CHUNK_BYTES:
            yield bytes(buffer)
            buffer.clear()
    yield bytes(buffer + b"\n]}\n")
