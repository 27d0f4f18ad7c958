"""Sessions in GitHub Actions: the job summary and the annotations, as a job has them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.helpers.processes import TmsServer

SUITE = """
import pytest

def test_fails():
    value = {"password": "hunter2-s3cret"}
    assert value == {}

def test_passes(): pass

@pytest.mark.parametrize("n", range(12))
def test_many(n): assert n < 0
"""
HOSTILE = """
import pytest

@pytest.mark.parametrize("name", ["</details><script>x</script>", "a::b,c%0A", "::error::injected"])
def test_named(name): assert False, "\\n::error::injected\\n# heading"
"""


@pytest.fixture
def summary(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, tms: TmsServer) -> Path:
    """The summary file of a job; the project is in a folder of its repository."""
    path = pytester.path.parent / f"{pytester.path.name}-summary.md"
    monkeypatch.setenv("TMS_API_TOKEN", tms.token)
    monkeypatch.setenv("TMS_PROJECT", pytester.path.name)  # whose runs no other test compares
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(path))
    monkeypatch.setenv("GITHUB_WORKSPACE", str(pytester.path.parent))
    return path


def commands(result: pytest.RunResult) -> list[str]:
    return [line for line in result.outlines if line.startswith("::")]


@pytest.mark.parametrize("workers", [[], ["-n", "2"]], ids=["alone", "workers"])
def test_the_job_summary_has_the_failures_and_the_link(
    pytester: pytest.Pytester,
    tms: TmsServer,
    summary: Path,
    monkeypatch: pytest.MonkeyPatch,
    workers: list[str],
) -> None:
    monkeypatch.setenv("DB_PASSWORD", "hunter2-s3cret")
    pytester.makepyfile(test_it=SUITE)
    result = pytester.runpytest_subprocess("--tms-url", tms.url, "-o", "tms_annotations=1", *workers)
    result.assert_outcomes(passed=1, failed=13)
    text = summary.read_text(encoding="utf-8")
    link = re.search(rf"{re.escape(tms.root)}/reports/exec_\w+", result.stdout.str())
    assert link is not None
    assert f"[Report](<{link[0]}>)" in text
    assert "14 tests: 13 failed, 1 passed" in text
    assert text.count("<details>") == 13
    assert "hunter2" not in text
    annotations = commands(result)
    assert len(annotations) == 10
    assert "hunter2" not in "".join(annotations)
    (own,) = [line for line in annotations if "test_fails" in line] or [""]
    if not workers:  # over workers, another ten may be the first ones
        file = f"{pytester.path.name}/test_it.py"
        assert own.startswith(f"::error file={file},line=5,title=test_it.py%3A%3Atest_fails::AssertionError")


def test_a_passing_session_writes_counts_and_no_annotation(
    pytester: pytest.Pytester, tms: TmsServer, summary: Path
) -> None:
    summary.write_text("of an earlier step\n")
    pytester.makepyfile("def test_it(): pass")
    result = pytester.runpytest_subprocess("--tms-url", tms.url, "-o", "tms_annotations=1")
    text = summary.read_text(encoding="utf-8")
    assert text.startswith("of an earlier step\n\n## all on dev: passed\n")
    assert "1 tests: 0 failed, 1 passed" in text
    assert commands(result) == []


def test_annotations_are_off_unless_they_are_asked_for(
    pytester: pytest.Pytester, tms: TmsServer, summary: Path
) -> None:
    pytester.makepyfile("def test_it(): assert False")
    assert commands(pytester.runpytest_subprocess("--tms-url", tms.url)) == []
    assert "### 1 failed" in summary.read_text(encoding="utf-8")


def test_new_failures_are_listed_first(pytester: pytest.Pytester, tms: TmsServer, summary: Path) -> None:
    known = pytester.makepyfile(test_a="def test_known(): assert False\ndef test_fixed(): assert False")
    pytester.runpytest_subprocess("--tms-url", tms.url)
    summary.unlink()
    known.write_text("def test_known(): assert False\ndef test_fixed(): pass")
    pytester.makepyfile(test_b="def test_new(): assert 1 == 2")
    pytester.runpytest_subprocess("--tms-url", tms.url)
    text = summary.read_text(encoding="utf-8")
    assert re.search(r"\nSince the previous run: 1 new, 1 known since [0-9-]{10}; 1 fixed\n", text)
    new, old = text.index("### 1 new failure\n"), text.index("### 1 known failure\n")
    assert new < text.index("assert 1 == 2</summary>") < old < text.index("test_known (since ")
    assert text.index("### Fixed\n\n- test\\_a.py::test\\_fixed") > old


def test_hostile_names_stay_in_their_place(pytester: pytest.Pytester, tms: TmsServer, summary: Path) -> None:
    pytester.makepyfile(HOSTILE)
    result = pytester.runpytest_subprocess("--tms-url", tms.url, "-o", "tms_annotations=1")
    assert len(commands(result)) == 3
    for line in commands(result):
        assert re.fullmatch(r"::error file=[^:,]+,line=\d+,title=[^:,]+::[^\r\n]*", line), line
    text = summary.read_text(encoding="utf-8")
    outside_code = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    assert "<script" not in re.sub(r"\\<", "", outside_code)
    assert re.findall("^#.*", text, re.MULTILINE) == ["## all on dev: failed", "### 3 failed"]


def test_what_did_not_run_is_listed(pytester: pytest.Pytester, tms: TmsServer, summary: Path) -> None:
    pytester.makepyfile(test_it=SUITE)
    pytester.runpytest_subprocess("--tms-url", tms.url, "-x")
    text = summary.read_text(encoding="utf-8")
    assert text.index("### 1 failed") < text.index("### Did not run")
    assert "stopping after 1 failures" in text
    assert "- test\\_it.py::test\\_passes\n" in text


def test_a_summary_that_cannot_be_written_is_a_warning(
    pytester: pytest.Pytester, tms: TmsServer, summary: Path
) -> None:
    summary.mkdir()
    pytester.makepyfile("def test_it(): pass")
    result = pytester.runpytest_subprocess("--tms-url", tms.url)
    assert result.ret == 0
    result.stdout.fnmatch_lines([f"warning: the job summary cannot be written: *, {summary}"])


def test_an_offline_session_has_a_summary(pytester: pytest.Pytester, summary: Path) -> None:
    pytester.makepyfile("def test_it(): assert False")
    pytester.runpytest_subprocess("--tms-offline")
    text = summary.read_text(encoding="utf-8")
    assert "### 1 failed" in text
    assert "[Report]" not in text


def test_outside_of_github_actions_nothing_is_written_or_loaded(
    pytester: pytest.Pytester, tms: TmsServer, summary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GITHUB_ACTIONS")
    pytester.makepyfile(
        """
        import sys
        def test_it():
            loaded = {"pytest_tms.plugin.github_actions", "pytest_tms.exports.markdown"} & set(sys.modules)
            assert not loaded
        """
    )
    result = pytester.runpytest_subprocess("--tms-url", tms.url, "-o", "tms_annotations=1")
    result.assert_outcomes(passed=1)
    assert not summary.exists()
