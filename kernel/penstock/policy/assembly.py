"""One assistant message, put together from the deltas of a stream.

Not here: how a wire names its deltas (the codecs), and what to do when a stream breaks (the kernel).
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, Literal

import attrs

from penstock.policy.growing import GrowingText
from penstock.types import Message, Part, ProviderPart, Refusal, Text, Thinking, ToolCall

__all__ = ["Assembly"]


@attrs.define
class _Block:
    """A part that still grows."""

    kind: Literal["text", "refusal", "thinking", "tool_call", "whole"]
    text: GrowingText = attrs.Factory(GrowingText)
    # Made when they are needed: most parts are text and nothing else.
    citations: list[dict[str, Any]] | None = None
    details: list[dict[str, Any]] | None = None
    signature: str = ""
    redacted: str | None = None
    family: str = ""
    id: str = ""
    name: str = ""
    index: int = 0
    tool_kind: Literal["function", "custom"] = "function"
    whole: Part | None = None

    def part(self) -> Part | None:
        text = self.text.getvalue()
        match self.kind:
            case "text":
                return Text(text, citations=tuple(self.citations or ())) if text or self.citations else None
            case "refusal":
                return Refusal(text) if text else None
            case "thinking":
                signature = self.signature or None
                if not (text or signature or self.redacted or self.details):
                    return None
                return Thinking(text, signature, self.redacted, self.family, tuple(self.details or ()))
            case "tool_call":
                return ToolCall.parse(self.id, self.name, text, self.tool_kind)
            case "whole":
                return self.whole


class Assembly:
    """Grows a message block by block. A block is named by any hashable key of the wire's (an index, a word).

    Laws: blocks stand in the order in which their keys first came; interleaved deltas of several blocks do not mix;
    a block that stayed empty is left out, but a tool call never is; every method costs O(1).
    """

    def __init__(self, family: str = "") -> None:
        self._family = family
        self._blocks: dict[Hashable, _Block] = {}
        self._calls = 0

    def __contains__(self, block: Hashable) -> bool:
        return block in self._blocks

    def text(self, block: Hashable, text: str, *, refusal: bool = False) -> None:
        """More text, or more of a refusal."""
        grown = self._blocks.get(block) or self._block(block, "refusal" if refusal else "text")
        grown.text.write(text)

    def cite(self, block: Hashable, citation: dict[str, Any]) -> None:
        """A source for the text of the block."""
        grown = self._block(block, "text")
        grown.citations = grown.citations or []
        grown.citations.append(citation)

    def thinking(self, block: Hashable, text: str = "", *, signature: str = "", redacted: str | None = None) -> None:
        """More reasoning, or its signature, or its encrypted form."""
        grown = self._block(block, "thinking")
        if text:
            grown.text.write(text)
        if signature:
            grown.signature += signature
        grown.redacted = redacted or grown.redacted

    def thinking_detail(self, block: Hashable, detail: dict[str, Any]) -> None:
        """A piece of reasoning in the provider's own structure."""
        grown = self._block(block, "thinking")
        grown.details = grown.details or []
        grown.details.append(detail)

    def tool_call(
        self,
        block: Hashable,
        *,
        id: str | None = None,
        name: str | None = None,
        arguments: str = "",
        kind: Literal["function", "custom"] | None = None,
    ) -> int:
        """More of a tool call; returns its index among the calls. An id or name that comes again replaces the first."""
        grown = self._blocks.get(block)
        if grown is None:
            grown = self._block(block, "tool_call")
            grown.index = self._calls
            self._calls += 1
        if id:
            grown.id = id
        if name:
            grown.name = name
        if kind:
            grown.tool_kind = kind
        if arguments:
            grown.text.write(arguments)
        return grown.index

    def whole(self, block: Hashable, part: Part) -> None:
        """A part that comes in one piece."""
        self._block(block, "whole").whole = part

    def provider_part(self, block: Hashable, data: dict[str, Any]) -> None:
        """A block that only the wire family understands."""
        self.whole(block, ProviderPart(self._family, data))

    def message(self) -> Message:
        """The assistant message so far."""
        parts = (grown.part() for grown in self._blocks.values())
        return Message("assistant", tuple(part for part in parts if part is not None))

    def _block(self, block: Hashable, kind: Literal["text", "refusal", "thinking", "tool_call", "whole"]) -> _Block:
        grown = self._blocks.get(block)
        if grown is None:
            grown = self._blocks[block] = _Block(kind, family=self._family)
        return grown
