"""Run the tests from the built wheel on every supported pytest and Python: `nox` or `make nox`."""

import shutil

import nox

nox.options.default_venv_backend = "virtualenv"
nox.options.error_on_missing_interpreters = False
nox.options.sessions = ["lowest", "tests"]

PYTHONS = [python for python in ("3.10", "3.11", "3.12", "3.13") if shutil.which(f"python{python}")]

LOWEST = [
    "tests/unit/client/test_client.py",
    "tests/integration/cli/test_command.py",
    "tests/e2e/test_smoke.py",
]
"""Tests that load every dependency and take less than a minute."""


@nox.session(venv_backend="uv")
def lowest(session: nox.Session) -> None:
    """Test with the lowest supported version of every direct dependency."""
    pins = session.create_tmp() + "/lowest.txt"
    extras = ["--extra=server", "--extra=postgres", "--extra=redis", "--extra=xdist"]
    compiled = ["uv", "pip", "compile", "--quiet", "--no-annotate", "--upgrade", "--resolution=lowest-direct"]
    session.run(
        *compiled, *extras, f"--python={session.bin}/python", "-o", pins, "pyproject.toml", silent=True
    )
    tools = ["hypothesis", "pytest-reportlog", "pytest-timeout", "requests", "standardwebhooks"]
    session.install("-c", pins, ".[server,postgres,redis,xdist]", *tools)
    session.run("tms", "--help", silent=True)
    session.run("python", "-m", "pytest", "-q", "-p", "no:cacheprovider", *(session.posargs or LOWEST))


@nox.session(python=PYTHONS)
@nox.parametrize("pytest", ["8.4", "9.0", "latest"])
def tests(session: nox.Session, pytest: str) -> None:
    wanted = "pytest>=9" if pytest == "latest" else f"pytest=={pytest}.*"
    groups = nox.project.dependency_groups(nox.project.load_toml(), "test")
    subtests = ["pytest-subtests"] * (pytest == "8.4")  # a part of pytest since 9.0
    session.install(".[server,postgres,xdist]", wanted, *subtests, *groups)
    session.run("python", "-m", "pytest", "-m", "not suites and not node and not browser", *session.posargs)
