"""Node ids, files and titles of tests."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

from pytest_tms.plugin.xdist.sharding import test_id
from pytest_tms.text import clean

UNTITLED = "(a test without a name)"


def identity_in_shard(nodeid: str, extra: Mapping[str, Any], worker: str = "") -> str:
    """Return what identifies a test in its shard: its node id, with the worker or the number of the copy."""
    if worker:
        nodeid = f"{nodeid} @{worker}"
    if "copy" in extra:
        nodeid = f"{nodeid} #{extra['copy']}"
    return clean(nodeid) or UNTITLED


def file_and_title(nodeid: str, location: Any) -> tuple[str, str]:
    """Return the file and the title of a test.

    If the node id is not a path, as some plugins make it, the file is that of the report's ``location``.
    """
    file, separator, title = nodeid.partition("::")
    try:
        real = location[0].replace(os.sep, "/")
    except (TypeError, IndexError, KeyError, AttributeError):
        real = ""
    if real and file != real and not (separator and _FILE.fullmatch(file)):
        file, title = real, nodeid
    title = title or file
    if "\n" in title or "\r" in title:
        title = " ".join(title.split())
    return clean(file), clean(title) if title.strip() else UNTITLED


_FILE = re.compile(r"[^\r\n]*\.\w{1,10}")


def ungrouped(nodeid: str, extra: Mapping[str, Any]) -> str:
    """Return a node id without the ``@group`` that xdist's loadgroup appended to it.

    The worker reports the appended group; of a test that crashed before its first report only the id exists.
    """
    group = extra.get("group")
    if group is None:
        return test_id(nodeid)
    return nodeid.removesuffix(group) if group else nodeid
