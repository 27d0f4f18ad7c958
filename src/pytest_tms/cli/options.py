"""Options that several commands share, and the client or database that they select."""

from __future__ import annotations

import getpass
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from pytest_tms.server.domain.durations import parse_duration
from pytest_tms.server.setting_parsers import WholeNumber
from pytest_tms.server.settings import table

if TYPE_CHECKING:
    from pytest_tms import wire
    from pytest_tms.client import TmsClient
    from pytest_tms.server.domain.actors import Actor
    from pytest_tms.server.store.database import Database

    IntegerType = click.ParamType[int]
else:  # a generic type only since click 8.4
    IntegerType = click.ParamType

Function = TypeVar("Function", bound=Callable[..., Any])


def server_options(*names: str) -> Callable[[Function], Function]:
    """Return a decorator that adds options for settings of the server, by their names in its settings table.

    The value of an option that is not given is None: its variable or its default applies.
    """

    def decorate(function: Function) -> Function:
        for setting in reversed([each for each in table() if each.name in names]):
            kind: Any = type(setting.default)
            if isinstance(setting.parse, WholeNumber):
                kind = click.IntRange(setting.parse.least, setting.parse.most)
            elif isinstance(setting.default, Path):
                kind = click.Path(file_okay=False, path_type=Path)
            default = setting.shown_default or setting.default_text
            function = click.option(
                setting.option,
                metavar=setting.metavar,
                type=kind,
                help=_plain(
                    f"{setting.text[0].upper()}{setting.text[1:]}.  [env var: {setting.variable}"
                    + (f"; default: {default}]" if default else "]")
                ),
            )(function)
        return function

    return decorate


def database_options(function: Function) -> Function:
    """Add ``--data-dir`` and ``--database-url``, which name the database that a command works on."""
    return server_options("data_dir", "database_url")(function)


def other_variables() -> str:
    """Return the end of the help of ``tms serve``: the settings that are variables only."""
    names = ", ".join(setting.variable for setting in table() if not setting.option)
    return f"Environment variables without an option: {names}. docs/server-settings.md describes them."


def _plain(text: str) -> str:
    """Return Markdown without its code marks."""
    return text.replace("`", "")


class Group(click.Group):
    """A group that shows its help on stderr, with exit status 2, if no command is given."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Show the help if there is no command. Versions of click differ in this."""
        if not args and not ctx.resilient_parsing:
            click.echo(ctx.get_help(), err=True)
            ctx.exit(2)
        return super().parse_args(ctx, args)


class Duration(IntegerType):
    """A duration such as 12h, 90d or 4w, at most ten years, converted to milliseconds."""

    name = "time"

    def __init__(self, least: int = 1) -> None:
        self._least = least

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the milliseconds. Raises UsageError for another value."""
        try:
            return parse_duration(str(value), least=self._least)
        except ValueError as error:
            self.fail(str(error), param, ctx)


def open_database(data_dir: Path | None, database_url: str | None, *, create: bool = False) -> Database:
    """Return the database that ``database_options`` select, its schema up to date.

    Raises ValueError if it does not exist, unless ``create`` is true: no server would know a token in a new
    database.
    """
    from pytest_tms.server.services.encryption import data_cipher
    from pytest_tms.server.settings import ServerSettings
    from pytest_tms.server.store.database import Database

    settings = ServerSettings.read(data_dir=data_dir, database_url=database_url)
    database = Database(settings.database, data_cipher(settings))
    if not create and not database.exists():
        raise ValueError(
            f"there is no TMS database at {database.describe()}: name the one that `tms serve` uses "
            f"(--data-dir or --database-url, TMS_SERVER_DATA_DIR or TMS_SERVER_DATABASE_URL), or start "
            f"`tms serve` with this one first"
        )
    settings.prepare()
    database.upgrade(settings.data_dir)
    return database


def show_database(database: Database) -> None:
    """Print on stderr which database a command used."""
    click.echo(f"database {database.describe()}", err=True)


def operator() -> Actor:
    """Return the user who runs a command, for the audit log."""
    from pytest_tms.server.domain.actors import Actor

    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # a user without a name
        name = str(os.getuid())
    return Actor(id="command", name=name)


def moment(milliseconds: int | None) -> str | None:
    """Return a time in ISO 8601."""
    from pytest_tms import wire

    return None if milliseconds is None else wire.timestamp(wire.moment(milliseconds))


def json_option(function: Function) -> Function:
    """Add ``--json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(function)


def url_option(function: Function) -> Function:
    """Add ``--url``, which selects the TMS of a command."""
    return click.option(
        "--url",
        envvar="TMS_URL",
        show_envvar=True,
        required=True,
        help="Base URL of the TMS, including /api, or 'local' for the local server.",
    )(function)


def connect(url: str, *, own_token: bool = False) -> TmsClient:
    """Return a client for the TMS at ``url``, with the API token of the environment or of the CI job.

    Raises ValueError if the URL is malformed, and UsageError if there is no token, unless ``own_token`` says
    that the caller has the token of an execution.
    """
    from pytest_tms.ci.id_tokens import missing_permission
    from pytest_tms.client import JobToken, TmsClient
    from pytest_tms.sender.job_tokens import find_job_token
    from pytest_tms.settings.resolution import read_token
    from pytest_tms.settings.urls import url_problem

    token: str | JobToken
    if url == "local":
        from pytest_tms.local_server import find_or_start

        url, token = find_or_start(os.getpid())
    else:
        if problem := url_problem(url):
            raise ValueError(problem)
        token = read_token(os.environ)[0].reveal() or find_job_token(url, os.environ) or ""
    if not token and not own_token:
        raise click.UsageError(
            "there is no token: set TMS_API_TOKEN or TMS_API_TOKEN_FILE" + missing_permission(os.environ)
        )
    return TmsClient(url, token)


def _pairs(context: click.Context, parameter: click.Parameter, words: tuple[str, ...]) -> tuple[str, ...]:
    for word in words:
        if "=" not in word:
            raise click.BadParameter(f"invalid metadata {word!r}: use KEY=VALUE, for example branch=main")
    return words


def request_options(function: Function) -> Function:
    """Add the options that describe a new execution; see ``new_request``."""
    for option in (
        click.option(
            "--meta", multiple=True, callback=_pairs, metavar="KEY=VALUE", help="Add metadata; repeatable."
        ),
        click.option(
            "--timeout",
            type=click.IntRange(1),
            metavar="SECONDS",
            help="Seconds after which the execution fails.  [default: 1800]",
        ),
        click.option(
            "--trigger",
            type=click.Choice(["api", "manual", "scheduled"]),
            help="Source of the trigger.  [default: api]",
        ),
        click.option(
            "--provider", metavar="NAME", default="custom", show_default=True, help="Name of the test runner."
        ),
        click.option(
            "--environment",
            metavar="NAME",
            help="Environment of the tests.  [env var: TMS_ENVIRONMENT; default: dev]",
        ),
        click.option("--suite", metavar="NAME", help="Test suite.  [env var: TMS_SUITE; default: all]"),
    ):
        function = option(function)
    return function


def new_request(options: Mapping[str, Any], shards: int, run_key: str = "") -> wire.ExecutionRequest:
    """Return the request for an execution from ``request_options``, the environment and the CI system.

    Raises ValueError if a value is not valid.
    """
    from pytest_tms import wire
    from pytest_tms.ci.metadata import build_metadata
    from pytest_tms.settings.resolution import resolve
    from pytest_tms.settings.table import dest, table

    written = {dest(entry.option) or entry.ini: options.get(name) for name, entry in table()}
    resolved = resolve(written.get, os.environ, written.get)
    if resolved.problems:
        raise ValueError(resolved.problems[0])
    settings = resolved.settings
    timeout = settings.timeout * 1000 or wire.Configuration().timeout
    meta = {key: value for key, _, value in (word.partition("=") for word in settings.meta)}
    return wire.ExecutionRequest(
        test_suite=settings.suite,
        environment=settings.environment,
        provider=settings.provider,
        trigger_source=settings.trigger,  # type: ignore[arg-type]  # checked against the choices
        configuration=wire.Configuration(parallel=shards > 1, shards=shards, timeout=timeout),
        metadata={**build_metadata(Path.cwd(), project=settings.project), **meta} or None,
        run_key=run_key or None,
    )
