"""The next step that an error of a delivery names."""

from __future__ import annotations

import pytest

from pytest_tms.errors import ApiError, Forbidden
from pytest_tms.sender.advice import advise


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (
            Forbidden("The token tok_1 lacks the scope executions:write."),
            "The token tok_1 lacks the scope executions:write: use a token with the scope executions:write",
        ),
        (
            Forbidden("The token tok_1 is bound to dev: use a token with access to this environment."),
            "The token tok_1 is bound to dev: use a token with access to this environment",
        ),
    ],
)
def test_a_refusal_has_one_next_step(error: ApiError, sentence: str) -> None:
    assert advise(error) == sentence
