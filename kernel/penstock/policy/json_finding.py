"""The JSON value that a model meant, wherever it stands in what the model wrote.

Among prose, fences, thinking, several candidates and trailing text; mended where its notation is damaged
(`json_reading`), and never guessed: where two different values would do, or something may be missing, there is none.
Linear in the text. Not here: what is asked of the value beyond its schema (validators), and asking again
(`repairing`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any, Literal, TypeAlias

import msgspec
from msgspec import Struct

from penstock.policy.json_reading import DEEPEST, SCANNER, Allowance, Cut, Read, Unreadable, read_json
from penstock.policy.json_schema import Flaw, Json, SchemaCheck, frozen, is_array, is_object, pointed

__all__ = ["Found", "NotFound", "find_json"]

Reason: TypeAlias = Literal["nothing", "damaged", "truncated", "ambiguous", "misfit", "too_deep", "too_long"]

MOST_PLACES = 64
"""Places in one text at which a value is looked for."""
MOST_READ = 4
"""Times its length that a text is read altogether, at those places."""
MOST_OPENINGS = 50_000
"""Characters with which something may begin."""
LONGEST_MENDED = 262_144
"""Characters. What is longer is found where it is valid and not mended where it is not: no model writes as much by
mistake, and a kernel has one loop for all its calls."""


class Found(Struct, frozen=True):
    """The value. `repairs` name what was mended, in order; none where it stood there as valid JSON."""

    value: Json
    repairs: tuple[str, ...] = ()


class NotFound(Struct, frozen=True):
    """There is no value that is certain to be meant."""

    reason: Reason
    says: str
    flaws: tuple[Flaw, ...] = ()
    """Where the likeliest candidate does not fit the schema."""

    @property
    def paths(self) -> tuple[str, ...]:
        """Of the flaws."""
        return tuple(flaw.path for flaw in self.flaws)


class _Candidate(Struct, frozen=True):
    """A value that stands in the text."""

    value: Json
    repairs: tuple[str, ...]
    start: int
    end: int
    fenced: bool
    cut: Cut | None = None


def find_json(text: str, schema: Mapping[str, Json] | SchemaCheck | None = None) -> Found | NotFound:
    """The value in the text that fits the schema, or why there is none. Raises SchemaError for a wrong schema.

    Laws: what is found fits the schema; text that is valid JSON and fits is found as it stands; the same text gives
    the same; the time is linear in the text, and no text raises.
    """
    check = SchemaCheck(schema) if isinstance(schema, Mapping) else schema
    whole = _decoded(text)
    if whole is not _NONE and (check is None or check.fits(whole)) and not _is_quoted_json(whole, check):
        return Found(whole)
    return _Search(text, check).found(whole)


# Whole texts

_NONE: Json = object()
_ENDS_AS_JSON = re.compile(r"[}\]\"\del]\s*\Z")
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def _decoded(text: str) -> Json:
    """The text as JSON, where it is that and nothing else."""
    if not _ENDS_AS_JSON.search(text, max(0, len(text) - 256)):
        return _NONE
    try:
        value = SCANNER.decode(text)
    except (ValueError, RecursionError):
        return _NONE
    return value if not _SURROGATE.search(text) and _shallow(text, 0, len(text), value) else _NONE


def _shallow(text: str, start: int, end: int, value: Json) -> bool:
    """True where the value is not nested too deeply, for whoever walks through it by recursion."""
    if text.count("{", start, end) + text.count("[", start, end) <= DEEPEST:
        return True
    level: list[Json] = [value] if is_object(value) or is_array(value) else []
    for _ in range(DEEPEST + 1):
        below: list[Json] = []
        for held in level:
            below.extend(held.values() if is_object(held) else held)
        level = [each for each in below if is_object(each) or is_array(each)]
        if not level:
            return True
    return False


def _is_quoted_json(value: Json, check: SchemaCheck | None) -> bool:
    """True for JSON in a JSON string, where nothing says that a string is wanted."""
    return check is None and isinstance(value, str) and value.lstrip()[:1] in {"{", "["}


# Where something begins: an object whose first key can be seen, or an array whose first item can; a fence; thinking.
# It begins with a class of characters, by which the engine skips what cannot be one; every look ahead is bounded.
_THOUGHT = "(?:think|thinking|thought|reasoning|reflection|scratchpad|analysis)>"
_START = re.compile(
    r"[`~<{\[](?:(?<=[`~])(?P<line>[`~]{20,}+)|"
    r"""(?<=\{)(?:(?P<run>\{{2,}+)|(?P<doubled>\{(?=\s{0,256}+["'“]))"""
    r"""|(?P<object>(?=\s{0,256}+(?:["'“‘`}«„,]|[A-Za-z_$][\w$-]{0,100}+\s{0,9}+[:=]|-?\d{1,20}+\s{0,9}+:"""
    r"""|//|/\*|\#[^\n{]{0,200}+\n))))"""
    r"""|(?<=[{\[])(?P<escaped>(?=\s{0,256}+\\{1,8}+"))"""
    r"""|(?<=\[)(?P<array>(?!\s{0,256}+```)(?=\s{0,256}+(?:["'“‘`{\[\]«„]|[-+]?\.?\d|//|/\*|[A-Za-z]{1,20}+\s{0,9}+[,\]])))"""
    r"""|(?<=[`~])(?P<fence>(?:`{2,18}+|~{2,18}+)(?P<info>[\w+-]{0,20}+)(?=\s|\Z|[{\[<]))"""
    rf"""|(?<=<)(?:(?P<think>{_THOUGHT})|(?P<thought>/{_THOUGHT})))"""
)
_ENTITIES = re.compile(r"[{\[]\s*+(?:\{\s*+)?&(?:quot|\#34|\#39|apos);")
_NO_BRACE = re.compile(r"""\s*+(?:`{3,}+\w*+\s*+)?(?P<key>"[^"\n{}]{1,200}+"\s*+:)""")
_GOES_ON = re.compile(r"""\s*+,\s*+(?:"[^"\n]{0,200}+"|'[^'\n]{0,200}+')\s*+:""")
_FENCED = re.compile(r"(`{3,9}+)\w{0,20}+\s*+")
_MORE_STRUCTURE = re.compile(r"\s*+[,}\]]")
_BETWEEN_LINES = re.compile(r"[\s,]*+\Z")
_BRACKETS = re.compile(r"""[{}\[\]]|"(?:[^"\\\n]|\\.)*+"|^[ \t]*+(?:`{3,}|~{3,})""", re.MULTILINE)


class _Search:
    """One search through one text."""

    def __init__(self, text: str, check: SchemaCheck | None, *, layers: int = 0) -> None:
        self.text = text
        self.check = check
        self.layers = layers
        """How many quotations this text was taken out of."""
        self.words = frozenset[str]() if check is None else _words(check.schema)
        self.allowance = Allowance()
        self.left_to_read = MOST_READ * len(text) + 4_096
        self.failures: list[Unreadable] = []
        self.candidates: list[_Candidate] = []
        self.thinking_open = False

    def found(self, whole: Json) -> Found | NotFound:
        """The value, or why there is none."""
        if whole is not _NONE:
            self.candidates = [_Candidate(whole, (), 0, len(self.text), fenced=False)]
        elif not self.look_at_bare():
            self.look()
            if not self.candidates and not self.failures:
                self.look_for_word()
        return self.chosen()

    # Looking

    def look(self) -> None:  # noqa: C901, PLR0912 - one case for each thing that may begin
        """Every value in the text, from its start to its end, none inside another."""
        text, at, fenced = self.text, 0, False
        if sum(text.count(char) for char in "{[<`~") > MOST_OPENINGS:
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
                    closing = f"</{start['think']}"
                    end = text.find(closing, start.end())
                    self.thinking_open = end < 0
                    at = len(text) if end < 0 else end + len(closing)
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
                self.candidates.append(_Candidate(read.value, (), start.start(), read.end, fenced=False))
                return
        self.failures.append(Unreadable("too_long", "is damaged, and too long to be mended", 0))

    def behind_thinking(self, opening: re.Match[str]) -> int:
        """The model thinks aloud: nothing of that is meant."""
        closing = f"</{opening['think']}"
        end = self.text.find(closing, opening.end())
        self.thinking_open = end < 0
        return len(self.text) if end < 0 else end + len(closing)

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
            self.failures.append(read)
            end = len(text) if read.reason == "too_long" else self.skipped(at)
            self.left_to_read -= end - at
            return end
        self.candidates.append(_Candidate(read.value, read.repairs, at, read.end, fenced, read.cut))
        return read.end

    def read_as_it_is(self, at: int) -> Read | None:
        """Valid JSON, in the time that C takes for it."""
        try:
            value, end = SCANNER.raw_decode(self.text, at)
        except json.JSONDecodeError as wrong:
            self.left_to_read -= wrong.pos - at
            return None
        except (ValueError, RecursionError):
            return None
        self.left_to_read -= end - at
        if _SURROGATE.search(self.text, at, end) or not _shallow(self.text, at, end, value):
            return None
        return Read(value, end, ())

    def read_mended(self, text: str, at: int, *, doubled: bool = False) -> Read | Unreadable:
        """What can be read with forgiveness."""
        if self.left_to_read < 0 or len(text) - at > LONGEST_MENDED:
            return Unreadable("too_long", "is damaged, and too long to be mended", at)
        try:
            read = read_json(text, at, self.allowance, words=self.words, doubled=doubled)
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
            self.candidates.append(
                _Candidate(
                    read.value, ("first_brace", *read.repairs), at, at + read.end - 1, fenced=False, cut=read.cut
                )
            )

    def take_escaped(self, at: int) -> int:
        r"""A value all of whose quotes are escaped: `{\"a\": 1}`."""
        if self.layers < 2:
            self.look_in(_unescaped(self.text[at:]), "escaped_quotes")
        return len(self.text)

    def look_in(self, text: str, repair: str) -> None:
        """Looks in what this text is a quotation of."""
        inner = _Search(text, self.check, layers=self.layers + 1)
        inner.allowance = self.allowance
        whole = _decoded(text)
        if whole is not _NONE:
            inner.candidates = [_Candidate(whole, (), 0, len(text), fenced=False)]
        else:
            inner.look()
        self.failures.extend(inner.failures)
        for each in inner.candidates:
            self.candidates.append(msgspec.structs.replace(each, repairs=(repair, *each.repairs)))

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
        bare = _without_thinking(self.text).strip()
        fence = _FENCED.match(bare)
        if fence is not None and bare.endswith(fence[1]):
            bare = bare[fence.end() : -len(fence[1])].rstrip()
        elif len(bare) == len(self.text.strip()):
            return False
        value = _decoded(bare)
        if value is _NONE or (isinstance(value, str) and not (self.check is None or self.check.fits(value))):
            return False
        start = self.text.rindex(bare)
        self.candidates.append(_Candidate(value, (), start, start + len(bare), fenced=fence is not None))
        return True

    def look_for_word(self) -> None:
        """A word of the schema's that is all there is."""
        plain = _without_thinking(self.text).strip(" \t\r\n`*_\"'“”‘’.")
        if not self.thinking_open and plain in self.words:
            self.candidates.append(_Candidate(plain, ("unquoted_words",), 0, len(self.text), fenced=False))

    # Choosing

    def chosen(self) -> Found | NotFound:
        """The one candidate that is meant."""
        certain = [settled for each in self.candidates if (settled := self.settled(each)) is not None]
        if len(certain) < len(self.candidates):
            self.failures.append(Unreadable("truncated", "ends where more may have been meant", len(self.text)))
        fitting = [each for each in certain if self.fits(each.value)]
        if not fitting:
            fitting = list(self.unfolded(certain))
        if self.check is None:
            fitting = _most_telling(fitting)
        if not fitting:
            return self.none(certain)
        first = fitting[0]
        if any(not _same(first.value, other.value) for other in fitting[1:]):
            says = f"the text holds {len(fitting)} different values, and each of them would do"
            return NotFound("ambiguous", says)
        best = min(fitting, key=lambda each: len(each.repairs))
        return Found(best.value, tuple(dict.fromkeys((*self.around(best), *best.repairs))))

    def around(self, candidate: _Candidate) -> Iterator[str]:
        """What stood around the value."""
        if candidate.start == 0 and candidate.end == len(self.text):
            return
        before, after = self.text[: candidate.start].strip(), self.text[candidate.end :].strip()
        if candidate.fenced:
            yield "fence"
        elif before or after:
            yield "prose"

    def fits(self, value: Json) -> bool:
        return self.check is None or self.check.fits(value)

    def settled(self, candidate: _Candidate) -> _Candidate | None:
        """The candidate where the schema says that nothing is missing; None where something may be."""
        cut = candidate.cut
        if cut is None:
            return candidate
        if self.check is None or not is_object(self.check.schema):
            return None
        schema = _schema_at(self.check.schema, cut.path)
        if schema is None:
            return None
        if not cut.inside_string:
            return candidate if _takes_no_more(schema, _value_at(candidate.value, cut.path)) else None
        begun = _value_at(candidate.value, cut.path)
        choices = [word for word in _own_words(schema) if word.startswith(begun)]
        if len(choices) != 1:
            return None
        value = _replaced(candidate.value, cut.path, choices[0])
        return msgspec.structs.replace(candidate, value=value, repairs=(*candidate.repairs, "completed"), cut=None)

    def unfolded(self, candidates: list[_Candidate]) -> Iterator[_Candidate]:
        """What a candidate is an envelope of, or a quotation, or what several are the lines of."""
        if self.check is None:
            for each in candidates:
                yield from self.unquoted(each)
            return
        if len(candidates) > 1 and self.are_lines(candidates):
            joined = [each.value for each in candidates]
            if self.fits(joined):
                repairs = tuple(dict.fromkeys(repair for each in candidates for repair in each.repairs))
                yield _Candidate(joined, ("lines", *repairs), candidates[0].start, candidates[-1].end, fenced=False)
                return
        for each in candidates:
            yield from self.unquoted(each)
            inner = _only_content(each.value, self.check.schema)
            if inner is not _NONE and self.fits(inner):
                yield msgspec.structs.replace(each, value=inner, repairs=(*each.repairs, "envelope"))

    def unquoted(self, candidate: _Candidate) -> Iterator[_Candidate]:
        """JSON in a JSON string."""
        quoted = candidate.value
        if not isinstance(quoted, str) or self.layers >= 2 or not ("{" in quoted or "[" in quoted):
            return
        inner = _Search(quoted, self.check, layers=self.layers + 1)
        inner.allowance = self.allowance
        found = inner.found(_decoded(quoted))
        if isinstance(found, Found):
            yield msgspec.structs.replace(
                candidate, value=found.value, repairs=(*candidate.repairs, "quoted", *found.repairs)
            )

    def are_lines(self, candidates: list[_Candidate]) -> bool:
        """True where nothing but space and commas stands between them."""
        return all(_BETWEEN_LINES.match(self.text[before.end : after.start]) for before, after in pairwise(candidates))

    def none(self, certain: list[_Candidate]) -> NotFound:
        """Why there is no value: what is wrong with the likeliest candidate."""
        flaws: tuple[Flaw, ...] = ()
        for each in certain:
            wrong = self.check.flaws(each.value) if self.check is not None else ()
            if not flaws or (wrong and len(wrong) < len(flaws)):
                flaws = wrong
        if flaws and not any(failure.reason == "truncated" for failure in self.failures):
            return NotFound("misfit", "the value does not fit the schema", flaws)
        if self.failures:
            first = self.failures[0]
            return NotFound(first.reason, f"the JSON {first.says}", flaws)
        if self.thinking_open:
            return NotFound("nothing", "the text ends while the model is still thinking")
        return NotFound("nothing", "there is no JSON in the text")


def _same(one: Json, other: Json) -> bool:
    return bool(frozen(one) == frozen(other))


def _most_telling(candidates: list[_Candidate]) -> list[_Candidate]:
    """Without a schema: what is fenced is meant, and `[1]` in prose is a footnote beside an object."""
    fenced = [each for each in candidates if each.fenced]
    left = fenced or candidates
    objects = [each for each in left if is_object(each.value) or _holds_containers(each.value)]
    return objects or left


def _holds_containers(value: Json) -> bool:
    return is_array(value) and any(is_object(each) or is_array(each) for each in value)


def _without_thinking(text: str) -> str:
    last = None
    for match in re.finditer(r"</(?:think|thinking|thought|reasoning|reflection|scratchpad|analysis)>", text):
        last = match
    return text if last is None else text[last.end() :]


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


# What the schema knows


def _words(schema: Any) -> frozenset[str]:
    """The strings that some `enum` or `const` of the schema lists."""
    found: set[str] = set()
    left: list[Json] = [schema]
    while left:
        at = left.pop()
        if is_object(at):
            stated = at
            found.update(_listed(stated))
            left.extend(value for key, value in stated.items() if key not in ("enum", "const"))
        elif is_array(at):
            left.extend(at)
    return frozenset(found)


def _listed(schema: Mapping[str, Json]) -> Iterator[str]:
    listed = schema.get("enum")
    for each in (*(listed if is_array(listed) else ()), schema.get("const")):
        if isinstance(each, str):
            yield each


def _schema_at(root: Mapping[str, Json], path: tuple[str | int, ...]) -> Mapping[str, Json] | None:
    """The one schema that a place in the value has to fit; None where several might, or nobody can say."""
    at = _plain(root, root)
    for step in path:
        if at is None:
            return None
        below: Json
        if isinstance(step, str):
            below = at.get("properties", {}).get(step)
        else:
            below = at.get("items") if "prefixItems" not in at else None
        at = _plain(root, below)
    return at


def _plain(root: Mapping[str, Json], schema: Json) -> Mapping[str, Json] | None:
    """Behind references, and out of a choice whose other side is null."""
    for _ in range(16):
        if not is_object(schema):
            return None
        stated = schema
        choices = stated.get("anyOf") or stated.get("oneOf")
        if "$ref" in stated:
            schema = pointed(root, stated["$ref"])
        elif is_array(choices):
            real = [each for each in choices if each != {"type": "null"}]
            if len(real) != 1:
                return None
            schema = real[0]
        else:
            return stated
    return None


def _own_words(schema: Mapping[str, Json]) -> list[str]:
    return list(dict.fromkeys(_listed(schema)))


def _takes_no_more(schema: Mapping[str, Json], value: Json) -> bool:
    """True where nothing could follow the last comma."""
    if is_array(value):
        return schema.get("maxItems") == len(value)
    known = schema.get("properties", {})
    return (
        schema.get("additionalProperties") is False
        and "patternProperties" not in schema
        and known.keys() <= value.keys()
    )


def _value_at(value: Json, path: tuple[str | int, ...]) -> Json:
    for step in path:
        value = value[step]
    return value


def _replaced(value: Json, path: tuple[str | int, ...], leaf: Json) -> Json:
    """The value itself, with another leaf: nobody else has seen it yet."""
    holder = _value_at(value, path[:-1])
    holder[path[-1]] = leaf
    return value


_ENVELOPES = ("arguments", "parameters", "input", "args")
"""How calls of tools name what is meant for the tool."""


def _only_content(value: Json, schema: Any) -> Json:
    """What an object of one property, a list of one item, or the call of a tool holds."""
    if is_array(value):
        items = value
        return items[0] if len(items) == 1 else _NONE
    if not is_object(value):
        return _NONE
    fields = value
    known: Mapping[str, Json] = {}
    if is_object(schema):
        known = (_plain(schema, schema) or {}).get("properties", {})
    if any(name in known for name in fields):
        return _NONE  # a value of the schema, and a wrong one
    if len(fields) == 1:
        return next(iter(fields.values()))
    named = [name for name in _ENVELOPES if name in fields]
    return fields[named[0]] if len(named) == 1 and "name" in fields else _NONE
