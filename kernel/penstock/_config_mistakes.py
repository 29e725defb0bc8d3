"""Mistakes in a configuration: collected with their paths, told all at once, never showing what is secret.

Not here: what is right and wrong (`_config_load`, `_config_providers` and the values themselves).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, cast

from penstock._key_shapes import without_keys
from penstock.errors import ConfigError, ConfigMistake

__all__ = ["Mistakes", "WrongError", "is_secret", "join", "plain", "shown"]

DEEPEST = 32
"""No configuration is nested deeper; a value that holds itself is."""
LONGEST_SHOWN = 60
ACCOUNTS = "accounts"
"""The table whose names are ids of somebody else's as often as not."""
TORN = "holds half a character (a lone surrogate), which no text on a wire or in a store can have"
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_SECRET = re.compile(
    r"key|secret|(?<!first_)token(?!s)|password|passwd|credential|auth|header|cookie|signature", re.IGNORECASE
)
_OF_KEYS = re.compile(r"(providers|plugins)(\.(\"[^\"]*\"|[^.]*))?")
"""The places of tables in which keys are: who writes a key there has left out the table."""
_USERINFO = re.compile(
    r"(//)(?:(?<!http://)(?<!https://)|(?!(?:(?:[\w-]+\.)+\w+|localhost|\[[^]\s]*\])(?::[0-9]*)?[/?#\s])).{0,2000}@"
    r"|^(?!env:|file:)[^/@:\s]*:(?!//)\S{0,2000}@",
    re.IGNORECASE | re.DOTALL,
)
"""Of an address, with or without its scheme. A password may hold a slash or a space; behind the host of a website an @
may stand for itself.
"""
_QUERY = re.compile(r"(://[^?#\s]*[?#])\S+")
"""Of an address, or its fragment: keys stand there too."""
_DATABASE = re.compile(r"\b((?!https?:)[a-z][a-z0-9+.-]*://[^/?#\s]*/)[^?#\s]+", re.IGNORECASE)
"""The path of an address of no website: a password may have been put behind the host."""


class WrongError(ValueError):
    """One value is wrong: `says` what, and what would be right. Who raises it need not know the path."""

    def __init__(self, value: object, says: str) -> None:
        super().__init__(says)
        self.value = value
        self.says = says


class Mistakes:
    """Collects mistakes in the order they are found: one for each path, for what else is wrong there follows."""

    def __init__(self) -> None:
        self._found: dict[str, ConfigMistake] = {}
        """By their true paths."""

    def __len__(self) -> int:
        return len(self._found)

    def add(self, path: str, says: str) -> None:
        """One more, where nothing is known to be wrong yet."""
        self._found.setdefault(_true(path), ConfigMistake(str(path), says))

    def end(self, source: str | None) -> None:
        """Raises ConfigError if there was any."""
        if self._found:
            raise ConfigError(tuple(self._found.values()), source=source)


class _Path(str):
    """A path as it may be shown. Two that are shown alike, for keys or very long names are in them, are two still."""

    __slots__ = ("true",)
    true: str


def join(path: str, key: str | int) -> str:
    """The path of a value in the table or array at `path`."""
    if isinstance(key, int):
        shown, true = f"{path}[{key}]", f"{_true(path)}[{key}]"
    else:
        told = without_keys(key, ids=True) if path == ACCOUNTS else _discreet(key)
        name = told if _BARE.fullmatch(told) and len(told) <= LONGEST_SHOWN else _quoted(told)
        own = key if _BARE.fullmatch(key) else repr(key)
        shown, true = (f"{path}.{name}", f"{_true(path)}.{own}") if path else (name, own)
    joined = _Path(shown)
    joined.true = true
    return joined


def _true(path: str) -> str:
    return path.true if isinstance(path, _Path) else path


def is_secret(path: str) -> bool:
    """True where the value at `path` may be one that nobody shall read in an error."""
    return _SECRET.search(".".join(path.rsplit(".", 2)[-2:])) is not None or _OF_KEYS.fullmatch(path) is not None


def shown(value: object, path: str = "") -> str:
    """The value as an error may show it. What a secret's path names is told by its type alone."""
    match value:
        case bool():
            return str(value).lower()
        case None:
            return "nothing"
        case dict():
            return "a table"
        case list():
            return "an array"
        case _ if is_secret(path):
            return f"<{type(value).__name__}>"
        case str():
            return _quoted(_discreet(value))
        case int() if value.bit_length() > 200:
            return "a number of very many digits"
        case int() | float():
            return repr(value)
        case _:
            return f"<{type(value).__name__}>"


def plain(value: object, mistakes: Mistakes, path: str = "", depth: int = 0) -> Any:
    """The same made of dicts with string keys, lists and scalars, copied, so that nobody else can change it."""
    if depth > DEEPEST:
        mistakes.add(path, f"is nested deeper than {DEEPEST} levels")
        return None
    if isinstance(value, Mapping):
        table = cast("Mapping[object, object]", value)
        copied: dict[str, Any] = {}
        for key, item in table.items():
            if isinstance(key, str) and _is_torn(key):
                mistakes.add(path, f"the name {shown(key)} {TORN}")
            elif isinstance(key, str):
                copied[key] = plain(item, mistakes, join(path, key), depth + 1)
            else:
                mistakes.add(path, f"{shown(key)} is no name: the keys of a table are strings")
        return copied
    if isinstance(value, list | tuple):
        items = cast("list[object] | tuple[object, ...]", value)
        return [plain(item, mistakes, join(path, place), depth + 1) for place, item in enumerate(items)]
    if isinstance(value, str) and _is_torn(value):
        mistakes.add(path, TORN)
        return ""
    return value


def _is_torn(text: str) -> bool:
    return not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text)


def _discreet(text: str) -> str:
    """Without what may be secret in an address, or is one by its looks."""
    address = _QUERY.sub(r"\1...", _DATABASE.sub(r"\1...", _USERINFO.sub(r"\1...@", text)))
    return without_keys(address)


def _quoted(text: str) -> str:
    # repr escapes what would break a line or cannot be printed.
    quoted = repr(text[:LONGEST_SHOWN])[1:-1]
    return f'"{quoted}..."' if len(text) > LONGEST_SHOWN else f'"{quoted}"'
