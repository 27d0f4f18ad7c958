"""`tms token`."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pytest_tms.cli.options import database_options, json_option

if TYPE_CHECKING:
    from pytest_tms.server.store.database import Database

UNITS = {"h": 3_600_000, "d": 86_400_000, "w": 7 * 86_400_000}
LONGEST = 3653 * UNITS["d"]
"""Ten years, in milliseconds."""


@click.group()
def token() -> None:
    """API tokens: make, list, revoke."""


@token.command()
@click.option("--name", required=True, help="What the token is for.")
@click.option(
    "--scope", "scopes", multiple=True, help="What it may do; repeatable. All but admin by default."
)
@click.option("--expires", metavar="TIME", help="When it ends: 12h, 90d, 4w. Never by default.")
@database_options
@json_option
def create(
    name: str,
    scopes: tuple[str, ...],
    expires: str | None,
    data_dir: Path | None,
    database_url: str | None,
    as_json: bool,
) -> None:
    """Make a token and show it, this once."""
    lasts = None if expires is None else _milliseconds(expires)
    from pytest_tms.server.api import auth
    from pytest_tms.server.store import tokens

    for scope in scopes:
        if scope not in auth.SCOPES:
            raise click.BadParameter(f"{scope!r} is none of {', '.join(auth.SCOPES)}", param_hint="--scope")
    ends = None if lasts is None else auth.now() + lasts
    made, text = auth.new_token(name, scopes or auth.DEFAULT_SCOPES, ends)
    with _database(data_dir, database_url).write() as connection:
        tokens.add(connection, made, auth.hashed(text))
    if as_json:
        click.echo(json.dumps({"token": text, "id": made.id, "name": name, "scopes": made.scopes}))
    else:
        click.echo(text)
        click.echo(f"{made.id} {name}: shown this once, keep it as TMS_API_TOKEN", err=True)


@token.command("list")
@database_options
@json_option
def list_tokens(data_dir: Path | None, database_url: str | None, as_json: bool) -> None:
    """Show the tokens, without their text."""
    from pytest_tms import wire
    from pytest_tms.server.api import auth
    from pytest_tms.server.store import tokens

    def shown(moment: int | None) -> str | None:
        return None if moment is None else wire.timestamp(wire.moment(moment))

    with _database(data_dir, database_url).read() as connection:
        rows = [
            {
                "id": each.id,
                "name": each.name,
                "scopes": each.scopes,
                "valid": each.is_valid(auth.now()),
                "createdAt": shown(each.created_at),
                "expiresAt": shown(each.expires_at),
                "revokedAt": shown(each.revoked_at),
            }
            for each in tokens.every(connection)
        ]
    if as_json:
        click.echo(json.dumps(rows))
        return
    for row in rows:
        state = "valid" if row["valid"] else "revoked" if row["revokedAt"] else "expired"
        until = f" until {row['expiresAt']}" if row["expiresAt"] else ""
        click.echo(f"{row['id']}  {state}{until}  {row['name']}  {' '.join(row['scopes'])}")  # type: ignore[arg-type]


@token.command()
@click.argument("token_id")
@database_options
def revoke(token_id: str, data_dir: Path | None, database_url: str | None) -> None:
    """Close a token for good."""
    from pytest_tms.server.api import auth
    from pytest_tms.server.store import tokens

    with _database(data_dir, database_url).write() as connection:
        tokens.revoke(connection, token_id, auth.now())
    click.echo(f"{token_id} is revoked")


def _milliseconds(text: str) -> int:
    found = re.fullmatch(r"(\d{1,6})([hdw])", text)
    milliseconds = int(found[1]) * UNITS[found[2]] if found else 0
    if not 0 < milliseconds <= LONGEST:
        raise click.BadParameter(
            f"{text!r} is no time up to ten years: write 12h, 90d or 4w", param_hint="--expires"
        )
    return milliseconds


def _database(data_dir: Path | None, database_url: str | None) -> Database:
    """The database, its schema up to date."""
    from pytest_tms.server.settings import ServerSettings
    from pytest_tms.server.store.database import Database

    settings = ServerSettings.read(data_dir=data_dir, database_url=database_url)
    settings.prepare()
    database = Database(settings.database)
    database.upgrade(settings.data_dir)
    return database
