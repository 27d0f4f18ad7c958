"""What the user's hook may change of a result, and to which tests it applies."""

from __future__ import annotations

import msgspec
import pytest

from pytest_tms import wire
from pytest_tms.plugin.user_hooks import restore_identity, result_hook

BEFORE = wire.TestResult(title="a", status="failed", node_id="test_it.py::test_a", worker="gw0")


@pytest.mark.parametrize("node_id", [None, "", "another", "test_it.py::test_a"])
@pytest.mark.parametrize("worker", [None, "gw1", "gw0"])
def test_a_hook_changes_everything_but_the_identity(node_id: str | None, worker: str | None) -> None:
    changed = wire.TestResult(title="b", status="passed", node_id=node_id, worker=worker)
    assert restore_identity(BEFORE, changed) == msgspec.structs.replace(BEFORE, title="b", status="passed")


def test_a_hook_applies_to_the_tests_below_its_conftest(pytester: pytest.Pytester) -> None:
    hook = "def pytest_tms_result(result): result.append({name!r})\n"
    for folder in ("", "db", "db/deep"):
        pytester.path.joinpath(folder).mkdir(exist_ok=True)
        pytester.path.joinpath(folder, "conftest.py").write_text(hook.format(name=folder or "root"))
        pytester.path.joinpath(folder, f"test_{len(folder)}.py").write_text("def test(): pass\n")
    items, _ = pytester.inline_genitems()
    config = items[0].config

    def applied(file: str | None) -> set[str]:
        seen: list[str] = []
        result_hook(config, file)(report=None, result=seen)
        return set(seen)

    assert applied("test_0.py") == {"root"}
    assert applied("other/test_it.py") == {"root"}
    assert applied("dbs/test_it.py") == {"root"}
    assert applied("db/test_2.py") == {"root", "db"}
    assert applied("db/deep/../test_2.py") == {"root", "db"}
    assert applied("db/deep/test_7.py") == {"root", "db", "db/deep"}
    assert applied("../elsewhere.py") == set()
    assert applied("") == applied(None) == {"root"}
    assert applied("no\0file" + "x" * 5000) == {"root"}
