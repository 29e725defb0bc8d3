"""Answers of one word: scalars, in JSON or as Python has them, and words of the schema.

Not here: objects and lists (`json_places`).
"""

from __future__ import annotations

import re
from collections.abc import Collection

from penstock.policy.json_envelopes import NOTHING_SAID, OF_ANSWERS, speaks_of_others
from penstock.policy.json_names import plain_name
from penstock.policy.json_notation import SCANNER
from penstock.policy.json_schema import SchemaCheck
from penstock.policy.json_values import Json, is_array, is_object
from penstock.policy.schema_knowledge import NONE, root_shapes

__all__ = ["LONGEST_WORD", "last_line", "may_be_instead", "may_go_on", "scalar_of", "word_of"]

_SPACE = re.compile(r"\s")
_LABEL = re.compile(r"([^\n]*)[:=][ \t*_`\"]*+([^:=\n\"`*]+)[\"`*_.]*+\Z")
_NULL_OF = re.compile(r"([^\n]*)(?:[-=]>|[\u2192\u21d2])[ \t*_`\"]*+(?:None|null)[\"`*_.]*+\Z")
_HEADING = re.compile(r"#.*+|.*[:?][\W_]*+|(?:(?:[-*+]|\d{1,3}+[.)])[ \t]++)?+(?P<mark>\*\*|__).*(?P=mark)")
# `Final answer`, `So the result is`; not `Missing data`, `Action items`.
_ANNOUNCES = re.compile(
    r"(?:\A|[.!?;:,(){}\]]|\b(?:actual|correct|corrected|final|my|our|so|the))[\W_]*+"
    rf"(?:{'|'.join(sorted(OF_ANSWERS))})(?:\s+(?:is|(?:should|would)\s+be))?+[\W_]*+\Z",
    re.IGNORECASE,
)
# `JSON output`, `For this text`; not `Missing data`.
_PARTS_OF_LABELS = re.compile(r"[.!?;:,(){}\[\]]")
_WORDS = re.compile(r"[^\W\d_]+")
_FOR_THIS = re.compile(r"\b(?:for|in)\s+(?:the\s+given|this|your)(?:\s+\w+)?+", re.IGNORECASE)
_BEFORE_ANSWERS = frozenset(
    {"actual", "correct", "extracted", "final", "json", "my", "our", "output", "real", "return", "returned", "so"}
    | {"the", "this", "your"}
)
_LAST_OF_ANSWERS = OF_ANSWERS | {"conclusion", "extracted", "extraction", "final", "here", "so", "verdict"}
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


def last_line(text: str, words: frozenset[str]) -> tuple[Json, str]:
    """The scalar, or the word of the schema, that the last line is, where nothing else stands on it; null, or such a
    word, behind a label as well (`Answer: null`). And the label, or the heading on the line above; "" without either.
    """
    above, _, line = text[max(0, len(text) - 2 * LONGEST_WORD) :].rstrip(" \t\r\n`*_.").rpartition("\n")
    plain = line.strip(" \t`*_")
    label = _LABEL.match(plain)
    if label is not None and (label[2] in words or label[2] in {"null", "None"}):
        return label[2] if label[2] in words else None, label[1]
    if (arrow := _NULL_OF.match(plain)) is not None:
        return None, arrow[1]
    if not above or not plain or len(plain) > LONGEST_WORD:
        return NONE, ""
    title = above.rstrip().rpartition("\n")[2].strip()
    heading = title if _HEADING.fullmatch(title) else ""
    return plain if plain in words else scalar_of(plain), heading


def may_be_instead(value: Json, label: str, names: Collection[str] = (), *, shown: bool = False) -> bool:
    """True where a null behind such a label may be meant in the place of a value. `names`: those of the value, plain.
    `shown`: the value may be but an example.

    Not where it is said of something else, `Notes: None`, or of a member of the value that says nothing either.
    """
    named = plain_name(label)
    if is_object(value) and named:
        held = [each for name, each in value.items() if plain_name(name) == named]
        if held:
            return any(each not in NOTHING_SAID for each in held)
    return not named or (shown and not speaks_of_others(label)) or _announces_answer(label, names)


def _announces_answer(label: str, names: Collection[str]) -> bool:
    """True for a label that says that the answer follows, or what for, or is a name of the value."""
    if _ANNOUNCES.search(label) is not None:
        return True
    *before, last = _PARTS_OF_LABELS.split(label.rstrip(".!?;:,(){}[] *_`"))
    said = _WORDS.findall(_FOR_THIS.sub(" ", last).lower())
    if not said:  # but for whom: `Notes (for this text)`
        spoken = [part for part in before if _WORDS.search(part)]
        return _FOR_THIS.search(last) is not None and (not spoken or _announces_answer(spoken[-1], names))
    while len(said) > 1 and said[0] in _BEFORE_ANSWERS:
        said = said[1:]
    return "".join(said) in names or (len(said) == 1 and said[0] in _LAST_OF_ANSWERS)


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
