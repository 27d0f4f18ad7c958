"""A table for the terminal."""

from __future__ import annotations

from collections.abc import Sequence


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Rows under a header as aligned Markdown: the first column to the left, figures to the right."""
    columns = list(zip(header, *rows, strict=True))
    widths = [max(map(len, column)) for column in columns]

    def line(cells: Sequence[str]) -> str:
        first, *others = zip(cells, widths, strict=True)
        return (
            "| " + " | ".join([first[0].ljust(first[1]), *(cell.rjust(wide) for cell, wide in others)]) + " |"
        )

    rule = "| " + " | ".join(["-" * widths[0], *("-" * (wide - 1) + ":" for wide in widths[1:])]) + " |"
    return "\n".join([line(header), rule, *map(line, rows)])
