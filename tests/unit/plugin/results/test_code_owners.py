"""Owners of files by CODEOWNERS."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_tms.plugin.results.code_owners import CodeOwners, find_code_owners

ROOT = Path("/repository")

GITHUB = r"""
# the example of GitHub's documentation
*       @global-owner1 @global-owner2
*.js    @js-owner #This is an inline comment.
*.go docs@example.com
*.txt @octo-org/octocats
/build/logs/ @doctocat
docs/*  docs@example.com
apps/ @octocat
/docs/ @doctocat
/scripts/ @doctocat @octocat
**/logs @octocat
/apps/ @octocat
/apps/github
"""


def owner(text: str, path: str) -> str:
    return CodeOwners(ROOT, text).owner_of(ROOT / path)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("README", "@global-owner1"),
        ("src/deep/a.js", "@js-owner"),
        ("main.go", "docs@example.com"),
        ("build/logs/a.log", "@octocat"),  # **/logs is later
        ("x/build/logs/a", "@octocat"),
        ("docs/a.md", "@doctocat"),
        ("x/docs/a.md", "@global-owner1"),
        ("x/apps/y/z.py", "@octocat"),
        ("deeply/nested/logs/a", "@octocat"),
        ("apps/github", ""),
        ("apps/github/a.py", ""),
        ("apps/other.py", "@octocat"),
        ("scripts", "@global-owner1"),  # a file, and the pattern is a folder
        ("scripts/run", "@doctocat"),
    ],
)
def test_the_example_of_github(path: str, expected: str) -> None:
    assert owner(GITHUB, path) == expected


@pytest.mark.parametrize(
    ("pattern", "matching", "other"),
    [
        ("docs/*", ["docs/a.md"], ["docs/b/a.md", "x/docs/a.md"]),
        ("/*", ["a"], ["b/a"]),
        ("tests/test_?.py", ["tests/test_a.py"], ["tests/test_ab.py", "x/tests/test_a.py"]),
        ("a/**/b", ["a/b", "a/x/b", "a/x/y/b/c"], ["x/a/b"]),
        ("a/**", ["a/b", "a/b/c"], ["a", "b/a/c"]),
        ("/tests", ["tests/a.py", "tests"], ["x/tests/a.py"]),
        ("conftest.py", ["conftest.py", "a/conftest.py"], ["a/conftest.pyc", "myconftest.py"]),
        (r"my\ folder/", ["my folder/a"], ["my/a"]),
        ("test_*_[a].py", ["test_x_[a].py"], ["test_x_a.py"]),
        ("*", ["a", "a/b"], []),
    ],
)
def test_patterns(pattern: str, matching: list[str], other: list[str]) -> None:
    assert [owner(f"{pattern} @ada", path) for path in matching] == ["@ada"] * len(matching)
    assert [owner(f"{pattern} @ada", path) for path in other] == [""] * len(other)


def test_sections_of_gitlab() -> None:
    text = "* @all\n[Docs][2] @docs\n*.md\n^[Optional]\n*.py @python\n[Docs]\nsrc/\n"
    assert owner(text, "a.md") == "@docs"
    assert owner(text, "a.py") == "@python"
    assert owner(text, "src/a.py") == ""
    assert owner(text, "a.txt") == "@all"


def test_lines_that_are_no_rules_are_ignored() -> None:
    text = "\ufeff* @all\n!a.py @ada\n\n/\n   \n# b.py @ada\n\\\n[\n"
    assert owner(text, "a.py") == owner(text, "b.py") == "@all"


def test_a_file_outside_the_repository_has_no_owner() -> None:
    assert CodeOwners(ROOT, "* @all").owner_of(Path("/elsewhere/a.py")) == ""


@pytest.mark.parametrize("location", [".github", "", "docs", ".gitlab"])
def test_the_file_is_found_in_the_repository_of_a_folder(tmp_path: Path, location: str) -> None:
    (tmp_path / ".git").mkdir()
    folder = tmp_path / "services" / "shop"
    folder.mkdir(parents=True)
    assert find_code_owners(folder) is None
    (tmp_path / location).mkdir(exist_ok=True)
    (tmp_path / location / "CODEOWNERS").write_text("services/ @shop\n", encoding="utf-8")
    found = find_code_owners(folder)
    assert found is not None
    assert found.owner_of(folder / "test_a.py") == "@shop"


def test_without_git_the_folder_itself_is_the_repository(tmp_path: Path) -> None:
    (tmp_path / "CODEOWNERS").write_text("* @all", encoding="utf-8")
    found = find_code_owners(tmp_path)
    assert found is not None
    assert found.owner_of(tmp_path / "a.py") == "@all"
