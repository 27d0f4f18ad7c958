"""The tests of a project: one row for each key, by whose number results name it."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from hashlib import blake2b
from typing import NamedTuple

import msgspec
from sqlalchemy import Connection, bindparam, select, update

from pytest_tms.server.store import bulk, case_links, tables

SEEN_AGAIN = 3_600_000
"""Milliseconds after which ``last_seen`` is written again: not at each result."""


UNSEEN = 7 * 24 * 3_600_000
"""Milliseconds for which a test without results is kept, so that none is deleted while it is being used."""


READ = 2_000
"""Tests that one query reads."""
MAX_SEARCHED = 2_000
"""Characters of a title that are searched."""
NO_TAGS = "[]"
"""The tags of a test that has none."""


class TestIdentity(NamedTuple):
    """How a result names its test: its key over all runs, and its names, which may change.

    ``node_id`` and ``owner`` are empty if they were not sent, ``tags`` is a JSON list, as are the ids of its
    ``cases``.
    """

    key: str
    title: str
    file: str
    node_id: str = ""
    owner: str = ""
    tags: str = NO_TAGS
    cases: str = NO_TAGS


def search_text(names: TestIdentity) -> str:
    """Return the text by which a test is found, in lower case: key, title, file, owner, tags, cases.

    Each is a line. What the key contains is not repeated.
    """
    key = names.key.lower()
    others = [each for each in (names.title[:MAX_SEARCHED].lower(), names.file.lower()) if each not in key]
    tags = [
        each
        for text in (names.tags, names.cases)
        if text != NO_TAGS
        for each in msgspec.json.decode(text, type=list[str])
    ]
    return "\n".join(
        each for each in (key, *others, *(each.lower() for each in (names.owner, *tags))) if each
    )


def identify(connection: Connection, project_id: int, names: Sequence[TestIdentity], now: int) -> list[int]:
    """Return the id of each test, and add those that the project does not have; ``now`` is when they ran."""
    hashes = [blake2b(each.key.encode(), digest_size=16).digest() for each in names]
    known = _find(connection, project_id, hashes)
    if unseen := [(each.id, hashed) for hashed, each in known.items() if each.last_seen + UNSEEN <= now]:
        known = {**known, **_hold(connection, project_id, unseen, now)}
        known = {hashed: each for hashed, each in known.items() if each.last_seen + UNSEEN > now}
    new = {
        hashed: (each, _names_hash(each))
        for each, hashed in zip(names, hashes, strict=True)
        if hashed not in known
    }
    if new:
        _add(connection, project_id, new, now)
        known.update(_find(connection, project_id, list(new)))
    changed = []
    with_cases = {known[hashed].id: each.cases for hashed, (each, _) in new.items() if each.cases != NO_TAGS}
    for each, hashed in zip(names, hashes, strict=True):
        found = known[hashed]
        has_other_names = found.names_hash != _names_hash(each)
        if has_other_names:
            with_cases[found.id] = each.cases
        if has_other_names or found.last_seen + SEEN_AGAIN <= now:
            changed.append((found.id, each))
    if changed:
        _update(connection, changed, now)
    case_links.link(connection, project_id, list(with_cases.items()))
    return [known[hashed].id for hashed in hashes]


def known_hashes(connection: Connection, project_id: int, before: int, limit: int) -> list[bytes]:
    """Return the hashes of the keys of tests that a project had run before a time."""
    test = tables.tests.c
    found: list[bytes] = []
    last = b""
    while len(found) < limit:
        query = select(test.key_hash, test.first_seen).where(
            test.project_id == project_id, test.key_hash > last
        )
        rows = connection.execute(query.order_by(test.key_hash).limit(READ)).all()
        found += [bytes(row.key_hash) for row in rows if row.first_seen < before]
        if len(rows) < READ:
            break
        last = bytes(rows[-1].key_hash)
    return found[:limit]


class _Known(NamedTuple):
    id: int
    names_hash: int
    last_seen: int


def _find(connection: Connection, project_id: int, hashes: Sequence[bytes]) -> dict[bytes, _Known]:
    statement = (
        "SELECT key_hash, id, names_hash, last_seen FROM tests WHERE project_id = {} AND key_hash IN {}"
    )
    return {
        bytes(row[0]): _Known(row[1], row[2], row[3])
        for row in bulk.select(connection, statement, (project_id,), hashes)
    }


def _hold(
    connection: Connection, project_id: int, unseen: Sequence[tuple[int, bytes]], now: int
) -> dict[bytes, _Known]:
    """Mark tests as seen, so that they are not deleted; return those that had not been deleted before."""
    statement = "UPDATE tests SET last_seen = {} WHERE id IN {}"
    bulk.execute(connection, statement, (now,), sorted(number for number, _ in unseen))
    return _find(connection, project_id, [hashed for _, hashed in unseen])


def _add(
    connection: Connection, project_id: int, new: dict[bytes, tuple[TestIdentity, int]], now: int
) -> None:
    """Add tests. Another execution may add the same ones meanwhile, so all wait in the same order."""
    rows = [
        (project_id, hashed, names.key, *_texts(names), names_hash, now, now)
        for hashed, (names, names_hash) in sorted(new.items())
    ]
    bulk.insert_new(connection, "tests", _COLUMNS, rows)


def _update(connection: Connection, changed: Sequence[tuple[int, TestIdentity]], now: int) -> None:
    table = tables.tests.c
    connection.execute(
        update(tables.tests)
        .where(table.id == bindparam("test_id"))
        .values(
            {table[name]: bindparam(f"new_{name}") for name in (*_NAMES, "names_hash")}
            | {table.last_seen: bindparam("now")}
        ),
        [
            {
                "test_id": test_id,
                **{f"new_{name}": value for name, value in zip(_NAMES, _texts(names), strict=True)},
                "new_names_hash": _names_hash(names),
                "now": now,
            }
            for test_id, names in sorted(changed)
        ],
    )


_NAMES = ("title", "file", "node_id", "owner", "tags", "search_text")


_COLUMNS = ("project_id", "key_hash", "key", *_NAMES, "names_hash", "first_seen", "last_seen")


def _texts(names: TestIdentity) -> tuple[str, ...]:
    """Return the values of ``_NAMES``."""
    return (names.title, names.file, names.node_id, names.owner, names.tags, search_text(names))


def _names_hash(names: TestIdentity) -> int:
    # Without cases the hash is that of earlier versions, so that an upgrade changes no test.
    return zlib.crc32("\0".join(names[1:] if names.cases != NO_TAGS else names[1:-1]).encode())
