"""Run six checks in two shards and report them to a TMS. Needs pytest-tms, for its client.

    TMS_URL=https://tms.example.com/api TMS_API_TOKEN=… python runner.py

Exit status: 0 if no check failed, 1 if a check failed or the results could not be sent, 2 on wrong usage.
"""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import NoReturn

from pytest_tms import TmsClient, TmsError, wire


class Skipped(Exception):
    """Raised by a check that does not apply on this machine."""


def home_directory_exists() -> None:
    assert Path.home().is_dir(), f"no directory {Path.home()}"


def temporary_directory_is_writable() -> None:
    directory = os.environ.get("TMPDIR", "/tmp")
    assert os.access(directory, os.W_OK), f"cannot write to {directory}"


def clock_is_set() -> None:
    assert date.today().year >= 2025, f"it is {date.today().year}"


def numbers_sort_by_value() -> None:
    assert sorted([10, 9]) == [9, 10]


def accents_take_two_bytes() -> None:
    assert len("é".encode()) == 2


def build_number_is_a_number() -> None:
    number = os.environ.get("BUILD_NUMBER")
    if not number:
        raise Skipped("BUILD_NUMBER is not set")
    assert number.isdecimal(), f"it is {number!r}"


SHARDS: list[list[Callable[[], None]]] = [
    [home_directory_exists, temporary_directory_is_writable, clock_is_set],
    [numbers_sort_by_value, accents_take_two_bytes, build_number_is_a_number],
]


def run_check(check: Callable[[], None]) -> wire.TestResult:
    status: wire.TestStatus = "passed"
    error = None
    started = time.perf_counter()
    try:
        check()
    except Skipped as reason:
        status, error = "skipped", str(reason)
    except Exception as problem:
        status, error = "failed", str(problem) or type(problem).__name__
    title = check.__name__.replace("_", " ")
    print(f"  {status}: {title}" + (f" ({error})" if error else ""))
    return wire.TestResult(
        title=title,
        file="runner.py",
        status=status,
        duration=round((time.perf_counter() - started) * 1000),
        error=error,
        retries=0,
        tags=["@smoke"],
    )


def count(tests: list[wire.TestResult]) -> wire.ReportedCounts:
    number = Counter(test.status for test in tests)
    return wire.ReportedCounts(
        total=len(tests), passed=number["passed"], failed=number["failed"], skipped=number["skipped"]
    )


def main(tms: TmsClient) -> int:
    created = tms.create_execution(
        wire.ExecutionRequest(
            test_suite="smoke",
            environment="dev",
            provider="python-runner",
            configuration=wire.Configuration(shards=len(SHARDS)),
            metadata={"buildNumber": os.environ.get("BUILD_NUMBER", "local")},
        )
    )

    def send(event: wire.EventName, data: wire.EventData) -> None:
        tms.send_event(
            wire.Event(
                event=event,
                execution_id=created.execution_id,
                timestamp=wire.timestamp(),
                data=data,
            ),
            webhook_url=created.webhook_url,
            webhook_token=created.webhook_token,
        )

    send("execution.started", wire.EventData(status="running"))
    everything: list[wire.TestResult] = []
    for shard, checks in enumerate(SHARDS, start=1):
        print(f"Shard {shard} of {len(SHARDS)}")
        started = wire.timestamp()
        tests = [run_check(check) for check in checks]
        results = count(tests)
        status: wire.SubmittedStatus = "failed" if results.failed else "completed"
        tms.submit_results(
            wire.ResultsSubmission(
                execution_id=created.execution_id,
                shard_id=str(shard),
                provider="python-runner",
                status=status,
                results=results,
                tests=tests,
                metadata={"startTime": started, "endTime": wire.timestamp()},
            )
        )
        send("shard.completed", wire.EventData(shard_id=str(shard), status=status, results=results))
        everything += tests
    results = count(everything)
    send("execution.completed", wire.EventData(status="completed", results=results))

    print(f"{results.passed} passed, {results.failed} failed, {results.skipped} skipped")
    print(tms.get_execution(created.execution_id).artifacts.report_url)
    return results.failed or 0


def end(status: int, sentence: str) -> NoReturn:
    print(f"runner.py: {sentence}", file=sys.stderr)
    sys.exit(status)


if __name__ == "__main__":
    url, token = os.environ.get("TMS_URL"), os.environ.get("TMS_API_TOKEN")
    if not url or not token:
        end(2, "Set TMS_URL (its /api included) and TMS_API_TOKEN.")
    try:
        with TmsClient(url, token, retries=3) as tms:
            failed = main(tms)
    except TmsError as error:
        end(1, str(error))
    if failed:
        end(1, f"{failed} check(s) failed.")
