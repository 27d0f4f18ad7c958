"""The command group `tms token`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from pytest_tms.cli.options import (
    Duration,
    Group,
    database_options,
    json_option,
    moment,
    open_database,
    operator,
    show_database,
)
from pytest_tms.cli.output import print_json, print_rows
from pytest_tms.server.domain.api_tokens import DEFAULT_SCOPES


@click.group(cls=Group)
def token() -> None:
    """Manage API tokens."""


@token.command()
@click.option("--name", required=True, help="Purpose of the token, for lists and the audit log.")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    help=f"Allow only this scope; repeatable.  [default: {', '.join(DEFAULT_SCOPES)}]",
)
@click.option(
    "--environment",
    "environments",
    multiple=True,
    help="Allow only this environment; repeatable.  [default: all]",
)
@click.option(
    "--expires", type=Duration(), metavar="TIME", help="Expire after 12h, 90d or 4w.  [default: never]"
)
@database_options
@json_option
def create(
    name: str,
    scopes: tuple[str, ...],
    environments: tuple[str, ...],
    expires: int | None,
    data_dir: Path | None,
    database_url: str | None,
    as_json: bool,
) -> None:
    """Create a token and print it. It is shown only once."""
    from pytest_tms.server.domain.api_tokens import DEFAULT_SCOPES, SCOPES
    from pytest_tms.server.services.tokens import create_token
    from pytest_tms.server.settings import ServerSettings

    if not name.strip():
        raise click.BadParameter("it is empty: name what uses the token", param_hint="--name")
    known = ServerSettings.read().environments
    for option, values, allowed, setting in (
        ("--scope", scopes, SCOPES, ""),
        ("--environment", environments, known, ", or add it to TMS_SERVER_ENVIRONMENTS"),
    ):
        for value in values:
            if value not in allowed:
                message = f"{value!r} is not allowed: use one of {', '.join(allowed)}{setting}"
                raise click.BadParameter(message, param_hint=option)
    if "admin" in scopes and environments:
        raise click.UsageError(
            "a token with the scope admin cannot be limited to environments: leave out one of them"
        )
    database = open_database(data_dir, database_url)
    created, text = create_token(
        database,
        operator(),
        name,
        scopes=scopes or DEFAULT_SCOPES,
        environments=environments,
        expires_in=expires,
    )
    _show(text, created.id, name, created.scopes, as_json)
    show_database(database)


@token.command("list")
@click.option("--jobs", is_flag=True, help="List the tokens that CI jobs got for their ID tokens instead.")
@database_options
@json_option
def list_tokens(jobs: bool, data_dir: Path | None, database_url: str | None, as_json: bool) -> None:
    """List the tokens, without their values."""
    from pytest_tms.server.domain import clock
    from pytest_tms.server.store import tokens

    now = clock.now()
    database = open_database(data_dir, database_url)
    with database.read() as connection:
        found = tokens.every(connection, of_jobs=jobs)
    show_database(database)
    if as_json:
        rows = [
            {
                "id": each.id,
                "name": each.name,
                "scopes": each.scopes,
                "environments": each.environments,
                "valid": each.is_valid(now),
                "createdAt": moment(each.created_at),
                "expiresAt": moment(each.expires_at),
                "revokedAt": moment(each.revoked_at),
                "lastUsedAt": moment(each.used_at),
                "previousUntil": moment(each.previous_until),
            }
            for each in found
        ]
        print_json(rows)
        return
    table = []
    for each in found:
        state = each.state(now)
        is_ending = state == "valid" and each.expires_at is not None
        is_rotating = state == "valid" and each.previous_until is not None and each.previous_until > now
        table.append(
            [
                each.id,
                f"{state} until {moment(each.expires_at)}" if is_ending else state,
                each.name,
                " ".join(each.scopes),
                f"only {', '.join(each.environments)}" if each.environments else "",
                f"last used {moment(each.used_at)}" if each.used_at else "never used",
                f"the previous value is valid until {moment(each.previous_until)}" if is_rotating else "",
            ]
        )
    print_rows(table)


@token.command()
@click.argument("token_id")
@click.option(
    "--overlap",
    type=Duration(least=0),
    default="24h",
    show_default=True,
    metavar="TIME",
    help="Time for which the previous value stays valid.",
)
@click.option("--expires", type=Duration(), metavar="TIME", help="Expire after TIME.  [default: as before]")
@database_options
@json_option
def rotate(
    token_id: str,
    overlap: int,
    expires: int | None,
    data_dir: Path | None,
    database_url: str | None,
    as_json: bool,
) -> None:
    """Replace the value of a token and print the new one. It is shown only once.

    The id, the scopes and the environments of the token stay.
    """
    from pytest_tms.server.services.tokens import rotate_token

    database = open_database(data_dir, database_url)
    rotated, text = rotate_token(database, operator(), token_id, overlap=overlap, expires_in=expires)
    _show(text, token_id, rotated.name, rotated.scopes, as_json)
    if not as_json:
        click.echo(f"the previous value is valid until {moment(rotated.previous_until)}", err=True)
    show_database(database)


@token.command()
@click.argument("token_id")
@database_options
def revoke(token_id: str, data_dir: Path | None, database_url: str | None) -> None:
    """Revoke a token permanently, with its previous value. Every server refuses it immediately."""
    from pytest_tms.server.services.tokens import revoke_token

    database = open_database(data_dir, database_url)
    revoke_token(database, operator(), token_id)
    click.echo(f"{token_id} is revoked")
    show_database(database)


def _show(text: str, token_id: str, name: str, scopes: Sequence[str], as_json: bool) -> None:
    if as_json:
        print_json({"token": text, "id": token_id, "name": name, "scopes": scopes})
    else:
        click.echo(text)
        click.echo(f"{token_id} {name}: shown only once; store it as TMS_API_TOKEN", err=True)
