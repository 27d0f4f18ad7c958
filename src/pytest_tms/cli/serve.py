"""The command `tms serve`."""

from __future__ import annotations

import logging
import os
import shlex
import stat
import sys
from pathlib import Path
from typing import Any

import click

from pytest_tms.cli.options import database_options, other_variables, server_options
from pytest_tms.server.settings import table

NOT_LOCAL = ("trusted_issuers", *(each.name for each in table() if each.name.startswith("oidc_")))
"""Settings about other users, which the local server does not have."""
FIRST_TOKEN = "first-token"  # noqa: S105  # the name of a file
"""File in the data directory with the first token, if standard output is not a terminal."""


@click.command(epilog=other_variables())
@server_options("host", "port", "artifacts_url", "public_url", "workers", "keep_alive", "tls_cert", "tls_key")
@click.option("--local", is_flag=True, hidden=True, help="Stop when no pytest session uses the server.")
@database_options
def serve(
    host: str | None,
    port: int | None,
    artifacts_url: str | None,
    public_url: str | None,
    workers: int | None,
    keep_alive: int | None,
    tls_cert: str | None,
    tls_key: str | None,
    local: bool,
    data_dir: Path | None,
    database_url: str | None,
) -> None:
    """Run the test management system until Ctrl-C."""
    from pytest_tms.server import listeners, serving
    from pytest_tms.server.operation import logs
    from pytest_tms.server.services import encryption
    from pytest_tms.server.settings import ServerSettings
    from pytest_tms.server.store.database import Database
    from pytest_tms.server.store.object_store import ObjectStore
    from pytest_tms.server.webhooks.encryption import SecretEncryption

    if local:  # the settings of the environment are for a server that others use
        host, public_url, workers, tls_cert, tls_key = "127.0.0.1", "", 1, "", ""
    not_local: dict[str, Any] = dict.fromkeys(NOT_LOCAL, "") if local else {}
    settings = ServerSettings.read(
        host=host,
        port=port,
        artifacts_url="" if local else artifacts_url,
        public_url=public_url,
        workers=workers,
        keep_alive=keep_alive,
        tls_cert=tls_cert,
        tls_key=tls_key,
        log_format="text" if local else None,
        access_log=False if local else None,
        shutdown_delay=0 if local else None,
        data_dir=data_dir,
        database_url=database_url,
        rate_limits="off" if local else None,
        redis_url="" if local else None,
        encrypt=False if local else None,
        **not_local,
    )
    settings.check()
    if not local:
        for name, similar in ServerSettings.unknown_variables():
            meant = f": did you mean {similar}?" if similar else ": `tms serve --help` lists the settings"
            click.echo(f"note  {name} is not a setting{meant}", err=True)
    listeners.check_tls(settings)
    settings.prepare()
    database = Database(settings.database, encryption.data_cipher(settings))
    database.upgrade(settings.data_dir)
    SecretEncryption(settings.keys, settings.data_dir).check(database)
    encryption.check(database)
    ObjectStore(settings.artifacts_url, settings.data_dir)  # here, since a worker that cannot is restarted
    sock = listeners.listen(settings, any_port=local)
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    root = (
        settings.public_url or f"{'https' if settings.tls_cert else 'http'}://{host}:{sock.getsockname()[1]}"
    )
    if local:
        serving.serve_local(settings, database, sock, f"{root}/api")
        return
    if logs.writes_json(settings):
        logs.configure(settings)
        logging.getLogger("pytest_tms.server").info(
            "listening at %s/api", root, extra={"fields": {"database": database.describe()}}
        )
    click.echo(f"TMS   {root}/api")
    click.echo(f"data  {database.describe()}")
    if sys.stdout.isatty() and not _is_in_container():
        serving.create_first_token(
            database,
            lambda text: click.echo(f"token {text}  (shown only once: export TMS_API_TOKEN={text})"),
        )
    else:  # the output may be a log, which would keep the token
        file = settings.data_dir / FIRST_TOKEN
        if serving.create_first_token(database, lambda text: _write_private(file, text)):
            click.echo(
                f"token in {file}, which only its owner can read: delete the file after you have read it"
            )
    if settings.workers > 1 and settings.rate_limits != "off" and not settings.redis_url:
        click.echo(
            "note  each worker counts rate limits separately: set TMS_SERVER_REDIS_URL to share them",
            err=True,
        )
    if warning := _access_warning(settings.data_dir):
        click.echo(f"note  {warning}", err=True)
    serving.serve(settings, database, sock)


def _access_warning(folder: Path) -> str:
    """Return what other users may do in a data dir and how to prevent it; empty if it is private.

    A volume of Kubernetes belongs to root, and the server uses it by its group: only others must not write.
    """
    status = folder.stat()
    is_own = status.st_uid == os.geteuid()
    granted = status.st_mode & (0o077 if is_own else 0o002)
    if not granted:
        return ""
    verb = "write to" if granted & 0o022 else "read"
    return (
        f"other users may {verb} the data dir {folder} (mode {stat.S_IMODE(status.st_mode):o}), which has "
        f"the secrets of the server: run chmod {'700' if is_own else 'o-w'} {shlex.quote(str(folder))}"
    )


def _is_in_container() -> bool:
    """Return whether this is the main process of a container, whose terminal is logged as well."""
    return os.getpid() == 1 or os.getppid() == 1 or "KUBERNETES_SERVICE_HOST" in os.environ


def _write_private(file: Path, text: str) -> None:
    """Write a file that only its owner can read."""
    file.unlink(missing_ok=True)
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as output:
        output.write(f"{text}\n")
