"""What may be shown of an error of an object store: its text may have credentials or parts of a request."""

from __future__ import annotations

import html
import os
import re

from pytest_tms.masking.environment import secrets_in
from pytest_tms.masking.masker import Masker

MAX_MESSAGE = 300
"""Characters of the message of a service that are shown."""
REDIRECT = "Received redirect without LOCATION"
"""The text of the error if a bucket is in another region than the request names."""

_CODE = re.compile(r"<Code>([\w.-]{1,100})</Code>")
_MESSAGE = re.compile(r"<Message>([^<]{1,2000})</Message>")
_STATUS = re.compile(r"status code: (\d{3}(?: [A-Z][A-Za-z]+)*)")
_HIDDEN = re.compile(r"\?\S+|\barn:\S+|\b(?=[A-Za-z/+]*\d)[A-Za-z0-9/+]{16,}={0,2}")
"""Query strings, names of users and resources of AWS, and words that may be keys or signatures."""


def reason_of(error: Exception) -> str:
    """Return the service's own error code and message without secrets.

    Without a code it is the HTTP status, and without a response the class of the error.
    """
    text = str(error).partition("\n\nDebug source:")[0]
    if REDIRECT in text:
        return "the bucket is in another region: check AWS_REGION"
    if found := _CODE.search(text):
        message = _MESSAGE.search(text)
        return f"{found[1]}: {_public(message[1])}" if message else found[1]
    status = _STATUS.search(text)
    return status[1] if status else type(error).__name__


def _public(message: str) -> str:
    """Return the first line of a message without secrets."""
    line = html.unescape(message).strip().partition("\n")[0].strip()
    masked = Masker(secrets_in(os.environ)).text(line)
    return _HIDDEN.sub("…", masked)[:MAX_MESSAGE].rstrip(".")
