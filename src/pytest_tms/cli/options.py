"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

Function = TypeVar("Function", bound=Callable[..., Any])


def database_options(function: Function) -> Function:
    """``--data-dir`` and ``--database-url``: which database a command works on."""
    function = click.option(
        "--database-url",
        metavar="URL",
        help="The database; SQLite in the data dir where not given. [TMS_SERVER_DATABASE_URL]",
    )(function)
    return click.option(
        "--data-dir",
        type=click.Path(file_okay=False, path_type=Path),
        help="Where the server keeps its files. [TMS_SERVER_DATA_DIR]",
    )(function)


def json_option(function: Function) -> Function:
    """``--json``: for machines."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, for machines.")(function)
