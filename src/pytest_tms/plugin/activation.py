"""Registers what a process of a run needs: an xdist worker enriches reports, any other process reports.

A worker loads no sender; nor does a run that only selects the tests of its shard.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_tms.plugin.hook_errors import HookErrors
from pytest_tms.plugin.inactive import Inactive
from pytest_tms.plugin.offline_option import restore_test_path
from pytest_tms.plugin.results.attachment_store import AttachmentStore
from pytest_tms.plugin.results.attachments import REPORTING, STORE
from pytest_tms.plugin.results.code_owners import find_code_owners
from pytest_tms.plugin.results.enrichment import Enricher, ExceptionHook
from pytest_tms.plugin.results.recorded_properties import RecordedProperties
from pytest_tms.plugin.results.reported_attachments import report_attachments
from pytest_tms.plugin.results.retry_plugins import UnloggedFailures
from pytest_tms.plugin.results.shared_setups import SharedSetupTimes
from pytest_tms.plugin.xdist.sharding import LONGEST_FIRST, PLAN, ShardName, parse_shard
from pytest_tms.settings.resolution import ini_reader, resolve
from pytest_tms.settings.table import SettingError, Settings
from pytest_tms.settings.urls import url_problem

if TYPE_CHECKING:
    from pytest_tms.plugin.github_actions import GitHubActions


def activate(config: pytest.Config) -> None:
    """Register the parts of this process.

    Raises:
        SettingError: the settings do not allow a report.
    """
    worker = getattr(config, "workerinput", None)
    if worker is not None and "tms" not in worker:
        return  # the controller is not reporting
    if worker is None:
        restore_test_path(config)
    manager = config.pluginmanager
    errors = HookErrors(config)
    config.stash[STORE] = AttachmentStore()
    resolved = resolve(config.getoption, os.environ, ini_reader(config))
    settings = resolved.settings
    if worker is None:
        errors.extend(resolved.problems)
    shard = parse_shard(settings.shard)
    setups = SharedSetupTimes()
    enricher = Enricher(settings.tags, find_code_owners(config.rootpath), setups)
    if worker is None:
        _start_session(config, settings, shard, enricher, errors)
    manager.register(errors.protect(enricher), "tms-enricher")
    manager.register(ExceptionHook(enricher), "tms-exceptions")
    manager.register(errors.protect(setups), "tms-shared-setups")
    if worker is not None:
        from pytest_tms.plugin.xdist.worker_reports import WorkerReports

        config.stash[REPORTING] = worker["tms"]
        if worker["tms"]["plan"]:
            from pytest_tms.journal.plan import read_plan

            path = Path(worker["tms"]["plan"])
            config.stash[PLAN] = lambda: read_plan(path)
            config.stash[LONGEST_FIRST] = bool(worker["tms"]["order"])
        reports = WorkerReports(enricher, worker["tms"]["cancel"])
        manager.register(errors.protect(reports), "tms-worker-reports")
        if selection := worker["tms"].get("flaky"):
            from pytest_tms.plugin.flaky_detection import FlakyDetection, Selection

            manager.register(FlakyDetection(Selection.from_json(selection)), "tms-flaky-detection")
    # rerunfailures logs every attempt, but late. The wrapper takes time for each test, so it is optional.
    if not manager.hasplugin("rerunfailures") and any(map(_hides_attempts, manager.list_name_plugin())):
        manager.register(errors.protect(UnloggedFailures()), "tms-unlogged")
    recorded = RecordedProperties(config, before_record=lambda: report_attachments(config))
    manager.register(errors.protect(recorded), "tms-recorded")
    manager.register(errors, "tms-hook-errors")


def _hides_attempts(plugin: tuple[str, object]) -> bool:
    """Return whether this is a retry plugin that does not log every attempt, however it was loaded."""
    return "flaky" in plugin[0] or "retry" in plugin[0]


def _start_session(
    config: pytest.Config,
    settings: Settings,
    shard: ShardName | None,
    enricher: Enricher,
    errors: HookErrors,
) -> None:
    from pytest_tms.masking.environment import secrets_in
    from pytest_tms.masking.masker import Masker
    from pytest_tms.plugin.session.lifecycle import ReportingSession

    secrets = [
        *secrets_in(os.environ),
        settings.token.reveal(),
        settings.webhook_token.reveal(),
    ]
    try:
        masker = Masker(secrets, settings.mask)
    except ValueError as error:  # results without the mask that the user asked for must not be sent
        raise SettingError(str(error)) from None
    session = errors.protect(
        ReportingSession(
            config,
            settings,
            shard,
            masker,
            errors,
            enricher,
            problem=delivery_problem(settings),
            github=_github_actions(config, settings),
        ),
        replacement=lambda reason: Inactive(reason, required=settings.required),
    )
    config.pluginmanager.register(session, "tms-session")


def _github_actions(config: pytest.Config, settings: Settings) -> GitHubActions | None:
    """Return the output for GitHub Actions, in a job of it."""
    if os.environ.get("GITHUB_ACTIONS") != "true":
        return None
    from pytest_tms.plugin.github_actions import GitHubActions

    return GitHubActions(
        os.environ,
        root=config.rootpath,
        folder=config.invocation_params.dir,
        annotate=settings.annotations,
    )


def delivery_problem(settings: Settings) -> str:
    """Return why these settings do not allow delivery; an empty text if they do."""
    if settings.offline or settings.url == "local":
        return ""
    if problem := url_problem(settings.url):
        return problem
    if not settings.token:
        from pytest_tms.ci.id_tokens import find_id_token, missing_permission

        if find_id_token(os.environ) is None:
            return "there is no token: set TMS_API_TOKEN or TMS_API_TOKEN_FILE" + missing_permission(
                os.environ
            )
    return ""
