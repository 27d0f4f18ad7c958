"""Markers with any arguments, read as tags, properties and names."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_tms.plugin.results.markers import NOT_TAGS, MarkerReader, Markers, merged


class Hostile:
    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


def mark(name: str, *args: Any, **kwargs: Any) -> pytest.Mark:
    """A marker that is not registered."""
    return pytest.Mark(name, args, kwargs, _ispytest=True)


def read(*markers: pytest.Mark, tags: tuple[str, ...] = ()) -> dict[str, Any]:
    reader = MarkerReader(tags)
    return merged(reader.read(markers), Markers([], {}, {}))


@pytest.mark.parametrize(
    ("marker", "extra"),
    [
        (mark("tms", "TC-1"), {"id": "TC-1"}),
        (mark("tms", "TC-1", "A title", ["x"]), {"id": "TC-1", "title": "A title", "tags": ["@x"]}),
        (mark("tms", "TC-1", owner="me"), {"id": "TC-1", "owner": "me"}),
        (mark("tms", None, "A title", None, "me"), {"title": "A title", "owner": "me"}),
        (mark("tms", id=12, title="two\nlines"), {"id": "12", "title": "two lines"}),
        (mark("tms", tags="one"), {"tags": ["@one"]}),
        (mark("tms", tags=("@a", "b", "", None, 3)), {"tags": ["@a", "@b", "@3"]}),
        (mark("tms", tags={"b", "a"}), {"tags": ["@a", "@b"]}),
        (mark("tms", id=Hostile(), tags=[Hostile()]), {"id": "<Hostile>", "tags": ["@<Hostile>"]}),
        (
            mark("tms", "1", "2", ["3"], "4", "5", more=6),
            {"id": "1", "title": "2", "tags": ["@3"], "owner": "4"},
        ),
        (mark("tms"), {}),
        (mark("tms", "", " ", []), {}),
    ],
)
def test_the_marker_takes_its_arguments_by_place_and_by_name(
    marker: pytest.Mark, extra: dict[str, Any]
) -> None:
    assert read(marker) == extra


@pytest.mark.parametrize(
    ("markers", "kept"),
    [
        ([mark("jira", "SHOP-1")], "SHOP-1"),
        ([mark("jira", "SHOP-1"), mark("jira", "SHOP-2")], ["SHOP-1", "SHOP-2"]),
        ([mark("jira", "SHOP-1"), mark("jira", "SHOP-1")], "SHOP-1"),
        ([mark("jira", "A", "B")], ["A", "B"]),
        ([mark("jira", key="A", open=True)], {"key": "A", "open": True}),
        ([mark("jira", 4711)], 4711),
        ([mark("jira", Hostile(), Hostile)], ["<Hostile>", "<type>"]),
        ([mark("jira", {"a": [1, float("nan"), b"x"]})], {"a": [1, "nan", "<bytes>"]}),
    ],
)
def test_the_arguments_of_a_marker_are_kept(markers: list[pytest.Mark], kept: object) -> None:
    assert read(*markers) == {"tags": ["@jira"], "marks": {"jira": kept}}


@pytest.mark.parametrize("name", sorted(NOT_TAGS - {"parametrize", "usefixtures", "skip", "skipif", "xfail"}))
def test_a_marker_that_controls_a_run_is_no_tag_unless_it_is_named(name: str) -> None:
    marker = mark(name, 1)
    assert read(marker) == {}
    assert read(marker, tags=("*",)) == {}
    assert read(marker, tags=(f"{name[:-1]}*",)) == {}
    assert read(marker, tags=("*", name)) == {"tags": [f"@{name}"], "marks": {name: 1}}
    assert read(marker, tags=(name, f"!{name}")) == {}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("TC-1", "TC-1"),
        (12, "12"),
        (["TC-1", "TC-2"], ["TC-1", "TC-2"]),
        (("TC-1", "", None, 5), ["TC-1", "5"]),
        (["TC-1"], "TC-1"),
    ],
)
def test_a_test_has_one_id_or_several(given: object, expected: object) -> None:
    assert MarkerReader().read([pytest.mark.tms(id=given).mark]).names == {"id": expected}


@pytest.mark.parametrize("given", [None, "", " ", [], [""]])
def test_no_id(given: object) -> None:
    inherited = pytest.mark.tms(id="TC-9").mark
    assert MarkerReader().read([pytest.mark.tms(id=given).mark, inherited]).names == {"id": "TC-9"}
