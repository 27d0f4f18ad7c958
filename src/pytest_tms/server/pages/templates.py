"""Rendering of templates, and their filters. All values are escaped."""

from __future__ import annotations

from functools import cache, partial
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from litestar import Response
from litestar.enums import MediaType

from pytest_tms import wire
from pytest_tms.server.domain import clock
from pytest_tms.server.domain.page_details import MAX_NAME, truncate
from pytest_tms.server.pages.assets import assets
from pytest_tms.server.pages.page_session import ADMIN, READS, WEBHOOKS, PageSession
from pytest_tms.text import counted

SITE_PAGES = (
    ("runs", "Runs", "/", READS),
    ("tests", "Tests", "/tests", READS),
    ("cases", "Cases", "/cases", READS),
    ("trends", "Trends", "/trends", READS),
    ("quarantine", "Quarantine", "/quarantine", READS),
    ("webhooks", "Webhooks", "/webhooks", WEBHOOKS),
    ("audit", "Audit", "/audit", ADMIN),
    ("tokens", "Tokens", "/tokens", ADMIN),
)
"""The pages in the header: the name, the label, the path, and the scope that a user needs."""
SYMBOLS = {"passed": "✓", "failed": "✗", "running": "●", "cancelled": "■", "none": "○"}
"""The symbols of verdicts in the titles of pages, by kind."""
FAVICONS = {"passed": "passed", "failed": "failed", "running": "running"}
"""The icons of pages about runs, by the kind of the verdict; ``none`` for the others."""
RELATIVE = (("min", 60, 3600), ("h", 3600, 86_400), ("day", 86_400, 30 * 86_400))
"""Units of relative times: the name, its seconds, and the seconds up to which it is used."""


def page(page_session: PageSession, template: str, status: int = 200, **values: Any) -> Response[str]:
    """Return a rendered page, with the session cookie if the browser has none."""
    text = _environment().get_template(template).render(page_session=page_session, **values)
    cookies = [] if page_session.has_cookie else [page_session.cookie]
    return Response(text, status_code=status, media_type=MediaType.HTML, cookies=cookies)


def duration(milliseconds: int | None) -> str:
    """Return a duration for people: 340 ms, 4.2 s, 3 min 5 s, 2 h 4 min; a dash for None."""
    if milliseconds is None:
        return "–"
    if milliseconds < 1000:
        return f"{milliseconds} ms"
    seconds = milliseconds / 1000
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"


def size(number: int) -> str:
    """Return a number of bytes for people: 20 bytes, 3.4 kB, 50.0 MB, 2.1 GB."""
    if number < 1000:
        return counted(number, "byte")
    value = float(number)
    for unit in ("kB", "MB"):
        value /= 1000
        if value < 999.95:
            return f"{value:.1f} {unit}"
    return f"{value / 1000:,.1f} GB"


def time(milliseconds: int | None) -> str:
    """Return a time in UTC to the second, from milliseconds since 1970; a dash for None."""
    if milliseconds is None:
        return "–"
    return wire.moment(milliseconds).strftime("%Y-%m-%d %H:%M:%S UTC")


def iso(milliseconds: int) -> str:
    """Return a time as ISO 8601 in UTC, from milliseconds since 1970."""
    return clock.timestamp(milliseconds)


def relative(milliseconds: int, now: int | None = None) -> str:
    """Return how long ago a time was, or in how long it will be: 3 min ago, in 2 h; after a month, its date.

    Parameters:
        milliseconds: the time, since 1970.
        now: the same of the present; None for that of the clock.
    """
    passed = (clock.now() if now is None else now) - milliseconds
    seconds = abs(passed) // 1000
    if seconds < 60:
        return "just now" if passed >= 0 else "in less than a minute"
    for unit, length, limit in RELATIVE:
        if seconds < limit:
            number = seconds // length
            name = unit + "s" * (number != 1) if unit == "day" else unit
            return f"{number} {name} ago" if passed >= 0 else f"in {number} {name}"
    return wire.moment(milliseconds).strftime("%Y-%m-%d")


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        duration=duration,
        iso=iso,
        name=partial(truncate, length=MAX_NAME),
        relative=relative,
        size=size,
        time=time,
    )
    environment.globals.update(assets=assets(), favicons=FAVICONS, site_pages=SITE_PAGES, symbols=SYMBOLS)
    return environment
