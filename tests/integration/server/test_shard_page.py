"""The page of the shards of a run: plan, times, idle time, and what another number of shards would save."""

from __future__ import annotations

import re
import uuid
from datetime import datetime, timedelta, timezone

from pytest_tms import wire
from tests.helpers.api import Api, expect_success, result
from tests.integration.server.test_run_pages import path_of

START = datetime.now(timezone.utc) - timedelta(minutes=20)


def at(seconds: float) -> str:
    return wire.timestamp(START + timedelta(seconds=seconds))


def timed(name: str, start: float, duration: float, **more: object) -> dict[str, object]:
    node_id = f"tests/test_a.py::{name}"
    return {
        **result(name, duration=round(1000 * duration)),
        "nodeId": node_id,
        "startedAt": at(start),
        **more,
    }


def run(
    api: Api, project: str, *shards: tuple[float, float, list[dict[str, object]]], has_plan: bool = True
) -> str:
    """An execution whose shards have a start and an end in seconds, and tests; its id."""
    execution = api.create(
        metadata={"project": project, "branch": "main"},
        configuration={"shards": len(shards), "timeout": 7200},
    )
    if has_plan:
        expect_success(api.request("POST", f"/executions/{execution['executionId']}/plan"), 200)
    for number, (start, _, _) in enumerate(shards, 1):
        event = {"event": "shard.started", "executionId": execution["executionId"], "happenedAt": at(start)}
        body = {**event, "data": {"shardId": str(number)}}
        sent = api.request("POST", execution["webhookUrl"], body, token=execution["webhookToken"])
        expect_success(sent, 202)
    for number, (_, end, tests) in enumerate(shards, 1):
        api.submit(execution, str(number), tests=tests, happenedAt=at(end))
    return str(execution["executionId"])


def text_of(html: str) -> str:
    """The text of a part of a page."""
    return " ".join(re.sub(r"(?s)<(script|style).*?</\1>|<[^>]+>", "", html).split())


def rows(html: str) -> list[list[str]]:
    """The cells of the tables of a page."""
    found = re.findall(r"(?s)<tr>(.*?)</tr>", html)
    return [[text_of(cell) for cell in re.findall(r"(?s)<td.*?</td>", row)] for row in found if "<td" in row]


def test_the_page_compares_the_plan_with_the_run(api: Api) -> None:
    project = uuid.uuid4().hex[:8]
    first = [
        timed("slow", 5, 60),
        timed(
            "a",
            65,
            20,
            sharedSetups=[
                {"scope": "module", "node": "tests/test_a.py", "fixture": "rows", "duration": 5_000}
            ],
        ),
    ]
    run(api, project, (0, 100, [*first, timed("b", 85, 10)]), has_plan=False)
    execution = run(
        api,
        project,
        (0, 110, [timed("slow", 10, 100)]),
        (30, 70, [timed("a", 35, 20), timed("b", 55, 15)]),
    )
    shown = api.page(f"/runs/{execution}/shards").text
    text = text_of(shown)
    assert "took 1 min 50 s on 2 shards" in text
    assert "idle at the end 40.0 s in all" in text
    assert "divided by a plan" in text
    assert rows(shown)[:2] == [
        [
            "shard 1: completed",
            "1 tests of shard 1",
            "0 ms",
            "10.0 s",
            "1 min 5 s",
            "1 min 40 s",
            "1 min 50 s",
            "0 ms",
        ],
        [
            "shard 2: completed",
            "2 tests of shard 2",
            "30.0 s",
            "35.0 s",
            "30.0 s",
            "35.0 s",
            "1 min 10 s",
            "40.0 s",
        ],
    ]
    assert "planned end" in text


def test_a_run_without_a_plan_has_the_ideal_and_advice(api: Api) -> None:
    tests = [[timed(f"t{shard}_{n}", 5 + 20 * n, 20) for n in range(30)] for shard in range(2)]
    execution = run(api, uuid.uuid4().hex[:8], *((0, 605, each) for each in tests), has_plan=False)
    shown = api.page(f"/runs/{execution}/shards").text
    text = text_of(shown)
    assert "divided without a plan" in text
    assert "planned end" not in text
    assert "ideal 10 min 5 s (1.00 times as long)" in text
    assert re.search(r"60 shards would take about 25\.0 s: 9 min 40 s less than this run", text)
    assert ["60", "25.0 s", "9 min 40 s less"] in rows(shown)


def test_one_shard_and_none(api: Api) -> None:
    execution = run(api, uuid.uuid4().hex[:8], (0, 60, [timed("a", 0, 60)]), has_plan=False)
    text = text_of(api.page(f"/runs/{execution}/shards").text)
    assert "tests in one shard" in text
    assert "Another number of shards would save little." in text
    assert "No shard has started yet." in text_of(api.page(path_of(api.create(), "/shards")).text)


def test_a_running_execution_has_no_advice(api: Api) -> None:
    execution = api.create(configuration={"shards": 2})
    api.send(execution, "shard.started", shardId="<b>1</b>")
    shown = api.page(path_of(execution, "/shards")).text
    assert "runs for" in text_of(shown)
    assert "Number of shards" not in text_of(shown)
    assert "<b>1</b>" not in shown
