"""Schemathesis against the served OpenAPI document: every check and phase, with a token and without."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers import environments
from tests.helpers.api import Api, running

pytestmark = pytest.mark.plugins
CASES = int(os.environ.get("API_CASES", "45"))
"""Cases to make with a token; `make nightly` makes 10,000."""
SEED = os.environ.get("API_SEED", "1")
EACH = CASES // 15
"""Examples for each call; `st` makes about 15 cases of one, and some 1,500 of the document's bounds."""
ENVIRON = {"TMS_SERVER_WEBHOOK_SUBNETS": "127.0.0.0/8", "TMS_SERVER_RATE_LIMITS": "off"}


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in ENVIRON.items():
            patch.setenv(name, value)
        with running(tmp_path_factory.mktemp("schema") / "data") as api:
            yield api


def cases(api: Api, folder: Path, *options: str) -> int:
    """The number of cases that `st` made, none of which may fail."""
    completed = subprocess.run(
        [
            Path(environments.python("schemathesis")).with_name("st"), "run", f"{api.url}/openapi.json",
            "--checks", "all", "--seed", SEED, "--generation-database", "none", "--no-color", *options,
        ],
        cwd=folder,
        env={
            **os.environ,
            "PYTHONPATH": str(Path(environments.__file__).parent),
            "SCHEMATHESIS_HOOKS": "schemathesis_hooks",
        },
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert completed.returncode == 0, completed.stdout + completed.stderr
    made = re.search(r"(\d[\d,]*) generated", completed.stdout)
    assert made, completed.stdout
    assert " failed\n" not in api.output()
    return int(made[1].replace(",", ""))


@pytest.mark.slow
def test_the_server_does_what_its_document_says(api: Api, tmp_path: Path) -> None:
    header = f"Authorization: Bearer {api.token}"
    assert cases(api, tmp_path, "--header", header, "--max-examples", str(EACH)) >= CASES


@pytest.mark.slow
def test_without_a_token_the_document_is_true_as_well(api: Api, tmp_path: Path) -> None:
    phases = "fuzzing,stateful"
    assert cases(api, tmp_path, "--phases", phases, "--max-examples", str(EACH)) >= CASES // 25
