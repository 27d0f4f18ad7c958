"""The table of settings: from it come options, ini values, resolution and documentation.

Every pytest run loads this: standard library only.
"""

from __future__ import annotations

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
    """A setting's value is invalid; the message has its source, the value and what is allowed."""


class Secret:
    """A text that is not shown in ``repr``, ``str`` and the locals of a traceback."""

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
        "'local' starts (or finds) the local server",
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
    project: str = _setting(
        "",
        "name of the project; by default that of the repository, from CI or git",
        env="TMS_PROJECT",
        ini="tms_project",
    )
    execution: str = _setting(
        "",
        "attach to an execution instead of creating one",
        option="--tms-execution",
        metavar="ID",
        env="TMS_EXECUTION_ID",
    )
    run_key: str = _setting(
        "",
        "jobs with the same key, suite and environment share one execution; if a shard is named in CI, the "
        "default is a key of the CI run; 'none' switches it off",
        option="--tms-run-key",
        metavar="KEY",
        env="TMS_RUN_KEY",
    )
    shard: str = _setting(
        "",
        "this process is shard I (from 1) of N and runs only its part; "
        "a name alone names the shard, and runs all tests or those from a queue",
        option="--tms-shard",
        metavar="I/N",
        env="TMS_SHARD",
        ini="tms_shard",
    )
    split: str = _setting(
        "duration",
        "how shards divide the tests: 'duration' by those of earlier runs, if the shards share an execution "
        "and the TMS knows them, else by number; 'count' always by number; 'queue' while they run, as each "
        "shard takes its next tests from the TMS",
        option="--tms-split",
        metavar="MODE",
        env="TMS_SPLIT",
        ini="tms_split",
        choices=("duration", "count", "queue"),
    )
    rerun: str = _setting(
        "auto",
        "which tests of a shard run: 'failed' leaves out those that passed or were skipped before in its "
        "execution, 'all' none; 'auto' is 'failed' from the second attempt of a CI run on",
        option="--tms-rerun",
        metavar="WHAT",
        env="TMS_RERUN",
        choices=("auto", "failed", "all"),
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
    quarantine: str = _setting(
        "on",
        "'off': failures of tests in quarantine fail the run, as those of other tests do",
        option="--tms-quarantine",
        metavar="MODE",
        env="TMS_QUARANTINE",
        ini="tms_quarantine",
        choices=("on", "off"),
    )
    detect_flaky: int = _setting(
        0,
        "run each new or changed test N times, to find out whether it is flaky; off if unset",
        kind="number",
        option="--tms-detect-flaky",
        metavar="N",
        env="TMS_DETECT_FLAKY",
        ini="tms_detect_flaky",
    )
    detect_flaky_budget: int = _setting(
        300,
        "seconds that the repeats of --tms-detect-flaky may take in each process that runs tests",
        kind="number",
        ini="tms_detect_flaky_budget",
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
    annotations: bool = _setting(
        False,
        "in GitHub Actions, print an error annotation for each of the first 10 failed tests",
        kind="flag",
        ini="tms_annotations",
    )
    upload: str = _setting(
        "failed",
        "files that are uploaded: 'failed' for those of tests that failed, also in an attempt, 'all', 'none'",
        ini="tms_upload",
        choices=("failed", "all", "none"),
    )
    upload_limit: int = _setting(
        50, "MB of the largest file that is uploaded", kind="number", ini="tms_upload_limit"
    )
    artifacts: tuple[str, ...] = _setting(
        (),
        "patterns of further files, relative to the root folder, that are uploaded at the end of the run",
        kind="words",
        ini="tms_artifacts",
    )
    mask: tuple[str, ...] = _setting(
        (),
        "regular expressions, one per line: what they match is masked, in addition to known secrets",
        kind="lines",
        ini="tms_mask",
    )
    token: Secret
    webhook_token: Secret

    def __init__(self, **values: Any) -> None:
        self.__dict__.update(values)


def table() -> list[tuple[str, Entry]]:
    """Return every setting with an option or ini value, by name, in the order of the help text."""
    return [(name, entry) for name, entry in vars(Settings).items() if isinstance(entry, Entry)]


def dest(option: str) -> str:
    """Return the name under which pytest keeps an option's value."""
    return option.lstrip("-").replace("-", "_")
