"""Takes batches of tests from the queue of an execution for pytest's process, on a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from pytest_tms.errors import NotTms, TmsError
from pytest_tms.journal.queue import REQUESTS, RESPONSES, BatchRequest, BatchResponse, MessageFile
from pytest_tms.sender.pacing import RETRYABLE

if TYPE_CHECKING:
    from pytest_tms.client import TmsClient
    from pytest_tms.wire.claims import Claim, ClaimRequest

POLL_INTERVAL = 0.01
"""Seconds between two checks for a request of pytest's process."""
UPLOAD_TIMEOUT = 3.0
"""Seconds that a request waits for the delivery of the results before it."""
FIRST_BACKOFF = 0.2
"""Seconds before the second attempt of a request; later waits are twice as long."""
MAX_BACKOFF = 2.0
"""Seconds that a wait between two attempts may last."""


class ClaimRequests(threading.Thread):
    """Sends the requests that pytest's process writes beside its ``journal``, and writes the responses.

    A request is repeated until the TMS responds: its number makes that safe. ``template`` has what all
    requests have in common. ``describe`` returns an error as a sentence. ``lease`` is the number of seconds
    within which the shard must report, so that its tests are not given to others.

    Results are delivered by another thread. It delivers them at once while ``is_upload_wanted``, reports its
    state to pytest's process, and then calls ``confirm_upload``.
    """

    def __init__(
        self,
        client: TmsClient,
        journal: Path,
        execution_id: str,
        template: ClaimRequest,
        describe: Callable[[TmsError], str],
    ) -> None:
        super().__init__(name="tms-claims", daemon=True)
        self.lease = 15.0
        self._client = client
        self._requests = MessageFile(journal.with_suffix(REQUESTS), BatchRequest)
        self._responses = MessageFile(journal.with_suffix(RESPONSES), BatchResponse)
        self._execution_id = execution_id
        self._template = template
        self._describe = describe
        self._stopped = threading.Event()
        self._upload_wanted = threading.Event()
        self._uploaded = threading.Event()
        self._has_uploaded = False

    @property
    def is_upload_wanted(self) -> bool:
        """Whether a request waits for the delivery of the results before it."""
        return self._upload_wanted.is_set()

    def confirm_upload(self, *, has_succeeded: bool) -> None:
        """End the wait for the delivery of results."""
        self._has_uploaded = has_succeeded
        self._upload_wanted.clear()
        self._uploaded.set()

    def stop(self) -> None:
        """Send no more requests: the session has ended."""
        self._stopped.set()

    def run(self) -> None:
        """Respond to the requests of pytest's process until the session ends."""
        with self._client:
            while not self._stopped.wait(POLL_INTERVAL):
                try:
                    for request in self._requests.read()[-1:]:
                        self._respond(request)
                except (OSError, msgspec.MsgspecError):  # pytest's process continues without the TMS
                    return

    def _respond(self, request: BatchRequest) -> None:
        backoff = FIRST_BACKOFF
        if request.is_idle:
            self._upload()
        while not self._stopped.is_set():
            try:
                claim = self._claim(request)
            except (*RETRYABLE, NotTms) as error:
                requested = getattr(error, "retry_after", None) or 0.0
                wait = min(max(backoff, requested), threading.TIMEOUT_MAX)
                backoff = min(2 * backoff, MAX_BACKOFF)
                # What has finished meanwhile must not be given to other shards.
                while not self._stopped.wait(wait) and not self._upload():
                    wait = backoff
            except TmsError as error:
                self._responses.append(BatchResponse(number=request.number, problem=self._describe(error)))
                return
            else:
                self.lease = max(1.0, claim.lease / 1000)
                if claim.state == "finished":  # if the execution was cancelled, its state shows it
                    self._upload()
                self._responses.append(BatchResponse(number=request.number, claim=claim))
                return

    def _claim(self, request: BatchRequest) -> Claim:
        message = msgspec.structs.replace(
            self._template, number=request.number, tests=request.tests, workers=request.workers
        )
        return self._client.claim_tests(self._execution_id, message)

    def _upload(self) -> bool:
        """Have the results delivered that are known by now; return whether that succeeded in time."""
        self._uploaded.clear()
        self._upload_wanted.set()
        return self._uploaded.wait(UPLOAD_TIMEOUT) and self._has_uploaded
