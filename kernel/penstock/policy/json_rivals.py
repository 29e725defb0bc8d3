"""What stands beside a value in a text and makes it doubtful that this value is the one that is meant.

An example before an answer that cannot be read; properties behind a bracket that came too early; a number in brackets
that points to a source. Not here: finding the values (`json_places`), and who is asked about them (`json_finding`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from penstock.policy.json_notation import Unreadable
from penstock.policy.json_places import Candidate
from penstock.policy.json_thinking import without_thinking
from penstock.policy.json_values import Json, is_array, is_object
from penstock.policy.schema_knowledge import root_shapes

__all__ = ["ends_too_early", "has_bracket_more", "is_begun_before", "is_note", "is_rival", "misses_its_head", "rivals"]

MOST_BRACKETS = 4_096
"""Brackets behind a value that are paired; behind more of them there is doubt enough."""

_FIRST_NAME = re.compile(r"""[\s\[{]{0,200}+["'“”‘`\\„«]{0,4}+([^"'“”‘’`\\„«»:=\s]{1,200}+)""")
_FIRST_ITEM = re.compile(r"""\[\s{0,200}+([\[{"'“‘`\d.+-])""")
_KINDS = {"[": "array", "{": "object", '"': "string", "'": "string", "“": "string", "‘": "string", "`": "string"}
_BEHIND = re.compile(r"(?:[\s,;}\])`~]++|/\*[^*]{0,200}+\*/|//[^\n]{0,200}+\n)*+")
_NAME_BEHIND = re.compile(r"""(?:"[^"\n]{1,200}+"|'[^'\n]{1,200}+'|“[^”\n]{1,200}+”|‘[^’\n]{1,200}+’)\s*+(?::|=>)""")
_BARE_NAME_BEHIND = re.compile(r"[A-Za-z_$][\w$-]{0,99}+\s{0,9}+:(?!//)")
_ELLIPSIS_BEHIND = re.compile(r"[\s,;]*+(?:\.\.\.|…|(?:and|plus|\+)\s+\d+\s+more\b)", re.IGNORECASE)
_ITEM_BEHIND = re.compile(r"""(?:-?\d[\d.]{0,99}+|"[^"\n]{0,200}+")[ \t]*+(?:[,\n]|\Z)""")
_BRACKETS = re.compile(r"""[{}\[\]]|"[^"\n]{0,200}+\"""")
_NAME_BEFORE = re.compile(r"""["“][^"“”\n]{0,200}["”][ \t]*+(?::|=>)\s*+\Z""")
_BRACKET_MORE = re.compile(r"[\s,;]*+[}\]]")
_LINE_OF_BRACE = re.compile(r"(?:\A|\n)[ \t]*+\{")
_MARKUP = " \t*_`"
_LABEL = re.compile(r"\b(?:source|ref|see|cit|note|foot|cf|quell|vgl|fig|eq)", re.IGNORECASE)
_COPULA = re.compile(r"\b(?:is|are)\s*+\Z")


def rivals(best: Candidate, misfits: list[Candidate], schema: Json) -> Iterator[Candidate]:
    """Values that do not fit, and could be what the model meant as its answer: it made a mistake in it."""
    for each in misfits:
        if not _looks_like(each.value, schema):
            continue
        stands_out = each.place > best.place or (each.fenced and not best.fenced)
        if stands_out or _is_whole(each.value, schema) or ends_too_early(each.text, each.end):
            yield each


def is_rival(best: Candidate, damaged: Unreadable, text: str, schema: Json) -> bool:
    """True where what cannot be read could be the answer, and what can be read an example of it."""
    if damaged.reason == "too_long" or damaged.start > best.place or (damaged.fenced and not best.fenced):
        return True
    names = _names(schema)
    if names:
        first = _FIRST_NAME.match(text, damaged.start)
        return first is not None and first[1] in names
    item = _FIRST_ITEM.match(text, damaged.start)
    return item is None or _may_hold(schema, item[1])


def _may_hold(schema: Json, char: str) -> bool:
    """True where items of the value may begin so."""
    for shape in root_shapes(schema):
        for item in root_shapes(schema, shape.get("items", {})):
            asked = item.get("type")
            asked = asked if is_array(asked) else [asked]
            if None in asked or _KINDS.get(char, "number") in asked or (char.isdigit() and "integer" in asked):
                return True
    return not schema


def _looks_like(value: Json, schema: Json) -> bool:
    if is_object(value):
        names = _names(schema)
        return any(name in names for name in value)
    return is_array(value) and any("items" in shape or shape.get("type") == "array" for shape in root_shapes(schema))


def _is_whole(value: Json, schema: Json) -> bool:
    """True for an object with all properties that are asked for; only what they are is wrong."""
    wanted = [shape["required"] for shape in root_shapes(schema) if is_array(shape.get("required"))]
    if is_object(value):
        return any(names and all(name in value for name in names) for names in wanted)
    return is_array(value) and bool(value) and all(is_object(each) and _has_all(each, schema) for each in value)


def _has_all(item: Mapping[str, Json], schema: Json) -> bool:
    return any(
        bool(shape.get("required")) and all(name in item for name in shape["required"])
        for held in root_shapes(schema)
        for shape in root_shapes(schema, held.get("items"))
    )


def _names(schema: Json) -> frozenset[str]:
    """Of the properties of the value, or of its items."""
    names: set[str] = set()
    for shape in root_shapes(schema):
        names.update(shape.get("properties", ()))
        for item in root_shapes(schema, shape.get("items")):
            names.update(item.get("properties", ()))
    return frozenset(names)


def ends_too_early(text: str, end: int) -> bool:
    """True where what follows the value's last bracket belongs into it: a name with its value, items, a closer."""
    at = _end(_BEHIND, text, end)
    if _NAME_BEHIND.match(text, at) or _ITEM_BEHIND.match(text, at):
        return True
    between = text[end:at]
    if ("," in between or ";" in between) and _BARE_NAME_BEHIND.match(text, at):
        return True
    if _ELLIPSIS_BEHIND.match(text, end):
        return True
    return _closes_more(text, at)


def has_bracket_more(text: str, end: int) -> bool:
    """True where another bracket is closed right behind the value: there is one too many, here or before."""
    return _BRACKET_MORE.match(text, end) is not None


def _closes_more(text: str, at: int) -> bool:
    """True where a bracket is closed that was not opened, and there was content before it; or a brace never is."""
    if not any(text.find(bracket, at) >= 0 for bracket in "{}]"):
        return False
    depth = braces = 0
    for count, token in enumerate(_BRACKETS.finditer(text, at)):
        match token[0]:
            case "{" | "[":
                depth += 1
                braces += token[0] == "{"
            case "}" | "]":
                depth -= 1
                braces -= token[0] == "}"
                if depth < 0:
                    return True
            case _:
                pass
        if count >= MOST_BRACKETS:
            return True
    return braces > 0


def is_begun_before(text: str, start: int) -> bool:
    """True where a line before the value begins with a brace that was never closed: an answer may have broken off."""
    before = without_thinking(text[:start])
    line = _LINE_OF_BRACE.search(before)
    return line is not None and before.count("{", line.start()) > before.count("}", line.start())


def misses_its_head(text: str, start: int, end: int) -> bool:
    """True where a name stands before the value: it is a part of something whose beginning is lost."""
    before = _NAME_BEFORE.search(text, max(0, start - 256), start)
    # A name that is all there is besides is that of the whole.
    return before is not None and (bool(text[: before.start()].strip()) or bool(text[end:].strip()))


def is_note(candidate: Candidate) -> bool:
    """True for `[1]` or `[2, 3]` in running text, which points to a source."""
    value, text = candidate.value, candidate.text
    if candidate.fenced or not is_array(value) or not value or not all(_is_small(each) for each in value):
        return False
    start = text.rfind("\n", 0, candidate.start) + 1
    end = text.find("\n", candidate.end)
    before = text[max(start, candidate.start - 200) : candidate.start].strip(_MARKUP)
    after = text[candidate.end : candidate.end + 200 if end < 0 else min(end, candidate.end + 200)].strip(_MARKUP)
    if after.strip(".,;!}]") and not after.startswith("<"):
        return True
    if not before or before.endswith(">"):
        return False
    if before[-1] in ":=\uff1a":
        return len(value) == 1 and _LABEL.search(before) is not None
    return len(value) == 1 or _COPULA.search(before) is None


def _is_small(value: Any) -> bool:
    return type(value) is int and 0 <= value < 10_000


def _end(pattern: re.Pattern[str], text: str, at: int) -> int:
    match = pattern.match(text, at)
    return at if match is None else match.end()
