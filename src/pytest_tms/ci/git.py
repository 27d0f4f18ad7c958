"""The branch, the commit and the remote of a working copy."""

from __future__ import annotations

import subprocess
from pathlib import Path

TIMEOUT = 2.0
"""Seconds that one git command may take."""


def read_commit(folder: Path) -> str:
    """Return the commit that is checked out in ``folder``; empty if there is none."""
    return run_git(folder, "rev-parse", "HEAD")


def read_branch(folder: Path) -> str:
    """Return the branch that is checked out in ``folder``; empty if there is none."""
    return run_git(folder, "symbolic-ref", "--short", "HEAD")


def read_remote(folder: Path) -> str:
    """Return the URL of the remote ``origin`` of the working copy of ``folder``; empty if there is none."""
    return run_git(folder, "config", "--get", "remote.origin.url")


def read_prefix(folder: Path) -> str:
    """Return the path of ``folder`` in its working copy, such as ``services/shop``; empty for its root."""
    return run_git(folder, "rev-parse", "--show-prefix").rstrip("/")


def run_git(folder: Path, *arguments: str) -> str:
    """Return the output of a git command in ``folder``; empty if it fails."""
    try:
        completed = subprocess.run(  # noqa: S603  # constant arguments
            ["git", *arguments],  # noqa: S607  # the user's own git
            cwd=folder,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TIMEOUT,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return completed.stdout.strip() if completed.returncode == 0 else ""
