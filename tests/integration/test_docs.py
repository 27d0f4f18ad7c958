"""The docs are true: settings are made from the table, and what they show runs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from pytest_tms.cli import tms as tms_command
from pytest_tms.plugin.settings import table
from tests.helpers.processes import Tms, outside

DOCS = Path(__file__).parents[2] / "docs"


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


def commands(group: click.Group, path: str) -> Iterator[tuple[str, set[str]]]:
    """Every visible command with its visible options."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, f"{path} {name}")
        elif not command.hidden:
            options = [each for each in command.params if isinstance(each, click.Option) and not each.hidden]
            yield f"{path} {name}", {each.opts[0] for each in options}


def test_the_page_of_the_command_names_every_command_and_option() -> None:
    text = (DOCS / "cli.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(tms [a-z ]+\b)[^|]*\|([^|]*)\|", text, re.MULTILINE)
    shared = {"--data-dir", "--database-url"}
    assert shared <= set(re.findall(r"`(--[a-z-]+)`", text))
    page = {name.strip(): set(re.findall(r"--[a-z-]+", cell)) for name, cell in rows}
    assert page == {name: options - shared for name, options in commands(tms_command, "tms")}


def test_the_script_of_the_command_s_page_runs(tmp_path: Path, tms: Tms) -> None:
    (script,) = re.findall(r"```sh\n(.*?)```", (DOCS / "cli.md").read_text(encoding="utf-8"), re.DOTALL)
    for name in ("a", "b"):
        (tmp_path / f"test_{name}.py").write_text("def test_it(): pass")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["sh", "-e", "-c", script],
        cwd=tmp_path,
        env={**outside(os.environ), "PATH": path, "TMS_URL": tms.url, "TMS_API_TOKEN": tms.token},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "completed, 2 of 2 shards finished: 2 passed" in done.stdout
    assert re.search(r"exec_\w+ is completed\n$", done.stdout)
