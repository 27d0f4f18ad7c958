from __future__ import annotations

import shutil

import pytest
from shop.pages import cart_page


@pytest.fixture
def page_of_cart(cart, attach):
    """The page of a cart with two mugs. It is attached to the report, so that a failure can be looked at."""
    cart.add("M-200", 2)
    html = cart_page(cart)
    attach(html.encode(), name="cart.html")
    return html


def test_the_title_has_the_number_of_products(page_of_cart):
    assert "<title>Cart (2)</title>" in page_of_cart


def test_the_total_includes_postage(page_of_cart):
    assert '<p class="total">28.46 EUR</p>' in page_of_cart


@pytest.mark.browser
@pytest.mark.slow
def test_the_cart_in_a_browser(page_of_cart, attach, tmp_path):
    """A screenshot and a trace are attached. Needs Playwright and a Chromium: playwright install chromium."""
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"))
        except sync_api.Error as error:
            pytest.skip(f"no browser: {str(error).splitlines()[0]}")
        context = browser.new_context(viewport={"width": 640, "height": 360})
        context.tracing.start(screenshots=True, snapshots=True)
        page = context.new_page()
        page.set_content(page_of_cart)
        attach(page.screenshot(), name="cart.png")
        context.tracing.stop(path=tmp_path / "trace.zip")
        attach(tmp_path / "trace.zip", name="trace.zip")
        total = page.locator(".total").inner_text()
        browser.close()
    assert total == "28.46 EUR"
