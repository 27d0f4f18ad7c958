"""Delivers one journal until its session has ended and all is delivered, or the deadline has passed."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from pytest_tms import local_server
from pytest_tms.client import JobToken, TmsClient
from pytest_tms.errors import NotTms, TmsError
from pytest_tms.journal.reader import Journal
from pytest_tms.masking.environment import secrets_in
from pytest_tms.masking.masker import Masker
from pytest_tms.sender.advice import advise, advise_quarantine
from pytest_tms.sender.artifacts import FileUploads
from pytest_tms.sender.backlog import Backlog
from pytest_tms.sender.claims import ClaimRequests
from pytest_tms.sender.job_tokens import find_job_token
from pytest_tms.sender.known_tests import KnownTestsFetch
from pytest_tms.sender.launch import UNKNOWN, SenderConfig, SenderState
from pytest_tms.sender.pacing import RETRYABLE, Pacing
from pytest_tms.sender.parent import ParentProcess
from pytest_tms.sender.plan import PlanFetch
from pytest_tms.sender.quarantine import QuarantineFetch
from pytest_tms.sender.uploader import Uploader
from pytest_tms.wire.base import timestamp
from pytest_tms.wire.claims import ClaimRequest
from pytest_tms.wire.history import RunChanges

DEFAULT_INTERVAL = 30.0
"""Seconds between two reports of progress if neither the setting nor the TMS has another number."""
POLL_INTERVAL = 0.02
"""Seconds between two reads of the journal."""
CONNECT_TIMEOUT = 3.0
"""Seconds that one connection may take."""
READ_TIMEOUT = 20.0
"""Seconds that one response may take."""
UPLOAD_READ_TIMEOUT = 60.0
"""Seconds that the response to one upload may take: the TMS may have to store the file elsewhere first."""
FILES_INTERVAL = 0.05
"""Seconds between two checks whether the remaining files are uploaded."""
PLAN_READ_TIMEOUT = 8.0
"""Seconds that a response for the selection of tests may take."""
PLAN_RETRIES = 2
"""Further attempts to fetch them."""
REPORTS_PER_LEASE = 3
"""Reports within the lease of a shard that takes tests from a queue, at least: each renews it."""
CLAIM_READ_TIMEOUT = 5.0
"""Seconds that the response to a request for tests may take."""
QUARANTINE_READ_TIMEOUT = 5.0
"""Seconds that a response with tests in quarantine may take."""
QUARANTINE_RETRIES = 2
"""Further attempts to fetch them."""
BACKLOG_TIMEOUT = 0.2
"""Seconds that the end of a session waits for the backlog; the rest goes on in the background."""
CHANGES_TIMEOUT = 3.0
"""Seconds that the end of a session waits for what changed since the previous run."""
MAX_CHANGED = 50
"""Tests of each kind of change that are reported to pytest's process."""
MAX_SHARDS = 100
"""Shards by which the changes are selected; of a run with more, all shards of its execution count."""
OVERDUE_GRACE = 1.0
"""Seconds beyond the deadline after which a process that hangs in a call is ended."""

ENDED = "the execution ended in the TMS, its page has the reason"
CANCELLED = "the execution was cancelled in the TMS"


class DeliveryLoop:
    """Delivers one journal.

    Without a ``parent`` the session has ended, and the journal is delivered in the foreground. Errors of
    the TMS do not affect the run: those that may be temporary are retried with backoff, the others are
    described in the state.
    """

    def __init__(self, config: SenderConfig, journal: Journal, parent: ParentProcess | None = None) -> None:
        self.state = SenderState(pid=os.getpid())
        self._config = config
        self._journal = journal
        self._parent = parent
        secrets = [config.token, config.webhook_token, *secrets_in(os.environ)]
        self._masker = Masker(secrets, config.mask)
        self._pacing = Pacing()
        self._uploader: Uploader | None = None
        self._client: TmsClient | None = None
        self._backlog: Backlog | None = None
        self._files: FileUploads | None = None
        self._plan: PlanFetch | None = None
        self._claims: ClaimRequests | None = None
        self._quarantine: QuarantineFetch | None = None
        self._known_tests: KnownTestsFetch | None = None
        self._token: str | JobToken = ""
        self._issued: list[str] = []
        self._fatal = ""
        self._parent_ended_at = 0.0
        self._closing_until: float | None = None
        self._closing_since = 0.0
        self._yielded = b""
        self._has_finished = False

    def run(self) -> Iterator[SenderState]:
        """Deliver; yield the state whenever it has changed, at last with ``is_final``."""
        yield from self._changed_state()
        due = 0.0
        while True:
            now = time.monotonic()
            if (self._closing_until is None and self._is_closed()) or self._is_upload_wanted():
                due = 0
            if self._closing_until is not None and now > self._closing_until:
                break
            if now >= due:
                is_upload_wanted = self._is_upload_wanted()
                self._attempt()
                yield from self._changed_state()
                if is_upload_wanted and self._claims is not None:
                    is_failing = self._pacing.is_failing or bool(self._fatal)
                    self._claims.confirm_upload(has_succeeded=not is_failing)
                due = time.monotonic() + self._pause()
                if self._is_finished():
                    break
            elif self._has_fetched():
                self._update_state()
                yield from self._changed_state()
            time.sleep(min(POLL_INTERVAL, max(0.0, due - time.monotonic())))
        self._finish()
        yield from self._changed_state()
        if self._backlog is not None and self._closing_until is not None:
            self._backlog.join(self._closing_since + self._config.deadline - time.monotonic())

    def is_overdue(self) -> bool:
        """Return whether the deadline passed some time ago, because the process hangs in a call."""
        now = time.monotonic()
        if not self._parent_ended_at and self._has_parent_ended():
            self._parent_ended_at = now
        return (
            bool(self._parent_ended_at)
            and now > self._parent_ended_at + self._config.deadline + OVERDUE_GRACE
        )

    # One attempt --------------------------------------------------------------------------------

    def _attempt(self) -> None:
        """Deliver what the journal contains by now, or send a heartbeat if there is nothing new."""
        try:
            uploader = self._uploader or self._connect()
            delivered = uploader.delivered
            uploader.upload()
            if self._closing_until is not None and not uploader.is_closed:
                uploader.close_unfinished(at=timestamp())
            elif (
                self._closing_until is None and uploader.delivered == delivered and self._pacing.has_responded
            ):
                uploader.send_heartbeat()
        except RETRYABLE as error:
            self._fail(error)
        except NotTms as error:
            if self._uploader is not None and self._uploader.execution is not None:
                self._fail(error)  # it was a TMS before: a proxy responds for now
            else:
                self._fatal = advise(error)
        except (TmsError, ValueError) as error:
            self._fatal = advise(error)
        except Exception as error:  # a defect of the sender must not prevent the end of the run
            self._fatal = f"delivery stopped by a defect of pytest-tms ({type(error).__name__}: {error})"
        else:
            self._pacing.record_success()
            self.state.problem = ""
            self._fetch_plan()
            self._start_claims()
            self._fetch_quarantine()
            self._fetch_known_tests()
            self._start_backlog()
            self._upload_files()
        self._update_state()

    def _fail(self, error: TmsError) -> None:
        self._pacing.record_failure(error)
        self.state.problem = advise(error)

    def _connect(self) -> Uploader:
        url, token = self._config.url, self._config.token
        if url == "local":
            url, token = local_server.find_or_start(self._config.pid)
            self._masker.add(token)
        # On threads of their own, clients share the token of a CI job.
        self._token = token or find_job_token(url, os.environ, on_issued=self._issued.append, retries=0) or ""
        is_foreground = self._parent is None
        read_timeout = min(READ_TIMEOUT, self._config.deadline) if is_foreground else READ_TIMEOUT
        self._client = self._new_client(url, read_timeout)
        self._uploader = Uploader(
            self._client,
            self._journal,
            webhook_token=self._config.webhook_token,
            report_interval=self._config.progress_interval or None,
            masker=self._masker,
        )
        return self._uploader

    def _new_client(self, url: str, read_timeout: float, retries: int = 0) -> TmsClient:
        return TmsClient(
            url, self._token, retries=retries, connect_timeout=CONNECT_TIMEOUT, read_timeout=read_timeout
        )

    def _has_fetched(self) -> bool:
        """Return whether a thread has fetched something that the state does not show yet."""
        plan, quarantine = self._plan, self._quarantine
        return (plan is not None and plan.outcome != self.state.plan) or (
            quarantine is not None and quarantine.outcome != self.state.quarantine
        )

    def _fetch_plan(self) -> None:
        """Fetch what the shard needs to select its tests once, on a connection of its own."""
        execution = self._uploader.execution if self._uploader is not None else None
        request = self._config.plan
        if self._plan is not None or request is None or execution is None or self._client is None:
            return
        client = self._new_client(self._client.base_url, PLAN_READ_TIMEOUT, PLAN_RETRIES)
        self._plan = PlanFetch(client, execution.execution_id, request, execution.capabilities)
        self._plan.start()

    def _start_claims(self) -> None:
        """Take tests from the queue of the execution, on a thread and a connection of its own."""
        uploader, request = self._uploader, self._config.plan
        execution = uploader.execution if uploader is not None else None
        if (
            self._claims is not None
            or request is None
            or not request.by_queue
            or self._client is None
            or self._parent is None
            or uploader is None
            or execution is None
            or "claims" not in execution.capabilities
            or not uploader.shards
        ):
            return
        template = ClaimRequest(
            runner=uploader.runner,
            shard_id=uploader.shards[0],
            number=1,
            attempt=request.attempt or None,
            rerun="failed" if request.rerun_shard else "all",
        )
        client = self._new_client(self._client.base_url, CLAIM_READ_TIMEOUT)
        journal = Path(self._config.journal)
        self._claims = ClaimRequests(client, journal, execution.execution_id, template, self._describe)
        self._claims.start()

    def _is_upload_wanted(self) -> bool:
        return self._claims is not None and self._claims.is_upload_wanted

    def _describe(self, error: TmsError) -> str:
        return self._masker.text(advise(error))

    def _fetch_quarantine(self) -> None:
        """Fetch the tests in quarantine once, on a thread and a connection of its own: it delays nothing."""
        execution = self._uploader.execution if self._uploader is not None else None
        if (
            self._quarantine is not None
            or not self._config.quarantine
            or execution is None
            or self._client is None
            or self._parent is None  # in the foreground the exit status is decided already
        ):
            return
        client = self._new_client(self._client.base_url, QUARANTINE_READ_TIMEOUT, QUARANTINE_RETRIES)
        self._quarantine = QuarantineFetch(
            client,
            execution.execution_id,
            Path(self._config.quarantine),
            is_supported="quarantine" in execution.capabilities,
        )
        self._quarantine.start()

    def _fetch_known_tests(self) -> None:
        """Fetch the tests that the TMS knows once, on a thread and a connection of its own."""
        execution = self._uploader.execution if self._uploader is not None else None
        path = self._config.known_tests
        if (
            self._known_tests is None
            and path
            and execution is not None
            and self._client is not None
            and self._parent is not None
        ):
            self._known_tests = KnownTestsFetch(
                self._new_client(self._client.base_url, READ_TIMEOUT),
                execution.execution_id,
                Path(path),
                is_supported="known-tests" in execution.capabilities,
            )
            self._known_tests.start()

    def _start_backlog(self) -> None:
        """Deliver what earlier runs left, on a thread and a connection of its own: it delays nothing."""
        if self._backlog is None and self._parent is not None and self._client is not None:
            client = self._new_client(self._client.base_url, READ_TIMEOUT)
            self._backlog = Backlog(Path(self._config.journal), self._config.url, client)
            self._backlog.start()

    def _upload_files(self) -> None:
        """Upload files on a thread and a connection of their own, so that they delay no result."""
        uploader = self._uploader
        if uploader is None or uploader.execution is None or self._client is None:
            return
        if self._files is None and uploader.uploads.pending:
            client = self._new_client(self._client.base_url, UPLOAD_READ_TIMEOUT)
            self._files = FileUploads(client, uploader.execution.execution_id, uploader.uploads)
            if self._parent is not None:
                self._files.start()
        if self._files is not None and self._parent is None:  # no thread in the process of the tests
            with contextlib.suppress(TmsError):
                self._files.upload_pending(self._is_time_over)

    def _is_time_over(self) -> bool:
        return self._closing_until is not None and time.monotonic() > self._closing_until

    def _has_pending_files(self) -> bool:
        return self._uploader is not None and bool(self._uploader.uploads.pending)

    def _pause(self) -> float:
        """Return the seconds until the next attempt."""
        if self._fatal:
            return DEFAULT_INTERVAL
        if self._pacing.is_failing:
            return self._pacing.backoff(is_closing=self._closing_until is not None)
        if self._closing_until is not None and self._is_delivered():  # only files are left
            return FILES_INTERVAL
        interval = self._uploader.progress_interval if self._uploader is not None else None
        interval = interval or DEFAULT_INTERVAL
        return interval if self._claims is None else min(interval, self._claims.lease / REPORTS_PER_LEASE)

    # End ----------------------------------------------------------------------------------------

    def _is_closed(self) -> bool:
        """Return whether the session has ended; from then on the wait that the journal allows runs."""
        wait = self._journal.closing_wait()
        if wait is None and self._has_parent_ended():
            wait = self._journal.closing_wait()  # the last line may have been written meanwhile
            wait = self._config.deadline if wait is None else wait
        if wait is None:
            return False
        if self._claims is not None:
            self._claims.stop()
        self._closing_since = time.monotonic()
        self._closing_until = self._closing_since + wait
        return True

    def _has_parent_ended(self) -> bool:
        return self._parent is None or self._parent.has_ended()

    def _is_finished(self) -> bool:
        """Return whether nothing is left to do, or further attempts are pointless."""
        if self._closing_until is None:
            return False
        if self._fatal:
            return True
        if self._pacing.is_failing:
            now = time.monotonic()
            return self._pacing.is_hopeless(now, self._closing_since, self._closing_until)
        return self._is_delivered() and not self._has_pending_files()

    def _is_delivered(self) -> bool:
        return self._uploader is not None and self._uploader.is_closed and self._uploader.is_done

    def _finish(self) -> None:
        """Close the journal, and set the last state."""
        uploader = self._uploader
        self.state.is_done = self._is_delivered() and not self._fatal and not self._pacing.is_failing
        if not self.state.is_done and not self.state.problem:
            self.state.problem = self._fatal or "the TMS did not accept all results in time"
        if self.state.is_done:
            self.state.changes = self._fetch_changes()
        if self._client is not None:
            self._client.close()
        if self._files is not None:
            self._files.stop()
        if self._known_tests is not None and not self._known_tests.is_alive():
            Path(self._config.known_tests).unlink(missing_ok=True)
        is_complete = self.state.is_done and uploader is not None and not uploader.refused
        self._journal.close(delivered=is_complete and not self._has_pending_files())
        if self._backlog is not None:  # most backlogs are empty, or cannot be sent at all
            self._backlog.join(BACKLOG_TIMEOUT)
        self._has_finished = True
        self._update_state()
        self.state.is_final = True

    def _fetch_changes(self) -> msgspec.Raw:
        """Return what changed since the previous run, if tests failed and the TMS knows it.

        The summary does without it, so errors are of no interest.
        """
        uploader, client = self._uploader, self._client
        if uploader is None or client is None or not uploader.failed or self._closing_until is None:
            return UNKNOWN
        joined = uploader.execution
        seconds = min(CHANGES_TIMEOUT, self._closing_until - time.monotonic())
        if joined is None or "history" not in joined.capabilities or seconds <= 0:
            return UNKNOWN
        shards = uploader.shards if len(uploader.shards) <= MAX_SHARDS else []
        try:
            with self._new_client(client.base_url, seconds) as own:
                found = own.get_changes(joined.execution_id, shards=shards, limit=MAX_CHANGED)
        except (TmsError, ValueError):
            return UNKNOWN
        return msgspec.Raw(msgspec.json.encode(_without_errors(found)))

    # State --------------------------------------------------------------------------------------

    def _update_state(self) -> None:
        state, uploader = self.state, self._uploader
        while self._issued:  # by any thread
            self._masker.add(self._issued.pop())
        state.problem = self._masker.text(self._fatal or state.problem)
        if uploader is not None:
            state.execution_status = uploader.execution_status
            state.delivered, state.refused = uploader.delivered, uploader.refused
            state.names = uploader.acks.names
            if uploader.execution is not None:
                state.report_url = uploader.execution.report_url
                state.execution_id = uploader.execution.execution_id
            warnings = [*uploader.warnings, *([self._journal.problem] if self._journal.problem else [])]
            state.warnings = [self._masker.text(text) for text in warnings]
            if self._closing_until is None and not state.stop:
                state.stop = {"cancelled": CANCELLED, "failed": ENDED}.get(uploader.execution_status, "")
        if self._plan is not None:
            state.plan = self._plan.outcome
        elif self._fatal and self._config.plan:
            state.plan = "failed"
        if self._quarantine is not None:
            state.quarantine = self._quarantine.outcome
            if self._quarantine.error is not None:
                state.quarantine_problem = self._masker.text(advise_quarantine(self._quarantine.error))
        if self._backlog is not None:
            state.backlog = (self._backlog.runs, self._backlog.tests)
            state.waiting = self._backlog.waiting
            state.warnings += [self._masker.text(text) for text in self._backlog.warnings]
        if uploader is not None and self._files is not None:
            state.warnings += [self._masker.text(text) for text in self._files.warnings]
            left = len(uploader.uploads.pending)
            if left and self._has_finished:
                files = "1 file was" if left == 1 else f"{left} files were"
                state.warnings.append(f"{files} not uploaded in time: tms replay {self._journal.path}")
        if state.stop:
            self._write_cancel_file(state.stop)

    def _write_cancel_file(self, reason: str) -> None:
        """Write the file by which xdist's workers notice that the run has to stop."""
        path = Path(self._config.journal).with_suffix(".cancel")
        if self._closing_until is None and not path.exists():
            with contextlib.suppress(OSError):
                temporary = path.with_suffix(".cancel~")
                temporary.write_text(reason, encoding="utf-8")
                temporary.replace(path)

    def _changed_state(self) -> Iterator[SenderState]:
        """Yield the state if it has changed since the last time."""
        encoded = msgspec.json.encode(self.state)
        if encoded != self._yielded:
            self._yielded = encoded
            yield self.state


def _without_errors(changes: RunChanges) -> RunChanges:
    """Return changes without the messages of errors, which pytest has shown."""
    without = {
        name: msgspec.structs.replace(
            some, tests=[msgspec.structs.replace(test, error=None) for test in some.tests]
        )
        for name in ("new_failures", "known_failures", "quarantined", "fixed", "flaky")
        for some in [getattr(changes, name)]
    }
    return msgspec.structs.replace(changes, **without)
