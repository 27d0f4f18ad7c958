"""Expired entries are ended, and the policy adds flaky tests and removes them."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from pytest_tms.server.domain import api_tokens, clock
from pytest_tms.server.domain.durations import DAY
from pytest_tms.server.domain.quarantine import parse_until
from pytest_tms.server.jobs.quarantine import QuarantineJob
from pytest_tms.server.settings import ServerSettings
from pytest_tms.server.store import leases, tables, tokens
from pytest_tms.server.store.database import Database
from tests.helpers.api import Api, expect_success, result
from tests.helpers.filled_databases import serving


def run_job(database: Database, folder: Path, percent: str = "20") -> None:
    """Run the job as if the latest run of the policy were long ago."""
    with database.write() as connection:
        connection.execute(update(tables.leases).values(done_at=0))
    settings = ServerSettings.read({"TMS_SERVER_AUTO_QUARANTINE": percent}, data_dir=folder)
    QuarantineJob(settings, database).run()


def report(api: Api, retries: int, times: int = 1, project: str = "shop") -> None:
    """Report runs with a test that needs so many retries, and one that passes."""
    for _ in range(times):
        created = api.create(metadata={"project": project})
        flaky = {**result("flaky"), "nodeId": "t.py::flaky", "owner": "ada", "retries": retries}
        api.submit(created, tests=[flaky, result("steady", nodeId="t.py::steady")])


def new_token(database: Database) -> str:
    """The text of a new token that may change the quarantine."""
    made, text = api_tokens.new_token("ada", clock.now(), ("quarantine:write",))
    with database.write() as connection:
        tokens.add(connection, made, api_tokens.hash_token(text))
    return text


def entries(api: Api, state: str = "active") -> list[dict[str, Any]]:
    page = expect_success(api.request("GET", f"/quarantine?state={state}"), 200)
    found: list[dict[str, Any]] = page["entries"]
    return found


@pytest.mark.slow
def test_the_policy_adds_flaky_tests_until_a_date_and_removes_them(
    empty_database: Database, tmp_path: Path
) -> None:
    database = empty_database
    with serving(database, tmp_path / "server") as api:
        report(api, retries=1)
        run_job(database, tmp_path)
        assert entries(api) == []  # 1 of 1 is at least 21 %, but few results
        report(api, retries=1, times=4)
        run_job(database, tmp_path)
        (entry,) = entries(api)
        assert (entry["nodeId"], entry["project"], entry["owner"]) == ("t.py::flaky", "shop", "ada")
        assert entry["isAutomatic"]
        assert entry["createdBy"] == ""
        assert entry["reason"].startswith("flaky in 5 of its latest 5 results: at least 57 %")
        assert date.fromisoformat(entry["until"][:10]) >= date.today() + timedelta(days=13)
        run_job(database, tmp_path)
        assert entries(api) == [entry]
        report(api, retries=0, times=60)
        run_job(database, tmp_path)
        assert entries(api) == []
        (ended,) = entries(api, "ended")
        assert (ended["state"], ended["endedBy"]) == ("removed", "")


def test_what_people_decide_stays(empty_database: Database, tmp_path: Path) -> None:
    database = empty_database
    with serving(database, tmp_path / "server") as api:
        report(api, retries=1, times=6)
        token = new_token(database)
        body = {
            "nodeId": "t.py::flaky",
            "project": "shop",
            "reason": "mine",
            "until": str(date.today() + timedelta(days=2)),
        }
        own = expect_success(api.request("POST", "/quarantine", body, token=token), 201)
        run_job(database, tmp_path)
        assert [each["id"] for each in entries(api)] == [own["id"]]
        expect_success(api.request("DELETE", f"/quarantine/{own['id']}", token=token), 200)
        run_job(database, tmp_path)
        assert entries(api) == []
        with database.write() as connection:
            connection.execute(update(tables.quarantine).values(ended_at=clock.now() - 15 * DAY))
        run_job(database, tmp_path)
        assert [each["isAutomatic"] for each in entries(api)] == [True]


def test_the_policy_is_off_by_default_and_runs_in_one_process(
    empty_database: Database, tmp_path: Path
) -> None:
    database = empty_database
    with serving(database, tmp_path / "server") as api:
        report(api, retries=1, times=6)
        run_job(database, tmp_path, percent="0")
        assert entries(api) == []
        with database.write() as connection:
            leases.take(connection, "quarantine", "another", clock.now(), clock.now() + 60_000)
        run_job(database, tmp_path)
        assert entries(api) == []


def test_expired_entries_are_ended_and_flaky_tests_added_again(
    empty_database: Database, tmp_path: Path
) -> None:
    database = empty_database
    with serving(database, tmp_path / "server") as api:
        report(api, retries=1, times=6)
        run_job(database, tmp_path)
        with database.write() as connection:
            connection.execute(update(tables.quarantine).values(until=clock.now() - 1000))
        run_job(database, tmp_path, percent="0")
        (ended,) = entries(api, "ended")
        assert (ended["state"], ended["endedBy"]) == ("expired", None)
        run_job(database, tmp_path)
        assert len(entries(api)) == len(entries(api, "ended")) == 1


def test_the_policy_runs_once_in_its_period_over_all_processes(
    empty_database: Database, tmp_path: Path
) -> None:
    database = empty_database
    settings = ServerSettings.read({"TMS_SERVER_AUTO_QUARANTINE": "20"}, data_dir=tmp_path)
    with serving(database, tmp_path / "server") as api:
        QuarantineJob(settings, database).run()
        report(api, retries=1, times=6)
        QuarantineJob(settings, database).run()
        assert entries(api) == []


@pytest.mark.parametrize(
    ("text", "until"),
    [
        ("2026-03-01", "2026-03-01T23:59:59.999Z"),
        ("2026-03-01T12:00:00Z", "2026-03-01T12:00:00.000Z"),
        ("2026-03-01T12:00:00+02:00", "2026-03-01T10:00:00.000Z"),
    ],
)
def test_an_end_is_a_day_or_a_time(text: str, until: str) -> None:
    now = 1_772_000_000_000  # 2026-02-25
    assert clock.timestamp(parse_until(text, now)) == until
