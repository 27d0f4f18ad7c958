"""Calls a function for many requests at once: those that arrive while it runs wait for its next call."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from anyio import CapacityLimiter
from anyio.to_thread import run_sync

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class Batcher(Generic[Item, Answer]):
    """Calls ``handle`` with all waiting items, at most ``limit``, on one thread at a time.

    ``handle`` returns the answers in the order of the items; an answer that is an exception is raised. It
    belongs to one event loop.
    """

    def __init__(self, handle: Callable[[Sequence[Item]], Sequence[Answer | Exception]], limit: int) -> None:
        self._handle = handle
        self._limit = limit
        self._waiting: deque[tuple[Item, asyncio.Future[Answer]]] = deque()
        self._task: asyncio.Task[None] | None = None

    async def __call__(self, item: Item) -> Answer:
        """Return the answer to one item."""
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, answer))
        if self._task is None:
            self._task = asyncio.create_task(self._run())
        return await answer

    async def _run(self) -> None:
        limiter = CapacityLimiter(1)  # its own: it must not wait for a thread of a request
        try:
            while self._waiting:
                batch = [self._waiting.popleft() for _ in range(min(self._limit, len(self._waiting)))]
                items = [item for item, _ in batch]
                try:
                    answers = await run_sync(self._handle, items, limiter=limiter)
                except Exception as error:  # it is raised where an answer is awaited
                    answers = [error] * len(batch)
                for (_, future), answer in zip(batch, answers, strict=True):
                    _resolve(future, answer)
        finally:
            self._task = None


def _resolve(future: asyncio.Future[Answer], answer: Answer | Exception) -> None:
    if future.done():  # its request was cancelled
        return
    if isinstance(answer, Exception):
        future.set_exception(answer)
    else:
        future.set_result(answer)
