"""Settings of the server: the one table that variables, options, validation and documentation come from.

Each field of ``ServerSettings`` is one setting. Its variable is ``TMS_SERVER_`` and the name in capitals.
Some are also options of ``tms serve``, which have priority over the variable. The command makes its help
from the table, so this module imports nothing that needs the extra ``server``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pytest_tms import wire
from pytest_tms.server.domain.hosts import is_loopback
from pytest_tms.server.domain.link_patterns import LinkPatterns
from pytest_tms.server.domain.people import RoleMapping
from pytest_tms.server.domain.retention import Retention
from pytest_tms.server.domain.stored_files import StorageLimits
from pytest_tms.server.domain.trusted_issuers import TrustedIssuers
from pytest_tms.server.setting_parsers import (
    PortNumber,
    WholeNumber,
    as_is,
    parse_flag,
    parse_issuer,
    parse_link_patterns,
    parse_log_format,
    parse_metrics_token,
    parse_object_store_url,
    parse_path,
    parse_proxies,
    parse_public_url,
    parse_rate_limits,
    parse_redis_url,
    parse_retention,
    parse_roles,
    parse_subnets,
    parse_trusted_issuers,
    parse_words,
    read_secret,
)

PREFIX = "TMS_SERVER_"
"""The beginning of the names of all variables."""
OTHER_VARIABLES = ("TMS_SERVER_PYTHON",)
"""Variables that are read elsewhere: by the plugin, which starts a local server."""
OF_KUBERNETES = ("TMS_SERVER_SERVICE_", "TMS_SERVER_PORT_")
"""Beginnings of the names of variables that describe a service."""

Parse = Callable[[str, str], Any]
"""A parser: see ``setting_parsers``."""


@dataclass(frozen=True)
class Setting:
    """The declaration of one setting.

    ``text`` completes a row of the reference, in Markdown. ``shown_default`` describes a default that depends
    on the machine or on another setting. ``metavar`` is that of the option; empty if there is no option.
    """

    name: str
    default: Any
    text: str
    parse: Parse
    metavar: str
    shown_default: str

    @property
    def variable(self) -> str:
        """The environment variable."""
        return f"{PREFIX}{self.name.upper()}"

    @property
    def option(self) -> str:
        """The option of ``tms serve``; empty if there is none."""
        return f"--{self.name.replace('_', '-')}" if self.metavar else ""

    @property
    def default_text(self) -> str:
        """The default as the variable would be set to it."""
        return _format(self.default)


def _setting(
    default: Any,
    text: str,
    parse: Parse = as_is,
    *,
    metavar: str = "",
    shown_default: str = "",
    is_secret: bool = False,
) -> Any:
    """Return a dataclass field that declares a setting; a secret is left out of ``repr``."""
    metadata = {"text": text, "parse": parse, "metavar": metavar, "shown_default": shown_default}
    return field(default=default, repr=not is_secret, metadata=metadata)


@dataclass(frozen=True, kw_only=True)
class ServerSettings:
    """How one server runs; ``table`` returns the declarations."""

    host: str = _setting("127.0.0.1", "the address to listen on", metavar="ADDRESS")
    port: int = _setting(8765, "the port; 0 for any free port", PortNumber(), metavar="PORT")
    data_dir: Path = _setting(  # noqa: RUF009  # a path is immutable
        Path(),
        "the folder of the server's files: the encryption key and, without `TMS_SERVER_DATABASE_URL`, "
        "the database",
        parse_path,
        metavar="DIRECTORY",
        shown_default="the user's data folder",
    )
    database_url: str = _setting(
        "",
        "the database, as an SQLAlchemy URL, for example `postgresql+psycopg://tms@db/tms`",
        metavar="URL",
        shown_default="SQLite in the data dir",
        is_secret=True,
    )
    artifacts_url: str = _setting(
        "",
        "where files of tests are stored: `s3://BUCKET/PREFIX`, `gs://…` or `az://…`. Credentials come from "
        "the variables of the provider, such as `AWS_ACCESS_KEY_ID`",
        parse_object_store_url,
        metavar="URL",
        shown_default="the folder `artifacts` in the data dir",
        is_secret=True,
    )
    public_url: str = _setting(
        "",
        "the URL under which users reach the server, used for links",
        parse_public_url,
        metavar="URL",
    )
    workers: int = _setting(1, "the number of server processes", WholeNumber(1, 1000), metavar="NUMBER")
    keep_alive: int = _setting(
        75,
        "seconds for which an idle connection stays open between two requests",
        WholeNumber(0, 86_400),
        metavar="SECONDS",
    )
    tls_cert: str = _setting("", "the certificate for https with its chain, a PEM file", metavar="FILE")
    tls_key: str = _setting("", "the key of the certificate, a PEM file without a password", metavar="FILE")
    trusted_proxies: str = _setting(
        "127.0.0.1,::1",
        "addresses and subnets of proxies whose `X-Forwarded-For` and `X-Forwarded-Proto` are trusted",
        parse_proxies,
    )
    shutdown_delay: int = _setting(
        0,
        "seconds for which a server continues to serve after SIGTERM, while `/readyz` says that it is "
        "[stopping](operating.md#stop-a-server)",
        WholeNumber(0, 3600),
    )
    log_format: str = _setting(
        "auto",
        "the format of [logs](operating.md#logs): `text`, `json`, or `auto` for text on a terminal and JSON "
        "otherwise",
        parse_log_format,
    )
    access_log: bool = _setting(True, "`0` leaves requests out of the log", parse_flag)
    metrics_token: str = _setting(
        "",
        "the Bearer token that [`/metrics`](operating.md#metrics) requires. Without it, only the user of the "
        "server can read them, on the same machine",
        parse_metrics_token,
        is_secret=True,
    )
    suites: tuple[str, ...] = _setting(wire.SUITES, "the allowed values of `testSuite`", parse_words)
    environments: tuple[str, ...] = _setting(
        wire.ENVIRONMENTS, "the allowed values of `environment`", parse_words
    )
    keys: str = _setting(
        "",
        "the keys that encrypt stored secrets: Fernet keys separated by commas, the newest first. "
        "`tms key create` prints one",
        shown_default="`secrets.key` in the data dir",
        is_secret=True,
    )
    encrypt: bool = _setting(
        False,
        "`1` [encrypts](encryption.md) the results, events, deliveries and files that are stored, with the "
        "newest key of `TMS_SERVER_KEYS`",
        parse_flag,
    )
    artifact_limit: int = _setting(1000, "MB of the largest file of a test", WholeNumber(1, 5_000_000))
    artifact_execution_limit: int = _setting(
        10_000, "MB that the files of one execution may take", WholeNumber(1, 100_000_000)
    )
    artifact_total_limit: int = _setting(
        100_000, "MB that all files may take, equal ones once", WholeNumber(1, 100_000_000)
    )
    trusted_issuers: TrustedIssuers = _setting(  # noqa: RUF009  # it is immutable
        TrustedIssuers(),
        "a TOML file with the [CI jobs that need no API token](ci-without-secrets.md)",
        parse_trusted_issuers,
    )
    oidc_issuer: str = _setting(
        "", "the OpenID provider at which people [log in](login.md), as an https URL", parse_issuer
    )
    oidc_client_id: str = _setting("", "the client ID that the provider gave to this server")
    oidc_client_secret: str = _setting("", "the client secret, if the provider gave one", is_secret=True)
    oidc_client_secret_file: str = _setting("", "a file with the client secret instead")
    oidc_roles_claim: str = _setting(
        "roles", "the claim of the ID token that decides about roles, for example `realm_access.roles`"
    )
    oidc_roles: RoleMapping = _setting(  # noqa: RUF009  # it is immutable
        RoleMapping(),
        "values of this claim and the [roles](login.md#roles) that they give, for example "
        "`viewer=staff, member=developers, admin=tms-admins`",
        parse_roles,
    )
    oidc_scopes: str = _setting(
        "openid profile email", "the scopes that are requested from the provider, separated by spaces"
    )
    token_grace: int = _setting(
        86_400,
        "seconds for which the token of an execution is valid after the execution has ended",
        WholeNumber(0, 366 * 86_400),
    )
    rate_limits: str = _setting("documented", "the [rate limits](limits.md#rate-limits)", parse_rate_limits)
    redis_url: str = _setting(
        "",
        "a Redis in which several server processes count their rate limits together",
        parse_redis_url,
        is_secret=True,
    )
    shard_silence: int = _setting(
        60,
        "seconds without a report after which a shard with live reports is lost; 0 for never",
        WholeNumber(0, 86_400),
    )
    run_key_wait: int = _setting(
        60,
        "seconds for which an execution with a [run key](protocol.md#run-keys) waits for more shards, if no "
        "job declares how many there are",
        WholeNumber(0, 86_400),
    )
    progress_interval: int = _setting(
        30, "seconds between two `execution.progress` webhooks", WholeNumber(0, 86_400)
    )
    webhook_rate: int = _setting(
        10, "deliveries per second to one webhook; 0 for no limit", WholeNumber(0, 100_000)
    )
    auto_quarantine: int = _setting(
        0,
        "the flake rate in percent from which on a test is put into "
        "[quarantine](quarantine.md#let-the-server-decide) for two weeks; 0 for never",
        WholeNumber(0, 100),
    )
    retention: Retention = _setting(  # noqa: RUF009  # it is immutable
        Retention(),
        "[how long results are kept](retention.md), for example `results=90d, events=7d, "
        "keep-branch=main:365d`",
        parse_retention,
        shown_default="for ever",
    )
    link_patterns: LinkPatterns = _setting(  # noqa: RUF009  # it is immutable
        LinkPatterns(),
        "regular expressions of ids that pages link, with their URLs, separated by spaces, for example "
        "`TC-\\d+=https://tests.example.com/{0}`",
        parse_link_patterns,
    )
    allow_insecure_webhooks: bool = _setting(
        False, "`1` allows webhooks to plain http URLs and to the machine of the server", parse_flag
    )
    public_badges: bool = _setting(
        False,
        "`1` shows [badges](ci.md#show-a-badge) with the counts of the latest run of a suite to everybody, "
        "without a login",
        parse_flag,
    )
    webhook_subnets: tuple[str, ...] = _setting(
        (), "private subnets to which webhooks may be sent, separated by commas", parse_subnets
    )

    @classmethod
    def read(cls, environ: Mapping[str, str] = os.environ, **options: Any) -> ServerSettings:
        """Return the settings that the environment and the options set.

        ``options`` are values of options. They have priority over variables unless they are None. An empty
        value stands for the default.

        Raises:
            ValueError: A variable's value is not allowed. The message is one sentence for the operator.
        """
        values: dict[str, Any] = {}
        for setting in table():
            value = options.get(setting.name)
            if value is None and (text := environ.get(setting.variable)):
                value = setting.parse(setting.variable, text)
            elif isinstance(value, str) and value:
                value = setting.parse(f"--{setting.name.replace('_', '-')}", value)
            if value not in (None, "", ()):
                values[setting.name] = value
        settings = cls(**values)
        folder = values.get("data_dir") or _user_data_path()
        return replace(
            settings,
            data_dir=Path(folder).expanduser().absolute(),
            public_url=settings.public_url.rstrip("/"),
            trusted_issuers=settings.trusted_issuers.completed(settings.public_url),
        )

    @staticmethod
    def unknown_variables(environ: Mapping[str, str] = os.environ) -> Iterator[tuple[str, str]]:
        """Yield variables that look like settings and are none, each with the most similar setting or "".

        Kubernetes sets some of them in a namespace with a service that is named ``tms-server``.
        """
        known = {setting.name.upper(): setting.variable for setting in table()}
        for name in sorted(environ):
            is_other = name in (*known.values(), *OTHER_VARIABLES) or name.startswith(OF_KUBERNETES)
            if name.startswith(PREFIX) and not is_other:
                similar = get_close_matches(name.removeprefix(PREFIX), known, 1)
                yield name, known[similar[0]] if similar else ""

    def check(self) -> None:
        """Check that settings about logins and CI jobs belong together, before a server starts.

        Commands that use only the database do without, so that they need not know the server's public URL.

        Raises:
            ValueError: A setting is missing, or contradicts another one.
        """
        try:
            self.trusted_issuers.check(self.environments)
        except ValueError as error:
            raise ValueError(f"TMS_SERVER_TRUSTED_ISSUERS: {error}") from None
        if not self.oidc_issuer:
            if self.oidc_client_id or self.oidc_client_secret or self.oidc_client_secret_file:
                raise ValueError(
                    "TMS_SERVER_OIDC_ISSUER is not set: set it to the URL of the OpenID provider"
                )
            return
        for name, reason in (
            ("oidc_client_id", "the provider knows this server by it"),
            ("oidc_roles", "without it, nobody would have a role"),
            ("public_url", "the provider sends people back to it"),
        ):
            if not str(getattr(self, name)):
                raise ValueError(f"TMS_SERVER_OIDC_ISSUER needs TMS_SERVER_{name.upper()}: {reason}")
        if self.oidc_client_secret and self.oidc_client_secret_file:
            raise ValueError(
                "TMS_SERVER_OIDC_CLIENT_SECRET and TMS_SERVER_OIDC_CLIENT_SECRET_FILE are set: remove one"
            )
        try:
            self.oidc_secret()
        except ValueError as error:
            raise ValueError(f"TMS_SERVER_OIDC_CLIENT_SECRET_FILE: {error}") from None
        if "openid" not in self.oidc_scopes.split():
            raise ValueError(f"TMS_SERVER_OIDC_SCOPES is {self.oidc_scopes!r}: it needs the scope openid")

    def oidc_secret(self) -> str:
        """Return the client secret, from its file if there is one; empty if there is none.

        Raises:
            ValueError: The file cannot be read.
        """
        path = self.oidc_client_secret_file
        return read_secret(path) if path else self.oidc_client_secret

    @property
    def database(self) -> str:
        """The URL of the database."""
        return self.database_url or f"sqlite:///{self.data_dir / 'tms.sqlite3'}"

    @property
    def storage_limits(self) -> StorageLimits:
        """The limits of stored files, in bytes."""
        return StorageLimits(
            self.artifact_limit << 20, self.artifact_execution_limit << 20, self.artifact_total_limit << 20
        )

    @property
    def is_local(self) -> bool:
        """Whether the server listens on a loopback address only."""
        return is_loopback(self.host)

    @property
    def requires_login(self) -> bool:
        """Whether every page requires a login: other machines reach the server, or there is a provider.

        A value of ``trusted_proxies`` other than the default means that a proxy is in front of the server.
        """
        public = urlsplit(self.public_url).hostname or self.host
        is_proxied = self.trusted_proxies != ServerSettings.trusted_proxies
        return bool(self.oidc_issuer) or is_proxied or not (self.is_local and is_loopback(public))

    def prepare(self) -> None:
        """Create the data dir, readable by its owner only.

        Raises:
            OSError: The data dir cannot be created or written to. The message is one sentence.
        """
        try:
            self.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
            (self.data_dir / "upgrade.lock").touch(mode=0o600)
        except OSError as error:
            raise OSError(
                f"the data dir {self.data_dir} cannot be used ({error.strerror}): choose another --data-dir"
            ) from None

    def environ(self) -> dict[str, str]:
        """Return the settings as variables, for uvicorn's worker processes."""
        return {setting.variable: _format(getattr(self, setting.name)) for setting in table()}


def table() -> Iterator[Setting]:
    """Yield the declaration of each setting, in the order of the reference."""
    for each in fields(ServerSettings):
        yield Setting(name=each.name, default=each.default, **each.metadata)


def _format(value: Any) -> str:
    """Return a value as its variable is set to it."""
    if isinstance(value, tuple):
        return ",".join(value)
    return str(int(value) if isinstance(value, bool) else value)


def _user_data_path() -> Path:
    import platformdirs  # a dependency of the extra `server`, without which `tms --help` works too

    return platformdirs.user_data_path("pytest-tms")
