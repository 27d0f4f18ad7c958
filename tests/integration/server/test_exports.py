"""Exports by the API and by pages: their content, who may read them, and bounded memory."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any, get_args
from xml.etree import ElementTree

import pytest

from pytest_tms import wire
from pytest_tms.exports.formats import FORMATS
from tests.helpers.api import Api, expect_error, expect_success, invalid_fields, result, running
from tests.helpers.processes import peak_memory, serve

TYPES = {
    "junit": "application/xml",
    "json": "application/json",
    "csv": "text/csv",
    "ctrf": "application/json",
    "markdown": "text/markdown",
    "html": "text/html",
}
PAGES = {"junit": "xml", "json": "json", "csv": "csv", "ctrf": "ctrf.json", "markdown": "md", "html": "html"}


def titles(name: str, content: str) -> list[str]:
    """Return the titles of the tests in an export, in its order."""
    if name == "junit":
        return [case.attrib["name"] for case in ElementTree.fromstring(content).iter("testcase")]
    if name == "json":
        return [test["title"] for test in json.loads(content)["tests"]]
    if name == "csv":
        return [row["title"] for row in csv.DictReader(io.StringIO(content.lstrip("\ufeff")))]
    if name == "ctrf":
        return [test["name"] for test in json.loads(content)["results"]["tests"]]
    found = {content.find(title): title for title in (f"t{number:03}" for number in range(250))}
    return [title for at, title in sorted(found.items()) if at >= 0]


@pytest.fixture
def execution(sqlite_api: Api) -> dict[str, Any]:
    """An execution with more tests than one page of the store has; every 50th has failed."""
    made = sqlite_api.create()
    tests = [
        result(f"t{number:03}", "passed" if number % 50 != 49 else "failed", duration=number, error="E")
        for number in range(250)
    ]
    tests[0]["properties"] = {"big": 10**30}
    sqlite_api.submit(made, tests=tests)
    return made


def test_the_formats_are_those_of_the_api() -> None:
    assert tuple(FORMATS) == get_args(wire.ExportFormat)


@pytest.mark.parametrize("name", FORMATS)
def test_the_api_and_the_page_export_every_test(
    sqlite_api: Api, execution: dict[str, Any], name: str
) -> None:
    execution_id = execution["executionId"]
    response = sqlite_api.request("GET", f"/executions/{execution_id}/export?format={name}")
    assert response.status_code == 200
    assert response.headers["Content-Type"].partition(";")[0] == TYPES[name]
    file = f"{execution_id}.{PAGES[name]}"
    assert response.headers["Content-Disposition"] == f'attachment; filename="{file}"'
    expected = [f"t{number:03}" for number in range(250)]
    failed = [f"t{number:03}" for number in range(49, 250, 50)]
    found = titles(name, response.content.decode())
    if name == "html":
        assert found == failed + [title for title in expected if title not in failed]
    elif name == "markdown":
        assert found[: len(failed)] == failed
    else:
        assert found == expected
    page = sqlite_api.page(f"/runs/{execution_id}/export.{PAGES[name]}")
    assert page.status_code == 200
    assert page.content == response.content
    assert page.headers["Content-Disposition"] == response.headers["Content-Disposition"]
    assert page.headers["Content-Security-Policy"].startswith("sandbox;")


def test_the_report_links_to_the_page_of_every_format(sqlite_api: Api, execution: dict[str, Any]) -> None:
    report = sqlite_api.page(f"/runs/{execution['executionId']}").text
    for extension in PAGES.values():
        assert f'href="/runs/{execution["executionId"]}/export.{extension}"' in report


@pytest.mark.parametrize("query", ["", "?format=", "?format=pdf", "?format=JSON"])
def test_an_unknown_format_is_refused_with_those_that_exist(
    sqlite_api: Api, execution: dict[str, Any], query: str
) -> None:
    response = sqlite_api.request("GET", f"/executions/{execution['executionId']}/export{query}")
    assert invalid_fields(response) == {"format"}
    assert response.json()["error"]["details"][0]["message"] == f"Must be one of: {', '.join(FORMATS)}"


def test_an_export_of_nothing_is_not_found(sqlite_api: Api) -> None:
    expect_error(sqlite_api.request("GET", "/executions/exec_nope/export?format=json"), 404)
    assert sqlite_api.page("/runs/exec_nope/export.json").status_code == 404


def test_a_shard_of_that_name_still_leads_to_the_report(sqlite_api: Api, execution: dict[str, Any]) -> None:
    response = sqlite_api.page(f"/reports/{execution['executionId']}/shard-1")
    assert response.url.endswith(f"/runs/{execution['executionId']}")


def test_an_execution_without_tests_is_exported(sqlite_api: Api) -> None:
    made = sqlite_api.create()
    response = sqlite_api.request("GET", f"/executions/{made['executionId']}/export?format=json")
    document = expect_success(response, 200)
    assert document["execution"]["executionId"] == made["executionId"]
    assert document["tests"] == []


def test_an_export_page_needs_the_login_of_the_pages(tmp_path: Path) -> None:
    with running(tmp_path / "data", options=["--host", "0.0.0.0"]) as api:
        made = api.create()
        for extension in PAGES.values():
            response = api.session.get(
                f"{api.root}/runs/{made['executionId']}/export.{extension}",
                headers={"Accept": "text/html"},
                allow_redirects=False,
                timeout=60,
            )
            assert response.status_code in (303, 401)
            assert "Content-Disposition" not in response.headers


@pytest.mark.slow
def test_large_exports_take_little_memory(tmp_path: Path) -> None:
    process, url = serve(tmp_path / "data")
    try:
        api = _client(url, tmp_path / "data")
        made = api.create()
        text = "x" * 100_000
        for first in range(0, 600, 100):  # 60 MB
            tests = [
                result(f"t{number}", "failed", longrepr=f"{number}{text}")
                for number in range(first, first + 100)
            ]
            api.submit(made, tests=tests)
        before = peak_memory(process.pid)
        size = 0
        for name in ("junit", "html"):
            path = f"{api.url}/executions/{made['executionId']}/export?format={name}"
            headers = {"Authorization": f"Bearer {api.token}"}
            with api.session.get(path, headers=headers, stream=True, timeout=60) as response:
                assert response.status_code == 200
                size += sum(map(len, response.iter_content(1 << 20)))
        assert size > 100 << 20
        assert peak_memory(process.pid) - before < 30 << 20
        api.session.close()
    finally:
        process.terminate()
        process.wait(timeout=20)


def _client(url: str, data_dir: Path) -> Api:
    from tests.helpers.processes import run_tms

    made = run_tms("token", "create", "--name", "tests", "--json", "--data-dir", str(data_dir))
    return Api(url, json.loads(made.stdout)["token"], data_dir)
