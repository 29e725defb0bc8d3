"""The places of a text at which JSON stands, and what stands there: every value, none inside another.

Not here: reading what is damaged (`json_reading`), and which value is meant (`json_finding`).
"""

from __future__ import annotations

import json
import re

import msgspec
from msgspec import Struct

from penstock.policy.json_levels import has_bracket_more
from penstock.policy.json_lines import besides, lines_together
from penstock.policy.json_notation import Allowance, Unreadable, line_before
from penstock.policy.json_reading import Cut, Read, read_json
from penstock.policy.json_scalars import LONGEST_WORD, scalar_of, word_of
from penstock.policy.json_schema import SchemaCheck
from penstock.policy.json_thinking import (
    CLOSING_BEHIND_FIRST,
    OPENING_BEHIND_FIRST,
    behind_leaked,
    behind_thought,
    without_thinking,
)
from penstock.policy.json_values import Json
from penstock.policy.json_wholes import Decoded, decoded, value_at
from penstock.policy.schema_knowledge import NONE, words_of

__all__ = ["Candidate", "Places"]

MOST_PLACES = 1_024
"""Places in one text at which a value is looked for: each costs some 30 us until it is judged."""
MOST_DAMAGED = 64
"""Of them, those at which none can be read."""
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
    in_code: bool = False
    """In a fence of another language than JSON."""
    under: tuple[str, ...] = ()
    """The names under which envelopes held it."""

    @property
    def place(self) -> int:
        """What stands behind it in the whole text has a higher one."""
        return self.quoted_at + self.start


# Where something begins: an object whose first key can be seen, or an array whose first item can; a fence; thinking.
# It begins with a class of characters, by which the engine skips what cannot be one; every look ahead is bounded.
_START = re.compile(
    rf"[`~<{{\[◁\uff5b](?:(?P<think>{OPENING_BEHIND_FIRST})|(?P<thought>{CLOSING_BEHIND_FIRST})"
    r"|(?<=[`~])(?P<line>[`~]{20,}+)|"
    r"""(?<=\{)(?:(?P<run>\{{2,}+)|(?P<doubled>\{(?=\s{0,256}+["'“]))"""
    r"""|(?P<object>(?=\s{0,256}+(?:["'“‘`}«„,]|[A-Za-z_$<][\w$ .<>-]{0,100}+\s{0,9}+[:=]|-?\d{1,20}+\s{0,9}+:"""
    r"""|//|/\*|\#[^\n{]{0,200}+\n))))"""
    r"""|(?P<foreign>(?<=\uff5b)|(?<=\{)(?=\s{0,9}+&(?:quot|\#34|apos|\#39);))"""
    r"""|(?<=[{\[])(?P<escaped>(?=(?:\s|\\[nrt]){0,256}+(?:[{\[](?:\s|\\[nrt]){0,256}+)?+\\{1,8}+"))"""
    r"""|(?<=\[)(?<!\x1b\[)(?P<array>(?!\[?\w{1,60}+\][:(])(?!\s{0,256}+```)(?=\s{0,256}+(?:["'“‘`{\[\]«„]|[-+]?\.?\d|//|/\*|[A-Za-z]{1,20}+\s{0,9}+[,\]])))"""
    r"""|(?<=[`~])(?P<fence>(?:`{2,18}+|~{2,18}+)(?P<info>[\w+-]{0,20}+)(?=\s|\Z|[{\[<])))"""
)
_ENTITIES = re.compile(r"[{\[]\s*+(?:\{\s*+)?&(?:quot|\#34|\#39|apos);")
_NO_BRACE = re.compile(r"""\s*+(?:`{3,}+\w*+\s*+)?(?P<key>"[^"\n{}]{1,200}+"\s*+:)""")
_GOES_ON = re.compile(r"""\s*+,\s*+(?:"[^"\n]{0,200}+"|'[^'\n]{0,200}+')\s*+:""")
_FENCED = re.compile(r"(`{3,9}+)(?!(?i:think|reason|scratch))\w{0,20}+\s*+")
_MORE_STRUCTURE = re.compile(r"\s*+[,}\]]")
_FENCED_SCALAR = re.compile(
    r"""\s{0,99}+(null|None|[Tt]rue|[Ff]alse|-?\d[\w.+-]{0,99}+|"[^"\n]{0,200}+")\s{0,99}+(?:```|~~~)"""
)
# Nothing in it is a value: a template.
_ALL_ELIDED = re.compile(
    r"""\{\s{0,99}+(?:["']?+[\w -]{1,100}+["']?+\s{0,9}+:\s{0,9}+"""
    r"""(?:"?\.\.\."?|…)\s{0,99}+(?:,\s{0,99}+|(?=\}))){1,64}+\}"""
)
_THOUGHT_LINE = re.compile(r"[\s*_#>-]*+(?:thoughts?|thinking)[*_]*+\s*+[:\uff1a]", re.IGNORECASE)
_LONGEST_THOUGHT_LINE = 4_096
_QUOTATION = re.compile(r"^[ \t]*+>[ \t]*+[{\[][ \t]*+$", re.MULTILINE)
_QUOTED_LINE = re.compile(r"^[ \t]*+> ?", re.MULTILINE)
_FENCE_LINE = re.compile(r"(?:^|\n)[ \t]*+(?:```|~~~)")
THOUGHTS = frozenset({"think", "thinking", "thought", "thoughts", "reasoning", "scratchpad"})
"""Languages of fences in which a model thinks."""
_BRACKETS = re.compile(r"""[{}\[\]]|"(?:[^"\\\n]|\\.)*+"|^[ \t]*+(?:`{3,}|~{3,})""", re.MULTILINE)


class Places:
    """Those of one text."""

    def __init__(self, text: str, check: SchemaCheck | None, *, layers: int = 0, known: Decoded | None = None) -> None:
        self.text = text
        self.check = check
        self.layers = layers
        """How many quotations this text was taken out of."""
        self.known = known or Decoded()
        self.words = frozenset[str]() if check is None else words_of(check.schema)
        self.allowance = Allowance()
        self.left_to_read = MOST_READ * len(text) + 4_096
        self.code = False
        """In a fence of another language than JSON."""
        self.failures: list[Unreadable] = []
        self.candidates: list[Candidate] = []
        self.thinking_open = False

    # Looking

    def look(self) -> None:  # noqa: C901, PLR0912, PLR0915 - one case for each thing that may begin
        """Every value in the text, from its start to its end, none inside another."""
        text, at, fenced = self.text, behind_leaked(self.text), False
        self.thinking_open = at == len(text) > 0
        never = set[str]()
        lines = lines_together(text, at, self.check)
        rest = "".join(besides(text, lines))
        if sum(rest.count(char) for char in "{[<`~◁") > MOST_OPENINGS:
            self.look_once()
            return
        if (quoted := self.quoted_in_whole()) is not None:
            self.look_in(*quoted)
            return
        for _ in range(MOST_PLACES):
            start = _START.search(text, at)
            if start is None:
                break
            match start.lastgroup:
                case "fence":
                    fenced, at = bool(start["info"]) or not fenced, start.end()
                    if fenced:
                        fenced, at = self.open_fence(start["info"].lower(), at)
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
                case "foreign":
                    at = self.pass_over(start.start(), "is written with other signs than JSON's", fenced=fenced)
                case "escaped":
                    at = self.take_escaped(start.start())
                case _ if _THOUGHT_LINE.match(line_before(text, start.start(), _LONGEST_THOUGHT_LINE)):
                    at = self.skipped(start.start())
                case _ if start.start() in lines:
                    value, at = lines[start.start()]
                    self.candidates.append(Candidate(value, ("lines",), text, start.start(), at, fenced=fenced))
                case kind:
                    at = self.take(start.start(), fenced=fenced, doubled=kind == "doubled")
            if at >= len(text) or self.allowance.steps < 0 or len(self.failures) > MOST_DAMAGED:
                break
        else:
            at = -1
        if at < 0 or len(self.failures) > MOST_DAMAGED:
            # What was not looked at may hold another that would do.
            self.candidates.clear()
            self.failures.append(Unreadable("too_long", "may begin in too many places", 0))
        if not self.candidates and not self.failures and (bare := _NO_BRACE.match(text)) is not None:
            self.take_without_brace(bare.start("key"))

    def quoted_in_whole(self) -> tuple[str, str] | None:
        """The text without what all of it is quoted by, and the name of that."""
        text = self.text
        if self.layers or len(text) > LONGEST_MENDED:
            return None
        if '"' not in text and _ENTITIES.search(text):
            return _without_entities(text), "entities"
        if _QUOTATION.search(text):
            return _QUOTED_LINE.sub("", text), "quotation"
        return None

    def open_fence(self, info: str, at: int) -> tuple[bool, int]:
        """Notes what stands in the block that begins here; whether it is an answer's, and where to look on."""
        self.code = bool(info) and "json" not in info
        if info in THOUGHTS:
            end = _FENCE_LINE.search(self.text, at)
            self.thinking_open = end is None
            return False, len(self.text) if end is None else end.end()
        scalar = None if self.check is None else _FENCED_SCALAR.match(self.text, at)
        if scalar is not None and (value := scalar_of(scalar[1])) is not NONE:
            self.candidates.append(Candidate(value, (), self.text, scalar.start(1), scalar.end(1), fenced=True))
        return True, at

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
        if isinstance(read, Read) and read.end - at > LONGEST_MENDED and has_bracket_more(text, read.end):
            read = Unreadable("too_long", "has a bracket too many, and is too long for that to be found", read.end)
        if isinstance(read, Read) and (
            _GOES_ON.match(text, read.end)
            or ("missing_closers" in read.repairs and _MORE_STRUCTURE.match(text, read.end))
        ):
            read = Unreadable("damaged", "is closed before its last property", read.end)
        if isinstance(read, Unreadable):
            end = len(text) if read.reason == "too_long" else self.skipped(at)
            read.text, read.start, read.end, read.fenced = text, at, end, fenced
            is_elided = read.reason == "damaged" and _ALL_ELIDED.match(text, at) is not None
            read.is_template = read.is_template or is_elided or (fenced and self.code and read.is_word)
            self.failures.append(read)
            self.left_to_read -= end - at
            return end
        in_code = fenced and self.code
        self.candidates.append(
            Candidate(*(read.value, read.repairs, text, at, read.end, fenced, read.cut, read.unclosed), in_code=in_code)
        )
        return read.end

    def pass_over(self, at: int, says: str, *, fenced: bool) -> int:
        """Notes what may be meant and is not read; where to look on."""
        end = self.text.find("\n", at)
        damaged = Unreadable("damaged", says, at)
        damaged.text, damaged.end, damaged.fenced = self.text, len(self.text) if end < 0 else end, fenced
        self.failures.append(damaged)
        return damaged.end

    def read_as_it_is(self, at: int) -> Read | None:
        """Valid JSON, in the time that C takes for it; none where a bracket is too many in so much that nobody can look
        for it.
        """
        value, end = (self.known.ahead, self.known.end) if at == self.known.start else self.decoded_at(at)
        if value is NONE or (end - at > LONGEST_MENDED and has_bracket_more(self.text, end)):
            return None
        return Read(value, end, ())

    def decoded_at(self, at: int) -> tuple[Json, int]:
        """The sound value that begins here, and where it ends."""
        try:
            value, end = value_at(self.text, at)
        except json.JSONDecodeError as wrong:
            self.left_to_read -= wrong.pos - at
            return NONE, at
        except (ValueError, RecursionError):
            return NONE, at
        self.left_to_read -= end - at
        return (value, end) if value is not NONE else (NONE, at)

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
            read.text, read.start, read.end = self.text, at, len(self.text)
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
            failure.quoted_at += at
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
        bare = without_thinking(self.text).strip()
        fence = _FENCED.match(bare)
        if fence is not None and "\n" in fence[0]:
            bare = bare[fence.end() :]
        bare = bare.strip(" \t\r\n`*_")
        value = NONE if self.thinking_open or len(bare) > LONGEST_WORD else word_of(bare, self.words, self.check)
        if value is not NONE:
            repairs = ("unquoted_words",) if isinstance(value, str) else ("prose",)
            self.candidates.append(Candidate(value, repairs, self.text, 0, len(self.text), fenced=False))


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
