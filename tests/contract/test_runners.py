"""The example runners against the real server, as their README runs them."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from tests.contract.conftest import Api, Run
from tests.helpers import npm

RUNNERS = Path(__file__).parents[2] / "examples" / "runners"
TITLES = [
    "home directory exists",
    "temporary directory is writable",
    "clock is set",
    "numbers sort by value",
    "accents take two bytes",
    "build number is a number",
]


# The command of a runner: {file} is its path, and {built} what its compiler wrote.
COMMANDS = {
    "runner.sh": ("bash", "{file}"),
    "runner.mjs": ("node", "{file}"),
    "runner.py": (sys.executable, "{file}"),
    "runner.ts": ("node", "{built}/runner.js"),
    "runner.rb": ("ruby", "{file}"),
    "runner.php": ("php", "{file}"),
    "runner.go": ("{built}/runner",),
    "Runner.java": ("java", "-cp", "{built}", "Runner"),
    "runner.cs": ("mono", "{built}/runner.exe"),
}
COMPILERS = {
    "runner.go": ("go", "build", "-o", "{built}/runner", "{file}"),
    "Runner.java": ("javac", "-d", "{built}", "{file}"),
    "runner.cs": (
        "mcs", "{file}", "-out:{built}/runner.exe", "-warnaserror", "-r:System.Net.Http",
        "-r:System.Runtime.Serialization", "-r:System.Xml", "-r:System.Xml.Linq",
    ),
    "runner.ts": (
        "{tsc}", "{built}/runner.ts", "--outDir", "{built}", "--strict", "--target", "es2022", "--module", "nodenext",
        "--erasableSyntaxOnly", "--typeRoots", "{types}", "--types", "node",
    ),
}  # fmt: skip
"""The compilers of runners, none of which may have a warning."""
DEBIAN = {"ruby": "ruby", "php": "php-cli", "go": "golang-go", "javac": "default-jdk-headless",
          "java": "default-jdk-headless", "mcs": "mono-mcs", "mono": "mono-runtime", "node": "nodejs"}  # fmt: skip
"""The packages of programs that may be missing."""
COMPILED = pytest.mark.slow
MARKS = {"runner.mjs": [pytest.mark.node], "runner.ts": [pytest.mark.node, COMPILED], "runner.go": [COMPILED],
         "Runner.java": [COMPILED], "runner.cs": [COMPILED]}  # fmt: skip


@pytest.fixture(
    scope="module", params=[pytest.param(name, marks=MARKS.get(name, ()), id=name) for name in COMMANDS]
)
def command(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The command of a runner, which is compiled first if its language needs it."""
    name: str = request.param
    built = tmp_path_factory.mktemp("built")
    places = {"file": RUNNERS / name, "built": built}
    if name == "runner.ts":
        modules = npm.folder("typescript") / "node_modules"
        places |= {"tsc": modules / ".bin" / "tsc", "types": modules / "@types"}
        (built / "package.json").write_text('{"type": "module"}')
        shutil.copy(RUNNERS / name, built)
    compiler = [part.format(**places) for part in COMPILERS.get(name, ())]
    runner = [part.format(**places) for part in COMMANDS[name]]
    for program in filter(None, (*compiler[:1], runner[0])):
        if not program.startswith(str(built)) and not shutil.which(program):
            pytest.skip(f"{program} is not installed: Debian's package is {DEBIAN[program]}")
    if compiler:
        compiled = subprocess.run(compiler, cwd=built, capture_output=True, text=True, check=False)
        assert (compiled.returncode, compiled.stdout + compiled.stderr) == (0, "")
    return runner


@pytest.fixture
def runner(command: list[str], run: Run) -> Run:
    return partial(run, *command)


def test_each_runner_is_run_and_listed() -> None:
    files = {path.name for path in RUNNERS.iterdir()} - {"README.md"}
    assert files == set(COMMANDS)
    table = (RUNNERS / "README.md").read_text(encoding="utf-8")
    assert [name for name in COMMANDS if f"| `{name}` |" not in table] == []


def test_a_runner_reports_its_checks(runner: Run, api: Api) -> None:
    completed = runner(TMS_URL=api.url, TMS_API_TOKEN=api.token, BUILD_NUMBER="")
    assert (completed.returncode, completed.stderr) == (0, "")
    counts, link = completed.stdout.splitlines()[-2:]
    assert counts == "5 passed, 0 failed, 1 skipped"
    execution_id = link.rpartition("/")[2]
    status = api.status(execution_id)
    assert status["artifacts"]["reportUrl"] == link
    assert status["status"] == "completed"
    assert status["results"] == {"total": 6, "passed": 5, "failed": 0, "skipped": 1, "flaky": 0}
    assert [(shard["shardId"], shard["status"]) for shard in status["shardResults"]] == [
        ("1", "completed"),
        ("2", "completed"),
    ]
    tests = api.request("GET", f"/executions/{execution_id}/tests").json()["tests"]
    assert sorted(test["title"] for test in tests) == sorted(TITLES)


def test_a_failed_check_fails_the_runner_but_not_the_execution(runner: Run, api: Api) -> None:
    completed = runner(TMS_URL=api.url + "/", TMS_API_TOKEN=api.token, TMPDIR="/nowhere", BUILD_NUMBER="456")
    assert completed.returncode == 1
    assert re.fullmatch(r"[Rr]unner\.\w+: 1 check\(s\) failed\.\n", completed.stderr)
    status = api.status(completed.stdout.splitlines()[-1].rpartition("/")[2])
    assert (status["status"], status["metadata"]) == ("completed", {"buildNumber": "456"})
    assert status["results"] == {"total": 6, "passed": 5, "failed": 1, "skipped": 0, "flaky": 0}
    assert [shard["status"] for shard in status["shardResults"]] == ["failed", "completed"]


@pytest.mark.slow
def test_a_runner_says_that_no_tms_answers(runner: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    completed = runner(TMS_URL=f"http://127.0.0.1:{port}/api", TMS_API_TOKEN="any")
    assert completed.returncode == 1
    assert re.fullmatch(r"[Rr]unner\.\w+: .*does not answer.*\n", completed.stderr)


def test_a_runner_says_what_the_tms_refuses(runner: Run, api: Api) -> None:
    completed = runner(TMS_URL=api.url, TMS_API_TOKEN="unknown")
    assert completed.returncode == 1
    assert re.fullmatch(r"[Rr]unner\.\w+: .*token.*\n", completed.stderr)


def test_a_runner_says_what_is_not_set(runner: Run) -> None:
    completed = runner(TMS_URL="")
    assert completed.returncode == 2
    assert re.fullmatch(r"[Rr]unner\.\w+: Set TMS_URL .*TMS_API_TOKEN\.\n", completed.stderr)
