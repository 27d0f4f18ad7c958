"""Excerpts of tests and submissions for pages, stored on arrival, so that no page reads whole documents."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice

import msgspec

from pytest_tms import wire
from pytest_tms.server.domain.stored_files import SHA256

MAX_TRACEBACK = 10_000
"""Characters of a traceback that are shown."""
MAX_OUTPUT = 3_000
"""Characters of each captured output that are shown."""
MAX_NAME = 500
"""Characters of a name that are shown."""
MAX_TEST_FILES = 20
"""Files that are shown of one test."""
MAX_TAGS = 20
"""Tags that are shown."""


MAX_KINDS = 10
"""Kinds of files that are shown of one submission."""
MAX_FILES = 200
"""Files that are shown of one submission."""


class ShownFile(msgspec.Struct, frozen=True, omit_defaults=True):
    """A file of a test; ``sha256`` is empty if the runner did not send the hash of its content."""

    name: str
    sha256: str = ""


class Details(msgspec.Struct, frozen=True, omit_defaults=True):
    """Texts and files of a failed test; long texts without their middle."""

    outcome: str = ""
    tags: list[str] = []
    longrepr: str = ""
    stdout: str = ""
    stderr: str = ""
    log: str = ""
    files: list[ShownFile] = []


def details(test: wire.TestResult) -> Details:
    """Return what a report shows of ``test``."""
    return Details(
        outcome=truncate(test.outcome or "", MAX_NAME),
        tags=[truncate(tag, MAX_NAME) for tag in (test.tags or [])[:MAX_TAGS]],
        longrepr=truncate_middle(test.longrepr or "", MAX_TRACEBACK),
        stdout=truncate_middle(test.stdout or "", MAX_OUTPUT),
        stderr=truncate_middle(test.stderr or "", MAX_OUTPUT),
        log=truncate_middle(test.log or "", MAX_OUTPUT),
        files=[
            ShownFile(
                each.name[:MAX_NAME], each.sha256 if each.sha256 and SHA256.fullmatch(each.sha256) else ""
            )
            for each in islice(artifacts(test), MAX_TEST_FILES)
        ],
    )


def artifacts(test: wire.TestResult) -> Iterator[wire.Artifact]:
    """Yield the files of a test and of its attempts."""
    for each in (test, *(test.attempts or ())):
        yield from each.artifacts or ()


class Files(msgspec.Struct, frozen=True):
    """Files of one kind that a submission names; ``total`` counts those that are not shown, too."""

    kind: str
    names: list[str]
    total: int


def files(artifacts: Mapping[str, msgspec.Raw]) -> list[Files]:
    """Return what the artifacts page shows of a submission's ``artifacts``, given as JSON for each kind."""
    found = []
    left = MAX_FILES
    for kind, raw in islice(artifacts.items(), MAX_KINDS):
        try:
            names = msgspec.json.decode(raw, type=list[str])
        except msgspec.ValidationError:  # another value, under a name of the runner's own
            continue
        if names:
            shown = [truncate(name, MAX_NAME) for name in names[:left]]
            found.append(Files(truncate(kind, MAX_NAME), shown, len(names)))
            left -= len(shown)
    return found


def truncate(text: str, length: int, whole: int | None = None) -> str:
    """Return the beginning of ``text``, and how much is missing of ``whole`` characters (its own if None)."""
    missing = (len(text) if whole is None else whole) - length
    return text if missing <= 0 else f"{text[:length]}\n… and {missing:,} more characters"


def truncate_middle(text: str, length: int) -> str:
    """Return the beginning and the end of ``text``, where a traceback has its error."""
    if len(text) <= length:
        return text
    head = length // 3
    missing = len(text) - length
    return f"{text[:head]}\n… {missing:,} characters are not shown …\n{text[len(text) - (length - head) :]}"
