"""Calls the hooks that users implement, and validates the messages that they changed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
import pytest

from pytest_tms.journal.lines import as_json
from pytest_tms.plugin.hook_errors import HookErrors
from pytest_tms.wire.executions import ExecutionRequest
from pytest_tms.wire.results import TestResult

if TYPE_CHECKING:
    from pytest_tms.plugin.session.summary import Summary

MessageType = TypeVar("MessageType", bound=msgspec.Struct)

USER_ERRORS = (Exception, pytest.skip.Exception, pytest.fail.Exception)
"""Exceptions that a user's hook may raise; pytest's own outcomes are not subclasses of Exception."""


class UserHooks:
    """Calls the hooks of ``hookspecs``. A hook that raises, or makes a message invalid, has no effect."""

    def __init__(self, config: pytest.Config, errors: HookErrors) -> None:
        self._config = config
        self._errors = errors

    def change_request(self, request: ExecutionRequest) -> ExecutionRequest:
        """Return the request for an execution after ``pytest_tms_execution`` has changed it."""
        body = msgspec.to_builtins(request)
        try:
            self._config.hook.pytest_tms_execution(config=self._config, request=body)
            return _checked(body, ExecutionRequest)
        except USER_ERRORS as error:
            self._errors.record("the hook pytest_tms_execution", error)
            return request

    def has_result_hook(self) -> bool:
        """Return whether ``pytest_tms_result`` is implemented. Every conftest.py must be loaded."""
        return bool(self._config.hook.pytest_tms_result.get_hookimpls())

    def change_result(
        self, report: pytest.TestReport | pytest.CollectReport, result: TestResult
    ) -> TestResult:
        """Return a result after ``pytest_tms_result`` has changed it."""
        body = msgspec.to_builtins(result)
        try:
            result_hook(self._config, result.file)(report=report, result=body)
            return restore_identity(result, _checked(body, TestResult))
        except USER_ERRORS as error:
            self._errors.record("the hook pytest_tms_result", error)
            return result

    def notify_finished(self, summary: Summary) -> None:
        """Call ``pytest_tms_finished``."""
        try:
            self._config.hook.pytest_tms_finished(config=self._config, summary=summary)
        except USER_ERRORS as error:
            self._errors.record("the hook pytest_tms_finished", error)


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
    return (
        manager.subset_hook_caller("pytest_tms_result", others) if others else config.hook.pytest_tms_result
    )


def restore_identity(before: TestResult, after: TestResult) -> TestResult:
    """Return ``after`` with the identity of ``before``, so that no hook merges two tests."""
    if after.node_id == before.node_id and after.worker == before.worker:
        return after
    return msgspec.structs.replace(after, node_id=before.node_id, worker=before.worker)


def _checked(body: dict[str, Any], kind: type[MessageType]) -> MessageType:
    """Return ``body`` as a message of its kind; raise an exception if it cannot be sent as one."""
    message = msgspec.convert(body, kind)
    as_json(message)
    return message
