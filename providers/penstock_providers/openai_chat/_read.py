"""An answer put together from what a response tells, in one piece or in many.

Not here: bytes and events (`_stream`, `_codec`), errors (`_errors`).
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import msgspec

from penstock.policy.assembly import Assembly
from penstock.types import (
    Chunk,
    Completion,
    Message,
    ProviderPart,
    Text,
    TextDelta,
    ThinkingDelta,
    ToolCallDelta,
    Usage,
    UsageUpdate,
)
from penstock_providers.openai_chat._calls import CallKeys
from penstock_providers.openai_chat._foreign import fields_of, items_of, objects_in, text_of
from penstock_providers.openai_chat._reasoning import ReasoningDetails, reasoning_text, with_details
from penstock_providers.openai_chat._usage import read_usage
from penstock_providers.openai_chat._wire import Answer, Call, Choice, Function, Piece

__all__ = ["FAMILY", "AnswerReader", "plain_completion"]

FAMILY = "openai-chat"

_FINISH = {
    "stop": "stop",
    "end_turn": "stop",
    "eos": "stop",
    "complete": "stop",
    "completed": "stop",
    "stop_sequence": "stop",
    "length": "length",
    "max_tokens": "length",
    "model_length": "length",
    "max_output_tokens": "length",
    "tool_calls": "tool_calls",
    "tool_call": "tool_calls",
    "tool_use": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
    "content_filtered": "content_filter",
    "safety": "content_filter",
    "prohibited_content": "content_filter",
    "blocklist": "content_filter",
    "spii": "content_filter",
    "recitation": "content_filter",
    "model_armor": "content_filter",
    "guardrail_intervened": "content_filter",
    "refusal": "refusal",
    "pause_turn": "pause",
    "error": "error",
    "insufficient_system_resource": "error",  # of an answer that was broken off: `_broken_off` says what that is
}


_PLAIN_ENDS = frozenset({"stop", "length"})
"""Reasons that mean what they say, where nothing but a text came."""


def plain_completion(answer: Answer, *, request_id: str | None, raw: Any) -> Completion | None:
    """What an `AnswerReader` reads of a whole answer that is one text and nothing else; None where it may be more.

    Nearly all are, and to put one together from pieces costs as much as to parse it.
    """
    choices = answer.choices
    if choices is None or len(choices) != 1 or answer.x_groq is not None:
        return None
    if answer.citations is not None or answer.search_results is not None:
        return None
    choice = choices[0]
    said = choice.message
    if said is None or choice.index or choice.finish_reason not in _PLAIN_ENDS or choice.usage or choice.error:
        return None
    if (
        type(said.content) is not str
        or not said.content
        or said.refusal
        or said.reasoning_content
        or said.reasoning
        or said.reasoning_details
        or said.tool_calls
        or said.function_call is not None
        or said.annotations
        or said.audio is not None
    ):
        return None
    return Completion(
        message=Message("assistant", (Text(said.content),)),
        finish_reason=choice.finish_reason,
        usage=read_usage(answer.usage) if answer.usage else None,
        model=text_of(answer.model),
        id=text_of(answer.id),
        request_id=request_id,
        raw=raw,
    )


class AnswerReader:
    """Takes answers or chunks; gives the deltas in them, and the whole. The first choice is the answer.

    Laws: a whole response and the chunks of its stream give equal messages; usage is taken from wherever it stands,
    and the last that came is the one that counts.
    """

    def __init__(self, *, whole: bool) -> None:
        self._whole = whole
        self._assembly = Assembly(FAMILY)
        self._details = ReasoningDetails()
        self._calls = CallKeys()
        self._reason = ""
        self._refused = False
        self._beside_calls: dict[Hashable, dict[str, Any]] = {}
        self._audio: dict[str, Any] = {}
        self._audio_pieces: dict[str, list[str]] = {}
        self._sources: list[dict[str, Any]] = []
        self._kept = 0
        self._model = ""
        self._id = ""
        self._groq_id: str | None = None
        self.aside: list[tuple[int, str]] = []
        """What came of other choices, by their number."""
        self.usage: Usage | None = None
        self.usage_is_final = False
        """It came with the reason why the answer ended, or after it: some servers count along with every chunk."""

    @property
    def finished(self) -> bool:
        """True once the wire told why the answer ended."""
        return bool(self._reason)

    def take(self, answer: Answer) -> list[Chunk]:
        """What the chunk, or the whole answer, adds."""
        chunks: list[Chunk] = []
        # Most chunks bring a few letters and repeat the rest: what is not there is not looked into.
        if not self._model:
            self._model = text_of(answer.model)
        if not self._id:
            self._id = text_of(answer.id)
        told = answer.usage
        if answer.x_groq is not None:
            groq = fields_of(answer.x_groq)
            self._groq_id = self._groq_id or text_of(groq.get("id")) or None
            told = told or groq.get("usage")
        if answer.citations is not None or answer.search_results is not None:
            self._take_sources(answer)
        for at, choice in enumerate(answer.choices or ()):
            if (at if choice.index is None else choice.index) == 0:
                self.take_choice(choice, chunks)
                told = told or choice.usage
            else:
                self._take_aside(at if choice.index is None else int(choice.index), choice)
        if told:
            chunks += self.take_usage(told)
        return chunks

    def _take_aside(self, place: int, choice: Choice) -> None:
        chunks: list[Chunk] = []
        AnswerReader(whole=self._whole).take_choice(choice, chunks)
        for chunk in chunks:
            match chunk:
                case TextDelta(text=text) | ThinkingDelta(text=text) | ToolCallDelta(arguments=text):
                    self.aside.append((place, text))
                case _:
                    pass

    def take_usage(self, told: Any) -> list[Chunk]:
        """Usage, where it is any and not the same as before."""
        usage = read_usage(told)
        if usage is None:
            return []
        self.usage_is_final = self.finished
        if usage == self.usage:
            return []
        self.usage = usage
        return [UsageUpdate(usage)]

    def completion(self, *, request_id: str | None, raw: Any = None) -> Completion:
        """The answer so far."""
        return Completion(
            message=self.message(),
            finish_reason=self._finish_reason(),
            usage=self.usage,
            model=self._model,
            id=self._id,
            request_id=request_id or self._groq_id,
            raw=raw,
        )

    def message(self) -> Message:
        """The message so far."""
        message = with_details(self._assembly.message(), self._details.whole(), FAMILY)
        audio = self._audio | {name: "".join(pieces) for name, pieces in self._audio_pieces.items()}
        if audio:
            message = Message("assistant", (*message.content, ProviderPart(FAMILY, {"audio": audio})))
        if any(self._beside_calls.values()):
            beside = [fields or None for fields in self._beside_calls.values()]
            message = Message("assistant", (*message.content, ProviderPart(FAMILY, {"tool_calls": beside})))
        return _cited(message, self._sources)

    def _finish_reason(self) -> str:
        """Empty while the wire has not told it."""
        reason = _FINISH.get(self._reason.lower(), self._reason)
        if self._refused and reason not in ("", "content_filter"):
            return "refusal"
        # Forced calls end in "stop" at OpenAI too, and Gemini's imitation knows nothing else: the content decides.
        return "tool_calls" if reason == "stop" and self._calls.any else reason

    def take_choice(self, choice: Choice, chunks: list[Chunk]) -> None:
        """What one choice adds to `chunks`, whichever it is."""
        reason = choice.finish_reason
        if choice.finish_details is not None:
            reason = reason or text_of(fields_of(choice.finish_details).get("type"))
        self._reason = reason or self._reason
        # Perplexity sends both: in streams the message repeats what came before, in whole bodies the delta is empty.
        piece = choice.message if self._whole else choice.delta
        if piece is not None:
            self._take_piece(piece, chunks)

    def _take_piece(self, piece: Piece, chunks: list[Chunk]) -> None:
        if piece.reasoning_content or piece.reasoning or piece.reasoning_details:
            detailed = self._details.take(piece)
            self._think(reasoning_text(piece) or detailed, chunks)
        if isinstance(piece.content, str):
            self._say(piece.content, chunks)
        else:
            for part in piece.content or ():
                self._take_part(fields_of(part), chunks)
        if piece.refusal:
            self._refused = True
            self._assembly.text("refusal", piece.refusal, refusal=True)
            chunks.append(TextDelta(piece.refusal, refusal=True))
        if piece.tool_calls or piece.function_call is not None:
            self._take_calls(piece, chunks)
        if piece.annotations is not None:
            for annotation in objects_in(piece.annotations):
                self._assembly.cite("text", annotation)
        if piece.audio is not None:
            self._take_audio(fields_of(piece.audio))

    def _take_calls(self, piece: Piece, chunks: list[Chunk]) -> None:
        for at, call in enumerate(piece.tool_calls or ()):
            chunks.append(self._take_call(call, at))
        if piece.function_call is not None:
            chunks.append(self._call("function_call", piece.function_call, None))

    def _take_part(self, part: dict[str, Any], chunks: list[Chunk]) -> None:
        """Mistral's lists of content: text and thinking; anything else is kept as it is."""
        match part:
            case {"type": "text", "text": str(text)}:
                self._say(text, chunks)
            case {"type": "thinking", "thinking": thoughts}:
                told = "".join(text_of(piece.get("text")) for piece in objects_in(thoughts))
                self._details.stood_in_content()
                self._think(told or text_of(thoughts), chunks)
            case {"type": str()}:
                self._kept += 1
                self._assembly.provider_part(("part", self._kept), part)
            case _:
                pass

    def _say(self, text: str, chunks: list[Chunk]) -> None:
        if text:
            self._assembly.text("text", text)
            chunks.append(TextDelta(text))

    def _think(self, text: str, chunks: list[Chunk]) -> None:
        if text:
            self._assembly.thinking("thinking", text)
            chunks.append(ThinkingDelta(text))

    def _take_call(self, call: Call, at: int) -> ToolCallDelta:
        key = self._calls.key_of(call, at)
        beside = self._beside_calls.setdefault(key, {})
        if call.extra_content is not None:
            beside["extra_content"] = call.extra_content
        if call.custom is not None:
            custom = Function(call.custom.name, call.custom.input)
            return self._call(key, custom, call.id, custom=True)
        return self._call(key, call.function or Function(), call.id)

    def _call(self, key: Hashable, function: Function, id: str | None, *, custom: bool = False) -> ToolCallDelta:
        if key not in self._assembly and not id:
            # The result of a call is paired by its id, so a call that came without one needs a name of ours.
            id = f"call_{self._calls.count}"
        arguments = _arguments(function.arguments)
        self._calls.note(key)
        index = self._assembly.tool_call(
            key, id=id, name=function.name, arguments=arguments, kind="custom" if custom else None
        )
        return ToolCallDelta(index, id or None, function.name or None, arguments)

    def _take_audio(self, audio: dict[str, Any]) -> None:
        for name, value in audio.items():
            if name in ("data", "transcript") and isinstance(value, str):
                self._audio_pieces.setdefault(name, []).append(value)
            else:
                self._audio[name] = value

    def _take_sources(self, answer: Answer) -> None:
        """Perplexity repeats its sources in every chunk: the last list counts."""
        results = objects_in(answer.search_results)
        urls = [url for url in items_of(answer.citations) if isinstance(url, str)]
        if results or urls:
            self._sources = results or [{"url": url} for url in urls]


def _cited(message: Message, sources: list[dict[str, Any]]) -> Message:
    if not sources:
        return message
    parts = tuple(
        msgspec.structs.replace(part, citations=(*part.citations, *sources)) if isinstance(part, Text) else part
        for part in message.content
    )
    return Message("assistant", parts)


def _arguments(told: Any) -> str:
    if told is None or isinstance(told, str):
        return told or ""
    return msgspec.json.encode(told).decode()
