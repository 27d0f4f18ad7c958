"""GET /executions: filters, order, pages and the environments of the token; the same on every database."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest

from tests.helpers.api import Api, expect_error, expect_success, invalid_fields, result
from tests.helpers.processes import run_tms


class Project:
    """A project with a few executions, which no other test has."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.name = f"project-{uuid.uuid4().hex[:8]}"
        self.first = self.create(branch="main", commit="abcdef1234", author="Linus")
        self.second = self.create(
            suite="smoke", environment="staging", branch="topic/Login", commit="abc999", author="Bo"
        )
        self.third = self.create(branch="main", commit="0123", provider="jenkins")
        api.submit(self.second, tests=[result("a"), result("b", "failed")])

    def create(
        self, suite: str = "all", environment: str = "dev", provider: str = "custom", **metadata: str
    ) -> dict[str, Any]:
        return self.api.create(
            testSuite=suite,
            environment=environment,
            provider=provider,
            metadata={"project": self.name, **metadata},
        )

    def page(self, query: str = "", **asked: str) -> dict[str, Any]:
        return expect_success(
            self.api.request("GET", f"/executions?project={self.name}{query}", **asked), 200
        )

    def ids(self, query: str = "", **asked: str) -> list[str]:
        return [each["executionId"] for each in self.page(query, **asked)["executions"]]


@pytest.fixture
def project(api: Api) -> Project:
    return Project(api)


def test_the_newest_is_first_and_has_the_fields_of_its_status(project: Project) -> None:
    page = project.page()
    expected = [each["executionId"] for each in (project.third, project.second, project.first)]
    assert [each["executionId"] for each in page["executions"]] == expected
    assert page["cursor"] is None
    listed = page["executions"][1]
    status = project.api.status(project.second)
    assert listed.pop("project") == project.name
    assert listed["results"] == {"total": 2, "passed": 1, "failed": 1, "skipped": 0, "flaky": 0}
    assert {**status, **listed} == status
    assert set(status) - set(listed) == {"shardResults", "running", "runKey", "declaredShards", "queue"}


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("&testSuite=smoke", ["second"]),
        ("&environment=staging", ["second"]),
        ("&branch=main", ["third", "first"]),
        ("&branch=MAIN", []),
        ("&status=created", ["third", "first"]),
        ("&status=completed", ["second"]),
        ("&provider=jenkins", ["third"]),
        ("&commit=abc", ["second", "first"]),
        ("&commit=abcdef1234", ["first"]),
        ("&commit=bc", []),
        ("&author=Linus", ["first"]),
        ("&q=LOGIN", ["second"]),
        ("&q=smok", ["second"]),
        ("&q=linus", ["first"]),
        ("&q=bc999", ["second"]),
        ("&q=%25", []),
        ("&branch=main&provider=jenkins&q=0123", ["third"]),
        ("&branch=main&testSuite=smoke", []),
        ("&since=2020-01-01", ["third", "second", "first"]),
        ("&until=2020-01-01T00:00:00Z", []),
    ],
)
def test_filters_combine(project: Project, query: str, found: list[str]) -> None:
    assert project.ids(query) == [getattr(project, name)["executionId"] for name in found]


def test_times_include_the_beginning_and_exclude_the_end(project: Project) -> None:
    at = project.api.status(project.second)["createdAt"]
    assert project.ids(f"&since={at}") == [
        each["executionId"]
        for each in (project.third, project.second, project.first)
        if project.api.status(each)["createdAt"] >= at
    ]
    assert project.second["executionId"] not in project.ids(f"&until={at}")


def test_the_id_is_found_by_text(project: Project) -> None:
    assert project.ids(f"&q={project.first['executionId'][5:].upper()}") == [project.first["executionId"]]


def test_pages_follow_the_cursor(project: Project) -> None:
    page = project.page("&limit=2")
    assert len(page["executions"]) == 2
    rest = project.page(f"&limit=2&cursor={page['cursor']}")
    assert [each["executionId"] for each in rest["executions"]] == [project.first["executionId"]]
    assert rest["cursor"] is None


def test_an_unknown_project_has_none(project: Project) -> None:
    page = expect_success(project.api.request("GET", f"/executions?project=no-{project.name}"), 200)
    assert page == {"executions": [], "cursor": None}


def test_bad_parameters_are_all_named(api: Api) -> None:
    assert invalid_fields(api.request("GET", "/executions?suite=a&foo=b")) == {"suite", "foo"}
    assert invalid_fields(api.request("GET", "/executions?since=soon&until=never&q=&branch=a%00b")) == {
        "since",
        "until",
        "q",
        "branch",
    }
    assert invalid_fields(api.request("GET", "/executions?status=done&limit=0&cursor=x")) == {
        "status",
        "limit",
        "cursor",
    }


def test_a_token_of_one_environment_sees_no_other(project: Project) -> None:
    api = project.api
    made = run_tms(
        "token", "create", "--name", "staging", "--environment", "staging", "--json", "--data-dir",
        str(api.data_dir), *api.database,
    )  # fmt: skip
    token = json.loads(made.stdout)["token"]
    assert [
        each["executionId"]
        for each in expect_success(
            api.request("GET", f"/executions?project={project.name}", token=token), 200
        )["executions"]
    ] == [project.second["executionId"]]
    found = expect_success(
        api.request("GET", f"/executions?project={project.name}&environment=dev", token=token), 200
    )
    assert found["executions"] == []


def test_a_token_without_the_scope_is_refused(api: Api) -> None:
    made = run_tms(
        "token", "create", "--name", "hooks", "--scope", "webhooks:write", "--json", "--data-dir",
        str(api.data_dir), *api.database,
    )  # fmt: skip
    expect_error(api.request("GET", "/executions", token=json.loads(made.stdout)["token"]), 403)


def test_the_runs_page_filters_as_a_form(project: Project) -> None:
    page = project.api.page(f"/?project={project.name}&branch=main&text=0123&status=created").text
    assert project.third["executionId"] in page
    assert project.first["executionId"] not in page
    assert f'name="project" type="text" value="{project.name}"' in page
    assert "<option selected>created</option>" in page
    assert page.count(project.name) > 1  # in the form, and beside the execution
    nothing = project.api.page(f"/?project={project.name}&date=2020-01-01").text
    assert "No runs match. Remove a filter, or clear all of them." in nothing


def test_values_of_the_form_are_escaped_and_nonsense_is_left_out(project: Project) -> None:
    page = project.api.page('/?text="><script>alert(1)</script>&date=soon&status=lost&before=x')
    assert page.status_code == 200
    assert "<script>" not in page.text
    assert "<option selected>" not in page.text


def test_heartbeats_are_not_in_the_log(api: Api) -> None:
    execution = api.create()
    api.send(execution, "execution.started")
    api.send(execution, "execution.progress", status="running", running=[], shards=["1"], interval=5000)
    log = f"/runs/{execution['executionId']}/events"
    assert "execution.progress" not in api.page(log).text
    api.send(execution, "execution.progress", shardId="1", collected=7)
    assert api.page(log).text.count("&#34;execution.progress&#34;") == 1
    api.send(execution, "execution.progress", progress={"percent": 40})  # an unknown field is kept
    assert api.page(log).text.count("&#34;execution.progress&#34;") == 2
