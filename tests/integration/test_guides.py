"""The commands and files of the how-to guides do what the guides say."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers.processes import TmsServer, environ_outside_pytest

DOCS = Path(__file__).parents[2] / "docs"
JUNIT = '<testsuite name="a"><testcase name="passes" time="1"/><testcase name="fails"><failure message="no"/></testcase></testsuite>'
Run = Callable[..., str]


def blocks(page: str, language: str) -> list[str]:
    """Return the blocks of code in a language on a page, without their indentation in lists."""
    text = (DOCS / page).read_text(encoding="utf-8")
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE)
    return [re.sub(f"^{indent}", "", block, flags=re.MULTILINE) for indent, block in found]


@pytest.fixture
def run(tmp_path: Path, tms: TmsServer) -> Run:
    """Run a script in an empty folder, with the variables of a project that reports."""
    environ = {
        **environ_outside_pytest(os.environ),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "TMS_URL": tms.url,
        "TMS_API_TOKEN": tms.token,
    }

    def run(script: str, *, status: int = 0, **more: str) -> str:
        completed = subprocess.run(
            ["bash", "-e", "-c", script],
            cwd=tmp_path,
            env={**environ, **more},
            capture_output=True,
            text=True,
            check=False,
        )
        assert completed.returncode == status, completed.stdout + completed.stderr
        return completed.stdout + completed.stderr

    return run


def reported_tests(tms: TmsServer, output: str) -> list[dict[str, object]]:
    """Return the tests of the execution whose link is in an output."""
    execution = re.search(r"(exec_\w+)", output)
    assert execution is not None, output
    with tms.client() as client:
        return list(client.iter_tests(execution[1]))


def test_files_of_junit_xml_and_allure_are_sent_as_the_guide_for_moving_says(
    run: Run, tmp_path: Path
) -> None:
    junit, allure = blocks("moving.md", "sh")
    (tmp_path / "report.xml").write_text(JUNIT)
    assert "1 failed, 1 passed" in run(junit)
    folder = tmp_path / "allure-results"
    folder.mkdir()
    result = {
        "uuid": "1",
        "historyId": "h",
        "name": "pays",
        "fullName": "shop#pays",
        "status": "passed",
        "start": 1,
        "stop": 2,
    }
    (folder / "1-result.json").write_text(json.dumps(result))
    assert "1 passed" in run(allure)


def test_the_hook_for_testrail_makes_its_markers_test_cases(run: Run, tmp_path: Path, tms: TmsServer) -> None:
    (hook,) = blocks("moving.md", "python")
    (tmp_path / "conftest.py").write_text(hook)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = testrail: a case\n")
    (tmp_path / "test_it.py").write_text(
        "import pytest\n\n@pytest.mark.testrail('C12')\ndef test_it(): pass\n"
    )
    (test,) = reported_tests(tms, run("pytest"))
    properties = test["properties"]
    assert isinstance(properties, dict)
    assert properties["id"] == "C12"


def test_the_requests_of_the_guide_for_custom_runners_report_two_tests(run: Run, tms: TmsServer) -> None:
    (script,) = blocks("custom-runners.md", "bash")
    output = run(f'{script}\necho "$execution"')
    tests = reported_tests(tms, output)
    assert [(each["title"], each["status"]) for each in tests] == [
        ("A customer logs in", "passed"),
        ("A customer pays", "failed"),
    ]


def test_the_files_of_the_guide_for_artifacts_are_uploaded(run: Run, tmp_path: Path, tms: TmsServer) -> None:
    test, fixture = blocks("artifacts.md", "python")
    (ini,) = blocks("artifacts.md", "ini")
    (tmp_path / "test_it.py").write_text(test)
    (tmp_path / "conftest.py").write_text(fixture)
    (tmp_path / "pytest.ini").write_text(ini)
    (tmp_path / "coverage.xml").write_text("<coverage/>")
    output = run("pytest")
    (stored,) = reported_tests(tms, output)
    files = stored["artifacts"]
    assert isinstance(files, list)
    assert [file["name"] for file in files] == ["server.log", "basket.json", "server.log"]
    execution = re.search(r"exec_\w+", output)
    assert execution is not None
    with tms.client() as client:
        for file in files:
            assert client.get_artifact(execution[0], file["sha256"]).size == file["size"]


def test_results_under_a_name_that_the_server_refuses_are_sent_under_another(
    run: Run, tmp_path: Path
) -> None:
    (ini,) = blocks("suites.md", "ini")
    (tmp_path / "pytest.ini").write_text(ini)
    (tmp_path / "test_it.py").write_text("def test_it(): pass\n")
    assert "TMS_SERVER_SUITES" in run("pytest")
    text = (DOCS / "suites.md").read_text()
    command = "tms replay .tms --suite smoke --environment staging"
    assert f"`{command}`" in text
    run(command)
    assert "smoke · staging" in run("tms execution list --limit 1")


@pytest.mark.slow
def test_the_local_server_and_its_data_are_removed_as_the_guide_for_upgrades_says(
    run: Run, tmp_path: Path
) -> None:
    (script,) = [each for each in blocks("upgrading.md", "") if each.startswith("tms local stop")]
    data = tmp_path / "local-data"
    (tmp_path / "test_it.py").write_text("def test_it(): pass\n")
    environ = {"TMS_URL": "local", "TMS_SERVER_DATA_DIR": str(data)}
    assert "1 result reported" in run("pytest", **environ)
    assert data.exists()
    *commands, uninstall = script.splitlines()
    assert uninstall == "pip uninstall pytest-tms"
    run("\n".join(commands), **environ)
    assert not data.exists()
