"""Answers of one word: scalars, in JSON or as Python has them, and words of the schema.

Not here: objects and lists (`json_places`).
"""

from __future__ import annotations

import re

from penstock.policy.json_notation import SCANNER
from penstock.policy.json_schema import SchemaCheck
from penstock.policy.json_values import Json, is_array, is_object
from penstock.policy.schema_knowledge import NONE, root_shapes

__all__ = ["LONGEST_WORD", "last_line", "may_go_on", "scalar_of", "word_of"]

_SPACE = re.compile(r"\s")
_LABEL = re.compile(r"[^\n]*[:=][ \t*_`\"]*+([^:=\n\"`*]+)[\"`*_.]*+\Z")
_SCALAR = re.compile(
    r"""-?(?:0|[1-9]\d{0,99}+)(?:\.\d{1,99}+)?+(?:[eE][-+]?\d{1,2}+)?+|"(?:[^"\\\n]|\\["\\/bfnrt])*+\""""
)
_LITERALS: dict[str, Json] = {"null": None, "None": None, "true": True, "True": True, "false": False, "False": False}
LONGEST_WORD = 200
"""Characters of an answer that is one word."""


def scalar_of(written: str) -> Json:
    """The scalar that a text is, in JSON or as Python has it."""
    if written in _LITERALS:
        return _LITERALS[written]
    if _SCALAR.fullmatch(written) is None:
        return NONE
    try:
        return SCANNER.decode(written)
    except ValueError:  # more than a float can hold
        return NONE


def word_of(bare: str, words: frozenset[str], check: SchemaCheck | None) -> Json:
    """A word that the schema knows, or says enough of; or a scalar. (`42.` may be the beginning of a number.)"""
    plain = bare.strip("\"'“”‘’.")
    if plain in words:
        return plain
    if check is None:
        return NONE
    value = scalar_of(bare)
    if value is not NONE:
        return value if check.fits(value) else NONE
    stated = check.schema
    told = is_object(stated) and stated.get("type") == "string" and ("pattern" in stated or "format" in stated)
    return plain if told and plain and not _SPACE.search(plain) and check.fits(plain) else NONE


def last_line(text: str, words: frozenset[str]) -> Json:
    """The scalar, or the word of the schema, that the last line is, where nothing else stands on it; null, or such a
    word, behind a label as well (`Answer: null`).
    """
    line = text[max(0, len(text) - 2 * LONGEST_WORD) :].rstrip(" \t\r\n`*_.")
    at = line.rfind("\n")
    plain = line[at + 1 :].strip(" \t`*_")
    label = _LABEL.match(plain)
    if label is not None and (label[1] in words or label[1] in {"null", "None"}):
        return label[1] if label[1] in words else None
    if at < 0 or not plain or len(plain) > LONGEST_WORD:
        return NONE
    return plain if plain in words else scalar_of(plain)


def may_go_on(value: Json, schema: Json) -> bool:
    """True for a number, or a text, that could be the beginning of another one that the schema takes; of what the
    schema lists, where it lists the other as well.
    """
    if value is None or isinstance(value, bool) or is_object(value) or is_array(value):
        return False
    listed: list[Json] = []
    for shape in root_shapes(schema):
        stated = shape.get("enum")
        listed.extend(stated if is_array(stated) else ())
        listed.extend([shape["const"]] if "const" in shape else ())
    if value not in listed:
        return True
    begun = str(value)
    return any(str(other) != begun and str(other).startswith(begun) for other in listed)
