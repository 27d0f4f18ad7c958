"""Renamed tests: suggestions, and histories that are joined."""

from __future__ import annotations

import re
from typing import Any

import pytest

from pytest_tms import TmsClient
from tests.helpers.api import Api, expect_error, expect_success, invalid_fields
from tests.integration.server.test_history_api import Suite, titles
from tests.integration.server.test_run_pages import read
from tests.integration.server.test_tokens import stored


@pytest.fixture
def suite(api: Api) -> Suite:
    return Suite(api)


def key(suite: Suite, name: str) -> str:
    found = suite.get(f"/tests?q={suite.name}&limit=200")["tests"]
    return str(next(each["key"] for each in found if each["nodeId"].endswith(f"::{name}")))


def decide(suite: Suite, test: str, earlier: str, is_same: bool = True, **more: Any) -> Any:
    body = {"earlierKey": earlier, "isSame": is_same}
    return suite.api.request("PUT", f"/tests/{test}/rename", body, **more)


def renamed(suite: Suite) -> str:
    """A project in which the test pays_by_card became pays_by_cards; the id of the later run."""
    suite.run(suite.test("pays_by_card"), suite.test("other"), commit="c1")
    suite.run(suite.test("pays_by_card", "failed", duration=9), suite.test("other"), commit="c2")
    return suite.run(suite.test("pays_by_cards", retries=1), suite.test("other"), commit="c3")


def test_a_rename_is_suggested_and_the_histories_are_joined(suite: Suite) -> None:
    run = renamed(suite)
    found = suite.get(f"/executions/{run}/compare")
    (suggested,) = found["renames"]
    new, old = key(suite, "pays_by_cards"), key(suite, "pays_by_card")
    assert (suggested["key"], suggested["earlierKey"]) == (new, old)
    assert suggested["reason"] == "a similar name in the same file"
    assert suggested["nodeId"].endswith("::pays_by_cards")
    assert suggested["earlierNodeId"].endswith("::pays_by_card")
    assert len(suite.get(f"/tests/{new}/history")["results"]) == 1
    joined = expect_success(decide(suite, new, old), 200)
    assert joined == {"key": new, "earlierKeys": [old]}
    history = suite.get(f"/tests/{new}/history")
    assert [each["commit"] for each in history["results"]] == ["c3", "c2", "c1"]
    assert (history["test"]["runs"], history["test"]["passRate"]) == (3, 0.6667)
    assert titles(history["earlier"]) == ["pays_by_card"]
    first = suite.get(f"/tests/{new}/history?limit=2")
    rest = suite.get(f"/tests/{new}/history?limit=2&cursor={first['cursor']}")
    assert [each["commit"] for each in rest["results"]] == ["c1"]
    found = suite.get(f"/executions/{run}/compare")
    assert (found["renames"], found["added"], found["removed"]) == ([], [], [])
    assert found["counts"]["added"] == found["counts"]["removed"] == 0
    shown = suite.api.page(f"/runs/{run}/tests").text
    assert "failed, passed" in "".join(re.findall(r'aria-label="[^"]*"', shown)) or "failed" in shown
    assert expect_success(decide(suite, new, old, False), 200)["earlierKeys"] == []
    assert len(suite.get(f"/tests/{new}/history")["results"]) == 1


def test_a_rejected_rename_is_not_suggested_again(suite: Suite) -> None:
    run = renamed(suite)
    new, old = key(suite, "pays_by_cards"), key(suite, "pays_by_card")
    expect_success(decide(suite, new, old, False), 200)
    found = suite.get(f"/executions/{run}/compare")
    assert found["renames"] == []
    assert titles(found["added"]) == ["pays_by_cards"]
    assert "ossibly renamed" not in read(suite.api, f"/runs/{run}/compare")


def test_a_test_that_ran_before_is_not_a_new_name(suite: Suite) -> None:
    suite.run(suite.test("pays_by_cards"))
    suite.run(suite.test("pays_by_card"))
    run = suite.run(suite.test("pays_by_cards"))
    assert suite.get(f"/executions/{run}/compare")["renames"] == []


def test_several_names_are_followed(suite: Suite) -> None:
    for number, name in enumerate(("a", "b", "c")):
        suite.run(suite.test(name), suite.test("other"), commit=f"c{number}")
    a, b, c = (key(suite, name) for name in "abc")
    expect_success(decide(suite, b, a), 200)
    assert expect_success(decide(suite, c, b), 200)["earlierKeys"] == [b, a]
    assert [each["commit"] for each in suite.get(f"/tests/{c}/history")["results"]] == ["c2", "c1", "c0"]
    error = expect_error(decide(suite, a, c), 409)
    assert error["message"] == "The earlier test is joined to this one already, the other way round."


def test_what_cannot_be_joined(suite: Suite) -> None:
    suite.run(suite.test("a"))
    other = Suite(suite.api)
    other.run(other.test("b"))
    a, b = key(suite, "a"), key(other, "b")
    expect_error(decide(suite, a, a), 409)
    expect_error(decide(suite, a, b), 409)
    expect_error(decide(suite, a, "999999999"), 404)
    expect_error(decide(suite, "x", a), 404)
    assert set(invalid_fields(decide(suite, a, "x"))) == {"earlierKey"}
    reader = stored(suite.api, "executions:read")
    expect_error(decide(suite, a, b, token=reader), 403)
    bound = stored(suite.api, environments=("dev",))
    expect_error(decide(suite, a, b, token=bound), 403)


def test_the_pages_show_the_suggestion_with_buttons(suite: Suite) -> None:
    run = renamed(suite)
    new, old = key(suite, "pays_by_cards"), key(suite, "pays_by_card")
    words = read(suite.api, f"/runs/{run}/compare")
    assert f"possibly renamed from pays_by_card_{suite.name} (a similar name in the same file)" in words
    shown = suite.api.page(f"/tests/{new}").text
    assert "This is the same test" in shown
    token = re.findall(r'name="csrf_token" value="(\w+)"', shown)[-1]
    form = {"csrf_token": token, "earlier": old, "is_same": "1"}
    done = suite.api.session.post(f"{suite.api.root}/tests/{new}/rename", data=form, allow_redirects=False)
    assert (done.status_code, done.headers["location"]) == (303, f"/tests/{new}")
    words = read(suite.api, f"/tests/{new}")
    assert f"Earlier pays_by_card_{suite.name}" in words
    assert "This is the same test" not in words
    assert f"Now pays_by_cards_{suite.name}" in read(suite.api, f"/tests/{old}")
    assert f"/runs/{run}/tests/{new}?" in suite.api.page(f"/tests/{new}").text
    form["is_same"] = "0"
    suite.api.session.post(f"{suite.api.root}/tests/{new}/rename", data=form)
    assert "Earlier pays" not in read(suite.api, f"/tests/{new}")


def test_the_client_decides(suite: Suite) -> None:
    renamed(suite)
    new, old = key(suite, "pays_by_cards"), key(suite, "pays_by_card")
    with TmsClient(suite.api.url, suite.api.token) as client:
        assert client.decide_rename(new, old, is_same=True).earlier_keys == [old]
        assert [each.key for each in client.get_test_history(new).earlier] == [old]
