"""Request bodies in: decoded into wire structs, or refused with every bad field."""

from __future__ import annotations

import math
import re
from codecs import BOM_UTF8
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import chain, islice
from typing import Any, TypeVar

import msgspec
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from jsonschema.validators import extend

from pytest_tms import wire
from pytest_tms.errors import ApiError, BadRequest, Problem, TooLarge, Unprocessable
from pytest_tms.server.api.json_limits import check_depth, check_values, too_deep
from pytest_tms.server.domain import counts
from pytest_tms.server.domain.metadata_limits import size_problems

T = TypeVar("T")

MOST_PROBLEMS = 1000
"""How many bad fields one answer lists."""
MOST_TESTS = 250_000
"""Tests of one submission."""
_SUBMISSION = msgspec.json.Decoder(wire.ResultsSubmission[msgspec.Raw])  # made at import: see calls.decoder


def decode(
    body: bytes, kind: type[T], rules: Callable[[dict[str, Any]], Iterable[Problem]]
) -> tuple[T, dict[str, Any]]:
    """A small body as ``kind`` and as the document that it came in, unknown fields included.

    ``rules`` finds what no schema says, in a document whose fields may be of any kind. Raises BadRequest
    where the body is no JSON, Unprocessable with every bad field.
    """
    document = parse(body)
    try:
        value = msgspec.convert(document, kind)
    except msgspec.ValidationError as error:
        refuse(chain(problems(document, kind, error), rules(document)))
        raise
    refuse(rules(document))
    return value, document


def decode_results(
    body: bytes,
) -> tuple[wire.ResultsSubmission[msgspec.Raw], list[wire.TestResult], list[str], dict[str, msgspec.Raw]]:
    """POST /results: the submission, its tests, each test's own text, and all else of its document.

    The texts keep the fields of a test that are unknown. Raises TooLarge for too many tests.
    """
    body = _text(body)
    try:
        check_values(body)
        submission, tests, texts, top = _results(body)
    except msgspec.ValidationError:
        document = parse(body)
        try:  # the document as it was parsed has no 3.0 where a schema wants a whole number
            submission, tests, texts, top = _results(msgspec.json.encode(document))
        except msgspec.ValidationError as error:
            refuse(_results_problems(document, error))
            raise
    except (msgspec.DecodeError, RecursionError) as error:
        raise _refused(error) from None
    check_depth(texts, "tests[{}]", around=2)
    for name, raw in top.items():
        check_depth([str(raw, "utf-8")], name, around=1)
    refuse(
        chain(
            counts.problems(submission.results, "results"),
            time_problems(submission.happened_at, "happenedAt"),
            size_problems(submission.metadata, "metadata"),
        )
    )
    return submission, tests, texts, top


def _results(
    body: bytes,
) -> tuple[wire.ResultsSubmission[msgspec.Raw], list[wire.TestResult], list[str], dict[str, msgspec.Raw]]:
    one = msgspec.json.Decoder(wire.TestResult)
    submission = _SUBMISSION.decode(body)
    if len(submission.tests or ()) > MOST_TESTS:
        raise TooLarge(f"The submission has more than {MOST_TESTS:,} tests: submit less at once.")
    tests = [one.decode(raw) for raw in submission.tests or ()]
    texts = [str(raw, "utf-8") for raw in submission.tests or ()]
    top = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    top.pop("tests", None)
    return submission, tests, texts, top


def parse(body: bytes) -> dict[str, Any]:
    """A body as a JSON object, in which ``3.0`` is the whole number 3, as JSON Schema has it.

    Raises BadRequest, or Unprocessable where it is JSON but no object.
    """
    body = _text(body)
    try:
        check_values(body)
        document = msgspec.json.Decoder(float_hook=_number).decode(body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise _refused(error) from None
    check_depth([str(body, "utf-8")], "")
    if not isinstance(document, dict):
        raise Unprocessable(details=[Problem("", "Must be an object")])
    return document


def count_problems(value: object, path: str) -> list[Problem]:
    """What is wrong between counts of the right kind; those of a wrong kind are for ``problems`` to name."""
    try:
        return counts.problems(msgspec.convert(value, wire.GivenCounts | None), path)
    except msgspec.ValidationError:
        return []


def time_problems(value: object, path: str) -> list[Problem]:
    """What is wrong with a time; one of a wrong kind is for ``problems`` to name."""
    if isinstance(value, str):
        try:
            wire.parse_time(value)
        except ValueError:
            return [Problem(path, "Must be an ISO 8601 time")]
    return []


def happened(text: str | None, now: int) -> int:
    """Milliseconds since 1970 at which something happened that is said at ``now``: then, or before."""
    if text is None:
        return now
    return max(0, min(now, round(wire.parse_time(text).timestamp() * 1000)))


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
        yield _described(problem, at)
    if not found:  # msgspec is stricter than its schema, on the range of numbers for one
        said, _, where = str(error).partition(" - at `$")
        yield Problem(_joined(at, where.rstrip("`").lstrip(".")), said)


def _results_problems(document: dict[str, Any], error: msgspec.ValidationError) -> Iterator[Problem]:
    """The problems of POST /results. A schema check of 100,000 good tests takes many seconds, so that each
    test is decoded first, and only one that fails is looked at closely.
    """
    tests = document.get("tests")
    each: Sequence[object] = tests if isinstance(tests, list) else ()
    around = {**document, "tests": []} if isinstance(tests, list) else document
    kind = wire.ResultsSubmission[wire.TestResult]
    try:
        msgspec.convert(around, kind)
    except msgspec.ValidationError as first:
        yield from problems(around, kind, first)
    yield from count_problems(document.get("results"), "results")
    yield from time_problems(document.get("happenedAt"), "happenedAt")
    yield from size_problems(document.get("metadata"), "metadata")
    for number, test in enumerate(each):
        try:
            msgspec.convert(test, wire.TestResult)
        except msgspec.ValidationError as first:
            yield from problems(test, wire.TestResult, first, f"tests[{number}]")


@cache
def _validator(kind: Any) -> Any:
    nullable = extend(Draft202012Validator, {"anyOf": _null_or})  # type: ignore[no-untyped-call]  # in its stubs
    return nullable(msgspec.json.schema(kind))


def _null_or(validator: Any, kinds: list[Any], value: object, _: object) -> Iterator[ValidationError]:
    """``anyOf`` as our schemas have it: null or one kind, whose errors are those that matter."""
    if value is not None:
        for kind in kinds:
            if kind != {"type": "null"}:
                yield from validator.descend(value, kind)


def _described(error: ValidationError, at: str) -> Problem:
    path = at
    for step in error.absolute_path:
        path = f"{path}[{step}]" if isinstance(step, int) else _joined(path, str(step))
    wanted: Any = error.validator_value
    if error.validator == "required":
        missing = next((name for name in wanted if f"'{name}'" in error.message), "")
        return Problem(_joined(path, missing), "Is required")
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


def _number(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise msgspec.DecodeError("Number out of range")
    return int(number) if number.is_integer() and abs(number) <= wire.MAX_COUNT else number


def _joined(path: str, name: str) -> str:
    return f"{path}.{name}" if path and name else path or name


def _text(body: bytes) -> bytes:
    """Return a body without the byte order mark that some writers put before it.

    Raises BadRequest for a body that is not UTF-8, which msgspec does not see in fields that it passes over.
    """
    try:
        body.decode()
    except UnicodeDecodeError as error:
        raise BadRequest(f"The body is not UTF-8: byte {error.start} is wrong.") from None
    return body.removeprefix(BOM_UTF8)


def _refused(error: Exception) -> ApiError:
    """What to raise for JSON that cannot be decoded."""
    if isinstance(error, RecursionError):
        return too_deep()
    said = re.sub(r"^JSON is malformed: ", "", str(error))
    return BadRequest(f"The body is not valid JSON: {said}.")
