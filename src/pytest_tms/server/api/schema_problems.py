"""Problems of a document by the JSON Schema of a message: every invalid field, not only the first."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import msgspec
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from jsonschema.validators import extend

from pytest_tms.errors import Problem


def schema_problems(
    document: object, kind: Any, error: msgspec.ValidationError, at: str = ""
) -> Iterator[Problem]:
    """Yield every invalid field of a document; msgspec rejected it with ``error``, which names only one.

    ``kind`` is the type of the message, ``at`` the path of the document in the body.
    """
    found = False
    for problem in _validator(kind).iter_errors(document):
        found = True
        yield _described(problem, at)
    if not found:  # msgspec is stricter than its schema, on the range of numbers for one
        message, _, path = str(error).partition(" - at `$")
        yield Problem(_join_path(at, path.rstrip("`").lstrip(".")), message)


@cache
def _validator(kind: Any) -> Any:
    nullable = extend(Draft202012Validator, {"anyOf": _null_or})  # type: ignore[no-untyped-call]  # in its stubs
    return nullable(msgspec.json.schema(kind))


def _null_or(validator: Any, kinds: list[Any], value: object, _: object) -> Iterator[ValidationError]:
    """Validate ``anyOf`` of null and another kind, and yield the errors of the other kind."""
    if value is not None:
        for kind in kinds:
            if kind != {"type": "null"}:
                yield from validator.descend(value, kind)


def _described(error: ValidationError, at: str) -> Problem:
    path = at
    for step in error.absolute_path:
        path = f"{path}[{step}]" if isinstance(step, int) else _join_path(path, str(step))
    wanted: Any = error.validator_value
    if error.validator == "required":
        missing = next((name for name in wanted if f"'{name}'" in error.message), "")
        return Problem(_join_path(path, missing), "Is required")
    if error.validator == "minItems" and wanted == 1:
        schema: Any = error.schema
        names = schema.get("items", {}).get("enum", ())
        one = path.rpartition(".")[2].removesuffix("s")
        return Problem(path, f"Must name at least one {one}" + (f": {', '.join(names)}" if names else ""))
    return Problem(path, _message(str(error.validator), wanted) or error.message[:200])


def _message(rule: str, wanted: Any) -> str:
    if rule == "type":
        kinds = wanted if isinstance(wanted, list) else [wanted]
        return f"Must be {' or '.join(_TYPES[kind] for kind in kinds if kind != 'null')}"
    if rule == "enum":
        return f"Must be one of: {', '.join(str(value) for value in wanted if value is not None)}"
    return _RULES[rule].format(wanted) if rule in _RULES else ""


_TYPES = {
    "string": "a string",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "object": "an object",
    "array": "a list",
}
_RULES = {
    "minimum": "Must be at least {}",
    "maximum": "Must be at most {}",
    "minLength": "Must not be empty",
    "maxLength": "Must be at most {} characters",
}


def _join_path(path: str, name: str) -> str:
    return f"{path}.{name}" if path and name else path or name
