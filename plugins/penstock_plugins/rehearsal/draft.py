"""The deterministic answer to a request: a function of model and prompt, and of nothing else.

Not here: how a wire writes it. Directives in the last user message choose what comes: `[[words 40]]`, `[[say TEXT]]`,
`[[call NAME]]` (a tool that was offered). A forced tool is called, a schema is fulfilled. Every answer in words begins
with a character that is not ASCII, so that each test of decoding has something to decode.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Literal, TypeAlias

import msgspec
from msgspec import Struct

from penstock.types import Discreet
from penstock_plugins.rehearsal.ask import Ask, tokens_of
from penstock_plugins.rehearsal.chance import digest, draw
from penstock_plugins.rehearsal.sample import instance

__all__ = ["Block", "Draft", "Finish", "Fragment", "make_draft"]

Finish: TypeAlias = Literal["stop", "stop_sequence", "length", "tool_calls", "filtered"]

_OPENINGS = ("Água", "Être", "Über", "Ökonomisch", "水は", "Вода", "🌊", "Élan")
_WORDS = (
    *("the", "water", "gate", "sluice", "turbine", "flow", "head", "pipe", "valve", "river", "dam", "weir", "basin"),
    *("level", "pressure", "metre", "litre", "second", "steady", "rises", "falls", "holds", "opens", "closes", "turns"),
    *("drives", "carries", "meets", "leaves", "keeps", "slowly", "always", "never", "again", "once", "twice", "with"),
    *("without", "under", "over", "through", "between", "and", "or", "so", "then"),
    *("débit", "Gefälle", "größe", "señal", "cañón", "流れ", "ταχύτητα", "поток", "☔"),
)
_DIRECTIVE = re.compile(r"\[\[(words|say|call) ([^\[\]]{1,2000})\]\]")
_PIECE = re.compile(r"[\s\S]{1,12}")


class Fragment(Discreet, frozen=True):
    """What one chunk of a stream says."""

    text: str
    tokens: int


class Block(Discreet, frozen=True):
    """One part of the answer: thinking, text, or the arguments of a call."""

    shown = frozenset({"kind", "name"})

    kind: Literal["thinking", "text", "call"]
    fragments: tuple[Fragment, ...]
    name: str = ""
    id: str = ""

    @property
    def text(self) -> str:
        """All of it."""
        return "".join(fragment.text for fragment in self.fragments)


class Draft(Struct, frozen=True, kw_only=True):
    """An answer before a wire writes it."""

    blocks: tuple[Block, ...]
    finish: Finish
    stopped_by: str | None = None
    """The stop sequence that ended it."""
    tells_usage: bool = True
    input_tokens: int = 0

    @property
    def output_tokens(self) -> int:
        """All tokens, thinking included."""
        return sum(fragment.tokens for block in self.blocks for fragment in block.fragments)

    @property
    def thinking_tokens(self) -> int:
        """Those nobody reads."""
        return sum(fragment.tokens for block in self.blocks if block.kind == "thinking" for fragment in block.fragments)


class _Raw(Struct, frozen=True):
    """A block before it is counted and cut."""

    kind: Literal["thinking", "text", "call"]
    pieces: tuple[str, ...]
    name: str = ""
    id: str = ""


def make_draft(ask: Ask, *, beyond_max: int = 0, filtered_after: int | None = None, tells_usage: bool = True) -> Draft:
    """The answer to a request; `beyond_max` tokens longer than allowed, or ended by a filter after so many chunks."""
    blocks, stopped_by = _stop(_raw_blocks(ask, beyond_max), ask.stop)
    limit = None if ask.max_tokens is None else ask.max_tokens + beyond_max
    counted, whole = _count(blocks, limit, filtered_after)
    finish: Finish = "stop" if stopped_by is None else "stop_sequence"
    if not whole:
        finish = "length" if filtered_after is None else "filtered"
    elif any(block.kind == "call" for block in counted):
        finish = "tool_calls"
    return Draft(
        blocks=counted,
        finish=finish,
        stopped_by=stopped_by if whole else None,
        tells_usage=tells_usage,
        input_tokens=ask.input_tokens,
    )


def _raw_blocks(ask: Ask, beyond_max: int) -> list[_Raw]:
    blocks = [_Raw("thinking", tuple(_words(ask, "thinking", 8)))] if ask.thinking else []
    directives = dict(_DIRECTIVE.findall(ask.prompt))
    if beyond_max and ask.max_tokens is not None:
        # A word has two bytes at least, with its space.
        return [*blocks, _Raw("text", tuple(_words(ask, "text", 2 * (ask.max_tokens + beyond_max))))]
    calls = list(_calls(ask, directives.get("call")))
    if calls:
        return blocks + calls
    if ask.schema is not None:
        text = msgspec.json.encode(instance(ask.schema)).decode()
        return [*blocks, _Raw("text", tuple(_PIECE.findall(text)))]
    if "say" in directives:
        return [*blocks, _Raw("text", tuple(re.findall(r"\S+\s*|\s+", directives["say"])))]
    return [*blocks, _Raw("text", tuple(_words(ask, "text", _length(ask, directives.get("words")))))]


def _calls(ask: Ask, wanted: str | None) -> Iterator[_Raw]:
    for index, tool in enumerate(ask.tools):
        if tool.name in (wanted, ask.forced_tool) or (ask.forced_tool == "" and index == 0):
            arguments = msgspec.json.encode(instance(tool.parameters)).decode()
            mark = digest(f"{ask.content}{index}".encode())
            yield _Raw("call", tuple(_PIECE.findall(arguments)), tool.name, mark)


def _length(ask: Ask, wanted: str | None) -> int:
    if wanted is not None and wanted.isdecimal():
        return max(1, min(int(wanted), 100_000))
    return 12 + int(36 * draw(0, "length", ask.content))


def _words(ask: Ask, what: str, count: int) -> Iterator[str]:
    yield _OPENINGS[int(draw(0, what, ask.content) * len(_OPENINGS))]
    for index in range(1, count):
        yield " " + _WORDS[int(draw(0, what, ask.content, index) * len(_WORDS))]


def _stop(blocks: list[_Raw], sequences: tuple[str, ...]) -> tuple[list[_Raw], str | None]:
    """Ends the text where the first of the stop sequences begins."""
    for index, block in enumerate(blocks):
        text = "".join(block.pieces)
        found = min(((text.find(stop), stop) for stop in sequences if stop and stop in text), default=None)
        if block.kind == "text" and found is not None:
            return [*blocks[:index], _Raw("text", tuple(_first_characters(block.pieces, found[0])))], found[1]
    return blocks, None


def _first_characters(pieces: tuple[str, ...], length: int) -> Iterator[str]:
    for piece in pieces:
        if length > 0:
            yield piece[:length]
        length -= len(piece)


def _first_bytes(piece: str, room: float) -> str:
    """As many whole characters as fit."""
    return piece.encode()[: max(0, int(room))].decode(errors="ignore")


def _count(blocks: list[_Raw], limit: int | None, chunks: int | None) -> tuple[tuple[Block, ...], bool]:
    """Counts tokens over all blocks; ends at `limit` tokens or `chunks` fragments of text. True: nothing was cut."""
    counted: list[Block] = []
    length = tokens = shown = 0
    for block in blocks:
        fragments: list[Fragment] = []
        length += len(block.name.encode())
        for piece in block.pieces:
            room = math.inf if limit is None else 4 * limit - length
            fitting = piece if len(piece.encode()) <= room else _first_bytes(piece, room)
            if fitting and (chunks is None or shown < chunks):
                length += len(fitting.encode())
                more = tokens_of(length) - tokens
                tokens += more
                shown += block.kind != "thinking"
                fragments.append(Fragment(fitting, more))
            if len(fitting) < len(piece) or (chunks is not None and shown >= chunks):
                return (*counted, Block(block.kind, tuple(fragments), block.name, block.id)), False
        counted.append(Block(block.kind, tuple(fragments), block.name, block.id))
    return tuple(counted), chunks is None
