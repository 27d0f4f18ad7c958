"""The list of tests in quarantine: fetched, kept, and read again."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from pytest_tms import TmsClient, wire
from pytest_tms.sender.quarantine import MAX_AGE, QuarantineFetch, read_list, write_list
from tests.helpers.foreign_tms import ForeignTms

ENTRY = wire.QuarantineEntry(
    id="1", node_id="t.py::a", until="2100-01-01T00:00:00.000Z", reason="r", owner="ada"
)
PAST = wire.QuarantineEntry(id="2", node_id="t.py::b", until="2020-01-01T00:00:00.000Z")


def fetch(tms: ForeignTms, path: Path, *, is_supported: bool = True) -> QuarantineFetch:
    fetching = QuarantineFetch(
        TmsClient(tms.url, "tms_x", retries=0), "exec_1", path, is_supported=is_supported
    )
    fetching.run()
    return fetching


def page(*entries: wire.QuarantineEntry, cursor: str | None = None) -> dict[str, object]:
    found = [{"id": each.id, "nodeId": each.node_id, "until": each.until} for each in entries]
    return {"entries": found, "cursor": cursor}


def test_a_list_is_kept_without_what_has_expired(tmp_path: Path) -> None:
    path = tmp_path / "quarantine" / "a.json"
    write_list(path, [ENTRY, PAST])
    kept = read_list(path, time.time())
    assert kept is not None
    assert set(kept) == {"t.py::a"}
    assert (kept["t.py::a"].reason, kept["t.py::a"].owner) == ("r", "ada")
    assert (path.parent / ".gitignore").read_text() == "*\n"
    assert [each.name for each in path.parent.iterdir() if each.suffix != ".json"] == [".gitignore"]
    if os.name == "posix":
        assert path.stat().st_mode & 0o077 == 0


def test_a_list_is_not_used_if_it_is_old_or_of_the_future_or_of_another_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.json"
    assert read_list(path, time.time()) is None
    write_list(path, [ENTRY])
    assert read_list(path, time.time() + MAX_AGE - 60) is not None
    assert read_list(path, time.time() + MAX_AGE + 60) is None
    assert read_list(path, time.time() - 3600) is None
    monkeypatch.setattr("os.getuid", lambda: path.stat().st_uid + 1, raising=False)
    assert read_list(path, time.time()) is None


@pytest.mark.parametrize("content", ["", "{", "[]", '{"fetched_at": 1}', '{"fetched_at": 1, "tests": []}'])
def test_a_damaged_list_is_none(tmp_path: Path, content: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(content)
    assert read_list(path, time.time()) is None


def test_all_pages_are_fetched(mocked_tms: ForeignTms, tmp_path: Path) -> None:
    mocked_tms.add_response(200, page(ENTRY, cursor="1"))
    mocked_tms.add_response(200, page(wire.QuarantineEntry(id="3", node_id="c", until=ENTRY.until)))
    path = tmp_path / "a.json"
    assert fetch(mocked_tms, path).outcome == "fetched"
    assert set(json.loads(path.read_text())["tests"]) == {"t.py::a", "c"}
    first, second = (each["path"] for each in mocked_tms.requests)
    assert "execution=exec_1" in first
    assert "state=active" in first
    assert "cursor=1" in second


@pytest.mark.parametrize(("status", "outcome"), [(403, "refused"), (404, "refused"), (503, "failed")])
def test_a_refusal_is_told_apart_from_a_tms_that_is_away(
    mocked_tms: ForeignTms, tmp_path: Path, status: int, outcome: str
) -> None:
    mocked_tms.add_response(status, {"error": {"code": "X", "message": "no"}})
    path = tmp_path / "a.json"
    fetching = fetch(mocked_tms, path)
    assert fetching.outcome == outcome
    assert fetching.error is not None
    assert not path.exists()


def test_a_tms_without_the_capability_is_not_asked(mocked_tms: ForeignTms, tmp_path: Path) -> None:
    fetching = fetch(mocked_tms, tmp_path / "a.json", is_supported=False)
    assert (fetching.outcome, fetching.error, mocked_tms.requests) == ("refused", None, [])


def test_a_list_that_cannot_be_written_is_a_failure(mocked_tms: ForeignTms, tmp_path: Path) -> None:
    mocked_tms.add_response(200, page(ENTRY))
    (tmp_path / "file").write_text("")
    fetching = fetch(mocked_tms, tmp_path / "file" / "a.json")
    assert fetching.outcome == "failed"
