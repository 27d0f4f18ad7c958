"""How commands print their results: rows for people, one JSON document for programs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import click


def print_json(value: Any) -> None:
    """Print a value, or a message of the API, as one JSON document."""
    if hasattr(value, "__struct_fields__"):
        import msgspec

        click.echo(msgspec.json.encode(value))
    else:
        click.echo(json.dumps(value))


def print_rows(rows: Iterable[Sequence[str | None]]) -> None:
    """Print a table without a header; its columns are aligned, and empty columns are left out."""
    table = [[cell or "" for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True) if width]
        click.echo("  ".join(cells).rstrip())
