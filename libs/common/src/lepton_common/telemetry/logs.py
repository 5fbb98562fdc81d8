"""Log lines as JSON: one object a line, on standard error."""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any, TextIO

from lepton_common.request_id import REQUEST_ID

# What every record has; anything else was given as `extra` and belongs into the line.
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """Writes a record as one line: time, level, logger, message, request id, its extras, its exception."""

    def format(self, record: logging.LogRecord) -> str:
        """Gives the line, without its end."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if request_id := REQUEST_ID.get():
            line["request_id"] = request_id
        line.update((key, value) for key, value in vars(record).items() if key not in _STANDARD)
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=False)


def configure_logging(level: str, *, stream: TextIO | None = None) -> None:
    """Sends every logger's records from this level up to a stream as JSON; what was set up before ends.

    Args:
        level: name of the level, as `INFO`.
        stream: where to; standard error unless given.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
