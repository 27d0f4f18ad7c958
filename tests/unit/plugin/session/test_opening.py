"""The run key of a session: that of the setting, else that of the CI run."""

from __future__ import annotations

import pytest

from pytest_tms.plugin.session.opening import execution_request, find_run_key, lone_shard_warning
from pytest_tms.plugin.session.shards import SessionShards
from pytest_tms.plugin.xdist.sharding import parse_shard
from pytest_tms.settings.table import Settings

CI = {"BUILDKITE": "true", "BUILDKITE_BUILD_ID": "b1"}


def settings(**values: str) -> Settings:
    return Settings(**{"run_key": "", "shard": "", "execution": "", **values})


@pytest.mark.parametrize(
    ("values", "environ", "key"),
    [
        ({"shard": "1/4"}, CI, "b1"),
        ({"shard": "py311"}, CI, "b1"),
        ({"shard": "1/4"}, {}, ""),
        ({"shard": "1/4"}, {"BUILDKITE": "true"}, ""),
        ({}, CI, ""),
        ({"run_key": "mine"}, CI, "mine"),
        ({"run_key": "mine", "shard": "1/4"}, CI, "mine"),
        ({"run_key": "none", "shard": "1/4"}, CI, ""),
        ({"run_key": "None"}, CI, ""),
        ({"run_key": "k" * 200}, CI, "k" * 200),
    ],
)
def test_the_run_key(values: dict[str, str], environ: dict[str, str], key: str) -> None:
    assert find_run_key(settings(**values), environ) == key


def test_a_key_that_is_too_long_is_sent_as_its_hash() -> None:
    keys = {find_run_key(settings(run_key=f"{'k' * 200}{end}")) for end in ("a", "b\ud800")}
    assert {len(key) for key in keys} == {64}


@pytest.mark.parametrize(
    ("shard", "key", "shards"),
    [("2/4", "", 1), ("2/4", "b1", 4), ("py311", "b1", None), ("py311", "", 1), ("", "b1", None)],
)
def test_only_a_shared_execution_declares_the_shards_of_other_jobs(
    shard: str, key: str, shards: int | None
) -> None:
    given = Settings(suite="all", environment="dev", provider="pytest", trigger="api", timeout=0)
    request = execution_request(given, SessionShards(parse_shard(shard), None, 0), {}, key)
    assert request.run_key == (key or None)
    assert request.configuration is not None
    assert request.configuration.shards == shards


@pytest.mark.parametrize(
    ("values", "key", "is_warned"),
    [
        ({"shard": "2/4"}, "", True),
        ({"shard": "2/4"}, "b1", False),
        ({"shard": "2/4", "run_key": "none"}, "", False),
        ({"shard": "2/4", "execution": "exec_1"}, "", False),
        ({"shard": "1/1"}, "", False),
        ({"shard": "py311"}, "", False),
        ({}, "", False),
    ],
)
def test_a_shard_that_nothing_brings_together_with_others(
    values: dict[str, str], key: str, is_warned: bool
) -> None:
    given = settings(**values)
    shards = SessionShards(parse_shard(given.shard), None, 0)
    assert bool(lone_shard_warning(given, shards, key)) == is_warned
