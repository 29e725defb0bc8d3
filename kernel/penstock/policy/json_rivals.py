"""Which of several things in a text is the answer, where one of them fits the schema: one rule.

Whatever could be a value counts, be it found, damaged, misnamed, in an envelope, null, or an error. Each stands in the
text in one of four ways, each of which stands out more than the one before: *mentioned* in a sentence, *labelled* at
the end of a line (`Answer: {...}`), *alone* on its lines, *fenced*. The value that fits is the answer where

1. nothing behind it stands out at all. (What is mentioned does not, beside what is fenced. Beside what is shown without
   a fence an object that says something does; but where that is an object of several properties, alone on its lines,
   not one that only shows a part of it again, or what it leaves out, nor one in a line of code. Beside an object of
   several properties, fenced or alone on its lines, no remark does: what stands without a fence, and is an object of
   nothing but a confidence, a usage or sources, or one behind a label that says so, or a list of words or numbers
   behind a label that announces no answer and names nothing that is asked for), and
2. nothing before it stands out more than it does, and
3. nothing before it looks like an answer itself: one with all the names that are asked for, or with any where it stands
   out as much; or, where no names are asked for, an object that holds all of it and more under a name (in a fence
   where it stands in one, at the end of a line elsewhere); or one that says that there is none (null, an error), and
4. where it is but mentioned or labelled, the text behind it does not give all those names other values (YAML, a table).

Else nobody can tell the answer from an example or a draft, and it is asked again. A template, with a type's name or
another placeholder where a value should be, is no answer: only rule 1 speaks of it. Two values that fit, and differ,
are refused before this is asked (`json_finding`).

Not here: what is doubtful about a value by itself (`json_surroundings`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from enum import IntEnum

from penstock.policy.json_envelopes import MOST_BESIDE, is_of_failure, is_remark, speaks_of_asides, speaks_of_values
from penstock.policy.json_names import AskedNames, plain_name
from penstock.policy.json_notation import Unreadable, line_before, line_behind
from penstock.policy.json_places import Candidate
from penstock.policy.json_surroundings import BracketAllowance, ends_too_early, is_note
from penstock.policy.json_thinking import without_thinking
from penstock.policy.json_values import Json, frozen, is_array, is_object, is_same
from penstock.policy.schema_knowledge import root_shapes, wants_array

__all__ = ["Rivals", "Standing", "is_all_there_is", "is_alone_in", "standing"]

MOST_READ = 4_096
"""Characters of something damaged in which names are looked for."""
MOST_ITEMS = 4_096
"""Of what holds the best and more, looked at altogether, some 4 ms: beside more of them there is doubt enough."""

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


class Standing(IntEnum):
    """How a value stands in its text."""

    MENTIONED = 0
    LABELLED = 1
    ALONE = 2
    FENCED = 3


def standing(of: Candidate | Unreadable) -> Standing:
    """By what stands beside it on its first line, and on its last: in a fence as elsewhere, for that may hold code."""
    text, start, end = of.text, of.start, of.end
    before, behind = line_before(text, start, _LONGEST_LINE), line_behind(text, end, _LONGEST_LINE)
    if _NO_WORDS_BEHIND.match(behind) is None:
        return Standing.MENTIONED
    if _NO_WORDS_BEFORE.match(before) is not None:
        return Standing.FENCED if of.fenced else Standing.ALONE
    return Standing.LABELLED if _LABEL.search(before) else Standing.MENTIONED


def is_all_there_is(of: Candidate, text: str) -> bool:
    """True where nothing stands in the text beside it but its fence, tags, and what was thought before."""
    before, behind = text[: of.place], text[of.quoted_at + of.end :]
    before = without_thinking(before)[-_LONGEST_LINE:]
    return _NO_WORDS_BEFORE.match(before) is not None and _NO_WORDS_BEHIND.match(behind) is not None


class Rivals:
    """Those of the one value that fits."""

    def __init__(self, best: Candidate, schema: Json, fits: Callable[[Json], bool]) -> None:
        self.best = best
        self.schema = schema
        self.fits = fits
        self.standing = standing(best)
        self.asked = AskedNames(schema)
        self.names, self.plain_names = self.asked.all, self.asked.plain
        self.is_list = wants_array(schema)
        several = is_object(best.value) and len(best.value) > 1
        self.is_shown = self.standing >= Standing.ALONE and several and bool(self.names)
        """The best is an object of several properties, and nothing else stands on its lines."""
        self.allowance = BracketAllowance()
        self.items_left = MOST_ITEMS

    def has(self, damaged: Unreadable) -> bool:
        """True where what cannot be read could be the answer, and what can be read an example of it."""
        behind = damaged.place > self.best.place
        if damaged.reason == "too_long" or (behind and damaged.end >= len(damaged.text)):
            return True
        if self._stands_out(damaged, standing(damaged)):
            return behind or not damaged.is_template
        if damaged.is_template:
            return False
        if self.names:
            return self._is_spoken_of(damaged)
        item = _FIRST_ITEM.match(damaged.text, damaged.start)
        return item is None or _may_hold(self.schema, item[1])

    def among(self, misfits: list[Candidate]) -> Iterator[Candidate]:
        """Values that do not fit, and could be what the model meant as its answer."""
        for each in misfits:
            how = standing(each)
            aside = self._is_aside(each, how) or self._is_remark(each, how)
            if not aside and (self._stands_out(each, how) or self._looks_like_answer(each, how)):
                yield each

    def says_otherwise(self) -> bool:
        """True where what stands behind a value that does not stand out gives each of its names a value."""
        if self.standing > Standing.LABELLED:
            return False
        rest = self.best.text[self.best.end : self.best.end + MOST_READ]
        for shape in root_shapes(self.schema):
            names = shape.get("required")
            if is_array(names) and names:
                given = (re.search(rf"(?<![\w$]){re.escape(name)}[\s*_`\"']{{0,4}}[:=|>]", rest) for name in names)
                if all(given):
                    return True
        return False

    def _stands_out(self, other: Candidate | Unreadable, how: Standing) -> bool:
        if other.place < self.best.place:
            return how > self.standing
        if how > Standing.MENTIONED or self.standing is Standing.MENTIONED:
            return True
        if self.standing is Standing.FENCED or not isinstance(other, Candidate) or not is_object(other.value):
            return False
        return bool(other.value) and not (self.is_shown and self._adds_nothing(other))

    def _adds_nothing(self, other: Candidate) -> bool:
        """True for a mentioned object that shows a part of the value again, or of what it leaves out, or how it is sent
        somewhere: none could be meant in its place.
        """
        value, best = other.value, self.best.value
        return other.in_code or all(
            name in self.names and (name not in best or is_same(held, best[name])) for name, held in value.items()
        )

    def _looks_like_answer(self, other: Candidate, how: Standing) -> bool:
        if is_of_failure(other.value) or self.asked.are_all_in(other.value):
            return True
        if not self.names:
            shown = how is Standing.FENCED if self.standing is Standing.FENCED else how >= Standing.LABELLED
            if shown and self._holds_more(other.value):
                return True
        if not self._has_a_name(other.value):
            return False
        return how >= self.standing or ends_too_early(other, self.schema, self.allowance)

    def _holds_more(self, value: Json) -> bool:
        """True where a value that it holds is all of the best, and more."""
        for each in value.values() if is_object(value) and len(value) <= MOST_BESIDE else ():
            if _is_part(self.best.value, each):
                self.items_left -= len(each)
                if self.items_left < 0 or self.fits(each):
                    return True
        return False

    def _is_aside(self, other: Candidate, how: Standing) -> bool:
        """True for notes, for scalars beside objects, and for lists of scalars in a sentence beside what is none."""
        value = other.value
        if is_object(value):
            return False
        if is_array(value):
            if is_note(other):
                return True
            plain = not any(is_object(each) or is_array(each) for each in value)
            return plain and bool(value) and how is Standing.MENTIONED and not self.is_list
        return not (value is None or is_alone_in(self.best.value, value))

    def _is_remark(self, other: Candidate, how: Standing) -> bool:
        """True for what says something of an object that is shown, and could not be said in its place."""
        value = other.value
        if not self.is_shown or how is Standing.FENCED:
            return False
        label = line_before(other.text, other.start, _LONGEST_LINE) if how is Standing.LABELLED else ""
        plain = plain_name(label)
        named = any(name in plain for name in self.plain_names)
        if is_object(value):
            aside = is_remark(value) or (bool(value) and not named and speaks_of_asides(label))
            return aside and not (self._has_a_name(value) or self.asked.are_all_in(value))
        if not is_array(value) or not value or self.is_list or not label:
            return False
        return not (named or speaks_of_values(label) or any(is_object(each) or is_array(each) for each in value))

    def _is_spoken_of(self, damaged: Unreadable) -> bool:
        """True where one of the names that are asked for is given a value, or is what it breaks off in."""
        end = min(max(damaged.end, damaged.start), damaged.start + MOST_READ)
        begun = _BEGUN_NAME.match(damaged.text, damaged.start)
        if begun is not None and begun[1] in self.names:
            return True
        named = _NAME.finditer(damaged.text, damaged.start, end)
        return any(plain_name(name[1] or name[2]) in self.plain_names for name in named)

    def _has_a_name(self, value: Json) -> bool:
        if is_object(value):
            return self.asked.are_some_in(value)
        return is_array(value) and self.is_list


def is_alone_in(value: Json, scalar: Json) -> bool:
    """True for a value that is a scalar, or holds nothing but one: another scalar could be said in its place."""
    if is_object(value) and len(value) == 1:
        value = next(iter(value.values()))
    return not (is_object(value) or is_array(value)) and value != scalar


def _is_part(value: Json, whole: Json) -> bool:
    """True for some of the properties of an object, or of the items of a list. (Here 1 is true: it only asks again.)"""
    if not value or type(value) is not type(whole):
        return False
    if is_object(value):
        return len(value) < len(whole) and value.items() <= whole.items()
    if not is_array(value) or len(value) >= len(whole):
        return False
    try:
        return set(value) <= set(whole)
    except TypeError:  # it holds lists or objects
        return {frozen(each) for each in value} <= {frozen(each) for each in whole}


def _may_hold(schema: Json, char: str) -> bool:
    """True where items of the value may begin so."""
    for shape in root_shapes(schema):
        for item in root_shapes(schema, shape.get("items", {})):
            asked = item.get("type")
            asked = asked if is_array(asked) else [asked]
            if None in asked or _KINDS.get(char, "number") in asked or (char.isdigit() and "integer" in asked):
                return True
    return not schema
