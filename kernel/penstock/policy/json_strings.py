"""Strings as models write them: other quotes, quotes inside, raw newlines, backslashes that are no escapes.

Not here: everything around them (`json_reading`).
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod

from penstock.policy.json_notation import (
    COMMENT,
    FENCE,
    JSON_SPACE,
    KEY_AHEAD,
    QUOTED_KEY_AHEAD,
    QUOTES,
    SPACE,
    VALUE_AHEAD,
    Notation,
    behind,
)

__all__ = ["StringReading"]

_STRUCTURE_INSIDE = re.compile(r"""["'“”]\s*(?::|,\s*["'“”])""")

# `\t` in `C:\tmp`, `\b` in `\beta`: where other backslashes are none, this may be none either.
_CONTROL_OR_WORD = re.compile(r"\\[bfnrt][A-Za-z]")

_JOINS = frozenset(" \t\n+|/&")
"""What joins two strings begins with one of these."""
_ESCAPES = {
    '"': '"',
    "\\": "\\",
    "/": "/",
    "b": "\b",
    "f": "\f",
    "n": "\n",
    "r": "\r",
    "t": "\t",
}
# Not JSON, but there is nothing else they could mean: quotes of other languages, Markdown's underscore, a line that
# goes on.
_ESCAPES_ELSEWHERE = {"'": "'", "`": "`", "_": "_", "\n": "", "\r": ""}
_HEX4 = re.compile(r"[0-9a-fA-F]{4}")
_HEX2 = re.compile(r"[0-9a-fA-F]{2}")
_STOPS = {quote: re.compile(rf"[^{re.escape(quote)}\\\x00-\x1f]*+") for quote in {*QUOTES.values()}}


class StringReading(Notation, ABC):
    """Reads strings."""

    kept_backslash = False
    quoted_inside = False
    """The last string had quotes in it."""

    @abstractmethod
    def names_are_bare(self) -> bool:
        """True where a name before stands without quotes."""

    @abstractmethod
    def take_cut(self, role: str) -> None:
        """The text is over inside a string. Raises Unreadable where no schema could say how it goes on."""

    # Strings

    def string(self, quote: str, role: str) -> str:  # noqa: C901, PLR0912 - one case for each character that stops it
        """The string whose opening quote is next."""
        text, close = self.text, QUOTES[quote]
        if quote in "\"'" and text.startswith(quote * 3, self.at):
            return self.long_string(quote * 3)
        if quote != '"':
            self.mend("quotes")
        start = at = self.at + 1
        self.kept_backslash = False
        stop, pieces, inner = _STOPS[close], list[str](), 0
        while True:
            end = behind(stop, text, at)
            if end > at:
                pieces.append(text[at:end])
            at = end
            if at >= len(text):
                if inner:
                    raise self.unreadable("truncated", "ends inside a string")
                self.take_cut(role)
                return "".join(pieces)
            char = text[at]
            if char == close and self.ends_here(at + 1, role, inner=inner > 0):
                break
            self.step()
            if char == "\\":
                at = self.escape(at, pieces)
            elif char == close:
                inner += 1
                pieces.append(char)
                at += 1
            else:
                self.mend("control_characters")
                pieces.append(char)
                at += 1
        self.at = at + 1
        written = "".join(pieces)
        if inner:
            # With one quote over, any of them may end an item; behind a property's value comes a name.
            if (inner % 2 and role == "item") or _STRUCTURE_INSIDE.search(written) or self.joins_two(written, close):
                raise self.unreadable("damaged", "has quotes in a string that may end it as well")
            self.mend("inner_quotes")
            self.quoted_inside = True
        if self.kept_backslash and _CONTROL_OR_WORD.search(text, start, at):
            raise self.unreadable("damaged", "has backslashes that may or may not be escapes")
        return self.without_surrogates(written)

    @staticmethod
    def joins_two(written: str, quote: str) -> bool:
        """True for `"Ada" + "Lovelace"`: what is between the quotes is no quotation, but what joins two strings."""
        first = written.find(quote)
        second = written.find(quote, first + 1)
        between = written[first + 1 : second]
        return second > 0 and (not between.strip() or (not between[0].isalnum() and between[0] in _JOINS))

    def long_string(self, quotes: str) -> str:
        """One in three quotes at either end, as in Python."""
        end = self.text.find(quotes, self.at + 3)
        if end < 0:
            raise self.unreadable("truncated", "ends inside a string")
        self.mend("quotes")
        body = self.text[self.at + 3 : end]
        self.at = end + 3
        if "\\" not in body:
            return body
        pieces: list[str] = []
        at = 0
        whole, self.text = self.text, body
        try:
            while (slash := body.find("\\", at)) >= 0:
                pieces.append(body[at:slash])
                at = self.escape(slash, pieces)
                self.step()
        finally:
            self.text = whole
        pieces.append(body[at:])
        return self.without_surrogates("".join(pieces))

    def escape(self, at: int, pieces: list[str]) -> int:
        """What the backslash at `at` says; the place behind it."""
        text = self.text
        char = text[at + 1 : at + 2]
        if char in _ESCAPES and char:
            pieces.append(_ESCAPES[char])
            return at + 2
        if char == "u" and (digits := _HEX4.match(text, at + 2)) is not None:
            code = int(digits[0], 16)
            low = _HEX4.match(text, at + 8) if 0xD800 <= code < 0xDC00 and text.startswith("\\u", at + 6) else None
            if low is not None and 0xDC00 <= int(low[0], 16) < 0xE000:
                pieces.append(chr(0x10000 + ((code - 0xD800) << 10) + int(low[0], 16) - 0xDC00))
                return at + 12
            pieces.append(chr(code))
            return at + 6
        self.mend("escapes")
        if char == "x" and (digits := _HEX2.match(text, at + 2)) is not None:
            pieces.append(chr(int(digits[0], 16)))
            return at + 4
        if char in _ESCAPES_ELSEWHERE and char:
            pieces.append(_ESCAPES_ELSEWHERE[char])
            return at + 2
        pieces.append("\\")
        self.kept_backslash = True
        return at + 1

    def without_surrogates(self, written: str) -> str:
        """A half of a pair is no character, and can be sent nowhere."""
        if written.isascii():
            return written
        try:
            written.encode()
        except UnicodeEncodeError:
            self.mend("surrogates")
            return re.sub("[\ud800-\udfff]", "\ufffd", written)
        return written

    def ends_here(self, after: int, role: str, *, inner: bool) -> bool:
        """True where the quote before `after` ends its string, and is not a part of it."""
        if role == "key":
            return True
        text = self.text
        at = behind(JSON_SPACE, text, after)
        char = text[at : at + 1]
        if not char or char in "}]":
            return True
        if COMMENT.match(text, at) or FENCE.match(text, at):
            return True
        ahead = VALUE_AHEAD
        if role == "value":
            ahead = QUOTED_KEY_AHEAD if inner and not self.names_are_bare() else KEY_AHEAD
        if char != ",":
            # A comma may be missing; not on the same line, without a space even: that is a quotation.
            return at > after and ahead.match(text, at) is not None
        at = behind(SPACE, text, at + 1)
        char = text[at : at + 1]
        return not char or char in "}]," or ahead.match(text, at) is not None or bool(FENCE.match(text, at))
