"""The cases by theme; each module's CASES is a list of them."""

from tests.truth.cases import distributed, ends, guests, outcomes, retries, subtests

ALL = [
    *outcomes.CASES,
    *subtests.CASES,
    *retries.CASES,
    *distributed.CASES,
    *guests.CASES,
    *ends.CASES,
]
