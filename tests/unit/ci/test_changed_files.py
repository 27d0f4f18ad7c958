"""Files that a working copy changes, compared with its base branch."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from pytest_tms.ci.changed_files import changed_files


def git(folder: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "init.defaultBranch=main"]
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A working copy whose branch has a commit of its own, an edited file and a new one."""
    git(tmp_path, "init")
    for name in ("same.py", "committed.py", "edited.py", "sub/inner.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("1")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "one")
    git(tmp_path, "checkout", "-b", "topic")
    for name in ("committed.py", "sub/inner.py"):
        (tmp_path / name).write_text("2")
    git(tmp_path, "commit", "-am", "two")
    (tmp_path / "edited.py").write_text("2")
    (tmp_path / "nöw.py").write_text("2")
    return tmp_path


def test_committed_edited_and_new_files(copy: Path) -> None:
    assert changed_files(copy, {}) == {"committed.py", "edited.py", "sub/inner.py", "nöw.py"}


def test_names_are_relative_to_the_folder(copy: Path) -> None:
    assert changed_files(copy / "sub", {}) == {"inner.py"}


def test_the_base_branch_of_ci_counts(copy: Path) -> None:
    git(copy, "branch", "release")
    assert changed_files(copy, {"GITHUB_BASE_REF": "release"}) == {"edited.py", "nöw.py"}
    assert len(changed_files(copy, {"GITHUB_BASE_REF": "--all", "CHANGE_TARGET": "gone"})) == 4


def test_changes_of_the_base_since_then_do_not_count(copy: Path) -> None:
    git(copy, "stash")
    git(copy, "checkout", "main")
    (copy / "same.py").write_text("3")
    git(copy, "commit", "-am", "three")
    git(copy, "checkout", "topic")
    assert "same.py" not in changed_files(copy, {})


def test_a_folder_without_git_has_no_changed_files(tmp_path: Path) -> None:
    assert changed_files(tmp_path, {}) == frozenset()
