"""The format of encrypted files: every range, and every change that must be noticed."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_tms.server.encryption import encrypted_files
from pytest_tms.server.encryption.encrypted_files import (
    CHUNK,
    HEADER_SIZE,
    SEALED,
    DecryptionError,
    FileDecryption,
    FileEncryption,
    Header,
    PartDecryption,
    part,
)

KEY, OTHER = b"k" * 32, b"o" * 32
KEY_ID = "00112233445566ff"
SIZES = st.one_of(
    st.integers(0, 300),
    st.builds(lambda chunks, more: max(0, chunks * CHUNK + more), st.integers(0, 4), st.integers(-2, 2)),
)


def content(size: int) -> bytes:
    """Bytes that differ from chunk to chunk."""
    return b"".join(number.to_bytes(4, "big") for number in range(size // 4 + 1))[:size]


def encrypted(plain: bytes, cuts: Sequence[int] = ()) -> bytes:
    """A file that arrives in parts."""
    encryption = FileEncryption(KEY, KEY_ID)
    places = [0, *sorted(min(cut, len(plain)) for cut in cuts), len(plain)]
    parts = [plain[start:end] for start, end in pairwise(places)]
    sealed = [chunk for each in parts for chunk in encryption.update(each)]
    return b"".join((encryption.header, *sealed, encryption.finish()))


def decrypted(stored: bytes, start: int, end: int, size: int, key: bytes = KEY, piece: int = 70_001) -> bytes:
    """A range of a file, which arrives in pieces."""
    wanted = part(start, end, size)
    parts = PartDecryption(FileDecryption(key, Header.decode(stored[:HEADER_SIZE])), wanted)
    read = stored[wanted.start : wanted.end]
    found = [
        each for first in range(0, len(read), piece) for each in parts.update(read[first : first + piece])
    ]
    return b"".join((*found, parts.finish()))


@given(SIZES, st.lists(st.integers(0, 4 * CHUNK), max_size=4), st.data())
def test_any_range_is_what_was_encrypted(size: int, cuts: list[int], data: st.DataObject) -> None:
    plain = content(size)
    stored = encrypted(plain, cuts)
    assert len(stored) == part(0, size, size).end
    start = data.draw(st.integers(0, max(0, size - 1)))
    end = data.draw(st.integers(min(start + 1, size), size))
    piece = data.draw(st.sampled_from([1_000, CHUNK, SEALED, 1 << 20]))
    assert decrypted(stored, start, end, size, piece=piece) == plain[start:end]
    assert decrypted(stored, 0, size, size) == plain


@given(st.integers(1, 3 * CHUNK + 5), st.data())
def test_a_shortened_file_is_noticed(size: int, data: st.DataObject) -> None:
    stored = encrypted(content(size))
    length = data.draw(
        st.one_of(
            st.integers(HEADER_SIZE, len(stored) - 1),
            st.sampled_from([HEADER_SIZE + SEALED * n for n in range(size // CHUNK + 1)]).filter(
                lambda cut: cut < len(stored)
            ),
        )
    )
    with pytest.raises(DecryptionError):
        decrypted(stored[:length], 0, size, size)


@given(st.integers(0, 3 * CHUNK), st.integers(1, 255), st.data())
def test_a_changed_byte_is_noticed(size: int, change: int, data: st.DataObject) -> None:
    stored = bytearray(encrypted(content(size)))
    place = data.draw(st.integers(0, len(stored) - 1))
    stored[place] ^= change
    with pytest.raises((DecryptionError, ValueError)):
        decrypted(bytes(stored), 0, size, size)


@pytest.mark.parametrize(("first", "second"), [(0, 1), (1, 2), (0, 2)])
def test_swapped_and_repeated_chunks_are_noticed(first: int, second: int) -> None:
    size = 3 * CHUNK + 1
    stored = encrypted(content(size))

    def chunk(number: int) -> slice:
        return slice(HEADER_SIZE + number * SEALED, HEADER_SIZE + (number + 1) * SEALED)

    swapped = bytearray(stored)
    swapped[chunk(first)], swapped[chunk(second)] = stored[chunk(second)], stored[chunk(first)]
    repeated = bytearray(stored)
    repeated[chunk(second)] = stored[chunk(first)]
    for changed in (swapped, repeated):
        for number in (first, second):
            if changed[chunk(number)] != stored[chunk(number)]:
                with pytest.raises(DecryptionError):
                    decrypted(bytes(changed), number * CHUNK, number * CHUNK + 1, size)


def test_a_middle_chunk_is_not_the_last_one_of_a_shorter_file() -> None:
    stored = encrypted(content(2 * CHUNK + 1))
    with pytest.raises(DecryptionError):
        decrypted(stored[: HEADER_SIZE + 2 * SEALED], 0, 2 * CHUNK, 2 * CHUNK)


def test_chunks_of_another_file_and_another_key_are_noticed() -> None:
    plain = content(CHUNK + 1)
    one, two = encrypted(plain), encrypted(plain)
    assert one[HEADER_SIZE:] != two[HEADER_SIZE:]  # each file has a key of its own
    with pytest.raises(DecryptionError):
        decrypted(one[:HEADER_SIZE] + two[HEADER_SIZE:], 0, len(plain), len(plain))
    with pytest.raises(DecryptionError):
        decrypted(one, 0, len(plain), len(plain), key=OTHER)


@pytest.mark.parametrize("header", [b"", b"TMSE\x02" + bytes(24), b"x" * HEADER_SIZE])
def test_an_unknown_header_is_one_sentence(header: bytes) -> None:
    with pytest.raises(ValueError, match="unknown header: restore it"):
        Header.decode(header)


def test_keys_for_different_purposes_differ() -> None:
    assert encrypted_files.derive(KEY, b"a") != encrypted_files.derive(KEY, b"b")
    assert len(encrypted_files.derive(KEY, b"a", 8)) == 8
