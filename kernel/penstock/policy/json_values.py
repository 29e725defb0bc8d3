"""JSON data as Python holds it: what it is, when two are the same, how a place in it is written.

Not here: schemas (`json_schema`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, TypeAlias, TypeGuard

import msgspec
from msgspec import Struct

__all__ = ["Flaw", "Json", "frozen", "is_array", "is_object", "is_same", "is_text", "json_bytes", "json_path"]

_WRITE = msgspec.json.Encoder(order="deterministic").encode

Json: TypeAlias = Any


class Flaw(Struct, frozen=True):
    """One place where a value does not fit."""

    path: str
    """As in JSONPath: `$.items[2].name`."""
    says: str


def is_array(value: Json) -> TypeGuard[list[Json]]:
    """True for a list, of whatever it holds."""
    return type(value) is list


def is_text(value: Json) -> TypeGuard[str]:
    """True for a string."""
    return type(value) is str


def is_object(value: Json) -> TypeGuard[dict[str, Json]]:
    """True for a dict, of whatever it holds."""
    return type(value) is dict


def json_path(keys: Iterable[str | int]) -> str:
    """The path of a place in a value, written out."""
    written = ["$"]
    for key in keys:
        if isinstance(key, int):
            written.append(f"[{key}]")
        else:
            written.append(f".{key}" if key.isidentifier() else f"[{key!r}]")
    return "".join(written)


def frozen(value: Json) -> Any:
    """Something hashable that is equal where two values are the same JSON: 1 and 1.0 are, 1 and true are not."""
    if isinstance(value, bool):
        return ("boolean", value)
    if is_array(value):
        return ("array", *(frozen(each) for each in value))
    if is_object(value):
        return ("object", frozenset((key, frozen(each)) for key, each in value.items()))
    return value


def json_bytes(value: Json) -> bytes:
    """The value written out: the same for the same value, but for numbers that are integers and written as floats."""
    try:
        return _WRITE(value)
    except (UnicodeEncodeError, OverflowError):  # halves of characters, integers of more than 64 bits
        return json.dumps(value, sort_keys=True).encode()


def is_same(value: Json, asked: Json) -> bool:
    """True for two values of the same JSON. It is looked into the first only as far as into the second."""
    if is_object(asked):
        return (
            is_object(value)
            and len(value) == len(asked)
            and all(key in value and is_same(value[key], each) for key, each in asked.items())
        )
    if is_array(asked):
        return is_array(value) and len(value) == len(asked) and all(map(is_same, value, asked))
    return isinstance(value, bool) is isinstance(asked, bool) and bool(value == asked)
