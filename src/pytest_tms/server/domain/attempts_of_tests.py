"""Attempts of a test within one shard or one queue: the newest is the verdict.

A failed earlier attempt makes a test that passes flaky.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from pytest_tms import wire


class ResultVerdict(NamedTuple):
    """How a test ended: ``retries`` are those within its attempt."""

    status: wire.TestStatus
    retries: int
    failed_before: bool = False

    @property
    def is_flaky(self) -> bool:
        """Return whether the test passed after a failed try or attempt."""
        return self.status == "passed" and (self.retries > 0 or self.failed_before)

    @property
    def has_failed(self) -> bool:
        """Return whether any try of the test failed."""
        return self.status == "failed" or self.retries > 0


class StoredAttempt(NamedTuple):
    """A result that is stored. ``digest`` identifies its document, ``sequence`` is its number."""

    sequence: int
    attempt: int
    is_superseded: bool
    digest: int
    verdict: ResultVerdict
    shard_id: str = ""


class Merged(NamedTuple):
    """How to store a result that arrived, and how to change the stored ones.

    ``before`` and ``after`` are the verdicts of the test. ``is_stored`` is False if the same result is stored
    already, ``is_new`` is True if its attempt had no result of the test. ``replaced`` and ``superseded`` are
    the numbers of results to delete and to mark, ``failed_before`` is that of a newer one to mark.
    """

    before: ResultVerdict | None
    after: ResultVerdict
    verdict: ResultVerdict
    is_stored: bool = True
    is_new: bool = True
    is_superseded: bool = False
    replaced: int | None = None
    superseded: int | None = None
    failed_before: int | None = None


def by_arrival(
    shard_id: str, attempt: int, stored: Sequence[StoredAttempt]
) -> tuple[int, list[StoredAttempt]]:
    """Return the attempt of a result and the stored ones, numbered over all shards in the order of arrival.

    A result that replaces a stored one of the same shard and attempt has its number. One of an attempt that
    is not the newest of its shard is the first.
    """
    ordered = sorted(stored, key=lambda each: (not each.is_superseded, each.sequence))
    numbered = [each._replace(attempt=number) for number, each in enumerate(ordered, 1)]
    own = {each.attempt: number for number, each in enumerate(ordered, 1) if each.shard_id == shard_id}
    if attempt in own:
        return own[attempt], numbered
    return (0 if own and max(own) > attempt else len(numbered) + 1), numbered


def merge(verdict: ResultVerdict, attempt: int, digest: int, stored: Sequence[StoredAttempt]) -> Merged:
    """Merge a result of an attempt with the stored results of the same test and shard."""
    if not stored:
        return Merged(None, verdict, verdict)
    current = next(each for each in stored if not each.is_superseded)
    same = next((each for each in stored if each.attempt == attempt), None)
    if same is not None and same.digest == digest:
        return Merged(current.verdict, current.verdict, same.verdict, is_stored=False, is_new=False)
    failed_before = any(each.verdict.has_failed for each in stored if each.attempt < attempt)
    verdict = verdict._replace(failed_before=failed_before)
    replaced = None if same is None else same.sequence
    if current.attempt <= attempt:
        superseded = current.sequence if current.attempt < attempt else None
        return Merged(
            current.verdict,
            verdict,
            verdict,
            is_new=same is None,
            replaced=replaced,
            superseded=superseded,
        )
    after = current.verdict._replace(failed_before=current.verdict.failed_before or verdict.has_failed)
    changed = after.failed_before != current.verdict.failed_before
    return Merged(
        current.verdict,
        after,
        verdict,
        is_new=same is None,
        is_superseded=True,
        replaced=replaced,
        failed_before=current.sequence if changed else None,
    )
