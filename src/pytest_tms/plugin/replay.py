"""What earlier runs left behind or wrote offline, sent as if it had been live."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pytest_tms.client import TmsClient
from pytest_tms.plugin.delivery import Delivery
from pytest_tms.plugin.journal import Journal


@dataclass(frozen=True, kw_only=True)
class Replayed:
    """One journal that was sent: its page, its tests, and what the TMS did not take."""

    path: Path
    report_url: str
    tests: int
    refused: list[str]


def journals(folder: Path) -> list[Path]:
    """The journals in ``folder``, or in its ``journal`` and ``offline``; the oldest first."""
    found = [path for part in (".", "journal", "offline") for path in (folder / part).glob("*.jsonl")]
    return sorted(found, key=lambda path: path.name)


def replay(
    path: Path, client: TmsClient, *, documented_only: bool = False, progress: Callable[[int, int], None]
) -> Replayed | None:
    """Send one journal; None where another process works on it. What was sent stays acknowledged.

    ``progress`` is told the position and the end, in bytes. Raises TmsError where the TMS is in trouble, and
    ValueError where the file is no journal: the same call again goes on from there.
    """
    journal = Journal.adopt(path)
    if journal is None:
        return None
    delivery = Delivery(client, journal, documented_only=documented_only, progress=progress)
    done = False
    try:
        delivery.step()
        delivery.close_orphan()
        done = not delivery.refused
    finally:
        journal.close(delivered=done)
    return Replayed(
        path=path,
        report_url=delivery.joined.report_url if delivery.joined else "",
        tests=delivery.delivered,
        refused=delivery.refused,
    )
