"""Which of several things in a text is the answer, where one of them fits the schema: one rule.

Whatever could be a value counts, be it found, damaged, misnamed, in an envelope, null, or an error. Each stands in the
text in one of four ways, each of which stands out more than the one before: *mentioned* in a sentence, *labelled* at
the end of a line (`Answer: {...}`), *alone* on its lines, *fenced*. The value that fits is the answer where

1. nothing behind it stands out at all (what is mentioned does not, beside what is fenced; beside what is shown without
   a fence, an object that says something does), and
2. nothing before it stands out more than it does, and
3. nothing before it looks like an answer itself: one with all the names that are asked for, or with any where it stands
   out as much; or one that says that there is none (null, an error), and
4. where it is but mentioned or labelled, the text behind it does not give all those names other values (YAML, a table).

Else nobody can tell the answer from an example or a draft, and it is asked again. A template, with a type's name or
another placeholder where a value should be, is no answer: only rule 1 speaks of it. Two values that fit, and differ,
are refused before this is asked (`json_finding`).

Not here: what is doubtful about a value by itself (`json_surroundings`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from enum import IntEnum
from typing import Any

from penstock.policy.json_notation import Unreadable
from penstock.policy.json_places import Candidate
from penstock.policy.json_surroundings import ends_too_early, is_note
from penstock.policy.json_values import Json, is_array, is_object
from penstock.policy.schema_knowledge import is_of_failure, root_shapes, wants_array

__all__ = ["Standing", "is_rival", "is_said_otherwise", "may_be_meant", "standing"]

MOST_READ = 4_096
"""Characters of something damaged in which names are looked for."""
MOST_HELD = 64
"""Values inside of a value that are looked at."""

_NAME = re.compile(
    r"""(?:(?<![\w$-])([\w$-]{1,100}+)|["'“”‘`\\„«]([^"'“”‘’`\\„«»:\n]{1,100}+)["'”’`\\“»]{1,9}+)\s*+(?::|=>?)"""
)
_BEGUN_NAME = re.compile(r"""[\s\[{]{0,200}+["'“”‘`\\„«]{0,4}+([^"'“”‘’`\\„«»:=\s]{1,200}+)""")
_FIRST_ITEM = re.compile(r"""\[\s{0,200}+([\[{"'“‘`\d.+-])""")
_KINDS = {"[": "array", "{": "object", '"': "string", "'": "string", "“": "string", "‘": "string", "`": "string"}
# What stands beside a value on its line without being a word: Markdown, tags, special tokens, numbers of a list.
_NO_WORDS_BEFORE = re.compile(
    r"(?:(?:```|~~~)\w{0,20}+|<[^<>\n]{1,80}+>|\[/?[A-Z_]{2,20}+\]|\x1b\[[\d;]{0,9}+m|\d{1,3}+[.)]|[\s*_`~>#({\[-])*+\Z"
)
_NO_WORDS_BEHIND = re.compile(r"(?:<[^<>\n]{1,80}+>|\[/?[A-Z_]{2,20}+\]|\x1b\[[\d;]{0,9}+m|[\s*_`~.,;!)}\]])*+\Z")
_LABEL = re.compile(r"(?:[:=>\uff1a\u2192]|\bjson|\breturn)[\s*_`(\"']*+\Z", re.IGNORECASE)
_LONGEST_LINE = 400
_PLAIN = re.compile(r"[\W_]+")


class Standing(IntEnum):
    """How a value stands in its text."""

    MENTIONED = 0
    LABELLED = 1
    ALONE = 2
    FENCED = 3


def standing(of: Candidate | Unreadable) -> Standing:
    """By what stands beside it on its first line, and on its last: in a fence as elsewhere, for that may hold code."""
    text, start, end = of.text, of.start, of.end
    before = text[max(text.rfind("\n", 0, start) + 1, start - _LONGEST_LINE) : start]
    line_end = text.find("\n", end)
    behind = text[end : end + _LONGEST_LINE if line_end < 0 else min(line_end, end + _LONGEST_LINE)]
    if _NO_WORDS_BEHIND.match(behind) is None:
        return Standing.MENTIONED
    if _NO_WORDS_BEFORE.match(before) is not None:
        return Standing.FENCED if of.fenced else Standing.ALONE
    return Standing.LABELLED if _LABEL.search(before) else Standing.MENTIONED


def is_rival(best: Candidate, damaged: Unreadable, schema: Json) -> bool:
    """True where what cannot be read could be the answer, and what can be read an example of it."""
    if damaged.reason == "too_long" or (damaged.place > best.place and damaged.end >= len(damaged.text)):
        return True
    if _stands_out(best, damaged):
        return damaged.place > best.place or not damaged.is_template
    if damaged.is_template:
        return False
    names = _names(schema)
    if names:
        return _speaks_of(damaged, names)
    item = _FIRST_ITEM.match(damaged.text, damaged.start)
    return item is None or _may_hold(schema, item[1])


def may_be_meant(best: Candidate, misfits: list[Candidate], schema: Json) -> Iterator[Candidate]:
    """Values that do not fit, and could be what the model meant as its answer."""
    for each in misfits:
        if not _is_aside(best, each, schema) and (_stands_out(best, each) or _looks_like_answer(best, each, schema)):
            yield each


def _looks_like_answer(best: Candidate, other: Candidate, schema: Json) -> bool:
    if is_of_failure(other.value) or _has_all_names(other.value, schema):
        return True
    as_much = standing(other) >= standing(best)
    return _has_a_name(other.value, schema) and (as_much or ends_too_early(other, schema))


def is_said_otherwise(best: Candidate, schema: Json) -> bool:
    """True where what stands behind a value that does not stand out gives each of its names a value."""
    if standing(best) > Standing.LABELLED:
        return False
    rest = best.text[best.end : best.end + MOST_READ]
    for shape in root_shapes(schema):
        names = shape.get("required")
        if is_array(names) and names:
            given = (re.search(rf"(?<![\w$]){re.escape(name)}[\s*_`\"']{{0,4}}[:=|>]", rest) for name in names)
            if all(given):
                return True
    return False


def _stands_out(best: Candidate, other: Candidate | Unreadable) -> bool:
    if other.place < best.place:
        return standing(other) > standing(best)
    if standing(other) > Standing.MENTIONED or standing(best) is Standing.MENTIONED:
        return True
    says = isinstance(other, Candidate) and is_object(other.value) and bool(other.value)
    return says and standing(best) < Standing.FENCED


def _is_aside(best: Candidate, other: Candidate, schema: Json) -> bool:
    """True for notes, for scalars beside objects, and for lists of scalars in a sentence beside what is none."""
    value = other.value
    if is_object(value):
        return False
    if is_array(value):
        if is_note(other):
            return True
        plain = not any(is_object(each) or is_array(each) for each in value)
        return plain and bool(value) and standing(other) is Standing.MENTIONED and not wants_array(schema)
    return not (value is None or is_alone_in(best.value, value))


def is_alone_in(value: Json, scalar: Json) -> bool:
    """True for a value that is a scalar, or holds nothing but one: another scalar could be said in its place."""
    if is_object(value) and len(value) == 1:
        value = next(iter(value.values()))
    return not (is_object(value) or is_array(value)) and value != scalar


def _speaks_of(damaged: Unreadable, names: frozenset[str]) -> bool:
    """True where one of the names that are asked for is given a value, or is what it breaks off in."""
    end = min(max(damaged.end, damaged.start), damaged.start + MOST_READ)
    begun = _BEGUN_NAME.match(damaged.text, damaged.start)
    if begun is not None and begun[1] in names:
        return True
    plain = {_plain(name) for name in names}
    return any(_plain(found[1] or found[2]) in plain for found in _NAME.finditer(damaged.text, damaged.start, end))


def _may_hold(schema: Json, char: str) -> bool:
    """True where items of the value may begin so."""
    for shape in root_shapes(schema):
        for item in root_shapes(schema, shape.get("items", {})):
            asked = item.get("type")
            asked = asked if is_array(asked) else [asked]
            if None in asked or _KINDS.get(char, "number") in asked or (char.isdigit() and "integer" in asked):
                return True
    return not schema


def _has_all_names(value: Json, schema: Json) -> bool:
    """True where it, or what it holds, has all names that are asked for, or nearly such: only values are wrong."""
    wanted = [
        [_plain(name) for name in shape["required"]]
        for held in root_shapes(schema)
        for shape in (held, *root_shapes(schema, held.get("items")))
        if is_array(shape.get("required")) and shape["required"]
    ]
    for each in _objects(value):
        names = [_plain(name) for name in each]
        if any(all(any(_alike(name, asked) for name in names) for asked in all_asked) for all_asked in wanted):
            return True
    return False


def _objects(value: Json) -> Iterator[Mapping[str, Json]]:
    """Itself, and what stands in it; but for the parts of a schema."""
    level: list[Json] = [value]
    for _ in range(3):
        below: list[Json] = []
        for each in level[:MOST_HELD]:
            if is_object(each):
                yield each
                below.extend(held for name, held in each.items() if name not in ("properties", "$defs"))
            elif is_array(each):
                below.extend(each[:MOST_HELD])
        level = below


def _alike(name: str, asked: str) -> bool:
    """`Number` and `invoice_number` are `number`."""
    return name == asked or (len(asked) > 2 and (name.endswith(asked) or name.startswith(asked)))


def _plain(name: str) -> str:
    return _PLAIN.sub("", name).lower()


def _has_a_name(value: Json, schema: Json) -> bool:
    if is_object(value):
        names = [_plain(name) for name in _names(schema)]
        return any(_alike(_plain(name), asked) for name in value for asked in names)
    return is_array(value) and wants_array(schema)


def _names(schema: Any) -> frozenset[str]:
    """Of the properties of the value, or of its items."""
    names: set[str] = set()
    for shape in root_shapes(schema):
        names.update(shape.get("properties", ()))
        for item in root_shapes(schema, shape.get("items")):
            names.update(item.get("properties", ()))
    return frozenset(names)
