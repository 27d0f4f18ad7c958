"""How settings are resolved: from the command line, the environment, and pytest's configuration file.

Every pytest run loads this: standard library only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pytest_tms.settings.table import (
    MAX_NUMBER,
    OFF,
    OFFLINE,
    OFFLINE_ENV,
    ON,
    Entry,
    Secret,
    SettingError,
    Settings,
    dest,
    table,
)

Option = Callable[[str], Any]
"""Returns a raw value by the name of an option or ini value: ``config.getoption``, ``ini_reader(config)``."""


class Resolved:
    """Settings, the source of each by its name, and one sentence about each value that is invalid.

    A source is an option, a variable, an ini value or ``default``.
    """

    def __init__(self, settings: Settings, sources: Mapping[str, str], problems: list[str]) -> None:
        self.settings = settings
        self.sources = sources
        self.problems = problems


def ini_reader(config: Any) -> Callable[[str], Any]:
    """Return a function that reads an ini value of pytest's ``config`` as it is written, with any type.

    In native TOML, pytest's own ``getini`` rejects a number for a text, and its types differ by version.
    """

    def read(name: str) -> Any:
        try:
            return config.getini(name)
        except Exception:  # of pytest, for a value of another type than it expects
            written = getattr(config, "_inicfg", {}).get(name)
            return getattr(written, "value", written)

    return read


def is_on(option: Option, environ: Mapping[str, str], ini: Option) -> bool:
    """Return whether a run reports, or would if its settings were valid. Every pytest run calls this."""
    if is_disabled(option, environ):
        return False
    if _is_written(option("tms_url")) or _is_written(environ.get("TMS_URL")) or _is_written(ini("tms_url")):
        return True
    for raw in (option("tms_offline"), environ.get(OFFLINE_ENV), ini("tms_offline")):
        if _is_written(raw):
            return str(raw).strip().lower() not in OFF
    return False


def is_disabled(option: Option, environ: Mapping[str, str]) -> bool:
    """Return whether reporting is switched off, regardless of the other settings."""
    return bool(option("no_tms")) or environ.get("TMS_DISABLED", "").strip().lower() in ON


def is_required(option: Option, environ: Mapping[str, str], ini: Option) -> bool:
    """Return whether the run must report; an invalid value counts as yes."""
    if option("tms_required"):
        return True
    raw = environ.get("TMS_REQUIRED") or ini("tms_required") or "0"
    return str(raw).strip().lower() not in OFF


def resolve(option: Option, environ: Mapping[str, str], ini: Option) -> Resolved:
    """Read every setting from the first source that has a valid value.

    The order is command line, environment, ini value, default. An empty value counts as absent; an invalid
    one is described in ``problems``, and the next source counts.
    """
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    problems: list[str] = []
    for name, entry in table():
        values[name], sources[name] = entry.default, "default"
        for source, raw in _written(entry, option, environ, ini):
            try:
                values[name] = _read(raw, entry, source, problems)
            except SettingError as error:
                problems.append(str(error))
            else:
                sources[name] = source
                break
    try:
        token, sources["token"] = read_token(environ)
    except SettingError as error:
        problems.append(str(error))
        token, sources["token"] = Secret(), "default"
    webhook_token = environ.get("TMS_WEBHOOK_TOKEN", "").strip()
    sources["webhook_token"] = "TMS_WEBHOOK_TOKEN" if webhook_token else "default"
    settings = Settings(**values, token=token, webhook_token=Secret(webhook_token))
    return Resolved(settings, sources, problems)


def _written(
    entry: Entry, option: Option, environ: Mapping[str, str], ini: Option
) -> Iterator[tuple[str, Any]]:
    """Yield each source that has a value, with that value, the first source first."""
    if entry.option and _is_written(raw := option(dest(entry.option))) and raw is not False:
        yield entry.option, raw
    if entry.env and _is_written(raw := environ.get(entry.env)):
        yield entry.env, raw
    if entry.ini and _is_written(raw := ini(entry.ini)):
        yield entry.ini, raw


def _is_written(raw: Any) -> bool:
    if isinstance(raw, str):
        return bool(raw.strip())
    return raw is not None and raw not in ([], (), {})


def _read(raw: Any, entry: Entry, source: str, problems: list[str]) -> Any:
    """Return the value of a raw one; raise SettingError if it is invalid."""
    if entry.kind == "flag":
        return _flag(raw, source)
    if entry.kind == "number":
        return _number(raw, source)
    if entry.kind in ("words", "lines", "pairs"):
        return _list(raw, entry.kind, source, problems)
    word = str(raw).strip().lower() if isinstance(raw, (str, int)) else ""
    if entry.env == OFFLINE_ENV and word in (*ON, *OFF):
        return OFFLINE if word in ON else ""
    if isinstance(raw, bool) or not isinstance(raw, (str, int, float)):
        raise SettingError(f"{source} is {_shown(raw)}: write a text in quotes")
    text = str(raw).strip()
    if entry.choices and text not in entry.choices:
        raise SettingError(f"{source} is {_shown(raw)}: write one of {', '.join(entry.choices)}")
    return text


def _flag(raw: Any, source: str) -> bool:
    word = str(raw).strip().lower()
    if word not in (*ON, *OFF):
        raise SettingError(f"{source} is {_shown(raw)}: write 1 or 0")
    return word in ON


def _number(raw: Any, source: str) -> int:
    try:
        number = 0 if isinstance(raw, bool) else int(raw)
        is_whole = isinstance(raw, str) or number == raw
    except (ValueError, TypeError, OverflowError):
        number, is_whole = 0, False
    if not (is_whole and 1 <= number <= MAX_NUMBER):
        raise SettingError(f"{source} is {_shown(raw)}: write a whole number from 1 to {MAX_NUMBER}")
    return number


def _list(raw: Any, kind: str, source: str, problems: list[str]) -> tuple[str, ...]:
    """Return the items of a list, without those that are invalid."""
    if isinstance(raw, str):
        raw = raw.split() if kind == "words" else raw.splitlines()
    elif isinstance(raw, dict) and kind == "pairs":
        raw = [f"{key}={value}" for key, value in raw.items()]
    elif not isinstance(raw, (list, tuple)):
        raise SettingError(f"{source} is {_shown(raw)}: write a list of texts")
    items = []
    for item in raw:
        text = str(item) if kind == "lines" else str(item).strip()
        if isinstance(item, (list, dict)) or (kind == "pairs" and not text.partition("=")[1]):
            wanted = "KEY=VALUE" if kind == "pairs" else "a text"
            problems.append(f"{source} has {_shown(item)}: write {wanted}")
        elif text.strip():
            items.append(text)
    return tuple(items)


def _shown(raw: Any) -> str:
    text = repr(raw)
    return text if len(text) <= 80 else f"{text[:79]}…"


def read_token(environ: Mapping[str, str]) -> tuple[Secret, str]:
    """Return the API token and its source.

    Raises:
        SettingError: it cannot be read or is not a token.
    """
    source = "TMS_API_TOKEN"
    token = environ.get(source, "").strip()
    path = environ.get("TMS_API_TOKEN_FILE", "").strip()
    if not token and path:
        source = "TMS_API_TOKEN_FILE"
        try:
            token = Path(path).read_text(encoding="utf-8-sig").strip()
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not text"
            raise SettingError(
                f"{source} cannot be read: {reason}, {path}; name a file that holds the token alone"
            ) from None
        if not token:
            raise SettingError(f"{source} names an empty file, {path}: write the token to it")
    if not token:
        return Secret(), "default"
    if not token.isascii() or not token.isprintable() or " " in token:
        raise SettingError(
            f"{source} does not hold a token: it has spaces, line breaks or characters outside ASCII; "
            "write the token alone"
        )
    return Secret(token), source
