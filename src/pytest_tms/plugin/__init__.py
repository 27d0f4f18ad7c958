"""The pytest half: options, and whether to be active at all. An inert run loads nothing else."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from pytest_tms.plugin.settings import OFFLINE, SettingError, dest, is_on, table

if TYPE_CHECKING:
    from pytest_tms.plugin.results.attachments import Tms


RUNS_NOTHING = (
    "cacheshow",
    "collectonly",
    "help",
    "markers",
    "setuponly",
    "show_fixtures_per_test",
    "showfixtures",
    "version",
)
"""Options under which pytest runs no test."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare every option and ini value from the settings' table (every process)."""
    group = parser.getgroup("tms", "live reporting to a test management system (pytest-tms)")
    for _, entry in table():
        text = f"{entry.help} [{entry.env}]" if entry.env else entry.help
        if entry.option and entry.kind == "flag":
            group.addoption(entry.option, dest=dest(entry.option), action="store_true", help=text)
        elif entry.metavar.startswith("["):
            group.addoption(
                entry.option,
                dest=dest(entry.option),
                nargs="?",
                const=OFFLINE,
                metavar=entry.metavar.strip("[]"),
                help=text,
            )
        elif entry.option:
            action = "append" if entry.kind == "pairs" else "store"
            group.addoption(
                entry.option, dest=dest(entry.option), action=action, metavar=entry.metavar, help=text
            )
        if entry.ini:
            kind = {"pairs": "linelist", "lines": "linelist", "words": "args"}.get(entry.kind, "string")
            parser.addini(entry.ini, entry.help, type=kind, default=None)  # type: ignore[arg-type]


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """Make the user's hooks known (every process), so that implementing one is no error in an inert run."""
    from pytest_tms import hookspecs

    pluginmanager.add_hookspecs(hookspecs)


@pytest.fixture
def tms(request: pytest.FixtureRequest) -> Tms:
    """The TMS for this test: ``attach(…)``, ``property(…)``, ``execution_id``, ``shard_id``."""
    from pytest_tms.plugin.results.attachments import Tms

    manager = request.config.pluginmanager
    guard = manager.get_plugin("tms-guard")
    if guard is not None and not manager.has_plugin("tms-attached"):
        from pytest_tms.plugin.results.enrichment import Attached

        # Not before: each test that follows pays for it.
        manager.register(guard.watch(Attached()), "tms-attached")
    return Tms(request.node)


def pytest_configure(config: pytest.Config) -> None:
    """Switch on what this process needs (every process): a run, a worker's enrichment, or nothing."""
    config.addinivalue_line("markers", "tms(id, title, tags): how this test is named in the TMS")
    if not _is_wanted(config):
        return
    if any(config.getoption(name, default=False) for name in RUNS_NOTHING):
        return
    try:
        from pytest_tms.plugin.activation import start

        start(config)
    except Exception as error:  # a defect of ours must not keep the tests from running
        from pytest_tms.plugin.hook_errors import sentence
        from pytest_tms.plugin.inactive import Off

        config.pluginmanager.register(Off(sentence("pytest-tms in pytest_configure", error)), "tms-off")


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Switch off under xdist's ``--looponfail`` (the process that loops): each loop would be a run."""
    if config.getoption("looponfail", default=False) and _is_wanted(config):
        config.option.no_tms = True
        print("tms: not reporting: each loop of --looponfail would be a run of its own")


def _is_wanted(config: pytest.Config) -> bool:
    try:
        return is_on(config.getoption, os.environ, config.getini)
    except SettingError:
        return True  # the run resolves again, and says what is wrong
