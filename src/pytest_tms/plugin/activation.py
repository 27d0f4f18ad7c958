"""What a process of a reporting run needs: an xdist worker only enriches, the others report.

A worker never loads the client: everything that talks is imported only where it is used.
"""

from __future__ import annotations

import os

import pytest

from pytest_tms.plugin.hook_errors import Guard
from pytest_tms.plugin.inactive import Off
from pytest_tms.plugin.offline import give_back_tests
from pytest_tms.plugin.results.attachments import REPORTING
from pytest_tms.plugin.results.enrichment import Carrier, Enricher, Unlogged
from pytest_tms.plugin.settings import Secret, SettingError, Settings, resolve
from pytest_tms.plugin.xdist.sharding import ShardName, ShardSelection, parse_shard


def start(config: pytest.Config) -> None:
    """Register this process's parts, or an Off that says why there are none."""
    worker = getattr(config, "workerinput", None)
    if worker is not None and "tms" not in worker:
        return  # the controller does not report
    if worker is None:
        give_back_tests(config)
    manager = config.pluginmanager
    guard = Guard(config)
    required = False
    try:
        settings = resolve(config.getoption, os.environ, config.getini).settings
        required = settings.required
        shard = parse_shard(settings.shard)
        enricher = Enricher(settings.tags)
        if worker is None:
            _start_run(config, settings, shard, enricher, guard)
    except ValueError as error:
        manager.register(Off(str(error), required=required), "tms-off")
        return
    manager.register(guard.watch(enricher), "tms-enricher")
    if worker is not None:
        config.stash[REPORTING] = worker["tms"]
        manager.register(guard.watch(Carrier(enricher, worker["tms"]["cancel"])), "tms-carrier")
    # rerunfailures logs every attempt, but late; where neither of the others is, no test pays for asking.
    if not manager.hasplugin("rerunfailures") and any(map(_is_silent, manager.list_name_plugin())):
        manager.register(guard.watch(Unlogged()), "tms-unlogged")
    if shard is not None and shard.total:
        manager.register(guard.watch(ShardSelection(shard)), "tms-shard")
    manager.register(guard, "tms-guard")


def _is_silent(plugin: tuple[str, object]) -> bool:
    """Whether this is a retry plugin that does not log every attempt, however it was loaded."""
    return "flaky" in plugin[0] or "retry" in plugin[0]


def _start_run(
    config: pytest.Config, settings: Settings, shard: ShardName | None, enricher: Enricher, guard: Guard
) -> None:
    from pytest_tms import masking
    from pytest_tms.plugin.session import Run

    client = None
    secrets = masking.of_environment(os.environ)
    if not settings.offline:
        url, token = address(settings)
        from pytest_tms.client import TmsClient

        client = TmsClient(url, token.reveal(), retries=0, connect_timeout=3, read_timeout=20)
        secrets.append(token.reveal())
    masker = masking.Masker(secrets, settings.mask)
    run = guard.watch(
        Run(config, settings, shard, client, masker, guard, enricher),
        instead=lambda reason: Off(reason, required=settings.required),
    )
    config.pluginmanager.register(run, "tms-run")


def address(settings: Settings) -> tuple[str, Secret]:
    """The base URL and the token that a run uses; starts the embedded TMS if need be. Raises SettingError."""
    if settings.url == "local":
        from pytest_tms.plugin.local import find_or_start

        return find_or_start()
    if not settings.url.startswith(("http://", "https://")):
        raise SettingError(f"the URL is {settings.url!r}: write http(s)://…/api, or local")
    if not settings.token:
        raise SettingError("there is no token: set TMS_API_TOKEN or TMS_API_TOKEN_FILE")
    return settings.url, settings.token
