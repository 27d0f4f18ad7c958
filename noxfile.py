"""The tests on every supported pytest and Python, from the built wheel: `nox` or `make nox`."""

import shutil

import nox

nox.options.default_venv_backend = "virtualenv"
nox.options.error_on_missing_interpreters = False

PYTHONS = [python for python in ("3.10", "3.11", "3.12", "3.13") if shutil.which(f"python{python}")]


@nox.session(python=PYTHONS)
@nox.parametrize("pytest", ["8.4", "9.0", "latest"])
def tests(session: nox.Session, pytest: str) -> None:
    wanted = "pytest>=9" if pytest == "latest" else f"pytest=={pytest}.*"
    groups = nox.project.dependency_groups(nox.project.load_toml(), "test")
    subtests = ["pytest-subtests"] * (pytest == "8.4")  # a part of pytest since 9.0
    session.install(".[server,postgres,xdist]", wanted, *subtests, *groups)
    session.run("python", "-m", "pytest", "-m", "not suites and not node and not browser", *session.posargs)
