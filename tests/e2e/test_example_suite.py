"""The example shop, run as its README says and without any plugin."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

SHOP = Path(__file__).parents[2] / "examples" / "shop"


@pytest.fixture(scope="module")
def run() -> subprocess.CompletedProcess[str]:
    foreign = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "TMS"))}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--color=no"],
        cwd=SHOP,
        env={**foreign, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_the_outcomes_are_those_of_the_readme(run: subprocess.CompletedProcess[str]) -> None:
    assert run.returncode == 1, run.stdout + run.stderr
    last = run.stdout.splitlines()[-1]
    assert dict(reversed(pair) for pair in re.findall(r"(\d+) ([a-z]+)", last.partition(" in ")[0])) == {
        "passed": "39",
        "failed": "3",
        "error": "1",
        "skipped": "1",
        "xfailed": "1",
    }


def test_the_readme_explains_every_failure(run: subprocess.CompletedProcess[str]) -> None:
    failures = re.findall(r"^(?:FAILED|ERROR|XFAIL) (.+?)(?: - |$)", run.stdout, re.MULTILINE)
    names = [nodeid.rpartition("::")[2] for nodeid in failures]
    readme = (SHOP / "README.md").read_text()
    assert len(names) == 5
    assert [name for name in names if name not in readme] == []
