"""Subtests: the parts of a test that pytest and pytest-subtests report on their own."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any

import pytest

from pytest_tms.plugin.results.captured_output import Clip
from pytest_tms.plugin.results.error_text import reason, traceback
from pytest_tms.plugin.results.json_values import milliseconds
from pytest_tms.plugin.results.observed_tests import is_failure, phase_of
from pytest_tms.text import clean, text_of
from pytest_tms.wire.base import TestStatus
from pytest_tms.wire.results import Subtest

MAX_TITLE = 1000
"""Characters of a subtest's title that are kept."""
MAX_VALUE = 200
"""Characters of a value in a subtest's title that are kept."""


def build_subtest(report: pytest.TestReport, context: Any, worker: str, clip: Clip) -> Subtest:
    """Return a subtest from its report, whose ``context`` has the message and the values."""
    phase = phase_of(report)
    status: TestStatus = "failed" if is_failure(phase) else "passed"
    if phase.outcome == "skipped":
        status = "skipped"
    wasxfail = None if is_failure(phase) and phase.longrepr is not None else phase.wasxfail
    return Subtest(
        title=clean(_title(context, worker), limit=MAX_TITLE),
        status=status,
        duration=milliseconds(phase.duration),
        error=reason(phase.longrepr, wasxfail) if status != "passed" else None,
        longrepr=clip(traceback(phase.longrepr)) if status == "failed" else None,
    )


def _title(context: Any, worker: str) -> str:
    values = context.kwargs if isinstance(context.kwargs, Mapping) else {}
    is_repr = _is_repr_as_repr(context)
    kwargs = ", ".join(f"{text_of(name)}={_value(value, is_repr, worker)}" for name, value in values.items())
    message = "" if context.msg is None else text_of(context.msg)
    return f"{message} ({kwargs})" if message and kwargs else message or kwargs or "subtest"


def _is_repr_as_repr(context: Any) -> bool:
    """Return whether this pytest keeps a subtest's values as their repr (9.2 does, 8.4 and 9.0 do not)."""
    try:
        return bool(type(context)(msg=None, kwargs={"x": ""}).kwargs["x"] == "''")
    except Exception:  # not pytest's class
        return False


def _value(value: Any, is_repr: bool, worker: str) -> str:
    """Return a subtest's value as its repr; over xdist a value that is a repr became the repr of that."""
    if not is_repr:
        try:
            return repr(value)[:MAX_VALUE]
        except KeyboardInterrupt:
            raise
        except BaseException:  # a user's repr may raise anything
            return f"<{type(value).__name__}>"
    if worker:
        try:
            return text_of(ast.literal_eval(value))
        except (ValueError, SyntaxError, TypeError):  # cut by pytest
            pass
    return text_of(value)
