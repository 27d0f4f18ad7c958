"""Logs of the server on standard error: lines of text on a terminal, JSON objects otherwise."""

from __future__ import annotations

import logging
import sys
from datetime import datetime, timezone
from typing import Any

import msgspec

from pytest_tms.server.request_context import current_request_id
from pytest_tms.server.settings import ServerSettings

ACCESS = "pytest_tms.access"
"""The logger of requests. The attribute ``fields`` of its records has their fields."""


class TextFormatter(logging.Formatter):
    """One line for each record, and the traceback below."""

    def format(self, record: logging.LogRecord) -> str:
        """Return a record as text. Line breaks in its message are replaced, so that none can be forged."""
        request_id = current_request_id()
        suffix = f" [{request_id}]" if request_id else ""
        message = " ".join(record.getMessage().splitlines())
        text = f"{_time(record)} {record.levelname} {message}{suffix}"
        return f"{text}\n{self.formatException(record.exc_info)}" if record.exc_info else text


class JsonFormatter(logging.Formatter):
    """One JSON object for each record, on one line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return a record as JSON."""
        found: dict[str, Any] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if request_id := current_request_id():
            found["request_id"] = request_id
        found.update(getattr(record, "fields", {}))
        if record.exc_info:
            found["exception"] = self.formatException(record.exc_info)
        return msgspec.json.encode(found).decode()


def configure(settings: ServerSettings) -> None:
    """Write the log records of this process to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if writes_json(settings) else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("pytest_tms").setLevel(logging.INFO)
    logging.getLogger(ACCESS).setLevel(logging.INFO if settings.access_log else logging.WARNING)


def writes_json(settings: ServerSettings) -> bool:
    """Return whether logs are JSON objects."""
    if settings.log_format == "auto":
        return not sys.stderr.isatty()
    return settings.log_format == "json"


def _time(record: logging.LogRecord) -> str:
    return (
        datetime.fromtimestamp(record.created, timezone.utc)
        .isoformat(timespec="milliseconds")
        .replace("+00:00", "Z")
    )
