"""Messages for chats: their content, the limits of each system, and hostile names."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_tms import wire
from pytest_tms.server.domain.chat import write_message
from pytest_tms.server.domain.chat.message import RunMessage, run_message, test_message
from pytest_tms.server.domain.executions import Execution

URL = "https://tms.example.com/reports/exec_1"
FORMATS = ["slack", "teams", "discord"]
HOSTILE = [
    "@everyone @here",
    "<!channel> <!here> <@U123> <#C123|x>",
    "[click](https://evil.example) <https://evil.example|click>",
    "**bold** _it_ ~~x~~ ||spoiler|| # heading > quote",
    "`code` ``` block ```",
    "<at>Everyone</at> ![x](https://evil.example/x.png)",
    "a\nb\r\n\x1b[31m\x00\u202eright to left",
    "<@&123> <t:1> <:smile:1> :smile:",
    "\\`\\<@1>\\",
    "{{DATE(2017-02-14T06:08:39Z,SHORT)}} &lt;!channel&gt;",
]


def execution(**fields: Any) -> Execution:
    values: dict[str, Any] = {
        "id": "exec_1",
        "test_suite": "smoke",
        "environment": "staging",
        "provider": "custom",
        "trigger_source": "api",
        "configuration": {},
        "metadata": {},
        "extra": {},
        "token_hash": "",
        "root": "https://tms.example.com",
        "created_at": 0,
        "shards_total": 1,
        "status": "completed",
        "summed": wire.Counts(total=20, passed=16, failed=4, skipped=0, flaky=1),
        **fields,
    }
    return Execution(**values)


def named(*names: str, since: str = "", error: str | None = "ValueError: no") -> wire.ChangedTests:
    begun = wire.FailingSince(execution_id="exec_0", created_at="2026-11-24T00:00:00.000Z", commit=since)
    return wire.ChangedTests(
        count=len(names),
        tests=[
            wire.ComparedTest(key=str(n), node_id=name, error=error, since=begun if since else None)
            for n, name in enumerate(names[:10])
        ],
    )


def message(name: str = "t.py::test_new", **fields: Any) -> RunMessage:
    changes = wire.RunChanges(
        execution_id="exec_1",
        compared_with="exec_0",
        new_failures=named(name, error=name),
        known_failures=named("t.py::a", "t.py::b", "t.py::c", since="4f2a9c1"),
        flaky=named("t.py::flaky"),
    )
    values: dict[str, Any] = {"branch": "main", "commit": "4f2a9c1d22", "not_run": 3, "url": URL, **fields}
    return run_message(execution(), values.pop("changes", changes), values.pop("failed", []), **values)


def texts(payload: object) -> Iterator[str]:
    """All texts of a payload, but those of its structure."""
    if isinstance(payload, dict):
        for name, value in payload.items():
            if name not in ("type", "$schema", "contentType", "url"):
                yield from texts(value)
    elif isinstance(payload, list):
        for each in payload:
            yield from texts(each)
    elif isinstance(payload, str):
        yield payload


def written(format_name: str, content: RunMessage) -> Any:
    return json.loads(write_message(format_name, content))


@pytest.mark.parametrize("format_name", FORMATS)
def test_new_failures_come_first(format_name: str) -> None:
    text = "\n".join(texts(written(format_name, message()))).replace("\\", "")
    parts = [
        "smoke on staging: 4 of 20 tests failed",
        "branch main · commit 4f2a9c1d22",
        "16 passed, 4 failed, 0 skipped, 1 flaky, 3 did not run",
        "Since the previous run: 1 new, 3 known since 4f2a9c1 (2026-11-24); 1 flaky",
        "New failures (1)",
        "t.py::test_new",
        "Known failures (3)",
        "t.py::a",
        "Flaky (1)",
        "t.py::flaky",
    ]
    positions = [text.rfind(part) if part.startswith("smoke") else text.find(part) for part in parts[1:]]
    assert parts[0] in text
    assert -1 not in positions, text
    assert positions == sorted(positions)
    assert URL in write_message(format_name, message())


@pytest.mark.parametrize("format_name", FORMATS)
def test_without_an_earlier_run_the_first_failures_are_listed(format_name: str) -> None:
    nothing = wire.RunChanges(execution_id="exec_1")
    failed = [wire.FailedTest(title=f"test {n}", error="\nKeyError: 1\nmore") for n in range(3)]
    text = "\n".join(texts(written(format_name, message(changes=nothing, failed=failed)))).replace("\\", "")
    assert "previous run" not in text
    assert "Failures (4)" in text
    assert "test 0" in text
    assert "KeyError: 1" in text
    assert "… and 1 more" in text
    assert "New failures" not in text


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"summed": wire.Counts(total=3, passed=3)}, "smoke on staging: 3 of 3 tests passed"),
        ({"summed": wire.Counts()}, "smoke on staging: no tests"),
        ({"status": "cancelled"}, "smoke on staging: cancelled"),
        ({"status": "failed"}, "smoke on staging: the run broke, 4 tests failed"),
    ],
)
def test_the_title_is_the_verdict(fields: dict[str, Any], words: str) -> None:
    found = run_message(
        execution(**fields), wire.RunChanges(execution_id="e"), [], branch="", commit="", not_run=0, url=URL
    )
    assert found.title == words
    assert found.is_good == words.endswith(("passed", "no tests"))


@pytest.mark.parametrize(
    ("failed", "words", "is_good"),
    [
        (1, "19 of 20 tests passed, 1 in quarantine", True),
        (3, "2 of 20 tests failed, 1 in quarantine", False),
    ],
)
def test_failures_in_quarantine_do_not_make_a_run_bad(failed: int, words: str, is_good: bool) -> None:
    changes = wire.RunChanges(execution_id="e", compared_with="x", quarantined=named("t.py::flaky"))
    summed = wire.Counts(total=20, passed=20 - failed, failed=failed)
    found = run_message(execution(summed=summed), changes, [], branch="", commit="", not_run=0, url=URL)
    assert found.title == f"smoke on staging: {words}"
    assert found.is_good is is_good
    assert [each.title for each in found.lists] == ["In quarantine"]


@pytest.mark.parametrize("hostile", HOSTILE)
def test_slack_parses_nothing_of_a_test(hostile: str) -> None:
    payload = written("slack", message(hostile, branch=hostile))
    blocks = payload["blocks"]
    parsed = [block["text"]["text"] for block in blocks if block["text"]["type"] != "plain_text"]
    assert parsed == [f"<{URL}|Open the run>"]
    assert payload["mrkdwn"] is False
    for text in [payload["text"], *(block["text"]["text"] for block in blocks[:-1])]:
        assert not re.search(r"[<>]|&(?!amp;|lt;|gt;)", text)


@pytest.mark.parametrize("hostile", HOSTILE)
def test_teams_parses_nothing_of_a_test(hostile: str) -> None:
    payload = written("teams", message(hostile, branch=hostile))
    (attachment,) = payload["attachments"]
    card = attachment["content"]
    assert set(card) == {"$schema", "type", "version", "msteams", "body", "actions"}
    assert set(card["msteams"]) == {"width"}
    assert {block["type"] for block in card["body"]} == {"RichTextBlock"}
    assert {run["type"] for block in card["body"] for run in block["inlines"]} == {"TextRun"}
    assert card["actions"] == [{"type": "Action.OpenUrl", "title": "Open the run", "url": URL}]


@pytest.mark.parametrize("hostile", HOSTILE)
def test_discord_parses_nothing_of_a_test(hostile: str) -> None:
    payload = written("discord", message(hostile, branch=hostile))
    assert payload["allowed_mentions"] == {"parse": []}
    assert "content" not in payload
    (embed,) = payload["embeds"]
    assert embed["url"] == URL
    *lines, link = embed["description"].splitlines()
    assert link == f"[Open the run]({URL})"
    for line in lines:
        bare = re.sub(r"\\[\\`*_{}\[\]()<>#+\-.!|~:@&/]|`[^`]*`", "", line)
        assert not re.search(r"[`_\[\]<>@#~|]|//", bare), line
        assert bare.count("**") in (0, 2)


@pytest.mark.parametrize("format_name", FORMATS)
@given(st.text(max_size=400), st.text(max_size=400), st.integers(0, 10), st.integers(0, 10_000))
def test_every_message_is_within_the_limits(
    format_name: str, name: str, error: str, listed: int, more: int
) -> None:
    some = wire.ChangedTests(
        count=listed + more,
        tests=[wire.ComparedTest(key=str(n), node_id=name, error=error) for n in range(listed)],
    )
    changes = wire.RunChanges(
        execution_id="e", compared_with="x", new_failures=some, known_failures=some, fixed=some, flaky=some
    )
    content = run_message(
        execution(test_suite=name, environment=name, reason=error, status="failed"),
        changes,
        [],
        branch=name,
        commit=name,
        not_run=0,
        url=URL,
    )
    check_limits(format_name, write_message(format_name, content))


@pytest.mark.parametrize("format_name", FORMATS)
@pytest.mark.parametrize(
    "text", ["<&>" * 1000, "😀" * 1000, "`@everyone` " * 100, "_*" * 500, "\u202e" * 999]
)
def test_long_messages_are_within_the_limits(format_name: str, text: str) -> None:
    some = wire.ChangedTests(
        count=999, tests=[wire.ComparedTest(key=str(n), node_id=text, error=text) for n in range(10)]
    )
    changes = wire.RunChanges(
        execution_id="e", compared_with="x", new_failures=some, known_failures=some, fixed=some, flaky=some
    )
    check_limits(format_name, write_message(format_name, message(changes=changes, branch=text)))


def check_limits(format_name: str, body: str) -> None:
    payload = json.loads(body)

    def length(text: str) -> int:
        return len(text.encode("utf-16-le", "surrogatepass")) // 2

    if format_name == "slack":
        header, *sections = payload["blocks"]
        assert 1 <= length(header["text"]["text"]) <= 150
        assert len(sections) < 50
        assert all(1 <= length(each["text"]["text"]) <= 3000 for each in sections)
        assert length(payload["text"]) < 4000
    elif format_name == "teams":
        assert len(body.encode()) < 28_000
    else:
        (embed,) = payload["embeds"]
        assert 1 <= length(embed["title"]) <= 256
        assert 1 <= length(embed["description"]) <= 4096
        assert length(embed["title"]) + length(embed["description"]) <= 6000


@pytest.mark.parametrize("format_name", FORMATS)
def test_the_test_message_says_what_it_is(format_name: str) -> None:
    body = write_message(format_name, test_message())
    assert "Test message" in body
    check_limits(format_name, body)
