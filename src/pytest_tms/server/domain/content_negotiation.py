"""Content negotiation (RFC 9110, 12.4): the values that a client accepts, and their weights."""

from __future__ import annotations


def weights(field: str) -> dict[str, float]:
    """Read a list like that of Accept-Encoding: each name, in lower case, with its weight from 0 to 1."""
    found = {}
    for item in field.split(","):
        name, *parameters = (part.strip().lower() for part in item.split(";"))
        weight = 1.0
        for parameter in parameters:
            key, _, number = parameter.partition("=")
            if key.strip() == "q":
                try:
                    weight = float(number)
                except ValueError:
                    weight = 0.0
        if name:
            found[name] = weight
    return found
