"""The exception of a failure and the frames of its traceback, as plain values.

Runs in the process that runs the test. pytest's text of a traceback depends on ``--tb`` and has no function
names, so the frames are read from the traceback itself. While tests run, no file is read: tests may replace
the functions that do so.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from os.path import normpath
from pathlib import Path, PurePath
from types import CodeType, TracebackType
from typing import Any

import pytest

from pytest_tms.text import clean, text_of

MAX_FRAMES = 50
"""Frames that are kept of a traceback, as many as ``wire.results.Frames`` allows."""
MAX_OUTER_FRAMES = 10
"""The outermost frames that are kept of a longer traceback; the others are the innermost."""
MAX_NAME = 300
"""Characters that are kept of a function or an exception type."""
MAX_PATH = 1000
"""Characters that are kept of a path."""

_INSTALLED = ("site-packages", "dist-packages")
_RUNNERS = ("_pytest", "pluggy")
"""Packages that call the test; a traceback begins with their frames."""


class FailureReader:
    """Reads failures. ``root`` is pytest's rootdir: frames below it are own, unless they are installed."""

    def __init__(self, root: str) -> None:
        self._root = _folder(Path(root).resolve())
        self._given_root = _folder(Path(root))
        self._installed = tuple(_installed_below(self._root))
        self._files: dict[str, tuple[str, bool, bool]] = {}

    def read(self, error: BaseException) -> dict[str, Any] | None:
        """Return the type and the frames of an exception, as execnet can serialise them.

        Each frame is a list: path, line, function, whether it is own; outermost first. None for a skip.
        """
        if isinstance(error, pytest.skip.Exception):
            return None
        return {"type": _type_name(type(error)), "frames": self._frames(error.__traceback__)}

    def _frames(self, traceback: TracebackType | None) -> list[list[Any]]:
        """Return the visible frames from the first own one; if none is own, from the first after pytest's."""
        frames: list[list[Any]] = []
        first_own = first_foreign = -1
        for code, line in _visible(traceback):
            path, is_own, is_runner = self._files.get(code.co_filename) or self._file(code.co_filename)
            if is_own and first_own < 0:
                first_own = len(frames)
            if not is_runner and first_foreign < 0:
                first_foreign = len(frames)
            frames.append([path, line, clean(code.co_name)[:MAX_NAME], is_own])
        del frames[: max(first_own if first_own >= 0 else first_foreign, 0)]
        del frames[MAX_OUTER_FRAMES : MAX_OUTER_FRAMES - MAX_FRAMES]
        return frames

    def _file(self, name: str) -> tuple[str, bool, bool]:
        """Return how a file is written, whether it is own, and whether it belongs to pytest."""
        path = normpath(name)
        for root in (self._given_root, self._root):
            if path.startswith(root):
                path = path[len(root) :]
                is_below = True
                break
        else:
            is_below = not PurePath(path).is_absolute() and not path.startswith("<")
        parts = path.replace("\\", "/").split("/")
        is_own = (
            is_below
            and not any(part in _INSTALLED for part in parts)
            and not (self._root + path).startswith(self._installed)
        )
        is_runner = any(part in _RUNNERS for part in parts[:-1]) and not is_own
        file = self._files[name] = (clean("/".join(parts))[-MAX_PATH:], is_own, is_runner)
        return file


def _folder(path: Path) -> str:
    """Return a folder with a separator at its end."""
    return str(path).rstrip(os.sep) + os.sep


def _installed_below(root: str) -> Iterator[str]:
    """Yield the folders below ``root`` that hold the interpreter or its libraries."""
    for folder in (Path(sys.prefix), Path(sys.base_prefix), Path(os.__file__).parent):
        path = _folder(folder.resolve())
        if path.startswith(root) and path != root:
            yield path


def _visible(traceback: TracebackType | None) -> Iterator[tuple[CodeType, int]]:
    """Yield the code and line of each frame that does not set ``__tracebackhide__``."""
    while traceback is not None:
        frame = traceback.tb_frame
        code = frame.f_code
        if "__tracebackhide__" not in code.co_varnames or frame.f_locals.get("__tracebackhide__") is not True:
            yield code, traceback.tb_lineno or 0
        traceback = traceback.tb_next


def _type_name(kind: type[BaseException]) -> str:
    """Return the name of an exception's type as Python prints it: with its module, unless it is built in."""
    module, name = text_of(kind.__module__), text_of(kind.__qualname__)
    full = name if module in ("builtins", "__main__") else f"{module}.{name}"
    return clean(full)[:MAX_NAME]
