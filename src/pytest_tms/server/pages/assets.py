"""Static files: the stylesheet and the script in one file each, and the icons of the pages.

The address of a file contains the hash of its content. So a browser stores it permanently, and a new version
of the server has a new address.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from litestar import Response, get

from pytest_tms.errors import NotFound

FOLDER = Path(__file__).parent / "static"
MAX_SCRIPT = 15 * 1024
"""Bytes of the script, of all files together."""
IMMUTABLE = "public, max-age=31536000, immutable"
"""Cache-Control of a file whose address changes with its content."""


@dataclass(frozen=True)
class Asset:
    """A file that pages load; ``name`` is the last part of its address."""

    name: str
    content: bytes
    media_type: str

    @property
    def path(self) -> str:
        """The path of its URL."""
        return f"/static/{self.name}"


@dataclass(frozen=True)
class Assets:
    """The files that pages load; ``script`` is None without any JavaScript, ``icons`` are by their names."""

    stylesheet: Asset
    script: Asset | None
    icons: Mapping[str, Asset]

    def find(self, name: str) -> Asset | None:
        """Return the file of a name, None if there is none."""
        files = (self.stylesheet, self.script, *self.icons.values())
        return next((each for each in files if each is not None and each.name == name), None)


@cache
def assets() -> Assets:
    """Return the files of this installation, which are read once.

    Raises:
        ValueError: The script is larger than ``MAX_SCRIPT``.
    """
    script = _concatenate("js")
    if len(script) > MAX_SCRIPT:
        raise ValueError(f"the script has {len(script):,} bytes, at most {MAX_SCRIPT:,} are allowed")
    return Assets(
        stylesheet=_asset("tms", "css", _concatenate("css"), "text/css"),
        script=_asset("tms", "js", script, "text/javascript") if script else None,
        icons={
            file.stem: _asset(f"icon-{file.stem}", "svg", file.read_bytes(), "image/svg+xml")
            for file in sorted((FOLDER / "icons").glob("*.svg"))
        },
    )


@get("/static/{name:str}", sync_to_thread=False)
def static_file(name: str) -> Response[bytes]:
    """Return a static file.

    Raises:
        NotFound: No file has this name. It may be that of another version.
    """
    found = assets().find(name)
    if found is None:
        raise NotFound("The file does not exist.")
    headers: dict[str, Any] = {"Cache-Control": IMMUTABLE}
    return Response(found.content, media_type=found.media_type, headers=headers)


def _concatenate(kind: str) -> bytes:
    """Return the files of ``static/<kind>`` in the order of their names."""
    return b"".join(file.read_bytes() for file in sorted((FOLDER / kind).glob(f"*.{kind}")))


def _asset(stem: str, extension: str, content: bytes, media_type: str) -> Asset:
    digest = hashlib.blake2b(content, digest_size=6).hexdigest()
    return Asset(f"{stem}.{digest}.{extension}", content, media_type)
