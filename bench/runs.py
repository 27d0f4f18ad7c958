"""Whole pytest runs over trivial tests, in an environment that has what is measured and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

REPOSITORY = Path(__file__).parents[1]
FILES = 20
PLUGINS = ("tms", "reportlog", "buildkite-test-collector", "pytest_reportportal")
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


class Used(NamedTuple):
    """What one run used: seconds of CPU of all its processes, seconds, and MB of its own at most."""

    cpu: float
    wall: float
    memory: float


class Runs:
    """Runs over the same suite of ``tests``, which is written to ``folder``."""

    def __init__(self, folder: Path, tests: int) -> None:
        self._suite = folder / "suite"
        self._suite.mkdir(parents=True)
        self._bytecode = folder / "bytecode"
        self._python = _interpreter()
        (self._suite / "pytest.ini").write_text("[pytest]\n")
        for number in range(FILES):
            body = "".join(f"def test_{case}():\n    pass\n\n" for case in range(tests // FILES))
            (self._suite / f"test_{number}.py").write_text(body)

    def one(self, plugin: str, options: Sequence[str], environ: Mapping[str, str] = os.environ) -> Used:
        """One run with this plugin alone; an empty name means none."""
        begun = time.perf_counter()
        return self._used(self._begin(plugin, options, environ), begun)

    def beside(
        self,
        plugin: str,
        options: Sequence[str],
        environ: Mapping[str, str],
        *,
        on: int,
        over: Sequence[str],
        mine_first: bool,
    ) -> tuple[float, float]:
        """Seconds of CPU of bare pytest and of such a run, both at once on one processor, ``over`` workers.

        They take turns within milliseconds, so whatever a shared machine does slows both.
        """
        begun = time.perf_counter()
        asked = [("", over, os.environ), (plugin, [*over, *options], environ)]
        processes = [self._begin(*each) for each in (asked[::-1] if mine_first else asked)]
        for process in processes:
            os.sched_setaffinity(process.pid, {on})
        cpu = [self._used(process, begun).cpu for process in processes]
        bare, mine = cpu[::-1] if mine_first else cpu
        return bare, mine

    def _begin(
        self, plugin: str, options: Sequence[str], environ: Mapping[str, str]
    ) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            self._command(plugin, options),
            cwd=self._suite,
            env=self._environ(environ),
            stdout=subprocess.DEVNULL,
        )

    @staticmethod
    def _used(process: subprocess.Popen[bytes], begun: float) -> Used:
        _, status, usage = os.wait4(process.pid, 0)
        taken = time.perf_counter() - begun
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"a measured run ended with {process.returncode}: {process.args!r}")
        return Used(usage.ru_utime + usage.ru_stime, taken, usage.ru_maxrss / 1024)

    def instructions(self, plugin: str, options: Sequence[str], environ: Mapping[str, str]) -> int:
        """How many instructions such a run is in its own process; what it starts is not counted."""
        self.one(plugin, options, environ)  # which compiles what is imported
        counts = self._suite.parent / "counts"
        valgrind = ["valgrind", "--tool=cachegrind", "--cache-sim=no", f"--cachegrind-out-file={counts}"]
        try:
            subprocess.run(
                [*valgrind, *self._command(plugin, options)],
                cwd=self._suite,
                env=self._environ({**environ, "PYTHONHASHSEED": "0"}),
                check=True,
                capture_output=True,
            )
        except FileNotFoundError:
            raise SystemExit("valgrind, which counts instructions, is missing: install it by name") from None
        return int(counts.read_text().rpartition("summary: ")[2].split()[0])

    def _command(self, plugin: str, options: Sequence[str]) -> list[str]:
        others = [word for name in PLUGINS if name != plugin for word in ("-p", f"no:{name}")]
        return [self._python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *others, *options]

    def _environ(self, environ: Mapping[str, str]) -> dict[str, str]:
        mine = {**environ, "PYTHONPYCACHEPREFIX": str(self._bytecode)}
        mine.pop("PYTHONDONTWRITEBYTECODE", None)  # what is installed is compiled
        return mine


def _interpreter() -> str:
    """An environment of its own, with the project installed as users install it."""
    folder = REPOSITORY / ".tms" / "venvs" / "bench"
    interpreter = str(folder / "bin" / "python")
    pip = [
        sys.executable,
        "-m",
        "pip",
        "--quiet",
        "--disable-pip-version-check",
        "--python",
        interpreter,
        "install",
    ]
    pinned = ["--constraint", str(REPOSITORY / "constraints.txt")]
    if not folder.exists():
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    subprocess.run([*pip, *pinned, "--group", "bench", f"{REPOSITORY}[xdist]"], cwd=REPOSITORY, check=True)
    subprocess.run([*pip, "--no-deps", "--force-reinstall", str(REPOSITORY)], check=True)
    return interpreter
