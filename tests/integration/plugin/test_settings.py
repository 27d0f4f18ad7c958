"""Settings as a user writes them, in runs of pytest."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

Run = Callable[..., pytest.RunResult]

NATIVE = pytest.mark.skipif(pytest.version_tuple < (9,), reason="native TOML came with pytest 9")


@pytest.fixture(autouse=True)
def suite(pytester: pytest.Pytester) -> None:
    """One test that passes."""
    pytester.makepyfile("def test_it(): pass")


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run pytest as outside of a test: inside of one, only an option turns reporting on."""

    def run(*arguments: str) -> pytest.RunResult:
        monkeypatch.delenv("PYTEST_CURRENT_TEST", raising=False)
        return pytester.runpytest(*arguments)

    return run


def opened(pytester: pytest.Pytester, folder: str = ".tms/offline") -> dict[str, Any]:
    """The first line of the run's journal."""
    (path,) = pytester.path.joinpath(folder).glob("*.jsonl")
    first = json.loads(path.read_text().splitlines()[0])
    assert isinstance(first, dict)
    return first


@NATIVE
def test_native_toml_takes_numbers_booleans_and_lists(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyprojecttoml(
        "[tool.pytest]\ntms_timeout = 600\ntms_offline = true\ntms_required = false\ntms_suite = 5\n"
        "tms_meta = ['team=checkout']\ntms_tags = 'a b'\ntms_mask = ['[0-9]{9}']\ntms_progress_interval = 2\n"
    )
    result = run()
    assert result.ret == 0
    assert "tms_" not in result.stdout.str()
    request = opened(pytester)["request"]
    assert request["configuration"]["timeout"] == 600_000
    assert request["testSuite"] == "5"
    assert request["metadata"]["team"] == "checkout"


@NATIVE
@pytest.mark.parametrize(
    "line", ["tms_offline = false", "tms_timeout = 600", "tms_tags = 5", "tms_url = 5.5"]
)
def test_native_toml_never_stops_a_run_that_does_not_report(
    run: Run, pytester: pytest.Pytester, line: str
) -> None:
    pytester.makepyprojecttoml(f"[tool.pytest]\n{line}\n")
    result = run("--no-tms")
    assert result.ret == 0
    result = run()
    assert result.ret == 0
    result.assert_outcomes(passed=1)


@NATIVE
@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("tms_timeout = 'soon'", "tms_timeout is 'soon': write a whole number from 1 to 1000000000"),
        ("tms_timeout = [1]", "tms_timeout is [1]: write a whole number from 1 to 1000000000"),
        ("tms_required = 'perhaps'", "tms_required is 'perhaps': write 1 or 0"),
        ("tms_tags = 5", "tms_tags is 5: write a list of texts"),
        ("tms_suite = true", "tms_suite is True: write a text in quotes"),
        (
            "tms_deadline = 1979-05-27",
            "tms_deadline is datetime.date(1979, 5, 27): write a whole number from 1",
        ),
    ],
)
def test_a_wrong_value_in_native_toml_is_one_sentence_and_the_run_reports(
    run: Run, pytester: pytest.Pytester, line: str, sentence: str
) -> None:
    pytester.makepyprojecttoml(f"[tool.pytest]\n{line}\n")
    result = run("--tms-offline")
    assert result.ret == 0
    result.assert_outcomes(passed=1)
    assert result.stdout.str().count(sentence) == 1
    assert opened(pytester)["request"]["testSuite"] == "all"


@pytest.mark.parametrize("table", ["[tool.pytest.ini_options]", "[pytest]"])
def test_the_ini_forms_take_numbers_and_booleans(run: Run, pytester: pytest.Pytester, table: str) -> None:
    if table == "[pytest]":
        pytester.makeini("[pytest]\ntms_timeout = 600\ntms_offline = false\ntms_meta = team=a b\n")
    else:
        pytester.makepyprojecttoml(
            f"{table}\ntms_timeout = 600\ntms_offline = false\ntms_meta = ['team=a b']\n"
        )
    result = run()
    assert result.ret == 0
    assert not pytester.path.joinpath(".tms").exists()
    result = run("--tms-offline")
    assert result.ret == 0
    request = opened(pytester)["request"]
    assert request["configuration"]["timeout"] == 600_000
    assert request["metadata"]["team"] == "a b"


def test_offline_switched_off_by_the_environment_writes_nothing(
    run: Run, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMS_OFFLINE", "0")
    pytester.makeini("[pytest]\ntms_offline = 1\n")
    assert run().ret == 0
    assert not pytester.path.joinpath(".tms").exists()


def test_no_timeout_is_sent_unless_one_is_set(run: Run, pytester: pytest.Pytester) -> None:
    assert run("--tms-offline").ret == 0
    assert "timeout" not in opened(pytester)["request"].get("configuration", {})
