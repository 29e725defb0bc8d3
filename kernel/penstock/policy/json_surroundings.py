"""What stands around a value in a text and makes it doubtful that the value is whole, or a value at all.

Properties behind a bracket that came too early; a name before it; a number in brackets that points to a source. Not
here: other values that may be meant (`json_rivals`).
"""

from __future__ import annotations

import re

from msgspec import Struct

from penstock.policy.json_notation import line_before, line_behind
from penstock.policy.json_places import Candidate
from penstock.policy.json_thinking import without_thinking
from penstock.policy.json_values import Json, is_array, is_object

__all__ = [
    "BracketAllowance",
    "ends_too_early",
    "is_begun_before",
    "is_example",
    "is_labelled",
    "is_note",
    "may_point",
    "misses_its_head",
]

MOST_BRACKETS = 4_096
"""Brackets behind a value that are paired; behind more of them there is doubt enough."""
MOST_BRACKETS_OF_SEVERAL = 4 * MOST_BRACKETS
"""The same for all values of one text, some 10 ms: behind each may stand all the others."""

_BEHIND = re.compile(r"(?:[\s,;}\])`~]++|/\*[^*]{0,200}+\*/|//[^\n]{0,200}+\n)*+")
_NAME_BEHIND = re.compile(
    r"""(?:"([^"\n]{1,200}+)"|'([^'\n]{1,200}+)'|“([^”\n]{1,200}+)”|‘([^’\n]{1,200}+)’)\s*+(?::|=>)"""
)
_BARE_NAME_BEHIND = re.compile(r"([A-Za-z_$][\w$-]{0,99}+)\s{0,9}+:(?!//)")
_ELLIPSIS_BEHIND = re.compile(r"[\s,;]*+(?:\.\.\.|…)")
_MORE_BEHIND = re.compile(r"[\s,;]*+(?:and|plus|\+)\s+\d+\s+more\b", re.IGNORECASE)
_ITEM_BEHIND = re.compile(r"""(?:-?\d[\d.]{0,99}+|"[^"\n]{0,200}+")[ \t]*+(?:[,\n]|\Z)""")
# What stands in quotes or backticks closes nothing, nor does a smile.
_BRACKETS = re.compile(r"""[{}\[\]]|"[^"\n]{0,200}+"|`[^`\n]{1,200}+`|(?<![^\s`*_.!])[:;]-?[)\]}]""")
_NAME_BEFORE = re.compile(r"""["“][^"“”\n]{0,200}["”][ \t]*+(?::|=>)\s*+\Z""")
_LINE_OF_BRACE = re.compile(r"(?:\A|\n)[ \t]*+\{")
LEAST_OF_NO_SOURCE = 10_000
_LONGEST_LINE = 200
_MARKUP = " \t*_`"
_LABEL = re.compile(r"\b(?:source|ref|see|cit|note|foot|cf|quell|vgl|fig|eq)", re.IGNORECASE)
_TAG_BEFORE = re.compile(r"<[^<>\n]{1,80}+>\Z")
_TAG_BEHIND = re.compile(r"</?[A-Za-z|]")
_LABEL_BEFORE = re.compile(r"(?:[:=\uff1a\u2192\u21d2]|[-=]>)\Z")
# `[3] > [1] > [2]`: each points to something, and the last is no answer.
_RANKED_BEFORE = re.compile(r"(?<![\w\])])\[\d{1,4}+\]\s{0,9}+[<>=\-\u2192\u21d2\u2264\u2265\u227a\u227b]{1,3}\Z")
_FENCE = re.compile(r"(?<![`~])[`~]{3,}+[ \t]*+[\w+-]{0,20}+[ \t]*+\Z")
_NEXT_SENTENCE = re.compile(r"[.!?]\s+(?=[\W_]*[A-Z])")
# What is only shown: `For example`, `It would be given as`, `Format`; not `In the format that you want`.
_OF_EXAMPLES = re.compile(
    r"\b(?:dummy|e\.?g|examples?|for\s+instance|hypothetical(?:ly)?|if|illustrat\w{1,20}|imagine|looks?\s+like"
    r"|placeholders?|such\s+as|suppose|would)\b|\blike[\W_]*+\Z"
    r"|\bsamples?\b(?=[\W_]*+\Z|\s+(?:answer|data|format|json|object|output|response|result|value)s?\b)"
    r"|\A[\W_]*+(?:(?:answer|desired|expected|json|output|required|requested|response|the|your)\s+)*+"
    r"(?:format|schema|shape|structure|template|bad|before|default|former|incorrect|invalid|old|original|previous"
    r"|rejected|wrong)\b",
    re.IGNORECASE,
)
_COPULA = re.compile(r"\b(?:is|are)\s*+\Z")


class BracketAllowance(Struct):
    """What may still be spent on several values of one text."""

    brackets: int = MOST_BRACKETS_OF_SEVERAL


def ends_too_early(candidate: Candidate, schema: Json, allowance: BracketAllowance | None = None) -> bool:
    """True where what follows the value's last bracket belongs into it: a property with its value, items, a closer."""
    text, end, value = candidate.text, candidate.end, candidate.value
    at = _end(_BEHIND, text, end)
    if (name := _NAME_BEHIND.match(text, at)) and _may_be_property(name[name.lastindex or 0], schema):
        return True
    between = text[end:at]
    if ("," in between or ";" in between) and _BARE_NAME_BEHIND.match(text, at):
        return True
    if _ends_in_array(value) and (_ITEM_BEHIND.match(text, at) or _MORE_BEHIND.match(text, end)):
        return True
    return _ELLIPSIS_BEHIND.match(text, end) is not None or _closes_more(text, at, allowance or BracketAllowance())


def _may_be_property(name: str, schema: Json) -> bool:
    """False for a name that the schema does not know, where it knows any."""
    if not is_object(schema):
        return True
    left: list[Json] = [schema]
    known = False
    while left:
        at = left.pop()
        if is_array(at):
            left.extend(at)
        elif is_object(at):
            named = at.get("properties")
            known = known or bool(named)
            if (is_object(named) and name in named) or is_object(at.get("additionalProperties")):
                return True
            left.extend(at.values())
    return not known


def _ends_in_array(value: Json) -> bool:
    while is_object(value) and value:
        value = value[next(reversed(value))]
    return is_array(value)


def _closes_more(text: str, at: int, allowance: BracketAllowance) -> bool:
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
        allowance.brackets -= 1
        if count >= MOST_BRACKETS or allowance.brackets < 0:
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
    """True for `[1]` or `[2, 3]` in running text, which points to a source. What an envelope holds does not."""
    value, text = candidate.value, candidate.text
    written = not candidate.fenced and text.startswith("[", candidate.start)
    if not written or not is_array(value) or not value or not all(map(may_point, value)):
        return False
    before = line_before(text, candidate.start, _LONGEST_LINE).strip(_MARKUP)
    after = line_behind(text, candidate.end, _LONGEST_LINE).strip(_MARKUP)
    if after.strip(".,;!}]") and _TAG_BEHIND.match(after) is None:
        return True
    if not before.strip("> \t") or _TAG_BEFORE.search(before):
        return False
    if _ends_in_label(before):
        return len(value) == 1 and _LABEL.search(before) is not None
    return len(value) == 1 or _COPULA.search(before) is None


def is_labelled(candidate: Candidate) -> bool:
    """True for `relevant: [1, 2]`: beside another list it is a rival, whatever else stands on the line."""
    before = line_before(candidate.text, candidate.start, _LONGEST_LINE).strip(_MARKUP)
    return _ends_in_label(before) and _LABEL.search(before) is None


def _words_before(candidate: Candidate) -> str:
    """What stands right before a value, but for thoughts: on its line, or on the last one above it that has words."""
    before = without_thinking(candidate.text[max(0, candidate.start - 2 * _LONGEST_LINE) : candidate.start])
    said = (_FENCE.sub("", line) for line in reversed(before.split("\n")))
    return next((line for line in said if line.strip(f"{_MARKUP}>")), "")


def is_example(candidate: Candidate) -> bool:
    """True where the words right before a value say that it only shows what one is like, or is another one."""
    return _OF_EXAMPLES.search(_NEXT_SENTENCE.split(_words_before(candidate))[-1]) is not None


def _ends_in_label(before: str) -> bool:
    return _LABEL_BEFORE.search(before) is not None and _RANKED_BEFORE.search(before) is None


def may_point(item: Json) -> bool:
    """True for a number that a source may have: `[3]`."""
    return type(item) is int and 0 <= item < LEAST_OF_NO_SOURCE


def _end(pattern: re.Pattern[str], text: str, at: int) -> int:
    match = pattern.match(text, at)
    return at if match is None else match.end()
