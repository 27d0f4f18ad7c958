"""The pages in a real browser: nothing of a runner runs, and everything fits a phone, light and dark."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

import pytest

from tests.server.conftest import Api, result
from tests.server.test_pages import HOSTILE, hostile

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.browser
PAGES = ("reports", "logs", "artifacts")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium, where it is installed."""
    executable = shutil.which("chromium")
    if executable is None:
        pytest.skip("chromium is not installed")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=executable, args=FLAGS)
        yield browser
        browser.close()


@pytest.mark.parametrize("kind", ["script", "attribute", "address", "right to left", "terminal", "huge"])
def test_nothing_of_a_runner_runs_and_nothing_is_wider_than_a_phone(
    sqlite_api: Api, browser: Browser, kind: str
) -> None:
    execution_id = hostile(sqlite_api, HOSTILE[kind])["executionId"]
    context = browser.new_context(viewport={"width": 360, "height": 740})
    tab = context.new_page()
    wrong: list[str] = []
    tab.on("console", lambda message: wrong.append(message.text))
    tab.on("pageerror", lambda error: wrong.append(str(error)))
    tab.on("dialog", lambda dialog: (wrong.append(dialog.message), dialog.dismiss()))
    tab.on(
        "request",
        lambda asked: wrong.append(asked.url) if not asked.url.startswith(sqlite_api.root) else None,
    )
    for name in PAGES:
        answer = tab.goto(f"{sqlite_api.root}/{name}/{execution_id}")
        assert answer is not None
        assert answer.status == 200
        assert "owned" not in tab.title()
        for summary in tab.locator("summary").all():
            summary.click()
        assert tab.evaluate("document.scrollingElement.scrollWidth") <= 360, name
        assert tab.locator("script, iframe, object, embed, img").count() == 0
    assert wrong == []
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_in_light_and_dark(
    sqlite_api: Api, browser: Browser, scheme: Literal["light", "dark"]
) -> None:
    execution = sqlite_api.create(metadata={"branch": "main"})
    sqlite_api.submit(
        execution,
        tests=[result("a", "failed", error="wrong", duration=5), result("b"), result("c", "skipped")],
    )
    context = browser.new_context(color_scheme=scheme, viewport={"width": 360, "height": 740})
    tab = context.new_page()
    for name in PAGES:
        tab.goto(f"{sqlite_api.root}/{name}/{execution['executionId']}")
        assert tab.evaluate("document.scrollingElement.scrollWidth") <= 360
        weakest = tab.evaluate(CONTRAST)
        assert weakest["ratio"] >= 4.5, (name, weakest)
    context.close()


def test_a_report_is_read_by_keyboard_and_without_javascript(sqlite_api: Api, browser: Browser) -> None:
    execution = sqlite_api.create()
    sqlite_api.submit(execution, tests=[result(f"t{n}", "failed", longrepr=f"trace {n}") for n in range(60)])
    context = browser.new_context(java_script_enabled=False)
    tab = context.new_page()
    tab.goto(f"{sqlite_api.root}/reports/{execution['executionId']}")
    assert tab.get_by_text("trace 0", exact=True).is_hidden()
    tab.locator("summary").first.focus()
    tab.keyboard.press("Enter")
    assert tab.get_by_text("trace 0", exact=True).is_visible()
    tab.get_by_role("link", name="More failures").press("Enter")
    tab.get_by_role("heading", name="t59").wait_for()
    tab.get_by_role("link", name="Log").press("Enter")
    tab.get_by_role("heading", name="Log").wait_for()
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
