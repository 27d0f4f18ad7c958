"""The settings of the plugin: one table, from which options, ini values, resolution and docs are made.

A value comes from the command line, else the environment, else pytest's configuration file, else its default;
``resolve`` also returns which of them it was. Every pytest run loads this: the standard library only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

Kind = Literal["text", "flag", "number", "words", "lines", "pairs"]


OFFLINE = ".tms/offline"
"""The folder of ``--tms-offline`` without a folder."""
OFFLINE_ENV = "TMS_OFFLINE"
MAX_NUMBER = 1_000_000_000
"""The largest number that a setting takes."""
ON = ("1", "true", "yes", "on")
OFF = ("0", "false", "no", "off")


class SettingError(ValueError):
    """A setting's value cannot be used; the message names its source, the value and what to write."""


class Secret:
    """A text that shows neither in ``repr`` and ``str`` nor in a traceback's locals."""

    __slots__ = ("_text",)

    def __init__(self, text: str = "") -> None:
        self._text = text

    def __repr__(self) -> str:
        return "********" if self._text else "(none)"

    def __bool__(self) -> bool:
        return bool(self._text)

    def reveal(self) -> str:
        """Return the text."""
        return self._text


class Entry:
    """The names of one setting, how its value is read, and its default."""

    def __init__(
        self,
        default: Any,
        text: str,
        *,
        kind: Kind = "text",
        option: str = "",
        metavar: str = "",
        env: str = "",
        ini: str = "",
        choices: tuple[str, ...] = (),
    ) -> None:
        self.default = default
        self.help = text
        self.kind = kind
        self.option = option
        self.metavar = metavar
        self.env = env
        self.ini = ini
        self.choices = choices


def _setting(default: Any, text: str, **names: Any) -> Any:
    """Return an entry, typed as the value that an instance has under its name."""
    return Entry(default, text, **names)


class Settings:
    """The settings of one run. The names are those of docs/settings.md.

    On the class each name is its Entry, on an instance its value: a dataclass would cost every pytest
    run, reporting or not, two milliseconds.
    """

    url: str = _setting(
        "",
        "base URL of the TMS, /api included; its presence turns reporting on. "
        "'local' starts (or finds) the embedded server",
        option="--tms-url",
        metavar="URL",
        env="TMS_URL",
        ini="tms_url",
    )
    suite: str = _setting(
        "all",
        "testSuite of the execution",
        option="--tms-suite",
        metavar="NAME",
        env="TMS_SUITE",
        ini="tms_suite",
    )
    environment: str = _setting(
        "dev",
        "environment of the execution",
        option="--tms-environment",
        metavar="NAME",
        env="TMS_ENVIRONMENT",
        ini="tms_environment",
    )
    execution: str = _setting(
        "",
        "attach to an execution instead of creating one",
        option="--tms-execution",
        metavar="ID",
        env="TMS_EXECUTION_ID",
    )
    shard: str = _setting(
        "",
        "this process is shard I (from 1) of N and runs only its part; "
        "a name alone names the shard and runs everything",
        option="--tms-shard",
        metavar="I/N",
        env="TMS_SHARD",
        ini="tms_shard",
    )
    meta: tuple[str, ...] = _setting(
        (),
        "more metadata; repeatable",
        kind="pairs",
        option="--tms-meta",
        metavar="KEY=VALUE",
        ini="tms_meta",
    )
    offline: str = _setting(
        "",
        "send nothing; write what would be sent to DIR (.tms/offline), for `tms replay`",
        option="--tms-offline",
        metavar="[DIR]",
        env="TMS_OFFLINE",
        ini="tms_offline",
    )
    required: bool = _setting(
        False,
        "the run fails (exit 1) if results were not delivered",
        kind="flag",
        option="--tms-required",
        env="TMS_REQUIRED",
        ini="tms_required",
    )
    disabled: bool = _setting(
        False,
        "do not report, whatever the other settings are",
        kind="flag",
        option="--no-tms",
        env="TMS_DISABLED",
    )
    provider: str = _setting("pytest", "provider of the execution", ini="tms_provider")
    trigger: str = _setting(
        "api",
        "triggerSource of the execution",
        ini="tms_trigger",
        choices=("api", "manual", "scheduled"),
    )
    timeout: int = _setting(
        0,
        "seconds after which the execution fails and the run is stopped; no limit if unset",
        kind="number",
        ini="tms_timeout",
    )
    deadline: int = _setting(
        15, "seconds that the end of a session may wait for the TMS", kind="number", ini="tms_deadline"
    )
    progress_interval: int = _setting(
        0,
        "seconds between reports of progress; if unset as often as the TMS requests, or 30",
        kind="number",
        ini="tms_progress_interval",
    )
    payload: str = _setting(
        "full",
        "'documented' leaves out the fields that the API document does not name",
        ini="tms_payload",
        choices=("full", "documented"),
    )
    tags: tuple[str, ...] = _setting(
        (),
        "markers that become tags, as patterns; '!name' excludes one. All your own markers if unset",
        kind="words",
        ini="tms_tags",
    )
    output_limit: int = _setting(
        100_000,
        "characters of each test's output and traceback that are kept; more is cut in the middle",
        kind="number",
        ini="tms_output_limit",
    )
    mask: tuple[str, ...] = _setting(
        (),
        "regular expressions, one a line: what they match is masked, in addition to known secrets",
        kind="lines",
        ini="tms_mask",
    )
    token: Secret
    webhook_token: Secret

    def __init__(self, **values: Any) -> None:
        self.__dict__.update(values)


def table() -> list[tuple[str, Entry]]:
    """Every setting that users type, by name, in the order of the help text."""
    return [(name, entry) for name, entry in vars(Settings).items() if isinstance(entry, Entry)]


class Resolved:
    """Settings, the source of each by its name, and one sentence about each value that could not be used.

    A source is an option, a variable, an ini value or ``default``.
    """

    def __init__(self, settings: Settings, sources: Mapping[str, str], problems: list[str]) -> None:
        self.settings = settings
        self.sources = sources
        self.problems = problems


def ini_reader(config: Any) -> Callable[[str], Any]:
    """Return a function that reads an ini value of pytest's ``config`` as it is written, of whatever type.

    In native TOML, pytest's own ``getini`` refuses a number for a text, and its types differ by version.
    """

    def read(name: str) -> Any:
        try:
            return config.getini(name)
        except Exception:  # pytest's error of a value whose type it does not expect
            written = getattr(config, "_inicfg", {}).get(name)
            return getattr(written, "value", written)

    return read


def is_on(option: Callable[[str], Any], environ: Mapping[str, str], ini: Callable[[str], Any]) -> bool:
    """Return whether a run reports, or would if its settings were right. Every pytest run calls this."""
    if option("no_tms") or environ.get("TMS_DISABLED", "").strip().lower() in ON:
        return False
    if _is_written(option("tms_url")) or _is_written(environ.get("TMS_URL")) or _is_written(ini("tms_url")):
        return True
    for raw in (option("tms_offline"), environ.get(OFFLINE_ENV), ini("tms_offline")):
        if _is_written(raw):
            return str(raw).strip().lower() not in OFF
    return False


def resolve(option: Callable[[str], Any], environ: Mapping[str, str], ini: Callable[[str], Any]) -> Resolved:
    """Read every setting from the first source that has a usable value.

    The order is command line, environment, ini value, default. ``option`` is ``config.getoption`` and ``ini``
    is ``ini_reader(config)`` of pytest. An empty value counts as not written; one that cannot be used is
    described in ``problems``, and the next source counts.
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


def misspelt(environ: Iterable[str], ini: Iterable[str] = ()) -> list[str]:
    """Return a sentence for each name of a variable or ini value that is like a setting and is not one."""
    return [
        f"{name} is not a setting: write {meant}, if that is meant"
        for name, meant in _unused(environ, ini).items()
        if meant
    ]


def unused(environ: Iterable[str], ini: Iterable[str] = ()) -> list[str]:
    """Return a sentence for each name that begins like a setting and is not like one."""
    return [
        f"{name} is not a setting of pytest-tms: `tms doctor -v` lists all settings"
        for name, meant in _unused(environ, ini).items()
        if not meant
    ]


OTHER_VARIABLES = ("TMS_API_TOKEN", "TMS_API_TOKEN_FILE", "TMS_WEBHOOK_TOKEN", "TMS_WEBHOOK_SECRET")
"""Variables that are read and have no entry in the table."""


def _unused(environ: Iterable[str], ini: Iterable[str]) -> dict[str, str]:
    """Return each name that is not a setting, with what may be meant or an empty text."""
    variables = {name: name for name in OTHER_VARIABLES}
    values: dict[str, str] = {}
    for _, entry in table():
        variables |= {entry.env: entry.env} if entry.env else {}
        values |= {entry.ini: entry.ini} if entry.ini else {}
    # What can be written in one of the two alone is meant by its name in the other.
    in_file = {name.upper(): f"{name} in pytest's configuration file" for name in values}
    in_environ = {name.lower(): name for name in variables}
    found = {
        name: _meant(name.upper(), {**in_file, **variables})
        for name in environ
        if name.upper().startswith("TMS_") and not name.startswith("TMS_SERVER_") and name not in variables
    }
    return found | {
        name: _meant(name, {**in_environ, **values})
        for name in ini
        if name.startswith("tms_") and name not in values
    }


def _meant(name: str, known: Mapping[str, str]) -> str:
    from difflib import SequenceMatcher

    def likeness(other: str) -> float:
        """Return a measure of equal letters and words; a word too many counts less than another word."""
        mine, others = set(name.split("_")[1:]), set(other.split("_")[1:])
        ratio = SequenceMatcher(None, name, other).ratio()
        return ratio + len(mine & others) / len(mine | others) + others.issubset(mine) / 4

    if len(name) > len("TMS_X"):
        for other in known:
            if other.startswith(name):
                return known[other]
    best = max(known, key=likeness)
    return known[best] if likeness(best) >= 0.8 else ""


def dest(option: str) -> str:
    """The name under which pytest keeps an option's value."""
    return option.lstrip("-").replace("-", "_")


def _written(
    entry: Entry, option: Callable[[str], Any], environ: Mapping[str, str], ini: Callable[[str], Any]
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
    """Return the value of what is written; raise SettingError if it cannot be used."""
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
    """Return the items of a list; one that cannot be used is left out."""
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
    shown = repr(raw)
    return shown if len(shown) <= 80 else f"{shown[:79]}…"


def read_token(environ: Mapping[str, str]) -> tuple[Secret, str]:
    """Return the API token and its source. Raises SettingError if it cannot be read or is not a token."""
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
