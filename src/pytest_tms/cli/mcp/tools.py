"""The tools of `tms mcp`: each reads the TMS and returns a text of limited length.

The docstring of a tool is its description for agents.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import wraps
from typing import Annotated, Any, Literal, ParamSpec, TypeVar

from mcp.server.mcpserver.exceptions import ToolError
from pydantic import Field

from pytest_tms.cli.execution import capabilities, find
from pytest_tms.cli.mcp import texts
from pytest_tms.cli.options import connect
from pytest_tms.client import TmsClient
from pytest_tms.errors import NotFound, TmsError
from pytest_tms.exports.formats import write_export

MAX_DIGEST = 30_000
"""Characters of the summary of a run, at least; it is cut to whole entries."""
MAX_SEARCHED = 20_000
"""Tests of a run that are searched for one."""
MAX_ATTACHMENT = 40_000
"""Characters of a file."""

P = ParamSpec("P")
T = TypeVar("T")
RunId = Annotated[str, Field(description="The id of a run, such as exec_01k…")]
Status = Literal["created", "running", "completed", "failed", "cancelled"]


def _tool(function: Callable[P, str]) -> Callable[P, str]:
    """Turn errors of the TMS into messages for the agent, and cut a result that is too long."""

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> str:
        try:
            return texts.limited(function(*args, **kwargs))
        except (TmsError, ValueError) as error:
            raise ToolError(str(error)) from None

    return call


class ReadingTools:
    """The tools for the TMS at one URL, with the token of the environment."""

    def __init__(self, url: str) -> None:
        self._url = url

    def _connect(self, *needed: str) -> TmsClient:
        """Return a client of its own: tools may run at the same time.

        Raises:
            ValueError: The TMS does not have a capability that is needed.
        """
        client = connect(self._url)
        if needed:
            known = capabilities(client)
            for name in needed:
                if name not in known:
                    client.close()
                    raise ValueError(f"This TMS has no capability {name}, so it cannot answer that.")
        return client

    @_tool
    def list_runs(
        self,
        project: Annotated[str, Field(description="Only runs of this project")] = "",
        test_suite: Annotated[str, Field(description="Only runs of this suite")] = "",
        environment: Annotated[str, Field(description="Only runs in this environment")] = "",
        branch: Annotated[str, Field(description="Only runs of this branch")] = "",
        commit: Annotated[str, Field(description="Only runs of commits that begin like this")] = "",
        status: Annotated[Status | None, Field(description="Only runs in this state")] = None,
        limit: Annotated[int, Field(ge=1, le=100, description="How many runs")] = 20,
    ) -> str:
        """List test runs (executions), the newest first, each with its counts, branch and commit.

        Failing tests leave a run `completed`; `failed` means that the run itself broke.
        """
        filters = {
            "project": project,
            "test_suite": test_suite,
            "environment": environment,
            "branch": branch,
            "commit": commit,
            "status": status,
        }
        with self._connect() as client:
            found = find(client, limit, **{name: value or None for name, value in filters.items()})
        return "\n".join(map(texts.run_line, found)) or "No runs match."

    @_tool
    def show_run(self, execution_id: RunId) -> str:
        """Show the summary of a run as Markdown: verdict, counts, and what changed since the previous run.

        It lists new failures first with the end of their tracebacks, known failures with the commit since
        which they fail, tests that did not run, flaky, fixed and skipped tests.
        """
        with self._connect() as client:
            status = client.get_execution(execution_id)
            known = capabilities(client)
            tests = client.iter_tests(execution_id) if "tests" in known else iter(())
            changes = client.get_changes(execution_id, limit=200) if "history" in known else None
            parts = write_export("markdown", status, lambda _: tests, changes)
            return texts.cut(b"".join(parts).decode(), MAX_DIGEST, "use show_failures for the others")

    @_tool
    def show_failures(
        self,
        execution_id: RunId,
        limit: Annotated[int, Field(ge=1, le=50, description="How many causes")] = 20,
    ) -> str:
        """Show the failures of a run grouped by cause: the same exception, message and location.

        Causes with most failures come first. Each has whether it is new, and its first five tests.
        """
        with self._connect("history") as client:
            page = client.list_failures(execution_id, limit=limit)
        if not page.causes:
            return "No test of this run failed."
        blocks = [texts.cause(each) for each in page.causes]
        more = ["There are more causes: raise the limit."] if page.cursor else []
        return "\n\n".join([*blocks, *more])

    @_tool
    def show_result(
        self,
        execution_id: RunId,
        test: Annotated[str, Field(description="The node id or title of a test, or a unique part of it")],
        shard: Annotated[str, Field(description="The shard, if the test ran in several")] = "",
    ) -> str:
        """Show one result: outcome, error, traceback, output, attempts, and the list of its files.

        Files are read by read_attachment.
        """
        with self._connect("tests") as client:
            return texts.result(_find_test(client, execution_id, test, shard))

    @_tool
    def read_attachment(
        self,
        execution_id: RunId,
        sha256: Annotated[str, Field(description="The sha256 of the file, as show_result lists it")],
        offset: Annotated[int, Field(ge=0, le=2_000_000, description="The first byte to return")] = 0,
    ) -> str:
        """Read a text file that a test left, such as a log. Other files have no text, and are only named."""
        with self._connect("artifacts") as client:
            stored = client.get_artifact(execution_id, sha256)
            if not texts.is_text(stored.content_type):
                return f"The file is {stored.content_type}, {stored.size:,} bytes: it has no text to show."
            content = client.read_artifact(execution_id, sha256, limit=offset + MAX_ATTACHMENT)
        part = content[offset:].decode("utf-8", "replace")
        end = min(stored.size, offset + MAX_ATTACHMENT)
        if (offset, end) != (0, stored.size):
            part += f"\n[bytes {offset:,} to {end:,} of {stored.size:,}; offset={end} continues]"
        return part

    @_tool
    def show_history(
        self,
        test: Annotated[str, Field(description="The node id or title of a test, or a unique part of it")],
        branch: Annotated[str, Field(description="Only results of this branch")] = "",
        test_suite: Annotated[str, Field(description="Only results of this suite")] = "",
        environment: Annotated[str, Field(description="Only results in this environment")] = "",
        limit: Annotated[int, Field(ge=1, le=100, description="How many results")] = 30,
    ) -> str:
        """Show the results of one test over all runs, the newest first, with its pass and flake rates."""
        with self._connect("history") as client:
            key = _find_key(client, test)
            found = client.get_test_history(
                key,
                branch=branch or None,
                test_suite=test_suite or None,
                environment=environment or None,
                limit=limit,
            )
        return texts.history(found)

    @_tool
    def compare_runs(
        self,
        execution_id: RunId,
        other: Annotated[
            str, Field(description="The earlier run; unless given, the previous one of the branch")
        ] = "",
    ) -> str:
        """Compare a run with an earlier one: tests that newly fail, are fixed, still fail, or are slower."""
        with self._connect("history") as client:
            return texts.comparison(client.compare_executions(execution_id, other or None, limit=30))


def _find_test(client: TmsClient, execution_id: str, wanted: str, shard: str) -> dict[str, Any]:
    """Return the result of a test by its node id or title, or a part of it that only one test has.

    Raises:
        ValueError: No test or several tests match.
    """
    partly: dict[str, dict[str, Any]] = {}
    for number, test in enumerate(_tests(client, execution_id)):
        if number >= MAX_SEARCHED:
            raise ValueError(
                f"The first {MAX_SEARCHED:,} tests of the run do not match: give the whole node id."
            )
        names = [str(test.get(name) or "") for name in ("nodeId", "title")]
        if shard and str(test.get("shardId") or shard) != shard:
            continue
        if wanted in names:
            return test
        if any(wanted in name for name in names):
            partly.setdefault(names[0] or names[1], test)
    return _only(partly, wanted)


def _tests(client: TmsClient, execution_id: str) -> Iterator[dict[str, Any]]:
    """Yield the tests of a run, the failed ones first."""
    for status in ("failed", "passed", "skipped"):
        yield from client.iter_tests(execution_id, status=status)


def _find_key(client: TmsClient, wanted: str) -> str:
    """Return the key of a test by its node id or title, or a part of it that only one test has.

    Raises:
        ValueError: No test or several tests match.
    """
    page = client.list_registered_tests(q=wanted[:200], limit=50)
    for test in page.tests:
        if wanted in (test.node_id, test.title):
            return test.key
    return _only({test.node_id or test.title: test for test in page.tests}, wanted).key


def _only(found: dict[str, T], wanted: str) -> T:
    if len(found) == 1:
        return next(iter(found.values()))
    if not found:
        raise NotFound(f"No test matches {wanted!r}: use a node id that another tool names.")
    names: Sequence[str] = list(found)[:10]
    listed = "\n".join(f"- {texts.line(name)}" for name in names)
    raise ValueError(f"{len(found)} tests match {wanted!r}, give the whole node id of one:\n{listed}")
