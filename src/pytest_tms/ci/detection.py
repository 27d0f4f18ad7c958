"""Which build a process belongs to, by the environment that its CI system set."""

from __future__ import annotations

from collections.abc import Mapping

from pytest_tms.ci.build import Build
from pytest_tms.ci.providers import PROVIDERS
from pytest_tms.ci.sources import Source, Template, Variable


def detect_build(environ: Mapping[str, str]) -> Build | None:
    """Return the build that this environment belongs to; None outside CI."""
    for provider in PROVIDERS:
        found = environ.get(provider.variable)
        if found and provider.value in ("", found):
            values = {name: _first(sources, environ) for name, sources in provider.fields.items()}
            return Build(provider=provider.name, **values)
    return None


def _first(sources: tuple[str | Source, ...], environ: Mapping[str, str]) -> str:
    for source in sources:
        if isinstance(source, str):
            source = Template(source) if "{" in source else Variable(source)
        if value := source.read(environ):
            return value
    return ""
