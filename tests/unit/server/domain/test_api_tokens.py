"""Rotation of tokens, the form of their texts, and what a caller has access to."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pytest_tms.errors import Conflict, Forbidden
from pytest_tms.server.domain.actors import Caller
from pytest_tms.server.domain.api_tokens import ApiToken, is_well_formed, new_text, new_token

NOW = 1_000_000


def token(expires_at: int | None = None, revoked_at: int | None = None) -> ApiToken:
    made, _ = new_token("ci", NOW, expires_at=expires_at, environments=("dev",))
    return replace(made, revoked_at=revoked_at)


@pytest.mark.parametrize(
    ("expires_at", "overlap", "new_end", "previous_until", "ends"),
    [
        (None, 500, None, NOW + 500, None),
        (NOW + 100, 500, None, NOW + 100, NOW + 100),
        (NOW + 900, 500, None, NOW + 500, NOW + 900),
        (NOW + 100, 500, NOW + 9_000, NOW + 100, NOW + 9_000),
        (NOW - 1, 500, NOW + 9_000, NOW - 1, NOW + 9_000),
    ],
)
def test_the_previous_text_is_valid_for_the_overlap_but_not_beyond_its_own_end(
    expires_at: int | None, overlap: int, new_end: int | None, previous_until: int, ends: int | None
) -> None:
    rotated = token(expires_at).rotated(NOW, overlap, new_end)
    assert (rotated.previous_until, rotated.expires_at) == (previous_until, ends)


def test_a_token_that_is_not_valid_is_not_rotated() -> None:
    with pytest.raises(Conflict, match="revoked"):
        token(revoked_at=NOW - 1).rotated(NOW, 0, NOW + 1)
    with pytest.raises(Conflict, match="expired"):
        token(expires_at=NOW).rotated(NOW, 0, None)


def test_a_text_with_a_wrong_character_is_not_well_formed() -> None:
    text = new_text()
    assert is_well_formed(text)
    wrong = "A" if text[10] != "A" else "B"
    assert not is_well_formed(text[:10] + wrong + text[11:])
    assert not is_well_formed(text[:-1])


def test_a_caller_without_access_to_an_environment_is_told_which_it_has() -> None:
    caller = Caller(id="anyone", address="192.0.2.1").with_token(token())
    caller.require_access(["dev"])
    for environments in (["staging"], ["dev", "staging"], None):
        with pytest.raises(Forbidden, match="bound to dev"):
            caller.require_access(environments)
    assert Caller(id="exec_1").has_access_to(["staging"])
