"""The script of the pages in a real browser: updates in place, polling, times, copies and keys.

Most tests write the page themselves, and the events come from a real server.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import pytest_tms.server.pages
from pytest_tms.server.asgi.headers import SECURITY_HEADERS
from tests.helpers.api import Api, result
from tests.helpers.processes import environ_outside_pytest, wait_for

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page, Route

pytestmark = pytest.mark.browser
SCRIPTS = Path(pytest_tms.server.pages.__file__).parent / "static" / "js"
MAX_SCRIPT = 15 * 1024
LONG = "".join(f"<p>line {number}</p>" for number in range(200))
ROWS = """<ul>{rows}</ul>
<details id="trace"><summary>Trace</summary><pre>trace</pre></details>
<div id="scroller">{long}</div>"""


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    context = browser.new_context(
        viewport={"width": 900, "height": 600}, locale="en-GB", timezone_id="Asia/Tokyo"
    )
    context.set_default_timeout(15_000)
    yield context
    context.close()


@dataclass
class LivePage:
    """A page with a live region, and the execution whose stream it follows."""

    api: Api
    execution: dict[str, Any]
    body: str = ""
    title: str = "first"
    is_running: bool = True
    status: int = 200
    loads: list[dict[str, str]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"{self.api.root}/live-page"

    def open(self, tab: Page) -> None:
        tab.on("pageerror", lambda error: self.problems.append(str(error)))
        tab.route(self.url, self._respond)
        tab.route(
            f"{self.api.root}/live.js",
            lambda route: route.fulfill(body=script(), content_type="text/javascript"),
        )
        tab.goto(self.url)

    def change(self, body: str, title: str = "second") -> None:
        """Change what the page shows; the event comes from the server."""
        self.body, self.title = body, title
        self.api.submit(self.execution, str(len(self.loads) + 100), tests=[result("t")])

    def _respond(self, route: Route) -> None:
        self.loads.append(route.request.headers)
        version = self.api.status(self.execution)["results"]["total"]
        etag = f'W/"{hash((self.body, version))}"'
        if route.request.headers.get("if-none-match") == etag:
            route.fulfill(status=304, headers={"ETag": etag})
            return
        stream = f"/runs/{self.execution['executionId']}/stream"
        headers = {name.decode(): text.decode() for name, text in SECURITY_HEADERS}
        route.fulfill(
            status=self.status,
            headers={**headers, "ETag": etag, "Content-Type": "text/html"},
            body=f"""<!doctype html><html lang="en"><head><title>{self.title}</title>
            {'<noscript><meta http-equiv="refresh" content="5"></noscript>' if self.is_running else ""}
            <link rel="icon" href="/static/{self.title}.svg"><script src="/live.js" defer></script></head>
            <body><main data-live="{stream}"><input type="search" aria-label="Search">
            <section id="region" data-live-region>{self.body}</section></main>
            <dialog id="keys"><p>All keys</p><form method="dialog"><button>Close</button></form></dialog>
            </body></html>""",
        )


def script() -> str:
    return "".join(file.read_text() for file in sorted(SCRIPTS.glob("*.js")))


def rows(*names: str) -> str:
    listed = "".join(f'<li><a href="#{name}" data-row>{name}</a></li>' for name in names)
    return ROWS.format(rows=listed, long=LONG)


@pytest.fixture
def page(sqlite_api: Api) -> Iterator[LivePage]:
    """A live page, whose script raises nothing."""
    page = LivePage(sqlite_api, sqlite_api.create(), rows("a", "b", "c"))
    yield page
    assert page.problems == []


def test_the_script_is_small_and_has_nothing_that_the_policy_forbids() -> None:
    text = script()
    assert len(text.encode()) <= MAX_SCRIPT
    for forbidden in ("eval(", "innerHTML", "new Function", ".style", "document.write"):
        assert forbidden not in text


def test_a_change_keeps_what_is_open_focused_selected_and_scrolled(
    page: LivePage, context: BrowserContext
) -> None:
    tab = context.new_page()
    page.open(tab)
    tab.locator("summary").click()
    tab.evaluate("window.scrollTo(0, 300)")
    tab.get_by_role("link", name="b").focus()
    tab.evaluate("getSelection().selectAllChildren(document.querySelector('#scroller p:nth-child(20)'))")
    tab.evaluate("window.kept = document.activeElement")
    top = tab.evaluate("document.activeElement.getBoundingClientRect().top")
    page.change(rows("new", "b", "c", "d"))
    tab.get_by_role("link", name="new").wait_for()
    assert tab.locator("li").all_inner_texts() == ["new", "b", "c", "d"]
    assert tab.evaluate("window.kept === document.activeElement")
    assert tab.evaluate("document.activeElement.textContent") == "b"
    assert tab.get_by_text("trace", exact=True).is_visible()
    assert tab.evaluate("getSelection().toString().trim()") == "line 19"
    assert tab.evaluate("document.activeElement.getBoundingClientRect().top") == top
    assert tab.title() == "second"
    assert tab.locator("link[rel=icon]").get_attribute("href") == "/static/second.svg"


def test_a_region_that_is_new_appears(page: LivePage, context: BrowserContext) -> None:
    tab = context.new_page()
    page.open(tab)
    page.change(rows("a") + '</section><section id="more" data-live-region><p>more</p>')
    tab.get_by_text("more").wait_for()
    page.change(rows("z"))
    tab.get_by_role("link", name="z").wait_for()
    assert tab.get_by_text("more").count() == 0


def test_without_a_stream_the_page_is_polled(page: LivePage, context: BrowserContext) -> None:
    tab = context.new_page()
    tab.route("**/stream*", lambda route: route.fulfill(status=503, headers={"Retry-After": "30"}))
    page.open(tab)
    page.change(rows("x"))
    tab.get_by_role("link", name="x").wait_for()
    with tab.expect_response(lambda response: response.status == 304):  # asked with the ETag
        pass
    assert tab.get_by_role("status").first.inner_text() == ""


def test_an_open_page_says_that_updates_are_paused_and_goes_on(
    page: LivePage, context: BrowserContext
) -> None:
    tab = context.new_page()
    page.open(tab)
    page.status = 500
    page.change(rows("x"))
    tab.get_by_text("Updates are paused").wait_for()
    page.status = 200
    tab.get_by_role("link", name="x").wait_for()
    assert tab.get_by_text("Updates are paused").count() == 0


def test_a_page_that_needs_a_login_again_is_loaded_anew(page: LivePage, context: BrowserContext) -> None:
    tab = context.new_page()
    page.open(tab)
    page.status = 401
    with tab.expect_navigation():
        page.change(rows("x"))


def test_times_are_local_and_ages_go_on(page: LivePage, context: BrowserContext) -> None:
    tab = context.new_page()
    tab.clock.install(time="2026-01-01T12:00:00Z")
    page.body = (
        '<time id="when" datetime="2026-01-01T11:57:00Z">x</time>'
        '<time id="age" datetime="2026-01-01T11:59:48Z" data-age>x</time>'
        '<time id="old" datetime="2020-01-01T00:00:00Z">2020-01-01</time>'
    )
    page.open(tab)
    assert tab.locator("#when").inner_text() == "3 min ago"
    assert "20:57:00" in str(tab.locator("#when").get_attribute("title"))
    assert tab.locator("#age").inner_text() in ("12 s", "13 s")
    assert tab.locator("#old").inner_text() == "2020-01-01"
    tab.clock.run_for(60_000)
    assert tab.locator("#when").inner_text() == "4 min ago"
    assert tab.locator("#age").inner_text() == "1 min"


def test_buttons_copy(page: LivePage, context: BrowserContext) -> None:
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    tab = context.new_page()
    page.body = (
        '<button type="button" data-copy="a.py::t[&lt;1&gt;]">One</button>'
        '<button type="button" data-copy-from="text">Two</button><pre id="text">whole\n&amp; text</pre>'
    )
    page.open(tab)
    for name, copied in (("One", "a.py::t[<1>]"), ("Two", "whole\n& text")):
        tab.get_by_role("button", name=name).click()
        tab.wait_for_function("async (text) => await navigator.clipboard.readText() === text", arg=copied)


def test_keys_move_over_rows_search_and_show_themselves(page: LivePage, context: BrowserContext) -> None:
    tab = context.new_page()
    page.body += '<a href="#failed" data-key="f">failed</a>'
    page.open(tab)
    focused = "document.activeElement.textContent"
    for key, name in (("j", "a"), ("j", "b"), ("k", "a"), ("k", "a")):
        tab.keyboard.press(key)
        assert tab.evaluate(focused) == name
    tab.keyboard.press("Enter")
    tab.wait_for_url("**/*#a")
    tab.keyboard.press("f")
    tab.wait_for_url("**/*#failed")
    tab.keyboard.press("/")
    tab.keyboard.type("jf?")
    assert tab.get_by_label("Search").input_value() == "jf?"
    tab.get_by_label("Search").blur()
    tab.keyboard.press("?")
    tab.get_by_text("All keys").wait_for()
    tab.keyboard.press("Escape")
    tab.get_by_text("All keys").wait_for(state="hidden")


SUITE = """
import pathlib

def test_first():
    assert 1 == 2, "went wrong"

def test_second():
    pathlib.Path("go").read_text()  # a FIFO: waits until it is written to

def test_third():
    assert 1 == 3
"""


@pytest.mark.slow
def test_a_running_pytest_updates_the_open_pages(
    sqlite_api: Api, context: BrowserContext, tmp_path: Path
) -> None:
    (tmp_path / "test_live.py").write_text(SUITE)
    os.mkfifo(tmp_path / "go")
    listed = context.new_page()
    listed.goto(f"{sqlite_api.root}/?suite=smoke&text=live-branch")
    execution = sqlite_api.create(testSuite="smoke", metadata={"branch": "live-branch"})
    path = f"/runs/{execution['executionId']}"
    listed.locator(f"a[href='{path}']").first.wait_for()
    tab = context.new_page()
    tab.goto(f"{sqlite_api.root}{path}")
    tab.evaluate("window.isSame = true")
    environ = {**environ_outside_pytest(os.environ), "TMS_API_TOKEN": sqlite_api.token}
    options = ["--tms-url", sqlite_api.url, "--tms-execution", execution["executionId"]]
    command = [sys.executable, "-m", "pytest", "-p", "no:randomly", *options]
    process = subprocess.Popen(command, cwd=tmp_path, env=environ, stdout=subprocess.DEVNULL)
    try:
        tab.get_by_text("went wrong").filter(visible=True).first.wait_for(timeout=60_000)
        first_title = tab.title()
        (tmp_path / "go").write_text("go")
        tab.get_by_role("heading", name=re.compile("2 (tests )?failed")).first.wait_for(timeout=60_000)
        assert process.wait(timeout=60) == 1
        wait_for(lambda: tab.evaluate("document.title") != first_title)
        assert tab.evaluate("window.isSame")  # it was not loaded anew
    finally:
        process.kill()
        process.wait()
