"""Query parameters of calls that return a list in pages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from pytest_tms.errors import Problem
from pytest_tms.server.domain.problems import refuse

MAX_LIMIT = 200
"""Items of the largest page."""


class Page(NamedTuple):
    """The requested page: at most ``limit`` items from ``cursor`` on, None for the first page."""

    cursor: int | None
    limit: int


def requested_page(cursor: str | None, limit: str, status: str | None, statuses: Sequence[str]) -> Page:
    """Return the page that query parameters ask for, after checking them and ``status``.

    Raises:
        Unprocessable: A parameter is not valid.
    """
    problems = []
    if cursor is not None and not (cursor.isdecimal() and len(cursor) < 19):
        problems.append(Problem("cursor", "Must be the cursor of an earlier page"))
    if not (limit.isdecimal() and len(limit) < 4 and 1 <= int(limit) <= MAX_LIMIT):
        problems.append(Problem("limit", f"Must be a whole number from 1 to {MAX_LIMIT}"))
    if status is not None and status not in statuses:
        problems.append(Problem("status", f"Must be one of: {', '.join(statuses)}"))
    refuse(problems)
    return Page(int(cursor) if cursor else None, int(limit))
