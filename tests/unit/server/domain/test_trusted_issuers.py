"""Rules that say which CI jobs are trusted, and those that would trust too many."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_tms.server.domain import trusted_issuers
from pytest_tms.server.domain.trusted_issuers import TrustRule, read_trusted_issuers

GITHUB = "https://token.actions.githubusercontent.com"


def rule(text: str, issuer: str = GITHUB) -> str:
    return f'[[rule]]\nissuer = "{issuer}"\n{text}\n'


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "has no rule|does not have rules"),
        ("rule = []", "has no rule"),
        ("[[rule", "does not have rules"),
        ("[[rules]]\nissuer='x'", "does not have rules"),
        (rule(""), "names no claims"),
        (rule("claims = {}"), "names no claims"),
        (rule('claims = { repository = "" }'), "no value for the claim repository"),
        (rule("claims = { repository = [] }"), "no value for the claim repository"),
        (rule('claims = { repository = "*" }'), "allows every value of repository"),
        (rule('claims = { repository = ["acme/shop", "**"] }'), "allows every value of repository"),
        (rule('claims = { ref = "refs/heads/main" }'), "does not name whose jobs"),
        (rule('claims = { repository = "acme*" }'), "does not name whose jobs"),
        (rule('claims = { repository = "*/shop" }'), "does not name whose jobs"),
        (rule('claims = { repository = ["acme/shop", "a*"] }'), "does not name whose jobs"),
        (rule('claims = { repository_owner = "acme*" }'), "does not name whose jobs"),
        (rule('claims = { ref = "main" }', "https://gitlab.com"), "does not name whose jobs"),
        (rule('claims = { pipeline_slug = "x" }', "https://agent.buildkite.com"), "does not name whose jobs"),
        (
            rule('claims = { sub = "organization:*" }', "https://agent.buildkite.com"),
            "does not name whose jobs",
        ),
        (rule('claims = { x = "y" }', "http://ci.example.com"), "has the issuer"),
        (rule('claims = { x = "y" }', "https://ci.example.com/?a"), "has the issuer"),
        (rule('claims = { x = "y" }', "file:///etc/passwd"), "has the issuer"),
        (rule('claims = { x = "y" }', "https://u:p@ci.example.com"), "has the issuer"),
        (rule('claims = { x = "y" }', "https://[bad"), "has the issuer"),
        (rule('claims = { repository = "a/b" }\nscopes = ["admin"]'), "has the scope 'admin'"),
        (rule('claims = { repository = "a/b" }\nscopes = ["all"]'), "has the scope 'all'"),
        (rule('claims = { repository = "a/b" }\nscopes = []'), "has no scopes"),
        (rule('claims = { repository = "a/b" }\nexpires = "25h"'), "at most 24h"),
        (rule('claims = { repository = "a/b" }\nexpires = "soon"'), "invalid duration"),
        (rule('claims = { repository = "a/b" }\naudience = ""'), "empty audience"),
        (rule('claim = { repository = "a/b" }'), "unknown field `claim`"),
    ],
)
def test_a_file_that_is_not_valid_or_trusts_too_many_is_refused(
    tmp_path: Path, text: str, problem: str
) -> None:
    file = tmp_path / "trusted.toml"
    file.write_text(text)
    with pytest.raises(ValueError, match=problem) as caught:
        read_trusted_issuers(str(file))
    assert str(file) in str(caught.value)


def test_a_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"gone\.toml cannot be read"):
        read_trusted_issuers(str(tmp_path / "gone.toml"))


@pytest.mark.parametrize(
    ("issuer", "claims"),
    [
        (GITHUB, '{ repository = "acme/*" }'),
        (GITHUB, '{ repository_owner_id = "123", ref = "*" }'),
        (GITHUB, '{ sub = "repo:acme/shop:*" }'),
        ("https://gitlab.com", '{ namespace_path = "acme", ref_protected = true }'),
        ("https://gitlab.com", '{ project_path = "acme/*" }'),
        ("https://agent.buildkite.com", '{ sub = "organization:acme:pipeline:shop:*" }'),
        ("https://oidc.circleci.com/org/1", '{ "oidc.circleci.com/project-id" = "2" }'),
        ("http://127.0.0.1:8000", '{ x = "y" }'),
    ],
)
def test_rules_that_name_an_owner_are_read(tmp_path: Path, issuer: str, claims: str) -> None:
    file = tmp_path / "trusted.toml"
    file.write_text(rule(f"claims = {claims}", issuer))
    found = read_trusted_issuers(str(file)).completed("https://tms.example.com/x")
    found.check(["dev"])
    assert found.rules[0].audiences == ("https://tms.example.com",)
    assert found.rules[0].scopes == ("executions:read", "executions:write")
    assert found.issuers == (issuer,)
    assert str(found) == str(file)


def test_a_rule_without_an_audience_needs_a_public_url(tmp_path: Path) -> None:
    file = tmp_path / "trusted.toml"
    file.write_text(rule('claims = { repository = "a/b" }\nenvironments = ["qa"]'))
    found = read_trusted_issuers(str(file))
    with pytest.raises(ValueError, match="names no audience"):
        found.completed("").check(["dev"])
    assert found.completed("").rules[0].mismatches({"aud": [], "repository": "a/b"}) == ["aud"]
    with pytest.raises(ValueError, match="environment 'qa'"):
        found.completed("https://tms.example.com").check(["dev"])


def made(**claims: Any) -> TrustRule:
    patterns = {name: (value,) if isinstance(value, str) else value for name, value in claims.items()}
    return TrustRule(
        issuer=GITHUB, audiences=("a", "b"), claims=patterns, scopes=(), environments=(), validity=1
    )


@pytest.mark.parametrize(
    ("patterns", "claims", "names"),
    [
        ({"x": "a*c"}, {"x": "abc"}, []),
        ({"x": "a*c"}, {"x": "ac"}, []),
        ({"x": "a*a"}, {"x": "a"}, ["x"]),
        ({"x": "*b*"}, {"x": "abc"}, []),
        ({"x": "a*b*b"}, {"x": "ab"}, ["x"]),
        ({"x": "a.c"}, {"x": "abc"}, ["x"]),
        ({"x": "[a]"}, {"x": "a"}, ["x"]),
        ({"x": "true"}, {"x": True}, []),
        ({"x": "1"}, {"x": True}, ["x"]),
        ({"x": "7"}, {"x": 7}, []),
        ({"x": "b"}, {"x": ["a", "b"]}, []),
        ({"x": "b"}, {"x": {"b": 1}}, ["x"]),
        ({"x": "*"}, {}, ["x"]),
        ({"x": ("a", "b")}, {"x": "b"}, []),
    ],
)
def test_claims_match_patterns(patterns: dict[str, Any], claims: dict[str, Any], names: list[str]) -> None:
    assert made(**patterns).mismatches({"aud": "a", **claims}) == names


@pytest.mark.parametrize(
    ("audience", "matches"), [("b", True), (["a", "b"], True), (["a", "c"], False), (7, False)]
)
def test_every_audience_of_a_token_must_be_one_of_the_rule(audience: object, matches: bool) -> None:
    assert ("aud" not in made(x="y").mismatches({"aud": audience})) is matches


@given(
    parts=st.lists(st.text("ab", max_size=3), min_size=1, max_size=4),
    fills=st.lists(st.text("ab"), min_size=3),
)
def test_a_pattern_matches_each_text_that_fills_its_wildcards(parts: list[str], fills: list[str]) -> None:
    text = parts[0] + "".join(fill + part for fill, part in zip(fills, parts[1:], strict=False))
    assert trusted_issuers._matches("*".join(parts), text)
    assert not trusted_issuers._matches("*".join(parts), f"c{text}c") or parts[0] == parts[-1] == ""


def test_the_rules_of_the_guide_and_of_the_example_are_valid(tmp_path: Path) -> None:
    root = Path(__file__).parents[4]
    guide = (root / "docs" / "ci-without-secrets.md").read_text(encoding="utf-8")
    rules = tmp_path / "guide.toml"
    rules.write_text(guide.partition("```toml\n")[2].partition("```")[0])
    for path, number in ((rules, 2), (root / "examples" / "ci" / "trusted-issuers.toml", 5)):
        found = read_trusted_issuers(str(path)).completed("https://tms.example.com")
        found.check(["dev", "staging"])
        assert len(found.rules) == number


def test_the_guide_names_the_claims_that_name_an_owner() -> None:
    guide = (Path(__file__).parents[4] / "docs" / "ci-without-secrets.md").read_text(encoding="utf-8")
    for issuer, owners in trusted_issuers.SHARED_ISSUERS.items():
        row = next(line for line in guide.splitlines() if line.startswith(f"| `{issuer}` |"))
        assert row.split("|")[2].strip() == ", ".join(f"`{name}`" for name in owners)
