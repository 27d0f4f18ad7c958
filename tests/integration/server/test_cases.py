"""The capability cases: test cases by the ids that tests carry, plans, pages and CSV."""

from __future__ import annotations

import csv
import io
import uuid
from typing import Any

import pytest
import requests

from pytest_tms import TmsClient, wire
from tests.helpers.api import Api, expect_error, expect_success, invalid_fields, result
from tests.integration.server.test_pages import page
from tests.integration.server.test_run_pages import read
from tests.integration.server.test_tokens import stored


class Project:
    """A project that no other test has."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.name = uuid.uuid4().hex[:8]

    def run(self, *tests: dict[str, Any], environment: str = "dev", suite: str = "all") -> None:
        metadata = {"project": self.name, "branch": self.name}
        execution = self.api.create(testSuite=suite, environment=environment, metadata=metadata)
        self.api.submit(execution, tests=list(tests))

    def test(self, name: str, ids: Any = None, status: str = "passed", **fields: Any) -> dict[str, Any]:
        properties = {} if ids is None else {"properties": {"id": ids}}
        return {
            **result(name, status),
            "nodeId": f"tests/test_{self.name}.py::{name}",
            **properties,
            **fields,
        }

    def plan(self, **titles: str) -> dict[str, Any]:
        cases = [{"id": case_id.replace("_", "-"), "title": title} for case_id, title in titles.items()]
        return expect_success(self.put({"project": self.name, "cases": cases}), 200)

    def put(self, plan: dict[str, Any]) -> requests.Response:
        return self.api.request("PUT", "/cases", plan, token=stored(self.api, "admin"))

    def cases(self, query: str = "", token: str | None = None) -> list[dict[str, Any]]:
        more = {} if token is None else {"token": token}
        response = self.api.request("GET", f"/cases?project={self.name}{query}", **more)
        found: list[dict[str, Any]] = expect_success(response, 200)["cases"]
        return found


@pytest.fixture
def project(api: Api) -> Project:
    return Project(api)


def ids(cases: list[dict[str, Any]]) -> list[str]:
    return [each["id"] for each in cases]


def names(case: dict[str, Any]) -> list[str]:
    return sorted(each["nodeId"].rpartition("::")[2] for each in case["tests"])


def statuses(case: dict[str, Any]) -> list[tuple[str, str, str]]:
    return [(each["testSuite"], each["environment"], each["status"]) for each in case["results"]]


def test_tests_and_cases_name_each_other(project: Project) -> None:
    assert "cases" in project.api.create()["capabilities"]
    project.run(project.test("a", "TC-1"), project.test("b", ["TC-2", "TC-1"]), project.test("c"))
    one, two = project.cases()
    assert (one["id"], names(one), two["id"], names(two)) == ("TC-1", ["a", "b"], "TC-2", ["b"])
    assert (one["isPlanned"], one["title"], one["project"]) == (False, "", project.name)
    project.run(project.test("b", "TC-3"))  # the ids of a test are those of its latest result
    assert [(each["id"], names(each)) for each in project.cases()] == [
        ("TC-1", ["a"]),
        ("TC-2", []),
        ("TC-3", ["b"]),
    ]
    project.run(project.test("b"))
    assert [names(each) for each in project.cases()] == [["a"], [], []]


@pytest.mark.parametrize("given", [5, {"x": 1}, "", " ", [None, 5, ""], "x" * 201, []])
def test_what_is_not_an_id_is_ignored(project: Project, given: Any) -> None:
    project.run(project.test("a", given))
    assert project.cases() == []


def test_the_latest_status_is_by_suite_and_environment(project: Project) -> None:
    project.run(project.test("a", "TC-1", "failed"), project.test("b", "TC-1"))
    project.run(project.test("a", "TC-1"), project.test("b", "TC-1"), environment="staging")
    project.run(project.test("b", "TC-1"), suite="smoke")
    (case,) = project.cases()
    assert statuses(case) == [
        ("all", "dev", "failed"),
        ("all", "staging", "passed"),
        ("smoke", "dev", "passed"),
    ]
    project.run(project.test("a", "TC-1"))
    assert statuses(project.cases()[0])[0] == ("all", "dev", "passed")


def test_a_plan_names_cases_with_and_without_a_test(project: Project) -> None:
    project.run(project.test("a", "TC-1"), project.test("b", "TC-9"), project.test("c"))
    changed = project.plan(TC_1="pays", TC_2="refunds")
    assert changed == {"project": project.name, "total": 2, "added": 2, "changed": 0, "removed": 0}
    assert [(each["id"], each["title"], each["isPlanned"]) for each in project.cases()] == [
        ("TC-1", "pays", True),
        ("TC-9", "", False),
        ("TC-2", "refunds", True),
    ]
    assert ids(project.cases("&kind=planned")) == ["TC-1", "TC-2"]
    assert ids(project.cases("&kind=missing")) == ["TC-2"]
    assert ids(project.cases("&kind=unplanned")) == ["TC-9"]
    assert ids(project.cases("&q=REFUND")) == ["TC-2"]
    assert ids(project.cases("&q=tc-9")) == ids(project.cases("&id=TC-9")) == ["TC-9"]
    changed = project.plan(TC_3="cancels", TC_1="pays by card")
    assert changed == {"project": project.name, "total": 2, "added": 1, "changed": 1, "removed": 1}
    assert [(each["id"], each["title"], each["isPlanned"]) for each in project.cases()] == [
        ("TC-1", "pays by card", True),
        ("TC-9", "", False),
        ("TC-3", "cancels", True),
    ]
    assert project.plan(TC_3="cancels", TC_1="pays by card")["changed"] == 0
    project.plan()
    assert ids(project.cases()) == ["TC-1", "TC-9"]


def test_a_case_without_a_result_has_pages(project: Project) -> None:
    project.plan(**{f"TC_{number}": "" for number in range(5)})
    first = expect_success(project.api.request("GET", f"/cases?project={project.name}&limit=2"), 200)
    rest = project.cases(f"&cursor={first['cursor']}")
    assert ids([*first["cases"], *rest]) == [f"TC-{number}" for number in range(5)]


@pytest.mark.parametrize(
    ("plan", "fields"),
    [
        ({"cases": [{"id": "a"}, {"id": " "}, {"id": " a "}]}, ["cases[1].id", "cases[2].id"]),
        ({"cases": [{"title": "x"}]}, ["cases[0].id"]),
        ({"cases": [{"id": "x" * 201, "title": "x" * 501}]}, ["cases[0].id", "cases[0].title"]),
        ({"cases": 5, "project": ""}, ["cases", "project"]),
        ({}, ["cases"]),
    ],
)
def test_a_wrong_plan_is_refused(project: Project, plan: dict[str, Any], fields: list[str]) -> None:
    assert set(invalid_fields(project.put(plan))) == set(fields)


@pytest.mark.parametrize(
    ("query", "fields"),
    [("kind=x&q=", ["q", "kind"]), ("id=%00", ["id"]), ("limit=0", ["limit"]), ("x=1", ["x"])],
)
def test_wrong_parameters_are_listed(api: Api, query: str, fields: list[str]) -> None:
    assert set(invalid_fields(api.request("GET", f"/cases?{query}"))) == set(fields)


def test_only_an_administrator_may_import(project: Project) -> None:
    writer = stored(project.api, "executions:read", "executions:write")
    expect_error(project.api.request("PUT", "/cases", {"cases": []}, token=writer), 403)
    bound = stored(project.api, "admin", environments=("dev",))
    expect_error(project.api.request("PUT", "/cases", {"cases": []}, token=bound), 403)


def test_a_token_that_is_bound_to_environments_sees_only_their_tests(project: Project) -> None:
    project.run(project.test("a", "TC-1", "failed"), project.test("b", "TC-2"))
    project.run(project.test("a", "TC-1"), project.test("c", "TC-1"), environment="staging")
    project.plan(TC_3="nobody")
    bound = stored(project.api, environments=("dev",))
    one, two, three = project.cases(token=bound)
    assert (names(one), statuses(one)) == (["a"], [("all", "dev", "failed")])
    assert (ids([two, three]), names(three)) == (["TC-2", "TC-3"], [])
    assert ids(project.cases(token=stored(project.api, environments=("none",)))) == ["TC-3"]


def test_tests_without_a_case(project: Project) -> None:
    project.run(project.test("a", "TC-1"), project.test("b"), project.test("c", retries=1))
    for query, expected in (
        ("", ["b", "c"]),
        (f"&branch={project.name}", ["b", "c"]),
        (f"&branch={project.name}&flaky=true", ["c"]),
    ):
        path = f"/tests?withoutCase=true&q={project.name}{query}"
        found = expect_success(project.api.request("GET", path), 200)["tests"]
        assert names({"tests": found}) == expected
    shown = page(project.api, f"/tests?nocase=1&q={project.name}")
    assert "b" in shown.words.split()
    assert invalid_fields(project.api.request("GET", "/tests?withoutCase=x")) == {"withoutCase"}


def test_the_pages_show_cases_their_tests_and_results(project: Project) -> None:
    project.run(project.test("a", "TC <1>", "failed"), project.test("b", ["TC <1>"]))
    project.plan(TC_2="refunds")
    shown = page(project.api, f"/cases?project={project.name}")
    words = read(project.api, f"/cases?project={project.name}")
    assert "TC <1>" in words
    assert "not in the plan" in words
    assert "refunds no test" in words
    (link,) = [each for each in shown.links() if each.startswith("/cases/")][:1]
    case = page(project.api, link)
    words = read(project.api, link)
    assert "TC <1>" in words
    assert "failed all dev" in words
    test = next(each for each in case.links() if each.startswith("/tests/"))
    assert link in page(project.api, test).links()
    assert "No cases match" in page(project.api, "/cases?q=nothing-is-called-so&kind=odd").words
    assert project.api.page("/cases/999999999").status_code == 404
    assert project.api.page("/cases/x").status_code == 404


def test_the_csv_file_is_safe_to_open(project: Project) -> None:
    project.run(project.test("a", "=cmd|x"), project.test("b", "TC-1"))
    project.plan(TC_2="+1", TC_1="-2")
    for content in (
        project.api.request("GET", f"/cases/export?project={project.name}").content,
        project.api.page(f"/cases.csv?project={project.name}").content,
    ):
        rows = list(csv.reader(io.StringIO(content.decode("utf-8-sig"))))
        assert rows[0][:4] == ["id", "title", "project", "planned"]
        assert [row[:4] for row in rows[1:]] == [
            ["'=cmd|x", "", project.name, "no"],
            ["TC-1", "'-2", project.name, "yes"],
            ["TC-2", "'+1", project.name, "yes"],
        ]
        assert [row[5:8] for row in rows[1:]] == [
            ["all", "dev", "passed"],
            ["all", "dev", "passed"],
            ["", "", ""],
        ]


def test_the_client_has_every_call(project: Project) -> None:
    with TmsClient(project.api.url, stored(project.api, "admin")) as client:
        plan = wire.CasePlan(project=project.name, cases=[wire.PlannedCase(id="TC-1", title="x")])
        assert client.import_cases(plan).added == 1
        (case,) = client.list_cases(project=project.name, kind="missing").cases
        assert (case.id, case.title) == ("TC-1", "x")
        assert client.list_registered_tests(q=project.name, without_case=True).tests == []
