"""The object of the fixture ``tms``."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, get_args

import pytest

from pytest_tms.plugin.results.attachment_store import AttachmentStore
from pytest_tms.plugin.results.attachments import ATTACHED, KINDS, REPORTING, STORE, AttachmentKind
from pytest_tms.plugin.results.json_values import json_value
from pytest_tms.text import clean, text_of

EXECUTION_TIMEOUT = 5.0
"""Seconds that a test which requests the execution's id waits for the TMS to create it."""
MAX_NAME = 200
"""Characters of an attachment's name that are kept."""


class Tms:
    """Adds files and properties to the report of one test. In a run that does not report it does nothing.

    No method raises: if something cannot be kept, the end of the run shows a warning.
    """

    def __init__(self, item: pytest.Item) -> None:
        self._item = item
        self._reporting = item.config.stash.get(REPORTING, None)
        self._store = item.config.stash.setdefault(STORE, AttachmentStore()) if self._reporting else None

    @property
    def execution_id(self) -> str | None:
        """The execution that this run reports to; None if it does not report, or if the TMS does not respond.

        Waits up to ``EXECUTION_TIMEOUT`` seconds for the TMS to create it.
        """
        context = self._reporting or {}
        if context.get("execution"):
            return context["execution"]
        if not context.get("journal"):
            return None
        from pytest_tms.journal.acknowledgements import wait_for_acks  # an xdist worker seldom needs it

        execution = wait_for_acks(Path(context["journal"]), EXECUTION_TIMEOUT).joined
        return execution.get("execution_id")

    @property
    def shard_id(self) -> str | None:
        """The shard that this test is a part of, or None if the run does not report."""
        return (self._reporting or {}).get("shard") or None

    def attach(
        self,
        content: str | os.PathLike[str] | bytes | bytearray | memoryview,
        name: str = "",
        kind: AttachmentKind | None = None,
    ) -> Path | None:
        """Keep a file, or bytes that are written to one, as an artifact of this test; from any thread.

        ``kind`` follows from the ending of the name unless it is given: ``file`` if that is not known.
        Returns the file's path; None if the run does not report, or if the file cannot be kept, which is a
        warning.
        """
        if self._reporting is None or self._store is None:
            return None
        try:
            folder = self._reporting["folder"]
            path = self._attach(self._store, folder, content, text_of(name or ""), kind)
            return None if path is None else self._store.as_path(path)
        except Exception as error:
            self._store.warn(
                f"tms.attach failed in {self._item.nodeid}: {type(error).__name__}: {text_of(error)}"
            )
            return None

    def _attach(self, store: AttachmentStore, folder: str, content: Any, name: str, kind: Any) -> str | None:
        if isinstance(content, (bytes, bytearray, memoryview)):
            name = name or "attachment"
            path = store.keep(folder, name, bytes(content))
        else:
            source = os.fsdecode(os.fspath(content))
            name = name or re.split(r"[/\\]", source)[-1] or source
            path = store.absolute(source)
            if not store.is_file(path):
                path = self._copied(store, folder, source, name)
        if path is None:
            return None
        ending = re.search(r"\.\w+$", name)
        if kind not in get_args(AttachmentKind):
            if kind is not None:
                kinds = ", ".join(get_args(AttachmentKind))
                store.warn(f"tms.attach: the kind {text_of(kind)!r} is not one of {kinds}: file is used")
            kind = "file" if kind is not None else KINDS.get(ending[0].lower() if ending else "", "file")
        kept = {"name": clean(name, limit=MAX_NAME), "kind": kind, "path": clean(path)}
        self._kept().setdefault("artifacts", []).append(kept)
        return path

    def _copied(self, store: AttachmentStore, folder: str, path: str, name: str) -> str | None:
        """Copy a file of a fake file system, such as pyfakefs makes; return the path of the copy."""
        try:
            with open(path, "rb") as file:  # noqa: PTH123  # the name that pyfakefs patches
                content = file.read()
        except (OSError, ValueError):
            store.warn(f"tms.attach: there is no file {path!r} (in {self._item.nodeid})")
            return None
        return store.keep(folder, name, content)

    def property(self, key: str, value: object) -> None:
        """Record a property of this test: numbers, booleans, None, lists and dicts keep their type."""
        if self._reporting is not None:
            self._kept().setdefault("properties", {})[clean(text_of(key))] = json_value(value)

    def _kept(self) -> dict[str, Any]:
        return self._item.stash.setdefault(ATTACHED, {})
