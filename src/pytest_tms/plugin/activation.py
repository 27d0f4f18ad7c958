"""What a process of a pytest run needs: an xdist worker enriches reports, any other process reports.

A worker loads no client and no sender; nor does a run that only selects the tests of its shard.
"""

from __future__ import annotations

import os

import pytest

from pytest_tms.plugin.hook_errors import Guard
from pytest_tms.plugin.inactive import Inactive
from pytest_tms.plugin.offline_option import give_back_tests
from pytest_tms.plugin.results.attachments import REPORTING, STORE, AttachmentStore
from pytest_tms.plugin.results.enrichment import Carrier, Enricher, Unlogged, watch_attachments
from pytest_tms.plugin.results.recorded_properties import RecordedProperties
from pytest_tms.plugin.settings import SettingError, Settings, ini_reader, resolve
from pytest_tms.plugin.xdist.sharding import ShardName, parse_shard


def activate(config: pytest.Config) -> None:
    """Register the parts of this process, or an ``Inactive`` that shows why there are none."""
    worker = getattr(config, "workerinput", None)
    if worker is not None and "tms" not in worker:
        return  # the controller does not report
    if worker is None:
        give_back_tests(config)
    manager = config.pluginmanager
    guard = Guard(config)
    config.stash[STORE] = AttachmentStore()
    resolved = resolve(config.getoption, os.environ, ini_reader(config))
    settings = resolved.settings
    if worker is None:
        guard.learn(resolved.problems)
    shard = parse_shard(settings.shard)
    enricher = Enricher(settings.tags)
    if worker is None:
        _start_session(config, settings, shard, enricher, guard)
    manager.register(guard.watch(enricher), "tms-enricher")
    if worker is not None:
        config.stash[REPORTING] = worker["tms"]
        manager.register(guard.watch(Carrier(enricher, worker["tms"]["cancel"])), "tms-carrier")
    # rerunfailures logs every attempt, but late; no test pays for what is not there.
    if not manager.hasplugin("rerunfailures") and any(map(_is_silent, manager.list_name_plugin())):
        manager.register(guard.watch(Unlogged()), "tms-unlogged")
    recorded = RecordedProperties(config, keep=lambda: watch_attachments(config))
    manager.register(guard.watch(recorded), "tms-recorded")
    manager.register(guard, "tms-guard")


def _is_silent(plugin: tuple[str, object]) -> bool:
    """Whether this is a retry plugin that does not log every attempt, however it was loaded."""
    return "flaky" in plugin[0] or "retry" in plugin[0]


def _start_session(
    config: pytest.Config, settings: Settings, shard: ShardName | None, enricher: Enricher, guard: Guard
) -> None:
    from pytest_tms import masking
    from pytest_tms.plugin.session import ReportingSession

    secrets = [
        *masking.of_environment(os.environ),
        settings.token.reveal(),
        settings.webhook_token.reveal(),
    ]
    warnings: list[str] = []
    try:
        masker = masking.Masker(secrets, settings.mask)
    except ValueError as error:  # results without the mask that was asked for must not be sent
        raise SettingError(str(error)) from None
    session = guard.watch(
        ReportingSession(
            config, settings, shard, masker, guard, enricher, problem=unusable(settings), warnings=warnings
        ),
        instead=lambda reason: Inactive(reason, required=settings.required),
    )
    config.pluginmanager.register(session, "tms-session")


def unusable(settings: Settings) -> str:
    """Return why these settings allow no delivery; an empty text if they do."""
    if settings.offline or settings.url == "local":
        return ""
    if not settings.url.startswith(("http://", "https://")):
        return f"invalid TMS URL {settings.url!r}: use http(s)://HOST/api, or local"
    if not settings.token:
        return "there is no token: set TMS_API_TOKEN or TMS_API_TOKEN_FILE"
    return ""
