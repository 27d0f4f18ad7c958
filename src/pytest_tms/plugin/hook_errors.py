"""Keeps errors of ours, and of the user's hooks, out of pytest: each is named once and shown at the end."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

import pytest

from pytest_tms.text import clean

Plugin = TypeVar("Plugin")

TROUBLE = "tms_trouble"
"""Under which an xdist worker hands what it noted to its controller."""


class Guard:
    """Knows what went wrong in this process. It is a plugin, too: it shows what nobody else has shown."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._noted: dict[str, str] = {}
        self._shown: set[str] = set()

    def note(self, what: str, error: BaseException) -> None:
        """Keep an error of ``what``, the first of each."""
        if what not in self._noted:
            self._noted[what] = sentence(what, error)

    def learn(self, sentences: list[str]) -> None:
        """Take over what a worker noted; the same of several workers is kept once."""
        for sentence in sentences:
            self._noted.setdefault(sentence.partition(" failed (")[0], sentence)

    def take(self) -> list[str]:
        """Every sentence that was not shown before; who takes them shows them."""
        fresh = [sentence for sentence in self._noted.values() if sentence not in self._shown]
        self._shown.update(fresh)
        return fresh

    def watch(self, plugin: Plugin, instead: Callable[[str], object] | None = None) -> Plugin:
        """The same plugin, whose hooks never raise: what they raise is noted, and pytest goes on without.

        A wrapper only yields and leaves its work to ``after_`` and its name: watching that costs a test less.
        ``instead`` makes, of why, what takes the plugin's place where its session cannot start.
        """
        for name in dir(plugin):
            if name.startswith(("pytest_", "after_pytest_")):
                method = getattr(plugin, name)
                if inspect.isgeneratorfunction(method):
                    continue
                if name == "pytest_sessionstart" and instead is not None:
                    guarded = self._replaced(method, plugin, instead)
                else:
                    guarded = self._plain(method, name.removeprefix("after_"))
                setattr(plugin, name, guarded)
        return plugin

    def _replaced(
        self, method: Callable[..., Any], plugin: object, instead: Callable[[str], object]
    ) -> Callable[..., Any]:
        @functools.wraps(method)
        def guarded(*args: Any) -> None:
            try:
                method(*args)
            except pytest.exit.Exception:
                raise
            except Exception as error:
                self._config.pluginmanager.unregister(plugin)
                reason = sentence("pytest-tms in pytest_sessionstart", error)
                self._config.pluginmanager.register(instead(reason), "tms-off")

        return guarded

    def _plain(self, method: Callable[..., Any], name: str) -> Callable[..., Any]:
        @functools.wraps(method)
        def guarded(*args: Any) -> Any:
            try:
                return method(*args)
            except pytest.exit.Exception:  # a signal came meanwhile
                raise
            except Exception as error:  # a defect of ours must not become one of the user's run
                self.note(f"pytest-tms in {name}", error)

        return guarded

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self) -> None:
        """Hand on what was noted (xdist's workers, which have no terminal)."""
        output = getattr(self._config, "workeroutput", None)
        if output is not None and self._noted:
            output[TROUBLE] = self.take()

    @pytest.hookimpl(trylast=True)
    def pytest_unconfigure(self) -> None:
        """Show what came too late for the block at the end (the process that reports)."""
        terminal = self._config.pluginmanager.getplugin("terminalreporter")
        for sentence in self.take() if terminal is not None else ():
            terminal.write_line(f"tms: trouble {sentence}", yellow=True)


def sentence(what: str, error: BaseException) -> str:
    """What failed, and how, on one line."""
    try:
        text = str(error)
    except Exception:  # an error of the user's may have no text
        text = "it has no text"
    said = " ".join(f"{type(error).__name__}: {text}".split())
    return clean(f"{what} failed ({said})", limit=500)
