"""The metadata of an execution that its CI system and git provide."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from pytest_tms.ci.detection import detect_build
from pytest_tms.ci.git import read_branch, read_commit, read_remote


def build_metadata(
    folder: Path, environ: Mapping[str, str] = os.environ, *, project: str = ""
) -> dict[str, str]:
    """Return an execution's metadata from CI; what CI does not provide is from git in ``folder``.

    ``project`` is the configured name; without one, it is the name of the repository.
    """
    build = detect_build(environ)
    metadata = build.metadata() if build else {}
    if "commit" not in metadata and (commit := read_commit(folder)):
        metadata["commit"] = commit
    if "branch" not in metadata and (branch := read_branch(folder)):
        metadata["branch"] = branch
    repository = build.repository if build else ""
    if name := project or repository_name(repository or read_remote(folder)):
        metadata["project"] = name
    return metadata


def repository_name(location: str) -> str:
    """Return the name of a repository by its path or URL; empty if there is none."""
    return (
        location.strip()
        .rstrip("/\\")
        .removesuffix(".git")
        .replace(":", "/")
        .replace("\\", "/")
        .rpartition("/")[2]
    )
