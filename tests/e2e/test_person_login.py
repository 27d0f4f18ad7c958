"""Login in a real browser at a certified OpenID provider, oidc-provider, on another site than the TMS."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest

from tests.e2e.test_accessibility import AXE, WIDER
from tests.helpers.api import Api
from tests.helpers.npm import folder
from tests.helpers.oidc_login import logging_in
from tests.helpers.ports import free_port

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = [pytest.mark.browser, pytest.mark.node, pytest.mark.slow]
PROVIDER = Path(__file__).parents[1] / "helpers" / "openid_provider.mjs"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """A TMS whose people log in at the provider."""
    port = free_port()
    module = folder("oidc") / "node_modules" / "oidc-provider" / "lib" / "index.js"
    command = ["node", str(PROVIDER), str(module), f"http://127.0.0.1:{port}"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            issuer = process.stdout.readline().strip()
            assert issuer.startswith("http://localhost:"), "the provider did not start"
            with logging_in(tmp_path_factory.mktemp("site") / "data", issuer, port=port) as api:
                yield api
        finally:
            process.stdin.close()
            process.wait(timeout=20)


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context()
    yield context.new_page()
    context.close()


def log_in(page: Page, site: Api, login: str, path: str = "/") -> None:
    page.goto(site.root + path)
    page.get_by_role("link", name="Log in with localhost").click()
    page.get_by_placeholder("Enter any login").fill(login)
    page.get_by_placeholder("and password").fill("any")
    page.get_by_role("button", name="Sign-in").click()
    page.wait_for_url(f"{site.root}/**")


def test_an_admin_logs_in_opens_the_requested_page_and_logs_out(page: Page, site: Api) -> None:
    log_in(page, site, "ada", "/audit?x=1")
    assert page.url == f"{site.root}/audit?x=1"
    assert page.get_by_text("Ada Lovelace <ada@example.com>").first.is_visible()
    assert page.get_by_text("login.succeeded").first.is_visible()
    page.get_by_role("button", name="Log out").click()
    assert page.url == f"{site.root}/login"
    page.goto(f"{site.root}/audit")
    assert page.get_by_role("heading", name="Log in").is_visible()


def test_the_login_page_violates_no_rule_of_axe_and_fits_a_phone(browser: Browser, site: Api) -> None:
    axe = (folder("axe") / "node_modules" / "axe-core" / "axe.min.js").read_text(encoding="utf-8")
    wrong: list[str] = []
    schemes: tuple[Literal["light", "dark"], ...] = ("light", "dark")
    for scheme in schemes:
        # The policy of the pages lets no script of a test in.
        context = browser.new_context(
            color_scheme=scheme, bypass_csp=True, viewport={"width": 360, "height": 900}
        )
        tab = context.new_page()
        for path in ("/login", "/login/callback"):  # the second with an error
            tab.goto(site.root + path)
            tab.evaluate(axe)
            wrong += tab.evaluate(AXE) + tab.evaluate(WIDER)
            assert tab.get_by_role("alert").count() == (path != "/login")
        context.close()
    assert not wrong, "\n".join(wrong)


def test_a_second_login_needs_no_password_while_the_provider_knows_the_browser(page: Page, site: Api) -> None:
    log_in(page, site, "bob", "/webhooks")
    page.get_by_role("button", name="Log out").click()
    page.get_by_role("link", name="Log in with localhost").click()
    page.wait_for_url(f"{site.root}/")
    assert page.get_by_text("Bob <bob@example.com>").is_visible()


def test_a_viewer_sees_runs_and_no_form_that_changes_them(page: Page, site: Api) -> None:
    run = site.create()["executionId"]
    log_in(page, site, "eve", f"/runs/{run}")
    assert page.get_by_text("Eve <b>bold</b> <eve@example.com>").is_visible()
    assert not page.get_by_role("link", name="Cancel").is_visible()
    response = page.goto(f"{site.root}/runs/{run}/cancel")
    assert response is not None
    assert response.status == 403
    assert page.get_by_text("Your role does not permit this").is_visible()


def test_a_person_without_a_role_reads_whom_to_contact(page: Page, site: Api) -> None:
    log_in(page, site, "mallory")
    text = page.get_by_role("alert").inner_text()
    assert re.fullmatch(r"Mallory <mallory@example.com> has no role here: .* Ask the operator of .*", text)
    page.goto(site.root)
    assert page.get_by_role("heading", name="Log in").is_visible()
