"""The docs are true: settings are made from the table, and what they show runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pytest_tms.plugin.settings import table
from tests.conftest import Tms

DOCS = Path(__file__).parent.parent / "docs"


def settings_page() -> str:
    """docs/settings.md, from the one table."""
    rows = ["| option | environment | ini | default | what it does |", "| --- | --- | --- | --- | --- |"]
    for _, entry in table():
        option = f"`{entry.option} {entry.metavar}`" if entry.metavar else f"`{entry.option}`"
        default = " ".join(entry.default) if isinstance(entry.default, tuple) else entry.default
        cells = [
            option if entry.option else "",
            f"`{entry.env}`" if entry.env else "",
            f"`{entry.ini}`" if entry.ini else "",
            f"`{default}`" if default not in ("", False) else "",
            entry.help,
        ]
        rows.append(f"| {' | '.join(cells)} |")
    intro = (DOCS / "settings.md").read_text(encoding="utf-8").partition("<!-- table -->")
    assert intro[1], "docs/settings.md has lost its <!-- table --> mark"
    return f"{intro[0]}<!-- table -->\n" + "\n".join(rows) + "\n"


def test_the_settings_page_is_the_settings_table() -> None:
    assert (DOCS / "settings.md").read_text(encoding="utf-8") == settings_page()


def test_every_module_stands_in_the_architecture() -> None:
    text = (DOCS / "architecture.md").read_text(encoding="utf-8")
    source = DOCS.parent / "src" / "pytest_tms"
    modules = [*source.glob("*.py"), *(source / "plugin").glob("*.py"), *(source / "server").glob("*.py")]
    missing = [path.name for path in modules if path.name != "__init__.py" and path.name not in text]
    assert missing == []


@pytest.mark.parametrize("page", ["README.md", *(f"docs/{path.name}" for path in DOCS.glob("*.md"))])
def test_links_between_pages_lead_somewhere(page: str) -> None:
    path = DOCS.parent / page
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", path.read_text(encoding="utf-8"))
    missing = [link for link in links if not (path.parent / link).exists()]
    assert missing == []


def test_the_hooks_of_the_docs_run(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, tms: Tms
) -> None:
    monkeypatch.setenv("TMS_API_TOKEN", tms.token)
    (code,) = re.findall(r"```python\n(.*?)```", (DOCS / "hooks.md").read_text(encoding="utf-8"), re.DOTALL)
    pytester.makeconftest(code)
    pytester.path.joinpath("tests").mkdir()
    pytester.path.joinpath("tests/database_test.py").write_text("def test_it(): pass")
    result = pytester.runpytest("-s", "--tms-url", tms.url)
    result.stdout.fnmatch_lines(["*reported 1 tests to http://*"])
    execution = re.search(r"reports/(exec_\w+)", result.stdout.str())
    assert execution is not None
    with tms.client() as client:
        assert client.get_execution(execution[1]).metadata["team"] == "checkout"
        (test,) = client.iter_tests(execution[1])
    assert test["tags"] == ["@database"]
