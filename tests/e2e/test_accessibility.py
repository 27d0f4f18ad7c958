"""axe-core on every page, light and dark, on a phone, a laptop and a large screen."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

import pytest

from tests.helpers import npm
from tests.helpers.api import Api, running
from tests.helpers.filled_site import fill, pages

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = [pytest.mark.browser, pytest.mark.slow]
AXE = """async () => (await axe.run(document, {resultTypes: ["violations"]})).violations.map(
  each => `${each.id}: ${each.nodes.slice(0, 3).map(node => node.html.slice(0, 200)).join(" | ")}`
)"""
WIDER = """() => document.scrollingElement.scrollWidth > innerWidth ?
  [...document.querySelectorAll("main *, header *")].filter(each => each.getBoundingClientRect().right > innerWidth + 1)
    .slice(0, 3).map(each => each.outerHTML.slice(0, 200)) : []"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Api, dict[str, str]]]:
    """A server with runs of a suite that fails, and its pages."""
    folder = tmp_path_factory.mktemp("site")
    project = folder / "shop"
    project.mkdir()
    with running(folder / "data") as api:
        yield api, pages(api, f"/runs/{fill(api, project)}")


@pytest.fixture(scope="module")
def axe() -> str:
    """The source of axe-core."""
    return (npm.folder("axe") / "node_modules" / "axe-core" / "axe.min.js").read_text(encoding="utf-8")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_page_violates_a_rule_of_axe_or_is_wider_than_the_screen(
    site: tuple[Api, dict[str, str]],
    browser: Browser,
    axe: str,
    scheme: Literal["light", "dark"],
) -> None:
    api, addresses = site
    wrong = []
    # The policy of the pages lets no script of a test in; the pages themselves are the same without it.
    context = browser.new_context(
        color_scheme=scheme, bypass_csp=True, reduced_motion="reduce", viewport={"width": 1280, "height": 900}
    )
    tab = context.new_page()
    for name, path in addresses.items():
        tab.goto(f"{api.root}{path}")
        tab.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
        tab.evaluate(axe)
        for width in (360, 1280, 1920):
            tab.set_viewport_size({"width": width, "height": 900})
            wrong += [f"{name} at {width} px: {each}" for each in tab.evaluate(AXE) + tab.evaluate(WIDER)]
    context.close()
    assert len(addresses) > 10
    assert not wrong, "\n".join(wrong)


def test_every_kind_of_page_is_linked(site: tuple[Api, dict[str, str]]) -> None:
    _, addresses = site
    for name in ("runs", "runs-one", "runs-one-events", "runs-one-files", "webhooks-one", "tokens", "audit"):
        assert name in addresses
