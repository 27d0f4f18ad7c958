"""Build the site of the documentation from `docs/`, and check it (`make docs`).

The navigation is that of `docs/index.md`: a section for each `##` heading, a group for each `###` heading,
and the pages of its tables. The build fails if a page is not listed, a link or an anchor leads nowhere, or a
page would load anything from another server.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from importlib.metadata import metadata
from pathlib import Path
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGE = re.compile(r"^\| \[(.+?)\]\(([\w.-]+\.md)\) \|")

Section = dict[str, "list[Section] | str"]
"""A title with its page or its sections, as the navigation of the site generator has them."""


class SiteError(Exception):
    """The site is not complete. The message lists what is wrong."""


def navigation(index: str) -> list[Section]:
    """Return the navigation that ``index``, the text of `docs/index.md`, describes."""
    sections: list[Section] = [{"Home": "index.md"}]
    entries: list[Section] = []
    group = entries
    for line in index.splitlines():
        if line.startswith("## "):
            entries = group = []
            sections.append({line[3:]: entries})
        elif line.startswith("### "):
            group = []
            entries.append({line[4:]: group})
        elif page := PAGE.match(line):
            group.append({page[1].replace("`", ""): page[2]})
    return sections


def pages(sections: list[Section]) -> Iterator[str]:
    """Yield the pages of a navigation in its order."""
    for section in sections:
        for content in section.values():
            if isinstance(content, str):
                yield content
            else:
                yield from pages(content)


def repository() -> str:
    """Return the address of the repository, from pyproject.toml."""
    urls: list[str] = metadata("pytest-tms").get_all("Project-URL") or []
    return next(url for name, _, url in (each.partition(", ") for each in urls) if name == "Repository")


def stage(folder: Path, docs: Path = DOCS) -> Path:
    """Copy the pages of ``docs`` to ``folder`` with the configuration of the generator; return its path.

    Links to files outside of `docs/` become links to the repository.

    Raises:
        SiteError: a page is not in `docs/index.md`, more than once in it, or does not exist.
    """
    sections = navigation((docs / "index.md").read_text(encoding="utf-8"))
    listed = list(pages(sections))
    exist = {path.relative_to(docs).as_posix() for path in docs.rglob("*.md")}
    problems = [
        *(f"docs/{page} is not listed in docs/index.md" for page in sorted(exist - set(listed))),
        *(f"docs/index.md lists {page}, which does not exist" for page in sorted(set(listed) - exist)),
        *(f"docs/index.md lists {page} twice" for page in sorted({p for p in listed if listed.count(p) > 1})),
    ]
    if problems:
        raise SiteError("\n".join(problems))
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(docs, folder / "docs")
    for page in (folder / "docs").rglob("*.md"):
        text = page.read_text(encoding="utf-8")
        page.write_text(re.sub(r"\]\(\.\./", f"]({repository()}/blob/main/", text), encoding="utf-8")
    config = (ROOT / "zensical.toml").read_text(encoding="utf-8").replace("REPOSITORY", repository())
    added = f"nav = {toml(sections)}\n"
    written = folder / "zensical.toml"
    written.write_text(config.replace("[project]\n", f"[project]\n{added}", 1), encoding="utf-8")
    return written


def toml(sections: list[Section]) -> str:
    """Return a navigation in TOML, on one line."""
    return f"[{', '.join(_entry(section) for section in sections)}]"


def _entry(section: Section) -> str:
    ((title, content),) = section.items()
    return f"{{{json.dumps(title)} = {json.dumps(content) if isinstance(content, str) else toml(content)}}}"


class Page(HTMLParser):
    """The anchors of a page, its links, and what the browser loads for it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the attributes of an element that name a place or an address."""
        values = {name: value or "" for name, value in attrs}
        self.anchors |= {values[name] for name in ("id", "name") if values.get(name)}
        if tag == "a" and values.get("href"):
            self.links.append(values["href"])
        if tag == "link" and values.get("rel") in ("stylesheet", "preload", "modulepreload", "icon"):
            self.loaded.append(values.get("href", ""))
        if tag in ("script", "img", "iframe", "source", "video") and values.get("src"):
            self.loaded.append(values["src"])


def problems(site: Path) -> Iterator[str]:
    """Yield what is wrong with a built site: links that lead nowhere, and loads from other servers."""
    found = {path: Page(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")}
    for path, page in found.items():
        for address in page.loaded:
            if urlsplit(address).netloc:
                yield f"{path.name} loads {address} from another server"
        for link in (*page.links, *page.loaded):
            split = urlsplit(link)
            if split.scheme or split.netloc or path.name == "404.html":
                continue
            target = (path.parent / unquote(split.path)).resolve() if split.path else path
            if target.is_dir():
                target /= "index.html"
            if not target.exists():
                yield f"{path.name} links to {link}, which does not exist"
            elif split.fragment and target in found and unquote(split.fragment) not in found[target].anchors:
                yield f"{path.name} links to {link}, which has no such anchor"
    for sheet in site.rglob("*.css"):
        for address in re.findall(r"url\([\"']?(https?:[^)\"']+)", sheet.read_text(encoding="utf-8")):
            yield f"{sheet.name} loads {address} from another server"


def build(folder: Path, docs: Path = DOCS) -> Path:
    """Build the site of ``docs`` below ``folder`` and return the folder of its pages.

    Raises:
        SiteError: the build has a warning, or a page is not as it should be.
    """
    config = stage(folder, docs)
    command = [sys.executable, "-m", "zensical", "build", "--strict", "--config-file", str(config)]
    completed = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  # our own command
    site = folder / "site"
    if completed.returncode:
        raise SiteError(completed.stdout + completed.stderr)
    if wrong := list(problems(site)):
        raise SiteError("\n".join(wrong))
    return site


def main() -> None:
    """Build the site in the folder of the command line, `build` unless given."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT / "build")
    try:
        print(f"{build(parser.parse_args().folder)}/index.html")
    except SiteError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
