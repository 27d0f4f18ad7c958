"""Write the Alembic revision that brings the last schema to the tables of the code (`make migration`)."""

from __future__ import annotations

import argparse
import tempfile
import warnings
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import Script, ScriptDirectory

from pytest_tms.server.store import migrations
from pytest_tms.server.store.database import Database


def new_migration(message: str) -> Path:
    """Write the next revision and return its file.

    The tables of ``store/tables.py`` are compared with those of a new SQLite database that has all earlier
    revisions. The revision's body is empty if they are the same.

    Parameters:
        message: what the revision does, in the imperative: its docstring and part of the file's name.
    """
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent).replace("%", "%%"))
    config.set_main_option("file_template", "%%(rev)s_%%(slug)s")
    revisions = ScriptDirectory.from_config(config).walk_revisions()
    number = max((int(each.revision) for each in revisions), default=0) + 1  # not always the last one's
    with tempfile.TemporaryDirectory() as folder:
        database = Database(f"sqlite:///{folder}/tms.sqlite3")
        database.upgrade(Path(folder))
        with database.write() as connection, warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*expression-based index")  # SQLAlchemy reads none on SQLite
            config.attributes["connection"] = connection
            written = command.revision(config, message, autogenerate=True, rev_id=f"{number:04d}")
        database.close()
    assert isinstance(written, Script)
    return Path(written.path)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("message", help="what the revision does, such as 'add the owner of an execution'")
    given = parser.parse_args().message.strip().rstrip(".")
    if not given:
        parser.error('the message is empty: use make migration m="add the owner of an execution"')
    new_migration(given[0].upper() + given[1:])
