"""The pages of one run over plain HTTP: overview, tests, timeline, files, events."""

from __future__ import annotations

import re
import secrets
from html.parser import HTMLParser
from typing import Any

import pytest

from tests.helpers.api import Api, result
from tests.integration.server.test_pages import Page, page

START = "2026-03-01T12:00:00.000Z"


def create(api: Api, **metadata: Any) -> dict[str, Any]:
    """An execution of a project of its own, so that no other run is its previous one."""
    return api.create(metadata={"project": secrets.token_hex(6), "branch": "main", **metadata})


def path_of(execution: dict[str, Any], rest: str = "") -> str:
    return f"/runs/{execution['executionId']}{rest}"


def overview(api: Api, execution: dict[str, Any], query: str = "") -> Page:
    return page(api, path_of(execution, query))


class Texts(HTMLParser):
    """The texts of a page, of each element apart."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(text)
        self.close()

    def handle_data(self, data: str) -> None:
        self.found += data.split()


def read(api: Api, path: str) -> str:
    """The text of a page, with a space between the texts of any two elements."""
    return " ".join(Texts(api.page(path).text).found)


def words(shown: Page) -> str:
    return " ".join(shown.words.split())


def failed(title: str, error: str = "AssertionError: wrong", **more: Any) -> dict[str, Any]:
    return result(
        title,
        "failed",
        **{"error": error, "file": "tests/test_a.py", "nodeId": f"tests/test_a.py::{title}", **more},
    )


def titles(api: Api, path: str) -> list[str]:
    return re.findall(r"data-row>([^<]*)</a>", api.page(path).text)


# --- overview ---


def test_the_context_links_to_the_build_and_the_repository(api: Api) -> None:
    execution = create(
        api, commit="0123456789abcdef", author="ada", pullRequest="812", ci="github", buildNumber="456",
        ciUrl="https://github.com/ada/shop/actions/runs/9/attempts/1", commitMessage="Charge VAT\n\nmore",
    )  # fmt: skip
    shown = overview(api, execution)
    text = words(shown)
    for each in (
        "branch main",
        "commit 0123456789",
        "Charge VAT",
        "pull request #812",
        "GitHub Actions 456",
        "by ada",
    ):
        assert each in text
    assert "more" not in text
    assert {
        "https://github.com/ada/shop/tree/main",
        "https://github.com/ada/shop/commit/0123456789abcdef",
        "https://github.com/ada/shop/pull/812",
        "https://github.com/ada/shop/actions/runs/9/attempts/1",
    } <= set(shown.links())


@pytest.mark.parametrize(
    "url", ["javascript:alert(1)", "data:text/html,x", "ftp://host/x", "//evil.example/x"]
)
def test_only_web_addresses_become_links(sqlite_api: Api, url: str) -> None:
    execution = create(
        sqlite_api, commit="0123456789abcdef", buildNumber="7", ciUrl=url, repository=url, pullRequest=url
    )
    shown = overview(sqlite_api, execution)
    assert "build 7" in words(shown)
    assert url not in shown.links()


def test_failures_are_grouped_by_cause_and_the_first_is_open(api: Api) -> None:
    execution = create(api)
    longrepr = (
        "def test_x():\n>   pay()\nE   TimeoutError: no answer within 30 s\n\nshop/pay.py:7: TimeoutError"
    )
    tests = [
        failed(f"test_{n}", f"TimeoutError: no answer within {n} s", longrepr=longrepr) for n in range(20)
    ]
    api.submit(
        execution,
        tests=[*tests, failed("test_other", "KeyError: 'a'", longrepr="E   KeyError: 'a'"), result("ok")],
    )
    shown = overview(api, execution)
    text = words(shown)
    assert "21 failures, 2 causes" in text
    assert "TimeoutError: no answer within # s" in text
    assert "All 20 tests with this cause" in text
    groups = [
        attributes
        for tag, attributes in shown.elements
        if tag == "details" and attributes.get("class") == "cause"
    ]
    assert ["open" in attributes for attributes in groups] == [True, False]
    assert "TimeoutError: no answer within 30 s" in text
    assert "shop/pay.py:7: TimeoutError" in text
    by_cause = next(link for link in shown.links() if "cause=" in link)
    assert len(titles(api, by_cause)) == 20


def test_failures_are_grouped_by_file_on_request(api: Api) -> None:
    execution = create(api)
    api.submit(
        execution,
        tests=[failed("a"), failed("b"), failed("c", file="tests/test_b.py", nodeId="tests/test_b.py::c")],
    )
    shown = overview(api, execution, "?by=file")
    assert titles(api, path_of(execution, "?by=file")) == ["tests/test_a.py", "tests/test_b.py"]
    link = next(each for each in shown.links() if "file=tests%2Ftest_a.py" in each)
    assert titles(api, link) == ["a", "b"]


def test_the_command_that_runs_failures_again_is_quoted_and_bounded(api: Api) -> None:
    execution = create(api)
    api.submit(
        execution,
        tests=[failed("test_a[x y]"), failed("test_b"), result("test_c", nodeId="tests/test_a.py::test_c")],
    )
    copied = [
        attributes["data-copy"]
        for _, attributes in overview(api, execution).elements
        if "data-copy" in attributes
    ]
    assert "pytest 'tests/test_a.py::test_a[x y]' tests/test_a.py::test_b" in copied
    many = create(api)
    api.submit(many, tests=[failed(f"test_{n}") for n in range(400)])
    assert "re-run 200 failed" in words(overview(api, many))


def test_counts_are_links_to_the_tests_that_they_count(api: Api) -> None:
    execution = create(api)
    tests = [
        failed("f"), failed("e", outcome="error"), result("p"), result("k", retries=1),
        result("s", "skipped", error="needs a GPU"), result("x", "skipped", outcome="xfailed", error="bug"),
        result("X", outcome="xpassed"),
    ]  # fmt: skip
    api.submit(
        execution, tests=tests, collected=9, notRun=2, notRunReason="Ctrl-C", notRunTests=["t.py::late"]
    )
    shown = overview(api, execution)
    text = words(shown)
    for each in (
        "2 failed",
        "1 error",
        "1 flaky",
        "3 passed",
        "1 xpassed",
        "2 skipped",
        "1 xfailed",
        "2 did not run",
        "9 collected",
    ):
        assert each in text
    expected = {
        "status=failed": ["f", "e"], "outcome=error": ["e"], "flaky=1": ["k"], "status=passed": ["p", "k", "X"],
        "status=skipped": ["s", "x"], "outcome=xfailed": ["x"], "outcome=xpassed": ["X"],
    }  # fmt: skip
    for query, found in expected.items():
        link = path_of(execution, f"/tests?{query}")
        assert link in shown.links()
        assert titles(api, link) == found
    bars = [
        attributes for tag, attributes in shown.elements if tag == "svg" and attributes.get("class") == "bar "
    ]
    labels = [attributes.get("aria-label") or "" for tag, attributes in shown.elements if tag == "svg"]
    assert bars or "2 failed, 1 flaky, 3 passed, 2 skipped, 2 did not run, of 9 tests" in labels
    assert "needs a GPU" in text
    assert "t.py::late" in text
    assert "Stopped early: Ctrl-C" in text


def test_all_skipped_is_not_green(api: Api) -> None:
    execution = create(api)
    api.submit(execution, tests=[result("a", "skipped", error="no")])
    icons = [attributes.get("class") for tag, attributes in overview(api, execution).elements if tag == "svg"]
    assert "icon skipped large" in icons
    assert "icon passed large" not in icons


def test_a_running_run_shows_its_progress_and_its_workers(api: Api) -> None:
    execution = create(api)
    api.send(execution, "execution.progress", shardId="1", collected=4, tests=[result("a")],
             running=[{"nodeId": "t.py::slow", "worker": "gw0", "startedAt": START}])  # fmt: skip
    api.send(execution, "shard.started", shardId="2")
    shown = overview(api, execution)
    text = words(shown)
    assert "25 %" in text
    assert "1 of 4 tests" in text
    assert "Running now 1 test, 1 idle" in text
    assert "t.py::slow" in text
    streams = [attributes.get("data-live") for _, attributes in shown.elements]
    assert [each.partition("?")[0] for each in streams if each] == [path_of(execution, "/stream")]
    assert path_of(execution, "/cancel") in shown.links()
    api.send(execution, "execution.completed")
    assert "Running now" not in words(overview(api, execution))


def test_the_run_that_a_person_cancelled_names_the_person(sqlite_api: Api) -> None:
    api = sqlite_api
    execution = create(api)
    api.send(execution, "shard.started", shardId="1")
    assert api.request("DELETE", f"/executions/{execution['executionId']}").status_code == 200
    assert "<h1>Cancelled by tests</h1>" in api.page(path_of(execution)).text


def test_different_numbers_of_shards_are_told(api: Api) -> None:
    key = secrets.token_hex(8)
    for number in (4, 8):
        body = {"testSuite": "all", "environment": "dev", "runKey": key, "configuration": {"shards": number}}
        execution = api.request("POST", "/executions", body).json()
    assert "different numbers of shards: 4 and 8" in words(overview(api, execution))


def test_what_changed_since_the_previous_run_is_shown(api: Api) -> None:
    project = secrets.token_hex(6)
    runs = []
    for results in (
        {"a": "failed", "b": "failed", "c": "passed"},
        {"a": "failed", "b": "passed", "c": "failed"},
    ):
        execution = api.create(metadata={"project": project, "branch": "main"})
        api.submit(
            execution,
            tests=[
                failed(t)
                if s == "failed"
                else result(t, nodeId=f"tests/test_a.py::{t}", file="tests/test_a.py")
                for t, s in results.items()
            ],
        )
        runs.append(execution)
    shown = overview(api, runs[1])
    text = read(api, path_of(runs[1]))
    assert "2 tests failed: 1 new, 1 known" in text
    for each in ("New failures 1", "Still failing 1", "Fixed 1"):
        assert each in text
    assert path_of(runs[0]) in shown.links()
    assert titles(api, path_of(runs[1], "/tests?new=1")) == ["c"]
    assert "last 2 results: 1 failed" in api.page(path_of(runs[1], "/tests")).text


def test_shards_that_broke_come_first_and_lists_of_shards_are_paged(sqlite_api: Api) -> None:
    api = sqlite_api
    execution = api.create(configuration={"shards": 40}, metadata={"project": secrets.token_hex(6)})
    for number in range(1, 41):
        status = {"status": "error", "exitStatus": 3} if number == 33 else {}
        api.submit(execution, str(number), tests=[result(f"t{number}")], **status)
    first = api.page(path_of(execution)).text
    shards = re.findall(r"</svg> shard (\d+)", first)
    assert shards[0] == "33"
    assert "exit status 3" in first
    more = next(link for link in Page(first).links() if "shards=" in link)
    shards += re.findall(r"</svg> shard (\d+)", api.page(more).text)
    assert sorted(map(int, shards)) == list(range(1, 41))


def test_the_slowest_tests_are_compared_with_their_past(api: Api) -> None:
    project = secrets.token_hex(6)
    for duration in (1000, 1000, 1000, 3000):
        execution = api.create(metadata={"project": project, "branch": "main"})
        api.submit(execution, tests=[result("slow", duration=duration), result("same", duration=900)])
    text = read(api, path_of(execution))
    assert "slow 3.0 s +2.0 s" in text
    assert "same 900 ms ±0" in text


@pytest.mark.slow
def test_no_page_of_a_large_run_has_more_than_2000_elements(sqlite_api: Api) -> None:
    api = sqlite_api
    project = secrets.token_hex(6)
    for _ in range(2):
        execution = api.create(configuration={"shards": 60}, metadata={"project": project, "branch": "main"})
        for shard in range(60):
            tests = [
                failed(
                    f"test_{shard}_{n}", f"Error{chr(97 + n)}: no", file=f"tests/test_{shard}_{n % 5}.py", duration=200,
                    startedAt=START.replace(":00.000", f":{n:02}.000"), worker=f"gw{shard}", tags=["@a", "@b", "@c"],
                    longrepr="E   x\n" * 90, retries=n % 3,
                )
                for n in range(25)
            ]  # fmt: skip
            tests += [result(f"flaky_{shard}_{n}", retries=1) for n in range(5)]
            tests += [
                result(f"skipped_{shard}_{n}", "skipped", error=f"reason {shard} {n}") for n in range(5)
            ]
            api.submit(
                execution,
                str(shard),
                tests=tests,
                collected=60,
                notRun=25,
                notRunTests=[f"late_{n}" for n in range(25)],
            )
    for rest in (
        "",
        "?by=file",
        "/tests",
        "/tests?status=failed",
        "/tests?view=files",
        "/timeline",
        "/shards",
        "/files",
        "/events",
    ):
        shown = page(api, path_of(execution, rest))
        assert len(shown.elements) < 2000, rest


# --- tests ---


def test_tests_are_found_by_every_filter(api: Api) -> None:
    execution = create(api)
    tests = [
        failed("card", "TimeoutError: payment", worker="gw1", tags=["@smoke"]),
        result("vat", file="tests/test_b.py", worker="gw2"),
    ]  # fmt: skip
    api.submit(execution, "1", tests=tests)
    api.submit(execution, "2", tests=[result("other")])
    for query, found in {
        "": ["card", "vat", "other"], "q=payment": ["card"], "q=VAT": ["vat"], "status=passed": ["vat", "other"],
        "file=tests/test_b.py": ["vat"], "tag=%40smoke": ["card"], "shard=2": ["other"], "worker=gw1": ["card"],
        "status=failed&q=vat": [], "sort=name": ["other", "card", "vat"],
    }.items():  # fmt: skip
        listed = titles(api, path_of(execution, f"/tests?{query}"))
        assert sorted(listed) == sorted(found), query
    shown = page(api, path_of(execution, "/tests?q=card&shard=1"))
    results = [link for link in shown.links() if re.search(r"/tests/\d+\?shard=1$", link)]
    assert len(results) == 1
    assert path_of(execution, "/tests?shard=1") in shown.links()  # without the other filter


@pytest.mark.parametrize(
    "query",
    ["status=nope", "cause=xyz", "after=zzz", "after=-1", "sort=nope", "sort=duration&after=1", "view=files&after=x-y",
     "q=%00", "status=%3Cb%3E", "q=" + "x" * 3000, "shard=%FF", "new=0"],
)  # fmt: skip
def test_filters_that_mean_nothing_are_left_out(sqlite_api: Api, query: str) -> None:
    execution = create(sqlite_api)
    sqlite_api.submit(execution, tests=[result("a")])
    assert sqlite_api.page(path_of(execution, f"/tests?{query}")).status_code == 200


@pytest.mark.parametrize("sort", ["", "sort=duration", "sort=name"])
def test_tests_are_paged_without_a_gap(api: Api, sort: str) -> None:
    execution = create(api)
    api.submit(execution, tests=[result(f"t{n:03}", duration=n % 7 * 50) for n in range(250)])
    path, seen = path_of(execution, f"/tests?{sort}"), []
    while path:
        found = titles(api, path)
        assert 0 < len(found) <= 100
        seen += found
        path = next((link for link in page(api, path).links() if "after=" in link), "")
    assert sorted(seen) == [f"t{n:03}" for n in range(250)]


def test_files_are_counted_and_paged(api: Api) -> None:
    execution = create(api)
    tests = [
        result(f"t{n}", "failed" if n % 5 == 0 else "passed", file=f"tests/test_{n % 220:03}.py")
        for n in range(440)
    ]
    api.submit(execution, tests=tests)
    first = path_of(execution, "/tests?view=files")
    found = titles(api, first)
    assert found == [f"tests/test_{n:03}.py" for n in range(200)]
    more = next(link for link in page(api, first).links() if "after=" in link)
    assert titles(api, more) == [f"tests/test_{n:03}.py" for n in range(200, 220)]
    assert len(titles(api, path_of(execution, "/tests?view=files&status=failed"))) == 44


# --- timeline ---


def test_a_timeline_has_a_lane_for_each_worker_and_a_table(api: Api) -> None:
    execution = create(api)

    def at(second: int) -> str:
        return START.replace(":00.000", f":{second:02}.000")

    api.submit(execution, "1", tests=[
        result("early", startedAt=at(0), duration=10_000, worker="gw0"),
        failed("late", startedAt=at(30), duration=10_000, worker="gw0"),
        result("beside", startedAt=at(0), duration=40_000, worker="gw1"),
    ])  # fmt: skip
    shown = page(api, path_of(execution, "/timeline"))
    text = read(api, path_of(execution, "/timeline"))
    rects = [
        attributes
        for tag, attributes in shown.elements
        if tag == "rect" and attributes.get("class") in ("passed", "failed")
    ]
    assert [(each["x"], each["width"], each["class"]) for each in rects] == [
        ("0.0%", "25.0%", "passed"), ("75.0%", "25.0%", "failed"), ("0.0%", "100.0%", "passed"),
    ]  # fmt: skip
    assert "1 · gw0 2 1 0 ms 40.0 s 20.0 s 20.0 s" in text
    assert "late, failed: 10.0 s from 30.0 s" in text
    part = page(api, path_of(execution, "/timeline?from=25000&to=45000"))
    assert "late" in words(part)
    assert "early" not in words(part)


@pytest.mark.parametrize(
    "query", ["from=a&to=b", "from=5&to=1", "from=-99999999999999&to=99999999999999", "from=1"]
)
def test_a_part_that_is_none_is_the_whole_timeline(sqlite_api: Api, query: str) -> None:
    execution = create(sqlite_api)
    sqlite_api.submit(execution, tests=[result("a", startedAt=START, duration=100)])
    assert "1 lane" in sqlite_api.page(path_of(execution, f"/timeline?{query}")).text


def test_a_run_without_times_has_no_timeline_and_says_so(api: Api) -> None:
    execution = create(api)
    api.submit(execution, tests=[result("a")])
    assert "no start times" in words(page(api, path_of(execution, "/timeline")))


# --- files, events ---


def test_files_are_shown_with_their_test_and_found_by_name_and_kind(api: Api) -> None:
    import hashlib

    execution = create(api)
    contents = {"page.png": b"\x89PNG\r\n\x1a\n" + b"0" * 40, "log.txt": b"hello"}
    sent = []
    for name, content in contents.items():
        digest = hashlib.sha256(content).hexdigest()
        url = f"/executions/{execution['executionId']}/artifacts/{digest}?name={name}"
        assert api.request("PUT", url, content, Content_Type="application/octet-stream").status_code == 201
        sent.append({"name": name, "kind": "file", "path": name, "sha256": digest})
    api.submit(execution, tests=[failed("test_pay", artifacts=sent)])
    shown = page(api, path_of(execution, "/files"))
    assert shown.count("img") == 1
    assert "test_pay" in words(shown)
    for query, expected in {
        "q=PAGE": ["page.png"],
        "kind=image": ["page.png"],
        "kind=text": ["log.txt"],
        "q=none": [],
    }.items():
        text = words(page(api, path_of(execution, f"/files?{query}")))
        assert [name for name in contents if f"{name} " in text] == expected


def test_events_are_readable(api: Api) -> None:
    execution = create(api)
    api.send(
        execution,
        "execution.progress",
        shardId="7",
        tests=[result("a")],
        running=[{"nodeId": "b"}],
        collected=3,
    )
    text = read(api, path_of(execution, "/events"))
    assert "execution.progress shard 7 1 running · 3 collected" in text


@pytest.mark.parametrize(
    "name", ["", "/tests", "/timeline", "/shards", "/files", "/events", "/cancel", "/delete"]
)
def test_pages_of_an_unknown_run_say_so(sqlite_api: Api, name: str) -> None:
    response = sqlite_api.page(f"/runs/exec_nope{name}")
    assert response.status_code == 404
    assert "<h1>Not found</h1>" in response.text


def test_failures_are_counted_and_listed_by_owner(api: Api) -> None:
    execution = create(api)
    mine = [failed(f"test_{n}", owner="@shop/pay & <co>") for n in range(3)]
    api.submit(
        execution, tests=[*mine, failed("test_other", owner="@ada"), failed("test_none"), result("ok")]
    )
    text = read(api, path_of(execution))
    assert "Failures by owner @shop/pay & <co> 3 @ada 1 no owner 1" in text.replace(
        "no owner 1 @ada 1", "@ada 1 no owner 1"
    )
    link = next(each for each in overview(api, execution).links() if "owner=%40shop" in each)
    assert sorted(titles(api, link)) == ["test_0", "test_1", "test_2"]
    assert titles(api, path_of(execution, "/tests?owner=%40ada")) == ["test_other"]
    assert titles(api, path_of(execution, "/tests?owner=nobody")) == []


def test_owners_are_not_counted_if_no_failed_test_has_one(api: Api) -> None:
    execution = create(api)
    api.submit(execution, tests=[failed("test_none"), result("ok", owner="@ada")])
    assert "Failures by owner" not in read(api, path_of(execution))
