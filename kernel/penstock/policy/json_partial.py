"""JSON while it grows: the value as far as it has come, from text that comes in pieces.

In time linear in the text, whatever its pieces: the value is one object that grows in place, and a long string is
renewed each time it has grown by a part of itself. Not here: whether the whole is valid (`json_finding`, at the end).
"""

from __future__ import annotations

import re
from typing import Any, Literal, TypeAlias

from msgspec import Struct

from penstock.policy.json_notation import DEEPEST

__all__ = ["NOTHING_YET", "PartialJson"]

NOTHING_YET: Any = object()
"""Before the first bracket."""
SHARE = 32
"""A growing string is renewed once it is longer by this part of itself: so that all its renewals together cost a
constant times its length."""

_START = re.compile(r"[{\[]")
_THINKING = re.compile(r"<(/?)(?:think|thinking|thought|reasoning|reflection|scratchpad|analysis)>")
_SPACE = re.compile(r"[\s,:]*+")
_TEXT = re.compile(r'[^"\\]*+')
_SCALAR = re.compile(r"[^\s,:\]}\[{\"]++")
_ESCAPES = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_WORDS = {"true": True, "false": False, "null": None, "True": True, "False": False, "None": None}
_NUMBER = re.compile(r"-?\d++(?:\.\d++)?+(?:[eE][-+]?\d++)?+")

_Role: TypeAlias = Literal["key", "value"]


class _Open(Struct):
    value: Any
    is_object: bool
    key: str | None = None


class PartialJson:
    """Feed it text, look at `value`.

    Laws: how the text is split changes nothing of what stands there in the end; a member of an object appears with its
    value's first character that shows something, a number or word when it is whole; nothing raises.
    """

    def __init__(self) -> None:
        self.value: Any = NOTHING_YET
        self.whole = False
        """The outermost bracket was closed: what follows is not looked at."""
        self._held = ""
        """What cannot be read before more comes: an escape's beginning, a number's, a tag's."""
        self._stack: list[_Open] = []
        self._pieces: list[str] | None = None
        """Of the string that has begun."""
        self._grown = 0
        self._shown = 0
        self._role: _Role = "value"
        self._thinking = False

    def feed(self, text: str) -> bool:
        """Takes more of the text. True where the value may have changed."""
        if self.whole or not text:
            return False
        text, self._held = self._held + text, ""
        at, before = 0, len(text)
        while at < before and not self.whole:
            step = self._step(text, at)
            if step < 0:
                self._held = text[at:]
                break
            at = step
        if self._pieces is not None:
            self._show()
        return self.value is not NOTHING_YET

    # One step returns where the text goes on, -1 where more of it is needed.

    def _step(self, text: str, at: int) -> int:
        if self._pieces is not None:
            return self._string(text, at)
        if not self._stack:
            return self._begin(text, at)
        match = _SPACE.match(text, at)
        at = at if match is None else match.end()
        if at >= len(text):
            return at
        char = text[at]
        if char in "{[":
            return self._open(char, at)
        if char in "}]":
            return self._close(at)
        if char == '"':
            container = self._stack[-1]
            self._role = "key" if container.is_object and container.key is None else "value"
            self._pieces, self._grown, self._shown = [], 0, 0
            return at + 1
        return self._scalar(text, at)

    def _begin(self, text: str, at: int) -> int:
        """Prose, and thinking, before the value."""
        tag = _THINKING.search(text, at)
        if self._thinking:
            if tag is None or not tag[1]:
                cut = text.rfind("<", at)
                return (
                    -1
                    if tag is None and cut >= 0 and len(text) - cut < 16 and cut == at
                    else self._until(text, cut, at)
                )
            self._thinking = False
            return tag.end()
        start = _START.search(text, at)
        if tag is not None and (start is None or tag.start() < start.start()):
            self._thinking = not tag[1]
            return tag.end()
        if start is None:
            return self._until(text, text.rfind("<", at), at)
        return self._open(text[start.start()], start.start())

    @staticmethod
    def _until(text: str, cut: int, at: int) -> int:
        """All of it is passed over, but for what may be the beginning of a tag."""
        if cut < 0 or len(text) - cut > 16:
            return len(text)
        return cut if cut > at else -1

    def _open(self, char: str, at: int) -> int:
        if len(self._stack) >= DEEPEST:
            self.whole = True
            return at + 1
        value: Any = {} if char == "{" else []
        if self._stack:
            self._put(value)
        else:
            self.value = value
        self._stack.append(_Open(value, char == "{"))
        return at + 1

    def _close(self, at: int) -> int:
        self._stack.pop()
        self.whole = not self._stack
        return at + 1

    def _scalar(self, text: str, at: int) -> int:
        match = _SCALAR.match(text, at)
        if match is None:
            return at + 1
        if match.end() >= len(text) and len(match[0]) < 400:
            return -1
        word = match[0]
        container = self._stack[-1]
        if container.is_object and container.key is None:
            container.key = word.strip("'")
        elif word in _WORDS:
            self._put(_WORDS[word])
        elif _NUMBER.fullmatch(word) and len(word) < 400:
            self._put(float(word) if any(char in ".eE" for char in word) else int(word))
        return match.end()

    def _put(self, value: Any) -> None:
        container = self._stack[-1]
        if not container.is_object:
            container.value.append(value)
        elif container.key is not None:
            container.value[container.key] = value
            container.key = None

    # Strings

    def _string(self, text: str, at: int) -> int:
        assert self._pieces is not None
        match = _TEXT.match(text, at)
        end = at if match is None else match.end()
        if end > at:
            self._take(text[at:end])
            return end
        if text[at] == '"':
            self._end_string()
            return at + 1
        return self._escape(text, at)

    def _take(self, piece: str) -> None:
        assert self._pieces is not None
        self._pieces.append(piece)
        self._grown += len(piece)

    def _escape(self, text: str, at: int) -> int:
        char = text[at + 1 : at + 2]
        if not char:
            return -1
        if char != "u":
            self._take(_ESCAPES.get(char, char))
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

    def _end_string(self) -> None:
        pieces, self._pieces = self._pieces, None
        written = "".join(pieces or ())
        if self._role == "key":
            self._stack[-1].key = written
        elif self._shown:
            self._renew(written)
            self._stack[-1].key = None
        else:
            self._put(written)

    def _show(self) -> None:
        """The string as far as it has come, where enough of it is new."""
        container = self._stack[-1]
        if self._role == "key" or not self._grown or self._grown - self._shown <= self._shown // SHARE:
            return
        assert self._pieces is not None
        written = "".join(self._pieces)
        self._pieces = [written]
        if self._shown:
            self._renew(written)
        elif container.is_object:
            if container.key is None:
                return
            container.value[container.key] = written
        else:
            container.value.append(written)
        self._shown = self._grown

    def _renew(self, written: str) -> None:
        container = self._stack[-1]
        if not container.is_object:
            container.value[-1] = written
        elif container.key is not None:
            container.value[container.key] = written


def _code(text: str, at: int) -> int:
    try:
        return int(text[at + 2 : at + 6], 16)
    except ValueError:
        return -1
