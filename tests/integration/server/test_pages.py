"""The pages over plain HTTP: what they say, that they escape it, and that no list is without end."""

from __future__ import annotations

import html
import re
import secrets
from html.parser import HTMLParser
from typing import Any

import pytest

from pytest_tms.server.pages.assets import assets
from tests.helpers.api import Api, result

HOSTILE = {
    "script": "<script>document.title='owned'</script>",
    "attribute": "\"'><img src=x onerror=alert(1)>",
    "address": "javascript:alert(1)",
    "right to left": "\u202egpj.exe\u2066\u200f\u05d0",
    "terminal": "\x1b[31mred\x1b]8;;http://evil.example\x07link\x1b]8;;\x07",
    "template": "{{ 7 * 7 }} {% raw %} ${7*7} #{7}",
    "huge": "W" * 50_000,
    "nul": "a\x00b\x01\x7f\ufffe",
    "comment": "--><!--<![CDATA[</pre></title></style>",
    "entities": "&lt;b&gt; &amp; &#x3c;",
}
MOST_ROWS = 200


class Page(HTMLParser):
    """The elements of a page, each with its attributes; and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words += data

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.elements)

    def links(self) -> list[str]:
        return [attributes.get("href") or "" for tag, attributes in self.elements if tag in ("a", "link")]

    def strange(self) -> list[tuple[str, dict[str, str | None]]]:
        """Elements that no page has: frames, scripts that are not ours, forms that lead elsewhere."""
        return [
            (tag, attributes)
            for tag, attributes in self.elements
            if tag in ("iframe", "object", "embed", "base")
            or (tag == "script" and not (attributes.get("src") or "").startswith("/static/tms."))
            or (tag == "form" and not (attributes.get("action") or "/").startswith("/"))
        ]


def structure(shown: Page) -> list[tuple[str, list[str]]]:
    """The elements with the names of their attributes, without those of the command that runs failures again.

    That command leaves out node ids which a shell or a terminal would interpret.
    """
    command = {"button", "noscript", "details", "summary", "pre", "svg", "path"}
    return [(tag, sorted(attributes)) for tag, attributes in shown.elements if tag not in command]


def page(api: Api, path: str) -> Page:
    response = api.page(path)
    assert response.status_code == 200, response.text[:2000]
    assert response.headers["Content-Type"] == "text/html; charset=utf-8"
    return Page(response.text)


def hostile(api: Api, text: str, project: str = "") -> dict[str, Any]:
    """An execution with ``text`` in every field that a runner can send."""
    short, some = text[:200], text[:9000]  # metadata, configuration and unknown fields may have 64 KB each
    execution = api.create(
        provider=short,
        configuration={"shards": 2, "browsers": [some], some: some},
        metadata={
            "project": project or secrets.token_hex(6),
            "branch": some,
            "commit": some,
            "buildNumber": some,
            "triggeredBy": some,
            some: some,
        },
        **{some: some},
    )
    test = {
        **dict.fromkeys(
            ("title", "file", "error", "nodeId", "outcome", "startedAt", "worker", "longrepr"), text
        ),
        **dict.fromkeys(("stdout", "stderr", "log", text), text),
        "status": "failed",
        "duration": 1500,
        "retries": 1,
        "tags": [text],
        "parameters": {text: text},
        "properties": {text: text},
        "artifacts": [{"name": text, "kind": text, "path": text}],
        "attempts": [{"outcome": text, "error": text, "longrepr": text}],
        "subtests": [{"title": text, "status": "failed", "error": text}],
    }
    files = {kind: [text] for kind in ("screenshots", "videos", "traces", "logs", text)}
    metadata = {some: some, "startTime": some, "endTime": some}
    api.send(execution, "execution.progress", shardId=short, running=[text], tests=[test], **{text: text})
    api.submit(
        execution, short, provider=short, tests=[test], artifacts=files, metadata=metadata, **{text: text}
    )
    api.send(execution, "shard.completed", shardId=short, status=text, metadata=metadata)
    api.send(execution, "execution.cancelled", reason=text)
    return execution


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_no_text_of_a_runner_becomes_markup(api: Api, text: str) -> None:
    project = secrets.token_hex(6)
    bad = hostile(api, text, project)["executionId"]
    good = hostile(api, "harmless")["executionId"]
    for name in ("", "/tests", "/timeline", "/shards", "/events", "/files"):
        shown, expected = page(api, f"/runs/{bad}{name}"), page(api, f"/runs/{good}{name}")
        if name != "/shards":  # its charts and tables depend on the times of the shards
            assert structure(shown) == structure(expected)
        assert not shown.strange()
        assert all(link.startswith(("/", "#")) for link in shown.links())
    home = page(api, f"/?project={project}")  # other tests may share the server
    assert not home.strange()
    assert not {"img", "b"} & {tag for tag, _ in home.elements}
    assert all(link.startswith(("/", "#")) for link in home.links())
    if len(text) < 20_000:  # of more metadata than that, a list shows nothing
        assert text[:100].strip() in home.words.replace("\ufffd", "\x00")
    assert text[:100].strip() in page(api, f"/runs/{bad}").words.replace("\ufffd", "\x00")


def test_every_page_comes_with_headers_that_let_no_script_in(api: Api) -> None:
    execution_id = api.create()["executionId"]
    for path in (
        "/",
        "/login",
        "/webhooks",
        f"/runs/{execution_id}/cancel",
        f"/runs/{execution_id}",
        f"/runs/{execution_id}/events",
        f"/runs/{execution_id}/files",
        "/runs/none",
    ):
        headers = api.page(path).headers
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "same-origin"
        assert headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    ("given", "end", "verdict"),
    [
        ([], None, "Waiting for the first shard"),
        (["passed"], None, "Running"),
        (["passed", "failed"], None, "Running, 1 test failed"),
        ([], "execution.completed", "No tests ran"),
        (["passed"], "execution.completed", "All tests passed"),
        (["skipped"], "execution.completed", "All tests were skipped"),
        (["failed", "failed"], "execution.completed", "2 tests failed"),
        (["passed"], "execution.failed", "The run failed"),
        (["failed"], "execution.failed", "The run failed, 1 test failed"),
        (["passed"], "execution.cancelled", "Cancelled"),
        (["failed"], "execution.cancelled", "Cancelled, 1 test failed"),
    ],
)
def test_a_report_begins_with_its_verdict(api: Api, given: list[str], end: str | None, verdict: str) -> None:
    execution = api.create(metadata={"project": secrets.token_hex(6)})
    tests = [result(f"t{number}", status) for number, status in enumerate(given)]
    if tests:
        api.send(execution, "execution.progress", shardId="1", tests=tests)
    if end:
        api.send(execution, end)
    text = api.page(f"/runs/{execution['executionId']}").text
    heading = re.search(r"<h1>(.*?)</h1>", text)
    assert heading
    assert html.unescape(heading[1]) == verdict


@pytest.mark.slow
def test_events_and_artifacts_are_paged_without_a_gap(sqlite_api: Api) -> None:
    api = sqlite_api
    execution = api.create()
    for number in range(45):
        api.submit(execution, "1", artifacts={"logs": [f"log-{number:03}"]})
    for number in range(210):
        api.send(execution, "shard.started", shardId=f"s{number:03}")
    for name, pattern, expected in (
        ("events", r"shard (s\d{3})<", [f"s{n:03}" for n in range(210)]),
        ("files", r">(log-\d{3})<", [f"log-{n:03}" for n in range(45)]),
    ):
        path = f"/runs/{execution['executionId']}/{name}"
        seen: list[str] = []
        while path:
            seen += re.findall(pattern, api.page(path).text)
            path = next(
                (link for link in page(api, path).links() if "after=" in link or "submission=" in link), ""
            )
        assert seen == expected


@pytest.mark.slow
def test_the_start_page_lists_executions_the_newest_first_without_a_gap(api: Api) -> None:
    made = [api.create(testSuite="smoke", metadata={"branch": f"b{n:03}"})["executionId"] for n in range(120)]
    api.submit({"executionId": made[-1]}, tests=[result("a", "failed"), result("b")])
    words = " ".join(page(api, "/").words.split())
    assert "1 test failed #" in words
    assert re.search(r"smoke · dev (· \S+ )?b119", words)  # with its project if the server has several
    assert "1 failed of 2 tests" in words
    path = "/"
    seen: list[str] = []
    while len(seen) < len(made):
        shown = page(api, path)
        rows = [link for link in shown.links() if link.startswith("/runs/")]
        assert 0 < len(rows) <= 50
        seen += rows
        path = next((link for link in shown.links() if "before=" in link), "")
    assert seen[: len(made)] == [f"/runs/{execution_id}" for execution_id in reversed(made)]


def test_a_long_event_is_cut_on_the_log_page(api: Api) -> None:
    execution = api.create()
    for number in range(3):
        api.send(execution, "execution.progress", shardId=f"s{number}", note="x" * 1_000_000)
    response = api.page(f"/runs/{execution['executionId']}/events")
    assert response.text.count("more characters") == 3
    assert len(response.content) < 30_000


@pytest.mark.slow
def test_no_page_has_a_list_without_end(sqlite_api: Api) -> None:
    api = sqlite_api
    execution = api.create(metadata={f"m{number}": "x" for number in range(1000)})
    many = [f"n{number}" for number in range(3000)]
    tests = [result(name, "failed", tags=many, duration=1000, longrepr="x" * 100_000) for name in many[:100]]
    api.submit(execution, tests=tests, artifacts={"logs": many, **dict.fromkeys(many, many[:100])})
    for number in range(250):
        api.send(execution, "shard.started", shardId=str(number))
    for name in ("reports", "logs", "artifacts"):
        response = api.page(f"/{name}/{execution['executionId']}")
        shown = Page(response.text)
        assert shown.count("li") <= MOST_ROWS + 50
        assert shown.count("tr") <= 2 * MOST_ROWS + 12
        assert len(response.content) < 5_000_000
    assert "50 more shards are not shown" in page(api, f"/runs/{execution['executionId']}").words
    assert "more are not shown" in page(api, f"/runs/{execution['executionId']}/files").words


@pytest.mark.parametrize("name", ["reports", "logs", "artifacts"])
def test_an_unknown_execution_is_a_page_that_says_so(api: Api, name: str) -> None:
    response = api.page(f"/{name}/exec_nope<b>")
    assert response.status_code == 404
    assert "<h1>Not found</h1>" in response.text
    assert "<b>" not in response.text


def test_a_report_loads_nothing_from_elsewhere_and_everything_it_loads_is_there(api: Api) -> None:
    execution_id = api.create()["executionId"]
    links = page(api, f"/runs/{execution_id}").links()
    assert assets().stylesheet.path in links
    for link in links:
        assert api.page(link).status_code == 200, link


@pytest.mark.parametrize(
    "path", ["/static/../settings.py", "/static/%2e%2e/settings.py", "/static//etc/passwd", "/static/"]
)
def test_only_static_files_are_served_as_such(api: Api, path: str) -> None:
    assert api.page(path).status_code in (404, 405)


def test_a_report_follows_its_run_until_it_ends(api: Api) -> None:
    execution = api.create()
    path = f"/runs/{execution['executionId']}"
    refreshes = [attributes for tag, attributes in page(api, path).elements if tag == "meta"]
    assert {"http-equiv": "refresh", "content": "5"} in refreshes
    api.submit(execution, tests=[result("test_a", "passed")])
    ended = [attributes for tag, attributes in page(api, path).elements if tag == "meta"]
    assert all(attributes.get("http-equiv") != "refresh" for attributes in ended)


@pytest.mark.parametrize(
    ("before", "now"),
    [
        ("/reports/{}", "/runs/{}"),
        ("/reports/{}?after=0", "/runs/{}?after=0"),
        ("/reports/{}/shard-a%2Fb", "/runs/{}"),
        ("/reports/{}/export.json", "/runs/{}/export.json"),
        ("/logs/{}", "/runs/{}/events"),
        ("/artifacts/{}", "/runs/{}/files"),
        ("/cancel/{}", "/runs/{}/cancel"),
    ],
)
def test_an_earlier_address_of_a_run_leads_to_it(sqlite_api: Api, before: str, now: str) -> None:
    execution_id = sqlite_api.create()["executionId"]
    response = sqlite_api.page(before.format(execution_id))
    assert response.status_code == 200
    assert response.url == sqlite_api.root + now.format(execution_id)


def test_static_files_are_stored_by_browsers_permanently_and_compressed(sqlite_api: Api) -> None:
    for asset in (assets().stylesheet, *assets().icons.values()):
        response = sqlite_api.page(asset.path)
        assert response.content == asset.content
        assert response.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        assert response.headers["Content-Type"].startswith(asset.media_type)
    assert sqlite_api.page(assets().stylesheet.path).headers["Content-Encoding"] in ("gzip", "zstd")
    assert sqlite_api.page("/static/tms.000000000000.css").status_code == 404


def test_two_selected_runs_are_compared(sqlite_api: Api) -> None:
    before, after = (sqlite_api.create()["executionId"] for _ in range(2))
    shown = page(sqlite_api, "/")
    boxes = [
        attributes for tag, attributes in shown.elements if tag == "input" and attributes["name"] == "run"
    ]
    assert {before, after} <= {attributes["value"] for attributes in boxes}
    for query, location in (
        (f"run={after}&run={before}", f"/runs/{after}/compare?with={before}"),
        (f"run={after}", "/"),
        ("run=a%2Fb&run=%00", "/runs/a%2Fb/compare?with=%00"),
    ):
        response = sqlite_api.session.get(
            f"{sqlite_api.root}/compare?{query}", allow_redirects=False, timeout=60
        )
        assert (response.status_code, response.headers["Location"]) == (303, location)
