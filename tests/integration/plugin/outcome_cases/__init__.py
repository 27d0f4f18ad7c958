"""The cases by theme; each module's CASES is a list of them."""

from tests.integration.plugin.outcome_cases import (
    distributed,
    ends,
    other_plugins,
    outcomes,
    retries,
    subtests,
)

ALL = [
    *outcomes.CASES,
    *subtests.CASES,
    *retries.CASES,
    *distributed.CASES,
    *other_plugins.CASES,
    *ends.CASES,
]
