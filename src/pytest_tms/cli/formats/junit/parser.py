"""An XML parser for files that may be damaged, hostile, or several documents one after another."""

from __future__ import annotations

from typing import Protocol
from xml.parsers import expat

from pytest_tms.cli.formats import reason
from pytest_tms.cli.formats.xml_text import Repair

MAX_TAG_BYTES = 16 << 20
"""Bytes of one tag, its attributes included, which the parser holds in memory."""
BYTE_ORDER_MARK = "\ufeff".encode()
NO_ELEMENT, INVALID_TOKEN, UNCLOSED_TOKEN, JUNK_AFTER_ROOT, MISPLACED_DECLARATION, UNCLOSED_CDATA = (
    expat.errors.codes[message]
    for message in (
        expat.errors.XML_ERROR_NO_ELEMENTS,
        expat.errors.XML_ERROR_INVALID_TOKEN,
        expat.errors.XML_ERROR_UNCLOSED_TOKEN,
        expat.errors.XML_ERROR_JUNK_AFTER_DOC_ELEMENT,
        expat.errors.XML_ERROR_MISPLACED_XML_PI,
        expat.errors.XML_ERROR_UNCLOSED_CDATA_SECTION,
    )
)
TRUNCATED = (NO_ELEMENT, UNCLOSED_TOKEN, UNCLOSED_CDATA)
"""Errors of a document that ends too early."""


class Handler(Protocol):
    """The receiver of a document's elements. It raises ValueError to refuse the document."""

    is_complete: bool
    """Whether the root element is closed."""

    def start_document(self) -> None:
        """Prepare for a document."""

    def start_element(self, tag: str, attributes: dict[str, str]) -> None:
        """Receive a start tag."""

    def end_element(self, tag: str) -> None:
        """Receive an end tag."""

    def character_data(self, text: str) -> None:
        """Receive text."""


class Parser:
    """Parses text in chunks and calls a handler; defined entities and very long tags are refused."""

    def __init__(self, handler: Handler, *, skipped_lines: int) -> None:
        """Prepare to parse; ``skipped_lines`` is the number of lines before the text."""
        self._handler = handler
        self._lines = skipped_lines
        self._repair = Repair()
        self._start_document()

    def feed(self, chunk: str) -> None:
        """Parse the next chunk.

        Raises:
            ExpatError: the document is damaged.
            ValueError: the handler refuses the document, or a tag is too long.
        """
        self._parse(self._repair.feed(chunk).encode())

    def close(self) -> None:
        """Parse the remaining text.

        Raises:
            ExpatError: the document is not complete.
        """
        self._parse(self._repair.finish().encode())
        self._expat.Parse(b"", True)

    @property
    def line(self) -> int:
        """The current line of the file, from 1."""
        return self._lines + max(1, self._expat.CurrentLineNumber)

    def describe(self, error: Exception, count: int) -> str:
        """Return what is wrong at the current line and what to do, after ``count`` results."""
        kept = f"; {count} tests before it are kept" if count else ""
        if not isinstance(error, expat.ExpatError):
            return f"line {self.line}: {reason(error)}{kept}"
        truncated = " (the file is truncated)" if error.code in TRUNCATED else ""
        problem = f"{expat.ErrorString(error.code)}{truncated}{kept}"
        return f"line {self.line}: {problem}: write the report again and submit it again"

    def _start_document(self) -> None:
        self._expat = parser = expat.ParserCreate("utf-8")
        parser.buffer_text = True
        parser.specified_attributes = True  # default values of a DTD could multiply a long text
        parser.StartElementHandler = self._handler.start_element
        parser.EndElementHandler = self._handler.end_element
        parser.CharacterDataHandler = self._handler.character_data
        parser.EntityDeclHandler = _refuse_entities
        self._fed = 0
        self._handler.start_document()

    def _parse(self, data: bytes) -> None:
        while data:
            try:
                self._expat.Parse(data, False)
            except expat.ExpatError as error:
                rest = data[max(0, self._expat.ErrorByteIndex - self._fed) :]
                if not self._handler.is_complete or not _is_next_document(error.code, rest):
                    raise
                data = rest.removeprefix(BYTE_ORDER_MARK)
                self._lines += self._expat.ErrorLineNumber - 1
                self._start_document()
                continue
            self._fed += len(data)
            if self._fed - self._expat.CurrentByteIndex > MAX_TAG_BYTES:
                raise ValueError(f"a tag is longer than {MAX_TAG_BYTES >> 20} MB: shorten its attributes")
            return


def _is_next_document(code: int, rest: bytes) -> bool:
    if code == INVALID_TOKEN:
        return rest.startswith(BYTE_ORDER_MARK)
    return code in (JUNK_AFTER_ROOT, MISPLACED_DECLARATION) and rest.startswith(b"<")


def _refuse_entities(*_: object) -> None:
    raise ValueError("it defines entities, which no report needs: write the report without a DOCTYPE")
