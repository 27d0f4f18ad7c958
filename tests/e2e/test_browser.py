"""The pages in a real browser: nothing of a runner runs, and everything fits a phone, light and dark."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal
from urllib.parse import quote

import pytest

from tests.helpers.api import Api, expect_success, result, running
from tests.integration.server.test_authentication import BEYOND
from tests.integration.server.test_pages import HOSTILE, hostile
from tests.integration.server.test_tokens import stored

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Dialog, Page

pytestmark = pytest.mark.browser
PAGES = (
    "/",
    "/runs/{}",
    "/runs/{}/events",
    "/runs/{}/files",
    "/runs/{}/tests",
    "/runs/{}/timeline",
    "/runs/{}/shards",
    "/runs/{0}/compare?with={0}",
    "/runs/{}/cancel",
    "/tests",
    "/cases",
    "/trends",
    "/quarantine",
    "/webhooks",
    "/webhooks/{hook}",
    "/audit",
    "/tokens",
)


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """A server that asks for a login."""
    with running(tmp_path_factory.mktemp("closed") / "data", options=BEYOND) as api:
        yield api


@contextmanager
def webhook(api: Api, text: str) -> Iterator[str]:
    """The id of a webhook with ``text`` wherever its owner may write; it rests, so that nothing is sent."""
    body = {
        "url": f"https://example.com/{quote(text[:200])}?q={quote(text[:200])}",
        "events": ["execution.completed"],
        "filters": {"testSuites": ["smoke"], "environments": ["dev"]},
        text[:9000]: text[:9000],
    }
    made = expect_success(api.request("POST", "/webhooks", body), 201)
    path = f"/webhooks/{made['webhookId']}"
    expect_success(api.request("PATCH", path, {"status": "paused"}), 200)
    yield made["webhookId"]
    expect_success(api.request("DELETE", path), 200)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["script", "attribute", "address", "right to left", "terminal", "huge"])
def test_nothing_of_a_runner_runs_and_nothing_is_wider_than_a_phone(
    sqlite_api: Api, browser: Browser, kind: str
) -> None:
    execution_id = hostile(sqlite_api, HOSTILE[kind])["executionId"]
    context = browser.new_context(viewport={"width": 360, "height": 740})
    tab = context.new_page()
    wrong: list[str] = []

    def refuse(dialog: Dialog) -> None:
        wrong.append(dialog.message)
        dialog.dismiss()

    tab.on("console", lambda message: wrong.append(message.text))
    tab.on("pageerror", lambda error: wrong.append(str(error)))
    tab.on("dialog", refuse)
    tab.on(
        "request",
        lambda asked: wrong.append(asked.url) if not asked.url.startswith(sqlite_api.root) else None,
    )
    with webhook(sqlite_api, HOSTILE[kind]) as hook:
        for path in PAGES:
            response = tab.goto(f"{sqlite_api.root}{path.format(execution_id, hook=hook)}")
            assert response is not None
            assert response.status == 200
            assert tab.title() != "owned"
            for summary in tab.locator("summary").all():
                summary.click()
            assert tab.evaluate("document.scrollingElement.scrollWidth") <= 360, path
            assert tab.locator("script:not([src^='/static/tms.']), iframe, object, embed, img").count() == 0
    assert wrong == []
    context.close()


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_in_light_and_dark(
    closed: Api, browser: Browser, scheme: Literal["light", "dark"]
) -> None:
    admin = stored(closed, "admin")
    execution = closed.create(metadata={"branch": "main"}, configuration={"shards": 2})
    closed.submit(
        execution,
        tests=[result("a", "failed", error="wrong", duration=5), result("b"), result("c", "skipped")],
    )
    context = browser.new_context(color_scheme=scheme, viewport={"width": 360, "height": 740})
    tab = context.new_page()
    with webhook(closed, "smoke") as hook:
        for path in ("/login", *PAGES):
            tab.goto(f"{closed.root}{path.format(execution['executionId'], hook=hook)}")
            assert tab.evaluate("document.scrollingElement.scrollWidth") <= 360
            weakest = tab.evaluate(CONTRAST)
            assert weakest["ratio"] >= 4.5, (path, weakest)
            if path == "/login":
                log_in(tab, admin)
    context.close()


def log_in(tab: Page, token: str) -> None:
    tab.get_by_label("API token").fill(token)
    tab.keyboard.press("Enter")
    tab.get_by_role("button", name="Log out").wait_for()


def test_login_cancel_and_logout_work_by_keyboard_and_without_javascript(
    closed: Api, browser: Browser
) -> None:
    execution = closed.create()
    context = browser.new_context(java_script_enabled=False, viewport={"width": 360, "height": 740})
    tab = context.new_page()
    tab.goto(f"{closed.root}/runs/{execution['executionId']}")
    tab.keyboard.type("tms_nonsense")  # the field has the focus
    tab.keyboard.press("Enter")
    tab.get_by_role("alert").wait_for()
    log_in(tab, closed.token)
    tab.get_by_role("heading", name="Waiting for the first shard").wait_for()
    tab.get_by_role("link", name="Cancel…").press("Enter")
    tab.get_by_role("button", name="Cancel run").press("Enter")
    tab.get_by_role("heading", name="Cancelled").wait_for()
    assert closed.status(execution)["status"] == "cancelled"
    assert tab.get_by_role("link", name="Cancel…").count() == 0
    tab.get_by_role("button", name="Log out").press("Enter")
    tab.get_by_role("heading", name="Log in").wait_for()
    tab.goto(f"{closed.root}/runs/{execution['executionId']}")
    tab.get_by_role("heading", name="Log in").wait_for()
    context.close()


def test_a_form_on_another_site_cannot_cancel_in_a_visitors_name(closed: Api, browser: Browser) -> None:
    execution = closed.create()
    context = browser.new_context()
    tab = context.new_page()
    tab.goto(f"{closed.root}/login")
    log_in(tab, closed.token)
    target = f"{closed.root}/runs/{execution['executionId']}/cancel"
    tab.route(
        "http://evil.example/",
        lambda route: route.fulfill(body=FORGED.format(target), content_type="text/html"),
    )
    tab.goto("http://evil.example/")
    with tab.expect_response(target) as answered:
        tab.get_by_role("button").click()
    assert answered.value.status == 403
    assert closed.status(execution)["status"] == "created"
    context.close()


FORGED = '<form method="post" action="{}"><button>win</button></form>'


def test_a_report_is_read_by_keyboard_and_without_javascript(sqlite_api: Api, browser: Browser) -> None:
    execution = sqlite_api.create()
    sqlite_api.submit(execution, tests=[result(f"t{n}", "failed", longrepr=f"trace {n}") for n in range(60)])
    context = browser.new_context(java_script_enabled=False)
    tab = context.new_page()
    tab.goto(f"{sqlite_api.root}/runs/{execution['executionId']}")
    tab.get_by_role("link", name="All 60 tests with this cause").press("Enter")
    tab.get_by_role("heading", name="Tests", exact=True).wait_for()
    tab.get_by_role("link", name="t0", exact=True).press("Enter")
    tab.get_by_role("heading", name="t0", exact=True).wait_for()
    assert tab.get_by_text("trace 0", exact=True).first.is_visible()
    tab.get_by_role("link", name="Next failure").press("Enter")
    tab.get_by_role("heading", name="t1", exact=True).wait_for()
    tab.get_by_role("link", name="Tests", exact=True).last.press("Enter")
    tab.get_by_role("link", name="Events").press("Enter")
    tab.get_by_role("heading", name="Events").wait_for()
    context.close()


CONTRAST = """() => {
  const channel = c => (c /= 255) <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  const rgba = text => text.match(/[\\d.]+/g).map(Number);
  const luminance = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const behind = element => {
    for (let at = element; at; at = at.parentElement) {
      const colour = rgba(getComputedStyle(at).backgroundColor);
      if (colour.length === 3 || colour[3] > 0) return colour;
    }
    throw new Error("no background");
  };
  let weakest = {ratio: 99, text: ""};
  for (const element of document.body.querySelectorAll("*")) {
    const own = [...element.childNodes].some(node => node.nodeType === 3 && node.textContent.trim());
    if (!own || !element.checkVisibility()) continue;
    const [a, b] = [luminance(rgba(getComputedStyle(element).color)), luminance(behind(element))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < weakest.ratio) weakest = {ratio, text: element.textContent.slice(0, 80)};
  }
  return weakest;
}"""
"""The text of a page that stands out least: its contrast by WCAG 2, and its first words."""
