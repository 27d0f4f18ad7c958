"""Prints the findings of `tms doctor` as text."""

from __future__ import annotations

import click

from pytest_tms.cli.doctor.findings import Findings, describe_clock

MAX_VALUE_WIDTH = 40
"""Width of the column of values; a longer value moves its source to the right."""


def print_findings(findings: Findings, *, verbose: bool) -> None:
    """Print the verdict, the problems and the TMS; with ``verbose`` also the settings."""
    click.echo(findings.verdict)
    for sentence in findings.problems:
        if sentence not in findings.verdict and not sentence.startswith("reporting is off"):
            click.echo(f"problem  {sentence}")
    if (tms := findings.tms) is not None:
        name = f"{tms['service']} {tms['version']}" if tms.get("service") else "does not identify itself"
        click.echo(f"TMS      {name}, responds in {tms['milliseconds']} ms")
    if (token := findings.token) is not None:
        until = f"until {token['expiresAt']}" if token["expiresAt"] else "without expiry"
        environments = f" in {', '.join(token['environments'])}" if token["environments"] else ""
        click.echo(f"token    {token['id']}: {' '.join(token['scopes'])}{environments}, {until}")
    if findings.clock_skew is not None:
        click.echo(f"clock    {describe_clock(findings.clock_skew)}")
    for note in findings.notes:
        click.echo(f"note     {note}")
    if verbose:
        _print_settings(findings)


def _print_settings(findings: Findings) -> None:
    if findings.tms is not None:
        click.echo(f"features {', '.join(findings.capabilities) or 'those of the API document'}")
    if findings.settings:
        click.echo(f"settings of pytest in {findings.rootdir}")
        widths = [max(len(row[name]) for row in findings.settings) for name in ("name", "value")]
        for row in findings.settings:
            value = f"{row['value']:{min(widths[1], MAX_VALUE_WIDTH)}}"
            click.echo(f"  {row['name']:{widths[0]}}  {value}  {row['source']}")
