"""Failures of tests in quarantine do not fail pytest, and every report names them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path

import pytest

from pytest_tms import TmsClient, wire
from tests.helpers import reported_runs
from tests.helpers.fault_proxy import proxy
from tests.helpers.foreign_tms import ForeignTms, Reply
from tests.helpers.processes import TmsServer, run_tms
from tests.integration.plugin.test_documented_server import speak_document

FILES = {
    "test_shop.py": """
def test_flaky(): assert 0, "flaky"
def test_cart(): pass
""",
}
FLAKY = "test_shop.py::test_flaky"
UNTIL = str(date.today() + timedelta(days=3))


@dataclass
class Shop:
    """A project on a real server that no other test has, whose tests can be put into quarantine."""

    tms: TmsServer
    folder: Path
    token: str
    environ: dict[str, str] = field(default_factory=dict)
    name: str = field(default_factory=lambda: f"shop-{uuid.uuid4().hex[:8]}")

    def quarantine(self, *names: str, until: str = UNTIL) -> None:
        """Put tests into quarantine, which the project has to have run."""
        with TmsClient(self.tms.url, self.token) as client:
            execution = client.create_execution(
                wire.ExecutionRequest(test_suite="all", environment="dev", metadata={"project": self.name})
            )
            tests = [wire.TestResult(title=name, node_id=name, status="failed") for name in names]
            client.submit_results(
                wire.ResultsSubmission(execution_id=execution.execution_id, shard_id="1", tests=tests)
            )
            for name in names:
                client.add_to_quarantine(
                    wire.QuarantineRequest(
                        node_id=name, project=self.name, reason="waits for SHOP-1", owner="ada", until=until
                    )
                )

    def run(
        self,
        *options: str,
        files: Mapping[str, str] = FILES,
        url: str = "",
        environment: str = "main",
        **environ: str,
    ) -> reported_runs.FinishedRun:
        settings = {"TMS_PROJECT": self.name, **self.environ, **environ}
        if url:
            settings["TMS_URL"] = url
        return reported_runs.run(
            self.tms, self.folder, files, *options, environment=environment, extra=settings
        )


@pytest.fixture
def shop(tms: TmsServer, tmp_path: Path) -> Shop:
    scopes = ("executions:read", "executions:write", "quarantine:write")
    made = run_tms(
        *("token", "create", "--name", "shop", "--json", "--data-dir", str(tms.data_dir)),
        *(word for scope in scopes for word in ("--scope", scope)),
    )
    assert made.returncode == 0, made.stderr
    return Shop(tms, tmp_path, json.loads(made.stdout)["token"])


def stored(ran: reported_runs.FinishedRun) -> dict[str, tuple[str, bool]]:
    """The status of each stored test, and whether it is marked as quarantined."""
    return {
        each["nodeId"].partition("::")[2]: (each["status"], bool(each.get("quarantined")))
        for each in ran.stored
    }


NAMED = f"{FLAKY} failed, in quarantine until {UNTIL} (waits for SHOP-1; owner: ada)"


@pytest.mark.parametrize("mode", reported_runs.MODES)
def test_a_failure_in_quarantine_does_not_fail_pytest_and_is_reported_as_such(mode: str, shop: Shop) -> None:
    shop.quarantine(FLAKY)
    ran = shop.run(*reported_runs.MODES[mode])
    assert ran.exit == 0
    assert "exit status 0: the only failed test is in quarantine" in ran.output
    assert NAMED in ran.output
    assert "1 failed, 1 passed" in ran.output
    assert stored(ran) == {"test_flaky": ("failed", True), "test_cart": ("passed", False)}
    assert ran.status is not None
    assert (ran.status.results.failed, ran.status.status) == (1, "completed")
    assert {each.exit_status for each in ran.status.shard_results} == {0}
    assert ran.junit["test_shop", "test_flaky"] == "failed"


@pytest.mark.slow
def test_a_test_with_a_group_of_xdist_is_covered(shop: Shop) -> None:
    shop.quarantine(FLAKY)
    grouped = f"import pytest\npytestmark = pytest.mark.xdist_group('g')\n{FILES['test_shop.py']}"
    ran = shop.run("-n", "2", "--dist", "loadgroup", files={"test_shop.py": grouped})
    assert ran.exit == 0
    assert stored(ran) == {"test_flaky": ("failed", True), "test_cart": ("passed", False)}


def test_a_documented_payload_has_no_mark_and_the_failure_does_not_count(shop: Shop) -> None:
    shop.quarantine(FLAKY)
    ran = shop.run("-o", "tms_payload=documented")
    assert ran.exit == 0
    assert not any("quarantined" in each for each in ran.stored)


def test_a_failure_of_any_other_test_fails_pytest(shop: Shop) -> None:
    shop.quarantine(FLAKY)
    ran = shop.run(files={"test_shop.py": FILES["test_shop.py"] + "\ndef test_pay(): assert 0"})
    assert ran.exit == 1
    assert NAMED in ran.output
    assert "exit status 0" not in ran.output
    assert stored(ran) == {
        "test_flaky": ("failed", True),
        "test_cart": ("passed", False),
        "test_pay": ("failed", False),
    }


@pytest.mark.parametrize("way", ["option", "variable", "ini"])
def test_quarantine_can_be_switched_off(way: str, shop: Shop) -> None:
    shop.quarantine(FLAKY)
    ini = "[pytest]\ntms_quarantine = off\n" if way == "ini" else "[pytest]\n"
    ran = shop.run(
        *(["--tms-quarantine=off"] if way == "option" else []),
        files={**FILES, "pytest.ini": ini},
        **({"TMS_QUARANTINE": "off"} if way == "variable" else {}),
    )
    assert ran.exit == 1
    assert "in quarantine" not in ran.output
    assert stored(ran)["test_flaky"] == ("failed", False)


def test_a_removed_entry_counts_again(shop: Shop) -> None:
    shop.quarantine(FLAKY)
    with TmsClient(shop.tms.url, shop.token) as client:
        (entry,) = client.list_quarantine(project=shop.name).entries
        client.remove_from_quarantine(entry.id)
    ran = shop.run()
    assert ran.exit == 1
    assert stored(ran)["test_flaky"] == ("failed", False)


@pytest.mark.parametrize(
    "test",
    [
        "def test_flaky(broken): pass",
        "def test_flaky(torn): assert 0",
        "def test_flaky(subtests):\n    for n in range(3):\n        with subtests.test(n=n): assert n == 1",
        "@pytest.mark.xfail(strict=True)\ndef test_flaky(): pass",
    ],
    ids=["setup", "call and teardown", "subtests", "strict xfail"],
)
def test_every_kind_of_failure_of_a_test_is_covered(test: str, shop: Shop) -> None:
    shop.quarantine(FLAKY)
    fixtures = """
import pytest
@pytest.fixture
def broken(): assert 0
@pytest.fixture
def torn():
    yield
    assert 0
"""
    ran = shop.run(files={"test_shop.py": f"{fixtures}\n{test}\n"})
    assert ran.exit == 0
    assert stored(ran) == {"test_flaky": ("failed", True)}


@pytest.mark.plugins
def test_subtests_of_the_plugin_are_covered(shop: Shop) -> None:
    shop.quarantine(FLAKY)
    test = "def test_flaky(subtests):\n    for n in range(3):\n        with subtests.test(n=n): assert n == 1"
    ran = shop.run(files={"test_shop.py": test}, environment="eight")
    assert ran.exit == 0
    assert stored(ran) == {"test_flaky": ("failed", True)}


@pytest.mark.plugins
def test_a_test_that_failed_after_reruns_is_covered(shop: Shop) -> None:
    shop.quarantine(FLAKY)
    ran = shop.run("--reruns", "2", environment="rerunfailures")
    assert ran.exit == 0
    assert stored(ran)["test_flaky"] == ("failed", True)


@pytest.mark.slow
@pytest.mark.parametrize("mode", reported_runs.MODES)
def test_a_run_that_x_stopped_keeps_its_exit_status(mode: str, shop: Shop) -> None:
    shop.quarantine(FLAKY)
    ran = shop.run("-x", *reported_runs.MODES[mode])
    assert ran.exit != 0
    assert NAMED in ran.output
    assert "exit status 0" not in ran.output


@pytest.mark.parametrize(
    ("files", "options"),
    [
        ({"test_broken.py": "import no_such_module"}, ("--continue-on-collection-errors",)),
        ({"conftest.py": "def pytest_runtestloop(session): session.testsfailed += 1"}, ()),
        ({"conftest.py": "def pytest_sessionfinish(session): session.exitstatus = 7"}, ()),
        ({"conftest.py": "def pytest_runtest_logfinish(nodeid): assert 'cart' not in nodeid"}, ()),
    ],
    ids=["collection error", "another plugin fails the run", "another exit status", "internal error"],
)
def test_what_is_not_a_failed_test_still_fails_pytest(
    files: dict[str, str], options: tuple[str, ...], shop: Shop
) -> None:
    shop.quarantine(FLAKY)
    assert shop.run(*options, files={**FILES, **files}).exit != 0


def test_results_written_before_the_list_was_known_are_marked_at_the_end(shop: Shop, tmp_path: Path) -> None:
    shop.quarantine(FLAKY)
    marker = tmp_path / "seen"
    conftest = f"""
import pathlib
from pytest_tms.sender.launch import SenderProcess
read = SenderProcess.read

def pytest_sessionstart(session):
    def blind(self, **options): pass
    SenderProcess.read = blind

def pytest_runtestloop(session): pass

import pytest
@pytest.hookimpl(tryfirst=True)
def pytest_runtest_logfinish(nodeid):
    if "cart" in nodeid:
        SenderProcess.read = read
        pathlib.Path({str(marker)!r}).touch()
"""
    ran = shop.run(files={**FILES, "conftest.py": conftest})
    assert marker.exists()
    assert ran.exit == 0
    assert stored(ran) == {"test_flaky": ("failed", True), "test_cart": ("passed", False)}
    assert ran.status is not None
    assert ran.status.results.total == 2


@pytest.mark.slow
def test_the_kept_list_counts_while_the_tms_is_away(shop: Shop) -> None:
    shop.quarantine(FLAKY)
    assert shop.run().exit == 0
    away = shop.run("--tms-offline")
    assert away.exit == 0
    assert NAMED in away.output
    (journal,) = (shop.folder / "project" / ".tms" / "offline").glob("*.jsonl")
    assert b'"quarantined":true' in journal.read_bytes()
    assert shop.run(f"--tms-offline={shop.folder / 'elsewhere' / 'kept'}").exit == 0


@pytest.mark.slow
def test_the_kept_list_counts_while_nothing_responds_at_the_url(shop: Shop) -> None:
    shop.quarantine(FLAKY)
    with proxy(shop.tms.url) as away:
        assert shop.run(url=away.url).exit == 0
    ran = shop.run(url=away.url)
    assert ran.exit == 0
    assert NAMED in ran.output
    assert "does not answer" in ran.output


@pytest.mark.slow
def test_without_a_tms_and_a_kept_list_the_exit_status_stands(shop: Shop) -> None:
    shop.quarantine(FLAKY)
    assert shop.run("--tms-offline").exit == 1
    ran = shop.run(url="http://127.0.0.1:9/api")
    assert ran.exit == 1
    assert "in quarantine until" not in ran.output


@pytest.mark.slow
def test_a_kept_list_that_is_old_or_damaged_does_not_count(shop: Shop) -> None:
    shop.quarantine(FLAKY)
    assert shop.run().exit == 0
    (kept,) = (shop.folder / "project" / ".tms" / "quarantine").glob("*.json")
    content = json.loads(kept.read_text())
    kept.write_text(json.dumps({**content, "fetched_at": content["fetched_at"] - 8 * 86_400}))
    assert shop.run("--tms-offline").exit == 1
    kept.write_text("{")
    assert shop.run("--tms-offline").exit == 1
    tests = {name: {**test, "until_seconds": 1.0} for name, test in content["tests"].items()}
    kept.write_text(json.dumps({**content, "tests": tests}))
    assert shop.run("--tms-offline").exit == 1
    kept.write_text(json.dumps(content))
    assert shop.run("--tms-offline").exit == 0


def run_against(foreign: ForeignTms, folder: Path) -> subprocess.CompletedProcess[str]:
    project = folder / "project"
    project.mkdir()
    reported_runs.write(project, FILES)
    return subprocess.run(
        [sys.executable, "-m", "pytest", "--no-header", "--tms-url", foreign.url],
        cwd=project,
        env={**os.environ, "TMS_API_TOKEN": "tms_x"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_tms_without_quarantine_is_not_asked(foreign: ForeignTms, tmp_path: Path) -> None:
    speak_document(foreign)
    ran = run_against(foreign, tmp_path)
    assert ran.returncode == 1
    assert "2 results reported" in ran.stdout
    assert "quarantine" not in ran.stdout
    assert not [each for each in foreign.requests if "quarantine" in each["path"]]


def test_a_list_that_the_tms_cannot_give_leaves_the_exit_status(foreign: ForeignTms, tmp_path: Path) -> None:
    speak_document(foreign)
    documented = foreign.route
    assert documented is not None

    def respond(method: str, path: str) -> Reply | None:
        if "/quarantine" in path:
            return 503, {"Content-Type": "application/json", "Retry-After": "0"}, b"{}"
        reply = documented(method, path)
        if reply is not None and (method, path) == ("POST", "/api/executions"):
            created = {**json.loads(reply[2]), "capabilities": ["quarantine"]}
            return reply[0], reply[1], json.dumps(created).encode()
        return reply

    foreign.route = respond
    ran = run_against(foreign, tmp_path)
    assert ran.returncode == 1
    assert "2 results reported" in ran.stdout
    assert "in quarantine until" not in ran.stdout
    assert len([each for each in foreign.requests if "/quarantine" in each["path"]]) == 3


def test_a_token_that_may_not_read_the_list_is_named_if_tests_fail(shop: Shop) -> None:
    shop.quarantine(FLAKY)
    made = run_tms(
        *("token", "create", "--name", "w", "--json", "--data-dir", str(shop.tms.data_dir)),
        *("--scope", "executions:write"),
    )
    token = json.loads(made.stdout)["token"]
    ran = shop.run(TMS_API_TOKEN=token)
    assert ran.exit == 1
    assert "could not be read" in ran.output
    assert "executions:read" in ran.output
    passing = shop.run(files={"test_shop.py": "def test_cart(): pass"}, TMS_API_TOKEN=token)
    assert passing.exit == 0
    assert "could not be read" not in passing.output


def test_the_job_summary_of_github_names_failures_in_quarantine(shop: Shop, tmp_path: Path) -> None:
    shop.quarantine(FLAKY)
    summary = tmp_path / "summary.md"
    ran = shop.run(
        GITHUB_ACTIONS="true", GITHUB_STEP_SUMMARY=str(summary), GITHUB_REPOSITORY=f"x/{shop.name}"
    )
    assert ran.exit == 0
    assert re.search(r"test.flaky.*in quarantine", summary.read_text())
