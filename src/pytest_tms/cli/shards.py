"""The command group `tms shards`: how many shards a suite needs."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import click

from pytest_tms.cli.options import Group, IntegerType, connect, json_option, url_option
from pytest_tms.cli.output import print_json, print_rows
from pytest_tms.division import Setup, divide_by_duration, find_setups
from pytest_tms.shard_advice import Work, fewest_shards, most_shards, work_of

MAX_SHARDS = 256
"""Shards that are advised at most."""
UNITS = {"s": 1_000, "m": 60_000, "h": 3_600_000}


class Time(IntegerType):
    """A time such as 90s, 10m or 1h, converted to milliseconds."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the milliseconds. Raises UsageError for another value."""
        found = re.fullmatch(r"([1-9]\d{0,5})([smh])", str(value))
        if found is None:
            self.fail(f"invalid time {str(value)[:100]!r}: use 90s, 10m or 1h", param, ctx)
        return int(found[1]) * UNITS[found[2]]


class DivisionTimes(NamedTuple):
    """Tests divided over so many shards: milliseconds of the longest shard and of all together."""

    shards: int
    longest: int
    sum: int


@click.group(cls=Group)
def shards() -> None:
    """Advise on the number of shards."""


@shards.command()
@click.option("--target", type=Time(), required=True, help="Time that the run may take: 90s, 10m or 1h.")
@click.option("--suite", metavar="NAME", default="all", show_default=True, envvar="TMS_SUITE", help="Suite.")
@click.option(
    "--environment",
    metavar="NAME",
    default="dev",
    show_default=True,
    envvar="TMS_ENVIRONMENT",
    help="Environment.",
)
@click.option("--branch", metavar="NAME", help="Branch.  [default: the present one]")
@click.option("--project", metavar="NAME", help="Project.  [default: as a run of pytest in this folder]")
@url_option
@json_option
def advise(
    target: int,
    suite: str,
    environment: str,
    branch: str | None,
    project: str | None,
    url: str,
    as_json: bool,
) -> None:
    """Print how many shards a suite needs to take no longer than a target.

    The durations are those of the latest runs, with the setups of fixtures that tests share, and without the
    time that a job takes to start. The exit status is 1 if no number of shards is enough.
    """
    from pytest_tms.ci.metadata import build_metadata

    own = build_metadata(Path.cwd())
    branch = branch or own.get("branch")
    with connect(url) as client:
        found = client.get_timings(
            test_suite=suite, environment=environment, branch=branch, project=project or own.get("project")
        )
    durations = {test.node_id: test.duration for test in found.tests}
    if not durations:
        raise ValueError(
            f"no durations are known of the suite {suite}, the environment {environment} and "
            f"{f'the branch {branch}' if branch else 'no branch'}: report a run first, or name others"
        )
    known = [Setup(each.node, each.fixture, round(each.duration)) for each in found.shared_setups]
    setups = find_setups(dict.fromkeys(durations), known)
    work = work_of(durations, setups)
    divisions = _divisions(durations, setups, work, target)
    enough = divisions[-1] if divisions[-1].longest <= target else None
    most = min(MAX_SHARDS, most_shards(work))
    if as_json:
        print_json(
            {
                "target": target,
                "shards": None if enough is None else enough.shards,
                "mostUseful": most,
                "tests": len(durations),
                "divisions": [each._asdict() for each in divisions],
            }
        )
    else:
        print_rows(
            [f"{each.shards} shard{'s' * (each.shards != 1)}", _text(each.longest)] for each in divisions
        )
    longest = max(durations, key=lambda name: (durations[name] + sum(_times(setups.get(name, ()))), name))
    alone = f"{longest} alone takes {_text(round(work.longest + work.each))}"
    alone += " with its setups" if setups.get(longest) else ""
    if enough is None and work.longest + work.each > target:
        raise ValueError(f"no number of shards is enough for {_text(target)}: {alone}")
    if enough is None:
        raise ValueError(f"no number of shards up to {MAX_SHARDS} is enough for {_text(target)}")
    if not as_json:
        click.echo(f"use {enough.shards}: --tms-shard I/{enough.shards}")
        if most < MAX_SHARDS:
            click.echo(f"more than {most} shard{'s' * (most != 1)} save nothing: {alone}")


def _divisions(
    durations: dict[str, int], setups: dict[str, frozenset[Setup]], work: Work, target: int
) -> list[DivisionTimes]:
    """Return the division over one shard, and those over the least number that may be enough and more.

    The last one is enough, or over as many shards as are useful.
    """
    tests = [(node_id, node_id.partition("::")[0]) for node_id in durations]

    def divided(number: int) -> DivisionTimes:
        loads = divide_by_duration(tests, number, durations, setups).loads
        return DivisionTimes(number, round(max(loads)), round(sum(loads)))

    found = [divided(1)]
    most = min(MAX_SHARDS, most_shards(work))
    first = fewest_shards(work, target) or most
    number = min(max(2, first), MAX_SHARDS)
    while found[-1].longest > target and found[-1].shards < MAX_SHARDS:
        found.append(divided(number))
        if work.longest + work.each > target or number >= 2 * most:
            break
        number = min(MAX_SHARDS, number + max(1, number // 20))
    return [found[0], *found[1:][-9:]]


def _times(setups: Iterable[Setup]) -> list[int]:
    return [setup.duration for setup in setups]


def _text(milliseconds: int) -> str:
    """Return a time as minutes and seconds."""
    minutes, seconds = divmod(round(milliseconds / 1000), 60)
    return f"{minutes} min {seconds} s" if minutes else f"{milliseconds / 1000:.1f} s"
