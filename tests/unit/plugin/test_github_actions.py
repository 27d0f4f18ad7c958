"""The output for GitHub Actions: which tests it has, its limits, and hostile names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pytest_tms.journal.lines import encode_tested, text_as_json
from pytest_tms.plugin.github_actions import (
    MAX_ANNOTATIONS,
    MAX_TESTS,
    SUMMARY_BYTES,
    GitHubActions,
    failed_tests,
    workflow_command,
)
from pytest_tms.plugin.session.summary import Summary
from pytest_tms.wire.executions import ReportedCounts

LINK = "https://tms.example.com/reports/exec_1"


def line(number: int, status: str = "failed", *, again: bool = False, **fields: Any) -> bytes:
    test = {"title": f"test_{number}", "nodeId": f"t.py::test_{number}", "status": status, **fields}
    encoded = msgspec.json.encode(test)
    return encode_tested(text_as_json("1"), encoded, n=number, test_number=number, again=again)


def github(folder: Path, **environ: str) -> GitHubActions:
    variables = {
        "GITHUB_STEP_SUMMARY": str(folder / "summary.md"),
        "GITHUB_WORKSPACE": str(folder),
        **environ,
    }
    return GitHubActions(variables, root=folder / "project", folder=folder, annotate=True)


def read(actions: GitHubActions, *lines: bytes) -> None:
    actions.read_failures(lines)


def summary(**changes: Any) -> Summary:
    values: dict[str, Any] = {
        "report_url": LINK,
        "shards": [("1", "failed", ReportedCounts(total=3, passed=1, failed=2, skipped=0, flaky=0))],
        "collected": 3,
        "results": 3,
        "delivered": 3,
        "refused": [],
        "kept_in": None,
        "not_run_reason": "",
        "running": [],
        "not_started": [],
        "problem": "",
        "warnings": [],
        **changes,
    }
    return Summary(**values)


def write(actions: GitHubActions, folder: Path, **changes: Any) -> str:
    assert actions.write_summary(summary(**changes), suite="smoke", environment="dev") == ""
    return (folder / "summary.md").read_text(encoding="utf-8")


def test_the_last_result_of_a_failed_test_counts_and_order_is_kept() -> None:
    lines = [
        b'{"is":"begin","n":1,"name":"x","t":0}\n',
        line(1),
        line(2, "passed"),
        line(3, "passed", retries=1),
        line(4),
        line(1, "passed", again=True),
        line(5, "skipped", retries=1),
        b'{"is":"test","sha',
    ]
    assert [test["title"] for test in failed_tests(lines)] == ["test_3", "test_4"]


def test_the_number_and_the_length_of_kept_tests_are_bounded() -> None:
    kept = failed_tests(line(number, longrepr="x" * 20_000 + "end") for number in range(MAX_TESTS + 50))
    assert len(kept) == MAX_TESTS
    assert max(len(test["longrepr"]) for test in kept) < 10_000
    assert kept[0]["longrepr"].endswith("end")


def test_the_summary_has_the_counts_the_link_the_failures_and_what_did_not_run(tmp_path: Path) -> None:
    actions = github(tmp_path)
    read(actions, line(1, error="AssertionError: no", longrepr="E   AssertionError: no"), line(2))
    text = write(
        actions,
        tmp_path,
        collected=5,
        not_run_reason="stopping after 2 failures",
        running=["t.py::test_4"],
        not_started=["t.py::test_5"],
    )
    assert "smoke on dev: failed" in text
    assert f"[Report](<{LINK}>)" in text
    assert text.index("### 2 failed") < text.index("test\\_2") < text.index("### Did not run")
    assert "stopping after 2 failures" in text
    assert "- t.py::test\\_4 (was running)\n" in text
    assert "- t.py::test\\_5\n" in text
    assert "Slowest" not in text


def test_a_summary_without_a_link_says_why(tmp_path: Path) -> None:
    text = write(github(tmp_path), tmp_path, report_url="", problem="the TMS does not answer")
    assert "[Report]" not in text
    assert "Not everything was reported: the TMS does not answer" in text


def test_a_summary_is_appended_within_what_is_left_of_the_limit(tmp_path: Path) -> None:
    actions = github(tmp_path)
    before = "x" * (SUMMARY_BYTES - 20_000)
    (tmp_path / "summary.md").write_text(before)
    read(actions, *(line(number, longrepr="trace " * 500) for number in range(100)))
    text = write(actions, tmp_path)
    assert text.startswith(f"{before}\n## smoke")
    assert len(text.encode()) <= SUMMARY_BYTES
    assert "do not fit here" in text
    assert LINK in text


def test_a_full_summary_is_left_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "summary.md"
    file.write_bytes(b"x" * (SUMMARY_BYTES - 10))
    problem = github(tmp_path).write_summary(summary(), suite="smoke", environment="dev")
    assert problem == "the job summary has no room left: 1,048,566 of 1,048,576 bytes are used"
    assert file.stat().st_size == SUMMARY_BYTES - 10


def test_a_summary_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "summary.md").mkdir()
    problem = github(tmp_path).write_summary(summary(), suite="smoke", environment="dev")
    assert problem.startswith("the job summary cannot be written: ")
    assert str(tmp_path / "summary.md") in problem


def test_without_a_summary_file_nothing_is_written(tmp_path: Path) -> None:
    actions = github(tmp_path, GITHUB_STEP_SUMMARY="")
    assert actions.write_summary(summary(), suite="smoke", environment="dev") == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "hostile",
    [
        "</summary></details><script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "[click](javascript:alert(1))",
        "![x](https://evil.example/x.png)",
        "| a | b |\n| - | - |",
        "\n\n# heading\n\n- item",
        "```\n# outside\n```",
        "````text\n</details>",
        "@everyone #1 $math$ :smile: ~~x~~",
        "\x1b[31mred\x1b[0m\x00\ud800",
    ],
)
def test_no_text_of_a_test_is_markdown_or_html(tmp_path: Path, hostile: str) -> None:
    actions = github(tmp_path)
    test = {"nodeId": f"t.py::test[{hostile}]", "error": hostile, "longrepr": f"{hostile}\nend"}
    cleaned: dict[str, Any] = {
        name: value.encode("utf-8", "backslashreplace").decode() for name, value in test.items()
    }
    read(actions, line(1, **cleaned), line(2, **{**cleaned, "longrepr": ""}))
    text = write(
        actions, tmp_path, not_started=[hostile.encode("utf-8", "backslashreplace").decode()], collected=4
    )
    outside = without_code(text)
    tags = re.findall(r"(?<!\\)</?([a-z]+)\b(?!://)", outside)  # a link is written as <https://…>
    assert tags == ["details", "summary", "summary", "details"]
    markdown = re.sub("^<details>.*$", "", outside, flags=re.MULTILINE)  # a block of HTML
    assert re.findall(r"(?<!\\)\]\((.*?)\)", markdown) == [f"<{LINK}>"]
    assert not re.search(r"(?<!\\)!\[", markdown)
    headings = [each for each in outside.splitlines() if each.startswith("#")]
    assert headings == ["## smoke on dev: failed", "### 2 failed", "### Did not run"]
    assert outside.count("<details>") == outside.count("</details>") == 1


def without_code(text: str) -> str:
    """Return Markdown without its fenced blocks, as CommonMark finds them."""
    kept, fence = [], ""
    for each in text.splitlines():
        opening = re.match(r"(`{3,})[^`]*$", each)
        if fence:
            if re.fullmatch(f"{fence}`*\\s*", each):
                fence = ""
        elif opening:
            fence = opening[1]
        else:
            kept.append(each)
    assert not fence, "a block of code is not closed"
    return "\n".join(kept)


def parsed(command: str) -> tuple[Mapping[str, str], str]:
    """Read a workflow command as GitHub's runner does."""
    assert "\n" not in command
    assert "\r" not in command
    found = re.fullmatch(r"::error (.*?)::(.*)", command)
    assert found is not None, command
    properties = dict(pair.split("=", 1) for pair in found[1].split(","))
    codes = (("%0D", "\r"), ("%0A", "\n"), ("%3A", ":"), ("%2C", ","), ("%25", "%"))

    def plain(value: str) -> str:
        for code, character in codes:
            value = value.replace(code, character)
        return value

    return {name: plain(value) for name, value in properties.items()}, plain(found[2])


def test_an_annotation_names_the_line_of_the_test_s_own_file(tmp_path: Path) -> None:
    actions = github(tmp_path)
    trace = "project/tests/t.py:7: \n> x\nlib/helper.py:3: AssertionError\nproject/tests/t.py:99 no\n"
    read(actions, line(1, file="tests/t.py", error="AssertionError: 50%\nmore", longrepr=trace))
    (command,) = actions.annotations()
    properties, message = parsed(command)
    assert properties == {"file": "project/tests/t.py", "line": "7", "title": "t.py::test_1"}
    assert message == "AssertionError: 50%"


def test_a_test_outside_of_the_repository_or_without_a_file_is_annotated(tmp_path: Path) -> None:
    actions = github(tmp_path, GITHUB_WORKSPACE=str(tmp_path / "elsewhere"))
    read(actions, line(1, file="tests/t.py"), line(2))
    first, second = map(parsed, actions.annotations())
    assert first == ({"file": "tests/t.py", "title": "t.py::test_1"}, "The test failed.")
    assert second == ({"title": "t.py::test_2"}, "The test failed.")


def test_at_most_ten_failed_tests_are_annotated_and_no_flaky_one(tmp_path: Path) -> None:
    actions = github(tmp_path)
    read(actions, line(0, "passed", retries=1), *(line(number) for number in range(1, 30)))
    titles = [parsed(command)[0]["title"] for command in actions.annotations()]
    assert titles == [f"t.py::test_{number}" for number in range(1, MAX_ANNOTATIONS + 1)]


@pytest.mark.parametrize(
    "hostile",
    [
        "a::b",
        "x,file=y",
        "\n::error::injected",
        "\r\n::add-mask::a",
        "100%25",
        "\x1b[31m",
        "\u2028::set-env::",
    ],
)
def test_no_text_ends_a_workflow_command_or_begins_another_one(hostile: str) -> None:
    properties, message = parsed(workflow_command("error", hostile, {"title": hostile, "file": hostile}))
    expected = re.sub("[\x1b\u2028]", " ", hostile)
    assert properties == {"title": expected, "file": expected}
    assert message == expected
