"""The page of one result: what it shows of a real run and of anything that a runner may send."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest

from tests.helpers import reported_runs
from tests.helpers.api import Api, expect_success, result, running
from tests.helpers.processes import TmsServer
from tests.integration.server.test_pages import HOSTILE, Page, page

LINKS = r"TC-\d+=https://tests.example.com/{0}"


@pytest.fixture(scope="module")
def linking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """A server that links ids of tests."""
    folder = tmp_path_factory.mktemp("result") / "data"
    with running(folder, TMS_SERVER_LINK_PATTERNS=LINKS, TMS_SERVER_RATE_LIMITS="off") as api:
        yield api


def number_of(api: Api, execution: dict[str, Any], title: str) -> int:
    """The number of a test, or of any without a title, which is in the address of its page."""
    with sqlite3.connect(f"file:{api.data_dir}/tms.sqlite3?mode=ro", uri=True) as database:
        (number,) = database.execute(
            "SELECT tests.id FROM executions JOIN results ON results.execution = executions.number "
            "JOIN tests ON tests.id = results.test_id WHERE executions.id = ? AND ? IN ('', tests.title)",
            (execution["executionId"], title),
        ).fetchone()
    return int(number)


def address(api: Api, execution: dict[str, Any], title: str, **query: Any) -> str:
    path = f"/runs/{execution['executionId']}/tests/{number_of(api, execution, title)}"
    return f"{path}?{urlencode(query)}" if query else path


def of(api: Api, title: str, **fields: Any) -> Page:
    """The page of a test in an execution of its own."""
    execution = api.create()
    api.submit(execution, tests=[result(title, fields.pop("status", "failed"), **fields)])
    return page(api, address(api, execution, title))


def test_a_result_has_its_error_frames_and_links_to_their_lines(linking: Api) -> None:
    execution = linking.create(
        metadata={
            "repository": "https://github.com/acme/shop",
            "rootPath": "services/shop",
            "commit": "9f8e7d6c5b4a",
            "branch": "main",
        }
    )
    longrepr = (
        'tests/test_card.py:8: in test_card\n    pay("visa")\nlib/site-packages/x/y.py:3: in send\n    go()\n'
        "E   AssertionError: assert 'two tree' == 'two three'\nE     \nE     - two three\nE     ?      +\nE     + two tree"
    )
    fields = {
        "error": "AssertionError: assert 'two tree' == 'two three'",
        "longrepr": longrepr,
        "nodeId": "tests/test_card.py::test_card[a b]",
        "tags": ["@smoke", "@TC-7"],
        "owner": "payments",
        "worker": "gw1",
        "parameters": {"brand": "visa"},
        "properties": {"id": "TC-12", "ticket": "https://example.com/1", "bad": "javascript:alert(1)"},
        "phases": {"setup": 310, "call": 1200, "teardown": 5},
        "exceptionType": "AssertionError",
        "frames": [{"path": "tests/test_card.py", "line": 8, "function": "test_card", "isOwn": True}],
        "stdout": "\x1b[31mred words\x1b[0m and plain",
    }
    linking.submit(execution, tests=[result("test_card[a b]", "failed", **fields)])
    shown = page(linking, address(linking, execution, "test_card[a b]"))
    links = shown.links()
    assert "https://github.com/acme/shop/blob/9f8e7d6c5b4a/services/shop/tests/test_card.py#L8" in links
    assert {"https://tests.example.com/TC-12", "https://tests.example.com/TC-7"} <= set(links)
    assert "https://example.com/1" in links
    assert not any("javascript" in link for link in links)
    for words in ("two tree", "310 ms", "1.2 s", "gw1", "payments", "visa", "failure 1 of 1", "1 of 1"):
        assert words in shown.words
    copied = [attributes["data-copy"] for tag, attributes in shown.elements if "data-copy" in attributes]
    assert "pytest 'tests/test_card.py::test_card[a b]'" in copied
    assert "tests/test_card.py::test_card[a b]" in copied
    classes = {attributes.get("class") for _, attributes in shown.elements}
    assert {"line added", "line removed", "ansi-red"} <= classes
    assert shown.count("mark") == 2
    assert "\x1b" not in shown.words


def test_attempts_are_tabs_with_their_own_output_and_error(linking: Api) -> None:
    execution = linking.create()
    tries = [
        {"outcome": "failed", "error": "first error", "stdout": "first output"},
        {"outcome": "failed", "error": "second error", "stdout": "second output"},
        {"outcome": "passed"},
    ]
    test = result("test_tries", "passed", retries=2, attempts=tries, stdout="third output")
    linking.submit(execution, tests=[test])
    last = page(linking, address(linking, execution, "test_tries"))
    assert "third output" in last.words
    assert "first output" not in last.words
    first = page(linking, address(linking, execution, "test_tries", attempt=1))
    assert "first error" in first.words
    assert "first output" in first.words
    assert "third output" not in first.words
    both = page(linking, address(linking, execution, "test_tries", attempt=1, compare=2))
    assert all(f"{word} error" in both.words for word in ("first", "second"))
    own = address(linking, execution, "test_tries")
    assert {f"{own}?attempt=1", f"{own}?attempt=2", own} <= set(last.links())
    response = linking.page(f"{own}/output/stdout?attempt=2")
    assert response.text == "second output"
    assert response.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert response.headers["Content-Disposition"].startswith("attachment")
    assert "sandbox" in response.headers["Content-Security-Policy"]
    assert linking.page(f"{own}/output/stdout?view=1").headers["Content-Disposition"].startswith("inline")
    assert linking.page(f"{own}/output/stdout?attempt=2&find=SECOND").text == "     1  second output\n"
    assert linking.page(f"{own}/output/stdout?find=nowhere").text == "No line has this text.\n"


def test_runs_of_a_shard_that_a_newer_one_superseded_are_attempts(linking: Api) -> None:
    execution = linking.create()
    for attempt, (status, error) in enumerate((("failed", "before"), ("passed", None)), 1):
        metadata = {"attempt": attempt}
        more = {"error": error} if error else {}
        linking.send(execution, "shard.started", shardId="1", runner=f"r{attempt}", metadata=metadata)
        tests = [result("test_rerun", status, **more)]
        linking.submit(execution, tests=tests, runner=f"r{attempt}", metadata=metadata)
    own = address(linking, execution, "test_rerun")
    assert f"{own}?attempt=1" in page(linking, own).links()
    assert "before" in page(linking, f"{own}?attempt=1").words


def test_the_failing_shard_is_shown_unless_another_is_asked_for(linking: Api) -> None:
    execution = linking.create()
    linking.submit(execution, "1", tests=[result("test_shards", "failed", error="of shard one")])
    linking.submit(execution, "2", tests=[result("test_shards", "passed")])
    assert "of shard one" in page(linking, address(linking, execution, "test_shards")).words
    assert "of shard one" not in page(linking, address(linking, execution, "test_shards", shard="2")).words


def test_previous_and_next_failure_are_links(linking: Api) -> None:
    execution = linking.create()
    tests = [result(f"test_place_{n}", "failed" if n != 2 else "passed") for n in range(4)]
    linking.submit(execution, tests=tests)
    shown = page(linking, address(linking, execution, "test_place_1"))
    keys = {
        attributes.get("data-key"): attributes["href"] for tag, attributes in shown.elements if tag == "a"
    }
    assert keys["p"] == address(linking, execution, "test_place_0", shard="1")
    assert keys["n"] == address(linking, execution, "test_place_3", shard="1")
    assert "failure 2 of 3" in shown.words


def test_files_are_shown_by_their_type(linking: Api) -> None:
    execution = linking.create()
    png = b"\x89PNG\r\n\x1a\n" + b"0" * 40
    files = {"shot.png": png, "run.txt": b"what <b>ran</b>\n" * 9, "trace.zip": b"PK\x03\x04" + b"0" * 40}
    listed = []
    for name, content in files.items():
        digest = sha256(content).hexdigest()
        path = f"/executions/{execution['executionId']}/artifacts/{digest}?name={name}"
        assert linking.request("PUT", path, content).status_code == 201
        listed.append(
            {"name": name, "kind": "trace" if "zip" in name else "screenshot", "path": name, "sha256": digest}
        )
    listed.append({"name": "lost.webm", "kind": "video", "path": "x"})
    linking.submit(execution, tests=[result("test_files", "failed", artifacts=listed)])
    shown = page(linking, address(linking, execution, "test_files"))
    images = [attributes["src"] for tag, attributes in shown.elements if tag == "img"]
    assert images == [f"/files/{execution['executionId']}/{sha256(png).hexdigest()}/shot.png"]
    assert "playwright show-trace trace.zip" in shown.words
    assert "not uploaded" in shown.words
    assert "what <b>ran</b>" in shown.words


def test_subtests_that_failed_come_first_and_are_open(linking: Api) -> None:
    subtests = [
        {"title": "fine", "status": "passed"},
        {"title": "odd", "status": "failed", "error": "one", "longrepr": "a.py:1: in f\n    x\nE   one"},
    ]
    shown = of(linking, "test_subtests", subtests=subtests)
    assert shown.words.index("odd") < shown.words.index("fine")
    assert "a.py:1" in shown.words


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_no_text_of_a_runner_becomes_markup(linking: Api, text: str) -> None:
    def all_fields(text: str) -> dict[str, Any]:
        words = dict.fromkeys(
            ("file", "error", "nodeId", "outcome", "worker", "owner", "exceptionType"), text
        )
        outputs = dict.fromkeys(("stdout", "stderr", "log"), text)
        frames = [{"path": text, "line": 1, "function": text, "isOwn": own} for own in (True, False)]
        longrepr = f"{text}\na.py:1: in {text}\n    {text}\nE   assert {text}\nE   - {text}\nE   + {text} x"
        return {
            **words,
            **outputs,
            "longrepr": longrepr,
            "frames": frames,
            "tags": [text],
            "parameters": {text: text},
            "properties": {text: text, "id": text},
            "sections": [{"name": text, "text": text}],
            "artifacts": [{"name": text, "kind": text, "path": text}],
            "subtests": [{"title": text, "status": "failed", "error": text, "longrepr": longrepr}],
            "attempts": [{"outcome": text, "error": text, "longrepr": longrepr, **outputs}] * 2,
        }

    metadata = {"repository": text[:2000], "commit": text[:100], "branch": text[:100]}
    for title in (text, "harmless"):
        execution = linking.create(metadata=metadata)
        shard = title[:200]
        linking.submit(execution, shard, tests=[result(title, "failed", **all_fields(title))])
        for query in (
            {},
            {"attempt": 1},
            {"attempt": 1, "compare": 2},
            {"shard": shard.replace("\0", "\ufffd")},
        ):
            shown = page(linking, address(linking, execution, "", **query))
            assert not shown.strange()
            assert shown.count("img") == 0
            assert all(link.startswith(("/", "#")) for link in shown.links())
            assert not any(name.startswith("on") for _, each in shown.elements for name in each)
    response = linking.page(address(linking, execution, "harmless").partition("?")[0] + "/output/section-1")
    assert response.text == "harmless"


MISSING = (
    *("/0", "/999999999", "/x", "/-1", "/1e3", "/" + "9" * 30, "/%00"),
    *("/{}?attempt=9", "/{}?shard=none", "/{}?attempt=1&compare=7"),
    *("/{}/output/none", "/{}/output/section-7", "/{}/output/section-99999"),
)


@pytest.mark.parametrize("path", MISSING)
def test_what_does_not_exist_is_a_page_that_says_so(linking: Api, path: str) -> None:
    execution = linking.create()
    linking.submit(execution, tests=[result("test_missing", "failed")])
    number = number_of(linking, execution, "test_missing")
    response = linking.page(f"/runs/{execution['executionId']}/tests{path.format(number)}")
    assert response.status_code == 404
    assert "<h1>" in response.text
    assert linking.page(f"/runs/{quote('no such')}/tests/{number}").status_code == 404


@pytest.mark.parametrize("query", ["attempt=x", "attempt=-1", "attempt=" + "9" * 50, "compare=%00"])
def test_parameters_that_are_no_numbers_are_ignored(linking: Api, query: str) -> None:
    execution = linking.create()
    linking.submit(execution, tests=[result("test_query", "failed", error="shown")])
    assert "shown" in page(linking, f"{address(linking, execution, 'test_query')}?{query}").words


def test_large_outputs_are_shown_by_their_end_and_downloaded_whole(linking: Api) -> None:
    line = "\x1b[31mx" + "y" * 90 + "\x1b[0m\n"
    whole = f"first\n{line * 90_000}last"
    longrepr = "".join(f"a.py:{n}: in f\n    call()\n" for n in range(1, 30_000)) + "E   boom"
    execution = linking.create()
    linking.submit(execution, tests=[result("test_large", "failed", stdout=whole, longrepr=longrepr)])
    path = address(linking, execution, "test_large")
    shown = page(linking, path)
    assert "last" in shown.words
    assert "first" not in shown.words
    assert "boom" in shown.words
    assert len(shown.elements) < 2_000
    assert len(linking.page(path).text) < 400_000
    assert linking.page(f"{path}/output/stdout").text == whole


def test_a_page_of_a_run_in_progress_follows_it(linking: Api) -> None:
    execution = linking.create()
    linking.send(execution, "execution.started", shardId="1")
    linking.send(execution, "execution.progress", shardId="1", tests=[result("test_live", "failed")])
    shown = page(linking, address(linking, execution, "test_live"))
    main = next(attributes for tag, attributes in shown.elements if tag == "main")
    assert (main["data-live"] or "").partition("?")[0] == f"/runs/{execution['executionId']}/stream"
    assert any("data-live-region" in attributes for _, attributes in shown.elements)


SUITE = """
import json

def test_library():
    json.loads("{")

def test_dicts():
    assert {"a": 1, "b": "two three"} == {"a": 1, "b": "two tree"}
"""


@pytest.mark.parametrize("style", ["long", "short", "native", "line", "no"])
def test_a_real_run_in_every_style(style: str, tms: TmsServer, tmp_path: Path) -> None:
    ran = reported_runs.run(tms, tmp_path, {"test_it.py": SUITE}, f"--tb={style}", "-vv")
    assert ran.status is not None
    api = Api(tms.url, tms.token, Path())
    found = {}
    run = f"/runs/{ran.status.execution_id}"
    for number in set(re.findall(rf"{run}/tests/(\d+)", api.page(f"{run}/tests").text)):
        shown = Page(api.page(f"{run}/tests/{number}").text)
        title = re.search(r"test_(?:library|dicts)", shown.words)
        assert title is not None
        found[title[0]] = shown
    assert "Expecting property name" in found["test_library"].words
    assert "test_it.py:5" in found["test_library"].words
    assert "library frame" in found["test_library"].words
    if style not in ("line", "no"):
        assert "two tree" in found["test_dicts"].words
    if style in ("long", "short"):
        assert found["test_dicts"].count("mark") >= 1
    expect_success(api.request("GET", f"/executions/{ran.status.execution_id}"), 200)
