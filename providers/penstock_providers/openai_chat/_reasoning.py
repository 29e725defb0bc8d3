"""Reasoning that servers show beside the answer: three spellings, read into one Thinking part and written back.

Not here: whether and how it goes back (`dialects`). OpenAI itself shows none on this wire.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast

import msgspec

from penstock.types import Message, Thinking
from penstock_providers.openai_chat._foreign import objects_in
from penstock_providers.openai_chat._wire import Piece
from penstock_providers.openai_chat.dialects.row import ReasoningBack

__all__ = [
    "ReasoningDetails",
    "reasoning_as_written",
    "reasoning_chunks",
    "reasoning_fields",
    "reasoning_text",
    "with_details",
]

_FIELD = "field"
_CONTENT = "content"
"""In place of a field: Mistral shows reasoning among the parts of the content."""
_IN_TEXT = "in the text"
_UNMARKED = "gpt-oss"
"""A model that sets nothing between its reasoning and its answer; others set tags around it."""
_GROWING = ("text", "summary", "data", "signature")


def reasoning_text(piece: Piece) -> str:
    """The reasoning in a message or a delta. Where a server gives both spellings, they say the same."""
    if piece.reasoning_content:
        return piece.reasoning_content
    return piece.reasoning if isinstance(piece.reasoning, str) else ""


class ReasoningDetails:
    """OpenRouter's `reasoning_details`, put together from the fragments of a stream; and the field reasoning came in.

    Fragments of one detail share their `type` and `index`; text and data grow, everything else is replaced.
    """

    def __init__(self) -> None:
        self._details: dict[tuple[str, str], dict[str, Any]] = {}
        self._fragments: dict[tuple[str, str], dict[str, list[str]]] = {}
        self._field = ""

    def take(self, piece: Piece) -> str:
        """Keeps what the piece adds; returns the text of its details, for servers that give no other."""
        if not piece.reasoning_content and isinstance(piece.reasoning, str) and piece.reasoning:
            self._field = "reasoning"
        return "".join(self._grow(detail) for detail in objects_in(piece.reasoning_details))

    def stood_in_content(self) -> None:
        """Reasoning came as a part of the content."""
        self._field = _CONTENT

    def _grow(self, detail: dict[str, Any]) -> str:
        key = (str(detail.get("type")), str(detail.get("index", len(self._details))))
        kept = self._details.setdefault(key, {})
        fragments = self._fragments.setdefault(key, {})
        for name, value in detail.items():
            if name in _GROWING and isinstance(value, str):
                fragments.setdefault(name, []).append(value)
            elif value is not None or name not in kept:
                kept[name] = value
        shown = detail.get("text") or detail.get("summary")
        return shown if isinstance(shown, str) else ""

    def whole(self) -> tuple[dict[str, Any], ...]:
        """What a Thinking part keeps of it, so that it can go back as it came."""
        details = tuple(
            detail | {name: "".join(parts) for name, parts in self._fragments[key].items()}
            for key, detail in self._details.items()
        )
        return details or (({_FIELD: self._field},) if self._field else ())


def with_details(message: Message, details: tuple[dict[str, Any], ...], family: str) -> Message:
    """The message with the details at its reasoning; encrypted reasoning comes without any text to stand at."""
    if not details:
        return message
    parts = list(message.content)
    at = next((at for at, part in enumerate(parts) if isinstance(part, Thinking)), None)
    if at is None:
        parts.insert(0, Thinking("", family=family, details=details))
    else:
        parts[at] = msgspec.structs.replace(cast("Thinking", parts[at]), details=details)
    return Message("assistant", tuple(parts))


def reasoning_fields(parts: Iterable[Thinking], back: ReasoningBack) -> Mapping[str, Any]:
    """The fields of a message that carry its reasoning back: in the one that `back` names, or as it came."""
    thoughts = list(parts)
    details = [detail for part in thoughts for detail in part.details]
    structured = [detail for detail in details if _FIELD not in detail]
    if structured and back == "as it came":
        return {"reasoning_details": structured}
    text = "".join(part.text for part in thoughts)
    if not text or back == _IN_TEXT or _in_content(details, back):
        return {}
    if back != "as it came":
        return {back: text}
    return {"reasoning" if details else "reasoning_content": text}


def reasoning_chunks(parts: Iterable[Thinking], back: ReasoningBack) -> list[dict[str, Any]]:
    """The same as parts of the content, for reasoning that belongs there."""
    return [
        {"type": "thinking", "thinking": [{"type": "text", "text": part.text}]}
        for part in parts
        if part.text and _in_content(part.details, back)
    ]


def reasoning_as_written(parts: Iterable[Thinking], model: str, back: ReasoningBack) -> str:
    """The same as text before the answer, as the model writes it; empty where it goes back in another way."""
    text = "".join(part.text for part in parts)
    if not text or back != _IN_TEXT:
        return ""
    return text if _UNMARKED in model.lower() else f"<think>{text}</think>"


def _in_content(details: Iterable[dict[str, Any]], back: ReasoningBack) -> bool:
    if back == "as it came":
        return any(detail.get(_FIELD) == _CONTENT for detail in details)
    return back == _CONTENT
