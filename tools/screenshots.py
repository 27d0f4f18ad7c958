"""Take a picture of every page, in both themes and three widths (`make screenshots`)."""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path
from typing import Literal

from playwright.sync_api import sync_playwright

from tests.helpers.api import running
from tests.helpers.chromium import FLAGS
from tests.helpers.filled_site import fill, pages

WIDTHS = (360, 1280, 1920)
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
MAX_HEIGHT = 4000
"""Pixels of the highest picture."""


def take(folder: Path, wanted: str) -> None:
    """Fill a new server, and write its pages whose names contain ``wanted`` to a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary, sync_playwright() as playwright:
        data, project = Path(temporary) / "data", Path(temporary) / "shop"
        project.mkdir()
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        with running(data) as api:
            addresses = pages(api, f"/runs/{fill(api, project)}")
            for scheme in SCHEMES:
                for width in WIDTHS:
                    context = browser.new_context(
                        color_scheme=scheme, viewport={"width": width, "height": 900}, reduced_motion="reduce"
                    )
                    tab = context.new_page()
                    for name, path in addresses.items():
                        if wanted not in name:
                            continue
                        tab.goto(f"{api.root}{path}")
                        height = min(MAX_HEIGHT, tab.evaluate("document.documentElement.scrollHeight"))
                        tab.set_viewport_size({"width": width, "height": max(900, height)})
                        tab.screenshot(path=folder / f"{name}-{scheme}-{width}.png")
                        tab.set_viewport_size({"width": width, "height": 900})
                    context.close()
        browser.close()
        print(f"{len(addresses)} pages in {folder}")


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("screenshots"), help="where to write them")
    parser.add_argument("--pages", default="", help="only pages whose names contain this text")
    chosen = parser.parse_args()
    take(chosen.folder, chosen.pages)


if __name__ == "__main__":
    main()
