"""What is stored of a test beside its outcome: files, properties, tags, parameters, and long texts cut."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.helpers import reported_runs
from tests.helpers.processes import TmsServer

ARTIFACTS = """
import os, threading, pathlib, pytest

def test_attaches(tms, tmp_path):
    (tmp_path / "shot.png").write_bytes(b"png")
    tms.attach(tmp_path / "shot.png")
    tms.attach(b"lines", "run.txt")
    tms.attach(b"lines", "../../odd name.log", kind="trace")
    tms.property("answer", 42)
    tms.property("odd", object)
    assert tms.execution_id.startswith("exec_") and tms.shard_id

@pytest.fixture
def leaves(tms):
    yield
    tms.attach(b"late", "late.webm")

def test_teardown_attaches(leaves): pass
def test_fails_and_attaches(leaves, tms):
    tms.attach(b"early", "early.zip")
    assert 0, "bad"

def test_threads(tms):
    threads = [threading.Thread(target=tms.attach, args=(b"x", "same.txt")) for _ in range(8)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()

def test_missing_file(tms):
    assert tms.attach("no_such_file") is None

def test_properties(record_property):
    record_property("owner", "me")
    record_property("ratio", 0.5)
    if "PYTEST_XDIST_WORKER" not in os.environ:  # execnet cannot carry it, and xdist ends the session
        record_property("thing", object())
    record_property("owner", "you")

def test_browser(request, tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    for name in ("test-failed-1.png", "trace.zip", "video.webm"):
        (folder / name).write_bytes(b"x")
    request.node.add_marker(pytest.mark.browser_left(folder))
    assert 0, "bad"

def test_nothing(): pass
"""

PLAYWRIGHT = """
import pytest

@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(item, call):
    report = yield
    mark = item.get_closest_marker("browser_left")
    if call.when == "teardown" and mark:  # as pytest-playwright does
        folder = mark.args[0]
        for key, value in (("screenshot", ["test-failed-1.png"]), ("trace", ["trace.zip"]), ("video", ["video.webm"])):
            report.user_properties.append((f"playwright_{key}", [str(folder / name) for name in value]))
    return report

def pytest_configure(config):
    config.addinivalue_line("markers", "browser_left(folder): where a browser left its files")
"""

TAGS = """
import pytest
pytestmark = [pytest.mark.module_wide]

@pytest.mark.smoke
class TestTagged:
    @pytest.mark.slow
    @pytest.mark.parametrize("n", [1])
    @pytest.mark.usefixtures("tmp_path")
    @pytest.mark.filterwarnings("ignore")
    @pytest.mark.skipif(False, reason="no")
    @pytest.mark.xfail(False, reason="no")
    def test_own_and_inherited(self, n): pass

    def test_inherited(self): pass

@pytest.mark.tms(id="TC-12", title="A readable title", tags=["checkout", "@p1"])
@pytest.mark.smoke
def test_named(): pass

def test_plain(): pass
"""
MARKERS = "[pytest]\nmarkers =\n    smoke\n    slow\n    module_wide\n"

LONG = """
import pytest, sys, logging

def test_output():
    print("head" + "x" * 3_000_000 + "tail")
    print("e" * 2_000_000, file=sys.stderr)
    logging.getLogger().warning("l" * 2_000_000)
    assert 0, "m" * 1_000_000

def test_short(): print("short")

@pytest.mark.parametrize("x", ["p" * 1_000_000], ids=["id"])
def test_parameter(x): pass
"""

OPTIONS = """
import logging

def test_output():
    print("said")
    logging.getLogger().warning("logged")
    assert 0, "bad"
"""


@pytest.mark.parametrize("mode", reported_runs.MODES)
def test_files_and_properties_belong_to_their_test(mode: str, tms: TmsServer, tmp_path: Path) -> None:
    files = {"test_it.py": ARTIFACTS, "conftest.py": PLAYWRIGHT}
    ran = reported_runs.run(tms, tmp_path, files, *reported_runs.MODES[mode])
    reported_runs.assert_stored(
        ran.stored,
        [
            reported_runs.passed(
                "test_it.py::test_attaches",
                artifacts=[("screenshot", "shot.png"), ("log", "run.txt"), ("trace", "../../odd name.log")],
                properties={"answer": 42, "odd": "<class 'object'>"},
            ),
            reported_runs.passed("test_it.py::test_teardown_attaches", artifacts=[("video", "late.webm")]),
            reported_runs.failed(
                "test_it.py::test_fails_and_attaches",
                "AssertionError: bad",
                artifacts=[("trace", "early.zip"), ("video", "late.webm")],
            ),
            reported_runs.passed("test_it.py::test_threads", artifacts=[("log", "same.txt")] * 8),
            reported_runs.passed("test_it.py::test_missing_file", artifacts=None),
            reported_runs.passed("test_it.py::test_properties"),
            reported_runs.failed(
                "test_it.py::test_browser",
                "AssertionError: bad",
                artifacts=[
                    ("screenshot", "test-failed-1.png"),
                    ("trace", "trace.zip"),
                    ("video", "video.webm"),
                ],
                properties=None,
            ),
            reported_runs.passed("test_it.py::test_nothing", artifacts=None, properties=None),
        ],
    )
    stored = {test["title"]: test for test in ran.stored}
    properties = stored["test_properties"]["properties"]
    assert (properties["owner"], properties["ratio"]) == ("you", 0.5)
    assert mode == "workers" or properties["thing"].startswith("<object object at")
    paths = [Path(file["path"]) for test in ran.stored for file in test.get("artifacts") or ()]
    assert all(path.is_file() for path in paths)
    assert len(set(paths)) == len(paths)
    assert {path.name for path in paths if path.parent.parent.name == "artifacts"} >= {
        Path(file["path"]).name for file in stored["test_threads"]["artifacts"]
    }


@pytest.mark.parametrize(
    ("patterns", "own", "inherited", "named"),
    [
        (
            "",
            ["@slow", "@smoke", "@module_wide"],
            ["@smoke", "@module_wide"],
            ["@checkout", "@p1", "@smoke", "@module_wide"],
        ),
        ("s* !slow", ["@smoke"], ["@smoke"], ["@checkout", "@p1", "@smoke"]),
        ("!module_*", ["@slow", "@smoke"], ["@smoke"], ["@checkout", "@p1", "@smoke"]),
    ],
    ids=["all", "patterns", "excluded"],
)
def test_markers_become_tags(
    patterns: str, own: list[str], inherited: list[str], named: list[str], tms: TmsServer, tmp_path: Path
) -> None:
    files = {"test_it.py": TAGS, "pytest.ini": f"{MARKERS}tms_tags = {patterns}\n"}
    ran = reported_runs.run(tms, tmp_path, files, "-n", "1", "--strict-markers")
    assert ran.exit == 0
    plain = [tag for tag in inherited if tag == "@module_wide"] or None
    found: dict[str, Any] = {test["nodeId"].rpartition("::")[2]: test for test in ran.stored}
    assert {name: sorted(test.get("tags") or ()) for name, test in found.items()} == {
        "test_own_and_inherited[1]": sorted(own),
        "test_inherited": sorted(inherited),
        "test_named": sorted(named),
        "test_plain": sorted(plain or ()),
    }
    assert found["test_named"]["title"] == "A readable title"
    assert found["test_named"]["properties"] == {"id": "TC-12"}


@pytest.mark.parametrize("mode", reported_runs.MODES)
def test_long_texts_are_cut_in_the_middle_with_a_note(mode: str, tms: TmsServer, tmp_path: Path) -> None:
    files = {"test_it.py": LONG, "pytest.ini": "[pytest]\ntms_output_limit = 20000\n"}
    ran = reported_runs.run(tms, tmp_path, files, *reported_runs.MODES[mode])
    stored = {test["title"]: test for test in ran.stored}
    assert sorted(stored) == ["test_output", "test_parameter[id]", "test_short"]
    long = stored["test_output"]
    for name in ("stdout", "stderr", "log", "longrepr"):
        assert 20_000 < len(long[name]) < 20_100
        assert " characters left out …" in long[name]
    assert long["stdout"].startswith("headxxx")
    assert long["stdout"].endswith("xxxtail\n")
    assert 900 < len(long["error"]) <= 1000
    assert long["error"].endswith("mmm")
    assert stored["test_short"]["stdout"] == "short\n"
    assert len(stored["test_parameter[id]"]["parameters"]["x"]) < 300
    reported_runs.assert_counted(ran)


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ((), {"stdout": "said\n", "log": reported_runs.StartsWith("WARNING ")}),
        (("-s",), {"stdout": None, "log": reported_runs.StartsWith("WARNING ")}),
        (("--capture=tee-sys",), {"stdout": "said\n"}),
        (("-p", "no:logging"), {"stdout": "said\n", "log": None}),
        (("--import-mode=importlib", "--show-capture=no"), {"stdout": "said\n"}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_pytest_captured_is_kept_however_it_shows_it(
    options: tuple[str, ...], kept: dict[str, Any], tms: TmsServer, tmp_path: Path
) -> None:
    ran = reported_runs.run(tms, tmp_path, {"test_it.py": OPTIONS}, *options)
    assert ran.exit == 1
    reported_runs.assert_stored(
        ran.stored, [reported_runs.failed("test_it.py::test_output", "AssertionError: bad", **kept)]
    )


def test_settings_that_are_no_unicode_are_written_as_escapes(tms: TmsServer, tmp_path: Path) -> None:
    ran = reported_runs.run(
        tms, tmp_path, {"test_it.py": "def test_it(): pass\n"}, "--tms-meta", "who=\udce4"
    )
    assert ran.status is not None
    assert ran.status.metadata["who"] == "\\udce4"
    assert len(ran.stored) == 1


FAILURES = """
import json, unittest, pytest
import shop

def test_passes(): pass

def test_library():
    shop.parse("{")

@pytest.fixture
def database():
    try:
        {}["url"]
    except KeyError as error:
        raise ConnectionError("no database") from error

def test_setup(database): pass

@pytest.fixture
def failing():
    yield
    assert 0, "late"

def test_teardown(failing): pass

class TestUnit(unittest.TestCase):
    def test_equal(self):
        self.assertEqual(1, 2)

def test_skipped(): pytest.skip("not today")

@pytest.mark.xfail
def test_expected(): assert 0
"""
DURATIONS = """
import pytest

@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    report = yield
    if item.name == "test_teardown":
        report.duration = {"setup": 0.02, "call": 0.003, "teardown": 0.01}[report.when]
    return report
"""
SHOP = """
import json

def parse(text):
    return json.loads(text)
"""


@pytest.mark.parametrize(
    ("mode", "style"), [("alone", "long"), ("alone", "native"), ("alone", "no"), ("workers", "short")]
)
def test_a_failure_has_its_exception_and_frames_in_every_style(
    mode: str, style: str, tms: TmsServer, tmp_path: Path
) -> None:
    files = {"test_it.py": FAILURES, "shop/__init__.py": SHOP, "conftest.py": DURATIONS}
    ran = reported_runs.run(tms, tmp_path, files, f"--tb={style}", *reported_runs.MODES[mode])
    stored = {test["title"]: test for test in ran.stored}
    assert {name: test.get("exceptionType") for name, test in stored.items()} == {
        "test_passes": None,
        "test_library": "json.decoder.JSONDecodeError",
        "test_setup": "ConnectionError",
        "test_teardown": "AssertionError",
        "TestUnit::test_equal": "AssertionError",
        "test_skipped": None,
        "test_expected": None,
    }
    own = {
        name: [(each["path"], each["function"]) for each in test["frames"] if each.get("isOwn")]
        for name, test in stored.items()
        if "frames" in test
    }
    assert own == {
        "test_library": [("test_it.py", "test_library"), ("shop/__init__.py", "parse")],
        "test_setup": [("test_it.py", "database")],
        "test_teardown": [("test_it.py", "failing")],
        "TestUnit::test_equal": [("test_it.py", "test_equal")],
    }
    first, second, *others = stored["test_library"]["frames"]
    assert (first["line"], second["line"]) == (8, 5)
    assert {Path(each["path"]).parent.name for each in others} == {"json"}
    for name, test in stored.items():
        phases = test["phases"]
        assert set(phases) == {"setup", "teardown"} | ({"call"} - {name.replace("test_setup", "call")})
        assert abs(sum(phases.values()) - test["duration"]) <= 2
    assert stored["test_teardown"]["phases"] == {"setup": 20, "call": 3, "teardown": 10}


ATTEMPTS = """
import pathlib, time

def test_flaky(tms):
    path = pathlib.Path("count")
    tries = len(path.read_text()) + 1 if path.exists() else 1
    path.write_text("." * tries)
    tms.attach(b"x", f"try{tries}.txt")
    tms.property("try", tries)
    time.sleep(0.05 / tries)
    assert tries > 2
"""


@pytest.mark.plugins
@pytest.mark.parametrize("mode", reported_runs.MODES)
@pytest.mark.parametrize(
    ("environment", "options"),
    [
        ("rerunfailures", ("--reruns", "2")),
        ("retry", ("--retries", "2")),
        ("flaky", ("--force-flaky", "--max-runs=3")),
    ],
)
def test_each_attempt_has_its_own_files_and_duration(
    environment: str, options: tuple[str, ...], mode: str, tms: TmsServer, tmp_path: Path
) -> None:
    options = (*reported_runs.MODES[mode], *options)
    ran = reported_runs.run(tms, tmp_path, {"test_it.py": ATTEMPTS}, *options, environment=environment)
    (test,) = ran.stored
    assert test["retries"] == 2
    durations = [attempt["duration"] for attempt in test["attempts"]]
    assert all(duration >= 49 // number for number, duration in enumerate(durations, 1))
    assert durations[-1] == test["duration"]
    assert test["properties"] == {"try": 3}
    assert "exceptionType" not in test
    first = test["attempts"][0]
    if environment == "rerunfailures":  # the others do not log every attempt
        assert [attempt.get("exceptionType") for attempt in test["attempts"]] == ["AssertionError"] * 2 + [
            None
        ]
        assert first["frames"] == [
            {"path": "test_it.py", "line": 11, "function": "test_flaky", "isOwn": True}
        ]
        assert first["phases"].keys() == {"setup", "call", "teardown"}
    names = [[file["name"] for file in attempt.get("artifacts") or ()] for attempt in test["attempts"]]
    # pytest-retry has one teardown for its later attempts, so their files cannot be told apart.
    one_teardown = [["try1.txt"], [], ["try2.txt", "try3.txt"]]
    assert names == (one_teardown if environment == "retry" else [["try1.txt"], ["try2.txt"], ["try3.txt"]])
