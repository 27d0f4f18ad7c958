"""Problems of a request, listed together in one error."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from pytest_tms.errors import Problem, Unprocessable

MAX_PROBLEMS = 1000
"""Problems that one error lists at most."""


def refuse(problems: Iterable[Problem]) -> None:
    """Refuse a request that has problems; a list that is too long is truncated, with a note.

    Raises:
        Unprocessable: There is at least one problem.
    """
    listed = list(islice(problems, MAX_PROBLEMS + 1))
    if len(listed) > MAX_PROBLEMS:
        listed[MAX_PROBLEMS:] = [Problem("", f"There are more than {MAX_PROBLEMS} problems")]
    if listed:
        raise Unprocessable(details=listed)
