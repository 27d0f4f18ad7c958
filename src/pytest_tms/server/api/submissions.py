"""The body of POST /results, which may have 100,000 tests and more."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any, NamedTuple

import msgspec

from pytest_tms import wire
from pytest_tms.errors import Problem, TooLarge
from pytest_tms.server.api.json_bodies import json_error, parse, utf8
from pytest_tms.server.api.json_limits import check_depth, check_values
from pytest_tms.server.api.schema_problems import schema_problems
from pytest_tms.server.api.validation import count_problems, time_problems
from pytest_tms.server.domain import counts
from pytest_tms.server.domain.metadata_limits import size_problems
from pytest_tms.server.domain.problems import refuse

MAX_TESTS = 250_000
"""Tests of one submission."""
_SUBMISSION = msgspec.json.Decoder(wire.ResultsSubmission[msgspec.Raw])  # made at import: see calls.decoder


class DecodedResults(NamedTuple):
    """A decoded submission: its tests, the JSON text of each, and all other fields as they were sent."""

    submission: wire.ResultsSubmission[msgspec.Raw]
    tests: list[wire.TestResult]
    documents: list[str]
    fields: dict[str, msgspec.Raw]


def decode_results(body: bytes) -> DecodedResults:
    """Decode and validate the body of POST /results; unknown fields are kept.

    Raises:
        BadRequest: The body is not valid JSON.
        TooLarge: It has too many tests or values.
        Unprocessable: It has invalid fields, all of which are listed.
    """
    body = utf8(body)
    try:
        check_values(body)
        decoded = _decoded(body)
    except msgspec.ValidationError:
        document = parse(body)
        try:  # parse() has turned 3.0 into 3, as the schema requires
            decoded = _decoded(msgspec.json.encode(document))
        except msgspec.ValidationError as error:
            refuse(_problems(document, error))
            raise
    except (msgspec.DecodeError, RecursionError) as error:
        raise json_error(error) from None
    check_depth(decoded.documents, "tests[{}]", around=2)
    for name, raw in decoded.fields.items():
        check_depth([str(raw, "utf-8")], name, around=1)
    submission = decoded.submission
    refuse(
        chain(
            counts.problems(submission.results, "results"),
            time_problems(submission.happened_at, "happenedAt"),
            size_problems(submission.metadata, "metadata"),
        )
    )
    return decoded


def _decoded(body: bytes) -> DecodedResults:
    one = msgspec.json.Decoder(wire.TestResult)
    submission = _SUBMISSION.decode(body)
    if len(submission.tests or ()) > MAX_TESTS:
        raise TooLarge(
            f"The submission has more than {MAX_TESTS:,} tests: split it into several submissions."
        )
    fields = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    fields.pop("tests", None)
    return DecodedResults(
        submission=submission,
        tests=[one.decode(raw) for raw in submission.tests or ()],
        documents=[str(raw, "utf-8") for raw in submission.tests or ()],
        fields=fields,
    )


def _problems(document: dict[str, Any], error: msgspec.ValidationError) -> Iterator[Problem]:
    """Yield all problems of a submission that msgspec refused.

    Validating 100,000 valid tests by their schema takes many seconds, so each test is decoded first, and only
    those that fail are validated.
    """
    tests = document.get("tests")
    each: Sequence[object] = tests if isinstance(tests, list) else ()
    around = {**document, "tests": []} if isinstance(tests, list) else document
    kind = wire.ResultsSubmission[wire.TestResult]
    try:
        msgspec.convert(around, kind)
    except msgspec.ValidationError as first:
        yield from schema_problems(around, kind, first)
    yield from count_problems(document.get("results"), "results")
    yield from time_problems(document.get("happenedAt"), "happenedAt")
    yield from size_problems(document.get("metadata"), "metadata")
    for number, test in enumerate(each):
        try:
            msgspec.convert(test, wire.TestResult)
        except msgspec.ValidationError as first:
            yield from schema_problems(test, wire.TestResult, first, f"tests[{number}]")
