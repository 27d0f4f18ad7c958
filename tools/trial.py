"""Use an installed pytest-tms in an empty folder, as a user does, and print a line for each thing that works.

The release starts it with the interpreter of an environment that has only the built wheel:
`python -I trial.py …`. With `-I`, neither the folder of this file nor PYTHONPATH is on the import path. It
ends with status 1 at the first thing that does not work.

    report --url URL        run tests that report there; TMS_API_TOKEN has the token
    keep FOLDER             run tests without a network, and keep the results in FOLDER
    send FOLDER --url URL   send the results of FOLDER there
    local                   start the local server, report to it, read the report and stop it
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest_tms
from pytest_tms import TmsClient

SUITE = """
import pytest

def test_passes():
    assert 1 + 1 == 2

def test_fails(tms, tmp_path):
    tms.attach(b"the order of 4711", name="order.txt")
    assert "paid" == "open"

@pytest.mark.skip(reason="not ready")
def test_waits(): ...
"""
COUNTS = (3, 1, 1, 1)
"""Total, passed, failed and skipped tests of the suite."""
RUN = ("--tms-suite", "smoke", "--tms-environment", "staging")
FAILED = (1,)
"""The exit status of a run with failed tests."""
EXECUTION = re.compile(r"reports/(exec_\w+)")


def works(what: str) -> None:
    """Print what has been seen to work."""
    print(f"works: {what}", flush=True)


def command(*arguments: str, expected: tuple[int, ...] = (0,)) -> str:
    """Run a module of the environment; return its output, or end this program if its status is another."""
    completed = subprocess.run(  # noqa: S603  # our own command
        [sys.executable, "-I", "-m", *arguments], capture_output=True, text=True, check=False, timeout=300
    )
    output = completed.stdout + completed.stderr
    if completed.returncode not in expected:
        sys.exit(f"{' '.join(arguments)} ended with {completed.returncode}:\n{output}")
    return output


def expect(seen: object, wanted: object, what: str) -> None:
    """End this program if a value is another."""
    if seen != wanted:
        sys.exit(f"{what} is {seen!r}, not {wanted!r}")


def execution_of(output: str) -> str:
    """Return the execution to which a command reported, by the link that it printed."""
    found = EXECUTION.search(output)
    if found is None:
        sys.exit(f"no link to a report in:\n{output}")
    return found[1]


def check_stored(client: TmsClient, execution: str, shards: int = 1) -> None:
    """Compare what the server has of an execution with the suite."""
    status = client.get_execution(execution)
    results = status.results
    expect((results.total, results.passed, results.failed, results.skipped), COUNTS, "the counts")
    expect(status.status, "completed", "the state of the execution")
    expect(len(status.shard_results), shards, "the number of shards")
    tests = {test["title"]: test for test in client.iter_tests(execution)}
    expect(sorted(tests), ["test_fails", "test_passes", "test_waits"], "the tests")
    expect([file["name"] for file in tests["test_fails"]["artifacts"]], ["order.txt"], "the attached files")


def report(url: str) -> None:
    """Report to a server: a run, a run in two shards, and a run that is sent later."""
    with TmsClient(url, os.environ["TMS_API_TOKEN"]) as client:
        check_stored(client, execution_of(command("pytest", "--tms-url", url, *RUN, expected=FAILED)))
        works("a run reports")
        key = f"trial-{os.urandom(6).hex()}"
        sharded = ("pytest", "--tms-url", url, *RUN, "--tms-run-key", key, "--tms-shard")
        outputs = [command(*sharded, shard, expected=(0, *FAILED)) for shard in ("1/2", "2/2")]
        ids = {execution_of(output) for output in outputs}
        expect(len(ids), 1, "the number of executions of two shards")
        check_stored(client, ids.pop(), shards=2)
        works("two shards report to one execution")
    keep("kept")
    send("kept", url)


def keep(folder: str) -> None:
    """Run the suite without a network."""
    output = command("pytest", f"--tms-offline={folder}", *RUN, expected=FAILED)
    if "3 results kept" not in output:
        sys.exit(f"the results were not kept:\n{output}")
    works("an offline run keeps its results")


def send(folder: str, url: str) -> None:
    """Send kept results."""
    execution = execution_of(command("pytest_tms.cli", "replay", folder, "--url", url))
    with TmsClient(url, os.environ["TMS_API_TOKEN"]) as client:
        check_stored(client, execution)
    works("kept results are sent later")


def local() -> None:
    """Report to the local server, whose data are in the folder of this trial."""
    os.environ["TMS_SERVER_DATA_DIR"] = str(Path("data").resolve())
    try:
        output = command("pytest", "--tms-url", "local", *RUN, expected=FAILED)
        link = re.search(r"http://127\.0\.0\.1:\d+/reports/exec_\w+", output)
        if link is None:
            sys.exit(f"no link to a report in:\n{output}")
        with urllib.request.urlopen(link[0], timeout=30) as page:  # noqa: S310  # of the local server
            text = page.read().decode()
        if "test_fails" not in text:
            sys.exit(f"the page {link[0]} does not name the failed test")
        works("the local server starts, and shows the report")
    finally:
        command("pytest_tms.cli", "local", "stop")
    works("the local server stops")


def main() -> None:
    """Parse the command line and start the trial."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["report", "keep", "send", "local"])
    parser.add_argument("folder", nargs="?", default="kept")
    parser.add_argument("--url", default="")
    arguments = parser.parse_args()
    if not Path(pytest_tms.__file__).is_relative_to(sys.prefix):
        sys.exit(f"pytest_tms was imported from {pytest_tms.__file__}, which is not in {sys.prefix}")
    Path("test_shop.py").write_text(SUITE, encoding="utf-8")
    if arguments.what == "report":
        report(arguments.url)
    elif arguments.what == "keep":
        keep(arguments.folder)
    elif arguments.what == "send":
        send(arguments.folder, arguments.url)
    else:
        local()


if __name__ == "__main__":
    main()
