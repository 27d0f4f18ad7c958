"""Decodes request bodies as JSON, within limits."""

from __future__ import annotations

import math
import re
from codecs import BOM_UTF8
from typing import Any

import msgspec

from pytest_tms import wire
from pytest_tms.errors import ApiError, BadRequest, Problem, Unprocessable
from pytest_tms.server.api.json_limits import check_depth, check_values, too_deep


def parse(body: bytes) -> dict[str, Any]:
    """Return a body as a JSON object, in which ``3.0`` is the whole number 3, as JSON Schema has it.

    Raises:
        BadRequest: The body is not valid JSON.
        Unprocessable: It is JSON, but not an object, or is nested too deeply.
        TooLarge: It has too many values.
    """
    body = utf8(body)
    try:
        check_values(body)
        document = msgspec.json.Decoder(float_hook=_number).decode(body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise json_error(error) from None
    check_depth([str(body, "utf-8")], "")
    if not isinstance(document, dict):
        raise Unprocessable(details=[Problem("", "Must be an object")])
    return document


def utf8(body: bytes) -> bytes:
    """Return a body without the byte order mark that some writers put before it.

    Raises:
        BadRequest: The body is not UTF-8, which msgspec does not detect in fields that it skips.
    """
    try:
        body.decode()
    except UnicodeDecodeError as error:
        raise BadRequest(f"The body is not UTF-8: byte {error.start} is invalid.") from None
    return body.removeprefix(BOM_UTF8)


def json_error(error: Exception) -> ApiError:
    """Return the error to raise for JSON that cannot be decoded, by the exception of the decoder."""
    if isinstance(error, RecursionError):
        return too_deep()
    reason = re.sub(r"^JSON is malformed: ", "", str(error))
    return BadRequest(f"The body is not valid JSON: {reason}.")


def _number(text: str) -> float:
    """Decode a number with a fraction or exponent; a whole one becomes an integer."""
    number = float(text)
    if math.isinf(number):
        raise msgspec.DecodeError("Number out of range")
    return int(number) if number.is_integer() and abs(number) <= wire.MAX_COUNT else number
