"""The settings of a run, as pytest itself reads them: a plugin with which `tms doctor` starts pytest."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from pytest_tms import masking
from pytest_tms.plugin.activation import unusable
from pytest_tms.plugin.offline_option import give_back_tests
from pytest_tms.plugin.settings import Resolved, ini_reader, is_on, misspelt, resolve, table, unused
from pytest_tms.plugin.xdist.sharding import parse_shard

MARK = "PYTEST_TMS_PROBE"
"""The variable that holds how the one line for `tms doctor` begins: a conftest.py may print others."""


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> int:
    """Print what was read as one line of JSON, instead of running a session."""
    found: dict[str, Any] = {"rootdir": str(config.rootpath), "settings": [], "problem": "", "off": ""}
    try:
        _read(config, found)
    except ValueError as error:
        found["problem"] = str(error)
    # A conftest.py may have replaced sys.stdout.
    with open(1, "w", encoding="utf-8", closefd=False) as output:
        output.write(f"\n{os.environ.get(MARK, '')}{json.dumps(found)}\n")
    return 0


def _read(config: pytest.Config, found: dict[str, Any]) -> None:
    """Fill ``found``, secrets included: it goes through a pipe and nowhere else.

    ``off`` is why the run does not report, ``problem`` why it cannot; ``problems`` are sentences about values
    without which it can. Raises ValueError with the problem.
    """
    if not config.pluginmanager.hasplugin("tms"):
        raise ValueError(
            "pytest does not load pytest-tms: look for -p no:tms, PYTEST_ADDOPTS and PYTEST_PLUGINS"
        )
    give_back_tests(config)
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
        *masking.of_environment(os.environ),
    ]
    ini_names = list(getattr(config, "_inicfg", ()))
    found["problems"] = [*resolved.problems, *misspelt(os.environ, ini_names)]
    found["notes"] = unused(os.environ, ini_names)
    for name in ("suite", "environment", "execution"):
        found[name] = getattr(settings, name)
    parse_shard(settings.shard)
    masking.Masker((), settings.mask)
    if not is_on(config.getoption, os.environ, read_ini):
        found["off"] = _why_off(resolved)
    elif settings.offline:
        found["offline"] = str(config.rootpath / Path(settings.offline))
    else:
        token_problems = [each for each in resolved.problems if each.startswith("TMS_API_TOKEN")]
        if token_problems:
            found["problems"].remove(token_problems[0])
            raise ValueError(token_problems[0])
        if problem := unusable(settings):
            raise ValueError(problem)
        found["url"], found["token"] = settings.url, settings.token.reveal()
        if settings.url == "local":
            from pytest_tms.embedded import find_or_start

            found["url"], found["token"] = find_or_start(os.getppid())  # `tms doctor`, which examines it


def _why_off(resolved: Resolved) -> str:
    if resolved.settings.disabled:
        return f"{resolved.sources['disabled']} is given; leave it out to report"
    state = "TMS_URL is empty" if "TMS_URL" in os.environ else "there is no URL"
    return f"{state}; set --tms-url, TMS_URL or tms_url"
