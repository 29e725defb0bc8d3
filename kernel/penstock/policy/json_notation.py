"""How JSON is written, and how models write it: what both readers of it have in common.

Not here: reading members (`json_reading`) and strings (`json_strings`).
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, Literal, TypeAlias

from msgspec import Struct

from penstock.policy.json_values import json_bytes

__all__ = [
    "COMMAS",
    "DEEPEST",
    "KEEPS_LAST",
    "KEY_AHEAD",
    "ODD_SPACE",
    "QUOTED_KEY_AHEAD",
    "QUOTES",
    "SCANNER",
    "VALUE_AHEAD",
    "Allowance",
    "Notation",
    "Reason",
    "SaidTwiceError",
    "Unreadable",
    "behind",
    "line_before",
    "line_behind",
]

DEEPEST = 128
"""Levels. Schemas of providers allow 5 or 10; whatever is deeper than this is no answer."""
MOST_STEPS = 6_000
"""What is read with forgiveness in one text: containers, damaged members (two steps each), pieces of damaged strings.
About 20 ms: a kernel has one loop for all its calls."""

COMMENT_OF_A_STEP = 12
"""Characters of comments that take as long as a step: each is looked at for words in many languages."""

Reason: TypeAlias = Literal["damaged", "truncated", "ambiguous", "too_deep", "too_long"]


class Unreadable(Exception):  # noqa: N818 - a verdict that the finder takes, not an error of anybody's
    """There is no single reading. `at` is where that became clear."""

    def __init__(self, reason: Reason, says: str, at: int) -> None:
        super().__init__(says)
        self.reason: Reason = reason
        self.says = says
        self.at = at
        self.text = ""
        """In which it stands: the whole one, or what that quotes."""
        self.start = self.end = at
        """Where the value begins and ends, as far as one knows."""
        self.quoted_at = 0
        """Where in the whole text the quotation begins."""
        self.fenced = False
        self.is_word = False
        """A word stands where a value should be, as a name in code."""
        self.is_template = False
        """A placeholder stands where a value should be: this was never meant as one."""

    @property
    def place(self) -> int:
        """What stands behind it in the whole text has a higher one."""
        return self.quoted_at + self.start


class SaidTwiceError(ValueError):
    """An object that gives one property two different values."""

    def __init__(self, name: str) -> None:
        super().__init__(f"says twice, and differently, what {name[:40]!r} is")


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if not pairs:
        return {}
    members = dict(pairs)
    if len(members) < len(pairs):
        written = dict[str, bytes]()
        for name, value in pairs:
            held = members[name]
            if held is not value and not _are_same(held, value, name, written):
                raise SaidTwiceError(name)
    return members


def _are_same(held: Any, value: Any, name: str, written: dict[str, bytes]) -> bool:
    """True where both are the same JSON, in the time that C takes to compare them. `written`: what is held, by names.

    To Python true is 1. Where both hold booleans, and write numbers in different ways beside them, they are called
    different.
    """
    if held != value or isinstance(held, bool) is not isinstance(value, bool):
        return False
    if type(held) not in {list, dict}:
        return True
    if name not in written:
        written[name] = json_bytes(held)
    is_either = written[name] == json_bytes(value)
    return is_either or (b"true" not in written[name] and b"false" not in written[name])


def _refused(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def finite(written: str) -> float:
    number = float(written)
    if not math.isfinite(number):
        raise ValueError("a number that is too large for JSON data")
    return number


SCANNER = json.JSONDecoder(object_pairs_hook=_members, parse_constant=_refused, parse_float=finite)
"""Reads valid JSON, in the time that C takes for it; no NaN, and nothing said twice and differently."""
KEEPS_LAST = json.JSONDecoder(parse_constant=_refused, parse_float=finite)
"""The same in half the time, but of what is said twice it keeps the last."""


class Allowance(Struct):
    """What may still be spent on one text."""

    steps: int = MOST_STEPS


JSON_SPACE = re.compile(r"[ \t\r\n]*+")
ODD_SPACE = re.compile(r"[\s\ufeff\u200b-\u200f\u2060]*+")
# Whatever Unicode calls a space, what is invisible, and the comments of JavaScript, JSON5 and Python.
SPACE = re.compile(r"(?:[\s\ufeff\u200b-\u200f\u2060]++|//[^\n]*+|/\*(?:[^*]++|\*(?!/))*+\*/|#(?!#)[^\n]*+)*+")
COMMENT = re.compile(r"//|/\*|#")
# What comments say where the model left something out, in the languages that it may have been asked in.
LEFT_OUT = re.compile(
    r"\.\.\.|…|\b(?:more|omit(?:s|ted)?|etc|et cetera|and so (?:on|forth)|remain(?:s|der|ing)|rest|truncated"
    r"|abbreviated|shortened|abridged|continue[sd]?|others?|elided|skip(?:s|ped)|snip(?:ped)?|left out|additional"
    r"|further|repeat(?:s|ed)?|same (?:as|for|here)|similar|likewise|todo|fill in|usw|weitere|restliche|autres"
    r"|la suite|más|restantes?|outros|altri|прочие|as well"
    r"|(?:go(?:es)?|belongs?|add(?:ed)?|insert(?:ed)?|put) here)\b|и т\. ?д\.|省略|其余|其他|等等|以下略|など|나머지",
    re.IGNORECASE,
)
FENCE = re.compile(r"[ \t]*+(?:```|~~~)")
# What stands behind a quote that ends a string, rather than being part of it.
KEY_AHEAD = re.compile(
    r"""(?:"[^"\n]{0,200}+"|'[^'\n]{0,200}+'|“[^”\n]{0,200}+”|[A-Za-z_$][\w$-]{0,200}+|-?\d{1,20}+)"""
    r"""[ \t\r\n]*+(?:[:\uff1a]|=|\Z)|\.\.\.|…"""
)
# The same where the names so far have quotes: a word before a colon is part of a text then.
QUOTED_KEY_AHEAD = re.compile(
    r"""(?:"[^"\n]{0,200}+"|'[^'\n]{0,200}+'|“[^”\n]{0,200}+”)[ \t\r\n]*+(?:[:\uff1a]|=|\Z)|\.\.\.|…"""
)
VALUE_AHEAD = re.compile(r"""["'“‘`{\[\d.+-]|[A-Za-z_]{1,40}+\s{0,99}+(?:[,\]]|\Z)|…""")
COMMAS = frozenset(",\uff0c\u3001")
"""What stands behind a string before another member."""
QUOTES = {'"': '"', "'": "'", "“": "”", "‘": "’", "`": "`", "”": "”", "„": "“", "«": "»"}


def behind(pattern: re.Pattern[str], text: str, at: int) -> int:
    """Where what the pattern takes ends; it may take nothing."""
    match = pattern.match(text, at)
    return at if match is None else match.end()


def line_before(text: str, at: int, most: int) -> str:
    """What stands before `at` on its line: no more than the last `most` characters.

    No more is searched: to find a newline among characters whose low byte is that of a newline takes a hundred times as
    long, and many places may stand on one line.
    """
    least = max(0, at - most)
    return text[max(text.rfind("\n", least, at) + 1, least) : at]


def line_behind(text: str, at: int, most: int) -> str:
    """What stands behind `at` on its line: no more than the first `most` characters, and no more is searched."""
    end = text.find("\n", at, at + most)
    return text[at : at + most if end < 0 else end]


class Notation:
    """A place in a text, and what was mended so far."""

    def __init__(self, text: str, at: int, allowance: Allowance) -> None:
        self.text = text
        self.at = at
        self.allowance = allowance
        self.repairs: dict[str, None] = {}

    def step(self) -> None:
        """Pays for one more key, value or piece of a string."""
        self.allowance.steps -= 1
        if self.allowance.steps < 0:
            raise self.unreadable("too_long", "is damaged, and too long to be mended")

    # The text

    def char(self) -> str:
        """The next character; none at the end."""
        return self.text[self.at : self.at + 1]

    def skip_space(self) -> None:
        """Passes over space, and over comments where they leave nothing out."""
        at = behind(JSON_SPACE, self.text, self.at)
        if at < len(self.text) and (self.text[at] in "/#" or (not self.text[at].isascii()) or self.text[at] in "\v\f"):
            end = behind(SPACE, self.text, at)
            if end > at:
                self.allowance.steps -= (end - at) // COMMENT_OF_A_STEP
                self.step()
                if LEFT_OUT.search(self.text, at, end):
                    raise self.unreadable("damaged", "leaves something out: it has an ellipsis in the place of content")
                if COMMENT.search(self.text, at, end):
                    self.mend("comments")
                    self.pass_comments(at, end)
                else:
                    self.mend("odd_spaces")
            at = end
        self.at = at

    def pass_comments(self, start: int, end: int) -> None:
        """Comments stand from `start` to `end`. Raises Unreadable where they may hide content."""

    def at_fence(self) -> bool:
        """A fence between values: the block is over."""
        return self.text[self.at] in "`~" and FENCE.match(self.text, self.at) is not None

    def mend(self, repair: str) -> None:
        """Notes a repair; each is told once."""
        self.repairs[repair] = None

    def unreadable(self, reason: Reason, says: str) -> Unreadable:
        """Why there is no single reading from here on."""
        return Unreadable(reason, says, self.at)
