"""What an inbound event says, in words."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_tms.server.domain.event_summaries import event_summary


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({}, ""),
        ({"shardId": "1"}, ""),
        ({"tests": [{}], "running": ["a", "b"]}, "1 test ended · 2 running"),
        ({"collected": 45}, "45 collected"),
        ({"status": "failed", "results": {"total": 3, "failed": 1, "passed": 2, "skipped": 0}},
         "failed · 1 failed, 2 passed"),
        ({"notRun": 38, "notRunReason": "Ctrl-C\nmore"}, "38 did not run · Ctrl-C"),
        ({"status": 7, "results": [], "tests": "x", "collected": True, "reason": None}, ""),
    ],
)  # fmt: skip
def test_an_event_is_summarised(data: dict[str, Any], expected: str) -> None:
    assert event_summary(data) == expected
