"""The cases by theme; each module's CASES is a list of them."""

from tests.truth.cases import ends, outcomes, retries, subtests

ALL = [*outcomes.CASES, *subtests.CASES, *retries.CASES, *ends.CASES]
