"""Words that say whether all went well, and the names under which they stand: `"status": "ok"`, `"isSuccess": "no"`.

Not here: what stands beside them (`json_envelopes`).
"""

from __future__ import annotations

import re

__all__ = ["OF_GOOD_STATES", "is_of_state", "parts_of", "says_well", "words_of"]

OF_GOOD_STATES = frozenset({"complete", "found", "ok", "success", "successful", "valid"})
_STATES = OF_GOOD_STATES | {"code", "outcome", "state", "status"}
"""Parts of names under which it stands whether all went well, and such names are made of nothing else but `_OF_STATES`:
`isValid`, `response_code`; not `country_code`, `valid_until`.
"""
_OF_STATES = _STATES | frozenset(
    {"answer", "any", "api", "call", "data", "extraction", "has", "http", "is", "job", "match", "operation", "output"}
    | {"parsing", "processing", "request", "response", "result", "return", "run", "task", "validation", "was"}
)
_WELL = OF_GOOD_STATES | frozenset(
    {"available", "completed", "confirmed", "correct", "created", "done", "extracted", "final", "fine", "finished"}
    | {"generated", "good", "okay", "parsed", "pass", "passed", "processed", "ready", "succeeded", "successfully"}
    | {"true", "validated", "yes"}
)
"""Words that say so, alone or with those of `_BESIDE_WELL`."""
_BESIDE_WELL = frozenset(
    {"a", "all", "and", "answer", "data", "extraction", "has", "http", "is", "json", "operation", "parsing"}
    | {"processing", "request", "response", "result", "task", "the", "validation", "was"}
)
_PARTS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+")
_GOOD_CODE = re.compile(r"\A\s*+(?:1|2\d\d)\b[\s:,-]*+")
_DIGIT = re.compile(r"\d")


def words_of(name: str) -> list[str]:
    """The words that a name is made of, in small letters, one after the other."""
    return [part.lower() for part in _PARTS.findall(name)]


def parts_of(name: str) -> set[str]:
    """The words that a name is made of, in small letters."""
    return set(words_of(name))


def is_of_state(name: set[str]) -> bool:
    """True for the words of a name under which it stands whether all went well."""
    return not name.isdisjoint(_STATES) and name <= _OF_STATES


def says_well(state: str) -> bool:
    """True for `success`, `200 OK` and the like. What else is meant by a word or two nobody knows: `denied`, `none`."""
    words = _GOOD_CODE.sub("", state, count=1)
    if not words.strip():
        return words != state
    parts = parts_of(words)
    return not parts.isdisjoint(_WELL) and parts <= _WELL | _BESIDE_WELL and _DIGIT.search(words) is None
