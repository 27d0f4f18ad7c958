from __future__ import annotations

import asyncio
from decimal import Decimal
from itertools import chain, repeat

import pytest
from shop.parcels import STATES, postage, wait_for_delivery


class Carrier:
    """A carrier whose parcels move on with every second question."""

    def __init__(self) -> None:
        self._states = chain.from_iterable(repeat(state, 2) for state in STATES)

    async def __call__(self, parcel: str) -> str:
        await asyncio.sleep(0.05)
        return next(self._states)


@pytest.mark.slow
async def test_a_parcel_is_followed_until_it_is_delivered():
    assert await wait_for_delivery(Carrier(), "P-1") == list(STATES)


async def test_two_parcels_are_followed_at_once():
    first, second = await asyncio.gather(
        wait_for_delivery(Carrier(), "P-1", every=0), wait_for_delivery(Carrier(), "P-2", every=0)
    )
    assert first == second == list(STATES)


@pytest.mark.skipif(not hasattr(pytest, "Subtests"), reason="subtests are a part of pytest since version 9.0")
def test_postage_by_country(subtests):
    expected = {"DE": "4.90", "at": "9.90", "FR": "11.90", "CH": "18.00"}
    for country, price in expected.items():
        with subtests.test(country=country):
            assert postage(country) == Decimal(price)


@pytest.fixture(scope="module")
def unreliable_carrier():
    """The service of a carrier, whose first answer is an error."""
    answers = chain([ConnectionError("the carrier closed the connection")], repeat("collected"))

    def ask() -> str:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    return ask


@pytest.mark.flaky(reruns=2)
def test_the_carrier_answers(request, unreliable_carrier):
    if not request.config.pluginmanager.hasplugin("rerunfailures"):
        pytest.skip("needs pytest-rerunfailures")
    assert unreliable_carrier() == "collected"
