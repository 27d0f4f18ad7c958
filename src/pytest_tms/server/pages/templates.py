"""Rendering of templates, and their filters. All values are escaped."""

from __future__ import annotations

from functools import cache, partial
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from litestar import Response
from litestar.enums import MediaType

from pytest_tms import wire
from pytest_tms.server.domain.page_details import MAX_NAME, truncate
from pytest_tms.server.pages.page_session import PageSession


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


def time(milliseconds: int | None) -> str:
    """Return a time in UTC to the second, from milliseconds since 1970; a dash for None."""
    if milliseconds is None:
        return "–"
    return wire.moment(milliseconds).strftime("%Y-%m-%d %H:%M:%S UTC")


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(duration=duration, name=partial(truncate, length=MAX_NAME), time=time)
    return environment
