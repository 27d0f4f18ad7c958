"""The checks of `.github/workflows/tests.yml`, each in an environment of its own: `nox` or `make nox`.

`nox --list` shows the sessions, `nox --session NAME -- ARGUMENTS` passes arguments to pytest. Python versions
that are not installed are skipped.
"""

import os
import re
import subprocess
import sys

import nox

nox.options.default_venv_backend = "virtualenv"
nox.options.error_on_missing_interpreters = "CI" in os.environ

PYTHONS = ["3.10", "3.11", "3.12", "3.13", "3.14"]

SELECTED = (
    "not nightly and not suites and not node and not browser" if sys.platform == "linux" else "portable"
)
"""The server and the process that delivers results are tested on Linux, what needs neither everywhere."""

LOWEST = [
    "tests/unit/client/test_client.py",
    "tests/integration/cli/test_command.py",
    "tests/e2e/test_smoke.py",
]
"""Tests that load every dependency, in about a minute."""


@nox.session(python=PYTHONS)
@nox.parametrize("pytest", [nox.param("8.4", id="pytest8.4"), nox.param("9", id="pytest9")])
def tests(session: nox.Session, pytest: str) -> None:
    """Test the built wheel on a Python and a pytest version."""
    subtests = ["pytest-subtests"] * (pytest == "8.4")  # a part of pytest since 9.0
    extras = ".[server,postgres,redis,xdist,mcp,otel]"
    session.install(extras, f"pytest=={pytest}.*", *subtests, *group("test"))
    session.run("python", "-m", "pytest", "-m", SELECTED, *session.posargs)


@nox.session(venv_backend="uv")
def lowest(session: nox.Session) -> None:
    """Test every direct dependency at its declared minimum, as uv resolves it."""
    session.env.update(uv_index())
    # Not session.create_tmp(): it moves pytest's temporary folders below the project's own pytest settings.
    environment = session.virtualenv.location
    pins = f"{environment}/lowest.txt"
    extras = ["--extra=server", "--extra=postgres", "--extra=redis", "--extra=xdist", "--extra=mcp"]
    compiled = ["uv", "pip", "compile", "--quiet", "--no-annotate", "--upgrade", "--resolution=lowest-direct"]
    session.run(*compiled, *extras, f"--python={environment}", "-o", pins, "pyproject.toml", silent=True)
    tools = ["hypothesis", "pytest-reportlog", "pytest-timeout", "requests", "responses", "standardwebhooks"]
    session.install("-c", pins, ".[server,postgres,redis,xdist,mcp,otel]", *tools)
    session.run("tms", "--help", silent=True)
    session.run("python", "-m", "pytest", "-q", "-p", "no:cacheprovider", *(session.posargs or LOWEST))


@nox.session
def lint(session: nox.Session) -> None:
    """Run the linters of `make lint`, with the versions of constraints.txt."""
    constraints = ["-c", "constraints.txt"]
    session.install(
        *constraints, "-e", ".[server,postgres,redis,xdist,mcp,otel]", *group("lint"), *group("test"), "nox"
    )
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("mypy")
    session.run("lint-imports")


@nox.session
def typing(session: nox.Session) -> None:
    """Check the types of the public API as the wheel's users see them."""
    session.install("-c", "constraints.txt", ".", "mypy")
    session.run("mypy", "tests/typing")


@nox.session
def docs(session: nox.Session) -> None:
    """Build the site, and test that the pages of docs/ agree with the code and that what they show runs."""
    session.install(".[server,postgres,redis,xdist,mcp,otel]", *group("test"), *group("docs"))
    session.run("python", "-m", "tools.docs_site")
    session.run("python", "-m", "pytest", "tests/integration/test_docs.py", *session.posargs)


@nox.session(default=False)
def release(session: nox.Session) -> None:
    """Build and check the distribution, and try it in clean environments."""
    session.install("-c", "constraints.txt", *group("release"))
    session.run("python", "-m", "tools.release", *session.posargs)


@nox.session(default=False)
def compatibility(session: nox.Session) -> None:
    """Run the plugin with the server of the release before, and the other way round."""
    session.install("-c", "constraints.txt", *group("release"))
    session.run("python", "-m", "tools.compatibility", *session.posargs)


@nox.session(default=False)
def audit(session: nox.Session) -> None:
    """Look for known vulnerabilities of the dependencies: the pinned versions, and those that users get."""
    session.install("pip-audit")
    session.run("pip-audit", "--requirement", "constraints.txt", "--disable-pip", "--no-deps")
    session.install(".[server,postgres,redis,xdist,mcp,otel]")
    session.run("pip-audit")


def group(name: str) -> list[str]:
    """Return the requirements of a dependency group of pyproject.toml."""
    return list(nox.project.dependency_groups(nox.project.load_toml(), name))


def uv_index() -> dict[str, str]:
    """Return the package index of pip's configuration, which uv does not read, as uv's setting."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    listed = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    found = re.search(r"^\S+\.index-url='(.+)'$", listed, re.MULTILINE)
    return {"UV_DEFAULT_INDEX": found[1]} if found and "UV_DEFAULT_INDEX" not in os.environ else {}
