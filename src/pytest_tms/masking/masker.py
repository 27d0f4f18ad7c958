"""Replaces secrets in texts and in lines of a journal, depending on the field of each value."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable
from itertools import count
from typing import Any

import msgspec

from pytest_tms.masking.spellings import spellings_of

MASK = "********"

ENUMERATIONS = frozenset(
    (
        *("is", "event", "status", "outcome", "kind", "scope"),
        *("triggerSource", "trigger_source", "contentType", "file"),
    )
)
"""Fields that hold an enumeration of the protocol, or the path of a source file."""
TIMES = frozenset(
    ("at", "timestamp", "startedAt", "started_at", "happenedAt", "happened_at", "startTime", "endTime")
)
IDS = frozenset(
    (
        *("run", "runner", "runKey", "run_key", "execution", "executionId", "execution_id", "sha256"),
        *("shard", "shards", "shardId", "shard_id", "worker"),
        *("provider", "testSuite", "test_suite", "environment"),
    )
)
KEPT = ENUMERATIONS | TIMES | IDS
"""Fields of messages whose strings are never masked."""
NODE_IDS = frozenset(("nodeId", "node_id", "running", "notRunTests", "not_run_tests"))
"""Fields that hold the node id of a test, or a list of them: masked inside of the brackets alone."""
SOURCE = frozenset(("path", "function"))
"""Fields of ``frames``, which are source code: never masked."""
FREE = frozenset(("metadata", "parameters", "properties"))
"""Objects with names of the user: each string in them is masked, also under a name of the protocol."""


class Masker:
    """Masks known secrets, and text that matches ``patterns``.

    A secret is also found as pytest writes it in the id of a parameter, and as Python, JSON and URLs quote
    it; one of several lines also by its lines. Raises ValueError for an invalid pattern.
    """

    def __init__(self, secrets: Iterable[str], patterns: Iterable[str] = ()) -> None:
        self._patterns = [_compiled(pattern) for pattern in patterns]
        self._texts: list[str] = []
        self._needles: list[str] = []
        self._mask = MASK
        self._masked: dict[tuple[str, str], str] = {}
        """The replacement of the variable part of a name, by the text before it and that part."""
        self._taken: set[tuple[str, str]] = set()
        self._numbers: dict[tuple[str, str], int] = {}
        self._extend(secrets)

    def add(self, secret: str) -> None:
        """Mask this secret too from now on."""
        self._extend([secret])
        self._masked = {name: text for name, text in self._masked.items() if not _any_in(self._texts, text)}

    def text(self, text: str) -> str:
        """Return ``text`` without secrets and matches of the patterns."""
        spans = [
            (match.start(), match.end())
            for pattern in self._patterns
            for match in pattern.finditer(text)
            if match.end() > match.start()
        ]
        masked = self._without(text, spans)
        # A mask may complete a secret with the text around it.
        for _ in range(10):
            if masked == text:
                return text
            text, masked = masked, self._without(masked, [])
        return self._mask

    def line(self, line: bytes) -> bytes:
        """Return a line of JSON without secrets in its values; one without any is returned as it is.

        It must have been encoded by msgspec, which escapes only what JSON requires.
        """
        if not self._patterns:
            text = line.decode("utf-8", "replace")  # text is searched several times as fast as bytes
            for needle in self._needles:
                if needle in text:
                    break
            else:
                return line
        try:
            message = msgspec.json.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return self.text(line.decode("utf-8", "replace").rstrip("\n")).encode() + b"\n"
        masked = self._message(message, "")
        return line if masked == message else msgspec.json.encode(masked) + b"\n"

    # Values by their field ----------------------------------------------------------------------

    def _message(self, value: Any, parent: str) -> Any:
        """Mask a part of a message; ``parent`` is the name of the field that contains it."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list):
            return [self._message(item, parent) for item in value]
        if not isinstance(value, dict):
            return value
        return {name: self._field(name, item, value, parent) for name, item in value.items()}

    def _field(self, name: str, value: Any, message: dict[str, Any], parent: str) -> Any:
        """Mask the field ``name`` of a message that is itself in the field ``parent``."""
        if name in FREE:
            return self._values(value)
        if parent == "frames" and name in SOURCE:
            return value if isinstance(value, str) else self._message(value, name)
        if name in KEPT:
            return value if isinstance(value, str) or name in IDS else self._message(value, name)
        if isinstance(value, list) and name in NODE_IDS:
            return [
                self.node_id(item) if isinstance(item, str) else self._message(item, "") for item in value
            ]
        if not isinstance(value, str):
            return self._message(value, name)
        if name in NODE_IDS or (name == "name" and message.get("is") == "begin"):
            return self.node_id(value)
        if name == "title" and parent != "subtests":
            return self._title(value, message.get("nodeId") or message.get("node_id"))
        if name == "url":
            return re.sub(r"(?<=//)[^/?#]*(?=@)", lambda match: self.text(match[0]), value)
        return self.text(value)

    def _values(self, value: Any) -> Any:
        """Mask every string of a user's object."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list):
            return [self._values(item) for item in value]
        if isinstance(value, dict):
            return {name: self._values(item) for name, item in value.items()}
        return value

    # Names of tests -----------------------------------------------------------------------------

    def node_id(self, node_id: str) -> str:
        """Mask the parameters of a node id: its other parts are source code."""
        start, end = _brackets(node_id)
        return node_id[:start] + self._distinct(node_id[:start], node_id[start:end]) + node_id[end:]

    def _title(self, title: str, node_id: Any) -> str:
        """Mask a title; if it ends with the parameters of the node id, they are masked as in that."""
        if not isinstance(node_id, str):
            return self.node_id(title)
        start, end = _brackets(node_id)
        parameters = node_id[start:end]
        before, found, after = title.partition(f"[{parameters}]") if end else (title, "", "")
        name = node_id.partition("::")[2] or node_id
        is_name = bool(before) and "[" not in before and name.startswith(before)
        if not found:
            return title if is_name else self._distinct("title", title)
        masked = self._distinct(node_id[:start], parameters)
        if is_name:
            return f"{before}[{masked}]{after}"
        return f"{self.text(before)}[{masked}]{self.text(after)}"

    def _distinct(self, before: str, text: str) -> str:
        """Mask ``text``, which follows ``before``, so that no other text that follows it becomes the same."""
        earlier = self._masked.get((before, text))
        if earlier is not None:
            return earlier
        plain = self.text(text)
        if self._mask not in plain:
            return text
        if self._is_masked(text):
            plain = text  # by another Masker: the name stays the same
        first = self._numbers.get((before, plain), 1)
        for number in count(first):
            masked = f"{plain}-{number}" if number > 1 else plain
            is_clean = number > first + 100 or not _any_in(self._texts, masked)
            if (before, masked) not in self._taken and is_clean:
                break
        self._numbers[before, plain] = number + 1
        self._taken.add((before, masked))
        self._masked[before, text] = masked
        return masked

    def _is_masked(self, text: str) -> bool:
        """Return whether all secrets in ``text`` are masked already, maybe with a number."""
        parts = re.sub(r"-\d+$", "", text).split(self._mask)
        return len(parts) > 1 and not _any_in(self._texts, text) and all(map(self._is_plain, parts))

    def _is_plain(self, text: str) -> bool:
        return self.text(text) == text

    # Finding ------------------------------------------------------------------------------------

    def _extend(self, secrets: Iterable[str]) -> None:
        texts = {*self._texts, *(form for secret in secrets for form in spellings_of(secret))}
        self._texts = sorted(texts)
        self._mask = next(
            (
                mask
                for mask in (chr(code) * 8 for code in range(ord("*"), 0x3000))
                if not _any_in(texts, mask)
            ),
            MASK,
        )
        needles: list[str] = []
        # The mask too: the name of a test may equal the masked name of another.
        for needle in sorted((_as_written(text) for text in (*texts, self._mask)), key=len):
            if not any(known in needle for known in needles):
                needles.append(needle)
        self._needles = needles

    def _without(self, text: str, spans: list[tuple[int, int]]) -> str:
        """Replace every secret and every span; those that overlap or touch become one mask."""
        for secret in self._texts:
            start = text.find(secret)
            while start >= 0:
                spans.append((start, start + len(secret)))
                start = text.find(secret, start + 1)
        if not spans:
            return text
        spans.sort()
        parts: list[str] = []
        written = 0
        first, last = spans[0]
        for start, end in spans:
            if start > last:
                parts += (text[written:first], self._mask)
                written, first = last, start
            last = max(last, end)
        return "".join((*parts, text[written:first], self._mask, text[last:]))


def _any_in(texts: Iterable[str], whole: str) -> bool:
    return any(text in whole for text in texts)


def _brackets(name: str) -> tuple[int, int]:
    """Return where the parameters of a node id or title begin and end, without brackets; else 0, 0."""
    start = name.find("[", name.find("::") + 1) + 1
    end = name.rfind("]")
    return (start, end) if 0 < start <= end else (0, 0)


def _compiled(pattern: str) -> re.Pattern[str]:
    with warnings.catch_warnings():  # about nested sets and the like; the user may turn warnings into errors
        warnings.simplefilter("ignore")
        try:
            return re.compile(pattern)
        except (re.error, OverflowError, RecursionError) as error:
            raise ValueError(
                f"tms_mask: invalid regular expression {pattern!r}: {error}; write one regular expression of "
                "Python's module re on each line, with a backslash before characters that are meant literally"
            ) from None


def _as_written(text: str) -> str:
    """Return ``text`` as it occurs in JSON of msgspec."""
    return msgspec.json.encode(text.encode("utf-8", "backslashreplace").decode())[1:-1].decode()
