"""What tests record with pytest's fixtures for JUnit XML: kept whether or not such a file is written.

``record_property`` needs nothing: it is in ``report.user_properties``. The two others do nothing without
``--junitxml``, so this plugin overrides them with fixtures that call pytest's own and keep the values.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pytest_tms.plugin.results.attachments import ATTACHED, STORE, AttachmentStore
from pytest_tms.plugin.results.plain_values import plain
from pytest_tms.text import clean, text_of

RECORDED = "tms_recorded"
"""Under which an xdist worker hands suite properties and warnings about attachments to its controller."""

SUITE: pytest.StashKey[dict[str, Any]] = pytest.StashKey()

Record = Callable[[str, object], None]


def suite_properties(config: pytest.Config) -> dict[str, Any]:
    """Return what tests recorded with ``record_testsuite_property``, in every worker; plain values."""
    return config.stash.get(SUITE, {})


class RecordedProperties:
    """Overrides two fixtures (every process of a reporting run); hands over what workers recorded.

    ``keep`` is called when a test records an attribute, before the test's next report.
    """

    def __init__(self, config: pytest.Config, keep: Callable[[], object] = lambda: None) -> None:
        self._config = config
        self._keep = keep
        self._properties = config.stash.setdefault(SUITE, {})
        self._store = config.stash.setdefault(STORE, AttachmentStore())

    @pytest.fixture(scope="session")
    def record_testsuite_property(self, record_testsuite_property: Record) -> Record:
        """Record a property of the whole run, for JUnit XML and the TMS."""

        def record(name: str, value: object) -> None:
            __tracebackhide__ = True
            record_testsuite_property(name, value)
            self._properties[clean(text_of(name))] = plain(value)

        return record

    @pytest.fixture
    def record_xml_attribute(self, record_xml_attribute: Record, request: pytest.FixtureRequest) -> Record:
        """Record an attribute of the test, for JUnit XML, and as a property for the TMS."""
        self._keep()

        def record(name: str, value: object) -> None:
            record_xml_attribute(name, value)
            kept = request.node.stash.setdefault(ATTACHED, {})
            kept.setdefault("properties", {})[clean(text_of(name))] = plain(value)

        return record

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self) -> None:
        """Hand over what was recorded (xdist's workers)."""
        output = getattr(self._config, "workeroutput", None)
        if output is not None and (self._properties or self._store.warnings):
            output[RECORDED] = {"properties": self._properties, "warnings": self._store.warnings}

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Take over what a worker recorded (xdist's controller)."""
        recorded = getattr(node, "workeroutput", {}).get(RECORDED) or {}
        self._properties.update(recorded.get("properties", {}))
        for sentence in recorded.get("warnings", ()):
            self._store.warn(sentence)
