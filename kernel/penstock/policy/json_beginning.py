"""Where JSON begins in text that comes in pieces: behind prose, and behind what the model thinks aloud.

Not here: the JSON itself (`json_partial`).
"""

from __future__ import annotations

import re
from typing import Literal, TypeAlias

from penstock.policy.json_thinking import (
    CLOSING_BEHIND_FIRST,
    MARKS,
    OPENING_BEHIND_FIRST,
    SPOKEN_BEHIND_FIRST,
    SPOKEN_END,
)

__all__ = ["Beginning", "Place"]

Place: TypeAlias = Literal["first", "fence", "prose"]
"""Where a value begins: before all else but thoughts, as the first in a fence, or elsewhere."""

# It begins with one class of characters, by which the engine skips what cannot be one.
_BEGIN = re.compile(
    rf"[<◁\[{{Hh](?:(?P<think>{OPENING_BEHIND_FIRST})|(?P<thought>{CLOSING_BEHIND_FIRST})|(?P<bracket>(?<=[{{\[]))"
    rf"|(?<=[Hh])(?P<spoken>{SPOKEN_BEHIND_FIRST}))"
)
_CLOSINGS = re.compile(rf"[<◁\[]{CLOSING_BEHIND_FIRST}")
_NEXT_CHANNEL = re.compile(r"<\|end\|>|<\|channel\|>(?!analysis)(?=\w)")
_FIRSTS = frozenset(first for mark in MARKS for first in (mark[0], mark[0].upper()))
_PARTS = frozenset(mark[:length] for mark in MARKS for length in range(1, len(mark)))
"""What may become a mark when more comes."""
_LONGEST = max(len(mark) for mark in MARKS)
_FENCE = "```"
_IN_FENCE = re.compile(r"(?:\A|\n)[ \t]*+```\w{0,20}+[ \t]*+\r?+\n\s*+\Z")
_LONGEST_FENCE = 80
"""Characters of a fence and what stands before it on its line, and behind it before the value."""


class Beginning:
    """Of the texts of one answer. Linear: each character is looked at once, and a few at the end of a piece again."""

    def __init__(self, brackets: str) -> None:
        self.brackets = brackets
        """Those with which the value may begin."""
        self.prose_before = False
        """On the line on which it begins, something else stands before."""
        self._first = True
        self._before = "\n"
        """The end of what stands before."""
        self._fences = 0
        self._ticks = ""
        """Of a fence that may have begun."""
        self._thinking: re.Pattern[str] | None = None
        """What ends the thought that goes on."""

    @property
    def place(self) -> Place:
        """Of what begins behind all that was looked at."""
        if self._first:
            return "first"
        return "fence" if self._fences % 2 and _IN_FENCE.search(self._before) else "prose"

    def begin_anew(self, *, thought: bool = False) -> None:
        """Behind what began, and was not the value; or was nothing but a thought."""
        self._first, self.prose_before = thought, not thought
        self._before = "\n" if thought else "}"
        self._fences *= not thought

    def found(self, text: str, at: int) -> tuple[bool, int]:
        """True and where the value begins; False and up to where there is none, -1 where more has to come."""
        if self._thinking is not None:
            end = self._thinking.search(text, at)
            if end is None:
                return False, self.seen(text, at)
            self._thinking = None
            return False, end.end()
        begin = _BEGIN.search(text, at)
        if begin is None:
            end_of_prose = self.seen(text, at)
            self._notice(text, at, max(at, end_of_prose))
            return False, end_of_prose
        start = begin.start()
        if begin["bracket"] is None:
            self._notice(text, at, start)
            if begin["spoken"] is not None:
                self._thinking = SPOKEN_END
            elif begin["think"] is not None:
                self._thinking = _NEXT_CHANNEL if begin[0].lower().startswith("<|channel|") else _CLOSINGS
            else:  # all so far was thinking
                self.begin_anew(thought=True)
            self.prose_before = False
            return False, begin.end()
        if start == _part_at(text, at):
            self._notice(text, at, start)
            return False, start if start > at else -1
        self._notice(text, at, start)
        if begin[0] in self.brackets:
            return True, start
        self._notice(text, start, start + 1)
        return False, start + 1

    def behind_closing(self, text: str, at: int) -> int | None:
        """Behind the next mark that ends a thought."""
        end = _CLOSINGS.search(text, at)
        return None if end is None else end.end()

    @staticmethod
    def seen(text: str, at: int) -> int:
        """Up to where the text holds no mark, nor the beginning of one; -1 where that is nothing more."""
        part = _part_at(text, at)
        return len(text) if part < 0 else part if part > at else -1

    def _notice(self, text: str, at: int, end: int) -> None:
        piece = text[at:end]
        self._first = self._first and not piece.strip()
        self._before = (self._before + piece[-_LONGEST_FENCE:])[-_LONGEST_FENCE:]
        piece = self._ticks + piece
        self._fences += piece.count(_FENCE)
        self._ticks = "`" * ((len(piece) - len(piece.rstrip("`"))) % len(_FENCE))
        line = text.rfind("\n", at, end) + 1
        if line > at:
            self.prose_before = False
        self.prose_before = self.prose_before or bool(text[max(line, at) : end].strip(" \t\r`*"))


def _part_at(text: str, at: int) -> int:
    """Where the text ends with what may become a mark; -1 where it does not."""
    for first in range(max(at, len(text) - _LONGEST + 1), len(text)):
        if text[first] in _FIRSTS and text[first:].lower() in _PARTS:
            return first
    return -1
