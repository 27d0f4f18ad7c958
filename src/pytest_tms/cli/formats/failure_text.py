"""The fields ``error`` and ``longrepr`` of a failure, without repetition."""

from __future__ import annotations

import re

from pytest_tms.text import first_line, shorten


def error_of(message: str, body: str) -> str | None:
    """Return the message, or only its first line if the text repeats it.

    Without a message it is the first line of the text.
    """
    error = first_line(message or body)
    if message and not repeats(body, message):
        error = message
    return shorten("\n".join(line.rstrip() for line in error.splitlines())) or None


def longrepr_of(message: str, body: str, error: str | None) -> str:
    """Return the text, after the message unless the text or ``error`` has all of it."""
    is_in_error = "\n" not in message and message in (error or "")
    return body if is_in_error else message_and_body(message, body)


def message_and_body(message: str, body: str) -> str:
    """Return the text, after the message unless the text contains it."""
    if not message or repeats(body, message):
        return body
    return f"{message}\n\n{body}" if body else message


def repeats(body: str, message: str) -> bool:
    """Return whether a text contains the words of a message, with any white space between them."""
    body = re.sub(r"(?m)^E ", "", body)  # pytest writes it before each line of a message
    body, message = (" ".join(text.split()) for text in (body, message))
    start = -1
    for _ in range(100):  # occurrences inside other words, beyond which the text is not searched
        start = body.find(message, start + 1)
        if start < 0:
            return False
        around = body[start - 1 : start] + message[:1], message[-1:] + body[start + len(message) :][:1]
        if not any(re.fullmatch(r"\w\w", pair) for pair in around):
            return True
    return False
