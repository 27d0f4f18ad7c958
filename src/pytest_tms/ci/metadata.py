"""The metadata of an execution that its CI system and git provide."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from pytest_tms.ci.detection import detect_build
from pytest_tms.ci.git import read_branch, read_commit


def build_metadata(folder: Path, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return an execution's metadata from CI; branch and commit from git in ``folder`` if CI has none."""
    build = detect_build(environ)
    metadata = build.metadata() if build else {}
    if "commit" not in metadata and (commit := read_commit(folder)):
        metadata["commit"] = commit
    if "branch" not in metadata and (branch := read_branch(folder)):
        metadata["branch"] = branch
    return metadata
