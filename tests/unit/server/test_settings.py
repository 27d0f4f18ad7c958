"""The settings of the server: one table, its validation, and the reference that is made from it."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from pytest_tms.server.domain.link_patterns import LinkPatterns
from pytest_tms.server.domain.people import parse_roles
from pytest_tms.server.domain.retention import parse_retention
from pytest_tms.server.domain.trusted_issuers import read_trusted_issuers
from pytest_tms.server.settings import ServerSettings, table

PAGE = Path(__file__).parents[3] / "docs" / "server-settings.md"
TRUSTED = Path(__file__).parents[3] / "examples" / "ci" / "trusted-issuers.toml"
VALUES: dict[str, tuple[str, Any]] = {
    "host": ("0.0.0.0", "0.0.0.0"),
    "port": ("0", 0),
    "data_dir": ("/data", Path("/data")),
    "database_url": ("sqlite:///x", "sqlite:///x"),
    "artifacts_url": ("s3://bucket/tms", "s3://bucket/tms"),
    "artifact_limit": ("1", 1),
    "artifact_execution_limit": ("2", 2),
    "artifact_total_limit": ("3", 3),
    "public_url": ("https://tms.example.com/", "https://tms.example.com"),
    "workers": ("4", 4),
    "keep_alive": ("0", 0),
    "tls_cert": ("cert.pem", "cert.pem"),
    "tls_key": ("key.pem", "key.pem"),
    "trusted_proxies": ("10.0.0.5", "10.0.0.5"),
    "shutdown_delay": ("20", 20),
    "log_format": ("json", "json"),
    "access_log": ("0", False),
    "metrics_token": ("0123456789abcdef", "0123456789abcdef"),
    "suites": ("a, b,", ("a", "b")),
    "environments": ("dev,staging", ("dev", "staging")),
    "keys": ("a,b", "a,b"),
    "trusted_issuers": (
        str(TRUSTED),
        read_trusted_issuers(str(TRUSTED)).completed("https://tms.example.com"),
    ),
    "encrypt": ("1", True),
    "oidc_issuer": ("https://id.example.com", "https://id.example.com"),
    "oidc_client_id": ("tms", "tms"),
    "oidc_client_secret": ("", ""),
    "oidc_client_secret_file": (__file__, __file__),
    "oidc_roles_claim": ("groups", "groups"),
    "oidc_roles": ("viewer=a, admin=b", parse_roles("viewer=a, admin=b")),
    "oidc_scopes": ("openid", "openid"),
    "token_grace": ("0", 0),
    "rate_limits": ("off", "off"),
    "redis_url": ("", ""),
    "shard_silence": ("0", 0),
    "run_key_wait": ("5", 5),
    "auto_quarantine": ("20", 20),
    "retention": ("results=90d", parse_retention("results=90d")),
    "link_patterns": (
        r"TC-\d+=https://tests.example.com/{0}",
        LinkPatterns(r"TC-\d+=https://tests.example.com/{0}"),
    ),
    "progress_interval": ("1", 1),
    "webhook_rate": ("0", 0),
    "allow_insecure_webhooks": ("1", True),
    "public_badges": ("1", True),
    "webhook_subnets": ("10.1.0.0/16, fd00::/8", ("10.1.0.0/16", "fd00::/8")),
}
"""For each setting the text of its variable and the value."""


def test_each_variable_sets_its_setting_and_is_passed_on_to_workers() -> None:
    assert VALUES.keys() == {field.name for field in fields(ServerSettings)}
    settings = ServerSettings.read({f"TMS_SERVER_{name.upper()}": text for name, (text, _) in VALUES.items()})
    assert {name: getattr(settings, name) for name in VALUES} == {
        name: value for name, (_, value) in VALUES.items()
    }
    assert ServerSettings.read(settings.environ()) == settings


def test_an_option_has_priority_and_an_empty_value_stands_for_the_default() -> None:
    environ = {"TMS_SERVER_PORT": "1", "TMS_SERVER_PUBLIC_URL": "https://x.example", "TMS_SERVER_HOST": ""}
    settings = ServerSettings.read(environ, port=2, public_url="", host=None)
    assert (settings.port, settings.public_url, settings.host) == (2, "", "127.0.0.1")


@pytest.mark.parametrize(
    ("variable", "text", "message"),
    [
        ("PORT", "65536", "is '65536': use a whole number from 0 to 65535"),
        ("PORT", "8e3", "is '8e3': use a whole number from 0 to 65535"),
        *(
            (
                "PORT",
                text,
                f"is {text!r}, which Kubernetes sets for a service named tms-server: set enableServiceLinks: "
                "false in the spec of the pod, or set TMS_SERVER_PORT to the port yourself",
            )
            for text in ("tcp://10.0.0.1:8080", "udp://[fd00::1]:53")
        ),
        ("LOG_FORMAT", "xml", "is 'xml': use auto, text or json"),
        ("WORKERS", "0", "is '0': use a whole number from 1 to 1000"),
        ("ALLOW_INSECURE_WEBHOOKS", "yes", "is 'yes': use 1 for yes or 0 for no"),
        *(
            (
                "PUBLIC_URL",
                text,
                f"is {text!r}: use the http or https URL under which users reach the server, such as "
                "https://tms.example.com",
            )
            for text in (
                "tms.example.com",
                "ftp://x",
                "http://",
                "http://[",
                "http://x:y",
                "https://me@x",
                "http://x?y",
                "http://x y",
            )
        ),
        ("SUITES", ",,", "is ',,': write one or more names, separated by commas"),
        ("ENVIRONMENTS", " ", "is ' ': write one or more names, separated by commas"),
        (
            "TRUSTED_PROXIES",
            "127.0.0.1,proxy",
            "is '127.0.0.1,proxy': 'proxy' does not appear to be an IPv4 or IPv6 network; use addresses and "
            "subnets separated by commas, such as 10.0.0.5,10.1.0.0/16",
        ),
        (
            "WEBHOOK_SUBNETS",
            "10.1.0.0/16,10.1.2.3/16",
            "is '10.1.0.0/16,10.1.2.3/16': 10.1.2.3/16 has host bits set; use subnets separated by commas, "
            "such as 10.1.0.0/16",
        ),
    ],
)
def test_an_error_names_the_variable_its_value_and_what_is_allowed(
    variable: str, text: str, message: str
) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(f'TMS_SERVER_{variable} {message}')}$"):
        ServerSettings.read({f"TMS_SERVER_{variable}": text})


def test_variables_that_are_no_settings_are_found_with_a_similar_one() -> None:
    environ = {
        "TMS_SERVER_DATABSE_URL": "x",
        "TMS_SERVER_COLOUR": "x",
        "TMS_SERVER_DATABASE_URL": "x",
        "TMS_SERVER_PYTHON": "x",
        "TMS_SERVER_SERVICE_HOST": "10.0.0.1",
        "TMS_SERVER_PORT_8080_TCP": "tcp://10.0.0.1:8080",
        "TMS_TOKEN": "x",
    }
    assert list(ServerSettings.unknown_variables(environ)) == [
        ("TMS_SERVER_COLOUR", ""),
        ("TMS_SERVER_DATABSE_URL", "TMS_SERVER_DATABASE_URL"),
    ]


def test_the_repr_shows_no_secret() -> None:
    settings = ServerSettings(
        database_url="s3cret", keys="s3cret", redis_url="s3cret", metrics_token="s3cret"
    )
    assert "s3cret" not in repr(settings)


def reference() -> str:
    """Return the table of docs/server-settings.md."""
    rows = ["| variable | option | default | value |", "| --- | --- | --- | --- |"]
    for setting in table():
        option = f"`{setting.option}`" if setting.option else ""
        default = setting.shown_default or (f"`{setting.default_text}`" if setting.default_text else "")
        cells = [f"`{setting.variable}`", option, default, setting.text]
        rows.append("| " + " | ".join(cells).replace("|  |", "| |").replace("|  |", "| |") + " |")
    return "\n".join(rows)


def test_the_reference_is_made_from_the_table() -> None:
    assert f"\n\n{reference()}\n\n" in PAGE.read_text(encoding="utf-8")
