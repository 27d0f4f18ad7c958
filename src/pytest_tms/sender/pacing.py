"""One background thread that delivers a run's journal while the tests go on, and never holds them up."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable

from pytest_tms.errors import (
    InFlight,
    InternalError,
    NotTms,
    RateLimited,
    ServiceUnavailable,
    TmsError,
    Unreachable,
)
from pytest_tms.sender.replay import Earlier
from pytest_tms.sender.uploader import Delivery, advice

DEFAULT_INTERVAL = 30.0
"""Seconds between two reports of progress where the TMS does not ask for another number."""
LONGEST_BACKOFF = 30.0
"""Seconds that one wait after failed attempts may last."""


class Courier:
    """Runs a Delivery on a thread of its own.

    Trouble with the TMS never reaches the run: what can be tried again is, after growing waits, and the rest
    is a sentence in ``problem``. ``earlier`` is sent while there is nothing newer to send.
    """

    def __init__(
        self,
        delivery: Delivery,
        earlier: Earlier,
        on_cancel: Callable[[], None] = lambda: None,
    ) -> None:
        self.delivery = delivery
        self.earlier = earlier
        self._on_cancel = on_cancel
        self._retry_after: float | None = None
        self._fatal = ""
        self._latest = ""
        self._failures = 0
        self._answered = False
        self._first_try = threading.Event()
        self._wake = threading.Event()
        self._closing = False
        self._until = 0.0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tms-courier", daemon=True)

    def start(self, wait: float) -> None:
        """Start; come back when the first attempt came to something, after ``wait`` seconds at most."""
        self._thread.start()
        self._first_try.wait(wait)

    def finish(self, deadline: float) -> bool:
        """Deliver what is left, for at most ``deadline`` seconds. Answers whether everything is delivered.

        Ctrl-C ends the wait: what is left stays where it is.
        """
        self._until = time.monotonic() + deadline
        self._closing = True
        self._wake.set()
        why = f"the TMS did not take everything within {deadline:g} s"
        try:  # a join that is interrupted takes the thread for dead
            self._over.wait(deadline)
        except KeyboardInterrupt:
            why = "the TMS had not taken everything when the wait was interrupted"
        if not self.is_over and not self._latest:
            self._latest = why
        return self.is_over and not self._fatal and self.delivery.is_done

    @property
    def is_over(self) -> bool:
        """Whether delivery has ended, and nobody reads the journal any more."""
        return self._over.is_set()

    @property
    def problem(self) -> str:
        """Why not everything is delivered, as one sentence; empty where nothing is in the way."""
        return self._fatal or self._latest

    def _run(self) -> None:
        try:
            self._deliver()
        finally:
            self.delivery.client.close()
            self._over.set()

    def _deliver(self) -> None:
        while True:
            before = self.delivery.delivered
            try:
                self.delivery.step()
                if self.delivery.delivered == before and not self._closing and self._answered:
                    self.delivery.heartbeat()
            except (Unreachable, RateLimited, InFlight, InternalError, ServiceUnavailable) as error:
                self._failed(error)
            except NotTms as error:
                if self.delivery.joined is None:
                    self._fatal = advice(error)
                else:  # it was a TMS before: something is in between for now
                    self._failed(error)
            except (TmsError, ValueError) as error:
                self._fatal = advice(error)
            except Exception as error:  # a defect of ours must not cost the run its end
                self._fatal = f"delivery stopped by a defect of pytest-tms ({type(error).__name__}: {error})"
            else:
                self._answered, self._failures, self._latest = True, 0, ""
            self._first_try.set()
            if self.delivery.execution_status == "cancelled" and not self._closing:
                self._on_cancel()
            hopeless = self._closing and self._failures > 0 and self._is_hopeless()
            if not self._fatal and not self._failures:
                self.earlier.send(lambda: self._closing)
            if self._fatal or hopeless or (self._closing and self.delivery.is_done):
                return
            self._wake.wait(self._pause())
            if not self._closing:
                self._wake.clear()

    def _is_hopeless(self) -> bool:
        """Whether it is in vain to wait at the end: for a TMS that was never there, or asks for more time."""
        return not self._answered or time.monotonic() + (self._retry_after or 0) > self._until

    def _failed(self, error: TmsError) -> None:
        self._failures += 1
        # These are answers, of a TMS that asks to come again.
        self._answered = self._answered or isinstance(error, (RateLimited, InFlight))
        self._latest = advice(error)
        self._retry_after = getattr(error, "retry_after", None)

    def _pause(self) -> float:
        if self._failures:
            backoff: float = min(LONGEST_BACKOFF, 0.5 * 2.0 ** min(self._failures - 1, 10))
            pause = max(backoff * random.uniform(0.75, 1.25), self._retry_after or 0)  # noqa: S311  # jitter
            if not self._closing:
                return min(pause, threading.TIMEOUT_MAX)
            time.sleep(min(pause, 2))  # the wake-up is spent; finish() bounds the whole
            return 0
        return self.delivery.pace or self.delivery.interval or DEFAULT_INTERVAL
