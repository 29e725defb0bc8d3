"""The places of a text at which JSON stands, and what stands there: every value, none inside another.

Not here: reading what is damaged (`json_reading`), and which value is meant (`json_finding`).
"""

from __future__ import annotations

import json
import re

import msgspec
from msgspec import Struct

from penstock.policy.json_notation import DEEPEST, SCANNER, Allowance, Unreadable
from penstock.policy.json_reading import Cut, Read, read_json
from penstock.policy.json_schema import SchemaCheck
from penstock.policy.json_thinking import (
    CLOSING_BEHIND_FIRST,
    OPENING_BEHIND_FIRST,
    behind_leaked,
    behind_thought,
    without_thinking,
)
from penstock.policy.json_values import Json, is_array, is_object
from penstock.policy.schema_knowledge import NONE, words_of

__all__ = ["BETWEEN_LINES", "LAST_LINE", "Candidate", "Places", "decoded", "decoded_or_not"]

MOST_PLACES = 64
"""Places in one text at which a value is looked for."""
MOST_READ = 4
"""Times its length that a text is read altogether, at those places."""
MOST_OPENINGS = 50_000
"""Characters with which something may begin."""
LONGEST_MENDED = 262_144
"""Characters. What is longer is found where it is valid and not mended where it is not: no model writes as much by
mistake, and a kernel has one loop for all its calls."""


class Candidate(Struct, frozen=True):
    """A value that stands in the text."""

    value: Json
    repairs: tuple[str, ...]
    text: str
    """In which it stands: the whole one, or what that quotes."""
    start: int
    end: int
    fenced: bool
    cut: Cut | None = None
    unclosed: tuple[tuple[str | int, ...], ...] = ()
    """Paths of containers that nothing closes."""
    quoted_at: int = 0
    """Where in the whole text the quotation begins."""

    @property
    def place(self) -> int:
        """What stands behind it in the whole text has a higher one."""
        return self.quoted_at + self.start


# Whole texts

_ENDS_AS_JSON = re.compile(r"[}\]\"\del]\s*\Z")
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def decoded(text: str) -> Json:
    """The text as JSON, where it is that and nothing else."""
    return decoded_or_not(text)[0]


def decoded_or_not(text: str) -> tuple[Json, int]:
    """The same, and where a value begins of which it is known now that it is no JSON; -1 where nothing is known."""
    if not _ENDS_AS_JSON.search(text, max(0, len(text) - 256)):
        return NONE, -1
    try:
        value = SCANNER.decode(text)
    except json.JSONDecodeError as wrong:
        return NONE, -1 if wrong.msg == "Extra data" else _start_of(text)
    except (ValueError, RecursionError):
        return NONE, _start_of(text)
    return (value, -1) if _is_sound(text, 0, len(text), value) else (NONE, _start_of(text))


def _start_of(text: str) -> int:
    return len(text) - len(text.lstrip(" \t\r\n"))


def _is_sound(text: str, start: int, end: int, value: Json) -> bool:
    """True for a value without halves of characters, and not too deep."""
    if _SURROGATE.search(text, start, end):
        try:
            msgspec.json.encode(value)
        except (UnicodeEncodeError, RecursionError):
            return False
    return _shallow(text, start, end, value)


def _shallow(text: str, start: int, end: int, value: Json) -> bool:
    """True where the value is not nested too deeply, for whoever walks through it by recursion."""
    if text.count("{", start, end) + text.count("[", start, end) <= DEEPEST:
        return True
    level: list[Json] = [value] if is_object(value) or is_array(value) else []
    for _ in range(DEEPEST):
        below: list[Json] = []
        for held in level:
            below.extend(held.values() if is_object(held) else held)
        level = [each for each in below if is_object(each) or is_array(each)]
        if not level:
            return True
    return False


# Where something begins: an object whose first key can be seen, or an array whose first item can; a fence; thinking.
# It begins with a class of characters, by which the engine skips what cannot be one; every look ahead is bounded.
_START = re.compile(
    rf"[`~<{{\[◁](?:(?P<think>{OPENING_BEHIND_FIRST})|(?P<thought>{CLOSING_BEHIND_FIRST})"
    r"|(?<=[`~])(?P<line>[`~]{20,}+)|"
    r"""(?<=\{)(?:(?P<run>\{{2,}+)|(?P<doubled>\{(?=\s{0,256}+["'“]))"""
    r"""|(?P<object>(?=\s{0,256}+(?:["'“‘`}«„,]|[A-Za-z_$][\w$-]{0,100}+\s{0,9}+[:=]|-?\d{1,20}+\s{0,9}+:"""
    r"""|//|/\*|\#[^\n{]{0,200}+\n))))"""
    r"""|(?<=[{\[])(?P<escaped>(?=\s{0,256}+\\{1,8}+"))"""
    r"""|(?<=\[)(?P<array>(?!\s{0,256}+```)(?=\s{0,256}+(?:["'“‘`{\[\]«„]|[-+]?\.?\d|//|/\*|[A-Za-z]{1,20}+\s{0,9}+[,\]])))"""
    r"""|(?<=[`~])(?P<fence>(?:`{2,18}+|~{2,18}+)(?P<info>[\w+-]{0,20}+)(?=\s|\Z|[{\[<])))"""
)
_ENTITIES = re.compile(r"[{\[]\s*+(?:\{\s*+)?&(?:quot|\#34|\#39|apos);")
_NO_BRACE = re.compile(r"""\s*+(?:`{3,}+\w*+\s*+)?(?P<key>"[^"\n{}]{1,200}+"\s*+:)""")
_GOES_ON = re.compile(r"""\s*+,\s*+(?:"[^"\n]{0,200}+"|'[^'\n]{0,200}+')\s*+:""")
_FENCED = re.compile(r"(`{3,9}+)\w{0,20}+\s*+")
_MORE_STRUCTURE = re.compile(r"\s*+[,}\]]")
BETWEEN_LINES = re.compile(r"[\s,]*+\Z")
# Behind the last of several lines: the end, a fence's or a tag's, or a text of its own.
LAST_LINE = re.compile(r"\s*+(?:\Z|```|~~~|</|<\|)|[ \t]*+\n[ \t]*+\n\s*+[A-Za-z]")
_BRACKETS = re.compile(r"""[{}\[\]]|"(?:[^"\\\n]|\\.)*+"|^[ \t]*+(?:`{3,}|~{3,})""", re.MULTILINE)


class Places:
    """Those of one text."""

    def __init__(self, text: str, check: SchemaCheck | None, *, layers: int = 0, no_json_at: int = -1) -> None:
        self.text = text
        self.check = check
        self.layers = layers
        """How many quotations this text was taken out of."""
        self.no_json_at = no_json_at
        """Where a value begins that was tried as it is before."""
        self.words = frozenset[str]() if check is None else words_of(check.schema)
        self.allowance = Allowance()
        self.left_to_read = MOST_READ * len(text) + 4_096
        self.failures: list[Unreadable] = []
        self.candidates: list[Candidate] = []
        self.thinking_open = False

    # Looking

    def look(self) -> None:  # noqa: C901, PLR0912 - one case for each thing that may begin
        """Every value in the text, from its start to its end, none inside another."""
        text, at, fenced = self.text, behind_leaked(self.text), False
        never = set[str]()
        if sum(text.count(char) for char in "{[<`~◁") > MOST_OPENINGS:
            self.look_once()
            return
        if not self.layers and len(text) <= LONGEST_MENDED and '"' not in text and _ENTITIES.search(text):
            self.look_in(_without_entities(text), "entities")
            return
        for _ in range(MOST_PLACES):
            start = _START.search(text, at)
            if start is None:
                break
            match start.lastgroup:
                case "fence":
                    fenced, at = bool(start["info"]) or not fenced, start.end()
                case "line":
                    at = start.end()
                case "run":  # of braces: of three or more, the last two may mean something
                    at = start.end() - 2
                case "think":
                    end = behind_thought(text, start.start(), start.end(), never)
                    self.thinking_open = end is None
                    at = len(text) if end is None else end
                case "thought" if text[start.end() : start.end() + 1] in {'"', "'"}:
                    at = start.end()  # the end of a text that speaks of it
                case "thought":
                    # Its opening stands in the prompt: all so far was thinking.
                    self.candidates.clear()
                    self.failures.clear()
                    at = start.end()
                case "escaped":
                    at = self.take_escaped(start.start())
                case kind:
                    at = self.take(start.start(), fenced=fenced, doubled=kind == "doubled")
            if at >= len(text) or self.allowance.steps < 0:
                break
        else:
            # What was not looked at may hold another that would do.
            self.candidates.clear()
            self.failures.append(Unreadable("too_long", "may begin in too many places", at))
        if not self.candidates and not self.failures and (bare := _NO_BRACE.match(text)) is not None:
            self.take_without_brace(bare.start("key"))

    def look_once(self) -> None:
        """The first value, as it is: where so much may begin, nothing is mended, and nothing searched for long."""
        start = _START.search(self.text, 0, MOST_OPENINGS)
        read = None
        if start is not None:
            read = self.read_as_it_is(start.start())
            # What follows is not looked at: it must not hold another.
            if read is not None and not self.text.count("{", read.end) and not self.text.count("[", read.end):
                self.candidates.append(Candidate(read.value, (), self.text, start.start(), read.end, fenced=False))
                return
        self.failures.append(Unreadable("too_long", "is damaged, and too long to be mended", 0))

    def take(self, at: int, *, fenced: bool, doubled: bool = False) -> int:
        """Reads the value that begins here; where to look on."""
        text = self.text
        read: Read | Unreadable
        read = self.read_as_it_is(at) or self.read_mended(text, at, doubled=doubled)
        if isinstance(read, Read) and (
            _GOES_ON.match(text, read.end)
            or ("missing_closers" in read.repairs and _MORE_STRUCTURE.match(text, read.end))
        ):
            read = Unreadable("damaged", "is closed before its last property", read.end)
        if isinstance(read, Unreadable):
            read.start, read.fenced = at, fenced
            self.failures.append(read)
            end = len(text) if read.reason == "too_long" else self.skipped(at)
            self.left_to_read -= end - at
            return end
        self.candidates.append(Candidate(read.value, read.repairs, text, at, read.end, fenced, read.cut, read.unclosed))
        return read.end

    def read_as_it_is(self, at: int) -> Read | None:
        """Valid JSON, in the time that C takes for it."""
        if at == self.no_json_at:
            return None
        try:
            value, end = SCANNER.raw_decode(self.text, at)
        except json.JSONDecodeError as wrong:
            self.left_to_read -= wrong.pos - at
            return None
        except (ValueError, RecursionError):
            return None
        self.left_to_read -= end - at
        if not _is_sound(self.text, at, end, value):
            return None
        return Read(value, end, ())

    def read_mended(self, text: str, at: int, *, doubled: bool = False) -> Read | Unreadable:
        """What can be read with forgiveness."""
        if self.left_to_read < 0 or len(text) - at > LONGEST_MENDED:
            return Unreadable("too_long", "is damaged, and too long to be mended", at)
        try:
            schema = None if self.check is None else self.check.schema
            read = read_json(text, at, self.allowance, words=self.words, schema=schema, doubled=doubled)
        except Unreadable as unreadable:
            self.left_to_read -= max(0, unreadable.at - at)
            return unreadable
        self.left_to_read -= read.end - at
        return msgspec.structs.replace(read, repairs=("braces", *read.repairs)) if doubled else read

    def take_without_brace(self, at: int) -> None:
        """Properties of an object whose first brace is missing: whoever was given it to go on from left it out."""
        read = self.read_mended("{" + self.text[at:], 0)
        if isinstance(read, Unreadable):
            self.failures.append(read)
        else:
            repairs, end = ("first_brace", *read.repairs), at + read.end - 1
            self.candidates.append(
                Candidate(read.value, repairs, self.text, at, end, fenced=False, cut=read.cut, unclosed=read.unclosed)
            )

    def take_escaped(self, at: int) -> int:
        r"""A value all of whose quotes are escaped: `{\"a\": 1}`."""
        if self.layers < 2:
            self.look_in(_unescaped(self.text[at:]), "escaped_quotes", at)
        return len(self.text)

    def look_in(self, text: str, repair: str, at: int = 0) -> None:
        """Looks in what this text is a quotation of."""
        inner = Places(text, self.check, layers=self.layers + 1)
        inner.allowance = self.allowance
        whole = decoded(text)
        if whole is not NONE:
            inner.candidates = [Candidate(whole, (), text, 0, len(text), fenced=False)]
        else:
            inner.look()
        for failure in inner.failures:
            failure.start += at
            self.failures.append(failure)
        for each in inner.candidates:
            self.candidates.append(msgspec.structs.replace(each, repairs=(repair, *each.repairs), quoted_at=at))

    def skipped(self, at: int) -> int:
        """Behind the value that cannot be read. What is inside of it is never taken for the whole."""
        depth = 0
        for token in _BRACKETS.finditer(self.text, at):
            match token[0][0]:
                case "{" | "[":
                    depth += 1
                case "}" | "]":
                    depth -= 1
                    if depth <= 0:
                        return token.end()
                case '"':
                    pass
                case _:  # a fence: something else begins, or this is over
                    return token.start()
            self.allowance.steps -= 1
            if self.allowance.steps < 0:
                break
        return len(self.text)

    def look_at_bare(self) -> bool:
        """True where the text is one JSON value, of any kind, beside its fence and what was thought before."""
        bare = without_thinking(self.text).strip()
        fence = _FENCED.match(bare)
        if fence is not None and bare.endswith(fence[1]):
            bare = bare[fence.end() : -len(fence[1])].rstrip()
        elif len(bare) == len(self.text.strip()):
            return False
        value = decoded(bare)
        if value is NONE or (isinstance(value, str) and not (self.check is None or self.check.fits(value))):
            return False
        start = self.text.rindex(bare)
        self.candidates.append(Candidate(value, (), self.text, start, start + len(bare), fenced=fence is not None))
        return True

    def look_for_word(self) -> None:
        """A word of the schema's that is all there is."""
        plain = without_thinking(self.text).strip(" \t\r\n`*_\"'“”‘’.")
        if not self.thinking_open and plain in self.words:
            self.candidates.append(Candidate(plain, ("unquoted_words",), self.text, 0, len(self.text), fenced=False))


_ESCAPES = (
    ("\\\\", "\ufdd0"),
    ('\\"', '"'),
    ("\\n", "\n"),
    ("\\r", "\r"),
    ("\\t", "\t"),
    ("\\/", "/"),
    ("\ufdd0", "\\"),
)
_ENTITIES_MEANT = (
    ("&quot;", '"'),
    ("&#34;", '"'),
    ("&#39;", "'"),
    ("&apos;", "'"),
    ("&lt;", "<"),
    ("&gt;", ">"),
    ("&nbsp;", " "),
    ("&amp;", "&"),
)


def _unescaped(text: str) -> str:
    """One layer of a JSON string's escapes taken off. (U+FDD0 is no character: it stands in for a while.)"""
    for written, meant in _ESCAPES:
        text = text.replace(written, meant)
    return text


def _without_entities(text: str) -> str:
    for written, meant in _ENTITIES_MEANT:
        text = text.replace(written, meant)
    return text
