"""What a run here would be told, read by pytest itself: `tms doctor` starts pytest with this, and no test."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

from pytest_tms import masking
from pytest_tms.plugin.activation import unusable
from pytest_tms.plugin.offline import give_back_tests
from pytest_tms.plugin.settings import is_on, resolve, table
from pytest_tms.plugin.xdist.sharding import parse_shard

MARK = "tms-probe:"
"""Begins the one line that is for `tms doctor`: a conftest.py may print others."""


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> int:
    """Say what was read, instead of running a session."""
    told: dict[str, Any] = {"rootdir": str(config.rootpath), "settings": [], "problem": ""}
    try:
        _read(config, told)
    except ValueError as error:
        told["problem"] = str(error)
    print(f"\n{MARK}{json.dumps(told)}")
    return 0


def _read(config: pytest.Config, told: dict[str, Any]) -> None:
    """Fill ``told``, secrets included: it goes through a pipe and nowhere else. Raises ValueError."""
    if not config.pluginmanager.hasplugin("tms"):
        raise ValueError(
            "pytest does not load pytest-tms: look for -p no:tms, PYTEST_ADDOPTS and PYTEST_PLUGINS"
        )
    give_back_tests(config)
    found = resolve(config.getoption, os.environ, config.getini)
    settings = found.settings
    told["settings"] = [
        (entry.option or entry.ini, getattr(settings, name), found.sources[name]) for name, entry in table()
    ]
    told["tokens"] = [
        (name.upper(), bool(getattr(settings, name)), found.sources[name])
        for name in ("token", "webhook_token")
    ]
    secrets = [settings.token.reveal(), settings.webhook_token.reveal(), *masking.of_environment(os.environ)]
    told["secrets"] = secrets
    parse_shard(settings.shard)
    masking.Masker((), settings.mask)
    if not is_on(config.getoption, os.environ, config.getini):
        if settings.disabled:
            raise ValueError("reporting is off: --no-tms or TMS_DISABLED says so")
        raise ValueError("reporting is off: there is no URL, set --tms-url, TMS_URL or tms_url")
    told["execution"], told["environment"] = settings.execution, settings.environment
    if not settings.offline:
        if problem := unusable(settings):
            raise ValueError(problem)
        told["url"], told["token"] = settings.url, settings.token.reveal()
        if settings.url == "local":
            from pytest_tms.embedded import find_or_start

            told["url"], told["token"] = find_or_start(os.getpid())
