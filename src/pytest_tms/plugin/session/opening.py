"""The first lines of a journal: which execution a session creates or joins, and where the journal is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pytest_tms.journal.lines import VERSION, Opened
from pytest_tms.masking.urls import without_credentials
from pytest_tms.plugin.session.shards import SessionShards
from pytest_tms.settings.table import Settings
from pytest_tms.wire.base import timestamp
from pytest_tms.wire.executions import Configuration, ExecutionRequest

JOURNALS = Path(".tms") / "journal"
"""The folder of journals, under pytest's rootdir."""
MAX_ATTEMPT = 999_999
"""The largest number of a CI attempt that is sent."""


def journal_folders(config: pytest.Config, offline: str) -> list[Path]:
    """Return where the journal may be written: in the project, else in the folder for temporary files.

    ``offline`` is the folder of ``--tms-offline``, which has no replacement.
    """
    import tempfile

    base = config.rootpath
    if base == base.parent:  # a rootdir of / means only that the tests have no folder in common
        base = config.invocation_params.dir
    if offline:
        return [base / offline]
    return [base / JOURNALS, Path(tempfile.gettempdir()) / "pytest-tms" / "journal"]


def opening_line(
    settings: Settings, run: str, metadata: dict[str, Any], request: ExecutionRequest | None
) -> Opened:
    """Return the first line of the journal of ``run``; without ``request`` the run joins an execution."""
    attempt = str(metadata.get("attempt", ""))
    return Opened(
        at=timestamp(),
        version=VERSION,
        run=run,
        url=without_credentials(settings.url),
        request=request,
        execution=settings.execution,
        provider=settings.provider,
        attempt=int(attempt) if attempt.isdecimal() and int(attempt) <= MAX_ATTEMPT else 0,
        documented=settings.payload == "documented",
    )


def execution_request(
    settings: Settings, shards: SessionShards, metadata: dict[str, Any]
) -> ExecutionRequest:
    """Return the request that creates the session's execution."""
    return ExecutionRequest(
        test_suite=settings.suite,
        environment=settings.environment,
        provider=settings.provider,
        trigger_source=settings.trigger,  # type: ignore[arg-type]  # checked against the choices
        configuration=Configuration(
            parallel=shards.is_parallel,
            shards=shards.total,
            timeout=settings.timeout * 1000 if settings.timeout else None,
        ),
        metadata=metadata or None,
    )
