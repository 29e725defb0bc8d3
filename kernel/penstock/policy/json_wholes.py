"""A text, or a part of it, that is valid JSON: decoded in the time that C takes for it, where it is sound.

Not here: what is damaged (`json_reading`).
"""

from __future__ import annotations

import json
import re

import msgspec

from penstock.policy.json_notation import DEEPEST, SCANNER
from penstock.policy.json_values import Json, is_array, is_object
from penstock.policy.schema_knowledge import NONE

__all__ = ["decoded", "decoded_or_not", "is_sound"]

_ENDS_AS_JSON = re.compile(r"[}\]\"\del]\s*\Z")
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def decoded(text: str) -> Json:
    """The text as JSON, where it is that and nothing else."""
    return decoded_or_not(text)[0]


def decoded_or_not(text: str) -> tuple[Json, int]:
    """The same, and where a value begins of which it is known now that it is no JSON; -1 where nothing is known."""
    if not _ENDS_AS_JSON.search(text, max(0, len(text) - 256)):
        return NONE, -1
    try:
        value = SCANNER.decode(text)
    except json.JSONDecodeError as wrong:
        return NONE, -1 if wrong.msg == "Extra data" else _start_of(text)
    except (ValueError, RecursionError):
        return NONE, _start_of(text)
    return (value, -1) if is_sound(text, 0, len(text), value) else (NONE, _start_of(text))


def _start_of(text: str) -> int:
    return len(text) - len(text.lstrip(" \t\r\n"))


def is_sound(text: str, start: int, end: int, value: Json) -> bool:
    """True for a value without halves of characters, and not too deep."""
    if _SURROGATE.search(text, start, end):
        try:
            msgspec.json.encode(value)
        except (UnicodeEncodeError, RecursionError):
            return False
    return _shallow(text, start, end, value)


def _shallow(text: str, start: int, end: int, value: Json) -> bool:
    """True where the value is not nested too deeply, for whoever walks through it by recursion."""
    if text.count("{", start, end) + text.count("[", start, end) <= DEEPEST:
        return True
    level: list[Json] = [value] if is_object(value) or is_array(value) else []
    for _ in range(DEEPEST):
        below: list[Json] = []
        for held in level:
            below.extend(held.values() if is_object(held) else held)
        level = [each for each in below if is_object(each) or is_array(each)]
        if not level:
            return True
    return False
