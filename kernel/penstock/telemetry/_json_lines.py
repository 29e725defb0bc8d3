"""Log records as lines of JSON: what a call's record says stands in fields of its own."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from math import isfinite
from typing import Any

__all__ = ["JsonFormatter"]

_KNOWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
"""What every record has: all else was given as `extra`."""


class JsonFormatter(logging.Formatter):
    """One line for each record: `time` (UTC), `level`, `logger`, `message`, and every field of `extra`.

    Of an exception only the type is told, and where it was raised: its words may quote a request. Never raises: what
    cannot be written is told by its type.

        handler.setFormatter(penstock.telemetry.JsonFormatter())
    """

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _message(record),
        }
        for name, value in vars(record).items():
            if name not in _KNOWN and name not in line:
                line[name] = _plain(value)
        if record.exc_info and record.exc_info[0] is not None:
            line["exception"] = record.exc_info[0].__name__
            traceback = record.exc_info[2]
            while traceback is not None and traceback.tb_next is not None:
                traceback = traceback.tb_next
            if traceback is not None:
                line["raised_at"] = f"{traceback.tb_frame.f_code.co_filename}:{traceback.tb_lineno}"
        return json.dumps(line, ensure_ascii=False, allow_nan=False)


def _message(record: logging.LogRecord) -> object:
    try:
        return record.getMessage()
    except Exception:  # noqa: BLE001 - of whoever logs: arguments that do not fit, or cannot be written
        return _plain(record.msg)


def _plain(value: object) -> str | int | float | bool | None:
    if value is None or isinstance(value, bool | str) or (isinstance(value, float) and isfinite(value)):
        return value
    try:
        text = str(value)  # of an int too: Python writes none of more than 4,300 digits
    except Exception as error:  # noqa: BLE001 - of whoever logs; the rest of the line is not lost to it
        return f"<{type(value).__name__}: its text raised {type(error).__name__}>"
    return value if isinstance(value, int) else text  # JSON has no word for a float that is not finite
