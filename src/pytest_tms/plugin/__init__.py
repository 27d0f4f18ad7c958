"""The pytest plugin: options, the fixture ``tms``, activation. A run that does not report loads no more."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from pytest_tms.settings.resolution import ini_reader, is_disabled, is_on, is_required
from pytest_tms.settings.table import OFFLINE, SettingError, dest, table

if TYPE_CHECKING:
    from pytest_tms.plugin.results.fixture import Tms


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
    """Declare every option and ini value from the table of settings (every process)."""
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
            # In native TOML a value of another type is accepted too: see ini_reader.
            kind = {"pairs": "linelist", "lines": "linelist", "words": "args"}.get(entry.kind, "string")
            parser.addini(entry.ini, entry.help, type=kind, default=None)  # type: ignore[arg-type]  # mypy sees any str


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """Declare the hooks for users (every process), so that a run that does not report accepts them too."""
    from pytest_tms.plugin import hookspecs

    pluginmanager.add_hookspecs(hookspecs)


@pytest.fixture
def tms(request: pytest.FixtureRequest) -> Tms:
    """The report of this test: ``attach(…)``, ``property(…)``, ``execution_id``, ``shard_id``."""
    from pytest_tms.plugin.results.fixture import Tms

    if request.config.pluginmanager.has_plugin("tms-hook-errors"):
        from pytest_tms.plugin.results.reported_attachments import report_attachments

        report_attachments(request.config)
    return Tms(request.node)


def pytest_configure(config: pytest.Config) -> None:
    """Register what this process needs (every process): the selection of its shard, a session, or enrichment.

    Raises:
        pytest.UsageError: the shard is invalid. To run all tests instead would hide the mistake.
    """
    config.addinivalue_line("markers", "tms(id, title, tags, owner): how this test is shown in the TMS")
    _select_shard(config)
    if any(config.getoption(name, default=False) for name in RUNS_NOTHING):
        return
    if not _is_wanted(config):
        _check_required(config)
        return
    try:
        from pytest_tms.plugin.activation import activate

        activate(config)
    except SettingError as error:
        _register_inactive(config, str(error))
    except Exception as error:  # a defect of the plugin must not keep the tests from running
        from pytest_tms.plugin.hook_errors import describe_error

        _register_inactive(config, describe_error("pytest-tms in pytest_configure", error))


def _select_shard(config: pytest.Config) -> None:
    """Select the tests of this process's shard, whether or not it reports."""
    text = config.getoption("tms_shard") or os.environ.get("TMS_SHARD") or ini_reader(config)("tms_shard")
    if not text:
        return
    from pytest_tms.plugin.xdist.sharding import ShardSelection, parse_shard

    try:
        shard = parse_shard(str(text).strip())
    except SettingError as error:
        raise pytest.UsageError(str(error)) from None
    if shard is not None:
        config.pluginmanager.register(ShardSelection(shard), "tms-shard")


def _check_required(config: pytest.Config) -> None:
    """Fail a run that is required to report and has no TMS."""
    is_wanted = _is_required(config) and not is_disabled(config.getoption, os.environ)
    if is_wanted and not hasattr(config, "workerinput") and not _is_nested(config):
        state = "TMS_URL is empty" if "TMS_URL" in os.environ else "there is no TMS URL"
        _register_inactive(config, f"{state}: set --tms-url, TMS_URL or tms_url")


def _register_inactive(config: pytest.Config, reason: str) -> None:
    from pytest_tms.plugin.inactive import Inactive

    config.pluginmanager.register(Inactive(reason, required=_is_required(config)), "tms-inactive")


def _is_required(config: pytest.Config) -> bool:
    return is_required(config.getoption, os.environ, ini_reader(config))


def _is_nested(config: pytest.Config) -> bool:
    """Return whether this session runs inside a test of another one, without an option for reporting."""
    has_option = any(config.getoption(name) for name in ("tms_url", "tms_offline", "tms_required"))
    return "PYTEST_CURRENT_TEST" in os.environ and not has_option


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Switch off under xdist's ``--looponfail`` (the process that loops): each loop would be a run."""
    if config.getoption("looponfail", default=False) and _is_wanted(config):
        config.option.no_tms = True
        print("tms: not reporting: each loop of --looponfail would be a run of its own")


def _is_wanted(config: pytest.Config) -> bool:
    return not _is_nested(config) and is_on(config.getoption, os.environ, ini_reader(config))
