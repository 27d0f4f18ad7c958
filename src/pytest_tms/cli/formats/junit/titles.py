"""Titles and files of test cases."""

from __future__ import annotations

from collections.abc import Mapping

from pytest_tms.cli.formats.junit.dialects import class_prefix, is_browser, is_script
from pytest_tms.cli.formats.junit.elements import MAX_TITLE, Case
from pytest_tms.cli.formats.junit.exported import is_exported
from pytest_tms.text import clean


def titles_of(case: Case, root: Mapping[str, str]) -> tuple[list[str], str]:
    """Return the titles by which a test can be distinguished, the preferred one first, and its file.

    A title is the name, after its class if that adds to it (as pytest names it if pytest named the file), or
    after its suite if there is no class. Playwright gives the suites of all projects the same names, and
    writes the project as the host of a suite. ``root`` is the attributes of the root element.
    """
    suite = case.suite
    file = clean(case.attributes.get("file") or suite.file)
    name = clean(case.attributes.get("name") or "", limit=MAX_TITLE).strip() or "(a test without a name)"
    if is_exported(root):
        return [name], file
    classname = case.classname
    host = clean(suite.attributes.get("hostname") or "", limit=MAX_TITLE)
    project = ""
    if host and classname and classname == suite.name and is_script(classname):
        project = "" if name.startswith(f"[{host}]") else f"[{host}] "
    if project and ("id" in root or is_browser(host)):
        return [f"{project}{name}"], file or classname
    prefix = class_prefix(classname, name, file)
    suites = [title for title in suite.titles if title not in (name, classname)]
    if case.parent is not None:
        outer = clean(case.parent.attributes.get("name") or "", limit=MAX_TITLE)
        name = f"{outer}::{name}" if outer else name
    title = f"{prefix}{name}"
    title_in_suites = "::".join([*suites, title])
    if not classname:
        return [title_in_suites], file
    return list(dict.fromkeys([title, title_in_suites, f"{project}{title}"])), file
