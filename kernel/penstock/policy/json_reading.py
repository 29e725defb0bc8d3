"""One JSON value read with forgiveness: what language models get wrong in the notation is put right.

The principle: repairs change how something is written, never what. Nothing is made up, nothing that carries meaning is
left out; where two readings are possible there is none. Every repair has a name, and is told.

A loop over a stack, no recursion; each character is looked at a bounded number of times, and the steps of all readings
of one text come out of one allowance. Not here: where in a text a value stands, and which of several it is
(`json_finding`).
"""

from __future__ import annotations

import re
from typing import Any

from msgspec import Struct

from penstock.policy.json_comments import Awaited, seen_in
from penstock.policy.json_notation import (
    COMMAS,
    DEEPEST,
    KEY_AHEAD,
    QUOTES,
    SCANNER,
    VALUE_AHEAD,
    Allowance,
    SaidTwiceError,
    finite,
)
from penstock.policy.json_strings import StringReading
from penstock.policy.json_values import frozen
from penstock.policy.schema_knowledge import may_be_word

__all__ = ["Cut", "Read", "read_json"]


COMMENTS_OF_A_STEP = 4
"""Lines of them that take as long as a step."""


class Cut(Struct, frozen=True):
    """The text ends where more may have been meant: only a schema can tell that nothing was."""

    path: tuple[str | int, ...]
    """Of the container that a comma says goes on, or of the string that has no end."""
    inside_string: bool


class Read(Struct, frozen=True):
    """A value, and where the text goes on behind it."""

    value: Any
    end: int
    repairs: tuple[str, ...]
    cut: Cut | None = None
    unclosed: tuple[tuple[str | int, ...], ...] = ()
    """Paths of containers that nothing closes."""


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
# `5550100#12` and `7//2` are no numbers with comments.
_AFTER_A_NUMBER = re.compile(r"[\s,}\]]|/\*|//(?!\d)|#(?!\w)|[\ufeff\u200b-\u200f\u2060]++\s*+[,}\]]|\Z")
_COLON = re.compile(r"(?:[:\uff1a]|=>?)")
_WORDS: dict[str, bool | None] = {
    "true": True,
    "false": False,
    "null": None,
    "none": None,
    "undefined": None,
    "nan": None,
}
# What stands in templates where a value should be.
_NAMES_OF_TYPES = frozenset(
    {
        "any",
        "array",
        "bool",
        "boolean",
        "date",
        "datetime",
        "dict",
        "float",
        "int",
        "integer",
        "list",
        "number",
        "object",
    }
    | {"str", "string", "type", "unknown", "value"}
)
_PLACEHOLDER = re.compile(r"<[^<>\n]{1,80}+>|\$\{[^{}\n]{1,80}+\}")
_PROPER = frozenset({"true", "false", "null"})


def read_json(
    text: str,
    start: int,
    allowance: Allowance,
    *,
    words: frozenset[str] = frozenset(),
    schema: Any = None,
    doubled: bool = False,
    any_reading: bool = False,
) -> Read:
    """The object or array that begins at `start`. Raises Unreadable.

    `words` are those that may stand without quotes, for the schema knows them; where they are literals too, it tells
    which of both is meant. `doubled`: every brace is written
    twice, as in templates. `any_reading`: of several ways to read quotes and backslashes, one will do.
    """
    reading = _Reading(text, start, allowance, words, schema, doubled)
    reading.any_reading = any_reading
    return reading.run()


class _Open(Struct):
    """A container that is not closed yet."""

    value: Any
    is_object: bool
    key: str | None = None
    """Of the member whose value is being read."""
    bare_keys: bool = False
    """Some name in it stands without quotes."""
    hides: bool = False
    """It began with comments that do not say that there is nothing in it."""


class _Reading(StringReading):
    """One reading, from one place."""

    def __init__(  # noqa: PLR0917 - called in one place
        self,
        text: str,
        at: int,
        allowance: Allowance,
        words: frozenset[str],
        schema: Any,
        doubled: bool,  # noqa: FBT001
    ) -> None:
        super().__init__(text, at, allowance)
        self.words = words
        self.schema = schema
        self.unclosed: list[tuple[str | int, ...]] = []
        self.doubled = doubled
        self.stack: list[_Open] = []
        self.cut: Cut | None = None
        self.done: Read | None = None
        self.behind_value = False
        self.behind_comma = False
        self.behind_colon = False
        self.hidden_bracket = False
        """A comment holds a bracket that may close something."""

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
        if self.keeps_backslashes and self.takes_escapes:
            self.doubt_backslashes()
        return self.done

    def pass_comments(self, start: int, end: int) -> None:
        container = self.stack[-1]
        self.allowance.steps -= self.text.count("\n", start, end) // COMMENTS_OF_A_STEP
        self.step()
        seen = seen_in(self.text, start, end, self.awaited(container))
        if seen.content:
            raise self.unreadable("damaged", "has a comment that may be content")
        self.hidden_bracket = self.hidden_bracket or seen.brackets
        container.hides = not (container.value or seen.say_none)

    def awaited(self, container: _Open) -> Awaited:
        """What stands where comments do."""
        if self.behind_colon:
            return Awaited.VALUE
        if self.behind_value:
            return Awaited.COMMA_OF_MEMBERS if container.is_object else Awaited.COMMA_OF_ITEMS
        return Awaited.MEMBER if container.is_object else Awaited.ITEM

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
        if char in COMMAS and char:
            if char != ",":
                self.mend("commas")
            self.at += 1
            self.behind_value, self.behind_comma, self.quoted_inside = False, True, False
        elif not char or self.at_fence():
            self.end_of_text()
        elif char in "}]":
            self.close(char)
        else:
            if self.quoted_inside:
                self.doubt_quotes()
            ahead = KEY_AHEAD if self.stack[-1].is_object else VALUE_AHEAD
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
            self.refuse_hidden_bracket()
            self.mend("missing_closers")
            self.unclosed.append(self.path_of(depth + 1))
        self.at += 2 if wanted and self.doubled and self.text.startswith("}}", self.at) else 1
        while len(self.stack) > depth:
            self.shut()

    def shut(self) -> None:
        """The innermost container is complete."""
        container = self.stack.pop()
        closed = container.value
        if container.hides and not closed:
            raise self.unreadable("damaged", "has comments in the place of content")
        if self.stack:
            self.put(closed)
        else:
            self.done = Read(closed, self.at, tuple(self.repairs), self.cut, tuple(self.unclosed))

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
        self.refuse_hidden_bracket()
        self.mend("closed")
        self.unclosed.append(())
        while self.stack:
            self.shut()

    def refuse_hidden_bracket(self) -> None:
        """What is not closed may be closed in a comment, and hold more before that."""
        if self.hidden_bracket:
            raise self.unreadable("truncated", "has a comment that may hold the rest of it")

    def path(self) -> tuple[str | int, ...]:
        """Of the innermost container."""
        return self.path_of(len(self.stack) - 1)

    def path_of(self, depth: int) -> tuple[str | int, ...]:
        """Of the container that this many are around."""
        return tuple([len(each.value) if each.key is None else each.key for each in self.stack[:depth]])

    def path_of_next(self) -> tuple[str | int, ...]:
        """Of the value that is read."""
        container = self.stack[-1]
        return (*self.path(), container.key if container.key is not None else len(container.value))

    # Keys and values

    def key(self) -> str:
        plain = _PLAIN_KEY.match(self.text, self.at)
        if plain is not None:
            self.at = plain.end()
            self.skip_to_value()
            return plain[1]
        char = self.char()
        if char in QUOTES:
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
        self.skip_to_value()
        return key

    def skip_to_value(self) -> None:
        self.behind_colon = True
        self.skip_space()
        self.behind_colon = False

    def value(self, container: _Open) -> None:
        char = self.char()
        if not char or self.at_fence():
            raise self.unreadable("truncated", "ends where a value should be")
        if char in "{[":
            self.open_container()
        elif char in QUOTES:
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
                return finite(written)
            return int(written)
        except ValueError:  # no float can hold it, or Python converts no int of so many digits
            raise self.unreadable("damaged", "has a number that is too large") from None

    def word(self) -> Any:
        match, is_template = _WORD.match(self.text, self.at), _PLACEHOLDER.match(self.text, self.at) is not None
        if match is None or is_template:
            no_value = self.unreadable("damaged", f"has {self.char()!r} where a value should be")
            no_value.is_template = is_template
            raise no_value
        written, start = match[0], match.start()
        self.at = match.end()
        if written in _PROPER:
            return _WORDS[written]
        lowered = written.lower()
        if written in self.words and self.is_word(written, lowered):
            self.mend("unquoted_words")
            return written
        if lowered in _WORDS:
            self.mend("literals")
            return _WORDS[lowered]
        if self.at >= len(self.text):
            for proper in _PROPER:
                if proper.startswith(written):
                    self.mend("completed")
                    self.cut = Cut(self.path(), inside_string=False)
                    return _WORDS[proper]
            raise self.unreadable("truncated", "ends inside a word")
        no_value = self.unreadable("damaged", f"has {self.text[start : start + 24]!r} where a value should be")
        no_value.is_word = written.isidentifier()
        no_value.is_template = lowered in _NAMES_OF_TYPES or written == self.stack[-1].key
        raise no_value

    def is_word(self, written: str, lowered: str) -> bool:
        """False for what the schema lists elsewhere, and is Python's name of a literal here."""
        if lowered not in _WORDS:
            return True
        word = may_be_word(self.schema, self.path_of_next(), written, _WORDS[lowered])
        if word is None:
            raise self.unreadable("ambiguous", "has a word without quotes that may be text as well as a literal")
        return word

    # For strings

    def names_are_bare(self) -> bool:
        """True where a name of this object stands without quotes."""
        return self.stack[-1].bare_keys

    def take_cut(self, role: str) -> None:
        """Whether there is one way for the string to go on, a schema may know."""
        if role == "key" or not self.words:
            raise self.unreadable("truncated", "ends inside a string")
        self.cut = Cut(self.path_of_next(), inside_string=True)
        self.at = len(self.text)
