"""Ids of test cases, as markers of tests and plans give them."""

from __future__ import annotations

from typing import Any

import msgspec

from pytest_tms.server.domain.column_values import without_nul

MAX_CASE_ID = 200
"""Characters of an id; a longer one is not an id."""
MAX_CASES = 20
"""Ids of one test that are kept."""
PROPERTY = "id"
"""The property of a test that has its id, or the list of its ids."""


def case_ids(properties: dict[str, Any] | None) -> str:
    """Return the ids of the cases of a test as a JSON list, in alphabetical order."""
    value = (properties or {}).get(PROPERTY)
    if value is None:
        return "[]"
    given = value if isinstance(value, list) else [value]
    names = {without_nul(" ".join(each.split())) for each in given[: 10 * MAX_CASES] if isinstance(each, str)}
    found = sorted(name for name in names if 0 < len(name) <= MAX_CASE_ID)
    return msgspec.json.encode(found[:MAX_CASES]).decode()
