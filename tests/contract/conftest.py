"""The API document and requests that check the server against it.

Each test runs with `docs/api.md`, which describes the API in words and values of this project, and with the
original document if it is beside the repository, which it is not part of.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.helpers.api import running
from tests.helpers.document import Document
from tests.helpers.processes import TmsServer

OWN_DOCUMENT = Path(__file__).parents[2] / "docs" / "api.md"
SHARED_DOCUMENT = Path(__file__).parents[3] / "shared" / "tms-integration-api.md"
Run = Callable[..., subprocess.CompletedProcess[str]]
Place = Callable[..., str]


@pytest.fixture(scope="session", params=[OWN_DOCUMENT, SHARED_DOCUMENT], ids=["own", "shared"])
def document(request: pytest.FixtureRequest) -> Document:
    """A description of the API; skips the test for the one that is missing."""
    path: Path = request.param
    if path == SHARED_DOCUMENT and not path.is_file():
        pytest.skip("the integration document is not beside the repository")
    return Document.read(path)


@dataclass(frozen=True)
class Api:
    """The server over plain HTTP: one request per call, without retries and redirects."""

    url: str
    token: str
    session: requests.Session

    def request(
        self, method: str, path: str, body: Any = None, *, token: str | None = None
    ) -> requests.Response:
        """Send a request with the API token unless another is given; ``path`` may be a whole URL of the server."""
        token = self.token if token is None else token
        return self.session.request(
            method,
            path if path.startswith(self.url) else self.url + path,
            json=body,
            headers={"Authorization": f"Bearer {token}"} if token else {},
            allow_redirects=False,
            timeout=30,
        )

    def create(self, **more: Any) -> dict[str, Any]:
        """Create an execution and return the response."""
        response = self.request(
            "POST", "/executions", {"testSuite": "smoke", "environment": "staging", **more}
        )
        assert response.status_code == 201, response.text
        created: dict[str, Any] = response.json()
        return created

    def status(self, execution_id: str) -> dict[str, Any]:
        """An execution's status and results."""
        response = self.request("GET", f"/executions/{execution_id}")
        assert response.status_code == 200, response.text
        status: dict[str, Any] = response.json()
        return status

    def send(self, execution: dict[str, Any], payload: dict[str, Any]) -> requests.Response:
        """Report an event of an execution with the execution's own token."""
        response = self.request(
            "POST",
            execution["webhookUrl"],
            payload | {"executionId": execution["executionId"]},
            token=execution["webhookToken"],
        )
        assert response.status_code == 202, response.text
        return response


@pytest.fixture
def api(tms: TmsServer) -> Iterator[Api]:
    """The shared server, without proxies of the environment."""
    with requests.Session() as session:
        session.trust_env = False
        yield Api(tms.url, tms.token, session)


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """A server of its own with its limits as they are by default."""
    folder = tmp_path_factory.mktemp("limited") / "data"
    with running(folder, TMS_SERVER_RATE_LIMITS="documented") as server, requests.Session() as session:
        session.trust_env = False
        yield Api(server.url, server.token, session)


@pytest.fixture
def placed(document: Document, api: Api) -> Place:
    """Put real values where an example has placeholders, and change nothing else."""

    created = json.loads(document.block("Create Test Execution", "json", "Response"))
    api_token = document.block("Authentication", "http").split()[-1]

    def place(example: str, *, execution: dict[str, Any] | None = None) -> str:
        example = example.replace(document.block("Base URL", "").strip(), api.url)
        example = example.replace(api_token, api.token)
        for name in ("executionId", "webhookToken") if execution else ():
            example = example.replace(created[name], (execution or {})[name])
        return example

    return place


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run a program in an empty directory, without proxies of the environment."""
    direct = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}

    def run(*command: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
        completed = subprocess.run(
            command, cwd=tmp_path, env=direct | environment, capture_output=True, text=True, timeout=120
        )
        print(completed.stdout, completed.stderr, sep="\n")
        return completed

    return run
