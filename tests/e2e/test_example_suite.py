"""The example shop, run as its README says and without any plugin."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers import environments
from tests.helpers.processes import TmsServer, environ_outside_pytest

SHOP = Path(__file__).parents[2] / "examples" / "shop"


@pytest.fixture(scope="module")
def run() -> subprocess.CompletedProcess[str]:
    foreign = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "TMS"))}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--color=no", "-m", "not browser"],
        cwd=SHOP,
        env={**foreign, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_the_outcomes_are_those_of_the_readme(run: subprocess.CompletedProcess[str]) -> None:
    assert run.returncode == 1, run.stdout + run.stderr
    last = run.stdout.splitlines()[-1]
    counts = {name: int(number) for number, name in re.findall(r"(\d+) ([a-z]+)", last.partition(" in ")[0])}
    expected = {"passed": 42, "failed": 4, "error": 1, "skipped": 2, "xfailed": 1, "deselected": 1}
    if hasattr(pytest, "Subtests"):  # pytest counts the failed subtest and its test
        expected |= {"failed": 6}
    else:
        expected |= {"skipped": 3}
    assert counts == expected


def test_the_readme_explains_every_failure(run: subprocess.CompletedProcess[str]) -> None:
    failures = re.findall(r"^(?:FAILED|ERROR|XFAIL) ([^(].*?)(?: - |$)", run.stdout, re.MULTILINE)
    names = [nodeid.rpartition("::")[2] for nodeid in failures]
    readme = (SHOP / "README.md").read_text()
    assert len(names) == (7 if hasattr(pytest, "Subtests") else 6)
    assert [name for name in names if name not in readme] == []


@pytest.mark.slow
@pytest.mark.plugins
@pytest.mark.browser
def test_the_report_has_reruns_subtests_coroutines_and_the_files_of_a_browser(
    tms: TmsServer, tmp_path: Path
) -> None:
    if shutil.which("chromium") is None:
        pytest.skip("chromium is not installed")
    project = tmp_path / "shop"
    shutil.copytree(SHOP, project)
    with (project / "tests" / "conftest.py").open("a") as conftest:
        # Chromium's sandbox does not start as root, for example in a container.
        conftest.write(
            "\nimport functools\n"
            "sync_api = pytest.importorskip('playwright.sync_api')\n"
            "launch = sync_api.BrowserType.launch\n"
            "sync_api.BrowserType.launch = functools.partialmethod(launch, args=['--no-sandbox'])\n"
        )
    options = [
        "--tms-url",
        tms.url,
        "--tms-suite",
        "smoke",
        "--tms-environment",
        "staging",
        "-p",
        "no:randomly",
    ]
    completed = subprocess.run(
        [environments.python("playwright"), "-m", "pytest", *options],
        cwd=project,
        env={**environ_outside_pytest(os.environ), "TMS_API_TOKEN": tms.token},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert completed.returncode == 1, completed.stdout + completed.stderr
    (execution,) = re.findall(r"reports/(exec_\w+)", completed.stdout)
    with tms.client() as client:
        tests = {test["title"]: test for test in client.iter_tests(execution)}
        status = client.get_execution(execution)
    assert (status.results.total, status.results.failed, status.results.flaky) == (52, 7, 1)
    flaky = tests["test_the_carrier_answers"]
    assert (flaky["status"], flaky["retries"]) == ("passed", 1)
    assert tests["test_a_parcel_is_followed_until_it_is_delivered"]["status"] == "passed"
    subtests = tests["test_postage_by_country"]["subtests"]
    assert [each["status"] for each in subtests].count("failed") == 1
    files = tests["test_the_cart_in_a_browser"]["artifacts"]
    assert [(file["kind"], file["name"]) for file in files] == [
        ("file", "cart.html"), ("screenshot", "cart.png"), ("trace", "trace.zip")
    ]  # fmt: skip
