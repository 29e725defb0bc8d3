"""Whether a list holds the same JSON value twice, in time linear in what it holds, whatever that is.

Not here: when two values are the same (`json_values`).
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

from penstock.policy.json_values import Json, is_array, is_object, json_bytes

__all__ = ["holds_twice"]

_MAY_BE_WHOLE = re.compile(rb"(?:^|[:,\[])-?[0-9]++(?:\.0(?![0-9])|(?:\.[0-9]++)?[eE])", re.MULTILINE)
"""A number, written as a float, that may be an integer. In a string it may stand as well; then it costs time."""
_EXPONENT = re.compile(rb"-?[0-9]++(?:\.[0-9]++)?[eE][-+]?[0-9]{1,3}+")
_POINT_ZERO = re.compile(rb"(?<=[0-9])\.0(?![0-9])")
_LESS_THAN_NOTHING = re.compile(rb"-0(?![.0-9])")


def holds_twice(items: list[Json]) -> bool:
    """True where two items are the same JSON: 1 and 1.0 are, 1 and true are not."""
    kinds = frozenset(map(type, items))
    if kinds <= {str}:
        return len(set(items)) < len(items)
    # As texts, for the hashes of numbers can be chosen so that all are the same.
    written = list(map(json_bytes, items))
    if len(set(written)) < len(items):
        return True
    lines = b"\n".join(written)
    if kinds.isdisjoint({float, list, dict}) or not _MAY_BE_WHOLE.search(lines):
        return False
    alike = _with_whole_numbers(lines).split(b"\n")
    often = Counter(alike)
    if len(often) == len(items):
        return False
    # They may be alike in what stands in their strings only.
    doubtful = [each for each, line in zip(items, alike, strict=True) if often[line] > 1]
    return len({json_bytes(_whole(each)) for each in doubtful}) < len(doubtful)


def _with_whole_numbers(lines: bytes) -> bytes:
    """What is the same JSON is the same in it; strings that look like numbers may be the same as well."""
    lines = _POINT_ZERO.sub(b"", _EXPONENT.sub(_without_exponent, lines))
    return _LESS_THAN_NOTHING.sub(b"0", lines)


def _without_exponent(number: re.Match[bytes]) -> bytes:
    value = float(number[0])
    return b"%d" % value if value.is_integer() else number[0]


def _whole(value: Json) -> Any:
    """The value with integers wherever a float is one."""
    if type(value) is float:
        return int(value) if value.is_integer() else value
    if is_array(value):
        return [_whole(each) for each in value]
    if is_object(value):
        return {name: _whole(held) for name, held in value.items()}
    return value
