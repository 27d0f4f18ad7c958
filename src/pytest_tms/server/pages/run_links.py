"""Paths of the pages of one run, and of its filters."""

from __future__ import annotations

from urllib.parse import quote, urlencode


def run_path(execution_id: str, page: str = "") -> str:
    """Return the path of the overview of a run, or of one of its pages, as ``timeline``."""
    path = f"/runs/{quote(execution_id, safe='')}"
    return f"{path}/{page}" if page else path


def test_path(execution_id: str, test_id: int, shard_id: str) -> str:
    """Return the path of the result of a test in a shard."""
    return f"{run_path(execution_id)}/tests/{test_id}?{urlencode({'shard': shard_id})}"


def tests_path(execution_id: str, **filters: object) -> str:
    """Return the path of the list of tests that match filters; those without a value are left out."""
    filters = {name: value for name, value in filters.items() if value not in (None, "", False)}
    query = urlencode({name: 1 if value is True else value for name, value in filters.items()})
    return f"{run_path(execution_id)}/tests" + (f"?{query}" if query else "")
