"""Request bodies in: decoded into wire structs, or refused with every bad field."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import islice
from typing import Any, TypeVar

import msgspec
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from pytest_tms import wire
from pytest_tms.errors import BadRequest, Problem, Unprocessable

T = TypeVar("T")

MOST_PROBLEMS = 1000
"""How many bad fields one answer lists."""


def decode(
    body: bytes, kind: type[T], allowed: Mapping[str, Sequence[str]] | None = None
) -> tuple[T, dict[str, Any]]:
    """A small body as ``kind`` and as the document that it came in, unknown fields included.

    ``allowed`` lists the values of top-level fields that the operator restricts. Raises BadRequest where the
    body is no JSON, Unprocessable with every bad field.
    """
    document = parse(body)
    refused = [
        Problem(name, f"Must be one of: {', '.join(values)}")
        for name, values in (allowed or {}).items()
        if isinstance(document.get(name), str) and document[name] not in values
    ]
    try:
        value = msgspec.convert(document, kind)
    except msgspec.ValidationError as error:
        refuse([*problems(document, kind, error), *refused])
    refuse(refused)
    return value, document


def decode_results(
    body: bytes,
) -> tuple[wire.ResultsSubmission[msgspec.Raw], list[wire.TestResult], dict[str, msgspec.Raw]]:
    """POST /results: the submission, its tests one by one, and the top level of its document.

    A test's own text stays in ``submission.tests``, so that its unknown fields are kept.
    """
    kind = wire.ResultsSubmission[msgspec.Raw]
    found: list[Problem] = []
    try:
        submission = msgspec.json.decode(body, type=kind)
        top = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    except msgspec.ValidationError as error:
        document = parse(body)
        tests = document.get("tests")
        whole = wire.ResultsSubmission[wire.TestResult]
        # Only what fails is looked at closely: a schema check of 100,000 good tests takes many seconds.
        document["tests"] = [] if isinstance(tests, list) else tests
        found = list(problems(document, whole, error))
        if isinstance(tests, list):
            for number, test in enumerate(tests):
                found += _test_problems(number, test)
        refuse(found)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _not_json(error) from None
    one = msgspec.json.Decoder(wire.TestResult)
    results = []
    for number, raw in enumerate(submission.tests or ()):
        try:
            results.append(one.decode(raw))
        except msgspec.ValidationError as error:
            found += problems(msgspec.json.decode(raw), wire.TestResult, error, f"tests[{number}]")
            if len(found) > MOST_PROBLEMS:
                break
    refuse(found)
    return submission, results, top


def parse(body: bytes) -> dict[str, Any]:
    """A body as a JSON object. Raises BadRequest, or Unprocessable where it is JSON but no object."""
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _not_json(error) from None
    if not isinstance(document, dict):
        raise Unprocessable(details=[Problem("", "Must be an object")])
    return document


def refuse(found: Iterable[Problem]) -> None:
    """Raise Unprocessable where there is any problem; a list without end is cut, and says so."""
    listed = list(islice(found, MOST_PROBLEMS + 1))
    if len(listed) > MOST_PROBLEMS:
        listed[MOST_PROBLEMS:] = [Problem("", f"There are more than {MOST_PROBLEMS} problems")]
    if listed:
        raise Unprocessable(details=listed)


def unknown_fields(document: Mapping[str, T], kind: type[msgspec.Struct]) -> dict[str, T]:
    """The fields of a document that ``kind`` does not have."""
    known = set(kind.__struct_encode_fields__)
    return {name: value for name, value in document.items() if name not in known}


def problems(document: object, kind: Any, error: msgspec.ValidationError, at: str = "") -> Iterator[Problem]:
    """Every bad field of a document that msgspec refused with ``error``, which names only the first."""
    found = False
    for problem in _validator(kind).iter_errors(document):
        found = True
        yield from _described(problem, at)
    if not found:  # msgspec is stricter than its schema, on the range of numbers for one
        said, _, where = str(error).partition(" - at `$")
        yield Problem(_joined(at, where.rstrip("`").lstrip(".")), said)


def _test_problems(number: int, test: object) -> Iterator[Problem]:
    try:
        msgspec.convert(test, wire.TestResult)
    except msgspec.ValidationError as error:
        yield from problems(test, wire.TestResult, error, f"tests[{number}]")


@cache
def _validator(kind: Any) -> Draft202012Validator:
    return Draft202012Validator(msgspec.json.schema(kind))


def _described(error: ValidationError, at: str) -> Iterator[Problem]:
    path = at
    for step in error.absolute_path:
        path = f"{path}[{step}]" if isinstance(step, int) else _joined(path, str(step))
    wanted: Any = error.validator_value
    if error.validator == "required":
        missing = next((name for name in wanted if f"'{name}'" in error.message), "")
        yield Problem(_joined(path, missing), "Is required")
    elif error.validator == "anyOf":  # a field that may be null: what matters is the other kind
        for inner in error.context or ():
            if inner.validator_value != "null":
                yield from _described(inner, at)
    else:
        yield Problem(path, _message(str(error.validator), wanted) or error.message[:200])


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


def _joined(path: str, name: str) -> str:
    return f"{path}.{name}" if path and name else path or name


def _not_json(error: Exception) -> BadRequest:
    if isinstance(error, RecursionError):
        return BadRequest("The body is nested too deeply.")
    said = re.sub(r"^JSON is malformed: ", "", str(error))
    return BadRequest(f"The body is not valid JSON: {said}.")
