"""Catches errors of the plugin and of user hooks, so that pytest continues; shows each once, at the end."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

import pytest

from pytest_tms.text import clean

Plugin = TypeVar("Plugin")

WORKER_ERRORS = "tms_errors"
"""The name under which an xdist worker sends its errors to its controller."""
MAX_SENTENCE = 500
"""Characters of one error that are kept."""


class HookErrors:
    """Records the errors of one process. As a plugin it shows those that no summary has shown."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._recorded: dict[str, str] = {}
        self._taken: set[str] = set()

    def record(self, source: str, error: BaseException) -> None:
        """Keep an error; only the first of each ``source`` counts."""
        if source not in self._recorded:
            self._recorded[source] = describe_error(source, error)

    def extend(self, sentences: list[str]) -> None:
        """Keep sentences of another process or module; the same sentence is kept once."""
        for sentence in sentences:
            self._recorded.setdefault(sentence.partition(" failed (")[0], sentence)

    def take(self) -> list[str]:
        """Return every sentence that was not taken before; the caller shows them."""
        new = [sentence for sentence in self._recorded.values() if sentence not in self._taken]
        self._taken.update(new)
        return new

    def protect(self, plugin: Plugin, replacement: Callable[[str], object] | None = None) -> Plugin:
        """Return the same plugin with hooks that never raise: an error is recorded, and pytest continues.

        A hook wrapper only yields, and its work is in the method ``after_`` + its name, because protecting a
        generator takes more time for each test. If the plugin's session cannot start, ``replacement`` is
        called with the reason and returns the plugin to register instead.
        """
        for name in dir(plugin):
            if name.startswith(("pytest_", "after_pytest_")):
                method = getattr(plugin, name)
                if inspect.isgeneratorfunction(method):
                    continue
                if name == "pytest_sessionstart" and replacement is not None:
                    protected = self._replacing(method, plugin, replacement)
                else:
                    protected = self._recording(method, name.removeprefix("after_"))
                setattr(plugin, name, protected)
        return plugin

    def _replacing(
        self, method: Callable[..., Any], plugin: object, replacement: Callable[[str], object]
    ) -> Callable[..., Any]:
        @functools.wraps(method)
        def protected(*args: Any) -> None:
            try:
                method(*args)
            except pytest.exit.Exception:
                raise
            except Exception as error:
                self._config.pluginmanager.unregister(plugin)
                reason = describe_error("pytest-tms in pytest_sessionstart", error)
                self._config.pluginmanager.register(replacement(reason), "tms-inactive")

        return protected

    def _recording(self, method: Callable[..., Any], name: str) -> Callable[..., Any]:
        @functools.wraps(method)
        def protected(*args: Any) -> Any:
            try:
                return method(*args)
            except pytest.exit.Exception:  # a signal arrived meanwhile
                raise
            except Exception as error:  # a defect of the plugin must not become one of the user's run
                self.record(f"pytest-tms in {name}", error)

        return protected

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self) -> None:
        """Send the errors to the controller (xdist's workers, which have no terminal)."""
        output = getattr(self._config, "workeroutput", None)
        if output is not None and self._recorded:
            output[WORKER_ERRORS] = self.take()

    @pytest.hookimpl(trylast=True)
    def pytest_unconfigure(self) -> None:
        """Show errors that occurred after the summary (the process that reports)."""
        terminal = self._config.pluginmanager.getplugin("terminalreporter")
        for sentence in self.take() if terminal is not None else ():
            terminal.write_line(f"tms: warning: {sentence}", yellow=True)


def describe_error(source: str, error: BaseException) -> str:
    """Return the failed part and its error on one line."""
    try:
        text = str(error)
    except Exception:  # an error of the user's may have no text
        text = "it has no text"
    description = " ".join(f"{type(error).__name__}: {text}".split())
    return clean(f"{source} failed ({description})", limit=MAX_SENTENCE)
