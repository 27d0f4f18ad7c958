"""The command group `tms login`."""

from __future__ import annotations

from pathlib import Path

import click

from pytest_tms.cli.options import (
    Group,
    database_options,
    json_option,
    moment,
    open_database,
    operator,
    show_database,
)
from pytest_tms.cli.output import print_json, print_rows


@click.group(cls=Group)
def login() -> None:
    """Manage the logins of people at the OpenID provider."""


@login.command("list")
@database_options
@json_option
def list_logins(data_dir: Path | None, database_url: str | None, as_json: bool) -> None:
    """List the people who are logged in."""
    from pytest_tms.server.domain import clock
    from pytest_tms.server.store import page_sessions

    database = open_database(data_dir, database_url)
    with database.read() as connection:
        found = page_sessions.of_people(connection, clock.now())
    show_database(database)
    if as_json:
        rows = [
            {
                "id": each.user_id,
                "name": each.user_name,
                "role": each.role,
                "issuer": each.issuer,
                "since": moment(each.created_at),
                "until": moment(each.expires_at),
            }
            for each in found
        ]
        print_json(rows)
        return
    print_rows(
        [each.user_id, each.role, each.user_name, f"until {moment(each.expires_at)}"] for each in found
    )


@login.command()
@click.argument("user_id")
@database_options
def end(user_id: str, data_dir: Path | None, database_url: str | None) -> None:
    """End all logins of a person on every server. The provider decides whether they can log in again."""
    from pytest_tms.server.services.page_sessions import end_logins

    database = open_database(data_dir, database_url)
    ended = end_logins(database, operator(), user_id)
    click.echo(f"{ended} {'login' if ended == 1 else 'logins'} of {user_id} ended")
    show_database(database)
