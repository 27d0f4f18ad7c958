"""Results that the user's hook ``pytest_tms_result`` changes."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pytest_tms import wire

NAME = "pytest_tms_result"


def result_hook(config: pytest.Config, file: str | None) -> Callable[..., Any]:
    """Return the hook ``pytest_tms_result`` as it applies to a test in ``file`` (relative to the rootdir).

    As for pytest's own hooks, an implementation in a ``conftest.py`` applies to the tests in and below its
    folder. xdist's controller has only those that pytest loads at the start.
    """
    manager = config.pluginmanager
    path = Path(os.path.normpath(config.rootpath / (file or "")))
    others = []
    for implementation in config.hook.pytest_tms_result.get_hookimpls():
        source = getattr(implementation.plugin, "__file__", None)
        if (
            source is not None
            and Path(source).name == "conftest.py"
            and not path.is_relative_to(Path(source).parent)
        ):
            others.append(implementation.plugin)
    return manager.subset_hook_caller(NAME, others) if others else config.hook.pytest_tms_result


def restore_identity(before: wire.TestResult, after: wire.TestResult) -> wire.TestResult:
    """Return ``after`` with the identity of ``before``: no hook makes two tests one."""
    if after.node_id == before.node_id and after.worker == before.worker:
        return after
    return msgspec.structs.replace(after, node_id=before.node_id, worker=before.worker)
