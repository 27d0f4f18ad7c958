"""`tms token`."""

from __future__ import annotations

import json
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


@click.group(cls=Group)
def token() -> None:
    """API tokens: make, list, rotate, revoke."""


@token.command()
@click.option("--name", required=True, help="What the token is for.")
@click.option(
    "--scope", "scopes", multiple=True, help="What it may do; repeatable. All but admin by default."
)
@click.option(
    "--environment",
    "environments",
    multiple=True,
    help="The only ones it may touch; repeatable. All by default.",
)
@click.option(
    "--expires", type=Duration(), metavar="TIME", help="When it ends: 12h, 90d, 4w. Never by default."
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
    """Make a token and show it, this once."""
    from pytest_tms.server.domain.api_tokens import DEFAULT_SCOPES, SCOPES
    from pytest_tms.server.services.tokens import create_token
    from pytest_tms.server.settings import ServerSettings

    known = ServerSettings.read().environments
    for option, given, allowed, more in (
        ("--scope", scopes, SCOPES, ""),
        ("--environment", environments, known, ": TMS_SERVER_ENVIRONMENTS lists them"),
    ):
        for word in given:
            if word not in allowed:
                said = f"{word!r} is none of {', '.join(allowed)}{more}"
                raise click.BadParameter(said, param_hint=option)
    if "admin" in scopes and environments:
        raise click.UsageError(
            "a token with the scope admin is bound to no environment: leave one of them out"
        )
    database = open_database(data_dir, database_url)
    made, text = create_token(
        database,
        operator(),
        name,
        scopes=scopes or DEFAULT_SCOPES,
        environments=environments,
        expires_in=expires,
    )
    _show(text, made.id, name, made.scopes, as_json)
    show_database(database)


@token.command("list")
@database_options
@json_option
def list_tokens(data_dir: Path | None, database_url: str | None, as_json: bool) -> None:
    """Show the tokens, without their text."""
    from pytest_tms.server.domain import clock
    from pytest_tms.server.store import tokens

    now = clock.now()
    database = open_database(data_dir, database_url)
    with database.read() as connection:
        found = tokens.every(connection)
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
        click.echo(json.dumps(rows))
        return
    for each in found:
        state = each.state(now)
        is_ending = state == "valid" and each.expires_at is not None
        is_rotating = state == "valid" and each.previous_until is not None and each.previous_until > now
        words = [
            each.id,
            f"{state} until {moment(each.expires_at)}" if is_ending else state,
            each.name,
            " ".join(each.scopes),
            f"only {', '.join(each.environments)}" if each.environments else "",
            f"last used {moment(each.used_at)}" if each.used_at else "never used",
            f"the text before opens until {moment(each.previous_until)}" if is_rotating else "",
        ]
        click.echo("  ".join(word for word in words if word))


@token.command()
@click.argument("token_id")
@click.option(
    "--overlap",
    type=Duration(least=0),
    default="24h",
    metavar="TIME",
    help="How long the old text opens, too (24h).",
)
@click.option(
    "--expires", type=Duration(), metavar="TIME", help="When the new text ends; as before where not given."
)
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
    """Give a token a new text and show it, this once; its id and what it may do stay."""
    from pytest_tms.server.services.tokens import rotate_token

    database = open_database(data_dir, database_url)
    made, text = rotate_token(database, operator(), token_id, overlap=overlap, expires_in=expires)
    _show(text, token_id, made.name, made.scopes, as_json)
    if not as_json:
        click.echo(f"the text before opens until {moment(made.previous_until)}", err=True)
    show_database(database)


@token.command()
@click.argument("token_id")
@database_options
def revoke(token_id: str, data_dir: Path | None, database_url: str | None) -> None:
    """Close a token for good, its old text included; every server refuses it at once."""
    from pytest_tms.server.services.tokens import revoke_token

    database = open_database(data_dir, database_url)
    revoke_token(database, operator(), token_id)
    click.echo(f"{token_id} is revoked")
    show_database(database)


def _show(text: str, token_id: str, name: str, scopes: Sequence[str], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({"token": text, "id": token_id, "name": name, "scopes": scopes}))
    else:
        click.echo(text)
        click.echo(f"{token_id} {name}: shown this once, keep it as TMS_API_TOKEN", err=True)
