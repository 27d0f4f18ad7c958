"""The commands of a release: build and try the distribution, and run it with an earlier version."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.helpers import environments

REPOSITORY = Path(__file__).parents[2]
EARLIER = "062f0f0"
"""A commit before this one, until there is a release."""

pytestmark = [pytest.mark.nightly, pytest.mark.plugins]


def ran(*command: str) -> str:
    """Return the output of a command of the project, in an environment with the tools of a release."""
    completed = subprocess.run(
        [environments.python("release"), "-m", *command],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert completed.returncode == 0, completed.stdout + completed.stderr
    return completed.stdout


def test_the_distribution_is_built_checked_and_tried() -> None:
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    output = ran("tools.release", "--python", version)
    for trial in (
        "wheel, plugin alone",
        "wheel, with server",
        "sdist, with server",
        "wheel, lowest versions",
    ):
        assert f"== Python {version}: {trial}\na run reports\ntwo shards report to one execution\n" in output
    assert output.count("the local server stops") == 3
    (wheel,) = (REPOSITORY / "dist").glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"pytest_tms"}
    (sbom,) = (REPOSITORY / "dist").glob("*.cdx.json")
    components = {each["name"] for each in json.loads(sbom.read_text())["components"]}
    assert {"msgspec", "litestar", "psycopg", "redis", "mcp"} <= components


def test_plugin_and_server_work_with_those_of_an_earlier_version() -> None:
    known = subprocess.run(
        ["git", "cat-file", "-e", f"{EARLIER}^{{commit}}"], cwd=REPOSITORY, capture_output=True, check=False
    )
    if known.returncode:
        pytest.skip(f"the commit {EARLIER} is not in this clone")
    output = ran("tools.compatibility", EARLIER)
    assert output.count("a run reports") == 4
    assert output.endswith("== Compatible\n")
