"""Parcels: where they are, by the service of the carrier."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from decimal import Decimal

POSTAGE = {"DE": Decimal("4.90"), "AT": Decimal("9.90"), "FR": Decimal("11.90"), "CH": Decimal("19.00")}
"""Postage by the country of the customer."""
STATES = ("announced", "collected", "on the way", "delivered")

Carrier = Callable[[str], Awaitable[str]]


def postage(country: str) -> Decimal:
    """Return the postage to a country, in any case of letters."""
    return POSTAGE[country.upper()]


async def wait_for_delivery(carrier: Carrier, parcel: str, every: float = 0.2) -> list[str]:
    """Ask the carrier until a parcel is delivered, and return its states in their order."""
    states: list[str] = []
    while not states or states[-1] != STATES[-1]:
        state = await carrier(parcel)
        if state not in states:
            states.append(state)
        await asyncio.sleep(every)
    return states
