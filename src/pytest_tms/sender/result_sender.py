"""Sends results of tests: in events while their shard runs, or with the results of a shard that has ended."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import msgspec

from pytest_tms.errors import TmsError
from pytest_tms.journal.lines import Tested, as_json
from pytest_tms.masking.masker import Masker
from pytest_tms.sender.artifacts import FileDescriber
from pytest_tms.sender.executions import REJECTIONS, ExecutionReporter
from pytest_tms.sender.run_progress import RunProgress
from pytest_tms.wire.events import EventData
from pytest_tms.wire.results import ResultsSubmission, TestResult

DOCUMENTED_TEST_FIELDS = ("title", "file", "status", "duration", "error", "retries", "tags")
MAX_TITLE_BYTES = 80
"""Bytes that identify a test whose title cannot be read."""


class SendOutcome(NamedTuple):
    """How many results the TMS accepted, and a sentence about each that it rejected."""

    tests: int = 0
    refused: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def plus(self, other: SendOutcome) -> SendOutcome:
        """Return the sum of both."""
        return SendOutcome(
            self.tests + other.tests, self.refused + other.refused, self.warnings + other.warnings
        )


class ResultSender:
    """Sends results of one run. A message that is rejected is halved until the invalid test is isolated.

    ``masker`` masks secrets that became known after the lines were written. ``describer`` describes files
    for a TMS that stores them. Methods raise TmsError.
    """

    def __init__(
        self,
        reporter: ExecutionReporter,
        run: RunProgress,
        masker: Masker | None,
        *,
        documented: bool,
        describer: FileDescriber | None = None,
    ) -> None:
        self._describer = describer
        self._reporter = reporter
        self._run = run
        self._masker = masker
        self._documented = documented

    def send_live(self, tests: Sequence[Tested], data: EventData, at: str) -> SendOutcome:
        """Send tests in an event with ``data``."""
        encoded = cast("list[TestResult]", [self._prepared(line.test) for line in tests])
        try:
            self._reporter.send_event("execution.progress", msgspec.structs.replace(data, tests=encoded), at)
        except REJECTIONS as error:
            if len(tests) == 1:
                return SendOutcome(refused=(_refusal(tests[0], error),))
            middle = len(tests) // 2
            first = self.send_live(tests[:middle], data, at)
            return first.plus(self.send_live(tests[middle:], data, at))
        return SendOutcome(len(tests))

    def submit(self, shard: ResultsSubmission[Any], tests: Sequence[Tested]) -> SendOutcome:
        """Submit a shard's results with ``tests``, in one message if it is not too large.

        A shard that is rejected without tests is submitted with its status alone.
        """
        submission = msgspec.structs.replace(shard, tests=self._for_results(tests) or None)
        try:
            self._reporter.submit(submission)
        except REJECTIONS as error:
            if len(tests) > 1:
                middle = len(tests) // 2
                return self.submit(shard, tests[:middle]).plus(self.submit(shard, tests[middle:]))
            if tests:
                return SendOutcome(refused=(_refusal(tests[0], error),))
            return self._submit_status(shard, error)
        return SendOutcome(len(tests))

    def _submit_status(self, shard: ResultsSubmission[Any], error: TmsError) -> SendOutcome:
        warning = f"details of shard {shard.shard_id} were refused: {error}"
        status_alone = ResultsSubmission[Any](
            execution_id=shard.execution_id, shard_id=shard.shard_id, status=shard.status
        )
        try:
            self._reporter.submit(status_alone)
        except REJECTIONS as again:
            return SendOutcome(warnings=(warning, f"the end of shard {shard.shard_id} was refused: {again}"))
        return SendOutcome(warnings=(warning,))

    def _for_results(self, tests: Sequence[Tested]) -> list[msgspec.Raw]:
        """Return tests as they are sent with ``/results``.

        A documented test is identified by file and title, so the second of an equal pair gets a number.
        """
        if not self._documented:
            return [self._prepared(line.test) for line in tests]
        documented = []
        for line in tests:
            fields = msgspec.json.decode(self._masked(line.test))
            kept = {name: fields[name] for name in DOCUMENTED_TEST_FIELDS if name in fields}
            number = self._run.number_of(line, kept.get("file"), kept["title"])
            if number > 1:
                kept["title"] = f"{kept['title']} #{number}"
            documented.append(msgspec.Raw(as_json(kept)))
        return documented

    def _prepared(self, test: msgspec.Raw) -> msgspec.Raw:
        """Return a test as it is sent: masked, and with descriptions of its files."""
        masked = self._masked(test)
        return masked if self._describer is None else self._describer.describe(masked)

    def _masked(self, test: msgspec.Raw) -> msgspec.Raw:
        """Return a test without the tokens that were obtained after its line was written."""
        if self._masker is None:
            return test
        return msgspec.Raw(self._masker.line(bytes(test)).rstrip(b"\n"))


def _refusal(line: Tested, error: TmsError) -> str:
    try:
        title = msgspec.json.decode(line.test)["title"]
    except (msgspec.MsgspecError, KeyError, TypeError):
        title = bytes(line.test)[:MAX_TITLE_BYTES].decode(errors="replace")
    return f"{title} (shard {line.shard}): {error}"
