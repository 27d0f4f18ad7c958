"""Run the plugin of this release with the server of the release before, and the other way round.

`make compatibility` takes the newest tag `v…`, `make compatibility BEFORE=COMMIT` any commit. `--wheel` names
a wheel, such as one from PyPI. Both releases are installed from wheels, each into an environment of its own.
"""

from __future__ import annotations

import argparse
import io
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from tools.release import REPOSITORY, Environment, Failed, Server, build, serving, step


def newest_tag() -> str:
    """Return the newest tag of a release before this commit.

    Raises:
        Failed: There is none.
    """
    command = ["git", "describe", "--tags", "--abbrev=0", "--match", "v*", "HEAD^"]
    found = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)  # noqa: S603  # our own command
    if found.returncode:
        raise Failed("there is no release before this one: name a commit, make compatibility BEFORE=COMMIT")
    return found.stdout.strip()


def build_commit(commit: str, folder: Path) -> Path:
    """Build the wheel of a commit and return its path.

    Raises:
        Failed: There is no such commit here, for example in a shallow clone, or it cannot be built.
    """
    archive = subprocess.run(  # noqa: S603  # git
        ["git", "archive", "--format=tar", commit],  # noqa: S607  # found in PATH
        cwd=REPOSITORY,
        capture_output=True,
        check=False,
    )
    if archive.returncode:
        raise Failed(f"git archive {commit}: {archive.stderr.decode().strip()}")
    source = folder / "source"
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
        files.extractall(source, filter="data")
    return build(folder / "dist", source)[1]


def show(lines: list[str]) -> None:
    """Print what works."""
    print("\n".join(lines), flush=True)


def main() -> None:
    """Build both wheels and run the combinations."""
    parser = argparse.ArgumentParser(prog="make compatibility", description=__doc__)
    parser.add_argument("commit", nargs="?", help="the release before (default: the newest tag)")
    parser.add_argument("--wheel", type=Path, help="the wheel of the release before")
    arguments = parser.parse_args()
    python = Path(sys.executable)
    with tempfile.TemporaryDirectory(prefix="compatibility-") as temporary:
        folder = Path(temporary)
        step("Build")
        old_wheel = arguments.wheel or build_commit(arguments.commit or newest_tag(), folder / "before")
        new_wheel = build(folder / "now" / "dist")[1]
        before = Environment(folder / "env-before", python, f"{old_wheel}[server]")
        now = Environment(folder / "env-now", python, f"{new_wheel}[server]")

        def report(plugin: Environment, server: Server, name: str) -> None:
            show(plugin.trial(folder / name, "report", "--url", server.url, TMS_API_TOKEN=server.token))

        data, kept = folder / "data", folder / "kept"
        with serving(before, data) as server:
            step("Plugin of the release before, its own server")
            report(before, server, "before-before")
            step("Plugin of this release, server of the release before")
            report(now, server, "now-before")
        show(before.trial(folder / "offline", "keep", str(kept)))
        step("Server of this release, with the database of the release before")
        with serving(now, data) as server:
            step("Plugin of the release before, server of this release")
            report(before, server, "before-now")
            step("Plugin of this release sends what the plugin of the release before has kept")
            trial = ("send", str(kept), "--url", server.url)
            show(now.trial(folder / "later", *trial, TMS_API_TOKEN=server.token))
            step("Plugin of this release, its own server")
            report(now, server, "now-now")
        step("Compatible")


if __name__ == "__main__":
    try:
        main()
    except Failed as error:
        sys.exit(f"compatibility: {error}")
