"""Badges: the result of a run as a small SVG image."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

from pytest_tms import wire

MAX_LABEL = 40
"""Characters of the label."""
NARROW, WIDE = "fijlrtI.,:;|!()[]' ", "mwMW@%"
"""Characters that are narrower and wider than most."""
PADDING = 6
COLOURS = {"passing": "#2e7d32", "flaky": "#8a5a00", "failing": "#b3261e", "unknown": "#5f6368"}
"""Colours on which white text has a contrast of at least 4.5:1."""


@dataclass(frozen=True)
class Badge:
    """The texts of a badge; ``kind`` is one of ``COLOURS``."""

    label: str
    text: str
    kind: str


def badge(label: str, status: str | None, counts: wire.Counts) -> Badge:
    """Return the badge of an ended run; ``status`` is None if there is no run."""
    label = "".join(each if each.isprintable() else " " for each in label)[:MAX_LABEL].strip() or "tests"
    if status is None or (status == "completed" and not counts.total):
        return Badge(label, "unknown", "unknown")
    if status == "cancelled":
        return Badge(label, "cancelled", "unknown")
    parts = [f"{counts.failed:,} failing"] if counts.failed else []
    parts += [f"{counts.passed:,} passing"] if counts.passed or not counts.failed else []
    parts += [f"{counts.flaky:,} flaky"] if counts.flaky else []
    if status == "failed":
        return Badge(label, ", ".join(["run failed", *parts]), "failing")
    return Badge(
        label, ", ".join(parts), "failing" if counts.failed else "flaky" if counts.flaky else "passing"
    )


def svg(shown: Badge) -> str:
    """Return a badge as SVG, without scripts, links and external resources."""
    left, right = (_width(text) + 2 * PADDING for text in (shown.label, shown.text))
    width = left + right
    title = escape(f"{shown.label}: {shown.text}")

    def text(value: str, start: int, size: int) -> str:
        return (
            f'<text x="{start + size / 2:g}" y="14" textLength="{size - 2 * PADDING}" '
            f'lengthAdjust="spacingAndGlyphs">{escape(value)}</text>'
        )

    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="20" role="img" '
        f'aria-label="{title}">'
        f"<title>{title}</title>"
        f'<rect width="{width}" height="20" rx="3" fill="#3c4043"/>'
        f'<path d="M{left} 0h{right - 3}a3 3 0 0 1 3 3v14a3 3 0 0 1-3 3H{left}z" '
        f'fill="{COLOURS[shown.kind]}"/>'
        '<g fill="#fff" text-anchor="middle" font-family="Verdana,Geneva,DejaVu Sans,sans-serif" '
        f'font-size="11">{text(shown.label, 0, left)}{text(shown.text, left, right)}</g></svg>\n'
    )


def _width(text: str) -> int:
    """Return about how wide a text is in 11 px Verdana, in pixels; ``textLength`` makes it exact."""
    widths = (4.2 if each in NARROW else 10.5 if each in WIDE else 7.2 for each in text)
    return round(sum(widths))
