"""One JSON value read with forgiveness: what language models get wrong in the notation is put right.

The principle: repairs change how something is written, never what. Nothing is made up, nothing that carries meaning is
left out; where two readings are possible there is none. Every repair has a name, and is told.

A loop over a stack, no recursion; each character is looked at a bounded number of times, and the steps of all readings
of one text come out of one allowance. Not here: where in a text a value stands, and which of several it is
(`json_finding`).
"""

from __future__ import annotations

import json
import re
from typing import Any, Literal, TypeAlias

from msgspec import Struct

from penstock.policy.json_schema import frozen

__all__ = ["DEEPEST", "SCANNER", "Allowance", "Cut", "Read", "SaidTwiceError", "Unreadable", "read_json"]

DEEPEST = 128
"""Levels. Schemas of providers allow 5 or 10; whatever is deeper than this is no answer."""
MOST_STEPS = 16_000
"""What is read with forgiveness in one text: containers, damaged members, pieces of damaged strings. Between 10 and
25 ms: a kernel has one loop for all its calls."""

Reason: TypeAlias = Literal["damaged", "truncated", "ambiguous", "too_deep", "too_long"]


class Unreadable(Exception):  # noqa: N818 - a verdict that the finder takes, not an error of anybody's
    """There is no single reading. `at` is where that became clear."""

    def __init__(self, reason: Reason, says: str, at: int) -> None:
        super().__init__(says)
        self.reason: Reason = reason
        self.says = says
        self.at = at


class Cut(Struct, frozen=True):
    """The text ends where more may have been meant: only a schema can tell that nothing was."""

    path: tuple[str | int, ...]
    """Of the container that a comma says goes on, or of the string that has no end."""
    inside_string: bool


class SaidTwiceError(ValueError):
    """An object that gives one property two different values."""

    def __init__(self, name: str) -> None:
        super().__init__(f"says twice, and differently, what {name[:40]!r} is")


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        for name, value in pairs:
            if frozen(members[name]) != frozen(value):
                raise SaidTwiceError(name)
    return members


def _refused(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


SCANNER = json.JSONDecoder(object_pairs_hook=_members, parse_constant=_refused)
"""Reads valid JSON, in the time that C takes for it; no NaN, and nothing said twice and differently."""


class Read(Struct, frozen=True):
    """A value, and where the text goes on behind it."""

    value: Any
    end: int
    repairs: tuple[str, ...]
    cut: Cut | None = None


class Allowance(Struct):
    """What may still be spent on one text."""

    steps: int = MOST_STEPS


_JSON_SPACE = re.compile(r"[ \t\r\n]*+")
# Whatever Unicode calls a space, what is invisible, and the comments of JavaScript, JSON5 and Python.
_SPACE = re.compile(r"(?:[\s\ufeff\u200b-\u200f\u2060]++|//[^\n]*+|/\*(?:[^*]++|\*(?!/))*+\*/|#(?!#)[^\n]*+)*+")
_COMMENT = re.compile(r"//|/\*|#")
_PLAIN_KEY = re.compile(r'"([^"\\\x00-\x1f]*+)"[ \t\r\n]*+:[ \t\r\n]*+')
_NUMBER = re.compile(r"[-+]?(?:\d[\d_]*+(?:\.[\d_]*+)?+|\.\d[\d_]*+)(?:[eE][-+]?\d++)?+")
_JSON_NUMBER = re.compile(r"-?(?:0|[1-9]\d*+)(?:\.\d++)?+(?:[eE][-+]?\d++)?+")
_HEXADECIMAL = re.compile(r"[-+]?0[xX][0-9a-fA-F]++")
# What is as it should be goes to the decoder in one piece. Each member is followed by a comma and by another.
_SCALAR = r"""(?:"[^"\\\x00-\x1f]*+"|-?(?:0|[1-9]\d{0,99}+)(?:\.\d{1,99}+)?+(?:[eE][-+]?\d{1,2}+)?+|true|false|null)"""
_PLAIN_ITEMS = re.compile(rf"""(?:{_SCALAR}[ \t\r\n]*+,[ \t\r\n]*+(?=["{{\[\d-]|true|false|null))++""")
_PLAIN_MEMBERS = re.compile(
    rf"""(?:"[^"\\\x00-\x1f]*+"[ \t\r\n]*+:[ \t\r\n]*+{_SCALAR}[ \t\r\n]*+,[ \t\r\n]*+"""
    r"""(?="[^"\\\x00-\x1f]{0,200}+"[ \t\r\n]*+:))++"""
)
_WORD = re.compile(r"[A-Za-z_$][\w$-]*+")
_AFTER_A_NUMBER = re.compile(r"[\s,}\]/#]|\Z")
_FENCE = re.compile(r"[ \t]*+(?:```|~~~)")
_COLON = re.compile(r"(?::|=>?)")
# What stands behind a quote that ends a string, rather than being part of it.
_KEY_AHEAD = re.compile(
    r"""(?:"[^"\n]{0,200}+"|'[^'\n]{0,200}+'|“[^”\n]{0,200}+”|[A-Za-z_$][\w$-]{0,200}+|-?\d{1,20}+)[ \t\r\n]*+(?::|=|\Z)|\.\.\.|…"""
)
# The same where the names so far have quotes: a word before a colon is part of a text then.
_QUOTED_KEY_AHEAD = re.compile(
    r"""(?:"[^"\n]{0,200}+"|'[^'\n]{0,200}+'|“[^”\n]{0,200}+”)[ \t\r\n]*+(?::|=|\Z)|\.\.\.|…"""
)
_VALUE_AHEAD = re.compile(r"""["'“‘`{\[\d.+-]|[A-Za-z_]{1,40}+\s{0,99}+(?:[,\]]|\Z)|…""")
_STRUCTURE_INSIDE = re.compile(r"""["'“”]\s*(?::|,\s*["'“”])""")

# `\t` in `C:\tmp`, `\b` in `\beta`: where other backslashes are none, this may be none either.
_CONTROL_OR_WORD = re.compile(r"\\[bfnrt][A-Za-z]")

_QUOTES = {'"': '"', "'": "'", "“": "”", "‘": "’", "`": "`", "”": "”", "„": "“", "«": "»"}
_WORDS: dict[str, bool | None] = {
    "true": True,
    "false": False,
    "null": None,
    "none": None,
    "undefined": None,
    "nan": None,
}
_PROPER = frozenset({"true", "false", "null"})
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
_STOPS = {quote: re.compile(rf"[^{re.escape(quote)}\\\x00-\x1f]*+") for quote in {*_QUOTES.values()}}


def read_json(
    text: str, start: int, allowance: Allowance, *, words: frozenset[str] = frozenset(), doubled: bool = False
) -> Read:
    """The object or array that begins at `start`. Raises Unreadable.

    `words` are those that may stand without quotes, for the schema knows them. `doubled`: every brace is written
    twice, as in templates.
    """
    return _Reading(text, start, allowance, words, doubled).run()


def _behind(pattern: re.Pattern[str], text: str, at: int) -> int:
    """Where what the pattern takes ends; it may take nothing."""
    match = pattern.match(text, at)
    return at if match is None else match.end()


class _Open(Struct):
    """A container that is not closed yet."""

    value: Any
    is_object: bool
    key: str | None = None
    """Of the member whose value is being read."""
    bare_keys: bool = False
    """Some name in it stands without quotes."""


class _Reading:
    """One reading, from one place."""

    def __init__(self, text: str, at: int, allowance: Allowance, words: frozenset[str], doubled: bool) -> None:  # noqa: FBT001
        self.text = text
        self.at = at
        self.allowance = allowance
        self.words = words
        self.doubled = doubled
        self.repairs: dict[str, None] = {}
        self.stack: list[_Open] = []
        self.cut: Cut | None = None
        self.done: Read | None = None
        self.behind_value = False
        self.behind_comma = False
        self.kept_backslash = False
        self.quoted_inside = False
        """The value before was a string with quotes in it."""

    def run(self) -> Read:
        """Members one after the other, until the outermost container is closed."""
        self.open_container()
        while self.done is None:
            self.step()
            self.skip_space()
            if self.behind_value:
                self.to_next_member()
            else:
                self.member()
        return self.done

    def step(self) -> None:
        """Pays for one more key, value or piece of a string."""
        self.allowance.steps -= 1
        if self.allowance.steps < 0:
            raise self.unreadable("too_long", "is damaged, and too long to be mended")

    # Where members begin

    def member(self) -> None:
        """One member up to its value; a container that is its value is opened, or its own container closed."""
        container, char = self.stack[-1], self.char()
        if not char or self.at_fence():
            self.end_of_text()
        elif char in "}]":
            if self.behind_comma:
                self.mend("trailing_commas")
            self.close(char)
        elif char == ",":
            if not container.is_object:
                raise self.unreadable("damaged", "has a comma where an item should be")
            self.mend("extra_commas")
            self.at += 1
        elif char == "…" or self.text.startswith("...", self.at):
            raise self.unreadable("damaged", "leaves something out: it has an ellipsis in the place of content")
        else:
            self.plain_members(container)
            if container.is_object:
                container.key = self.key()
            self.value(container)

    def plain_members(self, container: _Open) -> None:
        """Those next ones that have nothing wrong with them, taken at once."""
        plain = (_PLAIN_MEMBERS if container.is_object else _PLAIN_ITEMS).match(self.text, self.at)
        if plain is None:
            return
        members = plain[0].rstrip()[:-1]
        if container.is_object:
            for name, value in self.decoded(f"{{{members}}}").items():
                container.key = name
                self.put(value)
            self.behind_value = False
        else:
            container.value.extend(self.decoded(f"[{members}]"))
        self.at = plain.end()

    def decoded(self, members: str) -> Any:
        try:
            return SCANNER.decode(members)
        except SaidTwiceError as twice:
            raise self.unreadable("ambiguous", str(twice)) from None

    def to_next_member(self) -> None:
        """From behind a value to the next member, or out of the container."""
        char = self.char()
        if char == ",":
            self.at += 1
            self.behind_value, self.behind_comma, self.quoted_inside = False, True, False
        elif not char or self.at_fence():
            self.end_of_text()
        elif char in "}]":
            self.close(char)
        else:
            if self.quoted_inside:
                raise self.unreadable("damaged", "has quotes in a string that may end it as well")
            ahead = _KEY_AHEAD if self.stack[-1].is_object else _VALUE_AHEAD
            if not ahead.match(self.text, self.at) or self.follows_number_on_its_line():
                raise self.unreadable("damaged", f"has {char!r} where a comma or a closing bracket should be")
            self.mend("missing_commas")
            self.behind_value, self.behind_comma = False, False

    def follows_number_on_its_line(self) -> bool:
        """`1 000` may be one number or two."""
        if not (self.char().isdigit() and self.at):
            return False
        before = self.text[max(0, self.at - 8) : self.at]
        return "\n" not in before and before.rstrip()[-1:].isdigit()

    # Containers

    def open_container(self) -> None:
        is_object = self.text[self.at] == "{"
        if len(self.stack) >= DEEPEST:
            raise self.unreadable("too_deep", f"is nested deeper than {DEEPEST} levels")
        self.at += 2 if is_object and self.doubled and self.text.startswith("{{", self.at) else 1
        self.stack.append(_Open({} if is_object else [], is_object))
        self.behind_value, self.behind_comma = False, False

    def close(self, char: str) -> None:
        """Closes the innermost container that this bracket fits, and what was left open in it."""
        wanted = char == "}"
        depth = len(self.stack) - 1
        while depth >= 0 and self.stack[depth].is_object != wanted:
            depth -= 1
        if depth < 0:
            raise self.unreadable("damaged", f"has {char!r} where nothing of that kind is open")
        if depth < len(self.stack) - 1:
            self.mend("missing_closers")
        self.at += 2 if wanted and self.doubled and self.text.startswith("}}", self.at) else 1
        while len(self.stack) > depth:
            self.shut()

    def shut(self) -> None:
        """The innermost container is complete."""
        closed = self.stack.pop().value
        if self.stack:
            self.put(closed)
        else:
            self.done = Read(closed, self.at, tuple(self.repairs), self.cut)

    def put(self, value: Any) -> None:
        """A value, as a member of the innermost container."""
        container = self.stack[-1]
        if container.is_object:
            assert container.key is not None
            if container.key in container.value and frozen(container.value[container.key]) != frozen(value):
                raise self.unreadable("ambiguous", str(SaidTwiceError(container.key)))
            container.value[container.key] = value
            container.key = None
        else:
            container.value.append(value)
        self.behind_value = True

    def end_of_text(self) -> None:
        """The text is over before the value is."""
        if not self.stack[-1].value:
            raise self.unreadable("truncated", "ends where its content should be")
        if self.behind_comma and not self.behind_value:
            self.cut = Cut(self.path(), inside_string=False)
        self.mend("closed")
        while self.stack:
            self.shut()

    def path(self) -> tuple[str | int, ...]:
        """Of the innermost container."""
        open_ones = self.stack[:-1]
        return tuple([len(each.value) if each.key is None else each.key for each in open_ones])

    # Keys and values

    def key(self) -> str:
        plain = _PLAIN_KEY.match(self.text, self.at)
        if plain is not None:
            self.at = plain.end()
            self.skip_space()
            return plain[1]
        char = self.char()
        if char in _QUOTES:
            key = self.string(char, "key")
        elif (word := _WORD.match(self.text, self.at) or _NUMBER.match(self.text, self.at)) is not None:
            self.mend("unquoted_keys")
            self.stack[-1].bare_keys = True
            key, self.at = word[0], word.end()
        else:
            raise self.unreadable("damaged", f"has {char!r} where a property's name should be")
        self.skip_space()
        colon = _COLON.match(self.text, self.at)
        if colon is None:
            if self.at >= len(self.text):
                raise self.unreadable("truncated", "ends behind a property's name")
            raise self.unreadable("damaged", f"has no value for the property {key[:40]!r}")
        if colon[0] != ":":
            self.mend("colons")
        self.at = colon.end()
        self.skip_space()
        return key

    def value(self, container: _Open) -> None:
        char = self.char()
        if not char or self.at_fence():
            raise self.unreadable("truncated", "ends where a value should be")
        if char in "{[":
            self.open_container()
        elif char in _QUOTES:
            self.put(self.string(char, "value" if container.is_object else "item"))
            if self.cut is not None:
                self.end_of_text()
        elif char.isdigit() or char in "-+.":
            self.put(self.number())
        else:
            self.put(self.word())

    def number(self) -> Any:
        hexadecimal = _HEXADECIMAL.match(self.text, self.at)
        match = hexadecimal or _NUMBER.match(self.text, self.at)
        if match is None:
            raise self.unreadable("damaged", f"has {self.text[self.at : self.at + 12]!r} where a value should be")
        written, self.at = match[0], match.end()
        if self.at >= len(self.text):
            raise self.unreadable("truncated", "ends inside a number, or right behind it")
        if not _AFTER_A_NUMBER.match(self.text, self.at):
            raise self.unreadable("damaged", f"has {self.text[match.start() : self.at + 8]!r} where a value should be")
        if _JSON_NUMBER.fullmatch(written) is None:
            if hexadecimal is None and re.match(r"[-+]?0\d", written):
                raise self.unreadable("damaged", f"has a number with leading zeros: {written[:40]}")
            if written.endswith("_") or "__" in written:
                raise self.unreadable("damaged", f"has {written[:40]!r} where a value should be")
            self.mend("numbers")
        return self.figure(written.replace("_", ""), hexadecimal=hexadecimal is not None)

    def figure(self, written: str, *, hexadecimal: bool) -> Any:
        try:
            if hexadecimal:
                return int(written, 16)
            if any(char in ".eE" for char in written):
                number = float(written)
                if number in (float("inf"), float("-inf")):
                    raise self.unreadable("damaged", "has a number that is too large")
                return number
            return int(written)
        except ValueError:  # more digits than Python converts
            raise self.unreadable("damaged", "has a number that is too long") from None

    def word(self) -> Any:
        match = _WORD.match(self.text, self.at)
        if match is None:
            raise self.unreadable("damaged", f"has {self.char()!r} where a value should be")
        written, start = match[0], match.start()
        self.at = match.end()
        if written in _PROPER:
            return _WORDS[written]
        lowered = written.lower()
        if written in self.words:
            self.mend("unquoted_words")
            return written
        if lowered in _WORDS:
            self.mend("literals")
            return _WORDS[lowered]
        if self.at >= len(self.text):
            for proper in _PROPER:
                if proper.startswith(written):
                    self.mend("completed")
                    return _WORDS[proper]
            raise self.unreadable("truncated", "ends inside a word")
        raise self.unreadable("damaged", f"has {self.text[start : start + 24]!r} where a value should be")

    # Strings

    def string(self, quote: str, role: str) -> str:  # noqa: C901 - one case for each character that stops it
        """The string whose opening quote is next."""
        text, close = self.text, _QUOTES[quote]
        if quote in "\"'" and text.startswith(quote * 3, self.at):
            return self.long_string(quote * 3)
        if quote != '"':
            self.mend("quotes")
        start = at = self.at + 1
        self.kept_backslash = False
        stop, pieces, inner = _STOPS[close], list[str](), 0
        while True:
            end = _behind(stop, text, at)
            if end > at:
                pieces.append(text[at:end])
            at = end
            if at >= len(text):
                return self.unended("".join(pieces), role, inner=inner > 0)
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
            # Quotations have two quotes. With one over, any of them may end an item; behind a property's value comes a name.
            if (inner % 2 and role == "item") or _STRUCTURE_INSIDE.search(written):
                raise self.unreadable("damaged", "has quotes in a string that may end it as well")
            self.mend("inner_quotes")
            self.quoted_inside = True
        if self.kept_backslash and _CONTROL_OR_WORD.search(text, start, at):
            raise self.unreadable("damaged", "has backslashes that may or may not be escapes")
        return self.without_surrogates(written)

    def long_string(self, quotes: str) -> str:
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

    def unended(self, written: str, role: str, *, inner: bool) -> str:
        """The text is over inside a string: whether there is one way for it to go on, a schema may know."""
        if role == "key" or inner or not self.words:
            raise self.unreadable("truncated", "ends inside a string")
        container = self.stack[-1]
        last = container.key if container.key is not None else len(container.value)
        self.cut = Cut((*self.path(), last), inside_string=True)
        self.at = len(self.text)
        return written

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

    def ends_here(self, behind: int, role: str, *, inner: bool) -> bool:
        """True where the quote before `behind` ends its string, and is not a part of it."""
        if role == "key":
            return True
        text = self.text
        at = _behind(_JSON_SPACE, text, behind)
        char = text[at : at + 1]
        if not char or char in "}]":
            return True
        if _COMMENT.match(text, at) or _FENCE.match(text, at):
            return True
        ahead = _VALUE_AHEAD
        if role == "value":
            ahead = _QUOTED_KEY_AHEAD if inner and not self.stack[-1].bare_keys else _KEY_AHEAD
        if char != ",":
            # A comma may be missing; not on the same line, without a space even: that is a quotation.
            return at > behind and ahead.match(text, at) is not None
        at = _behind(_SPACE, text, at + 1)
        char = text[at : at + 1]
        return not char or char in "}]," or ahead.match(text, at) is not None or bool(_FENCE.match(text, at))

    # The text

    def char(self) -> str:
        """The next character; none at the end."""
        return self.text[self.at : self.at + 1]

    def skip_space(self) -> None:
        at = _behind(_JSON_SPACE, self.text, self.at)
        if at < len(self.text) and (self.text[at] in "/#" or (not self.text[at].isascii()) or self.text[at] in "\v\f"):
            end = _behind(_SPACE, self.text, at)
            if end > at:
                self.mend("comments" if _COMMENT.search(self.text, at, end) else "odd_spaces")
            at = end
        self.at = at

    def at_fence(self) -> bool:
        """A fence between values: the block is over."""
        return self.text[self.at] in "`~" and _FENCE.match(self.text, self.at) is not None

    def mend(self, repair: str) -> None:
        self.repairs[repair] = None

    def unreadable(self, reason: Reason, says: str) -> Unreadable:
        return Unreadable(reason, says, self.at)
