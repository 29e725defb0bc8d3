"""A whole answer as the chunks in which a stream would have brought it.

For answers out of a cache, and for servers that send a whole answer although a stream was asked for.
"""

from __future__ import annotations

from penstock.types import Chunk, Message, Refusal, Text, TextDelta, Thinking, ThinkingDelta, ToolCallDelta

__all__ = ["replayed"]


def replayed(message: Message) -> list[Chunk]:
    """The parts in their order, tool calls after them. `Finished` is left to whoever replays."""
    chunks: list[Chunk] = []
    for part in message.content:
        match part:
            case Text(text=text):
                chunks.append(TextDelta(text))
            case Refusal(text=text):
                chunks.append(TextDelta(text, refusal=True))
            case Thinking(text=text) if text:
                chunks.append(ThinkingDelta(text))
            case _:
                pass
    for index, call in enumerate(message.tool_calls):
        chunks.append(ToolCallDelta(index, call.id, call.name, call.raw_arguments))
    return chunks
