"""The page of one result: its error, traceback, attempts, output, files and past results."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

import msgspec
from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from litestar import Response, get

from pytest_tms import wire
from pytest_tms.content_types import TEXT
from pytest_tms.errors import ApiError, NotFound
from pytest_tms.server.domain import result_views
from pytest_tms.server.domain.executions import Execution
from pytest_tms.server.domain.line_search import matching_lines
from pytest_tms.server.domain.link_patterns import LinkPatterns, TextPart
from pytest_tms.server.domain.page_details import MAX_NAME
from pytest_tms.server.domain.repository_links import Repository, commit_url, repository_of, web_url
from pytest_tms.server.domain.rerun_commands import rerun_command
from pytest_tms.server.domain.stored_files import CONTENT_SECURITY_POLICY, IMAGES, SHA256, StoredFile
from pytest_tms.server.pages.files import file_url
from pytest_tms.server.pages.page_session import PageSession
from pytest_tms.server.pages.templates import page
from pytest_tms.server.services.artifacts import get_artifact
from pytest_tms.server.settings import ServerSettings
from pytest_tms.server.store import (
    artifacts,
    execution_lists,
    executions,
    failures,
    single_results,
    test_history,
)
from pytest_tms.server.store.database import Database
from pytest_tms.server.store.object_store import ObjectStore
from pytest_tms.server.store.single_results import StoredResult

OUTCOMES = ("passed", "failed", "error", "skipped", "xfailed", "xpassed", "crashed")
"""The outcomes that have an icon and a colour."""
MAX_TABS = 30
"""Attempts that have a tab."""
MAX_FILES = 40
"""Files of one attempt."""
MAX_TEXT_FILES = 5
"""Text files that are shown and not only linked."""
MAX_TEXT_FILE = 16 << 10
"""Bytes of such a file."""
MAX_TAGS = 20
"""Tags."""
MAX_VALUES = 60
"""Parameters or properties."""
MAX_VALUE = 2_000
"""Characters of one of them."""
MAX_SUBTESTS = 60
"""Subtests, those that failed first."""
MAX_OPEN_SUBTESTS = 5
"""Subtests that failed and are open."""
HISTORY = 50
"""Past results."""


class Tab(NamedTuple):
    """An attempt of a test; ``number`` is that in its URL, ``kind`` an outcome for which there is an icon."""

    number: int
    outcome: str
    kind: str


class ShownFile(NamedTuple):
    """A file of an attempt; ``url`` is empty if it was not uploaded, ``kind`` says how it is shown."""

    name: str
    kind: str
    url: str
    size: int | None
    command: str
    sha256: str = ""


class Attempt(NamedTuple):
    """One attempt as the page shows it; ``parameters`` select it in a URL."""

    tab: Tab
    outcome: str
    duration: int | None
    error: str
    traceback: result_views.TracebackView
    outputs: list[result_views.OutputView]
    files: list[ShownFile]
    more_files: int
    phases: list[tuple[str, float]]
    exception_type: str
    parameters: dict[str, str]


@get("/runs/{execution_id:str}/tests/{test_id:str}")
async def result(
    database: Database,
    settings: ServerSettings,
    page_session: PageSession,
    objects: ObjectStore,
    report_limit: CapacityLimiter,
    execution_id: str,
    test_id: str,
    shard: str = "",
    attempt: str = "",
    compare: str = "",
) -> Response[str]:
    """Return the page of a test in an execution.

    ``shard`` is the one that ran it: without it, the first in which the test failed. ``attempt`` counts from
    1 (the last one by default), ``compare`` is another attempt that is shown beside it.
    """
    selection = _Selection(execution_id, test_id, shard, _number(attempt), _number(compare))
    values = await run_sync(_values_of, database, settings, page_session, selection, limiter=report_limit)
    texts = await _texts(database, objects, execution_id, values["attempts"])
    render = partial(page, page_session, "result.html", texts=texts, **values)
    return await run_sync(render, limiter=report_limit)


@get("/runs/{execution_id:str}/tests/{test_id:str}/output/{name:str}")
async def output(
    database: Database,
    report_limit: CapacityLimiter,
    execution_id: str,
    test_id: str,
    name: str,
    shard: str = "",
    attempt: str = "",
    view: str = "",
    find: str = "",
) -> Response[str]:
    """Return a whole text of an attempt: stdout, stderr, log, longrepr or section-N.

    ``view=1`` shows it instead of a download, ``find`` selects its lines that contain a text.
    """
    selection = _Selection(execution_id, test_id, shard, _number(attempt), 0)
    text = await run_sync(_whole, database, selection, name, limiter=report_limit)
    if find:
        text = await run_sync(matching_lines, text, find, limiter=report_limit)
    kind = "inline" if view == "1" else "attachment"
    headers = {
        "Content-Disposition": f'{kind}; filename="{quote(name, safe="")}.txt"',
        "Content-Security-Policy": CONTENT_SECURITY_POLICY,
        "X-Content-Type-Options": "nosniff",
    }
    return Response(text.encode("utf-8", "replace").decode(), media_type="text/plain", headers=headers)


class _Selection(NamedTuple):
    execution_id: str
    test: str
    shard: str
    attempt: int
    compare: int


class _LoadedResult(NamedTuple):
    """A result with its attempts: those of earlier runs of its shard, then the tries of the last run."""

    current: StoredResult
    document: wire.TestResult
    earlier: list[StoredResult]
    tabs: list[Tab]


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 7 else 0


def _load(connection: Any, execution: Execution, selection: _Selection) -> _LoadedResult:
    if not (selection.test.isascii() and selection.test.isdecimal() and len(selection.test) < 19):
        raise NotFound("The test does not exist.")
    found = single_results.of_test(connection, execution.number, int(selection.test))
    verdicts = [each for each in found if not each.is_superseded and selection.shard in ("", each.shard_id)]
    if not verdicts:
        raise NotFound("This run has no result of the test.")
    failed = [each for each in verdicts if each.status == "failed"]
    current = failed[0] if failed else max(verdicts, key=lambda each: each.sequence)
    earlier = [each for each in found if each.shard_id == current.shard_id and each.is_superseded]
    earlier = earlier[-MAX_TABS:]
    documents = single_results.documents(connection, execution.number, [current])
    document = result_views.decode(documents[current.sequence])
    tabs = [
        Tab(number, each.outcome[:MAX_NAME], _kind(each.outcome, each.status))
        for number, each in enumerate(earlier, 1)
    ]
    tries: Sequence[wire.TestResult | wire.Attempt] = document.attempts or [document]
    for each in tries[-MAX_TABS:]:
        outcome = (each.outcome or current.outcome)[:MAX_NAME]
        tabs.append(Tab(len(tabs) + 1, outcome, _kind(outcome, "none")))
    return _LoadedResult(current, document, earlier, tabs)


def _kind(outcome: str, status: str) -> str:
    """Return an outcome if it is one of pytest's, else a status: plugins may set any other text."""
    return outcome if outcome in OUTCOMES else status


def _tried(
    connection: Any, execution: Execution, loaded: _LoadedResult, number: int
) -> wire.TestResult | wire.Attempt:
    """Return the content of an attempt; the last one has the fields of the test."""
    if number == len(loaded.tabs):
        return loaded.document
    if number <= len(loaded.earlier):
        row = loaded.earlier[number - 1]
        return result_views.decode(
            single_results.documents(connection, execution.number, [row])[row.sequence]
        )
    tries = (loaded.document.attempts or [])[-MAX_TABS:]
    return tries[number - len(loaded.earlier) - 1]


def _whole(database: Database, selection: _Selection, name: str) -> str:
    with database.read() as connection:
        execution = executions.get(connection, selection.execution_id)
        loaded = _load(connection, execution, selection)
        number = selection.attempt or len(loaded.tabs)
        if number > len(loaded.tabs):
            raise NotFound("The test does not have this attempt.")
        text = result_views.whole_output(_tried(connection, execution, loaded, number), name)
    if text is None:
        raise NotFound("The attempt does not have this output.")
    return text


async def _texts(
    database: Database, objects: ObjectStore, execution_id: str, attempts: Sequence[Attempt]
) -> dict[str, str]:
    """Return the contents of the first small text files, by their hashes."""
    found: dict[str, str] = {}
    files = [file for attempt in attempts for file in attempt.files if file.kind == "text"]
    for file in [each for each in files if (each.size or 0) <= MAX_TEXT_FILE][:MAX_TEXT_FILES]:
        try:
            stored = await run_sync(get_artifact, database, execution_id, file.sha256)
            chunks = [chunk async for chunk in await objects.read(stored, 0, stored.size)]
        except ApiError:  # deleted meanwhile, or the store does not respond: linked only
            continue
        found[file.sha256] = b"".join(chunks).decode("utf-8", "replace")
    return found


def _values_of(
    database: Database, settings: ServerSettings, page_session: PageSession, selection: _Selection
) -> dict[str, Any]:
    """Return what the template writes."""
    with database.read() as connection:
        execution = executions.get(connection, selection.execution_id)
        loaded = _load(connection, execution, selection)
        count = len(loaded.tabs)
        number = selection.attempt or count
        if number > count or selection.compare > count:
            raise NotFound("The test does not have this attempt.")
        numbers = [number]
        if selection.compare and selection.compare != number:
            numbers = sorted({number, selection.compare})
        tried = {each: _tried(connection, execution, loaded, each) for each in numbers}
        files = [file for each in tried.values() for file in islice(each.artifacts or (), MAX_FILES)]
        uploaded = artifacts.uploaded(
            connection, execution.id, [file.sha256 for file in files if file.sha256 and _has_hash(file)]
        )
        current = loaded.current
        neighbours = failures.neighbours(connection, execution.number, current.sequence)
        history, _ = test_history.history(
            connection,
            int(selection.test),
            test_history.HistoryFilter(
                environments=page_session.environments,
                suite=execution.test_suite,
                environment=execution.environment,
            ),
            limit=HISTORY,
        )
        since = (
            execution_lists.by_number(connection, {current.failing_since}).get(current.failing_since)
            if current.failing_since
            else None
        )
    own = f"/runs/{quote(execution.id, safe='')}/tests/{selection.test}"
    query = {"shard": current.shard_id} if selection.shard else {}
    document = loaded.document
    node_id = document.node_id or "::".join(part for part in (document.file, document.title) if part)
    rerun = rerun_command([node_id])
    history = history[:HISTORY]
    root = settings.public_url or execution.root
    link = root + _address(own, {"shard": current.shard_id}, number, count)
    return {
        "execution": execution,
        "live": f"/runs/{execution.id}/stream" if execution.status in ("created", "running") else "",
        "favicon": {"failed": "failed", "passed": "passed"}.get(current.status, "none"),
        "own": own,
        "shard_query": f"?{urlencode(query)}" if query else "",
        "test": document,
        "test_id": int(selection.test),
        "current": current,
        "kind": _kind(current.outcome, current.status),
        "node_id": node_id,
        "rerun": rerun.text if rerun else "",
        "tabs": [(tab, _address(own, query, tab.number, count)) for tab in loaded.tabs],
        "comparing": len(numbers) > 1,
        "side_by_side": _side_by_side(own, query, number, count),
        "selected": number,
        "attempts": [
            _attempt(execution, own, query, loaded.tabs[each - 1], tried[each], uploaded) for each in numbers
        ],
        "neighbours": neighbours,
        "place_of": lambda each: _place(execution, each),
        "link": link,
        "history": list(reversed(history)),
        "flaky": sum(each.is_flaky for each in history),
        "failing": sum(each.status == "failed" for each in history),
        "longest": max((each.duration for each in history), default=0),
        "median": _median([each.duration for each in history if each.status == "passed"]),
        "is_new": current.failing_since == execution.number,
        "since": since,
        "source": _Source(execution.metadata),
        "ids": _ids(settings.link_patterns, document),
        "tags": [
            (tag, settings.link_patterns.url(tag.removeprefix("@"))) for tag in (document.tags or [])[:20]
        ],
        "parameters": _values(document.parameters or {}, settings.link_patterns),
        "properties": _values(document.properties or {}, settings.link_patterns),
        "subtests": _subtests(document.subtests or []),
        "subtests_total": len(document.subtests or []),
        "max_open": MAX_OPEN_SUBTESTS,
    }


class _Source:
    """Links from lines of source to the repository at the commit of an execution."""

    def __init__(self, metadata: Mapping[str, Any]) -> None:
        commit = metadata.get("commit")
        self._repository: Repository | None = repository_of(metadata) if commit_url(metadata) else None
        self._commit = commit if isinstance(commit, str) else ""
        root = metadata.get("rootPath")
        self._root = f"{root.strip('/')}/" if isinstance(root, str) and root.strip("/") else ""

    def __call__(self, path: str, line: int | None, is_own: bool = True) -> str:
        """Return the URL of a line; empty if it is not in the repository, or that is not known."""
        if self._repository is None or not is_own or path.startswith("/"):
            return ""
        path = self._root + path
        if ".." in path.split("/") or ":" in path:
            return ""
        return self._repository.line(self._commit, path, line)


def _attempt(
    execution: Execution,
    own: str,
    query: Mapping[str, str],
    tab: Tab,
    tried: wire.TestResult | wire.Attempt,
    uploaded: Mapping[str, StoredFile],
) -> Attempt:
    files = [_file(execution, each, uploaded) for each in islice(tried.artifacts or (), MAX_FILES)]
    phases = tried.phases
    named = [(name, getattr(phases, name)) for name in wire.Phases.__struct_fields__] if phases else []
    return Attempt(
        tab=tab,
        outcome=(tried.outcome or tab.outcome)[:MAX_NAME],
        duration=None if tried.duration is None else round(tried.duration),
        error=tried.error or "",
        traceback=result_views.traceback_view(tried),
        outputs=result_views.outputs(tried),
        files=files,
        more_files=max(0, len(tried.artifacts or ()) - MAX_FILES),
        phases=[(name, value) for name, value in named if value is not None],
        exception_type=(tried.exception_type or "")[:MAX_NAME],
        parameters={**query, "attempt": str(tab.number)},
    )


def _has_hash(file: wire.Artifact) -> bool:
    return bool(file.sha256 and SHA256.fullmatch(file.sha256))


def _file(execution: Execution, file: wire.Artifact, uploaded: Mapping[str, StoredFile]) -> ShownFile:
    stored = uploaded.get(file.sha256 or "") if _has_hash(file) else None
    name = file.name[:MAX_NAME] or "file"
    last = name.replace("\\", "/").rpartition("/")[2] or name
    command = ""
    if stored is None:
        return ShownFile(name, "", "", file.size, "")
    content_type = stored.content_type
    kind = "image" if content_type in IMAGES else content_type.partition("/")[0]
    if kind == "text" and content_type != TEXT:
        kind = "other"
    if file.kind == "trace" or (last.startswith("trace") and last.endswith(".zip")):
        kind, command = "trace", f"playwright show-trace {shlex.quote(last)}" if last.isprintable() else ""
    url = file_url(execution.id, stored.sha256, name)
    return ShownFile(name, kind, url, stored.size, command, stored.sha256)


def _place(execution: Execution, place: failures.Place) -> str:
    query = urlencode({"shard": place.shard_id})
    return f"/runs/{quote(execution.id, safe='')}/tests/{place.test_id}?{query}"


def _address(own: str, query: Mapping[str, str], number: int, count: int) -> str:
    more = {} if number == count else {"attempt": str(number)}
    text = urlencode({**query, **more})
    return f"{own}?{text}" if text else own


def _side_by_side(own: str, query: Mapping[str, str], number: int, count: int) -> str:
    if count < 2:
        return ""
    other = number - 1 if number > 1 else 2
    return f"{own}?{urlencode({**query, 'attempt': number, 'compare': other})}"


def _ids(patterns: LinkPatterns, document: wire.TestResult) -> list[TextPart]:
    value = (document.properties or {}).get("id")
    return patterns.parts(str(value)[:MAX_NAME]) if isinstance(value, (str, int)) else []


def _values(values: Mapping[str, Any], patterns: LinkPatterns) -> list[tuple[str, list[TextPart]]]:
    """Return names and values in parts, of which URLs and ids are links."""
    found = []
    for name, value in islice(values.items(), MAX_VALUES):
        text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
        url = web_url(text)
        parts = [TextPart(text, url)] if url else patterns.parts(text[:MAX_VALUE])
        found.append((name[:MAX_NAME], parts))
    return found


def _subtests(
    subtests: Sequence[wire.Subtest],
) -> list[tuple[wire.Subtest, result_views.TracebackView | None]]:
    """Return subtests, those that failed first; the first of them with their tracebacks."""
    failed = [each for each in subtests if each.status == "failed"]
    others = [each for each in subtests if each.status != "failed"]
    shown = [*failed, *others][:MAX_SUBTESTS]
    found = []
    for position, each in enumerate(shown):
        is_open = each.status == "failed" and position < MAX_OPEN_SUBTESTS
        found.append((each, result_views.traceback_view(each) if is_open else None))
    return found


def _median(values: Sequence[int]) -> int | None:
    return sorted(values)[len(values) // 2] if values else None
