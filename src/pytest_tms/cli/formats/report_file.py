"""Reads a submitted file as text: decompressed and decoded in chunks."""

from __future__ import annotations

import codecs
import re
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

CHUNK_BYTES = 1 << 18
"""Bytes that are read, and that are decompressed, at a time."""
HEAD_BYTES = 1024
"""Bytes from which the character set is determined."""
GZIP = b"\x1f\x8b"
BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # begins as UTF-16's does
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
EBCDIC = "<?xml".encode("cp037")
DECLARED = re.compile(r"""<\?xml[^>]*?\sencoding\s*=\s*["']([^"'<>]{1,60})""")
SUPERSETS = {"gb2312": "gb18030", "gbk": "gb18030"}
"""Character sets that are read as a larger one: files that name them use characters of it."""
ALIASES = {"windows-31j": "cp932", "x-sjis": "cp932", "ms932": "cp932", "tis620": "cp874"}
"""Names that Java, .NET and browsers use and Python does not."""


class ReportFile:
    """One submitted file.

    ``name`` is its name in messages, ``folder`` the folder that its relative paths refer to, and
    ``skipped_lines`` the number of lines before the text that a reader receives.
    """

    def __init__(self, path: Path | None) -> None:
        """Prepare to read the file at ``path``; None is standard input. Nothing is opened."""
        self.name = "standard input" if path is None else str(path)
        self.folder = Path.cwd() if path is None else path.absolute().parent
        self.skipped_lines = 0
        self._path = path

    def text(self) -> Iterator[str]:
        """Yield the text in chunks.


        Raises:
            OSError: the file cannot be read.
            ValueError: its compressed data is damaged or truncated; the text before that is yielded.
        """
        if self._path is None:
            if sys.stdin is None:
                raise ValueError("it is closed: pipe the report to the command")
            yield from _decode(_decompress(_chunks(sys.stdin.buffer)))
            return
        with self._path.open("rb") as file:
            yield from _decode(_decompress(_chunks(file)))


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    while chunk := file.read(CHUNK_BYTES):
        yield chunk


def _decompress(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the content of all members of gzip data; yield other data unchanged."""
    first = next(chunks, b"")
    if not first.startswith(GZIP):
        yield first
        yield from chunks
        return
    member = zlib.decompressobj(zlib.MAX_WBITS | 16)
    pending = first
    try:
        while pending or (pending := next(chunks, b"")):
            yield member.decompress(pending, CHUNK_BYTES)
            pending = member.unconsumed_tail
            if member.eof:
                pending = (member.unused_data or next(chunks, b"")).lstrip(b"\0")
                if not pending.startswith(GZIP[:1]):  # padding, or nothing
                    return
                member = zlib.decompressobj(zlib.MAX_WBITS | 16)
    except zlib.error as error:
        raise ValueError(f"its compressed data is damaged ({error}): compress the report again") from None
    yield member.flush()
    raise ValueError("its compressed data ends too early: compress the report again")


def _decode(chunks: Iterator[bytes]) -> Iterator[str]:
    """Yield text; bytes that the character set does not have become U+FFFD."""
    head = b""
    while len(head) < HEAD_BYTES and (chunk := next(chunks, None)) is not None:
        head += chunk
    decoder = codecs.getincrementaldecoder(encoding_of(head))("replace")
    yield decoder.decode(head)
    for chunk in chunks:
        yield decoder.decode(chunk)
    yield decoder.decode(b"", True)


def encoding_of(head: bytes) -> str:
    """Return Python's name of the character set of a file that begins with ``head``.

    A byte order mark decides, then zero bytes, then the XML declaration; UTF-8 if the declaration is missing
    or names a character set that is unknown or contradicts the bytes.
    """
    for mark, name in BYTE_ORDER_MARKS:
        if head.startswith(mark):
            return name
    zeros = [byte == 0 for byte in head[:4].ljust(4, b"\0")]
    if len(head) >= 4 and zeros in ([False, True, True, True], [True, True, True, False]):
        return "utf-32-be" if zeros[0] else "utf-32-le"
    if zeros[:2] in ([False, True], [True, False]) and b"<" in head[:2]:
        return "utf-16-le" if zeros[1] else "utf-16-be"
    basis = "cp037" if head.startswith(EBCDIC) else "latin-1"
    declared = DECLARED.search(head.decode(basis))
    default = "utf-8" if basis == "latin-1" else basis
    return _codec(declared[1], basis) or default if declared else default


def _codec(name: str, basis: str) -> str | None:
    """Return the codec that a declaration names; None if there is none that reads the declaration itself."""
    name = name.strip().lower().replace("_", "-")
    page = re.sub(r"^(?:x-)?(?:windows-|ibm-?|cp-|ms-?)(?=\d)", "cp", name)
    for candidate in (ALIASES.get(name, name), page, name.removeprefix("x-")):
        try:
            codec = codecs.lookup(candidate).name
            if "escape" not in codec and SAMPLE.encode(basis).decode(codec, "replace") == SAMPLE:
                return SUPERSETS.get(codec, codec)
        except (LookupError, ValueError):  # unknown, not a character set, or not one that decodes
            continue
    return None


SAMPLE = "<?xml version encoding?>"
