"""The journal: on disk before it is sent, and no reason for a run to stop."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_tms.journal.file import Acks, Journal


def lines(journal: Journal, position: int = 0) -> list[bytes]:
    return [line for _, line in journal.lines(position)]


def test_what_is_appended_is_on_disk_at_once(tmp_path: Path) -> None:
    journal = Journal.create(tmp_path / "new", "run")
    journal.append(b'{"a":1}\n')
    assert journal.path.read_bytes() == b'{"a":1}\n'
    assert journal.path.stat().st_mode & 0o077 == 0
    assert (tmp_path / "new" / ".gitignore").read_text() == "*\n"
    journal.close(delivered=False)


def test_reading_goes_on_where_it_stopped(tmp_path: Path) -> None:
    journal = Journal.create(tmp_path, "run")
    journal.append(b"1\n")
    ((position, first),) = journal.lines()
    journal.append(b"2\n")
    assert (first, lines(journal, position)) == (b"1\n", [b"2\n"])
    journal.close(delivered=True)


def test_a_full_disk_is_one_sentence_and_loses_nothing(tmp_path: Path) -> None:
    (tmp_path / "run.jsonl").symlink_to("/dev/full")
    journal = Journal.create(tmp_path, "run")
    for number in range(3):
        journal.append(b"%d\n" % number)
    assert journal.trouble.startswith("results are kept in memory only: No space left on device")
    assert lines(journal) == [b"0\n", b"1\n", b"2\n"]
    assert lines(journal, 2) == [b"1\n", b"2\n"]
    assert not journal.is_on_disk
    journal.close(delivered=False)


def test_a_disk_that_fills_up_keeps_what_it_has(tmp_path: Path) -> None:
    journal = Journal.create(tmp_path, "run")
    journal.append(b"on disk\n")
    full = os.open("/dev/full", os.O_RDWR)
    os.dup2(full, journal._file)  # the disk fills up between two lines
    journal.append(b"in memory\n")
    assert journal.end == len(b"on disk\nin memory\n")
    assert lines(journal, len(b"on disk\n")) == [b"in memory\n"]
    os.close(full)
    journal.close(delivered=False)


def test_a_folder_that_cannot_be_made_leaves_memory(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    journal = Journal.create(tmp_path / "file" / "journal", "run")
    journal.append(b"1\n")
    assert lines(journal) == [b"1\n"]
    assert "Not a directory" in journal.trouble
    journal.acknowledge(Acks(upto=2))
    journal.close(delivered=True)


def test_two_never_work_on_one_journal(tmp_path: Path) -> None:
    journal = Journal.create(tmp_path, "run")
    assert Journal.adopt(journal.path) is None
    journal.close(delivered=False)
    other = Journal.adopt(journal.path)
    assert other is not None
    other.close(delivered=True)
    assert list(tmp_path.iterdir()) == []


def test_a_journal_that_is_gone_is_not_adopted(tmp_path: Path) -> None:
    assert Journal.adopt(tmp_path / "gone.jsonl") is None
    assert list(tmp_path.iterdir()) == []


@given(
    whole=st.lists(st.binary(max_size=20).map(lambda line: line.replace(b"\n", b"") + b"\n")),
    torn=st.binary(max_size=20),
)
def test_a_torn_last_line_is_left_out(
    tmp_path_factory: pytest.TempPathFactory, whole: list[bytes], torn: bytes
) -> None:
    path = tmp_path_factory.mktemp("torn") / "run.jsonl"
    path.write_bytes(b"".join(whole) + torn.replace(b"\n", b""))
    journal = Journal.adopt(path)
    assert journal is not None
    assert b"".join(lines(journal)) == b"".join(whole)
    journal.close(delivered=False)


def test_acknowledgements_survive_and_a_torn_one_is_passed_over(tmp_path: Path) -> None:
    journal = Journal.create(tmp_path, "run")
    journal.acknowledge(Acks(upto=7, shards=["1"]))
    assert journal.acks() == Acks(upto=7, shards=["1"])
    with journal.path.with_suffix(".acks").open("ab") as file:
        file.write(b'{"upto":9')
    assert journal.acks().upto == 7
    journal.close(delivered=True)


def test_of_many_acknowledgements_the_last_counts_and_few_are_kept(tmp_path: Path) -> None:
    journal = Journal.create(tmp_path, "run")
    for position in range(5_000):
        journal.acknowledge(Acks(upto=position, shards=["1"]))
    assert journal.acks().upto == 4_999
    assert journal.path.with_suffix(".acks").stat().st_size < 100_000
    journal.close(delivered=False)


def test_acknowledgements_go_on_behind_a_torn_one(tmp_path: Path) -> None:
    journal = Journal.create(tmp_path, "run")
    journal.append(b"line\n")
    journal.acknowledge(Acks(upto=1))
    journal.close(delivered=False)
    with journal.path.with_suffix(".acks").open("ab") as file:
        file.write(b'{"upto":9')
    later = Journal.adopt(journal.path)
    assert later is not None
    for position in (2, 3):
        later.acknowledge(Acks(upto=position))
        assert later.acks().upto == position
    later.close(delivered=False)


def test_who_reads_does_not_run_after_who_writes(tmp_path: Path) -> None:
    journal = Journal.create(tmp_path, "run")
    journal.append(b"1\n")
    journal.append(b"2\n")
    seen = []
    for _, line in journal.lines():
        journal.append(b"later\n")
        seen.append(line)
    assert seen == [b"1\n", b"2\n"]
    journal.close(delivered=True)
