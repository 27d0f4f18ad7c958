"""Whole pytest runs over small tests, in an environment that has what is measured and nothing else."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

REPOSITORY = Path(__file__).parents[1]
FILES = 20
PLUGINS = ("tms", "pytest_reportlog", "allure_pytest", "buildkite-test-collector", "pytest_reportportal")
"""The reporters that a run could load; each run loads the one that it measures."""


@contextmanager
def elsewhere() -> Iterator[int]:
    """Keep this process, and what it starts, off a processor: the one given, for runs to be compared on."""
    allowed = os.sched_getaffinity(0)
    kept = min(allowed)
    os.sched_setaffinity(0, allowed - {kept} or allowed)
    try:
        yield kept
    finally:
        os.sched_setaffinity(0, allowed)


KINDS = {
    "passing": "def test_{n}():\n    pass\n\n",
    "parametrised": "@pytest.mark.parametrize('n', [{n}])\ndef test_{n}(n):\n    pass\n\n",
    "fixtures": "def test_{n}(first, second, third):\n    pass\n\n",
    "output": "def test_{n}():\n    print('a line of output')\n\n",
    "failing": "def test_{n}():\n    assert {n} == -1\n\n",
    "skipped": "@pytest.mark.skip(reason='not now')\ndef test_{n}():\n    pass\n\n",
}
"""The tests of a suite by their kind."""
FIXTURES = "".join(
    f"@pytest.fixture\ndef {name}():\n    return 1\n\n" for name in ("first", "second", "third")
)
"""The fixtures of the tests that have some: each has its own."""


class Used(NamedTuple):
    """What one run used.

    ``cpu`` are seconds of pytest and what it waited for, ``tree`` also those of the processes that outlived
    it. ``wall`` are seconds, ``memory`` MB of pytest at most.
    """

    cpu: float
    tree: float
    wall: float
    memory: float


class Runs:
    """Runs over the same suite of ``tests``, which is written to ``folder``."""

    def __init__(self, folder: Path, tests: int, kind: str = "passing", revision: str = "") -> None:
        """``revision`` measures the project as it was at that commit."""
        self._suite = folder / "suite"
        self._suite.mkdir(parents=True)
        self._bytecode = folder / "bytecode"
        self._python = interpreter(revision)
        (self._suite / "pytest.ini").write_text("[pytest]\n")
        files = min(FILES, tests)
        for number in range(files):
            cases = range(number, tests, files)
            body = "".join(KINDS[kind].format(n=case) for case in cases)
            fixtures = FIXTURES if kind == "fixtures" else ""
            (self._suite / f"test_{number}.py").write_text(f"import pytest\n\n{fixtures}{body}")
        _adopt_orphans()

    def one(
        self,
        plugin: str,
        options: Sequence[str],
        environ: Mapping[str, str] = os.environ,
        python: str = "",
    ) -> Used:
        """One run with this plugin alone; an empty name means none."""
        begun = time.perf_counter()
        known = _children()
        return self._used(self._begin(plugin, options, environ, python), begun, known)

    def beside(
        self,
        plugin: str,
        options: Sequence[str],
        environ: Mapping[str, str],
        *,
        on: int,
        over: Sequence[str],
        mine_first: bool,
        python: str = "",
    ) -> tuple[Used, Used]:
        """What bare pytest and such a run use, both at once on one processor, ``over`` workers.

        They take turns within milliseconds, so whatever a shared machine does slows both.
        """
        begun = time.perf_counter()
        known = _children()
        asked = [("", over, os.environ, ""), (plugin, [*over, *options], environ, python)]
        processes = [self._begin(*each) for each in (asked[::-1] if mine_first else asked)]
        for process in processes:
            os.sched_setaffinity(process.pid, {on})
        known |= {process.pid for process in processes}
        bare, mine = processes[::-1] if mine_first else processes
        first = self._used(bare, begun, _children() | known)
        return first, self._used(mine, begun, known)

    def _begin(
        self, plugin: str, options: Sequence[str], environ: Mapping[str, str], python: str
    ) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            self._command(plugin, options, python),
            cwd=self._suite,
            env=self._environ(environ),
            stdout=subprocess.DEVNULL,
        )

    @staticmethod
    def _used(process: subprocess.Popen[bytes], begun: float, known: set[int]) -> Used:
        _, status, usage = os.wait4(process.pid, 0)
        taken = time.perf_counter() - begun
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode not in (0, 1):
            raise SystemExit(f"a measured run ended with {process.returncode}: {process.args!r}")
        cpu = tree = usage.ru_utime + usage.ru_stime
        for orphan in _children() - known:
            _, _, left = os.wait4(orphan, 0)
            tree += left.ru_utime + left.ru_stime
        return Used(cpu, tree, taken, usage.ru_maxrss / 1024)

    def instructions(self, plugin: str, options: Sequence[str], environ: Mapping[str, str]) -> int:
        """How many instructions such a run is in its own process; what it starts is not counted."""
        self.one(plugin, options, environ)  # which compiles what is imported
        counts = self._suite.parent / "counts"
        valgrind = ["valgrind", "--tool=cachegrind", "--cache-sim=no", f"--cachegrind-out-file={counts}"]
        try:
            subprocess.run(
                [*valgrind, *self._command(plugin, options, "")],
                cwd=self._suite,
                env=self._environ({**environ, "PYTHONHASHSEED": "0"}),
                check=True,
                capture_output=True,
            )
        except FileNotFoundError:
            raise SystemExit("valgrind, which counts instructions, is missing: install it by name") from None
        return int(counts.read_text().rpartition("summary: ")[2].split()[0])

    def _command(self, plugin: str, options: Sequence[str], python: str) -> list[str]:
        others = [word for name in PLUGINS if name != plugin for word in ("-p", f"no:{name}")]
        return [python or self._python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *others, *options]

    def _environ(self, environ: Mapping[str, str]) -> dict[str, str]:
        mine = {**environ, "PYTHONPYCACHEPREFIX": str(self._bytecode)}
        mine.pop("PYTHONDONTWRITEBYTECODE", None)  # what is installed is compiled
        return mine


def _adopt_orphans() -> None:
    """Become the parent of processes that outlive theirs, as the sender does, so that their CPU is known."""
    set_child_subreaper = 36
    ctypes.CDLL(None).prctl(set_child_subreaper, 1, 0, 0, 0)


def _children() -> set[int]:
    listed = Path(f"/proc/self/task/{os.getpid()}/children").read_text()
    return set(map(int, listed.split()))


def interpreter(revision: str = "") -> str:
    """Return an interpreter whose environment has the project as users install it, maybe of an old commit."""
    folder = REPOSITORY / ".tms" / "venvs" / f"bench{revision and f'-{revision[:12]}'}"
    python = str(folder / "bin" / "python")
    if revision and folder.exists():
        return python
    quiet = ["--quiet", "--disable-pip-version-check"]
    pip = [sys.executable, "-m", "pip", *quiet, "--python", python, "install"]
    pinned = ["--constraint", str(REPOSITORY / "constraints.txt")]
    with tempfile.TemporaryDirectory() as temporary:
        source = REPOSITORY
        if revision:
            source = Path(temporary)
            archive = ["git", "archive", revision]
            packed = subprocess.run(archive, cwd=REPOSITORY, check=True, stdout=subprocess.PIPE).stdout
            subprocess.run(["tar", "-x", "-C", temporary], input=packed, check=True)
        if not folder.exists():
            subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
        subprocess.run([*pip, *pinned, "--group", "bench", f"{source}[xdist]"], cwd=REPOSITORY, check=True)
        subprocess.run([*pip, "--no-deps", "--force-reinstall", str(source)], check=True)
    return python
