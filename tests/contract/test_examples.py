"""The document's own programs, unchanged but for the URL, the tokens and the execution's id."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from tests.contract.conftest import Api, Place, Run
from tests.helpers.document import Document
from tests.helpers.foreign_tms import ForeignTms

REPOSITORY = Path(__file__).parents[2]
STEP_1 = "Step 1: Create Execution"
STEP_2 = "Step 2: Execute Tests with Webhook Updates"


class TestCurl:
    """The two steps of "Custom CI/CD Platform Integration"."""

    def test_step_1_creates_an_execution(self, document: Document, placed: Place, run: Run, api: Api) -> None:
        example = placed(document.block(STEP_1, "bash"))
        created = json.loads(run("bash", "-c", example).stdout)
        status = api.status(created["executionId"])
        assert created["status"] == status["status"] == "created"
        assert status["progress"]["totalShards"] == 4
        assert (status["testSuite"], status["environment"], status["provider"]) == (
            "smoke",
            "staging",
            "custom-ci",
        )
        assert status["metadata"] == {"branch": "main", "commit": "abc123"}

    def test_step_2_starts_and_completes_it_with_its_counts(
        self, document: Document, placed: Place, run: Run, api: Api
    ) -> None:
        step_1 = placed(document.block(STEP_1, "bash"))
        created = json.loads(run("bash", "-c", step_1).stdout)
        example = placed(document.block(STEP_2, "bash"), execution=created)
        completed = run("bash", "-e", "-c", example)
        assert completed.returncode == 0
        assert [response["event"] for response in _responses(completed.stdout)] == [
            "execution.started",
            "execution.completed",
        ]
        status = api.status(created["executionId"])
        assert status["status"] == "completed"
        assert status["results"] == {"total": 100, "passed": 95, "failed": 5, "skipped": 0, "flaky": 0}
        assert status["progress"]["startedAt"] <= status["progress"]["completedAt"]


@pytest.fixture(scope="session")
def node_modules() -> Path:
    """axios as the registry has it, installed once and kept."""
    if not (shutil.which("node") and shutil.which("npm")):
        pytest.skip("Node.js and npm are not installed")
    directory = REPOSITORY / ".tms" / "node"
    directory.mkdir(parents=True, exist_ok=True)
    with FileLock(directory / "lock"):
        if not (directory / "installed").exists():
            command = ["npm", "install", "--prefix", str(directory), "--no-audit", "--no-fund", "axios"]
            completed = subprocess.run(command, capture_output=True, text=True, timeout=300)
            if completed.returncode:
                pytest.skip(f"npm cannot install axios: {completed.stderr.strip().splitlines()[-1:]}")
            (directory / "installed").touch()
    return directory / "node_modules"


@pytest.mark.node
class TestJavaScript:
    """The class and usage of "Custom Test Runner Integration", and "Retry Logic", with axios under Node."""

    SHARDS = """
        async function runTestShard(shardId) {
          const tests = [
            { title: `passes in shard ${shardId}`, file: 'a.spec.js', status: 'passed', duration: 12 },
            { title: `fails in shard ${shardId}`, file: 'a.spec.js', status: 'failed', duration: 3.5,
              error: 'Expected 1 to be 2', retries: 1, tags: ['@smoke'] },
          ];
          const summary = { total: 2, passed: 1, failed: 1, skipped: 0 };
          const now = new Date().toISOString();
          return { ...summary, summary, tests, startTime: now, endTime: now, duration: 16 };
        }
        runTests().catch((error) => { console.error(error.response?.data ?? error); process.exit(1); });
    """

    def test_the_runner_reports_two_shards(
        self, document: Document, placed: Place, run: Run, api: Api, node_modules: Path
    ) -> None:
        example = document.block("2. Custom Test Runner Integration", "javascript")
        script = placed(example) + self.SHARDS
        completed = run("node", "-e", script, NODE_PATH=str(node_modules))
        assert completed.returncode == 0
        lines = completed.stdout.splitlines()
        assert lines[-1] == "Test execution completed"
        status = api.status(lines[0].removeprefix("Created execution: "))
        assert (status["status"], status["testSuite"]) == ("completed", "regression")
        assert status["results"] == {"total": 4, "passed": 2, "failed": 2, "skipped": 0, "flaky": 0}
        assert [shard["shardId"] for shard in status["shardResults"]] == ["1", "2"]
        assert status["progress"]["shardsCompleted"] == 2

    def test_a_retried_request_gets_through_after_two_503(
        self, document: Document, run: Run, foreign: ForeignTms, node_modules: Path
    ) -> None:
        for status in (503, 503, 200):
            foreign.add_response(status, {})
        call = f"""
            const axios = require('axios');
            retryRequest(() => axios.post('{foreign.url}', {{}}), 3, 10)
              .then((response) => console.log(response.status))
              .catch((error) => {{ console.error(error.message); process.exit(1); }});
        """
        completed = run(
            "node", "-e", document.block("Retry Logic", "javascript") + call, NODE_PATH=str(node_modules)
        )
        assert (completed.returncode, completed.stdout) == (0, "200\n")
        assert len(foreign.requests) == 3


class TestPython:
    """The class and usage of "Python Integration Example"."""

    FULL = """
def run_test_shard(shard_id):
    summary = {'total': 3, 'passed': 1, 'failed': 1, 'skipped': 1}
    tests = [
        {'title': 'passes', 'file': f'test_{shard_id}.py', 'status': 'passed', 'duration': 1},
        {'title': 'fails', 'file': f'test_{shard_id}.py', 'status': 'failed', 'error': 'assert 1 == 2'},
        {'title': 'waits', 'file': f'test_{shard_id}.py', 'status': 'skipped'},
    ]
    now = datetime.now().isoformat()
    return {**summary, 'summary': summary, 'tests': tests, 'startTime': now, 'endTime': now, 'duration': 7}

run_tests_with_tms()
"""
    BARE = """
def run_test_shard(shard_id):
    return {'summary': {}, 'tests': [
        {'title': title, 'file': f'test_{shard_id}.py', 'status': status}
        for title, status in (('passes', 'passed'), ('fails', 'failed'), ('waits', 'skipped'))
    ]}

run_tests_with_tms()
"""

    @pytest.mark.parametrize("shards", [FULL, BARE], ids=["with counts and times", "with tests alone"])
    def test_the_runner_reports_three_shards(
        self, document: Document, placed: Place, run: Run, api: Api, shards: str
    ) -> None:
        example = document.block("3. Python Integration Example", "python")
        completed = run(sys.executable, "-c", placed(example) + shards)
        assert completed.returncode == 0
        lines = completed.stdout.splitlines()
        assert lines[-1] == "Test execution completed"
        status = api.status(lines[0].removeprefix("Created execution: "))
        assert (status["status"], status["testSuite"]) == ("completed", "api")
        assert status["results"] == {"total": 9, "passed": 3, "failed": 3, "skipped": 3, "flaky": 0}
        assert [shard["results"]["total"] for shard in status["shardResults"]] == [3, 3, 3]


def _responses(text: str) -> list[dict[str, Any]]:
    """The JSON answers that curl printed one after the other."""
    responses, decoder = [], json.JSONDecoder()
    while text := text.lstrip():
        response, end = decoder.raw_decode(text)
        responses.append(response)
        text = text[end:]
    return responses
