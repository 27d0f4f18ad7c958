"""What may be shown of an error of an object store: its text may have credentials or parts of a request."""

from __future__ import annotations

import re

REDIRECT = "Received redirect without LOCATION"
"""The text of the error if a bucket is in another region than the request names."""

_CODE = re.compile(r"<Code>([\w.-]{1,100})</Code>")
_STATUS = re.compile(r"status code: (\d{3}(?: [A-Z][A-Za-z]+)*)")


def reason_of(error: Exception) -> str:
    """Return the status and the error code of the response; without one, the class of the error."""
    text = str(error).partition("\n\nDebug source:")[0]
    if REDIRECT in text:
        return "the bucket is in another region: check AWS_REGION"
    found = [match[1] for pattern in (_STATUS, _CODE) if (match := pattern.search(text))]
    return ": ".join(found) or type(error).__name__
