"""The content blocks of a streamed answer, each from its start over its deltas to its stop.

Not here: the events around them (`_stream`), and blocks that come whole in an unstreamed answer (`_read`).
"""

from __future__ import annotations

from typing import Any

import msgspec

from penstock.errors import MalformedResponseError
from penstock.policy.assembly import Assembly
from penstock.types import Chunk, Message, TextDelta, ThinkingDelta, ToolCallDelta
from penstock_providers.anthropic_messages._read import citations_of
from penstock_providers.anthropic_messages._wire import (
    FAMILY,
    UNREADABLE,
    BlockDelta,
    BlockStart,
    BlockStop,
    json_list,
    json_object,
)

__all__ = ["StreamedBlocks"]

_KNOWN_DELTAS = frozenset({"text_delta", "citations_delta", "thinking_delta", "signature_delta", "input_json_delta"})


class _OpenBlock:
    """A content block between its start and its stop."""

    __slots__ = ("data", "got_input", "input_json", "kind")

    def __init__(self, data: dict[str, Any]) -> None:
        self.data = data
        self.kind: object = data.get("type")
        self.input_json: list[str] = []
        self.got_input = False


class StreamedBlocks:
    """Takes the events of content blocks and adds to `chunks` what they bring. Raises MalformedResponseError."""

    def __init__(self) -> None:
        self._assembly = Assembly(FAMILY)
        self._open: dict[int, _OpenBlock] = {}
        self._begun = 0

    @property
    def all_stopped(self) -> bool:
        """True where no block is in the middle of its deltas."""
        return not self._open

    def message(self) -> Message:
        """The message so far."""
        return self._assembly.message()

    def start(self, event: BlockStart, chunks: list[Chunk]) -> None:
        """A block begins."""
        if event.index in self._open or event.index < self._begun:
            raise MalformedResponseError(f"content block {event.index} begins twice")
        self._begun = event.index + 1
        at, data = event.index, event.content_block
        self._open[at] = _OpenBlock(data)
        match data:
            case {"type": "text", "text": str(text)}:
                self._text(at, text, chunks)
                for citation in citations_of(data):
                    self._assembly.cite(at, citation)
            case {"type": "thinking", "thinking": str(text)}:
                signature = data.get("signature")
                self._thinking(at, text, chunks, signature=signature if isinstance(signature, str) else "")
            case {"type": "redacted_thinking", "data": str(redacted)}:
                self._assembly.thinking(at, redacted=redacted)
            case {"type": "tool_use", "id": str(id), "name": str(name)}:
                index = self._assembly.tool_call(at, id=id, name=name)
                chunks.append(ToolCallDelta(index, id, name))
            case {"type": "text" | "thinking" | "redacted_thinking" | "tool_use" as kind}:
                raise MalformedResponseError(f"a content block of type {kind} lacks one of its fields")
            case {"type": str()}:
                self._assembly.provider_part(at, data)
            case _:
                raise MalformedResponseError("a content block has no type")

    def grow(self, event: BlockDelta, chunks: list[Chunk]) -> None:
        """More of an open block."""
        at = event.index
        block = self._open.get(at)
        if block is None:
            raise MalformedResponseError(f"a delta for content block {at}, which is not open")
        match block.kind:
            case "text":
                self._grow_text(at, event.delta, chunks)
            case "thinking":
                self._grow_thinking(at, event.delta, chunks)
            case "tool_use":
                self._arguments(at, _needed(event.delta, "input_json_delta", "partial_json"), chunks)
            case "redacted_thinking":
                pass  # comes whole
            case _ if event.delta.get("type") == "input_json_delta":
                block.input_json.append(_needed(event.delta, "input_json_delta", "partial_json"))
            case _:
                block.data = _merged(block.data, event.delta)
                self._assembly.provider_part(at, block.data)

    def _grow_text(self, at: int, delta: dict[str, Any], chunks: list[Chunk]) -> None:
        if delta.get("type") == "citations_delta" and (citation := json_object(delta.get("citation"))) is not None:
            self._assembly.cite(at, citation)
        else:
            self._text(at, _needed(delta, "text_delta", "text"), chunks)

    def _grow_thinking(self, at: int, delta: dict[str, Any], chunks: list[Chunk]) -> None:
        if delta.get("type") == "signature_delta":
            self._assembly.thinking(at, signature=_needed(delta, "signature_delta", "signature"))
        else:
            self._thinking(at, _needed(delta, "thinking_delta", "thinking"), chunks)

    def stop(self, event: BlockStop, chunks: list[Chunk]) -> None:
        """A block is whole."""
        block = self._open.pop(event.index, None)
        if block is None:
            raise MalformedResponseError(f"content block {event.index} ends without having begun")
        whole_input = block.data.get("input")
        if block.kind == "tool_use" and not block.got_input and isinstance(whole_input, dict) and whole_input:
            # Some servers send the arguments whole, with the start of the block.
            self._arguments(event.index, msgspec.json.encode(whole_input).decode(), chunks)
        elif block.input_json:
            block.data = block.data | {"input": _json_or_empty("".join(block.input_json))}
            self._assembly.provider_part(event.index, block.data)

    def stop_all(self, chunks: list[Chunk]) -> None:
        """The answer is over: so are the blocks whose stop was never told."""
        for index in list(self._open):
            self.stop(BlockStop(index), chunks)

    def _text(self, at: int, text: str, chunks: list[Chunk]) -> None:
        self._assembly.text(at, text)
        if text:
            chunks.append(TextDelta(text))

    def _thinking(self, at: int, text: str, chunks: list[Chunk], *, signature: str = "") -> None:
        self._assembly.thinking(at, text, signature=signature)
        if text:
            chunks.append(ThinkingDelta(text))

    def _arguments(self, at: int, fragment: str, chunks: list[Chunk]) -> None:
        if not fragment:
            return
        if at in self._open:
            self._open[at].got_input = True
        index = self._assembly.tool_call(at, arguments=fragment)
        chunks.append(ToolCallDelta(index, arguments=fragment))


def _needed(delta: dict[str, Any], kind: str, name: str) -> str:
    """What a delta of this kind brings; nothing for one of a kind that is not known (yet) for such a block."""
    value = delta.get(name)
    if delta.get("type") == kind and isinstance(value, str):
        return value
    if delta.get("type") in _KNOWN_DELTAS:
        raise MalformedResponseError(f"a {delta['type']} that lacks its {name}, or that does not fit its block")
    return ""


def _json_or_empty(text: str) -> object:
    """The input of a server tool; `{}` where it was cut: it is only sent back, never run here."""
    try:
        return msgspec.json.decode(text) if text.strip() else {}
    except UNREADABLE:
        return {}


def _merged(block: dict[str, Any], delta: dict[str, Any]) -> dict[str, Any]:
    """A block after a delta of an unknown kind: strings go on, lists grow, the rest is set."""
    merged = dict(block)
    for name, value in delta.items():
        old = merged.get(name)
        if name == "type" or value is None:
            continue
        old_list, new_list = json_list(old), json_list(value)
        if isinstance(old, str) and isinstance(value, str):
            merged[name] = old + value
        elif old_list is not None and new_list is not None:
            merged[name] = [*old_list, *new_list]
        else:
            merged[name] = value
    return merged
