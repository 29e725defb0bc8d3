"""Whether a list holds the same JSON value twice, in time linear in what it holds, whatever that is.

Not here: when two values are the same (`json_values`).
"""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec

from penstock.policy.json_values import Json, is_array, is_object

__all__ = ["holds_twice"]

_WRITE = msgspec.json.Encoder(order="deterministic").encode
_MAY_BE_WHOLE = re.compile(rb"(?:^|[:,\[])-?[0-9]++(?:\.0(?![0-9])|(?:\.[0-9]++)?[eE])", re.MULTILINE)
"""A number, written as a float, that may be an integer. In a string it may stand as well; then it costs time."""


def holds_twice(items: list[Json]) -> bool:
    """True where two items are the same JSON: 1 and 1.0 are, 1 and true are not."""
    kinds = frozenset(map(type, items))
    if kinds <= {str}:
        return len(set(items)) < len(items)
    # As texts, for the hashes of numbers can be chosen so that all are the same.
    written = [_written(each) for each in items]
    several = set(written)
    if len(several) < len(items):
        return True
    if kinds.isdisjoint({float, list, dict}) or not _MAY_BE_WHOLE.search(b"\n".join(written)):
        return False
    whole = [
        _written(_whole(each)) if _MAY_BE_WHOLE.search(text) else text
        for each, text in zip(items, written, strict=True)
    ]
    return len(set(whole)) < len(items)


def _written(value: Json) -> bytes:
    """The same for the same value, but for numbers that are integers and written as floats."""
    try:
        return _WRITE(value)
    except (UnicodeEncodeError, OverflowError):  # halves of characters, integers of more than 64 bits
        return json.dumps(value, sort_keys=True).encode()


def _whole(value: Json) -> Any:
    """The value with integers wherever a float is one."""
    if type(value) is float:
        return int(value) if value.is_integer() else value
    if is_array(value):
        return [_whole(each) for each in value]
    if is_object(value):
        return {name: _whole(held) for name, held in value.items()}
    return value
