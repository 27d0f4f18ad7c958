"""Encrypted values: their keys, their places, and what is said about those that cannot be read."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_tms.errors import ServiceUnavailable
from pytest_tms.server.encryption.data_cipher import DamagedData, DataCipher, key_of
from pytest_tms.server.encryption.key_ring import KeyRing, new_key

ONE, TWO = new_key(), new_key()


def cipher(*keys: str, encrypts: bool = True) -> DataCipher:
    return DataCipher(KeyRing(",".join(keys), Path()), encrypts=encrypts)


@given(st.binary(max_size=300), st.text(max_size=20))
def test_a_value_is_decrypted_by_any_key_of_the_ring_at_its_place_only(content: bytes, place: str) -> None:
    value = cipher(ONE).encrypt(content, place)
    for keys in ((ONE,), (ONE, TWO), (TWO, ONE)):
        assert cipher(*keys).decrypt(value, place) == content
    assert key_of(value) == cipher(ONE).newest()
    with pytest.raises(DamagedData, match="was changed: restore it from a backup"):
        cipher(ONE).decrypt(value, f"{place}1")
    with pytest.raises(DamagedData):
        cipher(ONE).decrypt(value[:-1], place)
    assert len(content) < 8 or content not in value


def test_a_missing_key_is_named_and_no_key_is_shown() -> None:
    value = cipher(ONE).encrypt(b"x", "p")
    with pytest.raises(ServiceUnavailable) as found:
        cipher(TWO).decrypt(value, "p")
    assert cipher(ONE).newest() in found.value.message
    assert "TMS_SERVER_KEYS" in found.value.message
    assert ONE not in found.value.message
    with pytest.raises(ServiceUnavailable):
        DataCipher().decrypt(value, "p")


def test_a_key_that_is_added_to_the_file_is_found_without_a_restart(tmp_path: Path) -> None:
    ring = KeyRing("", tmp_path)
    reader, writer = DataCipher(ring), DataCipher(ring, encrypts=True)
    before = writer.encrypt(b"before", "p")
    assert reader.decrypt(before, "p") == b"before"
    ring.add()
    after = DataCipher(ring, encrypts=True).encrypt(b"after", "p")
    assert key_of(after) != key_of(before)
    assert reader.decrypt(after, "p") == b"after"  # at once: an unknown key lets it read the file again
    assert reader.decrypt(before, "p") == b"before"
    assert reader.key_ids() == [key_of(after), key_of(before)]


def test_a_malformed_key_is_one_sentence() -> None:
    with pytest.raises(ServiceUnavailable, match="a key in TMS_SERVER_KEYS is malformed"):
        cipher("nonsense").encrypt(b"x", "p")


def test_all_former_keys_are_kept_if_wanted(tmp_path: Path) -> None:
    ring = KeyRing("", tmp_path)
    first = ring.read()
    ring.add(kept=None)
    ring.add(kept=None)
    assert len(ring.read()) == 3
    assert ring.read()[-1:] == first
    ring.add()
    assert len(ring.read()) == 2
