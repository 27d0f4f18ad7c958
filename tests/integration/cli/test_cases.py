"""`tms cases`: import of a plan and lists against the real server."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.api import Api, result
from tests.helpers.processes import run_tms
from tests.integration.server.test_tokens import stored

PLAN = '\ufeffTitle,ID,more\r\n"A customer, pays",TC-1,x\r\n,TC-2\r\n\r\n=1+1, TC-3 ,\r\n'


def run(api: Api, *arguments: str, token: str = "") -> tuple[int, str, str]:
    settings = {"TMS_URL": api.url, "TMS_API_TOKEN": token or stored(api, "admin")}
    completed = run_tms("cases", *arguments, **settings)
    return completed.returncode, completed.stdout, completed.stderr


def test_a_plan_is_imported_and_listed(api: Api, tmp_path: Path) -> None:
    project = uuid.uuid4().hex[:8]
    execution = api.create(metadata={"project": project})
    api.submit(execution, tests=[result("a", properties={"id": "TC-1"})])
    file = tmp_path / "plan.csv"
    file.write_bytes(PLAN.encode())
    status, output, error = run(api, "import", str(file), "--project", project)
    assert (status, error) == (0, "")
    assert output == f"{project}: 3 cases in the plan (3 added, 0 changed, 0 removed)\n"
    assert run(api, "list", "--project", project)[1].splitlines() == [
        "TC-1  A customer, pays  all/dev passed",
        "TC-2                    no test",
        "TC-3  =1+1              no test",
    ]
    found: list[dict[str, Any]] = json.loads(
        run(api, "list", "--project", project, "--kind", "missing", "--json")[1]
    )
    assert [each["id"] for each in found] == ["TC-2", "TC-3"]
    lines = run(api, "list", "--project", project, "--csv")[1].splitlines()
    assert lines[0].startswith("\ufeffid,title,project,planned,tests,")
    assert lines[3].startswith("TC-3,'=1+1,")
    changed = json.loads(run(api, "import", str(file), "--project", project, "--json")[1])
    assert changed == {"project": project, "total": 3, "added": 0, "changed": 0, "removed": 0}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "has no column id: begin it with the line id,title and write one case on a line"),
        (b"TC-1,a\n", "has no column id: begin it with the line id,title and write one case on a line"),
        (b"id,title\n,a\n", "line 2: the id is missing"),
        (b"id\nTC-1\nTC-2\nTC-1\n", "line 4: TC-1 is in line 2, too: remove one of them"),
        (b"id\n" + b"x" * 201, "line 2: the id has more than 200 characters"),
        (b"id,title\na," + b"x" * 501, "line 2: the title of a has more than 500 characters"),
        (b"id\n\xff\n", "is not in UTF-8: save it as CSV in UTF-8"),
        (b"id\n" + b"x" * 200_000, "field larger than field limit (131072)"),
    ],
)
def test_a_wrong_file_names_the_line(api: Api, tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "plan.csv"
    file.write_bytes(content)
    status, output, error = run(api, "import", str(file))
    assert (status, output) == (1, "")
    assert error.endswith(f"{message}\n")
    assert str(file) in error


def test_an_import_needs_the_scope_admin(api: Api, tmp_path: Path) -> None:
    file = tmp_path / "plan.csv"
    file.write_text("id\nTC-1\n")
    status, _, error = run(api, "import", str(file), token=api.token)
    assert status == 1
    assert "lacks the scope admin" in error


def test_formats_exclude_each_other(api: Api) -> None:
    assert run(api, "list", "--csv", "--json")[0] == 2
