"""Settings: which source counts, which values are taken, and what is said of the others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pytest_tms.plugin.xdist.sharding import parse_shard
from pytest_tms.settings.resolution import Resolved, is_on, resolve
from pytest_tms.settings.spelling import misspelt, unused
from pytest_tms.settings.table import OFFLINE, SettingError


def resolved(
    options: dict[str, Any] | None = None, environ: dict[str, str] | None = None, **ini: Any
) -> Resolved:
    return resolve((options or {}).get, environ or {}, ini.get)


@pytest.mark.parametrize(
    ("name", "ini", "value"),
    [
        ("timeout", {"tms_timeout": 600}, 600),
        ("timeout", {"tms_timeout": "600"}, 600),
        ("timeout", {"tms_timeout": 600.0}, 600),
        ("timeout", {}, 0),
        ("offline", {"tms_offline": False}, ""),
        ("offline", {"tms_offline": "False"}, ""),
        ("offline", {"tms_offline": True}, OFFLINE),
        ("offline", {"tms_offline": 1}, OFFLINE),
        ("offline", {"tms_offline": "kept/here"}, "kept/here"),
        ("required", {"tms_required": True}, True),
        ("required", {"tms_required": "no"}, False),
        ("suite", {"tms_suite": 5}, "5"),
        ("suite", {"tms_suite": " smoke "}, "smoke"),
        ("tags", {"tms_tags": ["a b", "!c"]}, ("a b", "!c")),
        ("tags", {"tms_tags": "a !c"}, ("a", "!c")),
        ("mask", {"tms_mask": ["a b ", ""]}, ("a b ",)),
        ("mask", {"tms_mask": "a b\nc"}, ("a b", "c")),
        ("meta", {"tms_meta": {"team": "checkout", "build": 5}}, ("team=checkout", "build=5")),
        ("meta", {"tms_meta": ["team=the checkout"]}, ("team=the checkout",)),
        ("meta", {"tms_meta": "team=a b\nbuild=5"}, ("team=a b", "build=5")),
    ],
)
def test_a_value_of_any_type_that_a_file_can_hold_is_taken(
    name: str, ini: dict[str, Any], value: Any
) -> None:
    found = resolved(**ini)
    assert (getattr(found.settings, name), found.problems) == (value, [])


@pytest.mark.parametrize(
    ("name", "ini", "value", "problem"),
    [
        ("timeout", {"tms_timeout": "x"}, 0, "tms_timeout is 'x': write a whole number from 1 to 1000000000"),
        ("timeout", {"tms_timeout": 0}, 0, "tms_timeout is 0: write a whole number from 1 to 1000000000"),
        (
            "deadline",
            {"tms_deadline": True},
            15,
            "tms_deadline is True: write a whole number from 1 to 1000000000",
        ),
        (
            "deadline",
            {"tms_deadline": 1.5},
            15,
            "tms_deadline is 1.5: write a whole number from 1 to 1000000000",
        ),
        (
            "deadline",
            {"tms_deadline": float("inf")},
            15,
            "tms_deadline is inf: write a whole number from 1 to 1000000000",
        ),
        ("required", {"tms_required": "maybe"}, False, "tms_required is 'maybe': write 1 or 0"),
        ("required", {"tms_required": ["1"]}, False, "tms_required is ['1']: write 1 or 0"),
        ("suite", {"tms_suite": True}, "all", "tms_suite is True: write a text in quotes"),
        ("suite", {"tms_suite": ["a"]}, "all", "tms_suite is ['a']: write a text in quotes"),
        ("payload", {"tms_payload": "all"}, "full", "tms_payload is 'all': write one of full, documented"),
        ("tags", {"tms_tags": 5}, (), "tms_tags is 5: write a list of texts"),
        ("meta", {"tms_meta": ["a=1", "b"]}, ("a=1",), "tms_meta has 'b': write KEY=VALUE"),
    ],
)
def test_a_wrong_value_is_one_sentence_and_the_default_counts(
    name: str, ini: dict[str, Any], value: Any, problem: str
) -> None:
    found = resolved(**ini)
    assert getattr(found.settings, name) == value
    assert found.problems == [problem]


def test_the_next_source_counts_if_a_value_is_wrong() -> None:
    found = resolved({}, {"TMS_REQUIRED": "maybe"}, tms_required=True)
    assert (found.settings.required, found.sources["required"]) == (True, "tms_required")
    assert found.problems == ["TMS_REQUIRED is 'maybe': write 1 or 0"]


def test_an_empty_value_counts_as_not_written() -> None:
    found = resolved(
        {"tms_suite": ""}, {"TMS_SUITE": " ", "TMS_URL": ""}, tms_suite="smoke", tms_url="https://a/api"
    )
    assert (found.settings.suite, found.sources["suite"]) == ("smoke", "tms_suite")
    assert found.settings.url == "https://a/api"
    assert is_on({"tms_url": ""}.get, {"TMS_URL": ""}, {"tms_url": ""}.get) is False
    assert is_on({"tms_offline": ""}.get, {}, lambda _: None) is False


@pytest.mark.parametrize(
    ("environ", "ini", "expected"),
    [
        ({"TMS_OFFLINE": "0"}, {}, False),
        ({"TMS_OFFLINE": "0"}, {"tms_offline": True}, False),
        ({"TMS_OFFLINE": "off"}, {"tms_url": "https://a/api"}, True),
        ({}, {"tms_offline": False}, False),
        ({"TMS_OFFLINE": "1"}, {"tms_offline": False}, True),
        ({"TMS_URL": "u", "TMS_DISABLED": "0"}, {}, True),
        ({"TMS_URL": "u", "TMS_DISABLED": "yes"}, {}, False),
        ({"TMS_URL": "u", "TMS_DISABLED": "maybe"}, {}, True),
    ],
)
def test_a_switch_that_is_off_is_off(environ: dict[str, str], ini: dict[str, Any], expected: bool) -> None:
    assert is_on(lambda _: None, environ, ini.get) is expected


def test_a_token_is_read_from_its_file_and_a_wrong_one_is_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_bytes(b"\xef\xbb\xbfthe-token\r\n")
    found = resolved({}, {"TMS_API_TOKEN_FILE": str(path)})
    assert (found.settings.token.reveal(), found.problems) == ("the-token", [])
    for environ, problem in [
        ({"TMS_API_TOKEN": "Bearer x"}, "TMS_API_TOKEN does not hold a token: it has spaces"),
        ({"TMS_API_TOKEN_FILE": str(tmp_path)}, "TMS_API_TOKEN_FILE cannot be read: Is a directory"),
        ({"TMS_API_TOKEN_FILE": "a\0b"}, "TMS_API_TOKEN_FILE cannot be read: it is not text"),
    ]:
        found = resolved({}, environ)
        assert (found.settings.token.reveal(), len(found.problems)) == ("", 1)
        assert found.problems[0].startswith(problem)
    path.write_bytes(b" \n")
    assert "names an empty file" in resolved({}, {"TMS_API_TOKEN_FILE": str(path)}).problems[0]


@pytest.mark.parametrize("text", ["5/4", "0/3", "a/b", "1/0", "/", "1/", "/2", "-1/2", "1/2/3", "²/3"])
def test_a_shard_that_cannot_be_is_an_error(text: str) -> None:
    with pytest.raises(SettingError, match="write I/N"):
        parse_shard(text)


@pytest.mark.parametrize("text", ["1/10001", "1/99999999999"])
def test_more_shards_than_any_server_accepts_are_an_error(text: str) -> None:
    with pytest.raises(SettingError, match=f"the shard is '{text}': a run has at most 10000 shards"):
        parse_shard(text)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("TMS_SUIT", "TMS_SUITE"),
        ("TMS_TOKEN", "TMS_API_TOKEN"),
        ("TMS_API_URL", "TMS_URL"),
        ("TMS_ENV", "TMS_ENVIRONMENT"),
        ("TMS_EXECUTION", "TMS_EXECUTION_ID"),
        ("TMS_TIMEOUT", "tms_timeout in pytest's configuration file"),
        ("tms_url", "TMS_URL"),
    ],
)
def test_a_misspelt_variable_is_named_with_what_may_be_meant(name: str, meant: str) -> None:
    assert misspelt([name]) == [f"{name} is not a setting: did you mean {meant}?"]


def test_a_misspelt_ini_value_is_named_with_what_may_be_meant() -> None:
    assert misspelt([], ["tms_timout", "tms_timeout", "timeout"]) == [
        "tms_timout is not a setting: did you mean tms_timeout?"
    ]
    assert misspelt([], ["tms_token"]) == ["tms_token is not a setting: did you mean TMS_API_TOKEN?"]


def test_names_of_other_programs_are_not_taken_for_settings() -> None:
    names = ["TMS_SERVER_PORT", "TMS_URL", "TMS_WEBHOOK_SECRET", "TMS_API_TOKEN", "HOME", "TMSX"]
    assert misspelt([*names, "TMS_ZOOM"]) == unused(names) == []
    assert unused([*names, "TMS_ZOOM"]) == [
        "TMS_ZOOM is not a setting of pytest-tms: `tms doctor -v` lists all settings"
    ]
