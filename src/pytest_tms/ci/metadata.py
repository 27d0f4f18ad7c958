"""The metadata of an execution that its CI system and git provide."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from pytest_tms.ci.detection import detect_build
from pytest_tms.ci.git import read_branch, read_commit, read_prefix, read_remote
from pytest_tms.masking.urls import without_credentials

REMOTES = ("https://", "http://", "ssh://", "git@")
"""What the URL of a repository on another machine begins with; a path on this one is not sent."""


def build_metadata(
    folder: Path, environ: Mapping[str, str] = os.environ, *, project: str = ""
) -> dict[str, str]:
    """Return an execution's metadata from CI; what CI does not provide is from git in ``folder``.

    ``project`` is the configured name; without one, it is the name of the repository. ``repositoryUrl`` and
    ``rootPath``, the path of the folder in the repository, are for links to the source.
    """
    build = detect_build(environ)
    metadata = build.metadata() if build else {}
    if "commit" not in metadata and (commit := read_commit(folder)):
        metadata["commit"] = commit
    if "branch" not in metadata and (branch := read_branch(folder)):
        metadata["branch"] = branch
    repository = build.repository if build else ""
    remote = read_remote(folder)
    if name := project or repository_name(repository or remote):
        metadata["project"] = name
    if remote.startswith(REMOTES):
        metadata["repositoryUrl"] = without_credentials(remote)
        if path := read_prefix(folder):
            metadata["rootPath"] = path
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
