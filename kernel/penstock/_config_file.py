"""A TOML file as a dict, or one ConfigError that says where it cannot be read.

Not here: what its tables mean (`_config_load`).
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from penstock._key_shapes import without_keys
from penstock.errors import ConfigError

__all__ = ["read_toml"]

MOST_BYTES = 16_777_216
"""16 MiB: far more than any configuration, far less than would hurt."""


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of the file. Raises ConfigError with line and column where its text is not TOML."""
    source = str(path)
    text = _text(_bytes(path), source)
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        says = str(error).replace("at end of document", f"at {_place(text, len(text))}, where the file ends")
        raise ConfigError(f"this is not TOML: {without_keys(says)}", source=source) from None
    except RecursionError:
        raise ConfigError("this is not a configuration: it is nested too deeply", source=source) from None
    except ValueError as error:
        # The parser hands on what Python says of a number of thousands of digits or of a date that does not exist.
        raise ConfigError(f"this is not TOML: {without_keys(str(error))}", source=source) from None


def _bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except FileNotFoundError:
        raise ConfigError("there is no such file", source=str(path)) from None
    except OSError as error:
        raise ConfigError(f"the file cannot be read: {error.strerror or error}", source=str(path)) from None
    except ValueError:
        raise ConfigError("this is not the path of a file", source=repr(str(path))) from None
    if len(content) > MOST_BYTES:
        raise ConfigError("the file is larger than any configuration", source=str(path))
    return content


def _text(content: bytes, source: str) -> str:
    try:
        # Some editors begin a file with a byte order mark.
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = content[: error.start].decode("utf-8", "replace")
        raise ConfigError(
            f"this is not UTF-8: byte 0x{content[error.start]:02x} at {_place(before, len(before))}", source=source
        ) from None


def _place(text: str, offset: int) -> str:
    line = text.count("\n", 0, offset) + 1
    column = offset - (text.rfind("\n", 0, offset) + 1) + 1
    return f"line {line}, column {column}"
