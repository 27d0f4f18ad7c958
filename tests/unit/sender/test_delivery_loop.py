"""The pace of a delivery: requests that the TMS refuses permanently are repeated rarely."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from pytest_tms.journal.lines import Closed, Opened, encode
from pytest_tms.journal.reader import Journal
from pytest_tms.journal.writer import JournalWriter
from pytest_tms.sender import delivery_loop
from pytest_tms.sender.delivery_loop import DeliveryLoop
from pytest_tms.sender.launch import SenderConfig
from pytest_tms.sender.parent import ParentProcess
from pytest_tms.wire.executions import ExecutionRequest
from tests.helpers.foreign_tms import ForeignTms

RUN = 600.0
"""Seconds that the session lasts."""


class Session:
    """A session that lasts ``RUN`` seconds of a clock that passes while the sender sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    def has_ended(self) -> bool:
        return self.now > RUN

    def sleep(self, seconds: float) -> None:
        self.now += max(seconds, 0.001)


def test_a_refused_token_is_tried_rarely(
    tmp_path: Path, mocked_tms: ForeignTms, monkeypatch: pytest.MonkeyPatch
) -> None:
    mocked_tms.add_response(401, {"error": {"code": "UNAUTHORIZED", "message": "no such token"}})
    writer = JournalWriter(tmp_path / "run.jsonl")
    request = ExecutionRequest(test_suite="all", environment="dev")
    writer.append(encode(Opened(version=2, run="run-1", request=request)))
    writer.append(encode(Closed()))
    writer.close()
    journal = Journal.adopt(writer.path, timeout=1, is_own=True)
    assert journal is not None
    session = Session()
    monkeypatch.setattr(
        delivery_loop, "time", SimpleNamespace(monotonic=lambda: session.now, sleep=session.sleep)
    )
    monkeypatch.setattr(journal, "closing_wait", lambda: 0.0 if session.has_ended() else None)
    config = SenderConfig(journal=str(writer.path), pid=1, url=mocked_tms.url, token="tms_wrong")
    states = list(DeliveryLoop(config, journal, cast("ParentProcess", session)).run())
    assert states[-1].is_final
    assert "no such token" in states[-1].problem
    assert len(mocked_tms.requests) <= RUN / delivery_loop.DEFAULT_INTERVAL + 2
