"""The journal: on disk before it is sent, and no reason for a run to stop."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_tms.journal.acknowledgements import Acks
from pytest_tms.journal.files import is_being_written
from pytest_tms.journal.reader import Journal
from pytest_tms.journal.writer import JournalWriter


def lines(journal: Journal, position: int = 0) -> list[bytes]:
    return [line for _, line in journal.lines(position)]


def written(folder: Path, *content: bytes) -> JournalWriter:
    writer = JournalWriter.create([folder], "run")
    for line in content:
        writer.append(line)
    return writer


def adopted(writer: JournalWriter) -> Journal:
    """The journal of a writer that has ended, as another process reads it."""
    writer.close()
    journal = Journal.adopt(writer.path, writer.memory)
    assert journal is not None
    return journal


def test_what_is_appended_is_on_disk_at_once(tmp_path: Path) -> None:
    writer = written(tmp_path / "new", b'{"a":1}\n')
    assert writer.path.read_bytes() == b'{"a":1}\n'
    assert writer.path.stat().st_mode & 0o077 == 0
    assert (tmp_path / "new" / ".gitignore").read_text() == "*\n"
    writer.close()


def test_reading_goes_on_where_it_stopped(tmp_path: Path) -> None:
    writer = written(tmp_path, b"1\n")
    journal = Journal.adopt(writer.path, is_own=True)
    assert journal is not None
    ((position, first),) = journal.lines()
    writer.append(b"2\n")
    assert (first, lines(journal, position)) == (b"1\n", [b"2\n"])
    journal.close(delivered=True)
    writer.close()


def test_a_full_disk_is_one_sentence_and_loses_nothing(tmp_path: Path) -> None:
    (tmp_path / "run.jsonl").symlink_to("/dev/full")
    writer = written(tmp_path, b"0\n", b"1\n", b"2\n")
    assert writer.problem.startswith("results are kept in memory only: No space left on device")
    assert not writer.is_on_disk
    journal = Journal(writer.path, None, writer.memory)
    assert lines(journal) == [b"0\n", b"1\n", b"2\n"]
    assert lines(journal, 2) == [b"1\n", b"2\n"]
    writer.close()


def test_a_disk_that_fills_up_keeps_what_it_has(tmp_path: Path) -> None:
    writer = written(tmp_path, b"on disk\n")
    full = os.open("/dev/full", os.O_RDWR)
    os.dup2(full, writer._file)  # the disk fills up between two lines
    writer.append(b"in memory\n")
    os.close(full)
    journal = adopted(writer)
    assert journal.end == len(b"on disk\nin memory\n")
    assert lines(journal) == [b"on disk\n", b"in memory\n"]
    assert lines(journal, len(b"on disk\n")) == [b"in memory\n"]
    journal.close(delivered=False)


def test_a_folder_that_cannot_be_made_leaves_the_next_one(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    writer = JournalWriter.create([tmp_path / "file" / "journal", tmp_path / "other"], "run")
    writer.append(b"1\n")
    assert writer.is_on_disk
    assert writer.path.parent == tmp_path / "other"
    writer.close()


def test_without_any_folder_lines_are_kept_in_memory(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    writer = written(tmp_path / "file" / "journal", b"1\n")
    assert "Not a directory" in writer.problem
    journal = Journal(writer.path, None, writer.memory)
    assert lines(journal) == [b"1\n"]
    journal.acknowledge(Acks(upto=2))
    journal.close(delivered=True)


def test_a_journal_that_is_being_written_is_not_adopted(tmp_path: Path) -> None:
    writer = written(tmp_path, b"1\n")
    assert is_being_written(writer.path)
    assert Journal.adopt(writer.path) is None
    writer.close()
    assert not is_being_written(writer.path)


def test_a_forked_child_writes_nothing_and_keeps_nobody_from_reading(tmp_path: Path) -> None:
    writer = written(tmp_path, b"parent\n")
    read, write = os.pipe()
    child = os.fork()
    if not child:
        writer.append(b"child\n")
        writer.close()
        os.close(write)
        os.read(read, 1)  # lives until the parent has looked
        os._exit(0)
    try:
        writer.append(b"parent again\n")
        journal = adopted(writer)
        assert lines(journal) == [b"parent\n", b"parent again\n"]
        journal.close(delivered=True)
    finally:
        os.close(read)
        os.close(write)
        os.waitpid(child, 0)


def test_two_never_deliver_one_journal(tmp_path: Path) -> None:
    writer = written(tmp_path)
    journal = adopted(writer)
    assert Journal.adopt(writer.path) is None
    journal.close(delivered=False)
    other = Journal.adopt(writer.path)
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
def test_a_torn_last_line_is_left_out_and_replaced_by_the_end(
    tmp_path_factory: pytest.TempPathFactory, whole: list[bytes], torn: bytes
) -> None:
    path = tmp_path_factory.mktemp("torn") / "run.jsonl"
    path.write_bytes(b"".join(whole) + torn.replace(b"\n", b""))
    journal = Journal.adopt(path)
    assert journal is not None
    assert b"".join(lines(journal)) == b"".join(whole)
    journal.extend([b"end\n"])
    assert b"".join(lines(journal)) == b"".join(whole) + b"end\n"
    journal.close(delivered=False)


def test_acknowledgements_survive_and_a_torn_one_is_passed_over(tmp_path: Path) -> None:
    journal = adopted(written(tmp_path))
    journal.acknowledge(Acks(upto=7, shards=["1"]))
    assert journal.acks() == Acks(upto=7, shards=["1"])
    with journal.path.with_suffix(".acks").open("ab") as file:
        file.write(b'{"upto":9')
    assert journal.acks().upto == 7
    journal.close(delivered=True)


def test_of_many_acknowledgements_the_last_counts_and_few_are_kept(tmp_path: Path) -> None:
    journal = adopted(written(tmp_path))
    for position in range(5_000):
        journal.acknowledge(Acks(upto=position, shards=["1"]))
    assert journal.acks().upto == 4_999
    assert journal.path.with_suffix(".acks").stat().st_size < 100_000
    journal.close(delivered=False)


def test_one_acknowledgement_that_cannot_be_written_costs_no_other(tmp_path: Path) -> None:
    journal = adopted(written(tmp_path, b"1\n"))
    journal.acknowledge(Acks(upto=1))
    obstacle = journal.path.with_suffix(".acks~")
    obstacle.mkdir()
    journal._acks_file._size = 1 << 20  # the file is full, and is rewritten
    journal.acknowledge(Acks(upto=2))
    assert journal.problem.startswith("the delivery cannot be recorded: ")
    obstacle.rmdir()
    journal.acknowledge(Acks(upto=3))
    assert (journal.acks().upto, journal.problem) == (3, "")
    journal.close(delivered=False)


def test_acknowledgements_go_on_behind_a_torn_one(tmp_path: Path) -> None:
    journal = adopted(written(tmp_path, b"line\n"))
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
