"""The documentation is true: tables match the code, links lead somewhere, and examples run."""

from __future__ import annotations

import http.client
import inspect
import os
import re
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import pytest

from pytest_tms import TmsClient, errors, signing, wire
from pytest_tms.cli import tms as tms_command
from pytest_tms.plugin import hookspecs
from pytest_tms.plugin.session.summary import Summary
from pytest_tms.settings.table import table
from tests.helpers.processes import TmsServer, environ_outside_pytest
from tools import reference

DOCS = Path(__file__).parents[2] / "docs"


def read(page: str) -> str:
    return (DOCS / page).read_text(encoding="utf-8")


def code(page: str, language: str) -> str:
    """Return the only block of code in a language on a page."""
    block: str
    (block,) = re.findall(rf"```{language}\n(.*?)```", read(page), re.DOTALL)
    return block


KINDS = {
    "Tutorial": "This tutorial shows ",
    "How-to guides": "This guide shows ",
    "References": "This reference ",
    "Explanations": "This page explains ",
}
"""The kinds of pages in docs/index.md, and how a page of each kind begins."""


def test_the_index_lists_each_page_once_under_the_kind_that_it_begins_with() -> None:
    listed = {}
    for section in read("index.md").split("\n## ")[1:]:
        title, _, rows = section.partition("\n")
        for page in re.findall(r"^\| \[.+?\]\((\w[\w.-]+\.md)\)", rows, re.MULTILINE):
            assert page not in listed
            listed[page] = KINDS[title]
    pages = {path.name: path.read_text(encoding="utf-8") for path in DOCS.glob("*.md")}
    del pages["index.md"]
    begins = {name: text.split("\n")[2] for name, text in pages.items()}
    assert listed.keys() == pages.keys()
    assert [name for name, kind in listed.items() if not begins[name].startswith(kind)] == []


def settings_page() -> str:
    """Return docs/settings.md with the table made from the settings."""
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


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize(
    "page",
    [
        *(
            "README.md",
            "CONTRIBUTING.md",
            "SECURITY.md",
            "CHANGELOG.md",
            "examples/runners/README.md",
            "examples/ci/README.md",
            "deploy/README.md",
        ),
        *(f"docs/{path.name}" for path in DOCS.glob("*.md")),
    ],
)
def test_links_between_pages_lead_somewhere(page: str) -> None:
    path = DOCS.parent / page
    links = re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]+))?\)", path.read_text(encoding="utf-8"))
    targets = [(path.parent / link if link else path, anchor) for link, anchor in links]
    missing = [
        (target.name, anchor)
        for target, anchor in targets
        if not target.exists() or (anchor and anchor not in anchors(target))
    ]
    assert missing == []


def test_links_and_pictures_of_the_readme_lead_to_the_repository_on_pypi() -> None:
    tomllib = pytest.importorskip("tomllib", reason="needs Python 3.11")
    root = DOCS.parent
    built = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    text = (root / "README.md").read_text(encoding="utf-8")
    for each in built["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]["substitutions"]:
        text = re.sub(each["pattern"], each["replacement"], text)
    links = re.findall(r"\]\(([^)]+)\)", text)
    pictures = re.findall(r'src(?:set)?="([^"]+)"', text)
    assert [link for link in links + pictures if not link.startswith("https://")] == []
    owner_and_name = built["project"]["urls"]["Repository"].removeprefix("https://github.com/")
    assert f"https://github.com/{owner_and_name}/blob/v$HFPR_VERSION/docs/tutorial.md" in links
    assert all(link.startswith(f"https://raw.githubusercontent.com/{owner_and_name}/v") for link in pictures)


def test_the_hooks_of_the_docs_run(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, tms: TmsServer
) -> None:
    monkeypatch.setenv("TMS_API_TOKEN", tms.token)
    pytester.makeconftest(code("hooks.md", "python"))
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


def commands(group: click.Group, path: str) -> Iterator[str]:
    """Every visible command."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, f"{path} {name}")
        elif not command.hidden:
            yield f"{path} {name}"


def test_the_page_of_the_command_names_every_command_once_and_only_options_that_exist() -> None:
    text = read("cli.md")
    rows = re.findall(r"^\| `(tms [a-z ]+\b)", text, re.MULTILINE)
    assert sorted(row.strip() for row in rows) == sorted(commands(tms_command, "tms"))
    assert set(re.findall(r"--[a-z][a-z-]+", text)) <= set(re.findall(r"--[a-z][a-z-]+", read("commands.md")))


@pytest.mark.parametrize("name", reference.PAGES)
def test_a_page_that_is_made_from_the_code_agrees_with_it(name: str) -> None:
    assert read(name) == reference.page(name), "run `make reference`"


def test_the_page_of_hooks_has_each_hook_with_its_arguments_and_only_attributes_that_exist() -> None:
    text = read("hooks.md")
    hooks = {
        f"{name}({', '.join(inspect.signature(hook).parameters)})"
        for name, hook in vars(hookspecs).items()
        if name.startswith("pytest_tms_")
    }
    assert set(re.findall(r"^## `(.+)`$", text, re.MULTILINE)) == hooks
    cells = re.findall(r"^\| (`\w+`[^|]*) \| ", text.partition("| attribute of")[2], re.MULTILINE)
    attributes = {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}
    assert len(attributes) > 10
    assert attributes <= {"tests", "flaky", *dir(Summary), *Summary.__annotations__} | {
        *(
            "node_id",
            "until",
            "reason",
            "owner",
            "new_failures",
            "known_failures",
            "fixed",
            "quarantined",
            "count",
        )
    }


def test_the_page_of_the_sdk_has_every_method_and_error() -> None:
    text = read("python-sdk.md")
    methods = {
        name for name, value in vars(TmsClient).items() if not name.startswith("_") and callable(value)
    }
    assert set(re.findall(r"^\| `(\w+)\(", text, re.MULTILINE)) == methods
    kinds = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.TmsError)
    }
    assert {name for name in kinds if f"`{name}`" not in text} == set()


def test_the_example_of_the_sdk_runs(tmp_path: Path, tms: TmsServer) -> None:
    completed = subprocess.run(
        [sys.executable, "-c", code("python-sdk.md", "python")],
        cwd=tmp_path,
        env={**environ_outside_pytest(os.environ), "TMS_URL": tms.url, "TMS_API_TOKEN": tms.token},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (completed.stdout, completed.stderr) == ("completed 1\n", "")


def test_the_receiver_of_the_webhook_guide_accepts_signed_deliveries_once_and_no_others() -> None:
    names: dict[str, Any] = {"__name__": "receiver"}
    exec(code("receiving-webhooks.md", "python"), names)
    secret, body = "webhook_secret_key", b'{"event": "webhook.test"}'
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMS_WEBHOOK_SECRET", secret)
        server = names["HTTPServer"](("127.0.0.1", 0), names["Receiver"])
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            signed = signing.sign([secret], "msg_1", int(time.time()), body)
            responses = [post(server.server_port, signed, sent) for sent in (body, body, body + b" ")]
        finally:
            server.shutdown()
            thread.join()
            server.server_close()
    assert responses == [204, 204, 401]
    assert names["seen"] == {"msg_1"}


def post(port: int, headers: Mapping[str, str], body: bytes) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("POST", "/", body, dict(headers))
    status = connection.getresponse().status
    connection.close()
    return status


@pytest.mark.slow
def test_the_commands_of_the_tutorial_run(tmp_path: Path) -> None:
    text = read("tutorial.md")
    (tmp_path / "test_shop.py").write_text(code("tutorial.md", "python"))
    first, opened, repaired = re.findall(r"^```sh\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    environ = {
        **environ_outside_pytest(os.environ),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "TMS_SERVER_DATA_DIR": str(tmp_path / "data"),
    }

    def run(script: str) -> subprocess.CompletedProcess[str]:
        command = ["sh", "-c", script]
        return subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False)

    try:
        failed = run(first)
        assert "1 failed, 1 passed, 1 skipped" in failed.stdout
        report = re.search(r"tms: 3 results reported: (http://127.0.0.1:\d+)/reports/exec_\w+", failed.stdout)
        assert report is not None, failed.stdout
        assert run(opened.replace("tms open", "tms open --print")).stdout.startswith(report[1])
        assert "2 passed, 1 skipped" in run(repaired).stdout
        assert "all · dev: 2 passed, 1 skipped" in run("tms execution list --url local").stdout
    finally:
        run("tms local stop")


@pytest.mark.slow
def test_the_commands_of_the_readme_run(tmp_path: Path, tms: TmsServer) -> None:
    text = (DOCS.parent / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```(sh|yaml|ini|python)\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    (local, project), (job,), (ini,), (example,) = (
        [block for each, block in blocks if each == language] for language in ("sh", "yaml", "ini", "python")
    )
    (tmp_path / "test_shop.py").write_text(
        f"import pytest\n\n{example}\n\n@pytest.fixture\ndef page(): return Page()\n"
        "class Page:\n    def screenshot(self): return b'x'\n"
    )
    environ = {
        **environ_outside_pytest(os.environ),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "TMS_SERVER_DATA_DIR": str(tmp_path / "data"),
    }

    def run(script: str, **more: str) -> str:
        command = ["sh", "-e", "-c", script]
        completed = subprocess.run(
            command, cwd=tmp_path, env={**environ, **more}, capture_output=True, text=True, check=False
        )
        assert completed.returncode == 0, completed.stdout + completed.stderr
        return completed.stdout

    installs, *commands = local.splitlines()
    assert installs == 'pip install "pytest-tms[server]"'
    assert len(commands) == 2
    try:
        output = run("\n".join(commands).replace("tms open", "tms open --print"))
        reports = re.findall(r"http://127\.0\.0\.1:\d+/reports/exec_\w+", output)
        assert len(reports) == 2
        assert len(set(reports)) == 1  # the link of the run, and the page that is opened
    finally:
        run("tms local stop")
    # The job, in its four shards; the workflow sets the variables.
    assert "TMS_URL:" in job
    assert "secrets.TMS_API_TOKEN" in job
    (command,) = re.findall(r"run: (pytest .*)$", job, re.MULTILINE)
    shards = [command.replace("${{ matrix.shard }}", str(number)) for number in (1, 2, 3, 4)]
    api = {"TMS_URL": tms.url, "TMS_API_TOKEN": tms.token, "TMS_RUN_KEY": tmp_path.name}
    links = re.findall(r"/reports/(exec_\w+)", run("\n".join(shards), **api))
    assert len(links) >= 4
    assert len(set(links)) == 1
    # The project's own file.
    assert "tms_url = https://tms.example.com/api\n" in ini
    (tmp_path / "pytest.ini").write_text(ini.replace("https://tms.example.com/api", tms.url))
    export, *commands = project.splitlines()
    assert export.startswith("export TMS_API_TOKEN=")
    output = run("\n".join(commands), TMS_API_TOKEN=tms.token)
    assert f"Reporting works: results go to {tms.url} (suite smoke, environment staging)" in output
    assert "tms: 2 results reported" in output


@pytest.mark.slow
def test_the_script_of_the_ci_guide_runs(tmp_path: Path, tms: TmsServer) -> None:
    script = code("ci.md", "sh")
    for name in ("a", "b"):
        (tmp_path / f"test_{name}.py").write_text("def test_it(): pass")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    completed = subprocess.run(
        ["sh", "-e", "-c", script],
        cwd=tmp_path,
        env={
            **environ_outside_pytest(os.environ),
            "PATH": path,
            "TMS_URL": tms.url,
            "TMS_API_TOKEN": tms.token,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert completed.returncode == 0, completed.stdout + completed.stderr
    assert "completed, 2 of 2 shards finished: 2 passed" in completed.stdout
    assert re.search(r"exec_\w+ is completed\n$", completed.stdout)


GH = """#!{python}
# A double of `gh api`: keeps one file per comment, and records the requests.
import json, os, pathlib, sys
folder = pathlib.Path(os.environ["COMMENTS_FOLDER"])
arguments = sys.argv[2:]
with (folder / "requests").open("a") as file:
    file.write(json.dumps(arguments) + "\\n")
body = next((a.partition("=")[2] for a in arguments if a.startswith("body=@")), "")
if "--paginate" in arguments:
    for path in sorted(folder.glob("*.md")):
        if path.read_text().startswith(os.environ["MARKER"]):
            print(path.stem)
elif "PATCH" in arguments:
    number = next(a for a in arguments if "/comments/" in a).rpartition("/")[2]
    (folder / f"{{number}}.md").write_text(pathlib.Path(body[1:]).read_text())
else:
    (folder / "7.md").write_text(pathlib.Path(body[1:]).read_text())
"""


def test_the_step_of_the_ci_guide_updates_its_comment(tmp_path: Path, tms: TmsServer) -> None:
    (step,) = re.findall(
        r"- name: Comment on the pull request\n.*?run: \|\n((?: {10}[^\n]*\n)+)", read("ci.md"), re.DOTALL
    )
    script = textwrap.dedent(step).replace("${{ github.repository }}", "octo/shop")
    bin_folder, folder = tmp_path / "bin", tmp_path / "comments"
    bin_folder.mkdir()
    folder.mkdir()
    (bin_folder / "gh").write_text(GH.format(python=sys.executable))
    (bin_folder / "gh").chmod(0o755)
    (folder / "3.md").write_text("A comment of somebody else")
    path = f"{bin_folder}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for title in ("first", "second"):
        with tms.client() as client:
            request = wire.ExecutionRequest(test_suite="smoke", environment="staging")
            created = client.create_execution(request)
            test = wire.TestResult(title=title, status="failed")
            submission = wire.ResultsSubmission(execution_id=created.execution_id, shard_id="1", tests=[test])
            client.submit_results(submission)
        completed = subprocess.run(
            ["bash", "-e", "-o", "pipefail", "-c", script],
            cwd=tmp_path,
            env={
                **environ_outside_pytest(os.environ),
                "PATH": path,
                "TMS_URL": tms.url,
                "TMS_API_TOKEN": tms.token,
                "TMS_EXECUTION_ID": created.execution_id,
                "COMMENTS": "repos/octo/shop/issues/5/comments",
                "COMMENTS_FOLDER": str(folder),
            },
            capture_output=True,
            text=True,
            check=False,
        )
        assert completed.returncode == 0, completed.stdout + completed.stderr
        assert sorted(each.name for each in folder.glob("*.md")) == ["3.md", "7.md"]
        comment = (folder / "7.md").read_text()
        assert comment.startswith("<!-- pytest-tms: smoke staging -->\n## smoke on staging: 1 failed\n")
        assert f"- {title}\n" in comment
    assert (folder / "3.md").read_text() == "A comment of somebody else"
