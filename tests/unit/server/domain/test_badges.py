"""Badges: their words and colours, and hostile names."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from pytest_tms import wire
from pytest_tms.server.domain.badges import Badge, badge, svg


@pytest.mark.parametrize(
    ("status", "counts", "shown"),
    [
        (None, wire.Counts(), Badge("smoke", "unknown", "unknown")),
        ("completed", wire.Counts(), Badge("smoke", "unknown", "unknown")),
        ("completed", wire.Counts(total=1200, passed=1200), Badge("smoke", "1,200 passing", "passing")),
        ("completed", wire.Counts(total=2, skipped=2), Badge("smoke", "0 passing", "passing")),
        (
            "completed",
            wire.Counts(total=3, passed=3, flaky=1),
            Badge("smoke", "3 passing, 1 flaky", "flaky"),
        ),
        (
            "completed",
            wire.Counts(total=5, passed=3, failed=2, flaky=1),
            Badge("smoke", "2 failing, 3 passing, 1 flaky", "failing"),
        ),
        ("completed", wire.Counts(total=2, failed=2), Badge("smoke", "2 failing", "failing")),
        ("failed", wire.Counts(total=1, passed=1), Badge("smoke", "run failed, 1 passing", "failing")),
        ("cancelled", wire.Counts(total=1, failed=1), Badge("smoke", "cancelled", "unknown")),
    ],
)
def test_a_badge_has_the_counts_of_a_run(status: str | None, counts: wire.Counts, shown: Badge) -> None:
    assert badge("smoke", status, counts) == shown


@pytest.mark.parametrize(
    "label", ["</text><script>x</script>", '"><a href="javascript:x">', "&lt;", "\x00\n", ""]
)
def test_no_label_is_markup(label: str) -> None:
    root = ElementTree.fromstring(svg(badge(label, None, wire.Counts())))
    tags = {element.tag.rpartition("}")[2] for element in root.iter()}
    assert tags == {"svg", "title", "rect", "path", "g", "text"}
    assert root.findtext("{http://www.w3.org/2000/svg}title", "").endswith(": unknown")
