"""The site of the documentation: complete, without broken links, and nothing of it from another server."""

from __future__ import annotations

import functools
import http.server
import re
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tools.docs_site import DOCS, SiteError, build, navigation, pages

pytest.importorskip("zensical", reason="zensical is not installed")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site."""
    return build(tmp_path_factory.mktemp("site"))


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    """A folder with two pages."""
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "index.md").write_text(
        "# Home\n\n## Guides\n\n| page | |\n| --- | --- |\n| [One](one.md) | |\n"
    )
    (folder / "one.md").write_text("# One\n\n## First part\n\n[here](#first-part), [home](index.md)\n")
    return folder


def test_each_page_of_docs_is_a_page_of_the_site(site: Path) -> None:
    names = {path.relative_to(DOCS).with_suffix("").as_posix() for path in DOCS.rglob("*.md")}
    built = {path.relative_to(site).with_suffix("").as_posix() for path in site.rglob("*.html")}
    assert built - {"404"} == names


def test_the_navigation_has_the_sections_and_groups_of_the_index() -> None:
    text = (
        "# x\n## A\n| [One](one.md) | |\n## B\n### C\n| [`Two`](two.md) | |\n### D\n| [Three](three.md) | |"
    )
    sections = navigation(text)
    assert sections == [
        {"Home": "index.md"},
        {"A": [{"One": "one.md"}]},
        {"B": [{"C": [{"Two": "two.md"}]}, {"D": [{"Three": "three.md"}]}]},
    ]
    assert list(pages(sections)) == ["index.md", "one.md", "two.md", "three.md"]


def test_a_page_that_the_index_does_not_list_fails_the_build(docs: Path, tmp_path: Path) -> None:
    (docs / "two.md").write_text("# Two\n")
    with pytest.raises(SiteError, match=re.escape("docs/two.md is not listed in docs/index.md")):
        build(tmp_path / "out", docs)


def test_a_page_that_the_index_lists_twice_fails_the_build(docs: Path, tmp_path: Path) -> None:
    with (docs / "index.md").open("a") as index:
        index.write("| [One](one.md) | |\n")
    with pytest.raises(SiteError, match=re.escape("docs/index.md lists one.md twice")):
        build(tmp_path / "out", docs)


@pytest.mark.parametrize(
    "line",
    [
        "[away](away.md)",
        "[anchor](index.md#nothing)",
        "[anchor](#nothing)",
        "![picture](images/none.png)",
        "![picture](https://example.com/a.png)",
        '<img alt="" src="none.png">',
        '<a href="none.html">x</a>',
        "<script src='https://example.com/x.js'></script>",
    ],
)
def test_a_link_that_leads_nowhere_or_to_another_server_fails_the_build(
    line: str, docs: Path, tmp_path: Path
) -> None:
    build(tmp_path / "out", docs)
    with (docs / "one.md").open("a") as page:
        page.write(f"\n{line}\n")
    with pytest.raises(SiteError):
        build(tmp_path / "out", docs)


def test_a_link_to_a_file_outside_of_the_pages_leads_to_the_repository(docs: Path, tmp_path: Path) -> None:
    with (docs / "one.md").open("a") as page:
        page.write("\n[the list of changes](../CHANGELOG.md)\n")
    built = (build(tmp_path / "out", docs) / "one.html").read_text()
    assert re.search(r'href="https://github\.com/[\w./-]+/blob/main/CHANGELOG\.md"', built)


@pytest.fixture
def served(site: Path) -> Iterator[str]:
    """The address of the site behind a web server."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(site)))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.browser
@pytest.mark.slow
def test_a_browser_loads_nothing_from_other_servers_and_search_finds_a_page(served: str) -> None:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("Chromium is not installed")
    from playwright.sync_api import expect, sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": 360, "height": 900})
        requested: list[str] = []
        tab.on("request", lambda request: requested.append(request.url))
        for page in ("index.html", "settings.html", "webhooks.html"):
            tab.goto(f"{served}{page}")
            assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth"), page
        tab.set_viewport_size({"width": 1280, "height": 900})
        tab.keyboard.press("/")
        tab.keyboard.type("quarantine")
        expect(tab.locator("mark", has_text="quarantine").first).to_be_visible()
        browser.close()
    assert [url for url in requested if not url.startswith((served, "data:", "blob:"))] == []
