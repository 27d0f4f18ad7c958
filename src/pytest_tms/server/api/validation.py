"""Decodes and validates request bodies; an error lists every invalid field."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import chain
from typing import Any, TypeVar

import msgspec

from pytest_tms import wire
from pytest_tms.errors import Problem
from pytest_tms.server.api.json_bodies import parse
from pytest_tms.server.api.schema_problems import schema_problems
from pytest_tms.server.domain import counts
from pytest_tms.server.domain.problems import refuse

T = TypeVar("T")


def decode(
    body: bytes, kind: type[T], rules: Callable[[dict[str, Any]], Iterable[Problem]]
) -> tuple[T, dict[str, Any]]:
    """Return a body as a message of type ``kind``, and as the document that was sent, with unknown fields.

    ``rules`` returns the problems that a schema cannot find, in a document whose fields may have any type.

    Raises:
        BadRequest: The body is not valid JSON.
        Unprocessable: The body has invalid fields, all of which are listed.
    """
    document = parse(body)
    try:
        value = msgspec.convert(document, kind)
    except msgspec.ValidationError as error:
        refuse(chain(schema_problems(document, kind, error), rules(document)))
        raise
    refuse(rules(document))
    return value, document


def count_problems(value: object, path: str) -> list[Problem]:
    """Return the contradictions between given counts; values of a wrong type are found by the schema."""
    try:
        return counts.problems(msgspec.convert(value, wire.ReportedCounts | None), path)
    except msgspec.ValidationError:
        return []


def time_problems(value: object, path: str) -> list[Problem]:
    """Return the problem of a time, if any; a value of a wrong type is found by the schema."""
    if isinstance(value, str):
        try:
            wire.parse_time(value)
        except ValueError:
            return [Problem(path, "Must be an ISO 8601 time")]
    return []


def unknown_fields(document: Mapping[str, T], kind: type[msgspec.Struct]) -> dict[str, T]:
    """Return the fields of a document that the message ``kind`` does not define."""
    known = set(kind.__struct_encode_fields__)
    return {name: value for name, value in document.items() if name not in known}
