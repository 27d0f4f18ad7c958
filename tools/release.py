"""Build the distribution, check it, and try it in clean environments: `make release`.

Writes the sdist, the wheel and the SBOM into `dist/`. Everything that is tried is installed from these files
into environments of their own, and runs in an empty folder: no source tree is on the import path. Versions of
Python that this machine does not have are listed at the end; in CI (`CI=true`) they are an error.
"""

from __future__ import annotations

import argparse
import email
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

REPOSITORY = Path(__file__).parents[1]
DIST = REPOSITORY / "dist"
TRIAL = Path(__file__).with_name("trial.py")
PYTHONS = ("3.10", "3.11", "3.12", "3.13", "3.14")
LOWEST = PYTHONS[0]
MIN_PYROMA = 8
"""Of 10 points; two are for the e-mail address of an author, which the project does not have."""

ADDRESS = re.compile(r"http://127\.0\.0\.1:\d+/api")
"""The base URL in the output of a server."""


class Failed(Exception):
    """A step of the release failed; the message has its output."""


def run(*command: str | Path, cwd: Path = REPOSITORY, **environ: str) -> str:
    """Run a command in a clean environment; return its output.

    Raises:
        Failed: Its status is not 0.
    """
    completed = subprocess.run(  # noqa: S603  # our own command
        command, cwd=cwd, env={**clean_environ(), **environ}, capture_output=True, text=True, check=False
    )
    output = completed.stdout + completed.stderr
    if completed.returncode:
        raise Failed(f"{' '.join(map(str, command))} ended with {completed.returncode}:\n{output}")
    return output


def clean_environ() -> dict[str, str]:
    """Return the environment without the variables of Python, pytest and the plugin."""
    return {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PYTEST", "TMS_"))
    }


def step(text: str) -> None:
    """Print what comes next."""
    print(f"\n== {text}", flush=True)


def tool(name: str) -> Path:
    """Return the path of a command of the environment that runs this program."""
    return Path(sys.executable).with_name(name)


def build(folder: Path, source: Path = REPOSITORY) -> tuple[Path, Path]:
    """Build the sdist, and the wheel from the sdist; return their paths."""
    shutil.rmtree(folder, ignore_errors=True)
    run(sys.executable, "-m", "build", "--outdir", folder, source)
    (sdist,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    return sdist, wheel


def check(sdist: Path, wheel: Path) -> None:
    """Check the metadata and the contents of the files."""
    print(run(tool("twine"), "check", "--strict", sdist, wheel).strip())
    print(run(tool("check-wheel-contents"), wheel).strip())
    print(run(tool("pyroma"), "--min", str(MIN_PYROMA), sdist).strip().splitlines()[-3])


def interpreter(version: str) -> Path | None:
    """Return an interpreter of a Python version, from PATH or pyenv; None if there is none."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = shutil.which(f"python{version}")
    for path in [*([Path(found)] if found else []), *sorted(pyenv.glob(f"{version}.*/bin/python"))]:
        shown = subprocess.run([path, "-V"], capture_output=True, check=False)  # noqa: S603  # found in PATH
        if shown.returncode == 0:
            return path
    return None


class Environment:
    """A virtual environment with the distribution and nothing else."""

    def __init__(self, folder: Path, python: Path, requirement: str, resolution: str = "highest") -> None:
        uv = (tool("uv"), "--quiet")
        environ = index()
        run(*uv, "venv", "--python", python, folder, cwd=REPOSITORY, **environ)
        self.python = folder / "bin" / "python"
        install = ("pip", "install", "--python", self.python, "--resolution", resolution, requirement)
        run(*uv, *install, cwd=REPOSITORY, **environ)

    def trial(self, folder: Path, *arguments: str, **environ: str) -> list[str]:
        """Run a trial in a folder, which is created, and return the lines about what works."""
        folder.mkdir(parents=True, exist_ok=True)
        output = run(self.python, "-I", TRIAL, *arguments, cwd=folder, **environ)
        return [line.removeprefix("works: ") for line in output.splitlines() if line.startswith("works: ")]


class Server(NamedTuple):
    """A running server."""

    url: str
    token: str


@contextmanager
def serving(environment: Environment, data: Path) -> Iterator[Server]:
    """Run the server of an environment on a free port with a data folder, which is created or upgraded.

    Raises:
        Failed: It does not start.
    """
    data.mkdir(parents=True, exist_ok=True, mode=0o700)
    log = data / "serve.log"
    token = data / "first-token"
    command: list[str | Path] = [
        environment.python,
        "-I",
        "-m",
        "pytest_tms.cli",
        "serve",
        "--port",
        "0",
        "--data-dir",
        data,
    ]
    with log.open("w") as output:
        process = subprocess.Popen(  # noqa: S603  # our own command
            command, cwd=data, env=clean_environ(), stdout=output, stderr=output, stdin=subprocess.DEVNULL
        )
    try:
        deadline = time.monotonic() + 180
        # The text around the address differs between versions, and between a terminal and a file.
        while (address := ADDRESS.search(log.read_text())) is None or not (
            token.exists() and token.read_text()
        ):
            if process.poll() is not None or time.monotonic() > deadline:
                raise Failed(f"the server does not start:\n{log.read_text()}")
            time.sleep(0.1)
        yield Server(address[0], token.read_text().strip())
    finally:
        process.terminate()
        process.wait(30)


def index() -> dict[str, str]:
    """Return the package index of pip's configuration, which uv does not read, as uv's setting."""
    command = [sys.executable, "-m", "pip", "config", "--quiet", "get", "global.index-url"]
    found = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()  # noqa: S603  # pip
    return {"UV_DEFAULT_INDEX": found} if found and "UV_DEFAULT_INDEX" not in os.environ else {}


def extras(wheel: Path) -> str:
    """Return the names of all extras of a wheel, with commas."""
    with zipfile.ZipFile(wheel) as files:
        (name,) = (each for each in files.namelist() if each.endswith(".dist-info/METADATA"))
        metadata = email.message_from_bytes(files.read(name))
    return ",".join(metadata.get_all("Provides-Extra") or [])


def write_sbom(environment: Environment, sdist: Path) -> Path:
    """Write the SBOM of the distribution with the packages of an environment, as CycloneDX."""
    sbom = DIST / f"{sdist.name.removesuffix('.tar.gz')}.cdx.json"
    source = ("--pyproject", REPOSITORY / "pyproject.toml", "--mc-type", "library")
    # Reproducible: without the time and a serial number.
    options = ("--output-reproducible", "--output-format", "JSON", "--output-file", sbom, "--validate")
    run(tool("cyclonedx-py"), "environment", *source, *options, environment.python)
    return sbom


def main() -> int:
    """Build, check and try the distribution; return the exit status."""
    parser = argparse.ArgumentParser(prog="make release", description=__doc__)
    parser.add_argument("--python", action="append", help="try only this version; repeatable")
    arguments = parser.parse_args()
    step("Build")
    sdist, wheel = build(DIST)
    print(f"{sdist.name}, {wheel.name} (from the sdist)")
    step("Check")
    check(sdist, wheel)
    found = {version: interpreter(version) for version in arguments.python or PYTHONS}
    present = {version: path for version, path in found.items() if path is not None}
    if not present:
        raise Failed(f"none of these versions of Python was found: {', '.join(found)}")
    with tempfile.TemporaryDirectory(prefix="release-") as temporary:
        folder = Path(temporary)
        newest = list(present)[-1]
        step(f"Software bill of materials, with all extras on Python {newest}")
        everything = Environment(folder / "all", present[newest], f"{wheel}[{extras(wheel)}]")
        sbom = write_sbom(everything, sdist)
        print(f"{sbom.name}: {len(json.loads(sbom.read_text())['components'])} components")
        with serving(everything, folder / "data") as server:
            trials: list[tuple[str, str, str, str]] = []
            for version in present:
                trials.append((version, "wheel, plugin alone", str(wheel), "highest"))
                trials.append((version, "wheel, with server", f"{wheel}[server]", "highest"))
            trials.append((newest, "sdist, with server", f"{sdist}[server]", "highest"))
            lowest = LOWEST if LOWEST in present else next(iter(present))
            trials.append((lowest, "wheel, lowest versions", f"{wheel}[server]", "lowest-direct"))
            for number, (version, name, requirement, resolution) in enumerate(trials):
                step(f"Python {version}: {name}")
                environment = Environment(folder / f"env-{number}", present[version], requirement, resolution)
                place = folder / f"trial-{number}"
                lines = environment.trial(place, "report", "--url", server.url, TMS_API_TOKEN=server.token)
                if "[server]" in requirement:
                    lines += environment.trial(place, "local")
                print("\n".join(lines))
    missing = [version for version, path in found.items() if path is None]
    step("Ready: " + ", ".join(each.name for each in sorted(DIST.iterdir())))
    if missing:
        print(f"Not tried, since this machine does not have it: Python {', '.join(missing)}")
    return int(bool(missing) and os.environ.get("CI") == "true")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failed as error:
        sys.exit(f"release: {error}")
