"""Environments for plugins that conflict with each other, built once with pip and kept under .tms/venvs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

REPOSITORY = Path(__file__).parents[2]
VENVS = REPOSITORY / ".tms" / "venvs"

BASE = ("pytest-xdist==3.8.0", "pytest-reportlog==1.0.0")
ENVIRONMENTS = {
    "eight": ("pytest==8.4.2", "pytest-subtests==0.15.0", "pytest-rerunfailures==16.1"),
    "rerunfailures": ("pytest==9.2.0", "pytest-rerunfailures==16.7"),
    "retry": ("pytest==9.2.0", "pytest-retry==1.7.0"),
    "flaky": ("pytest==9.2.0", "flaky==3.8.1"),
    "schemathesis": ("schemathesis==4.32.5",),
    "openapi": ("openapi-python-client==0.29.1", "openapi-spec-validator==0.9.0"),
    "generator": (
        "openapi-generator-cli==7.26.0",
        "pydantic==2.13.4",
        "python-dateutil==2.9.0.post0",
        "tree-sitter==0.26.1",
        "tree-sitter-c-sharp==0.23.5",
    ),
    "release": (
        "build==1.6.1",
        "check-wheel-contents==0.6.3",
        "cyclonedx-bom==7.5.0",
        "pyroma==5.0.1",
        "twine==7.0.0",
        "uv==0.13.9",
    ),
    "s3": ("moto[server]==5.1.18",),
    "guests": (
        "pytest==9.2.0",
        "anyio",
        "pytest-asyncio",
        "pytest-bdd",
        "pytest-cov",
        "pytest-randomly",
        "pytest-timeout",
        "trio",
    ),
    "replacing": (
        "pytest==9.2.0",
        "freezegun",
        "gevent",
        "pyfakefs",
        "pytest-socket",
        "time-machine",
    ),
    "shapes": (
        "pytest==8.4.2",
        "freezegun==1.5.5",
        "ipykernel",
        "nbval==0.11.0",
        "pyfakefs==6.3.2",
        "pytest-forked",
    ),
    "playwright": (
        "pytest==9.2.0",
        "pytest-playwright==0.10.0",
        "pytest-rerunfailures==16.7",
        "imageio-ffmpeg",
    ),
}
"""The packages of each environment beside the plugin itself; "main" is the one that runs these tests."""


def python(name: str) -> str:
    """The interpreter of an environment, which is built if it does not exist or its contents changed."""
    if name == "main":
        return sys.executable
    folder = VENVS / name
    folder.mkdir(parents=True, exist_ok=True)
    interpreter = folder / "bin" / "python"
    wanted = [*BASE, *ENVIRONMENTS[name]]
    with FileLock(VENVS / f"{name}.lock"):
        ready = folder / "ready"
        if not ready.exists() or ready.read_text().split() != wanted:
            subprocess.run([sys.executable, "-m", "venv", "--clear", "--without-pip", folder], check=True)
            pip = [sys.executable, "-m", "pip", "--python", str(interpreter), "install", "--quiet"]
            completed = subprocess.run(
                [*pip, *wanted, "--editable", str(REPOSITORY)], capture_output=True, text=True, check=False
            )
            if completed.returncode:
                pytest.skip(f"pip failed: {completed.stderr.strip().splitlines()[-1:]}")
            ready.write_text("\n".join(wanted))
    return str(interpreter)
