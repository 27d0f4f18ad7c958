"""Delivers the results of a session: by a sender process, or at the end in this process."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from pytest_tms.journal.acknowledgements import read_acks
from pytest_tms.journal.writer import JournalWriter
from pytest_tms.sender.launch import PlanRequest, SenderConfig, SenderProcess, SenderState
from pytest_tms.settings.table import Settings

STOPPED_DEADLINE = 3.0
"""Seconds that a stopped session waits for the TMS, since CI soon kills it; its sender continues."""
GRACE = 1.0
"""Seconds beyond its deadline after which the sender is stopped."""
NOTICE_AFTER = 1.0
"""Seconds of waiting after which the terminal shows that the session waits."""


class ResultDelivery:
    """Starts the sender of one session, reads its reports, and waits for it at the end.

    ``problem`` is why nothing can be sent: results are kept on disk then. ``quarantine`` is the file for the
    tests in quarantine, ``known_tests`` that for the tests that the TMS knows, ``plan`` is what
    the selection of tests needs; None if they are not needed.
    """

    def __init__(
        self,
        settings: Settings,
        writer: JournalWriter,
        problem: str,
        *,
        quarantine: Path | None,
        known_tests: Path | None,
        plan: PlanRequest | None,
    ) -> None:
        self._settings = settings
        self._quarantine = quarantine
        self._known_tests = known_tests
        self._plan = plan
        self._writer = writer
        self._problem = problem
        self._sender: SenderProcess | None = None
        self._waited = 0.0

    @property
    def is_running(self) -> bool:
        """Whether a sender was started."""
        return self._sender is not None

    def start(self) -> None:
        """Start the sender, if results are to be sent and the journal is on disk."""
        if self._settings.offline or self._problem or not self._writer.is_on_disk:
            return
        sender = SenderProcess(self._config(self._settings.deadline))
        if sender.start():
            self._sender = sender

    def read(self) -> SenderState:
        """Return the latest state that the sender reported, without waiting."""
        if self._sender is None:
            return SenderState()
        self._sender.read()
        return self._sender.state

    @property
    def is_waiting(self) -> bool:
        """Whether a sender runs, for whose reports the session can wait."""
        return self._sender is not None and self._sender.can_wait

    @property
    def has_ended(self) -> bool:
        """Whether no sender runs, as far as that is known."""
        if self._sender is not None:
            self._sender.read()
        return self._sender is None or self._sender.is_over

    def wait_until(self, condition: Callable[[SenderState], bool], seconds: float) -> bool:
        """Wait until the state of the sender meets a condition, or it has ended; return whether it does."""
        return self._sender is not None and self._sender.wait_until(condition, seconds)

    def wait_briefly(self, seconds: float) -> bool:
        """Wait for the sender until a notice is due; return whether there is more to wait for."""
        if self._sender is None or self._writer.memory:
            return False
        self._waited = min(NOTICE_AFTER, seconds)
        has_reported = self._sender.wait(self._waited)
        return not has_reported and not self._sender.is_over

    def finish(self, seconds: float) -> SenderState:
        """Deliver the remaining results within ``seconds``; return the last state.

        If ``seconds`` is less than the deadline, the sender continues in the background until the deadline.
        """
        sender, in_memory = self._sender, bool(self._writer.memory)
        if self._settings.offline or self._problem:
            return SenderState(problem=self._problem)
        if sender is None:
            return self._deliver_in_foreground(seconds)
        if not in_memory and sender.wait(seconds + GRACE - self._waited):
            sender.close()
            return sender.state
        if sender.is_over:
            return self._deliver_in_foreground(seconds)
        if seconds < self._settings.deadline and not in_memory:
            sender.close()
            limit = f"{self._settings.deadline:g} s"
            return self._recorded(
                f"the remaining results are being sent in the background, for at most {limit}"
            )
        sender.stop()
        if in_memory:
            return self._deliver_in_foreground(seconds)
        return self._recorded(f"the TMS did not accept all results within {seconds:g} s")

    def abort(self) -> SenderState:
        """End the sender because the user interrupted the wait; return the last state."""
        if self._sender is not None:
            self._sender.stop()
        return self._recorded("the wait for the TMS was interrupted")

    def _deliver_in_foreground(self, seconds: float) -> SenderState:
        """Deliver in this process: there is no sender, or it cannot read the lines in memory."""
        from pytest_tms.sender.process import deliver_in_foreground

        state = deliver_in_foreground(self._config(seconds), self._writer.memory)
        return state or self._recorded("another process is delivering the results")

    def _recorded(self, problem: str) -> SenderState:
        """Return the state according to the acknowledgements of the journal."""
        acks = read_acks(self._writer.path)
        return SenderState(
            report_url=str(acks.joined.get("report_url", "")),
            delivered=acks.delivered,
            refused=acks.refused,
            problem=(self._sender.state.problem if self._sender else "") or problem,
        )

    def _config(self, deadline: float) -> SenderConfig:
        settings = self._settings
        return SenderConfig(
            journal=str(self._writer.path.absolute()),
            pid=os.getpid(),
            url=settings.url,
            token=settings.token.reveal(),
            webhook_token=settings.webhook_token.reveal(),
            progress_interval=settings.progress_interval,
            deadline=deadline,
            mask=list(settings.mask),
            quarantine=str(self._quarantine or ""),
            known_tests=str(self._known_tests or ""),
            plan=self._plan,
        )
