"""Real suites, run with the plugin and with --junitxml: both must tell the same, test by test.

Released suites come as source distributions from the package registry and are kept, each with an environment
of its own, under .tms/cache. The shop is our example, for its failures; the awkward suite shows every
difference that docs/differences.md explains.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from filelock import FileLock

from pytest_tms import wire
from tests.helpers.processes import TmsServer

REPOSITORY = Path(__file__).parents[2]
CACHE = REPOSITORY / ".tms" / "cache"
PYTHON = Path(sys.executable)


@dataclass(frozen=True)
class Suite:
    """A released package, how many tests it has at least, and what else pip must install for them."""

    name: str
    version: str
    tests: int
    needs: str = ""
    quick: bool = False

    @property
    def directory(self) -> Path:
        return CACHE / f"{self.name}-{self.version}"

    @property
    def source(self) -> Path:
        return self.directory / f"{self.name.replace('-', '_')}-{self.version}"

    @property
    def python(self) -> Path:
        return self.directory / "venv" / "bin" / "python"


SUITES = [
    Suite("pluggy", "1.7.0", 200, "--group testing", quick=True),
    Suite("click", "8.5.1", 2_400, "--group tests"),
    Suite("packaging", "26.3", 60_000, "--group test"),
    Suite("aiofiles", "25.1.0", 200, "--group test"),
    Suite("cachetools", "8.0.2", 200),
    Suite("h11", "0.16.0", 60),
    Suite("idna", "3.20", 100, "hypothesis"),
    Suite("itsdangerous", "2.2.0", 100, "freezegun"),
    Suite("janus", "2.0.0", 60, "pytest-asyncio pytest-benchmark pytest-cov"),
    Suite("jinja2", "3.1.6", 800, "trio"),
    Suite("more-itertools", "11.2.1", 600),
    Suite("pathspec", "1.1.1", 100),
    Suite("python-dateutil", "4.0.0", 1_800, "-r requirements-dev.txt"),
    Suite("toolz", "1.2.0", 150),
]

WAYS = {
    "alone": ("-n", "0", "-p", "no:rerunfailures"),
    "workers": ("-n", "2", "-p", "no:rerunfailures"),
    "reruns": ("-n", "2", "--reruns", "2"),
}

AWKWARD = """
import pytest

@pytest.fixture
def leaves_a_mess():
    yield
    raise RuntimeError("teardown broke")

def test_fails_in_call_and_teardown(leaves_a_mess):
    assert 0, "call broke"

def test_fails_in_teardown_alone(leaves_a_mess): pass

@pytest.mark.xfail(reason="may fail")
def test_passes_unexpectedly(): pass

@pytest.mark.xfail(strict=True, reason="should fail")
def test_passes_against_the_rules(): pass

@pytest.mark.xfail(raises=KeyError)
def test_fails_as_expected():
    {}["key"]

def test_has_control_characters_in_its_message():
    raise Exception("bell \\x07")

def test_has_a_long_message():
    raise Exception("x" * 2000)

@pytest.mark.parametrize("x", ["a::b", "[x]", "a/b.py", "\\x1b", "é", "", "1" * 300])
def test_has_parameters(x): pass

class TestOuter:
    class TestInner:
        def test_is_nested(self): pass
"""

SUBTESTS = """
def test_has_failing_subtests(subtests):
    for number in range(3):
        with subtests.test(number=number):
            assert number != 1

def test_has_a_skipped_subtest(subtests):
    with subtests.test(): pytest.skip("not here")
"""


@pytest.mark.suites
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "suite",
    [
        pytest.param(suite, id=suite.name, marks=() if suite.quick else pytest.mark.nightly)
        for suite in SUITES
    ],
)
def test_a_released_suite_is_reported_as_junit_has_it(
    suite: Suite, way: str, tms: TmsServer, tmp_path: Path
) -> None:
    prepare(suite)
    ran = run_both(suite.python, suite.source, tms, tmp_path, *WAYS[way])
    assert unexplained(ran) == {}
    assert ran.counts.passed > suite.tests
    assert ran.exit_status == int(ran.counts.failed > 0)
    assert ran.junit_counts == counts_with_parts(ran)


@pytest.mark.slow
def test_the_shop_is_reported_as_junit_has_it(tms: TmsServer, tmp_path: Path) -> None:
    ran = run_both(PYTHON, REPOSITORY / "examples" / "shop", tms, tmp_path)
    assert ran.exit_status == 1
    assert len(ran.stored) == 52
    assert unexplained(ran) == {}
    assert ran.junit_counts == counts_with_parts(ran)


@pytest.mark.slow
@pytest.mark.parametrize("options", [(), ("-n", "2")], ids=["in one process", "in two workers"])
def test_the_two_differ_where_the_manual_says_so(
    tms: TmsServer, tmp_path: Path, options: tuple[str, ...]
) -> None:
    suite = tmp_path / "suite"
    suite.mkdir()
    (suite / "pytest.ini").touch()
    has_subtests = hasattr(pytest, "Subtests")
    (suite / "test_awkward.py").write_text(AWKWARD + (SUBTESTS if has_subtests else ""))
    ran = run_both(PYTHON, suite, tms, tmp_path, *options)
    found = {name for _, name in differences(ran)}
    manual = (REPOSITORY / "docs" / "differences.md").read_text()
    explained = set(re.findall(r"`(test_\w+)`", manual))
    assert found == (explained if has_subtests else {name for name in explained if "subtest" not in name})
    assert ran.junit_counts.total - ran.counts.total == 1 + ran.parts.total()


def prepare(suite: Suite) -> None:
    """Download, unpack and install a suite unless that was done before."""
    suite.directory.mkdir(parents=True, exist_ok=True)
    with FileLock(suite.directory / "lock"):
        if (suite.directory / "ready").exists():
            return
        requirement = f"{suite.name}=={suite.version}"
        download = ["download", "--no-deps", "--no-binary", suite.name, "--dest", str(suite.directory)]
        pip(*download, requirement)
        with tarfile.open(f"{suite.source}.tar.gz") as archive:
            archive.extractall(suite.directory, filter="data")
        files = [suite.source / name for name in ("pytest.ini", "pyproject.toml", "tox.ini", "setup.cfg")]
        texts = [file.read_text() for file in files if file.exists()]
        if not any(re.search(r"^\[(tool[.:])?pytest\b", text, re.MULTILINE) for text in texts):
            files[0].write_text("[pytest]\n")  # or ours would be found further up
        subprocess.run([PYTHON, "-m", "venv", "--without-pip", suite.directory / "venv"], check=True)
        ours = ["--constraint", str(REPOSITORY / "constraints.txt"), "--editable", f"{REPOSITORY}[xdist]"]
        install = [
            "--python",
            str(suite.python),
            "install",
            "pytest-rerunfailures",
            ".",
            *suite.needs.split(),
        ]
        pip(*install, *ours, cwd=suite.source)
        (suite.directory / "ready").touch()


def pip(*arguments: str, cwd: Path = REPOSITORY) -> None:
    command = [str(PYTHON), "-m", "pip", "--quiet", *arguments]
    completed = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    if completed.returncode:
        pytest.skip(f"pip failed: {completed.stderr.strip().splitlines()[-1:]}")


@dataclass(frozen=True, order=True)
class ReportedTest:
    """What either reporter says of a test; ``reason`` is one line."""

    place: str
    name: str
    status: str
    reason: str
    milliseconds: int
    retries: int = field(default=0, compare=False)
    parts: list[dict[str, Any]] = field(default_factory=list, compare=False)
    """Its subtests."""

    @property
    def as_junit(self) -> ReportedTest:
        """The same test as JUnit XML has it: with the error of its first failed part, or skipped as a part is."""
        status = "failed" if self.status == "failed" else "skipped"
        reasons = [part["error"] for part in self.parts if part["status"] == status]
        if not reasons or self.status == "skipped":
            return self
        return replace(self, status=status, reason=reasons[0].partition("\n")[0])


@dataclass(frozen=True)
class Ran:
    """A finished run as JUnit XML and as the TMS tell it."""

    exit_status: int
    junit: list[ReportedTest]
    stored: list[ReportedTest]
    junit_counts: wire.Counts
    counts: wire.Counts

    @property
    def parts(self) -> Counter[str]:
        """How many subtests there are of each status."""
        return Counter(part["status"] for test in self.stored for part in test.parts)


def run_both(python: Path, suite: Path, tms: TmsServer, tmp_path: Path, *options: str) -> Ran:
    """Run a suite with both reporters on, and read what both have."""
    xml = tmp_path / "junit.xml"
    command = [str(python), "-m", "pytest", "-p", "no:cacheprovider", *options]
    reporters = ["--junitxml", str(xml), "--tms-url", tms.url]
    # The suites bring coverage along; measured, they would take three times as long.
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("COVERAGE", "PYTEST_"))
    }
    environment["TMS_API_TOKEN"] = tms.token
    completed = subprocess.run(
        [*command, *reporters], cwd=suite, env=environment, capture_output=True, text=True
    )
    print(completed.stdout[-20_000:], completed.stderr, sep="\n")

    root = ElementTree.parse(xml).getroot()[0]
    number = {name: int(root.attrib[name]) for name in ("tests", "failures", "errors", "skipped")}
    junit_counts = counts(
        number["tests"], failed=number["failures"] + number["errors"], skipped=number["skipped"]
    )
    (execution_id,) = set(re.findall(r"\bexec_\w+", completed.stdout))
    with tms.client() as client:
        status = client.get_execution(execution_id)
        stored = [stored_test(test) for test in client.iter_tests(execution_id)]
    by_status = Counter(test.status for test in stored)
    assert status.status == "completed"
    assert status.results == counts(len(stored), failed=by_status["failed"], skipped=by_status["skipped"])
    assert sum(shard.results.total for shard in status.shard_results) == len(stored)
    junit = [junit_test(case) for case in root.iter("testcase")]
    return Ran(completed.returncode, junit, stored, junit_counts, status.results)


def counts(total: int, *, failed: int, skipped: int) -> wire.Counts:
    return wire.Counts(total=total, passed=total - failed - skipped, failed=failed, skipped=skipped)


def counts_with_parts(ran: Ran) -> wire.Counts:
    """The counts of a run if each subtest that JUnit XML lists is a test."""
    return counts(
        ran.counts.total + ran.parts.total(),
        failed=ran.counts.failed + ran.parts["failed"],
        skipped=ran.counts.skipped + ran.parts["skipped"],
    )


def stored_test(test: dict[str, Any]) -> ReportedTest:
    """A test as the TMS has it, called as JUnit XML calls it; its node id, file and title must agree."""
    address, bracket, parameters = test["nodeId"].partition("[")
    file, _, name = address.partition("::")
    assert (file, name + bracket + parameters) == (test["file"], test["title"])
    *classes, name = name.split("::")
    module = file.removesuffix(".py").replace("/", ".")
    parts = test.get("subtests") or []
    return ReportedTest(
        ".".join([module, *classes]),
        name + bracket + parameters,
        test["status"],
        (test.get("error") or "").partition("\n")[0],
        test["duration"] + sum(part["duration"] for part in parts),  # JUnit XML adds them again
        test.get("retries") or 0,
        parts,
    )


def junit_test(case: ElementTree.Element) -> ReportedTest:
    """A test case of JUnit XML: its class name is the module's path with dots, and then the classes."""
    status, reason = "passed", ""
    for tag, word in (("skipped", "skipped"), ("failure", "failed"), ("error", "failed")):
        if (found := case.find(tag)) is not None:
            status, reason = word, found.get("message", "")
    if broken := re.fullmatch(r'failed on (?:setup|teardown) with "(.*)"', reason, re.DOTALL):
        reason = broken[1]
    milliseconds = round(float(case.attrib["time"]) * 1000)
    return ReportedTest(
        case.attrib["classname"], case.attrib["name"], status, reason.partition("\n")[0], milliseconds
    )


def differences(ran: Ran) -> dict[tuple[str, str], tuple[list[ReportedTest], list[ReportedTest]]]:
    """The tests, by place and name, about which the two disagree, with what each has."""
    junit, stored = _by_name(ran.junit), _by_name(ran.stored)
    return {
        key: (junit.get(key, []), stored.get(key, []))
        for key in sorted(junit.keys() | stored.keys())
        if not _agree(junit.get(key, []), stored.get(key, []))
    }


def unexplained(ran: Ran) -> dict[tuple[str, str], tuple[list[ReportedTest], list[ReportedTest]]]:
    """The differences beside those that docs/differences.md explains: earlier tries, and subtests."""
    return {
        key: (junit, stored)
        for key, (junit, stored) in differences(ran).items()
        if len(junit) != len(stored) + sum(test.retries for test in stored)
        or not _agree(junit[-len(stored) :], [test.as_junit for test in stored])
    }


def _by_name(tests: Iterable[ReportedTest]) -> dict[tuple[str, str], list[ReportedTest]]:
    found: dict[tuple[str, str], list[ReportedTest]] = {}
    for test in tests:
        found.setdefault((test.place, test.name), []).append(test)
    return found


def _agree(junit: list[ReportedTest], stored: list[ReportedTest]) -> bool:
    """Whether both have the test as often and say the same of it; a millisecond of each part is rounding."""
    return len(junit) == len(stored) and all(
        (one.status, one.reason) == (other.status, other.reason)
        and abs(one.milliseconds - other.milliseconds) <= 1 + len(other.parts)
        for one, other in zip(sorted(junit), sorted(stored), strict=True)
    )
