"""A text, or a part of it, that is valid JSON: decoded in the time that C takes for it, where it is sound.

Not here: what is damaged (`json_reading`).
"""

from __future__ import annotations

import re
from itertools import chain
from typing import Any

import msgspec
from msgspec import Struct

from penstock.policy.json_notation import DEEPEST, JSON_SPACE, KEEPS_LAST, SCANNER, behind
from penstock.policy.json_values import Json
from penstock.policy.schema_knowledge import NONE

__all__ = ["Decoded", "decoded", "is_sound", "read_once", "value_at"]

_LAST = frozenset('}]"0123456789el')
"""What a JSON value may end with."""
SHORT = 4_096
"""Characters of an ordinary answer: to go from part to part is the shortest way there."""
MOST_SAID_TWICE = 4_096
"""Names that are said twice in a long text. Whoever says more has lost the thread, and to compare them takes long."""
_CLOSED_BY = {"{": "}", "[": "]"}
_NAMES = re.compile(r'"[ \t\r\n]*+:')
"""The end of a name. It may stand in a string as well, so in no sound text there are fewer than names."""
_SURE_NAMES = re.compile(r'(?<!\\)"[ \t\r\n]*+:')
"""The end of a name, and never in a string: of all names but those that end in a backslash."""
_CONTAINERS = frozenset({dict, list})
_VALUES: Any = dict[str, Json].values
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


class Decoded(Struct, frozen=True):
    """What is known of a text after it was read as JSON once."""

    value: Json = NONE
    """The text is it and nothing else."""
    start: int = -1
    """Where a value begins of which something is known; -1 where it is not."""
    ahead: Json = NONE
    """The sound value that begins there, and has something behind it; none where what begins there is no JSON."""
    end: int = -1
    """Where that ends."""


def decoded(text: str) -> Json:
    """The text as JSON, where it is that and nothing else."""
    return read_once(text).value


def read_once(text: str) -> Decoded:
    """The text as JSON, or what begins in it as that; a text that ends as none does is not looked at."""
    last = text[-1:]
    if last not in _LAST and (last := text[-256:].rstrip()[-1:]) not in _LAST:
        return Decoded()
    if len(text) <= SHORT and _CLOSED_BY.get(text[0]) == last and (value := _at_once(text)) is not NONE:
        return Decoded(value)
    start = 0 if text[0] == "{" else behind(JSON_SPACE, text, 0)
    try:
        value, end = value_at(text, start)
    except (ValueError, RecursionError):
        return Decoded(start=start)
    if value is NONE:
        return Decoded(start=start)
    if end == len(text) or behind(JSON_SPACE, text, end) == len(text):
        return Decoded(value)
    return Decoded(start=start, ahead=value, end=end)


def value_at(text: str, start: int) -> tuple[Json, int]:
    """The sound value that begins there, and where it ends; none where it is not sound.

    Raises ValueError or RecursionError where it is no JSON.
    """
    if len(text) - start <= SHORT:
        value, end = SCANNER.raw_decode(text, start)
        return (value if is_sound(text, start, end, value) else NONE), end
    # What is not JSON to the one reader is none to the other: nothing is read twice but what says a name twice.
    value, end = KEEPS_LAST.raw_decode(text, start)
    members = _members_in(value)
    if members is None:
        return NONE, end
    if not _is_all_there(members, text, start, end):
        if len(_SURE_NAMES.findall(text, start, end)) - members > MOST_SAID_TWICE:
            return NONE, end
        value, end = SCANNER.raw_decode(text, start)
    return (value if _is_whole(text, start, end, value) else NONE), end


def is_sound(text: str, start: int, end: int, value: Json) -> bool:
    """True for a value without halves of characters, and not too deep."""
    return _is_whole(text, start, end, value) and _shallow(text, start, end, value)


def _is_whole(text: str, start: int, end: int, value: Json) -> bool:
    """True where it has no halves of characters."""
    if text.find("\\u", start, end) >= 0 and _SURROGATE.search(text, start, end):
        try:
            msgspec.json.encode(value)
        except (UnicodeEncodeError, RecursionError):
            return False
    return True


def _shallow(text: str, start: int, end: int, value: Json) -> bool:
    """True where the value is not nested too deeply, for whoever walks through it by recursion."""
    few = end - start <= DEEPEST or text.count("{", start, end) + text.count("[", start, end) <= DEEPEST
    return few or _members_in(value) is not None


def _at_once(text: str) -> Json:
    """The text by a reader that is faster than the other, and of two members of one name keeps the last: so only where
    there are as many members as names. None of what else the other would not take is taken here.
    """
    try:
        value: Json = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return NONE
    members = _members_in_few(value)
    if members is None:
        members = _members_in(value)
    return value if _is_all_there(members, text, 0, len(text)) else NONE


def _is_all_there(members: int | None, text: str, start: int, end: int) -> bool:
    """True where a reader that keeps the last of a name that is said twice had nothing to leave out."""
    return members == text.count(":", start, end) or members == len(_NAMES.findall(text, start, end))


def _members_in_few(value: Json) -> int | None:
    """Of all objects together; None where there are so many that they could be nested too deeply."""
    members, containers, parts = 0, 0, [value]
    for each in parts:  # which grow meanwhile
        kind: type = each.__class__
        if kind is dict:
            members += len(each)
            parts.extend(each.values())
        elif kind is list:
            parts.extend(each)
        else:
            continue
        containers += 1
        if containers > DEEPEST:
            return None
    return members


def _members_in(value: Json) -> int | None:
    """Of all objects together; None where the value is nested too deeply, for whoever walks through it by recursion."""
    members, level = 0, [value]
    for _ in range(DEEPEST - 1):
        # Of what is empty nobody knows more on the next level. Of a million brackets each pass is one that C makes.
        below, named = _below(level)
        members += named
        if _CONTAINERS.isdisjoint(map(type, below)):
            return members
        level = [each for each in below if each and type(each) in _CONTAINERS]
        if not level:
            return members
    below, named = _below(level)
    return members + named if _CONTAINERS.isdisjoint(map(type, below)) else None


def _below(level: list[Json]) -> tuple[list[Json], int]:
    """Whatever stands in these containers, and how much of that has a name."""
    objects: Any = [each for each in level if type(each) is dict]
    below: list[Json] = list(chain.from_iterable(map(_VALUES, objects)))
    named = len(below)
    if len(objects) < len(level):
        arrays: Any = [each for each in level if type(each) is list]
        below.extend(chain.from_iterable(arrays))
    return below, named
