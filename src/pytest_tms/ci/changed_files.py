"""The files that a working copy changes, compared with its base branch."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from pytest_tms.ci.git import run_git

BASE_VARIABLES = (
    "GITHUB_BASE_REF",
    "CI_MERGE_REQUEST_TARGET_BRANCH_NAME",
    "BITBUCKET_PR_DESTINATION_BRANCH",
    "BUILDKITE_PULL_REQUEST_BASE_BRANCH",
    "CHANGE_TARGET",
    "CI_DEFAULT_BRANCH",
)
"""Variables in which CI systems name the base branch of a pull request, or the default branch."""
MAX_FILES = 10_000
"""Files that are read."""


def changed_files(folder: Path, environ: Mapping[str, str] = os.environ) -> frozenset[str]:
    """Return the files below ``folder`` that differ from the base branch, relative to it.

    Changes since the branch began count, whether they are committed or not, and files that git does not
    know. None if git is not there, or the clone does not have the base branch.
    """
    for name in _bases(environ):
        if base := run_git(folder, "merge-base", "HEAD", name):
            changed = run_git(folder, "diff", "--name-only", "--relative", "-z", base)
            untracked = run_git(folder, "ls-files", "--others", "--exclude-standard", "-z")
            found = [each for text in (changed, untracked) for each in text.split("\0") if each]
            return frozenset(found[:MAX_FILES])
    return frozenset()


def _bases(environ: Mapping[str, str]) -> Iterator[str]:
    for variable in BASE_VARIABLES:
        name = environ.get(variable, "").strip().removeprefix("refs/heads/")
        if name and not name.startswith("-"):
            yield f"origin/{name}"
            yield name
    yield from ("origin/HEAD", "origin/main", "origin/master", "main", "master")
