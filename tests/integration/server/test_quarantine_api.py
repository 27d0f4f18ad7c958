"""The capability quarantine: tests are added, listed and removed."""

from __future__ import annotations

import json
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime, timedelta, timezone
from typing import Any

import pytest
import requests

from pytest_tms import TmsClient, wire
from tests.helpers.api import Api, expect_error, expect_success, invalid_fields, result
from tests.helpers.processes import run_tms, wait_for
from tests.integration.server.test_tokens import stored


class Project:
    """A project that no other test has, with one failed test, and a token that may change its quarantine."""

    def __init__(self, api: Api, owner: str = "shop") -> None:
        self.api = api
        self.name = f"project-{uuid.uuid4().hex[:8]}"
        self.token = stored(api, "executions:read", "quarantine:write")
        self.execution = api.create(metadata={"project": self.name})
        tests = [
            result(name, "failed", nodeId=f"tests/test_a.py::{name}", **({"owner": owner} if owner else {}))
            for name in ("test_one", "test_two")
        ]
        api.submit(self.execution, tests=tests)

    def add(self, name: str = "test_one", **fields: Any) -> dict[str, Any]:
        body = {
            "nodeId": f"tests/test_a.py::{name}",
            "project": self.name,
            "reason": "waits for SHOP-1",
            "until": tomorrow(),
            **fields,
        }
        return expect_success(self.request("POST", "/quarantine", body), 201)

    def request(self, method: str, path: str, body: object = None, **headers: str) -> Any:
        return self.api.request(method, path, body, token=self.token, **headers)

    def listed(self, query: str = "") -> list[dict[str, Any]]:
        page = expect_success(self.request("GET", f"/quarantine?project={self.name}{query}"), 200)
        found: list[dict[str, Any]] = page["entries"]
        return found

    def actions(self) -> list[tuple[str, str]]:
        """The entries of the audit log about this project: the action and the object, the oldest first."""
        shown = run_tms("audit", "--json", "--data-dir", str(self.api.data_dir), *self.api.database)
        entries = json.loads(shown.stdout)
        return [
            (each["action"], each["target"])
            for each in reversed(entries)
            if each["details"].get("project") == self.name and each["action"].startswith("quarantine")
        ]


@pytest.fixture
def project(api: Api) -> Project:
    return Project(api)


def tomorrow() -> str:
    return str(date.today() + timedelta(days=1))


def test_a_test_is_added_listed_and_removed(project: Project) -> None:
    added = project.add()
    assert added["state"] == "active"
    assert (added["nodeId"], added["reason"], added["owner"]) == (
        "tests/test_a.py::test_one",
        "waits for SHOP-1",
        "shop",
    )
    assert added["until"] == f"{tomorrow()}T23:59:59.999Z"
    assert (added["createdBy"], added["isAutomatic"], added["endedAt"]) == ("another", False, None)
    assert project.listed() == project.listed("&state=active") == [added]
    assert project.listed("&state=ended") == []
    found = expect_success(project.request("GET", f"/tests/{added['key']}/history"), 200)
    assert found["test"]["nodeId"] == added["nodeId"]
    removed = expect_success(project.request("DELETE", f"/quarantine/{added['id']}"), 200)
    assert (removed["state"], removed["endedBy"]) == ("removed", "another")
    assert removed["endedAt"]
    assert project.listed("&state=active") == []
    assert project.listed("&state=ended") == [removed]
    expect_error(project.request("DELETE", f"/quarantine/{added['id']}"), 409)
    assert project.actions() == [("quarantine.added", added["id"]), ("quarantine.removed", added["id"])]


def test_a_test_that_is_added_again_has_one_active_entry(project: Project) -> None:
    first, second = project.add(), project.add(reason="another reason", owner="ada")
    assert [each["id"] for each in project.listed("&state=active")] == [second["id"]]
    assert (second["reason"], second["owner"]) == ("another reason", "ada")
    (ended,) = project.listed("&state=ended")
    assert (ended["id"], ended["state"]) == (first["id"], "removed")


def test_an_entry_whose_end_has_passed_is_expired(project: Project) -> None:
    soon = datetime.now(timezone.utc) + timedelta(seconds=1)
    added = project.add(until=soon.isoformat())
    wait_for(lambda: project.listed("&state=ended"))
    (ended,) = project.listed("&state=ended")
    assert (ended["id"], ended["state"], ended["endedAt"], ended["endedBy"]) == (
        added["id"],
        "expired",
        None,
        None,
    )
    expect_error(project.request("DELETE", f"/quarantine/{added['id']}"), 409)
    again = project.add()
    assert [each["state"] for each in project.listed()] == ["active", "expired"]
    assert again["state"] == "active"


def test_the_list_has_filters_and_pages(project: Project) -> None:
    one, two = project.add("test_one", owner="ada"), project.add("test_two", owner="bob")
    assert project.listed("&nodeId=tests/test_a.py::test_two") == [two]
    assert project.listed("&owner=ada") == [one]
    assert project.listed("&owner=nobody") == []
    page = expect_success(project.request("GET", f"/quarantine?project={project.name}&limit=1"), 200)
    assert page["entries"] == [two]
    assert project.listed(f"&limit=1&cursor={page['cursor']}") == [one]
    execution_id = project.execution["executionId"]
    page = expect_success(project.request("GET", f"/quarantine?execution={execution_id}"), 200)
    assert page == {"entries": [two, one], "cursor": None}
    expect_error(project.request("GET", "/quarantine?execution=exec_nope"), 404)
    assert invalid_fields(project.request("GET", "/quarantine?state=x&limit=0")) == {"limit"}
    assert invalid_fields(project.request("GET", "/quarantine?state=x&owner=")) == {"state", "owner"}
    assert project.name not in {each["project"] for each in Project(project.api).listed()}


@pytest.mark.parametrize(
    ("fields", "invalid"),
    [
        ({"until": "2020-01-01"}, {"until"}),
        ({"until": "9999-12-31"}, {"until"}),
        ({"until": "soon"}, {"until"}),
        ({"until": "soon", "reason": " "}, {"until", "reason"}),
        ({"reason": ""}, {"reason"}),
        ({"nodeId": "tests/test_a.py::test_typo"}, {"nodeId"}),
        ({"project": "no-such-project"}, {"nodeId"}),
        ({"owner": 1, "until": None}, {"owner", "until"}),
    ],
)
def test_a_bad_entry_is_refused_with_every_bad_field(
    project: Project, fields: dict[str, Any], invalid: set[str]
) -> None:
    body = {
        "nodeId": "tests/test_a.py::test_one",
        "project": project.name,
        "reason": "r",
        "until": tomorrow(),
        **fields,
    }
    assert invalid_fields(project.request("POST", "/quarantine", body)) == invalid
    assert project.listed() == []


def test_a_test_without_an_owner_needs_one(api: Api) -> None:
    project = Project(api, owner="")
    body = {
        "nodeId": "tests/test_a.py::test_one",
        "project": project.name,
        "reason": "r",
        "until": tomorrow(),
    }
    assert invalid_fields(project.request("POST", "/quarantine", body)) == {"owner"}
    assert project.add(owner="ada")["owner"] == "ada"


def test_a_repeated_request_with_a_key_adds_once(project: Project) -> None:
    body = {
        "nodeId": "tests/test_a.py::test_one",
        "project": project.name,
        "reason": "r",
        "until": tomorrow(),
    }
    key = uuid.uuid4().hex
    first, second = (project.request("POST", "/quarantine", body, Idempotency_Key=key) for _ in range(2))
    assert expect_success(first, 201) == expect_success(second, 201)
    assert len(project.listed()) == 1


def test_only_a_token_with_the_scope_changes_the_quarantine(project: Project) -> None:
    added = project.add()
    body = {"nodeId": added["nodeId"], "project": project.name, "reason": "r", "until": tomorrow()}
    api = project.api
    for token in ("", None, stored(api), stored(api, "executions:write", "webhooks:write")):
        status = 401 if token == "" else 403
        expect_error(api.request("POST", "/quarantine", body, token=token), status)
        expect_error(api.request("DELETE", f"/quarantine/{added['id']}", token=token), status)
    bound = stored(api, "executions:read", "quarantine:write", environments=("dev",))
    expect_error(api.request("POST", "/quarantine", body, token=bound), 403)
    expect_error(api.request("DELETE", f"/quarantine/{added['id']}", token=bound), 403)
    expect_error(api.request("GET", "/quarantine", token=stored(api, "quarantine:write")), 403)
    assert project.listed() == [added]
    expect_success(api.request("DELETE", f"/quarantine/{added['id']}", token=stored(api, "admin")), 200)


def test_a_token_that_is_bound_to_environments_sees_their_tests_only(project: Project) -> None:
    added = project.add()
    api = project.api
    path = f"/quarantine?project={project.name}"
    for environment, seen in (("dev", [added]), ("staging", [])):
        token = stored(api, environments=(environment,))
        assert expect_success(api.request("GET", path, token=token), 200)["entries"] == seen
    own = f"/quarantine?execution={project.execution['executionId']}"
    expect_error(api.request("GET", own, token=stored(api, environments=("staging",))), 403)


def test_the_python_client_manages_the_quarantine(project: Project) -> None:
    with TmsClient(project.api.url, project.token) as client:
        assert "quarantine" in client.describe_service().capabilities
        request = wire.QuarantineRequest(
            node_id="tests/test_a.py::test_one", project=project.name, reason="r", until=tomorrow()
        )
        entry = client.add_to_quarantine(request)
        assert client.list_quarantine(project=project.name, state="active").entries == [entry]
        assert client.list_quarantine(project=project.name, node_id=entry.node_id).entries == [entry]
        assert client.remove_from_quarantine(entry.id).state == "removed"


def test_requests_that_add_a_test_at_the_same_time_leave_one_active_entry(project: Project) -> None:
    body = {
        "nodeId": "tests/test_a.py::test_one",
        "project": project.name,
        "reason": "r",
        "until": tomorrow(),
    }

    def add(_: int) -> int:
        headers = {"Authorization": f"Bearer {project.token}"}
        url = f"{project.api.url}/quarantine"
        return requests.post(url, json=body, headers=headers, timeout=60).status_code

    with ThreadPoolExecutor(8) as pool:
        statuses = set(pool.map(add, range(24)))
    assert 201 in statuses
    assert statuses <= {201, 409}
    assert len(project.listed("&state=active")) == 1
