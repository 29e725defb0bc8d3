"""What the options of all stores in SQLite files are checked for. Imports no sqlite3: options are read by everybody."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs

__all__ = ["names_a_file"]


def names_a_file(_: object, attribute: attrs.Attribute[Any], path: str | Path) -> None:
    """An attrs validator: SQLite's words for a database in no file are not for stores that last."""
    if str(path) in {"", ".", ":memory:"}:
        says = str(path) if str(path) != "." else ""
        raise ValueError(f'{attribute.name} = "{says}" names no file; name one, or say store = "memory"')
