"""Properties that tests record with pytest's fixtures for JUnit XML, whether or not such a file is written.

``record_property`` puts them in ``report.user_properties``. The two other fixtures do nothing without
``--junitxml``, so this plugin overrides them with fixtures that call pytest's own and keep the values.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Any

import pytest

from pytest_tms.plugin.results.attachment_store import AttachmentStore
from pytest_tms.plugin.results.attachments import ATTACHED, STORE, AttachmentKind
from pytest_tms.plugin.results.json_values import json_value
from pytest_tms.text import clean, text_of

RECORDED = "tms_recorded"
"""The name under which an xdist worker sends suite properties and warnings to its controller."""

SUITE: pytest.StashKey[dict[str, Any]] = pytest.StashKey()
"""On the config of a reporting process: the properties of the whole run, as plain values."""

PLAYWRIGHT: dict[str, AttachmentKind] = {
    "playwright_screenshot": "screenshot",
    "playwright_video": "video",
    "playwright_trace": "trace",
}
"""The kinds of the properties in which pytest-playwright names its files."""

Record = Callable[[str, object], None]


def suite_properties(config: pytest.Config) -> dict[str, Any]:
    """Return the values that tests of all workers recorded with ``record_testsuite_property``."""
    return config.stash.get(SUITE, {})


class RecordedProperties:
    """Overrides two fixtures (every process of a reporting run), and collects values of workers.

    ``before_record`` is called when a test requests ``record_xml_attribute``.
    """

    def __init__(self, config: pytest.Config, before_record: Callable[[], object] = lambda: None) -> None:
        self._config = config
        self._before_record = before_record
        self._properties = config.stash.setdefault(SUITE, {})
        self._store = config.stash.setdefault(STORE, AttachmentStore())

    @pytest.fixture(scope="session")
    def record_testsuite_property(self, record_testsuite_property: Record) -> Record:
        """Record a property of the whole run, for JUnit XML and the TMS."""

        def record(name: str, value: object) -> None:
            __tracebackhide__ = True
            record_testsuite_property(name, value)
            self._properties[clean(text_of(name))] = json_value(value)

        return record

    @pytest.fixture
    def record_xml_attribute(self, record_xml_attribute: Record, request: pytest.FixtureRequest) -> Record:
        """Record an attribute of the test, for JUnit XML, and as a property for the TMS."""
        self._before_record()

        def record(name: str, value: object) -> None:
            record_xml_attribute(name, value)
            kept = request.node.stash.setdefault(ATTACHED, {})
            kept.setdefault("properties", {})[clean(text_of(name))] = json_value(value)

        return record

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self) -> None:
        """Send the recorded values to the controller (xdist's workers)."""
        output = getattr(self._config, "workeroutput", None)
        if output is not None and (self._properties or self._store.warnings):
            output[RECORDED] = {"properties": self._properties, "warnings": self._store.warnings}

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Add the values that a worker recorded (xdist's controller)."""
        recorded = getattr(node, "workeroutput", {}).get(RECORDED) or {}
        self._properties.update(recorded.get("properties", {}))
        for sentence in recorded.get("warnings", ()):
            self._store.warn(sentence)


def split_properties(user_properties: Any) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return the values of ``record_property`` and pytest-playwright, as artifacts and properties."""
    artifacts: list[dict[str, Any]] = []
    properties: dict[str, Any] = {}
    for pair in user_properties:
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            continue
        key, value = text_of(pair[0]), pair[1]
        kind = PLAYWRIGHT.get(key)
        if kind is None:
            properties[clean(key)] = json_value(value)
            continue
        for path in value if isinstance(value, (list, tuple)) else [value]:
            text = clean(os.path.abspath(text_of(path)))  # noqa: PTH100  # Path.absolute keeps '..'
            artifacts.append({"name": re.split(r"[/\\]", text)[-1], "kind": kind, "path": text})
    return artifacts, properties
