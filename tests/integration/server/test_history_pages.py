"""The pages about more than one run: tests, the history of a test, comparisons and trends."""

from __future__ import annotations

import uuid
from typing import Any
from urllib.parse import quote

import pytest

from tests.helpers.api import Api, expect_success, result
from tests.integration.server.test_pages import HOSTILE, page


class Suite:
    """Runs of a branch that no other test has."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.branch = uuid.uuid4().hex[:8]

    def run(self, *tests: dict[str, Any], **metadata: str) -> str:
        execution = self.api.create(metadata={"branch": self.branch, **metadata})
        self.api.submit(execution, tests=list(tests))
        return str(execution["executionId"])

    def test(self, title: str, status: str = "passed", **fields: Any) -> dict[str, Any]:
        return {
            **result(f"{title} {self.branch}", status),
            "nodeId": f"tests/test_{self.branch}.py::{title}",
            "file": f"tests/test_{self.branch}.py",
            **fields,
        }

    def key(self, title: str) -> str:
        found = expect_success(self.api.request("GET", f"/tests?q={quote(self.branch)}"), 200)["tests"]
        return next(str(each["key"]) for each in found if each["title"].startswith(title))


@pytest.fixture
def suite(api: Api) -> Suite:
    return Suite(api)


def test_the_catalogue_shows_rates_and_links_to_histories(suite: Suite) -> None:
    suite.run(suite.test("steady", owner="Ada", tags=["@smoke"]), suite.test("flake", retries=1))
    found = page(suite.api, f"/tests?q={suite.branch}")
    assert f"steady {suite.branch}" in found.words
    assert "@smoke" in found.words
    assert "Ada" in found.words
    assert f"/tests/{suite.key('steady')}" in found.links()
    only = page(suite.api, f"/tests?branch={suite.branch}&flaky=1")
    assert "→ steady" in only.words
    assert f"flake {suite.branch}" in only.words
    assert f"steady {suite.branch}" not in only.words
    assert "No tests match" in page(suite.api, "/tests?q=nothing-is-called-so").words


def test_the_catalogue_has_pages(suite: Suite) -> None:
    suite.run(*(suite.test(f"t{number:03}") for number in range(60)))
    first = page(suite.api, f"/tests?branch={suite.branch}")
    (following,) = [link for link in first.links() if "after=" in link]
    second = page(suite.api, following)
    assert (first.words.count(f" {suite.branch}\n"), second.words.count(f" {suite.branch}\n")) == (50, 10)
    assert f"/tests?branch={suite.branch}" in second.links()


def test_the_history_says_since_when_a_test_fails(suite: Suite) -> None:
    suite.run(suite.test("a"), commit="1111111")
    first = suite.run(suite.test("a", "failed", error="ValueError: 3"), commit="2222222")
    suite.run(suite.test("a", "failed", error="ValueError: 4"), commit="3333333")
    last = suite.run(suite.test("a", "failed", error="KeyError: 'x'"), commit="4444444")
    path = f"/tests/{suite.key('a ')}"
    found = page(suite.api, path)
    words = " ".join(found.words.split())
    assert "Failing since commit 2222222" in words
    assert f"in 3 runs of all · dev · {suite.branch}" in words
    assert f"/runs/{first}" in found.links()
    assert any(link.startswith(f"/runs/{last}/tests?cause=") for link in found.links())
    assert "ValueError: 4" in words
    assert found.count("rect") >= 4
    assert "No results match" in page(suite.api, f"{path}?branch=other-branch").words
    assert suite.api.page("/tests/999999999").status_code == 404
    assert suite.api.page("/tests/x").status_code == 404


def test_runs_are_compared_on_a_page(suite: Suite) -> None:
    first = suite.run(suite.test("old", "failed"), suite.test("bad", "failed"), suite.test("gone"))
    second = suite.run(
        suite.test("old", "failed"),
        suite.test("bad"),
        suite.test("slow", duration=5000),
        suite.test("new", "failed"),
    )
    words = " ".join(page(suite.api, f"/runs/{second}/compare").words.split())
    for part in (
        f"Newly failing 1 new {suite.branch}",
        f"Fixed 1 bad {suite.branch}",
        f"Still failing 1 old {suite.branch}",
        f"Removed 1 gone {suite.branch}",
    ):
        assert part in words
    swapped = " ".join(page(suite.api, f"/runs/{first}/compare?with={second}").words.split())
    assert f"Newly failing 1 bad {suite.branch}" in swapped
    assert "first run with results" in page(suite.api, f"/runs/{first}/compare").words
    assert suite.api.page(f"/runs/{first}/compare?with=exec_none").status_code == 404


def test_trends_show_runs_flaky_and_slower_tests(suite: Suite) -> None:
    suite.run(suite.test("slow", duration=1000), suite.test("flake", retries=1))
    suite.run(*(suite.test(f"t{number}", "failed") for number in range(9)))
    suite.run(suite.test("slow", duration=4000), suite.test("flake", retries=1))
    words = " ".join(page(suite.api, f"/trends?branch={suite.branch}").words.split())
    assert "100.0 % in the latest run" in words
    assert f"flake {suite.branch}tests/test_{suite.branch}.py · steady · cost" in words
    assert "100 % 34–100 % of 2" in words
    assert "1.0 s → 4.0 s" in words
    assert words.count("infrastructure failure") == 1
    assert "No runs with results match" in page(suite.api, "/trends?branch=no-such-branch").words


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_values_are_escaped(suite: Suite, text: str) -> None:
    short = text[:200]
    test = {
        **suite.test("x", "failed"),
        "title": text[:9000],
        "file": text[:9000],
        "owner": short,
        "tags": [short],
        "error": text[:9000],
        "duration": 5000,
    }
    suite.run({**test, "status": "passed", "duration": 100}, commit=short)
    run = suite.run(test, commit=short)
    key = next(
        each["key"]
        for each in expect_success(suite.api.request("GET", f"/tests?branch={suite.branch}"), 200)["tests"]
    )
    query = quote(text[:200].replace("\x00", ""))
    for path in (
        f"/tests?branch={suite.branch}",
        f"/tests?q={query}&owner={query}",
        f"/tests/{key}",
        f"/tests/{key}?branch={query}",
        f"/runs/{run}/compare",
        f"/trends?branch={suite.branch}",
        f"/trends?suite={query}&project={query}",
    ):
        found = page(suite.api, path)
        assert found.strange() == []
        assert all(
            "onerror" not in attributes and "style" not in attributes for _, attributes in found.elements
        )
        assert not any(link.startswith("javascript:") for link in found.links())
    assert suite.api.page(f"/runs/{run}/compare?with={query}").status_code in (200, 404)
