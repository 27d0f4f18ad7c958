"""The hooks that users may implement, in a conftest.py or a plugin.

They are called in the process that reports: the only one, or xdist's controller. A hook that raises is a
warning at the end of the run, and changes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pytest_tms.plugin.session.summary import Summary


@pytest.hookspec
def pytest_tms_execution(config: pytest.Config, request: dict[str, Any]) -> None:
    """Change the body of POST /executions before it is sent, in place; not called if a run attaches.

    It is called before collecting: an implementation in the conftest.py of a folder that pytest finds only
    while collecting is not called.

    ``request`` holds the documented fields: ``testSuite``, ``environment``, ``configuration``, ``metadata``.
    """


@pytest.hookspec
def pytest_tms_result(report: pytest.TestReport | pytest.CollectReport, result: dict[str, Any]) -> None:
    """Change a complete result before it is sent, in place.

    ``result`` holds one entry of ``tests`` in POST /results: ``title``, ``status``, ``tags`` …, durations
    in milliseconds. ``report`` is the one that completed it: the last teardown, a crash, a collection error.
    An implementation in a conftest.py applies to the tests in and below its folder. ``nodeId`` and ``worker``
    identify the test and cannot be changed.
    """


@pytest.hookspec
def pytest_tms_finished(config: pytest.Config, summary: Summary) -> None:
    """Receive the summary of the run: its link, shards and counts, and the number of delivered results."""
