"""The command that runs failed tests again."""

from __future__ import annotations

import shlex

from pytest_tms.server.domain.rerun_commands import MAX_CHARACTERS, MAX_TESTS, rerun_command


def test_each_node_id_is_one_word_for_the_shell() -> None:
    ids = ["t/test_a.py::test_a", "t/test_a.py::test_b[a b]", "t/test_a.py::test_c['$(reboot)']"]
    command = rerun_command(ids)
    assert command is not None
    assert shlex.split(command.text) == ["pytest", *ids]
    assert command.tests == 3


def test_nothing_that_is_no_test_is_named() -> None:
    assert rerun_command([]) is None
    assert rerun_command(["", "--collect-only", "-x", "@args.txt", "a\nrm -rf x", "a\x1b[31m"]) is None


def test_a_command_is_bounded() -> None:
    command = rerun_command(f"test_a.py::test_{n}" for n in range(1000))
    assert command is not None
    assert command.tests == MAX_TESTS
    long = rerun_command(f"test_{n}" + "x" * 3000 for n in range(1000))
    assert long is not None
    assert len(long.text) <= MAX_CHARACTERS
    assert long.tests == 5


def test_a_test_of_several_shards_is_named_once() -> None:
    command = rerun_command(["t.py::a", "t.py::a", "t.py::b"])
    assert command is not None
    assert command.text == "pytest t.py::a t.py::b"
