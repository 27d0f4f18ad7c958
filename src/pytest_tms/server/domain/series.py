"""Which branches the runs of a branch are compared with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytest_tms.server.domain.column_values import without_nul

MAX_NAME = 200
"""Characters of a branch."""
BASE_BRANCH_FIELDS = ("baseBranch", "targetBranch", "base_branch", "defaultBranch")
"""Fields of an execution's metadata that name its base branch, the most specific first."""
DEFAULT_BRANCHES = ("main", "master")
"""Base branches of an execution that names none."""


def base_branches(metadata: Mapping[str, Any], branch: str) -> list[str]:
    """Return the branches that a run of ``branch`` is compared with if that has no earlier run, in order.

    None if the run has no branch: then nothing says that it began at another.
    """
    if not branch:
        return []
    named = [
        value.strip()[:MAX_NAME] for key in BASE_BRANCH_FIELDS if isinstance(value := metadata.get(key), str)
    ]
    found = [without_nul(name) for name in (*named, *DEFAULT_BRANCHES) if name and name != branch]
    return list(dict.fromkeys(found))
