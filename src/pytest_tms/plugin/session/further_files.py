"""The files of a session that belong to no test: those that match ``tms_artifacts``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pytest_tms.settings.table import Settings

MAX_FURTHER_FILES = 1000
"""Files of ``tms_artifacts`` that are uploaded."""


def further_files(settings: Settings, root: Path, warn: Callable[[str], None]) -> list[str]:
    """Return the paths of the files below ``root`` that match, none if no files are uploaded.

    ``warn`` receives sentences about patterns that cannot be used, and files that are left out.
    """
    found: list[str] = []
    if settings.upload == "none":
        return found
    for pattern in settings.artifacts:
        try:
            matches = sorted(root.glob(pattern))
        except (OSError, ValueError, NotImplementedError) as error:
            warn(f"tms_artifacts: {pattern!r} cannot be used: {error}")
            continue
        found += [str(path) for path in matches if path.is_file()]
    if len(found) > MAX_FURTHER_FILES:
        warn(f"tms_artifacts matches {len(found)} files: only the first {MAX_FURTHER_FILES} are uploaded")
    return found[:MAX_FURTHER_FILES]
