"""The names that `pytest_tms` offers."""

from __future__ import annotations

import subprocess
import sys

import pytest

import pytest_tms


@pytest.mark.parametrize("name", pytest_tms.__all__)
def test_every_public_name_loads(name: str) -> None:
    assert getattr(pytest_tms, name).__name__ == name


@pytest.mark.parametrize("module", ["pytest_tms", "pytest_tms.wire"])
def test_a_name_that_does_not_exist_is_named(module: str) -> None:
    program = f"import {module}; {module}.Missing"
    completed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert completed.stderr.endswith(f"AttributeError: module {module!r} has no attribute 'Missing'\n")
