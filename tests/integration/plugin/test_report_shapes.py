"""Reports that do not have pytest's usual shape, from real sessions: own loops, hooks, markers, attachments."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import reported_runs
from tests.helpers.processes import TmsServer
from tests.helpers.reported_runs import broken, failed, passed, skipped

INI = "[pytest]\nmarkers =\n    smoke\n    jira\n    order\n    link\n"

SUITE = """
import pytest

@pytest.mark.smoke
@pytest.mark.parametrize("n", [1, 2])
def test_passes(n): pass

def test_fails(): assert 0, "bad"

def test_skips(): pytest.skip("why")

@pytest.fixture
def breaks(): raise RuntimeError("setup broke")

def test_setup_breaks(breaks): pass

@pytest.fixture
def mess():
    yield
    raise RuntimeError("teardown broke")

def test_teardown_breaks(mess): pass
"""
CALLS = [
    *(passed(f"test_it.py::test_passes[{n}]", tags=["@smoke"], parameters={"n": n}) for n in (1, 2)),
    failed("test_it.py::test_fails", "AssertionError: bad"),
    skipped("test_it.py::test_skips", "why"),
]

OWN_PROTOCOL = """
from _pytest.runner import runtestprotocol

def pytest_runtest_protocol(item, nextitem):
    for report in runtestprotocol(item, nextitem=nextitem, log=False):
        if report.when in {whens}:
            item.ihook.pytest_runtest_logreport(report=report)
    return True
"""

OWN_LOOP = """
import pytest

def pytest_runtestloop(session):
    for item, following in zip(session.items, [*session.items[1:], None]):
        item._initrequest()
        steps = {
            "setup": lambda: session._setupstate.setup(item),
            "call": item.runtest,
            "teardown": lambda: session._setupstate.teardown_exact(following),
        }
        for when, step in steps.items():
            call = pytest.CallInfo.from_call(step, when)
            report = item.ihook.pytest_runtest_makereport(item=item, call=call)
            item.ihook.pytest_runtest_logreport(report=report)
            if when == "setup" and not report.passed:
                session._setupstate.teardown_exact(following)
                break
    return True
"""


@pytest.mark.slow
@pytest.mark.parametrize("mode", reported_runs.MODES)
@pytest.mark.parametrize(
    ("whens", "tests"),
    [
        (["call"], [*CALLS, passed("test_it.py::test_teardown_breaks")]),
        (
            ["setup", "call"],
            [
                *CALLS,
                broken("test_it.py::test_setup_breaks", "RuntimeError: setup broke"),
                passed("test_it.py::test_teardown_breaks"),
            ],
        ),
    ],
    ids=["call", "setup-and-call"],
)
def test_a_loop_that_logs_only_some_reports_has_the_results_of_junit_xml(
    whens: list[str], tests: list[reported_runs.Test], mode: str, tms: TmsServer, tmp_path: Path
) -> None:
    files = {"test_it.py": SUITE, "pytest.ini": INI, "conftest.py": OWN_PROTOCOL.format(whens=whens)}
    ran = reported_runs.run(tms, tmp_path, files, *reported_runs.MODES[mode])
    reported_runs.assert_stored(ran.stored, tests)
    reported_runs.assert_counted(ran)
    assert reported_runs.differing_tests(ran) == set()


def test_a_loop_that_makes_and_logs_reports_itself_has_tags_and_parameters(
    tms: TmsServer, tmp_path: Path
) -> None:
    files = {"test_it.py": SUITE, "pytest.ini": INI, "conftest.py": OWN_LOOP}
    ran = reported_runs.run(tms, tmp_path, files)
    tests = [
        *CALLS,
        broken("test_it.py::test_setup_breaks", "RuntimeError: setup broke"),
        broken("test_it.py::test_teardown_breaks", "RuntimeError: teardown broke"),
    ]
    reported_runs.assert_stored(ran.stored, tests)
    reported_runs.assert_counted(ran)
    assert all(test.get("retries") is None for test in ran.stored)


HOOKS = """
import pytest

@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if call.when == "call" and item.name == "test_fails":
        report.outcome = "blocked"
    if call.when == "call" and item.name == "test_passes[1]":
        report.outcome = "warning"
    if call.when == "call" and item.name == "test_passes[2]":
        report.duration = float("nan")
        report.start = -1e30
    return report
"""


@pytest.mark.parametrize("mode", reported_runs.MODES)
def test_outcomes_and_times_that_a_hook_changed_are_stored_and_never_passed(
    mode: str, tms: TmsServer, tmp_path: Path
) -> None:
    suite = SUITE.partition("def test_skips")[0]
    files = {"test_it.py": suite, "pytest.ini": INI, "conftest.py": HOOKS}
    ran = reported_runs.run(tms, tmp_path, files, *reported_runs.MODES[mode])
    blocked = reported_runs.Test(
        "test_it.py::test_fails", "failed", "blocked", 0, {"error": "AssertionError: bad"}
    )
    unknown = reported_runs.Test("test_it.py::test_passes[1]", "failed", "warning")
    reported_runs.assert_stored(
        ran.stored, [blocked, unknown, passed("test_it.py::test_passes[2]", duration=None)]
    )
    reported_runs.assert_counted(ran)


TEXTS = '''
import pytest

def add(a, b):
    """Add.

    >>> add(2, 2)
    5
    """
    return a + b

def test_lines(): pytest.fail("first\\nsecond")
def test_late(): raise ValueError("\\n\\nboom")
def test_compares(): assert {"a": 1, "b": [1, 2]} == {"a": 1, "b": [1, 3]}
def test_group(): raise ExceptionGroup("many", [ValueError("one"), TypeError("two")])
def test_fixture(no_such_fixture): pass
'''


@pytest.mark.parametrize("mode", reported_runs.MODES)
def test_errors_show_what_went_wrong_without_colours(mode: str, tms: TmsServer, tmp_path: Path) -> None:
    options = ("--doctest-modules", "--color=yes", "-vv", *reported_runs.MODES[mode])
    ran = reported_runs.run(tms, tmp_path, {"test_it.py": TEXTS}, *options)
    assert {test["title"]: test["error"] for test in ran.stored} == {
        "test_it.add": "Expected: 5 Got: 4",
        "test_lines": "Failed: first\nsecond",
        "test_late": "ValueError: boom",
        "test_compares": "AssertionError: assert {'a': 1, 'b': [1, 2]} == {'a': 1, 'b': [1, 3]}",
        "test_group": "ExceptionGroup: many (2 sub-exceptions)\nValueError: one\nTypeError: two",
        "test_fixture": "fixture 'no_such_fixture' not found",
    }
    assert not any("\x1b" in test["longrepr"] for test in ran.stored)
    (compares,) = [test["longrepr"] for test in ran.stored if test["title"] == "test_compares"]
    assert compares.startswith(
        ">   def test_compares()" if ">   def" in compares else "    def test_compares()"
    )


MARKERS = """
import pytest

@pytest.mark.tms("TC-1", "Pays by card", ["checkout"], "shop-team")
def test_positional(): pass

@pytest.mark.parametrize("currency", ["eur", pytest.param("usd", marks=pytest.mark.tms(title="Pays in dollars"))])
@pytest.mark.tms(title="Pays", tags="money")
def test_pays(currency): pass

@pytest.mark.tms(id="TC-2", title="Basket", owner="web-team", tags=["basket"])
class TestBasket:
    def test_adds(self): pass
    @pytest.mark.parametrize("n", [1])
    def test_removes(self, n): pass
    @pytest.mark.tms(id="TC-3", title="Clears", tags=["clears"])
    def test_clears(self): pass

@pytest.mark.jira("SHOP-1")
@pytest.mark.jira("SHOP-2", priority=1)
@pytest.mark.link({"url": "x", "open": True}, object)
@pytest.mark.order(1)
@pytest.mark.parametrize("__plugin_step", [1])
def test_arguments(__plugin_step): pass
"""


@pytest.mark.parametrize("mode", reported_runs.MODES)
def test_markers_name_a_test_and_keep_their_arguments(mode: str, tms: TmsServer, tmp_path: Path) -> None:
    ran = reported_runs.run(
        tms, tmp_path, {"test_it.py": MARKERS, "pytest.ini": INI}, *reported_runs.MODES[mode]
    )
    assert ran.exit == 0
    fields = ("title", "owner", "tags", "parameters", "properties")
    found = {
        test["nodeId"].rpartition("::")[2]: {name: test[name] for name in fields if name in test}
        for test in ran.stored
    }
    basket = {"owner": "web-team", "tags": ["@basket"], "properties": {"id": "TC-2"}}
    assert found == {
        "test_positional": {
            "title": "Pays by card",
            "owner": "shop-team",
            "tags": ["@checkout"],
            "properties": {"id": "TC-1"},
        },
        "test_pays[eur]": {"title": "Pays[eur]", "tags": ["@money"], "parameters": {"currency": "eur"}},
        "test_pays[usd]": {"title": "Pays in dollars", "tags": ["@money"], "parameters": {"currency": "usd"}},
        "test_adds": {"title": "Basket: test_adds", **basket},
        "test_removes[1]": {"title": "Basket: test_removes[1]", "parameters": {"n": 1}, **basket},
        "test_clears": {
            "title": "Clears",
            "owner": "web-team",
            "tags": ["@clears", "@basket"],
            "properties": {"id": "TC-3"},
        },
        "test_arguments[1]": {
            "title": "test_arguments[1]",
            "tags": found["test_arguments[1]"]["tags"],
            "properties": {
                "jira": ["SHOP-1", "SHOP-2", {"priority": 1}],
                "link": [{"url": "x", "open": True}, "<type>"],
            },
        },
    }
    assert sorted(found["test_arguments[1]"]["tags"]) == ["@jira", "@link"]


@pytest.mark.parametrize(("patterns", "tags"), [("* order", ["@jira", "@order"]), ("ord*", None)])
def test_a_marker_of_a_plugin_is_a_tag_if_a_pattern_names_it(
    patterns: str, tags: list[str] | None, tms: TmsServer, tmp_path: Path
) -> None:
    test = "import pytest\n@pytest.mark.order(1)\n@pytest.mark.jira('A')\ndef test_it(): pass\n"
    ran = reported_runs.run(
        tms, tmp_path, {"test_it.py": test, "pytest.ini": f"{INI}tms_tags = {patterns}\n"}
    )
    (stored,) = ran.stored
    assert (sorted(stored["tags"]) if "tags" in stored else None) == tags


RECORDS = """
import pytest, warnings

def test_suite(record_testsuite_property):
    record_testsuite_property("browser", "firefox")

@pytest.mark.filterwarnings("ignore")
def test_attribute(record_xml_attribute):
    record_xml_attribute("assertions", 4)

def test_section(request):
    request.node.add_report_section("call", "browser log", "clicked")

def test_typed(tms, record_property):
    tms.property("order", 4711)
    record_property("ratio", 0.5)
"""


@pytest.mark.parametrize("mode", reported_runs.MODES)
def test_what_tests_record_for_junit_xml_is_kept(mode: str, tms: TmsServer, tmp_path: Path) -> None:
    files = {"test_it.py": RECORDS, "pytest.ini": "[pytest]\njunit_family = xunit1\n"}
    ran = reported_runs.run(tms, tmp_path, files, *reported_runs.MODES[mode])
    assert ran.exit == 0
    stored = {test["title"]: test for test in ran.stored}
    assert stored["test_attribute"]["properties"] == {"assertions": 4}
    assert stored["test_typed"]["properties"] == {"order": 4711, "ratio": 0.5}
    assert stored["test_section"]["sections"] == [{"name": "Captured browser log call", "text": "clicked"}]
    assert ran.status is not None
    assert {shard.metadata.get("browser") for shard in ran.status.shard_results} == {"firefox"}


@pytest.mark.slow
@pytest.mark.parametrize("mode", reported_runs.MODES)
def test_the_report_log_of_others_has_nothing_of_ours(mode: str, tms: TmsServer, tmp_path: Path) -> None:
    test = "import pytest\n@pytest.mark.smoke\n@pytest.mark.parametrize('n', [1])\ndef test_it(n, tms):\n    tms.attach(b'x', 'a.log')\n    assert 0\n"
    ran = reported_runs.run(
        tms, tmp_path, {"test_it.py": test, "pytest.ini": INI}, *reported_runs.MODES[mode]
    )
    (stored,) = ran.stored
    assert stored["tags"] == ["@smoke"]
    assert [file["kind"] for file in stored["artifacts"]] == ["log"]
    assert len(ran.log) >= 3
    assert not any("tms" in line for line in ran.log)


ATTACH = """
import os, pathlib, subprocess, threading

def test_kinds(tms):
    for name in ("a.png", "a.log", "a.bin", "noending"):
        tms.attach(b"x", name)
    tms.attach(b"x", "a.png", kind="file")

def test_odd(tms):
    assert tms.attach("no_such_file") is None
    assert tms.attach(object()) is None
    assert tms.attach(b"x", kind="poem") is not None
    assert tms.attach(memoryview(b"x"), name=7) is not None

def test_patched(tms, monkeypatch):
    def no(*_, **__): raise OSError("patched")
    for name in ("open", "write", "close", "mkdir", "stat", "getpid", "getcwd"):
        monkeypatch.setattr(os, name, no)
    monkeypatch.setattr("builtins.open", no)
    monkeypatch.setattr(pathlib.Path, "open", no)
    path = tms.attach(b"patched", "patched.log")
    monkeypatch.undo()
    assert path.read_bytes() == b"patched"

def test_fork(tms):
    child = os.fork()
    if not child:
        tms.attach(b"child", "child.log")
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
"""


@pytest.mark.slow
@pytest.mark.parametrize("mode", reported_runs.MODES)
def test_attaching_never_fails_a_test(mode: str, tms: TmsServer, tmp_path: Path) -> None:
    ran = reported_runs.run(tms, tmp_path, {"test_it.py": ATTACH}, *reported_runs.MODES[mode])
    assert ran.exit == 0, ran.output
    stored = {test["title"]: test for test in ran.stored}
    kinds = [file["kind"] for file in stored["test_kinds"]["artifacts"]]
    assert kinds == ["screenshot", "log", "file", "file", "file"]
    assert [file["kind"] for file in stored["test_odd"]["artifacts"]] == ["file", "file"]
    said = [line for line in ran.warnings if "tms.attach" in line]
    assert len(said) == 3
    assert "there is no file 'no_such_file'" in "".join(said)


def test_bytes_go_to_a_temporary_folder_if_the_project_cannot_be_written_to(
    tms: TmsServer, tmp_path: Path
) -> None:
    test = "def test_it(tms):\n    assert tms.attach(b'x', 'a.log').read_bytes() == b'x'\n"
    # Root may write anywhere, so a file is in the place of the folder.
    files = {"test_it.py": test, ".tms/artifacts": "not a folder"}
    ran = reported_runs.run(tms, tmp_path, files, extra={"TMPDIR": str(tmp_path)})
    assert ran.exit == 0, ran.output
    ((file,),) = [stored["artifacts"] for stored in ran.stored]
    assert Path(file["path"]).parent.name.startswith("pytest-tms-")


def test_bytes_that_can_be_written_nowhere_are_one_warning(tms: TmsServer, tmp_path: Path) -> None:
    test = "def test_it(tms, monkeypatch):\n    for _ in range(3): assert tms.attach(b'x', 'a.log') is None\n"
    no_tmp = """
import types
from pytest_tms.plugin.results import attachment_store
attachment_store.tempfile = types.SimpleNamespace(gettempdir=lambda: "/dev/null")
"""
    files = {"test_it.py": test, ".tms/artifacts": "not a folder", "conftest.py": ""}
    plugin = tmp_path / "plugin"
    plugin.mkdir()
    (plugin / "no_tmp.py").write_text(no_tmp)
    ran = reported_runs.run(tms, tmp_path, files, "-p", "no_tmp", extra={"PYTHONPATH": str(plugin)})
    assert ran.exit == 0, ran.output
    assert len([line for line in ran.warnings if "attachments cannot be written to" in line]) == 1


FAKED = """
import pytest
from pyfakefs.fake_filesystem_unittest import Patcher

def test_fake(tms):
    with Patcher() as patcher:
        patcher.fs.create_file("/made/up.log", contents="made up")
        real, copied = tms.attach(b"real", "real.log"), tms.attach("/made/up.log")
    for path, text in ((real, "real"), (copied, "made up")):
        with open(path) as file:
            assert file.read() == text
"""


@pytest.mark.slow
@pytest.mark.plugins
@pytest.mark.parametrize("mode", reported_runs.MODES)
def test_bytes_are_written_for_real_under_a_fake_file_system(
    mode: str, tms: TmsServer, tmp_path: Path
) -> None:
    ran = reported_runs.run(
        tms, tmp_path, {"test_it.py": FAKED}, *reported_runs.MODES[mode], environment="shapes"
    )
    assert ran.exit == 0, ran.output
    (stored,) = ran.stored
    assert len(stored["artifacts"]) == 2


FORKED = """
import os, pytest

@pytest.mark.smoke
@pytest.mark.parametrize("n", [1])
def test_passes(n, tms):
    print("in a fork")
    tms.attach(b"x", "a.log")

def test_fails(): assert 1 == 2, "bad"
def test_crashes(): os.kill(os.getpid(), 9)
"""


@pytest.mark.plugins
def test_forked_tests_have_errors_tags_and_files(tms: TmsServer, tmp_path: Path) -> None:
    files = {"test_it.py": FORKED, "pytest.ini": INI}
    ran = reported_runs.run(tms, tmp_path, files, "--forked", environment="shapes")
    stored = {test["title"]: test for test in ran.stored}
    assert sorted(stored) == ["test_crashes", "test_fails", "test_passes[1]"], ran.output
    assert stored["test_fails"]["error"] == "AssertionError: bad"
    assert stored["test_passes[1]"]["status"] == "passed"
    assert stored["test_passes[1]"]["tags"] == ["@smoke"]
    assert stored["test_passes[1]"]["parameters"] == {"n": 1}
    assert [file["name"] for file in stored["test_passes[1]"]["artifacts"]] == ["a.log"]
    assert stored["test_crashes"]["status"] == "failed"
    assert "CRASHED" in stored["test_crashes"]["error"]


NOTEBOOK: dict[str, Any] = {
    "nbformat": 4,
    "nbformat_minor": 5,
    "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
    "cells": [
        {
            "cell_type": "code",
            "id": "a",
            "execution_count": 1,
            "metadata": {},
            "source": "raise ValueError('in a cell')",
            "outputs": [],
        }
    ],
}


@pytest.mark.plugins
def test_a_notebook_s_error_has_no_escape_codes(tms: TmsServer, tmp_path: Path) -> None:
    files = {"book.ipynb": json.dumps(NOTEBOOK)}
    ran = reported_runs.run(tms, tmp_path, files, "--nbval", environment="shapes")
    (stored,) = ran.stored
    assert stored["status"] == "failed"
    assert stored["file"] == "book.ipynb"
    assert "\x1b" not in stored["error"] + stored["longrepr"]
    assert "ValueError" in stored["error"]


CLOCKS = """
import pytest
from freezegun import freeze_time

@pytest.fixture(scope="module", autouse=True)
def frozen():
    with freeze_time("2020-01-01"):
        yield

@pytest.mark.parametrize("n", range(3))
def test_frozen(n): pass
"""


@pytest.mark.plugins
def test_tests_under_a_frozen_clock_are_delivered(tms: TmsServer, tmp_path: Path) -> None:
    ran = reported_runs.run(tms, tmp_path, {"test_it.py": CLOCKS}, environment="shapes")
    assert sorted(test["title"] for test in ran.stored) == [f"test_frozen[{n}]" for n in range(3)], ran.output
    assert all((test.get("duration") or 0) >= 0 for test in ran.stored)


DB_CONFTEST = "def pytest_tms_result(result): result['tags'] = [*result.get('tags', []), '@{name}']\n"


@pytest.mark.parametrize("mode", reported_runs.MODES)
def test_a_hook_of_a_folder_changes_only_the_tests_below_it(
    mode: str, tms: TmsServer, tmp_path: Path
) -> None:
    files = {
        "conftest.py": DB_CONFTEST.format(name="all"),
        "tests/db/conftest.py": DB_CONFTEST.format(name="db"),
        "tests/db/test_db.py": "def test_db(): pass\n",
        "tests/db/deep/test_deep.py": "def test_deep(): pass\n",
        "tests/test_other.py": "def test_other(): pass\n",
    }
    # xdist's controller collects nothing: it has the files that are beside what it is given.
    ran = reported_runs.run(
        tms, tmp_path, files, *reported_runs.MODES[mode], "tests/db", "tests/test_other.py"
    )
    tags = {test["title"]: sorted(test.get("tags") or ()) for test in ran.stored}
    assert tags == {"test_db": ["@all", "@db"], "test_deep": ["@all", "@db"], "test_other": ["@all"]}


@pytest.mark.parametrize(
    "body", ["result['nodeId'] = None", "result['nodeId'] = 'same'", "del result['nodeId']"]
)
@pytest.mark.parametrize("mode", reported_runs.MODES)
def test_a_hook_that_changes_node_ids_makes_no_two_tests_one(
    mode: str, body: str, tms: TmsServer, tmp_path: Path
) -> None:
    files = {
        "test_it.py": SUITE,
        "pytest.ini": INI,
        "conftest.py": f"def pytest_tms_result(result):\n    {body}\n",
    }
    ran = reported_runs.run(tms, tmp_path, files, *reported_runs.MODES[mode])
    assert len({test["nodeId"] for test in ran.stored}) == 6
    reported_runs.assert_counted(ran)
    assert ran.status is not None
    assert (ran.status.results.failed, ran.status.results.passed) == (3, 2)


NAMES = """
def pytest_collection_modifyitems(items):
    for item in items:
        item._nodeid = f"Checks {item.name}.\\n\\nAll of it."
"""


@pytest.mark.plugins
def test_a_docstring_as_node_id_has_the_file_of_its_test(tms: TmsServer, tmp_path: Path) -> None:
    files = {"test_it.py": "def test_a(): pass\ndef test_b(): assert 0\n", "conftest.py": NAMES}
    ran = reported_runs.run(tms, tmp_path, files, environment="eight")
    assert {(test["file"], test["title"], test["status"]) for test in ran.stored} == {
        ("test_it.py", "Checks test_a. All of it.", "passed"),
        ("test_it.py", "Checks test_b. All of it.", "failed"),
    }
