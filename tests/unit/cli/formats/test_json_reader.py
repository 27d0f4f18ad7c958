"""JSON that is read in parts."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_tms.cli.formats.json_reader import JsonReader

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


def in_chunks(text: str, size: int) -> Any:
    return (text[start : start + size] for start in range(0, len(text), size))


def walk(reader: JsonReader) -> Any:
    """Read the document member by member and element by element."""
    if reader.peek() == "{":
        return {key: walk(reader) for key in reader.members()}
    if reader.peek() == "[":
        return [walk(reader) for _ in reader.elements()]
    return reader.value()


@given(value=JSON, size=st.integers(1, 40), indent=st.none() | st.just(2))
def test_any_document_is_the_same_in_parts_and_as_a_whole(value: Any, size: int, indent: int | None) -> None:
    text = json.dumps(value, indent=indent)
    reader = JsonReader(in_chunks(text, size))
    assert walk(reader) == value
    reader.end()
    assert JsonReader(in_chunks(text, size)).value() == value


@pytest.mark.slow
@given(value=st.dictionaries(st.text(), JSON, min_size=1), size=st.integers(1, 40), data=st.data())
def test_a_truncated_document_is_refused_with_its_line(value: Any, size: int, data: st.DataObject) -> None:
    text = json.dumps(value)
    text = text[: data.draw(st.integers(1, len(text) - 1))]
    with pytest.raises(ValueError, match=r"^line 3: "):
        JsonReader(in_chunks(text, size), skipped_lines=2).document()


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("{} x", "line 1: expected the end of the file"),
        ("\n\n[1]", "line 3: expected an object"),
        ('{\n"a": nope}', "line 2: Expecting value"),
        ("[" * 200_000, "line 1: a value nests too deeply"),
        ("", "line 1: "),
    ],
)
def test_what_is_not_a_document_is_refused(text: str, what: str) -> None:
    with pytest.raises(ValueError, match=what):
        JsonReader(in_chunks(text, 7)).document()


def test_an_error_far_from_the_end_does_not_read_the_rest() -> None:
    chunks = iter(["[x" + " " * 100, "never read"])
    with pytest.raises(ValueError, match="line 1: Expecting value"):
        JsonReader(chunks).value()
    assert next(chunks) == "never read"
