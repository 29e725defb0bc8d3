"""JSON while it grows: the value as far as it has come, from text that comes in pieces.

In time linear in the text, whatever its pieces: the value is one object that grows in place, and a long string is
renewed each time it has grown by a part of itself. What is damaged beyond other quotes and names without any is shown
as far as it was sound. Not here: whether the whole is valid (`json_finding`, at the end), where it begins among prose
(`json_beginning`), which part of it is the value (`json_meant`).
"""

from __future__ import annotations

import re
from typing import Any, Literal, TypeAlias

from msgspec import Struct

from penstock.policy.json_beginning import Beginning, Place
from penstock.policy.json_meant import Meant
from penstock.policy.json_notation import DEEPEST
from penstock.policy.json_surroundings import may_point
from penstock.policy.json_values import Json, is_array, is_object
from penstock.policy.schema_knowledge import NONE

__all__ = ["NOTHING_YET", "PartialJson"]

NOTHING_YET: Any = object()
"""Before there is anything to show."""
SHARE = 32
"""A growing string is renewed once it is longer by this part of itself: so that all its renewals together cost a
constant times its length."""
LONGEST_SCALAR = 400
"""Characters of a number or word; and of what is held until more comes."""

_SPACE = re.compile(r"[\s\ufeff]*+")
_QUOTES = {'"': '"', "'": "'", "“": "”", "‘": "’"}
_TEXTS = {close: re.compile(rf"[^{close}\\]*+") for close in _QUOTES.values()}
_SCALAR = re.compile(r"[^\s,:\]}\[{\"']++")
_BETWEEN_LINES = re.compile(r"[\s,]*+")
_NAME = re.compile(r"[A-Za-z_$][\w$-]*+")
_BEHIND_QUOTE = re.compile(r"\s{0,16}+")
_ESCAPES = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", **{char: char for char in "\"\\/'`_"}}
_WORDS = {"true": True, "false": False, "null": None, "True": True, "False": False, "None": None}
_NUMBER = re.compile(r"-?(?:0|[1-9]\d*+)(?:\.\d++)?+(?:[eE][-+]?\d{1,2}+)?+")

_State: TypeAlias = Literal["member", "colon", "value", "behind"]


class _Open(Struct):
    value: Any
    is_object: bool
    state: _State
    """What comes next: a member or an end, the colon behind its name, its value, what stands behind that."""
    key: str = ""


class PartialJson:
    """Feed it text, look at `value`.

    `schema` says what is meant to come: a list is not looked for where an object is asked for, what modes of providers
    and models wrap around a value is taken off, and objects that follow one another are a list where one is asked for.
    Laws: what is shown is a beginning of the value that the text turns out to hold, whatever stands before it, but
    where the text begins with another object of the type's names; how the text is split changes nothing of what stands
    there in the end; a member of an object appears with its value's first character that shows something, a number or
    word when it is whole; nothing raises.
    """

    def __init__(self, schema: Json = None) -> None:
        self.whole = False
        """The outermost bracket was closed: what follows is not looked at, unless all of it was thinking."""
        self._meant = Meant(schema)
        kinds = self._meant.kinds
        self._beginning = Beginning("{[" if not kinds or "array" in kinds else "{")
        self._lines: list[Json] | None = None
        """The objects so far, where they are the items of a list that has no brackets."""
        self._lines_over = False
        """Something else came behind a line."""
        self._root: Any = NOTHING_YET
        self._place: Place = "first"
        self._changes = self._told = 0
        self._held = ""
        """What cannot be read before more comes: an escape's beginning, a number's, a tag's."""
        self._stack: list[_Open] = []
        self._broken = False
        """What came is no JSON: nothing more is shown of it."""
        self._pieces: list[str] | None = None
        """Of the string that has begun."""
        self._close = '"'
        self._grown = 0
        self._shown = 0

    @property
    def value(self) -> Any:
        """As far as it has come; NOTHING_YET where there is nothing to show."""
        root = self._root
        if is_object(root):
            value = self._in_lines(root)
            if value is NONE:
                value = self._meant.of(root, self._place, whole=self.whole)
            return NOTHING_YET if value is NONE else value
        return NOTHING_YET if is_array(root) and self._may_be_mentioned(root) else root

    def _in_lines(self, root: dict[str, Json]) -> Json:
        """The list that an object is the last item of; NONE for any other object."""
        if not root or not (self._lines or self._meant.is_line(root, self._place, whole=self.whole)):
            return NONE if self._lines is None else self._lines
        if self._lines is None:
            self._lines = []
        if not self._lines or self._lines[-1] is not root:
            self._lines.append(root)
        return self._lines

    def feed(self, text: str) -> bool:
        """Takes more of the text. True where `value` has something new."""
        if not text:
            return False
        text, self._held = self._held + text, ""
        at, before = 0, len(text)
        while at < before:
            step = self._step(text, at)
            if step < 0:
                self._held = text[at:]
                break
            at = step
        if self._pieces is not None:
            self._show()
        if self._changes == self._told or self.value is NOTHING_YET:
            return False
        self._told = self._changes
        return True

    def _may_be_mentioned(self, items: list[Json]) -> bool:
        """What stands behind prose without a fence is the value where it fits, and small numbers alone are not: they
        may point to sources.
        """
        if self._place != "prose" or not self._meant.is_known:
            return False
        return not self.whole or (bool(items) and all(map(may_point, items))) or not self._meant.fits(items)

    # One step returns where the text goes on, -1 where more of it is needed.

    def _step(self, text: str, at: int) -> int:
        if self._pieces is not None:
            return self._string(text, at)
        if self.whole and self._lines is not None and not self._lines_over:
            between = _BETWEEN_LINES.match(text, at)
            next_line = at if between is None else between.end()
            if next_line >= len(text):
                return next_line
            if text[next_line] == "{":
                self.whole = False
                self._open("{")
                return next_line + 1
            self._lines_over = True
        if self.whole or self._broken:
            end = self._beginning.behind_closing(text, at)
            if end is not None:  # all so far was thinking
                self._begin_anew(thought=True)
                return end
            return self._beginning.seen(text, at)
        if not self._stack:
            return self._begin(text, at)
        at = self._behind(text, at)
        return at if at >= len(text) else self._token(text, at)

    def _begin(self, text: str, at: int) -> int:
        found, start = self._beginning.found(text, at)
        if found:
            self._place = self._beginning.place
            self._open(text[start])
            return start + 1
        return start

    def _begin_anew(self, *, thought: bool = False) -> None:
        self._beginning.begin_anew(thought=thought)
        self.whole = self._broken = self._lines_over = False
        self._root, self._stack, self._pieces, self._lines = NOTHING_YET, [], None, None

    @staticmethod
    def _behind(text: str, at: int) -> int:
        match = _SPACE.match(text, at)
        return at if match is None else match.end()

    def _token(self, text: str, at: int) -> int:
        """What stands between strings: brackets, commas, colons, numbers, words."""
        container, char = self._stack[-1], text[at]
        if char in "}]" and container.state in ("member", "behind") and (char == "}") == container.is_object:
            return self._shut(at)
        if char in ",:":
            expected: _State = "behind" if char == "," else "colon"
            if container.state != expected:
                return self._break(at)
            container.state = "value" if char == ":" or not container.is_object else "member"
            if char == "," and not container.is_object:
                container.state = "member"
            return at + 1
        naming = container.is_object and container.state == "member"
        if not naming and container.state not in ("value", "member"):
            return self._break(at)
        if char in _QUOTES:
            self._pieces, self._close, self._grown, self._shown = [], _QUOTES[char], 0, 0
            return at + 1
        if char in "{[" and not naming:
            if len(self._stack) >= DEEPEST:
                return self._break(at)
            self._open(char)
            return at + 1
        return self._scalar(text, at, naming=naming)

    def _open(self, char: str) -> None:
        value: Any = {} if char == "{" else []
        if self._stack:
            self._put(value)
        else:
            self._root = value
            self._changes += self._lines is None  # one more line shows nothing before its first member
        self._stack.append(_Open(value, char == "{", "member"))

    def _shut(self, at: int) -> int:
        self._stack.pop()
        if not self._stack:
            self.whole = True
            if self.value is NOTHING_YET and self._lines is None:
                self._begin_anew()
            else:
                self._changes += not self._root
        return at + 1

    def _break(self, at: int) -> int:
        """What comes is no JSON. Where nothing of it was shown, it was nothing but a brace in the text."""
        if len(self._stack) == 1 and not self._root and self._lines is None:
            self._begin_anew()
            return at
        self._broken = True
        return at

    def _scalar(self, text: str, at: int, *, naming: bool) -> int:
        match = _SCALAR.match(text, at)
        if match is None:
            return self._break(at)
        word = match[0]
        if match.end() >= len(text) and len(word) < LONGEST_SCALAR:
            return -1
        container = self._stack[-1]
        if naming and _NAME.fullmatch(word):
            container.key, container.state = word, "colon"
        elif not naming and word in _WORDS:
            self._put(_WORDS[word])
        elif not naming and len(word) < LONGEST_SCALAR and _NUMBER.fullmatch(word):
            self._put(float(word) if any(char in ".eE" for char in word) else int(word))
        else:
            return self._break(at)
        return match.end()

    def _put(self, value: Any) -> None:
        container = self._stack[-1]
        if container.is_object:
            container.value[container.key] = value
        else:
            container.value.append(value)
        container.state = "behind"
        self._changes += 1

    # Strings

    def _string(self, text: str, at: int) -> int:
        match = _TEXTS[self._close].match(text, at)
        end = at if match is None else match.end()
        if end > at:
            self._take(text[at:end])
            return end
        if text[at] == "\\":
            return self._escape(text, at)
        if self._close == '"':
            self._end_string()
            return at + 1
        return self._other_quote(text, at)

    def _other_quote(self, text: str, at: int) -> int:
        """It ends the string where structure follows; else it is an apostrophe."""
        behind = _BEHIND_QUOTE.match(text, at + 1)
        after = at + 1 if behind is None else behind.end()
        if after >= len(text) and after - at <= 16:
            return -1
        if after >= len(text) or text[after] in ",:}]":
            self._end_string()
        else:
            self._take(text[at])
        return at + 1

    def _take(self, piece: str) -> None:
        assert self._pieces is not None
        self._pieces.append(piece)
        self._grown += len(piece)

    def _escape(self, text: str, at: int) -> int:
        char = text[at + 1 : at + 2]
        if not char:
            return -1
        if char != "u":
            self._take(_ESCAPES.get(char, f"\\{char}"))
            return at + 2
        if len(text) < at + 6:
            return -1
        code = _code(text, at)
        if 0xD800 <= code < 0xDC00:
            if len(text) < at + 12:
                return -1
            low = _code(text, at + 6) if text.startswith("\\u", at + 6) else -1
            if 0xDC00 <= low < 0xE000:
                self._take(chr(0x10000 + ((code - 0xD800) << 10) + low - 0xDC00))
                return at + 12
        self._take("\ufffd" if code < 0 or 0xD800 <= code < 0xE000 else chr(code))
        return at + 6

    def _naming(self) -> bool:
        container = self._stack[-1]
        return container.is_object and container.state == "member"

    def _end_string(self) -> None:
        pieces, self._pieces = self._pieces, None
        written = "".join(pieces or ())
        container = self._stack[-1]
        if self._naming():
            container.key, container.state = written, "colon"
        elif self._shown:
            if self._grown > self._shown:
                self._renew(written)
            container.state = "behind"
        else:
            self._put(written)

    def _show(self) -> None:
        """The string as far as it has come, where enough of it is new."""
        if self._naming() or not self._grown or self._grown - self._shown <= self._shown // SHARE:
            return
        assert self._pieces is not None
        written = "".join(self._pieces)
        self._pieces = [written]
        container = self._stack[-1]
        if self._shown or container.is_object:
            self._renew(written)
        else:
            container.value.append(written)
            self._changes += 1
        self._shown = self._grown

    def _renew(self, written: str) -> None:
        container = self._stack[-1]
        container.value[container.key if container.is_object else -1] = written
        self._changes += 1


def _code(text: str, at: int) -> int:
    try:
        return int(text[at + 2 : at + 6], 16)
    except ValueError:
        return -1
