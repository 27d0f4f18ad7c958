"""Clients that generators make from the served OpenAPI document compile, and drive an execution."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import environments, npm
from tests.helpers.api import Api, expect_success

DRIVERS = Path(__file__).parent / "generated_clients"
SEEN = {
    "status": "completed",
    "branch": "main",
    "counts": {"total": 2, "passed": 1, "failed": 1, "skipped": 0, "flaky": 0},
    "failed": ["pays"],
    "retries": 3,
}
COMPILER = {
    "compilerOptions": {
        "strict": True,
        "noUncheckedIndexedAccess": True,
        "module": "nodenext",
        "target": "es2022",
        "outDir": "out",
        "types": ["node"],
    },
    "files": ["drive.ts"],
}
LINTER = """
extends: [recommended]
rules:
  # The integration document has both /webhooks/executions/{id} and /webhooks/{id}/validate.
  no-ambiguous-paths: off
"""
RULESET = """
extends: "spectral:oas"
"""


@pytest.fixture
def api(sqlite_api: Api) -> Any:
    yield sqlite_api
    sqlite_api.delete_webhooks()


@pytest.fixture
def document(api: Api, tmp_path: Path) -> Path:
    """The document as the server gives it, in a file."""
    path = tmp_path / "openapi.json"
    path.write_text(json.dumps(expect_success(api.request("GET", "/openapi.json"), 200)))
    return path


def ran(*command: str | Path, cwd: Path, api: Api | None = None, **environ: str) -> str:
    """The output of a command that must succeed without a warning."""
    if api is not None:
        environ |= {"TMS_URL": api.url, "TMS_API_TOKEN": api.token}
    completed = subprocess.run(
        command, cwd=cwd, env={**os.environ, **environ}, capture_output=True, text=True, check=False
    )
    said = completed.stdout + completed.stderr
    assert completed.returncode == 0, said
    assert "warning" not in said.lower(), said
    return completed.stdout


@pytest.mark.slow
@pytest.mark.node
def test_the_typescript_client_compiles_strictly_and_drives_an_execution(
    api: Api, document: Path, tmp_path: Path
) -> None:
    packages = npm.folder("typescript")
    (tmp_path / "node_modules").symlink_to(packages / "node_modules")
    (tmp_path / "package.json").write_text('{"type": "module"}')
    (tmp_path / "tsconfig.json").write_text(json.dumps(COMPILER))
    shutil.copy(DRIVERS / "drive.ts", tmp_path)
    tools = packages / "node_modules" / ".bin"
    ran(tools / "openapi-typescript", document, "--output", "schema.d.ts", cwd=tmp_path)
    ran(tools / "tsc", "--project", "tsconfig.json", cwd=tmp_path)
    seen = json.loads(ran("node", "out/drive.js", cwd=tmp_path, api=api))
    assert seen.pop("webhookId").startswith("wh_")
    assert seen == {**SEEN, "refused": ["testSuite"]}


@pytest.mark.slow
@pytest.mark.plugins
def test_the_python_client_is_whole_and_drives_an_execution_and_a_webhook(
    api: Api, document: Path, tmp_path: Path
) -> None:
    python = Path(environments.python("openapi"))
    (tmp_path / "config.yml").write_text("post_hooks: []\n")
    ran(
        python.with_name("openapi-python-client"), "generate", "--path", document, "--config", "config.yml",
        "--meta", "none", "--output-path", "tms_client", "--fail-on-warning",
        cwd=tmp_path,
    )  # fmt: skip
    shutil.copy(DRIVERS / "drive.py", tmp_path)
    seen = json.loads(ran(python, "drive.py", cwd=tmp_path, api=api))
    assert seen.pop("webhookId").startswith("wh_")
    assert seen == {**SEEN, "refused": ["events"]}


@pytest.mark.slow
@pytest.mark.node
def test_redocly_has_no_warning(document: Path, tmp_path: Path) -> None:
    (tmp_path / "redocly.yaml").write_text(LINTER)
    redocly = npm.folder("redocly") / "node_modules" / ".bin" / "redocly"
    quiet = {**os.environ, "REDOCLY_TELEMETRY": "off", "REDOCLY_SUPPRESS_UPDATE_NOTICE": "true"}
    completed = subprocess.run(
        [redocly, "lint", document, "--config", "redocly.yaml", "--format", "json"],
        cwd=tmp_path,
        env=quiet,
        capture_output=True,
        text=True,
        check=False,
    )
    found = json.loads(completed.stdout)
    assert found["totals"] == {"errors": 0, "warnings": 0, "ignored": 0}, found


@pytest.mark.slow
@pytest.mark.node
def test_spectral_finds_nothing(document: Path, tmp_path: Path) -> None:
    (tmp_path / ".spectral.yaml").write_text(RULESET)
    spectral = npm.folder("spectral") / "node_modules" / ".bin" / "spectral"
    completed = subprocess.run(
        [spectral, "lint", document, "--format", "json", "--fail-severity", "hint", "--quiet"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (completed.returncode, json.loads(completed.stdout)) == (0, []), completed.stderr


@pytest.mark.slow
@pytest.mark.plugins
def test_openapi_spec_validator_has_no_warning(document: Path, tmp_path: Path) -> None:
    python = environments.python("openapi")
    ran(python, "-W", "error", "-m", "openapi_spec_validator", document, cwd=tmp_path)
