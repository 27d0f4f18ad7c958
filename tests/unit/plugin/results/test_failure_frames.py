"""The exception and the frames that are read from a traceback."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import CodeType
from typing import Any

import pytest

from pytest_tms.plugin.results.failure_frames import MAX_FRAMES, FailureReader


def caught(source: str, name: str, **names: Any) -> BaseException:
    """The exception of code that a file of this name contains."""
    code: CodeType = compile(source, name, "exec")
    try:
        exec(code, names)
    except BaseException as error:
        return error
    raise AssertionError("no exception")


def frames(error: BaseException, root: Path) -> list[tuple[str, int, str, bool]]:
    failure = FailureReader(str(root)).read(error)
    assert failure is not None
    # Frames outside of the code under test are those of this file.
    return [tuple(each) for each in failure["frames"] if not each[0].endswith("test_failure_frames.py")]


def test_frames_have_paths_below_the_root_and_their_functions(tmp_path: Path) -> None:
    source = "import json\ndef inner():\n    json.loads('{')\ninner()\n"
    error = caught(source, str(tmp_path / "shop" / "prices.py"))
    found = frames(error, tmp_path)
    assert found[:2] == [
        ("shop/prices.py", 4, "<module>", True),
        ("shop/prices.py", 3, "inner", True),
    ]
    assert {(Path(path).parent.name, is_own) for path, _, _, is_own in found[2:]} == {("json", False)}
    assert found[-1][0] == json.decoder.__file__.replace("\\", "/")


@pytest.mark.parametrize(
    "path",
    [
        ".venv/lib/python3.12/site-packages/requests/api.py",
        ".nox/tests/Lib/site-packages/attr/_make.py",
        "usr/lib/python3/dist-packages/yaml/__init__.py",
        "<string>",
    ],
)
def test_installed_code_is_not_own_below_the_root_either(path: str, tmp_path: Path) -> None:
    name = path if path.startswith("<") else str(tmp_path / path)
    assert frames(caught("1/0", name), tmp_path)[-1] == (path, 1, "<module>", False)


def test_an_interpreter_below_the_root_is_not_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "python"))
    name = str(tmp_path / "python" / "lib" / "python3.12" / "json.py")
    assert not frames(caught("1/0", name), tmp_path)[-1][3]
    assert frames(caught("1/0", str(tmp_path / "pythonic.py")), tmp_path)[-1][3]


def test_a_relative_file_is_own(tmp_path: Path) -> None:
    assert frames(caught("1/0", "./tests/test_it.py"), tmp_path) == [
        ("tests/test_it.py", 1, "<module>", True)
    ]


def test_a_root_that_is_a_link_is_recognised(tmp_path: Path) -> None:
    real, link = tmp_path / "real", tmp_path / "link"
    real.mkdir()
    link.symlink_to(real)
    for name in (real, link):
        assert frames(caught("1/0", str(name / "test_it.py")), link)[-1][0] == "test_it.py"


def test_hidden_frames_are_left_out(tmp_path: Path) -> None:
    source = "def check():\n    __tracebackhide__ = True\n    fail()\ndef fail():\n    1/0\ncheck()\n"
    found = frames(caught(source, str(tmp_path / "test_it.py")), tmp_path)
    assert [function for _, _, function, _ in found] == ["<module>", "fail"]


def test_deep_recursion_keeps_both_ends(tmp_path: Path) -> None:
    source = "def down(n):\n    if not n:\n        1/0\n    down(n - 1)\ndown(200)\n"
    failure = FailureReader(str(tmp_path)).read(caught(source, str(tmp_path / "test_it.py")))
    assert failure is not None
    assert len(failure["frames"]) == MAX_FRAMES
    assert failure["frames"][0][1:3] == [5, "<module>"]
    assert failure["frames"][-1][1:3] == [3, "down"]


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("1/0", "ZeroDivisionError"),
        ("import json; json.loads('{')", "json.decoder.JSONDecodeError"),
        ("class Own(Exception): pass\nraise Own", "shop.errors.Own"),
        ("class Own(Exception): pass\nOwn.__module__ = None\nraise Own", "None.Own"),
        ("raise type('x' * 400, (Exception,), {'__module__': '\\udce4'})", "\\udce4." + "x" * 293),
    ],
)
def test_the_type_has_its_module_unless_it_is_built_in(source: str, name: str, tmp_path: Path) -> None:
    failure = FailureReader(str(tmp_path)).read(caught(source, "errors.py", __name__="shop.errors"))
    assert failure is not None
    assert failure["type"] == name


def test_a_skip_is_not_a_failure(tmp_path: Path) -> None:
    assert FailureReader(str(tmp_path)).read(caught("import pytest; pytest.skip('x')", "test_it.py")) is None


def test_an_exception_without_traceback_has_no_frames(tmp_path: Path) -> None:
    assert FailureReader(str(tmp_path)).read(ValueError()) == {"type": "ValueError", "frames": []}
