"""The page of tests in quarantine, and what other pages show of them."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

import pytest

from tests.helpers.api import Api, expect_error, expect_success, result, running
from tests.integration.server.test_authentication import BEYOND, Visit
from tests.integration.server.test_pages import page
from tests.integration.server.test_tokens import stored

UNTIL = str(date.today() + timedelta(days=4))


class Project:
    """A project that no other test has, with failures in its tests ``one`` and ``two``."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.name = f"project-{uuid.uuid4().hex[:8]}"
        self.execution = self.run()

    def run(self, **fields: Any) -> str:
        created = self.api.create(metadata={"project": self.name, "branch": self.name})
        tests = [
            {
                **result(f"{name} of {self.name}", "failed", error="wrong"),
                "nodeId": self.node_id(name),
                **fields,
            }
            for name in ("one", "two")
        ]
        self.api.submit(created, tests=tests)
        return str(created["executionId"])

    def node_id(self, name: str) -> str:
        return f"tests/test_{self.name}.py::{name}"

    def add(self, name: str = "one", **fields: str) -> dict[str, Any]:
        body = {
            "nodeId": self.node_id(name),
            "project": self.name,
            "reason": f"reason of {self.name}",
            "owner": "ada",
            "until": UNTIL,
            **fields,
        }
        token = stored(self.api, "quarantine:write")
        return expect_success(self.api.request("POST", "/quarantine", body, token=token), 201)


@pytest.fixture
def project(api: Api) -> Project:
    return Project(api)


def test_the_page_lists_active_entries_with_results_and_ended_ones_apart(project: Project) -> None:
    entry = project.add()
    project.run(quarantined=True)
    path = f"/quarantine?project={project.name}"
    found = page(project.api, path)
    assert "/quarantine" in page(project.api, "/").links()
    assert f"reason of {project.name}" in found.words
    assert project.node_id("one") in found.words
    assert UNTIL in found.words
    assert "1 of 1" in found.words
    assert f"/tests/{entry['key']}" in found.links()
    assert "Expired and removed" not in found.words
    token = stored(project.api, "quarantine:write")
    expect_success(project.api.request("DELETE", f"/quarantine/{entry['id']}", token=token), 200)
    ended = page(project.api, path)
    assert "No test is in quarantine" in ended.words
    assert "Expired and removed" in ended.words
    assert "by another" in ended.words
    assert project.node_id("one") in page(project.api, f"{path}&view=ended").words


@pytest.mark.slow
def test_the_list_has_pages(project: Project) -> None:
    created = project.api.create(metadata={"project": project.name})
    names = [f"many{number:02}" for number in range(52)]
    tests = [{**result(name), "nodeId": project.node_id(name)} for name in names]
    project.api.submit(created, tests=tests)
    for name in names:
        project.add(name)
    first = page(project.api, f"/quarantine?project={project.name}")
    assert project.node_id("many51") in first.words
    assert project.node_id("many00") not in first.words
    (older,) = [link for link in first.links() if "before=" in link]
    second = page(project.api, older)
    assert project.node_id("many00") in second.words


def test_a_test_is_added_and_removed_by_forms(project: Project) -> None:
    visit = Visit(project.api.root)
    visit.see("/quarantine")
    fields = {"node_id": project.node_id("one"), "project": project.name, "reason": "slow", "until": UNTIL}
    refused = visit.send("/quarantine", None, **fields, owner="")
    assert refused.status_code == 422
    assert "Owner: required, since the test has no owner." in refused.text
    assert project.node_id("one") in refused.text
    added = visit.send("/quarantine", None, **fields, owner="ada")
    assert (added.status_code, added.headers["Location"]) == (303, "/quarantine")
    found = page(project.api, f"/quarantine?project={project.name}")
    assert "slow" in found.words
    (entry,) = expect_success(project.api.request("GET", f"/quarantine?project={project.name}"), 200)[
        "entries"
    ]
    visit.see("/quarantine")
    removed = visit.send(f"/quarantine/{entry['id']}/remove")
    assert (removed.status_code, removed.headers["Location"]) == (303, "/quarantine")
    assert project.node_id("one") not in page(project.api, "/quarantine?project=no-such").words
    assert visit.send(f"/quarantine/{entry['id']}/remove").status_code == 409


def test_the_page_of_a_test_shows_and_changes_its_quarantine(project: Project) -> None:
    key = project.add("two")["key"]
    path = f"/tests/{int(key)}"
    shown = page(project.api, path)
    assert f"In quarantine until {UNTIL}" in shown.words
    assert f"reason of {project.name}" in shown.words
    visit = Visit(project.api.root)
    visit.see(path)
    (entry,) = expect_success(project.api.request("GET", f"/quarantine?project={project.name}"), 200)[
        "entries"
    ]
    removed = visit.send(f"/quarantine/{entry['id']}/remove", None, **{"from": "test"})
    assert removed.headers["Location"] == path
    again = page(project.api, path)
    assert "In quarantine until" not in again.words
    assert "Put into quarantine" in again.words


def test_pages_of_a_run_mark_failures_in_quarantine_and_count_them_apart(project: Project) -> None:
    execution = project.run(quarantined=True)
    overview = page(project.api, f"/runs/{execution}")
    assert "2 tests failed, all in quarantine" in overview.words
    assert "2 failed in quarantine" in overview.words
    assert f"/runs/{execution}/tests?quarantined=1" in overview.links()
    listed = page(project.api, f"/runs/{execution}/tests?quarantined=1")
    assert listed.words.count(" in quarantine") >= 2
    assert f"one of {project.name}" in listed.words
    other = page(project.api, f"/runs/{project.execution}/tests?quarantined=1")
    assert f"one of {project.name}" not in other.words
    assert "quarantine" not in page(project.api, f"/runs/{project.execution}").words.replace("Quarantine", "")
    link = next(each for each in listed.links() if "?shard=" in each and "/tests/" in each)
    assert "in quarantine" in page(project.api, link).words


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """A server that asks for a login."""
    with running(tmp_path_factory.mktemp("closed") / "data", options=BEYOND) as api:
        yield api


def test_only_users_with_the_scope_have_the_forms(closed: Api) -> None:
    project = Project(closed)
    entry = project.add()
    visit = Visit(closed.root)
    visit.login(stored(closed, "executions:read"))
    shown = visit.see("/quarantine").text
    assert f"reason of {project.name}" in shown
    assert "Put a test into quarantine" not in shown
    assert "Put into quarantine" not in visit.see(f"/tests/{entry['key']}").text
    assert visit.send("/quarantine", node_id="x").status_code == 403
    assert visit.send(f"/quarantine/{entry['id']}/remove").status_code == 403
    visit.login(stored(closed, "executions:read", "quarantine:write", environments=("staging",)))
    bound = visit.see("/quarantine").text
    assert f"reason of {project.name}" not in bound
    assert "Put a test into quarantine" not in bound
    assert visit.send(f"/quarantine/{entry['id']}/remove").status_code == 403
    visit.login(stored(closed, "executions:read", "quarantine:write"))
    assert "Put a test into quarantine" in visit.see("/quarantine").text
    visit.csrf_token = "0" * 64
    assert visit.send(f"/quarantine/{entry['id']}/remove").status_code == 403
    expect_error(closed.request("GET", "/quarantine", token=""), 401)
