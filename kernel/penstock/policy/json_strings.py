"""Strings as models write them: other quotes, quotes inside, raw newlines, backslashes that are no escapes.

Not here: everything around them (`json_reading`).
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod

from penstock.policy.json_notation import (
    COMMAS,
    COMMENT,
    FENCE,
    JSON_SPACE,
    KEY_AHEAD,
    ODD_SPACE,
    QUOTED_KEY_AHEAD,
    QUOTES,
    SPACE,
    VALUE_AHEAD,
    Notation,
    Unreadable,
    behind,
)

__all__ = ["StringReading"]

_STRUCTURE_INSIDE = re.compile(
    r"""["'“”]\s*(?:[:\uff1a]|[,\uff0c\u3001]\s*(?:["'“”]|(?:true|false|null|-?\d[\d.]*)\s*["'“”,]))""", re.IGNORECASE
)

_ESCAPED_QUOTE = re.compile(r"""\\["']""")
# Of a language that has space between its words.
_ENDS_A_WORD = re.compile(r"[A-Za-z0-9]\Z")
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
# Not JSON, but there is nothing else they could mean: quotes of other languages, Markdown's underscore.
_ESCAPES_ELSEWHERE = {"'": "'", "`": "`", "_": "_"}
_APOSTROPHE = re.compile(r"(?<=\w)'(?=\w)")
_HEX4 = re.compile(r"[0-9a-fA-F]{4}")
_HEX2 = re.compile(r"[0-9a-fA-F]{2}")
_QUOTES_IN_DOUBT = "has quotes in a string that may end it as well"
_BACKSLASHES_IN_DOUBT = "has backslashes that may or may not be escapes"
_STOPS = {quote: re.compile(rf"[^{re.escape(quote)}\\\x00-\x1f]*+") for quote in {*QUOTES.values()}}


class StringReading(Notation, ABC):
    """Reads strings."""

    any_reading = False
    """Where quotes and backslashes can be read in several ways, one of these will do."""
    kept_backslash = False
    """The string that is read has a backslash that is no escape."""
    keeps_backslashes = False
    """Some string has."""
    takes_escapes = False
    """Some string has an escape that could be a backslash and a letter: a path, an expression."""
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
        sections = list[str]()
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
                if char == "'" and _APOSTROPHE.match(text, at):
                    pieces.append(char)
                else:
                    sections.append("".join(pieces))
                    pieces.clear()
                at += 1
            else:
                self.mend("control_characters")
                pieces.append(char)
                at += 1
        self.at = at + 1
        sections.append("".join(pieces))
        written = close.join(sections)
        if inner:
            # With one quote over, any of them may end an item; behind a property's value comes a name.
            if _STRUCTURE_INSIDE.search(written):
                raise self.doubtful()
            odd = inner % 2 and (role == "item" or self.opens_last(written, close))
            if odd or self.joins_two(sections, role):
                self.doubt_quotes()
            self.mend("inner_quotes")
            self.quoted_inside = True
        # `C:\dir\"`: where other backslashes are none, that before a quote may be none either.
        if self.kept_backslash and len(_ESCAPED_QUOTE.findall(text, start, at)) % 2:
            self.doubt_backslashes()
        return self.without_surrogates(written)

    @staticmethod
    def opens_last(written: str, quote: str) -> bool:
        """True for `he said "hi`: the quote that ended the string may have been the one that ends the quotation."""
        at = written.rfind(quote)
        before, after = written[:at][-1:], written[at + 1 : at + 2]
        return (
            (not before or before.isspace() or before in "([{-\u2013\u2014:=") and bool(after) and not after.isspace()
        )

    @staticmethod
    def joins_two(sections: list[str], role: str) -> bool:
        """True for `"Ada" + "Lovelace"`, `"Ada"; "Grace"`: what is between the quotes is no quotation, but what stands
        between two strings. A quotation begins and ends with something else than space, and has a word in it; one
        among items does not go on from a word.
        """
        for place in range(1, len(sections) - 1, 2):
            quoted = sections[place]
            if quoted != quoted.strip() or not any(char.isalnum() for char in quoted):
                return True
            if role == "item" and _ENDS_A_WORD.search(sections[place - 1]):
                return True
        return False

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
            self.takes_escapes = self.takes_escapes or char not in {'"', "/"}
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
        if char and char < " ":  # a line that goes on, or one of two backslashes before an escape
            self.doubt_backslashes()
        self.mend("escapes")
        if char == "x" and (digits := _HEX2.match(text, at + 2)) is not None:
            pieces.append(chr(int(digits[0], 16)))
            return at + 4
        if char in _ESCAPES_ELSEWHERE and char:
            pieces.append(_ESCAPES_ELSEWHERE[char])
            return at + 2
        pieces.append("\\")
        self.kept_backslash = self.keeps_backslashes = True
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
        text, close = self.text, self.text[after - 1]
        at = behind(ODD_SPACE, text, after)
        char = text[at : at + 1]
        if not char or char in "}]":
            return True
        if FENCE.match(text, at):
            return self.ends_before_fence(after, at, inner=inner)
        if COMMENT.match(text, at):
            return self.ends_before_comment(at, role, close, inner=inner)
        ahead = self.ahead(role, inner=inner)
        if char not in COMMAS:
            # A comma may be missing; not on the same line, without a space even: that is a quotation.
            at = behind(JSON_SPACE, text, after)
            return at > after and ahead.match(text, at) is not None
        at = self.behind_comments(at + 1, close, inner=inner)
        char = text[at : at + 1]
        return not char or char in "}]," or ahead.match(text, at) is not None or bool(FENCE.match(text, at))

    def ahead(self, role: str, *, inner: bool) -> re.Pattern[str]:
        """What stands where the next member begins."""
        if role != "value":
            return VALUE_AHEAD
        return QUOTED_KEY_AHEAD if inner and not self.names_are_bare() else KEY_AHEAD

    def ends_before_fence(self, after: int, at: int, *, inner: bool) -> bool:
        """On a line of its own the fence ends the block; elsewhere it is a part of the string."""
        if "\n" not in self.text[after : at + 1]:
            return False
        if inner:
            raise self.doubtful()
        return True

    def ends_before_comment(self, at: int, role: str, close: str, *, inner: bool) -> bool:
        """What looks like a comment may be a part of the string, whose end comes later."""
        end = self.behind_comments(at, close, inner=inner)
        char = self.text[end : end + 1]
        if char and char in "}],":
            return True
        return not inner if not char else self.ahead(role, inner=inner).match(self.text, end) is not None

    def behind_comments(self, at: int, close: str, *, inner: bool) -> int:
        """Where space and comments end. Raises Unreadable where they may hold the end of the string."""
        end = behind(SPACE, self.text, at)
        quotes = self.text.count(close, at, end)
        if quotes and close == "'":
            quotes -= len(_APOSTROPHE.findall(self.text, at, end))
        if quotes % 2 or (quotes and inner):
            raise self.doubtful()
        return end

    def doubtful(self) -> Unreadable:
        """Where one quote may end the string as well as another."""
        return self.unreadable("damaged", _QUOTES_IN_DOUBT)

    def doubt_quotes(self) -> None:
        """The same, where all that the text says is said in each reading. Raises Unreadable unless any will do."""
        if not self.any_reading:
            raise self.doubtful()

    def doubt_backslashes(self) -> None:
        """Backslashes may be escapes or none. Raises Unreadable unless any reading will do."""
        if not self.any_reading:
            raise self.unreadable("damaged", _BACKSLASHES_IN_DOUBT)
