"""Query parameters that select executions."""

from __future__ import annotations

from collections.abc import Mapping

from pytest_tms import wire
from pytest_tms.errors import Problem
from pytest_tms.server.domain.problems import refuse
from pytest_tms.server.store.execution_lists import ExecutionFilter

MAX_FILTER = 200
"""Characters of the longest filter, as of the values that it selects."""
NAMES = {
    "testSuite": "suite",
    "environment": "environment",
    "branch": "branch",
    "status": "status",
    "provider": "provider",
    "commit": "commit",
    "project": "project",
    "author": "author",
    "q": "text",
}
"""Fields of an ``ExecutionFilter`` by their query parameters; times are apart."""


def execution_filter(query: Mapping[str, str]) -> ExecutionFilter:
    """Return the filter that query parameters ask for. Whether a status exists is checked elsewhere.

    Raises:
        Unprocessable: A parameter is not valid.
    """
    problems = [
        Problem(name, f"Must be a text of 1 to {MAX_FILTER} characters")
        for name in NAMES
        if name in query and not (1 <= len(query[name]) <= MAX_FILTER and "\x00" not in query[name])
    ]
    times: dict[str, int] = {}
    for name in ("since", "until"):
        if name in query:
            try:
                times[name] = round(wire.parse_time(query[name]).timestamp() * 1000)
            except (ValueError, OverflowError):
                problems.append(Problem(name, "Must be an ISO 8601 time, such as 2026-03-02T09:15:00Z"))
    refuse(problems)
    return ExecutionFilter(
        **{field: query[name] for name, field in NAMES.items() if name in query},
        since=times.get("since"),
        until=times.get("until"),
    )
