"""Prints the settings of a run as pytest reads them: the plugin with which `tms doctor` starts pytest."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from pytest_tms.masking.environment import secrets_in
from pytest_tms.masking.masker import Masker
from pytest_tms.plugin.activation import delivery_problem
from pytest_tms.plugin.offline_option import restore_test_path
from pytest_tms.plugin.session.opening import find_run_key
from pytest_tms.plugin.xdist.sharding import parse_shard
from pytest_tms.settings.resolution import Resolved, ini_reader, is_on, resolve
from pytest_tms.settings.spelling import misspelt, unused
from pytest_tms.settings.table import table

PREFIX_VARIABLE = "PYTEST_TMS_PROBE"
"""The variable that holds the prefix of the line for `tms doctor`: a conftest.py may print other lines."""


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> int:
    """Print the settings as one line of JSON, instead of running a session."""
    found: dict[str, Any] = {"rootdir": str(config.rootpath), "settings": [], "problem": "", "off": ""}
    try:
        _read(config, found)
    except ValueError as error:
        found["problem"] = str(error)
    # A conftest.py may have replaced sys.stdout.
    with open(1, "w", encoding="utf-8", closefd=False) as output:
        output.write(f"\n{os.environ.get(PREFIX_VARIABLE, '')}{json.dumps(found)}\n")
    return 0


def _read(config: pytest.Config, found: dict[str, Any]) -> None:
    """Fill ``found``, secrets included: it is written to a pipe only.

    ``off`` is why the run does not report, ``problem`` why it cannot; ``problems`` are about invalid values
    that do not prevent it.

    Raises:
        ValueError: the run cannot report; the message is the problem.
    """
    if not config.pluginmanager.hasplugin("tms"):
        raise ValueError(
            "pytest does not load pytest-tms: look for -p no:tms, PYTEST_ADDOPTS and PYTEST_PLUGINS"
        )
    restore_test_path(config)
    read_ini = ini_reader(config)
    resolved = resolve(config.getoption, os.environ, read_ini)
    settings, sources = resolved.settings, resolved.sources
    found["settings"] = [
        (entry.option or entry.ini, getattr(settings, name), sources[name]) for name, entry in table()
    ]
    found["tokens"] = [
        (name.upper(), bool(getattr(settings, name)), sources[name]) for name in ("token", "webhook_token")
    ]
    found["secrets"] = [
        settings.token.reveal(),
        settings.webhook_token.reveal(),
        *secrets_in(os.environ),
    ]
    ini_names = list(getattr(config, "_inicfg", ()))
    found["problems"] = [*resolved.problems, *misspelt(os.environ, ini_names)]
    found["notes"] = unused(os.environ, ini_names)
    for name in ("suite", "environment", "execution", "shard", "split"):
        found[name] = getattr(settings, name)
    if not settings.execution:
        found["run_key"] = find_run_key(settings)
    parse_shard(settings.shard)
    Masker((), settings.mask)
    if not is_on(config.getoption, os.environ, read_ini):
        found["off"] = _why_off(resolved)
    elif settings.offline:
        found["offline"] = str(config.rootpath / Path(settings.offline))
    else:
        token_problems = [each for each in resolved.problems if each.startswith("TMS_API_TOKEN")]
        if token_problems:
            found["problems"].remove(token_problems[0])
            raise ValueError(token_problems[0])
        if problem := delivery_problem(settings):
            raise ValueError(problem)
        found["url"], found["token"] = settings.url, settings.token.reveal()
        if settings.url == "local":
            from pytest_tms.local_server import find_or_start

            found["url"], found["token"] = find_or_start(os.getppid())  # `tms doctor`, which examines it


def _why_off(resolved: Resolved) -> str:
    if resolved.settings.disabled:
        return f"{resolved.sources['disabled']} is given; leave it out to report"
    state = "TMS_URL is empty" if "TMS_URL" in os.environ else "there is no URL"
    return f"{state}; set --tms-url, TMS_URL or tms_url"
