"""The command `tms doctor`."""

from __future__ import annotations

import sys

import click

from pytest_tms.cli.doctor.findings import Findings, NotReporting
from pytest_tms.cli.doctor.rendering import print_findings
from pytest_tms.cli.options import json_option
from pytest_tms.cli.output import print_json


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[PYTEST OPTIONS]...")
@click.option("--verbose", "-v", is_flag=True, help="List every setting with its source.")
@json_option
def doctor(arguments: tuple[str, ...], verbose: bool, as_json: bool) -> None:
    """Check whether a run in this folder reports, and print each problem with its solution.

    Reads the settings as pytest does in this folder with these options, and examines the TMS: whether it
    responds, what the token allows, whether the clocks agree. Runs no test. The exit status is 1 if there is
    a problem.
    """
    from pytest_tms.cli.doctor.examination import examine

    findings = Findings()
    try:
        findings.verdict = f"Reporting {examine(arguments, findings)}"
    except NotReporting as error:
        findings.verdict = f"Reporting does not work: {error}"
        findings.problems.insert(0, str(error))
    if as_json:
        print_json(findings.as_json())
    else:
        print_findings(findings, verbose=verbose)
    sys.exit(1 if findings.problems else 0)
