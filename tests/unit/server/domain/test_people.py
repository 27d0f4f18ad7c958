"""Roles of people by a claim, and how people are named."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_tms.server.domain.people import Person, access_of, parse_roles, person_of

ROLES = parse_roles("viewer=staff, member=dev, member=qa , admin=/tms/admins,")


@pytest.mark.parametrize(
    ("claims", "claim", "role"),
    [
        ({"groups": ["staff"]}, "groups", "viewer"),
        ({"groups": ["staff", "qa"]}, "groups", "member"),
        ({"groups": ["/tms/admins", "staff"]}, "groups", "admin"),
        ({"groups": "dev"}, "groups", "member"),
        ({"groups": ["DEV", 7, None, True, {"dev": 1}]}, "groups", None),
        ({"groups": "dev"}, "roles", None),
        ({"realm_access": {"roles": ["dev"]}}, "realm_access.roles", "member"),
        ({"realm_access": ["dev"]}, "realm_access.roles", None),
        ({"https://x.example/roles": ["dev"]}, "https://x.example/roles", "member"),
        ({}, "groups", None),
    ],
)
def test_the_highest_role_counts(claims: dict[str, Any], claim: str, role: str | None) -> None:
    assert ROLES.role(claims, claim) == role


@pytest.mark.parametrize("verified", [True, False, None, "true"])
def test_only_a_verified_address_gives_a_role(verified: object) -> None:
    roles = parse_roles("admin=ada@example.com")
    role = roles.role({"email": "ada@example.com", "email_verified": verified}, "email")
    assert role == ("admin" if verified is True else None)


def test_without_a_mapping_no_person_has_a_role() -> None:
    assert type(ROLES)().role({"roles": "admin"}, "roles") is None


@pytest.mark.parametrize("text", ["", ",", "admin", "owner=x", "admin=", "=x", "viewer=a, x"])
def test_a_mapping_that_is_not_valid_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="use viewer=VALUE"):
        parse_roles(text)


@pytest.mark.parametrize(
    ("claims", "shown"),
    [
        ({"name": "Ada", "email": "ada@example.com"}, "Ada <ada@example.com>"),
        ({"preferred_username": "ada"}, "ada"),
        ({"email": "ada@example.com"}, "ada@example.com"),
        ({"name": "Ada", "email": "boss@example.com", "email_verified": False}, "Ada"),
        ({"name": "ada@example.com", "email": "ada@example.com"}, "ada@example.com"),
        ({"name": "A\nda\x1b[1m", "email": ["x"]}, "A da [1m"),
        ({"name": 7}, "subject"),
        ({"name": "x" * 500}, "x" * 200),
    ],
)
def test_a_person_is_named_on_one_line(claims: dict[str, Any], shown: str) -> None:
    assert person_of("https://id.example.com", {"sub": "subject", **claims}, "viewer").shown_name == shown


def test_the_id_is_that_of_the_subject_at_its_issuer() -> None:
    def made(issuer: str, subject: str) -> str:
        return Person(issuer=issuer, subject=subject, name="n", email="", role="viewer").id

    assert made("a", "b") == made("a", "b")
    assert len({made("a", "b"), made("a", "c"), made("b", "b"), made("ab", "")}) == 4
    assert len(made("a", "b" * 1000)) <= 64


def test_an_unknown_role_gives_no_scope() -> None:
    assert access_of("user_1", "n", "owner", 0, 1).scopes == ()
