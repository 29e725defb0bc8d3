"""Whether an answer says all that is asked for: one that can be read in several ways, and one that its limit cut.

Then a model can put the notation right with nothing but that answer before it. Where anything may be missing, it would
have to make it up, or leave it out. Not here: what the answer is (`json_finding`), what is asked next (`repairing`).
"""

from __future__ import annotations

import re

from penstock.policy.json_finding import is_itself
from penstock.policy.json_notation import LEFT_OUT, Allowance, Unreadable
from penstock.policy.json_reading import read_json
from penstock.policy.json_schema import SchemaCheck

__all__ = ["begins_another", "says_all"]

_FENCED = re.compile(r"```[ \t]*+(?:json5?|jsonc)?+[ \t]*+\n(?P<inside>.*)\n```", re.DOTALL | re.IGNORECASE)

# The last line announces it (`Final:`), opens its fence, or its first bracket.
_BEGUN = re.compile(r"(?:[:\uff1a][\s*_`~]*+(?:(?:```|~~~)\w{0,20}+\s*+)?|(?:```|~~~)\w{1,20}+\s*+|[{\[]\s*+)\Z")
_LONGEST_BEGINNING = 200


def begins_another(text: str) -> bool:
    """True for a text that breaks off where another value begins, of which nothing is said yet."""
    return _BEGUN.search(text, max(0, len(text) - _LONGEST_BEGINNING)) is not None


def says_all(text: str, check: SchemaCheck, tool: str = "") -> bool:
    """True where the text is one value and nothing else, whole and valid in some reading of its quotes and backslashes.

    Prose beside it may say that it is not all, and a word for what was left out may stand anywhere in it. `tool`: the
    name under which the schema was offered.
    """
    alone = text.strip()
    fenced = _FENCED.fullmatch(alone)
    value = alone if fenced is None else fenced["inside"].strip()
    if value[:1] not in {"{", "["} or LEFT_OUT.search(value):
        return False
    try:
        read = read_json(value, 0, Allowance(), any_reading=True)
    except Unreadable:
        return False
    whole = read.end == len(value) and read.cut is None and not read.unclosed
    return whole and check.fits(read.value) and is_itself(read.value, check, tool)
