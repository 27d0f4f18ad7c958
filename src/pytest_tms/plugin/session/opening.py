"""The first lines of a journal: which execution a session creates or joins, and where the journal is."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from pytest_tms.ci.detection import detect_build
from pytest_tms.journal.lines import VERSION, Opened
from pytest_tms.journal.plan import SUFFIX
from pytest_tms.masking.urls import without_credentials
from pytest_tms.plugin.session.shards import SessionShards
from pytest_tms.plugin.xdist.sharding import ShardName
from pytest_tms.sender.launch import PlanRequest
from pytest_tms.settings.table import Settings
from pytest_tms.text import clean
from pytest_tms.wire.base import timestamp
from pytest_tms.wire.executions import Configuration, ExecutionRequest

JOURNALS = Path(".tms") / "journal"
"""The folder of journals, under pytest's rootdir."""
NO_RUN_KEY = "none"
"""The value of ``--tms-run-key`` that switches it off."""
MAX_RUN_KEY = 200
"""Characters of the longest run key; of a longer one the hash is sent."""
NO_SHARED_EXECUTION = (
    "the shards do not share an execution: give them the same --tms-run-key, or the --tms-execution that "
    "`tms execution create` prints"
)
"""Why the jobs of a run cannot share a queue."""
MAX_ATTEMPT = 999_999
"""The largest number of a CI attempt that is sent."""


def journal_folders(config: pytest.Config, offline: str) -> list[Path]:
    """Return where the journal may be written: in the project, else in the folder for temporary files.

    ``offline`` is the folder of ``--tms-offline``, which has no replacement.
    """
    import tempfile

    base = _base(config)
    if offline:
        return [base / offline]
    return [base / JOURNALS, Path(tempfile.gettempdir()) / "pytest-tms" / "journal"]


def quarantine_file(config: pytest.Config, journal: Path, settings: Settings, project: str) -> Path:
    """Return the file for the tests in quarantine, beside the folder of journals, also of an offline run.

    Each TMS and project has a file of its own.
    """
    name = hashlib.sha256(f"{without_credentials(settings.url)}\0{project}".encode()).hexdigest()[:32]
    folder = _base(config) / JOURNALS.parent if settings.offline else journal.parent.parent
    return folder.absolute() / "quarantine" / f"{name}.json"


def _base(config: pytest.Config) -> Path:
    """Return the folder that contains ``.tms``."""
    base = config.rootpath
    if base == base.parent:  # a rootdir of / means only that the tests have no folder in common
        return config.invocation_params.dir
    return base


def opening_line(
    settings: Settings, run: str, metadata: dict[str, Any], request: ExecutionRequest | None
) -> Opened:
    """Return the first line of the journal of ``run``; without ``request`` the run joins an execution."""
    return Opened(
        at=timestamp(),
        version=VERSION,
        run=run,
        url=without_credentials(settings.url),
        request=request,
        execution=settings.execution,
        provider=settings.provider,
        attempt=ci_attempt(metadata),
        documented=settings.payload == "documented",
        upload=settings.upload,
        upload_limit=settings.upload_limit,
    )


def ci_attempt(metadata: Mapping[str, Any]) -> int:
    """Return the number of the CI attempt, 0 if it is not known."""
    attempt = str(metadata.get("attempt", ""))
    return int(attempt) if attempt.isdecimal() and int(attempt) <= MAX_ATTEMPT else 0


def find_run_key(settings: Settings, environ: Mapping[str, str] = os.environ) -> str:
    """Return the key by which the jobs of one run share an execution; empty if they do not.

    It is that of the setting, else if a shard is named that of the CI run.
    """
    key = settings.run_key
    if not key and settings.shard and (build := detect_build(environ)) is not None:
        key = build.run_key
    if key.lower() == NO_RUN_KEY:
        return ""
    return key if len(key) <= MAX_RUN_KEY else hashlib.sha256(clean(key).encode()).hexdigest()


def lone_shard_warning(settings: Settings, shards: SessionShards, run_key: str) -> str:
    """Return a sentence if this session is one of several shards and nothing brings them together."""
    if not shards.are_part or run_key or settings.run_key or settings.execution:
        return ""
    return (
        f"shard {settings.shard} is an execution of its own: give all shards the same --tms-run-key, or run "
        f"`tms execution create --shards {shards.declared}` and pass them --tms-execution"
    )


def plan_request(
    settings: Settings, shard: ShardName, journal: Path, attempt: int, *, by_queue: bool
) -> PlanRequest | None:
    """Return what a shard needs from the TMS to select its tests, None if nothing.

    ``attempt`` is the number of the CI attempt: from the second on, only failed and missing tests run.
    ``by_queue`` is whether the shard can take its tests from a queue.
    """
    by_duration = shard.total > 1 and settings.split != "count"
    reruns = settings.rerun == "failed" or (settings.rerun == "auto" and attempt > 1)
    if not by_duration and not by_queue and not reruns:
        return None
    return PlanRequest(
        path=str(journal.with_suffix(SUFFIX).absolute()),
        by_duration=by_duration,
        by_queue=by_queue,
        attempt=attempt,
        rerun_shard=shard.id if reruns else "",
    )


def left_out(settled: int, shard: str) -> str:
    """Return a sentence about the tests of a shard that do not run again."""
    tests = "1 test of shard {} is" if settled == 1 else f"{settled:,} tests of shard {{}} are"
    return (
        f"{tests.format(shard)} not run again: passed or skipped in an earlier attempt "
        "(--tms-rerun all runs all)"
    )


def plan_warning(shard: str, *, is_by_duration: bool, is_by_queue: bool = False) -> str:
    """Return a sentence about a shard that could not select its tests as the others may have done."""
    if is_by_queue:
        return (
            f"shard {shard} did not reach the queue of the TMS and divided the tests by their number: shards "
            "that take tests from the queue may have run the same tests again"
        )
    if not is_by_duration:
        return f"the TMS did not say which tests of shard {shard} passed before, so all of them ran"
    return (
        f"shard {shard} got no durations of tests from the TMS and divided them by their number: if others "
        "divided them by duration, tests may have run twice or not at all; --tms-split count avoids this"
    )


def no_queue_reason(settings: Settings, *, is_shared: bool, is_each: bool, problem: str) -> str:
    """Return why a shard cannot take its tests from a queue; empty if it can.

    ``is_shared`` is whether other jobs report to the same execution, ``is_each`` whether each worker of xdist
    runs all tests, ``problem`` why nothing can be sent.
    """
    if settings.offline or problem:
        return "this run does not report to a TMS"
    if is_each:
        return "with --dist each, each worker runs all tests"
    if not is_shared:
        return NO_SHARED_EXECUTION
    return ""


def no_queue_warning(shard: ShardName, reason: str, division: str) -> str:
    """Return a sentence about a shard that does not take its tests from a queue as it was to.

    ``division`` is how it divided them: see ``ShardSelection.division``.
    """
    how = next((how for how in ("by duration", "by number") if how in division), "by number")
    what = f"divided its tests {how}" if shard.total else "ran all its tests"
    return f"shard {shard.id} {what} and did not take them from a queue: {reason}"


def execution_request(
    settings: Settings, shards: SessionShards, metadata: dict[str, Any], run_key: str
) -> ExecutionRequest:
    """Return the request that creates the session's execution, or joins that of its ``run_key``."""
    return ExecutionRequest(
        test_suite=settings.suite,
        environment=settings.environment,
        provider=settings.provider,
        trigger_source=settings.trigger,  # type: ignore[arg-type]  # checked against the choices
        configuration=Configuration(
            parallel=shards.is_parallel,
            shards=shards.declared if run_key else len(shards.ids),
            timeout=settings.timeout * 1000 if settings.timeout else None,
        ),
        metadata=metadata or None,
        run_key=run_key or None,
    )
