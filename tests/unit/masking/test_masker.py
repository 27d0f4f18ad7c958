"""Masking: secrets are replaced in the values of messages, and nothing else changes."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pytest_tms import wire
from pytest_tms.journal.lines import (
    Closed,
    Opened,
    ShardEnded,
    ShardStarted,
    as_json,
    decode,
    encode,
    encode_tested,
)
from pytest_tms.masking.environment import secrets_in
from pytest_tms.masking.masker import FREE, KEPT, MASK, NODE_IDS, Masker


def line_of(node_id: str = "tests/test_a.py::test_a", **fields: Any) -> bytes:
    title = node_id.partition("::")[2]
    result = wire.TestResult(**{"title": title, "status": "passed", "node_id": node_id, **fields})
    return encode_tested(b'"1"', as_json(result), n=1)


def parsed(line: bytes) -> dict[str, Any]:
    assert line.endswith(b"}\n")
    test = json.loads(line)["test"]
    assert isinstance(test, dict)
    return test


def masked_id(masker: Masker, node_id: str) -> str:
    test = parsed(masker.line(line_of(node_id)))
    assert test["nodeId"].endswith(test["title"])
    return str(test["nodeId"])


def test_frames_are_source_code_and_their_exception_is_text() -> None:
    frames = [wire.Frame(path="shop/checkout.py", line=3, function="checkout", is_own=True)]
    attempt = wire.Attempt(outcome="failed", frames=frames)
    files = [wire.Artifact(name="a.png", kind="screenshot", path="out/checkout/a.png")]
    line = line_of(frames=frames, attempts=[attempt], artifacts=files, exception_type="checkout.Error")
    test = parsed(Masker(["checkout"]).line(line))
    shown = {"path": "shop/checkout.py", "line": 3, "function": "checkout", "isOwn": True}
    assert test["frames"] == test["attempts"][0]["frames"] == [shown]
    assert test["artifacts"][0]["path"] == f"out/{MASK}/a.png"
    assert test["exceptionType"] == f"{MASK}.Error"


# Free text ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("secret", "text", "expected"),
    [
        ("hunter22", "password hunter22!", "password ********!"),
        ("hunter22", "hunter22hunter22", "********"),
        ("aaaaaa", "baaaaaaaab", "b********b"),
        ("a'b\"c\\d\n", "'a\\'b\"c\\\\d\\n'", "'********'"),
        ('with"quote', 'json: "with\\"quote"', 'json: "********"'),
        ("pässwörd", "p\\xe4ssw\\xf6rd pässwörd p%C3%A4ssw%C3%B6rd", "******** ******** ********"),
        ("p@ss/word", "postgres://me:p%40ss%2Fword@host", "postgres://me:********@host"),
        ("lone\udcffsurrogate", "lone\udcffsurrogate lone\\udcffsurrogate", "******** ********"),
        ("short", "short", "short"),
    ],
)
def test_a_secret_is_masked_in_every_spelling(secret: str, text: str, expected: str) -> None:
    assert Masker([secret]).text(text) == expected


def test_secrets_that_overlap_leave_no_part_of_each_other() -> None:
    assert Masker(["abcdef", "defghi"]).text("xabcdefghix") == "x********x"
    assert Masker(["abcdef", "abcdefghi"]).text("abcdefghi") == MASK


def test_what_replaces_a_secret_makes_no_other_secret() -> None:
    assert Masker(["secret1", "x********"]).text("xsecret1") == MASK
    assert "******" not in Masker(["******", "secret1"]).text("a secret1 ****** b")


def test_a_private_key_is_masked_by_its_lines() -> None:
    pem = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBg\nkqhkiG9w0BAQEF\nAASC==\n-----END PRIVATE KEY-----\n"
    for secret in (pem, pem.strip().replace("\n", "\\n"), pem.replace("\n", "\r\n")):
        text = Masker([secret]).text(
            "log: MIIEvQIBADANBg | kqhkiG9w0BAQEF | AASC== | -----BEGIN PRIVATE KEY-----"
        )
        assert text == "log: ******** | ******** | ******** | -----BEGIN PRIVATE KEY-----"


def test_patterns_mask_what_they_match_one_by_one() -> None:
    patterns = [r"(?i)password=\S+", r"(\d)\1{5}", r"(?<=key:)\w+", "x*"]
    text = Masker([], patterns).text("PassWord=abc 777777 123456 key:value next")
    assert text == "******** ******** 123456 key:******** ne********t"


@pytest.mark.parametrize("pattern", ["(", "*a", "a{99999999999}", "[z-a]", "(?P<1>a)"])
def test_an_invalid_pattern_is_named(pattern: str) -> None:
    with pytest.raises(ValueError, match="tms_mask: invalid regular expression") as caught:
        Masker([], ["fine", pattern])
    assert repr(pattern) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_pattern_that_python_warns_about_is_taken() -> None:
    assert Masker([], ["[[a]"]).text("b[b") == "b********b"


# Lines --------------------------------------------------------------------------------------------


def test_a_line_without_a_secret_is_the_same_object() -> None:
    line = line_of(stdout="nothing here")
    assert Masker(["hunter22"]).line(line) is line
    assert Masker(["hunter22"], ["nowhere"]).line(line) is line


def test_a_pattern_stops_at_the_end_of_its_value() -> None:
    masker = Masker([], ["password=.*"])
    test = parsed(masker.line(line_of("t.py::test_a[password=x]", stdout="password=y\nnext", error="E")))
    assert test["nodeId"] == "t.py::test_a[********]"
    assert (test["stdout"], test["error"], test["status"]) == ("********\nnext", "E", "passed")


@pytest.mark.parametrize(
    "secret",
    [
        "passed",
        "status",
        "nodeId",
        "staging",
        "execution.completed",
        "tests/test_a",
        "test_a",
        "1800000",
        "regression",
    ],
)
def test_a_secret_that_is_a_word_of_the_protocol_masks_free_text_alone(secret: str) -> None:
    request = wire.ExecutionRequest(
        test_suite="regression",
        environment="staging",
        trigger_source="scheduled",
        configuration=wire.Configuration(timeout=1800000),
        metadata={"status": f"branch {secret}"},
    )
    masker = Masker([secret])
    lines = [
        Opened(version=1, run="r", request=request),
        Closed(event="execution.completed", status="completed"),
        ShardEnded(shard="tests/test_a", status="completed", results=wire.ReportedCounts(), duration=1800000),
    ]
    written = [json.loads(masker.line(encode(line))) for line in lines]
    assert written[0]["request"].pop("metadata") == {"status": "branch ********"}
    before = [json.loads(encode(line)) for line in lines]
    del before[0]["request"]["metadata"]
    assert written == before
    test = parsed(masker.line(line_of(file="tests/test_a.py", outcome="passed", stdout=secret, error=secret)))
    assert (test["nodeId"], test["title"], test["status"]) == ("tests/test_a.py::test_a", "test_a", "passed")
    assert (test["file"], test["outcome"]) == ("tests/test_a.py", "passed")
    assert (test["stdout"], test["error"]) == (MASK, MASK)


def test_the_scope_of_a_shared_setup_is_never_masked() -> None:
    setup = wire.SharedSetup(fixture="service", scope="session", node="", duration=1)
    test = parsed(Masker(["session"]).line(line_of(shared_setups=[setup], stdout="a session")))
    assert test["sharedSetups"][0]["scope"] == "session"
    assert test["stdout"] == f"a {MASK}"


def test_values_of_the_user_are_masked_under_any_name_and_at_any_depth() -> None:
    line = line_of(
        parameters={"status": "hunter22", "hunter22": 12345678},
        properties={"at": ["hunter22", {"file": "hunter22"}, True, None, 1.5]},
        subtests=[wire.Subtest(title="part [hunter22]", status="passed", error="hunter22")],
        attempts=[wire.Attempt(outcome="failed", longrepr="hunter22")],
        artifacts=[wire.Artifact(name="hunter22.png", kind="screenshot", path="/a/hunter22.png")],
        tags=["@hunter22"],
    )
    test = parsed(Masker(["hunter22", "12345678", "screenshot"]).line(line))
    assert test["parameters"] == {"status": MASK, "hunter22": 12345678}
    assert test["properties"] == {"at": [MASK, {"file": MASK}, True, None, 1.5]}
    assert test["subtests"] == [{"title": "part [********]", "status": "passed", "error": MASK}]
    assert test["attempts"] == [{"outcome": "failed", "longrepr": MASK}]
    assert test["artifacts"] == [{"name": "********.png", "kind": "screenshot", "path": "/a/********.png"}]
    assert test["tags"] == ["@********"]


def test_the_password_in_a_url_is_masked_and_the_address_stays() -> None:
    opened = encode(Opened(version=1, run="r", url="https://secret:sesame@secret.example/api"))
    url = json.loads(Masker(["sesame", "secret"]).line(opened))["url"]
    assert url == "https://********:********@secret.example/api"


def test_a_secret_obtained_later_is_masked_from_then_on() -> None:
    masker = Masker([])
    line = line_of(stdout="the-token")
    assert masker.line(line) is line
    masker.add("the-token")
    assert parsed(masker.line(line))["stdout"] == masker.text("the-token") == MASK


def test_large_numbers_and_floats_stay_as_they_are() -> None:
    line = line_of(stdout="hunter22", properties={"big": 2**53 + 1, "huge": 2**63, "small": -1.5e-300})
    assert parsed(Masker(["hunter22"]).line(line))["properties"] == {
        "big": 2**53 + 1,
        "huge": 2**63,
        "small": -1.5e-300,
    }


def test_a_line_that_is_not_json_is_masked_as_text() -> None:
    assert Masker(["hunter22"]).line(b'{"is": hunter22\n') == b'{"is": ********\n'


# Names of tests -----------------------------------------------------------------------------------


def test_secrets_in_parameters_are_masked_and_distinct_tests_stay_distinct() -> None:
    masker = Masker(["secret-1", "secret-2", "pässwort", "line\nbreak"])
    ids = [
        f"a.py::T::t[{value}-x]" for value in ("secret-1", "secret-2", "p\\xe4sswort", "line\\nbreak", "no")
    ]
    expected = [
        f"a.py::T::t[{value}]"
        for value in ("********-x", "********-x-2", "********-x-3", "********-x-4", "no-x")
    ]
    assert [masked_id(masker, each) for each in ids] == expected
    assert [masked_id(masker, each) for each in reversed(ids)] == expected[::-1]


def test_equal_parameters_of_other_tests_need_no_number() -> None:
    masker = Masker(["secret-1", "secret-2"])
    assert masked_id(masker, "a.py::t[secret-1]") == "a.py::t[********]"
    assert masked_id(masker, "b.py::t[secret-2]") == "b.py::t[********]"


def test_a_test_whose_parameter_is_the_mask_stays_distinct() -> None:
    masker = Masker(["secret-1"])
    assert masked_id(masker, "a.py::t[secret-1]") == "a.py::t[********]"
    assert masked_id(masker, "a.py::t[********]") == "a.py::t[********-2]"


@pytest.mark.parametrize("patterns", [[], [".*"], ["password=.*"]])
def test_a_masked_line_stays_as_it_is_when_it_is_masked_again(patterns: list[str]) -> None:
    first, second = Masker(["secret-1", "secret-2"], patterns), Masker(["secret-1", "secret-2"], patterns)
    ids = ["a.py::t[secret-1]", "a.py::t[secret-2]", "a.py::t[password=1]"]
    lines = [first.line(line_of(each, stdout="secret-1")) for each in ids]
    assert len({parsed(line)["nodeId"] for line in lines}) == 3
    assert [second.line(line) for line in reversed(lines)] == lines[::-1]
    assert [masked_id(first, each) for each in ids] == [parsed(line)["nodeId"] for line in lines]


def test_the_number_is_the_same_in_all_that_names_the_test() -> None:
    masker = Masker(["secret-1", "secret-2"])

    def begin(node_id: str) -> str:
        line = json.dumps({"is": "begin", "name": node_id, "worker": "secret-1"}).encode() + b"\n"
        written = json.loads(masker.line(line))
        assert written["worker"] == "secret-1"
        return str(written["name"])

    assert begin("a.py::t[secret-2]") == "a.py::t[********]"
    assert begin("a.py::t[secret-1]") == "a.py::t[********-2]"
    test = parsed(masker.line(line_of("a.py::t[secret-1] @gw1", title="t[secret-1]")))
    assert (test["nodeId"], test["title"]) == ("a.py::t[********-2] @gw1", "t[********-2]")
    running = b'{"is":"later","running":["a.py::t[secret-1]",{"nodeId":"a.py::t[secret-2]"}]}\n'
    assert json.loads(masker.line(running))["running"] == [
        "a.py::t[********-2]",
        {"nodeId": "a.py::t[********]"},
    ]


def test_a_title_of_the_user_is_text_and_keeps_the_parameters_of_the_node_id() -> None:
    masker = Masker(["secret-1", "secret-2"])

    def title(node_id: str, title: str) -> str:
        return str(parsed(masker.line(line_of(node_id, title=title)))["title"])

    assert title("a.py::t[secret-1]", "pays secret-1 [secret-1]") == "pays ******** [********]"
    assert title("a.py::t[secret-2]", "pays secret-2 [secret-2]") == "pays ******** [********-2]"
    assert title("a.py::u", "secret-1 works") == "******** works"
    assert title("a.py::v", "secret-2 works") == "******** works-2"
    assert title("secret-1/a.py", "secret-1/a.py") == "secret-1/a.py"


def test_brackets_of_a_path_are_not_parameters() -> None:
    masker = Masker(["secret-1"])
    assert masked_id(masker, "[secret-1]/a.py::t[secret-1]") == "[secret-1]/a.py::t[********]"


# Property -----------------------------------------------------------------------------------------

SECRETS = st.lists(
    st.one_of(
        st.text(alphabet="ab*-\"\\\n'é[]/", min_size=1, max_size=10),
        st.text(alphabet=st.characters(codec=None), min_size=4, max_size=12),  # lone surrogates too
        st.sampled_from(
            ["passed", "a.py::t", "********", "hunter22", "\udcff\udcfeabcd", "execution", "line1\nline22"]
        ),
    ),
    max_size=5,
)
PATTERNS = st.lists(
    st.sampled_from(
        [
            "password=.*",
            ".*",
            "(?s).*",
            "x*",
            "",
            "(a)(b)?",
            "(?i)HUNTER",
            "(?<=a)b",
            "a(?=b)",
            r"\d+",
            r"(.)\1",
            "^",
            "$",
        ]
    ),
    max_size=3,
)


def strings(value: Any, place: str = "", *, free: bool = False) -> list[tuple[str, str]]:
    """Every string value with the name of its field, ``""`` if it is the user's."""
    if isinstance(value, str):
        return [("" if free else place, value)]
    if isinstance(value, list):
        return [each for item in value for each in strings(item, place, free=free)]
    if isinstance(value, dict):
        return [
            each for name, item in value.items() for each in strings(item, name, free=free or name in FREE)
        ]
    return []


def skeleton(value: Any) -> Any:
    """``value`` with each string replaced by one and the same."""
    if isinstance(value, str):
        return ""
    if isinstance(value, list):
        return [skeleton(item) for item in value]
    return {name: skeleton(item) for name, item in value.items()} if isinstance(value, dict) else value


def _with_parameters(parameters: str, title: str) -> str:
    return f"{title} [{parameters}]"


@st.composite
def messages(draw: st.DrawFn) -> tuple[list[str], list[bytes]]:
    """Secrets, and lines in which they occur."""
    secrets = draw(SECRETS)
    pieces = st.one_of(
        st.sampled_from([*secrets, "a"]),
        st.text(alphabet='ab*-x"\\\n é[]1', max_size=6),
        st.text(alphabet=st.characters(codec=None), max_size=4),
    )
    text = st.lists(pieces, max_size=4).map("".join)
    free = st.recursive(
        st.one_of(text, st.none(), st.booleans(), st.integers(-(2**63), 2**63)),
        lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(text, inner, max_size=2)),
        max_leaves=4,
    )
    objects = st.dictionaries(st.one_of(text, st.sampled_from(["status", "nodeId"])), free, max_size=3)
    lines: list[bytes] = []
    for _ in range(draw(st.integers(1, 4))):
        parameters = draw(text)
        name = f"t[{parameters}]"
        result = wire.TestResult(
            title=draw(
                st.one_of(st.just(name), text.filter(bool), text.map(partial(_with_parameters, parameters)))
            ),
            status=draw(st.sampled_from(["passed", "failed", "skipped"])),
            file="a.py",
            node_id=f"a.py::{name}",
            outcome="passed",
            error=draw(text),
            stdout=draw(text),
            parameters=draw(objects),
            properties=draw(objects),
            tags=draw(st.lists(text, max_size=2)),
            subtests=[wire.Subtest(title=draw(text), status="failed", longrepr=draw(text))],
        )
        lines.append(encode_tested(b'"1"', as_json(result), again=draw(st.booleans())))
    lines.append(encode(ShardStarted(at="2026-01-01T00:00:00Z", shard="execution")))
    lines.append(encode(Opened(version=1, run="r", execution="exec_1", provider="passed")))
    return secrets, lines


@pytest.mark.slow
@given(messages(), PATTERNS)
@example((["******", "x*****"], [line_of("a.py::t[******]", stdout="x********")]), [])
@example((["passed", "status"], [line_of("a.py::t[passed]"), line_of("a.py::t[********]")]), [])
def test_a_masked_line_decodes_has_the_same_structure_and_holds_no_secret(
    given_lines: tuple[list[str], list[bytes]], patterns: list[str]
) -> None:
    secrets, lines = given_lines
    masker = Masker(secrets, patterns)
    written = [masker.line(line) for line in lines]
    originals: dict[str, str] = {}
    for line, masked in zip(lines, written, strict=True):
        assert masked.endswith(b"\n")
        assert masked.count(b"\n") == 1
        before, after = json.loads(line), json.loads(masked)
        decode(masked)
        assert skeleton(after) == skeleton(before)
        for (place, old), (same_place, new) in zip(strings(before), strings(after), strict=True):
            assert place == same_place
            if place in KEPT:
                assert new == old
            elif place not in NODE_IDS and place != "title":
                for secret in secrets:
                    clean = secret.encode("utf-8", "backslashreplace").decode()
                    assert len(secret) < 6 or clean not in new
        assert masker.line(line) == masked
        if "test" in before:
            old_id, new_id = before["test"]["nodeId"], after["test"]["nodeId"]
            assert originals.setdefault(new_id, old_id) == old_id
            assert new_id.startswith("a.py::t[")
            msgspec.json.decode(msgspec.json.encode(after["test"]), type=wire.TestResult)


# The environment ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TOKEN_TTL_MS", "3600000"),
        ("SESSION_TOKEN_LIFETIME", "31536000000"),
        ("TOKEN_URL", "https://auth.example/oauth/token"),
        ("ACTIONS_ID_TOKEN_REQUEST_URL", "https://pipelines.example/token"),
        ("TMS_API_TOKEN_FILE", "/run/secrets/tms-token"),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", "/var/run/secrets/eks/token"),
        ("SECRETS", "/run/secrets"),
        ("TOKENS", "./build/tokens.json"),
        ("SSH_AUTH_SOCK", "/tmp/ssh-XXXX/agent.1"),
        ("TOKENIZERS_PARALLELISM", "disabled"),
        ("USE_TOKEN", "true"),
        ("PASSWORD_AUTH", "disabled"),
        ("PASSWORD_MIN", "1234567"),
        ("PASSWORD_FACTOR", "0.123456"),
        ("AUTH_METHOD", "kerberos"),
        ("TOKEN_TYPE", "bearer-token"),
        ("DB_PASSWORD", "*************"),
        ("PWD", "/home/someone"),
        ("OLDPWD", "/home/someone"),
        ("GIT_AUTHOR_NAME", "Someone Else"),
        ("TMS_RUN_KEY", "run-4711-main"),
        ("PATH", "/usr/bin:/bin"),
        ("HOME_URL", "https://git@example.com/me.git"),
        ("TMS_TOKEN", "short"),
    ],
)
def test_configuration_is_not_a_secret(name: str, value: str) -> None:
    assert secrets_in({name: value}) == []


@pytest.mark.parametrize(
    ("name", "value", "secrets"),
    [
        ("DB_PASSWORD", "passed", ["passed"]),
        ("DB_PASSWORD", "12345678", ["12345678"]),
        ("API_KEY", " 'quoted value' \n", ["quoted value"]),
        ("GITHUB_PAT", "ghp_abcdefghij", ["ghp_abcdefghij"]),
        ("AWS_SECRET_ACCESS_KEY", "/abcDEF+ghi/JKL123", ["/abcDEF+ghi/JKL123"]),
        ("ENCRYPTION_KEY", "c2VjcmV0LWtleQ==", ["c2VjcmV0LWtleQ=="]),
        ("TOKEN", "https://hooks.example/T000/B000", ["https://hooks.example/T000/B000"]),
        ("DATABASE_URL", "postgres://user:s3cret-pw@host:5432/db", ["s3cret-pw"]),
        ("DATABASE_URL", "postgres://user:p%40ss%2Fword@host", ["p%40ss%2Fword", "p@ss/word"]),
        ("DATABASE_URL", "postgres://user:p@ssword@host/x", ["p@ssword"]),
        ("HOSTS", "redis://:first-pw@a redis://u:second-pw@b", ["first-pw", "second-pw"]),
        ("PIP_INDEX_URL", "https://abcdefghij0123456789@host/simple", ["abcdefghij0123456789"]),
        ("TOKEN_URL", "https://auth.example/?token=abcdefg&page=1", ["abcdefg"]),
        ("CONNECTION", "Server=db;User=sa;Password=s3cret-pw;Timeout=3600000", ["s3cret-pw"]),
    ],
)
def test_what_is_a_secret_in_the_environment(name: str, value: str, secrets: list[str]) -> None:
    assert secrets_in({name: value}) == secrets
