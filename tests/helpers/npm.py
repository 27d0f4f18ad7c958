"""Packages from npm that tests run, installed once and kept under .tms/npm."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from filelock import FileLock

REPOSITORY = Path(__file__).parents[2]
FOLDER = REPOSITORY / ".tms" / "npm"

PACKAGES = {
    "typescript": (
        "@types/node@20.19.0",
        "openapi-fetch@0.17.0",
        "openapi-typescript@7.13.0",
        "typescript@5.9.3",
    ),
    "dclint": ("dclint@3.1.0",),
    "axe": ("axe-core@4.11.0",),
    "oidc": ("oidc-provider@9.13.3",),
    "redocly": ("@redocly/cli@2.77.0",),
    "spectral": ("@stoplight/spectral-cli@6.16.3",),
}
"""The packages of each folder, in pinned versions."""


def folder(name: str) -> Path:
    """Return the folder with ``node_modules``, which is created if its packages are missing or changed."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        pytest.skip("Node.js and npm are not installed")
    made = FOLDER / name
    made.mkdir(parents=True, exist_ok=True)
    ready, wanted = made / "ready", "\n".join(PACKAGES[name])
    with FileLock(FOLDER / f"{name}.lock"):
        if not ready.exists() or ready.read_text() != wanted:
            (made / "package.json").write_text('{"private": true}')
            command = [npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", "--save-exact"]
            completed = subprocess.run(
                [*command, *PACKAGES[name]], cwd=made, capture_output=True, text=True, check=False
            )
            assert completed.returncode == 0, completed.stderr
            ready.write_text(wanted)
    return made
