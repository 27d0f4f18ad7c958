"""Badges: whose result they show, and who may see them."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.helpers.api import Api, result, running


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """A server that other machines can reach, with public badges."""
    folder = tmp_path_factory.mktemp("badges") / "data"
    with running(folder, options=("--host", "0.0.0.0"), TMS_SERVER_PUBLIC_BADGES="1") as api:
        yield api


def shown(api: Api, query: str) -> str:
    response = requests.get(f"{api.root}/badge.svg?{query}", timeout=20)
    assert response.status_code == 200
    assert response.headers["Content-Type"].startswith("image/svg+xml")
    assert response.headers["Cache-Control"] == "public, max-age=60"
    found = re.search("<title>(.*)</title>", response.text)
    assert found is not None
    return found[1]


def test_a_public_badge_shows_the_latest_ended_run_of_a_branch(public: Api) -> None:
    project = uuid.uuid4().hex[:8]
    own = f"testSuite=smoke&project={project}"

    def run(*statuses: str, branch: str = "main", environment: str = "staging") -> None:
        execution = public.create(
            testSuite="smoke", environment=environment, metadata={"project": project, "branch": branch}
        )
        public.submit(execution, tests=[result(f"t{n}", status) for n, status in enumerate(statuses)])

    assert shown(public, own) == "smoke: unknown"
    run("passed", "passed")
    assert shown(public, own) == "smoke: 2 passing"
    run("passed", "failed", branch="other")
    run("failed", "failed", "failed", environment="production")
    public.create(testSuite="smoke", environment="staging", metadata={"project": project, "branch": "main"})
    assert shown(public, own) == "smoke: 3 failing"
    assert shown(public, f"{own}&environment=staging") == "smoke: 2 passing"
    assert shown(public, f"{own}&branch=other") == "smoke: 1 failing, 1 passing"
    assert shown(public, f"{own}&environment=nowhere") == "smoke: unknown"


def test_failures_in_quarantine_do_not_count(public: Api) -> None:
    project = uuid.uuid4().hex[:8]
    execution = public.create(
        testSuite="smoke", environment="staging", metadata={"project": project, "branch": "main"}
    )
    flaky = {**result("flaky", "failed"), "nodeId": "t.py::flaky", "quarantined": True}
    public.submit(execution, tests=[flaky, result("other")])
    assert shown(public, f"testSuite=smoke&project={project}") == "smoke: 1 passing"


@pytest.mark.parametrize(
    "query",
    [
        "",
        "testSuite=%00",
        "testSuite=a&testSuite=b",
        f"testSuite=all&branch={'x' * 300}",
        "testSuite=%3Cb%3E",
    ],
)
def test_unknown_names_give_the_badge_unknown(public: Api, query: str) -> None:
    assert shown(public, query).endswith(": unknown")


def test_a_badge_is_not_sent_again_if_it_is_the_same(public: Api) -> None:
    url = f"{public.root}/badge.svg?testSuite=all&project=none"
    first = requests.get(url, timeout=20)
    again = requests.get(url, headers={"If-None-Match": first.headers["ETag"]}, timeout=20)
    assert (again.status_code, again.content) == (304, b"")


def test_public_badges_open_no_other_page(public: Api) -> None:
    assert requests.get(f"{public.root}/", timeout=20).status_code == 401


def test_without_the_setting_a_badge_needs_a_login(tmp_path: Path) -> None:
    with running(tmp_path / "data", options=("--host", "0.0.0.0")) as api:
        response = requests.get(f"{api.root}/badge.svg?testSuite=all", timeout=20)
        assert response.status_code == 401
        assert "<svg xmlns" not in response.text.partition("<title>all")[2]
        browser = requests.Session()
        form = browser.get(f"{api.root}/login", timeout=20).text
        csrf = re.search(r'name="csrf_token" value="([^"]+)"', form)
        assert csrf is not None
        browser.post(
            f"{api.root}/login", data={"csrf_token": csrf[1], "token": api.token, "to": "/"}, timeout=20
        )
        badge = browser.get(f"{api.root}/badge.svg?testSuite=all", timeout=20)
        assert (badge.status_code, badge.headers["Cache-Control"]) == (200, "private, max-age=60")
