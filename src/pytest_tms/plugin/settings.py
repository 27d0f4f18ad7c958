"""The settings of the pytest half: one table, from which options, ini values, resolution and docs are made.

A value comes from the command line, else the environment, else pytest's ini file, else its default;
``resolve`` also says which of them it was. Every pytest run loads this: the standard library only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

Kind = Literal["text", "flag", "number", "words", "lines", "pairs"]


OFFLINE = ".tms/offline"
"""Where ``--tms-offline`` without a folder writes."""


class SettingError(ValueError):
    """A setting's value cannot be used; the message says which, where it came from and what to write."""


class Secret:
    """A text that does not show: neither in ``repr``, ``str`` nor in a traceback's locals."""

    __slots__ = ("_text",)

    def __init__(self, text: str = "") -> None:
        self._text = text

    def __repr__(self) -> str:
        return "********" if self._text else "(none)"

    def __bool__(self) -> bool:
        return bool(self._text)

    def reveal(self) -> str:
        """The text itself, for the moment of its use."""
        return self._text


class Entry:
    """Where one setting may be written, how it reads, and its default."""

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


def _setting(default: Any, text: str, **where: Any) -> Any:
    """An entry, typed as the value that takes its place in an instance."""
    return Entry(default, text, **where)


class Settings:
    """The settings of one run. The names are those of docs/settings.md.

    On the class each name is its Entry, on an instance its value: a dataclass would cost every pytest
    run, reporting or not, two milliseconds.
    """

    url: str = _setting(
        "",
        "base URL of the TMS, /api included; its presence turns reporting on. "
        "'local' finds or starts the embedded server",
        option="--tms-url",
        metavar="URL",
        env="TMS_URL",
        ini="tms_url",
    )
    suite: str = _setting(
        "all",
        "the execution's testSuite",
        option="--tms-suite",
        metavar="NAME",
        env="TMS_SUITE",
        ini="tms_suite",
    )
    environment: str = _setting(
        "dev",
        "the execution's environment",
        option="--tms-environment",
        metavar="NAME",
        env="TMS_ENVIRONMENT",
        ini="tms_environment",
    )
    execution: str = _setting(
        "",
        "attach to this execution instead of creating one",
        option="--tms-execution",
        metavar="ID",
        env="TMS_EXECUTION_ID",
    )
    shard: str = _setting(
        "",
        "this process is shard I of the execution (I/N: of N)",
        option="--tms-shard",
        metavar="I/N",
        env="TMS_SHARD",
        ini="tms_shard",
    )
    meta: tuple[str, ...] = _setting(
        (),
        "more metadata of the execution; repeatable",
        kind="pairs",
        option="--tms-meta",
        metavar="KEY=VALUE",
        ini="tms_meta",
    )
    offline: str = _setting(
        "",
        "send nothing: write what would be sent to DIR (.tms/offline), for `tms replay`",
        option="--tms-offline",
        metavar="[DIR]",
        env="TMS_OFFLINE",
        ini="tms_offline",
    )
    required: bool = _setting(
        False,
        "the run fails (exit 1) where results could not be delivered",
        kind="flag",
        option="--tms-required",
        env="TMS_REQUIRED",
        ini="tms_required",
    )
    disabled: bool = _setting(
        False,
        "no reporting, whatever else says so",
        kind="flag",
        option="--no-tms",
        env="TMS_DISABLED",
    )
    provider: str = _setting("pytest", "the execution's provider", ini="tms_provider")
    trigger: str = _setting(
        "api",
        "the execution's triggerSource",
        ini="tms_trigger",
        choices=("api", "manual", "scheduled"),
    )
    timeout: int = _setting(
        1800, "seconds after which the execution has failed", kind="number", ini="tms_timeout"
    )
    deadline: int = _setting(
        15, "seconds that the end of a session may wait for the TMS", kind="number", ini="tms_deadline"
    )
    progress_interval: int = _setting(
        0,
        "seconds between reports of progress: what the TMS asks, or 30",
        kind="number",
        ini="tms_progress_interval",
    )
    payload: str = _setting(
        "full",
        "'documented' leaves out every field that the API document does not name",
        ini="tms_payload",
        choices=("full", "documented"),
    )
    tags: tuple[str, ...] = _setting(
        (),
        "markers that become tags, as patterns; '!name' excludes one. All markers of yours where not set",
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
        (), "regular expressions of what is masked beside known secrets", kind="lines", ini="tms_mask"
    )
    token: Secret
    webhook_token: Secret

    def __init__(self, **values: Any) -> None:
        self.__dict__.update(values)


def table() -> list[tuple[str, Entry]]:
    """Every setting that users type, by name, in the order of the help text."""
    return [(name, entry) for name, entry in vars(Settings).items() if isinstance(entry, Entry)]


class Resolved:
    """Settings, and for each name the option, variable or ini value that it came from, or ``default``."""

    def __init__(self, settings: Settings, sources: Mapping[str, str]) -> None:
        self.settings = settings
        self.sources = sources


def is_on(option: Callable[[str], Any], environ: Mapping[str, str], ini: Callable[[str], Any]) -> bool:
    """Whether a run reports at all: the cheapest question, asked in every pytest run."""
    wanted = (
        (option("tms_url") or environ.get("TMS_URL") or ini("tms_url"))
        or option("tms_offline")
        or environ.get("TMS_OFFLINE")
        or ini("tms_offline")
    )
    return bool(wanted) and not (option("no_tms") or _flag(environ.get("TMS_DISABLED", ""), "TMS_DISABLED"))


def resolve(option: Callable[[str], Any], environ: Mapping[str, str], ini: Callable[[str], Any]) -> Resolved:
    """Read every setting from where it is written first: command line, environment, ini, default.

    ``option`` and ``ini`` are pytest's ``config.getoption`` and ``config.getini``. An empty value counts as
    not written. Raises SettingError for the first value that cannot be used.
    """
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for name, entry in table():
        written = [
            (entry.option, option(dest(entry.option)) if entry.option else None),
            (entry.env, environ.get(entry.env) if entry.env else None),
            (entry.ini, ini(entry.ini) if entry.ini else None),
        ]
        source, raw = next(((source, raw) for source, raw in written if raw), ("default", entry.default))
        sources[name] = source
        values[name] = entry.default if source == "default" else _read(raw, entry, source)
    if values["offline"].lower() in ("1", "true", "yes", "on"):
        values["offline"] = OFFLINE
    token, sources["token"] = read_token(environ)
    webhook_token = environ.get("TMS_WEBHOOK_TOKEN", "").strip()
    sources["webhook_token"] = "TMS_WEBHOOK_TOKEN" if webhook_token else "default"
    return Resolved(Settings(**values, token=token, webhook_token=Secret(webhook_token)), sources)


def dest(option: str) -> str:
    """The name under which pytest keeps an option's value."""
    return option.lstrip("-").replace("-", "_")


def _read(raw: Any, entry: Entry, source: str) -> Any:
    if entry.kind == "flag":
        return raw if isinstance(raw, bool) else _flag(raw, source)
    if entry.kind == "number":
        try:
            number = int(raw)
        except ValueError:
            number = 0
        if number < 1:
            raise SettingError(f"{source} is {raw!r}: write a whole number above zero")
        return number
    if entry.kind == "lines":
        return tuple(line for line in (raw.splitlines() if isinstance(raw, str) else raw) if line)
    if entry.kind in ("words", "pairs"):
        words = tuple(raw.split() if isinstance(raw, str) else raw)
        for word in words:
            if entry.kind == "pairs" and not word.partition("=")[1]:
                raise SettingError(f"{source} is {word!r}: write KEY=VALUE")
        return words
    if entry.choices and raw not in entry.choices:
        raise SettingError(f"{source} is {raw!r}: write one of {', '.join(entry.choices)}")
    return raw.strip()


def _flag(text: str, source: str) -> bool:
    word = text.strip().lower()
    if word in ("1", "true", "yes", "on"):
        return True
    if word in ("", "0", "false", "no", "off"):
        return False
    raise SettingError(f"{source} is {text!r}: write 1 or 0")


def read_token(environ: Mapping[str, str]) -> tuple[Secret, str]:
    """The API token and where it came from. Raises SettingError where its file cannot be read."""
    if token := environ.get("TMS_API_TOKEN", "").strip():
        return Secret(token), "TMS_API_TOKEN"
    if path := environ.get("TMS_API_TOKEN_FILE", ""):
        try:
            return Secret(Path(path).read_text(encoding="utf-8").strip()), "TMS_API_TOKEN_FILE"
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not text"
            raise SettingError(f"TMS_API_TOKEN_FILE cannot be read: {reason}, {path}") from None
    return Secret(), "default"
