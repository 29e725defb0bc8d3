"""Where JSON begins in text that comes in pieces: behind prose, and behind what the model thinks aloud.

Not here: the JSON itself (`json_partial`).
"""

from __future__ import annotations

import re

from penstock.policy.json_thinking import (
    CLOSING_BEHIND_FIRST,
    MARKS,
    OPENING_BEHIND_FIRST,
    SPOKEN_BEHIND_FIRST,
    SPOKEN_END,
)

__all__ = ["Beginning"]

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


class Beginning:
    """Of the texts of one answer. Linear: each character is looked at once, and a few at the end of a piece again."""

    def __init__(self, brackets: str) -> None:
        self.brackets = brackets
        """Those with which the value may begin."""
        self.prose_before = False
        """On the line on which it begins, something else stands before."""
        self._thinking: re.Pattern[str] | None = None
        """What ends the thought that goes on."""

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
            self._notice(text, at, len(text) if end_of_prose < 0 else end_of_prose)
            return False, end_of_prose
        start = begin.start()
        if begin["bracket"] is None:
            self._notice(text, at, start)
            if begin["spoken"] is not None:
                self._thinking = SPOKEN_END
            elif begin["think"] is not None:
                self._thinking = _NEXT_CHANNEL if begin[0].lower().startswith("<|channel|") else _CLOSINGS
            self.prose_before = False
            return False, begin.end()
        if start == _part_at(text, at):
            self._notice(text, at, start)
            return False, start if start > at else -1
        self._notice(text, at, start)
        if begin[0] in self.brackets:
            return True, start
        self.prose_before = True
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
