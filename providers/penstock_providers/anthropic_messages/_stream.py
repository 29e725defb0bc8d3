"""A streamed answer of the Messages wire: bytes in, chunks out, and in the end the whole message.

Not here: whole answers (`_read`). The wire's end is `message_stop`; where everything came but that, the answer is whole
all the same.
"""

from __future__ import annotations

from typing import Any, assert_never

import msgspec

from penstock.abc import StreamDecoder
from penstock.errors import MalformedResponseError, StreamBrokenError
from penstock.policy.assembly import Assembly
from penstock.policy.sse import EventTooLongError, SseEvent, SseParser
from penstock.types import (
    Chunk,
    Completion,
    TextDelta,
    ThinkingDelta,
    ToolCallDelta,
    Usage,
    UsageUpdate,
    WireHead,
)
from penstock_providers.anthropic_messages._errors import error_in_answer
from penstock_providers.anthropic_messages._read import citations_of, finish_reason, latest, usage_of
from penstock_providers.anthropic_messages._wire import (
    FAMILY,
    KNOWN_EVENTS,
    UNREADABLE,
    BlockDelta,
    BlockStart,
    BlockStop,
    ErrorEvent,
    Event,
    MessageDelta,
    MessageStart,
    MessageStop,
    Ping,
    UsageBody,
    decode_event,
    decode_typed,
    json_list,
    json_object,
)

__all__ = ["AnthropicStreamDecoder"]

# Kept until the first event, to tell what came instead of a stream: an error in JSON is far smaller.
_PREFACE = 65_536
_KNOWN_DELTAS = frozenset({"text_delta", "citations_delta", "thinking_delta", "signature_delta", "input_json_delta"})


class _OpenBlock:
    """A content block between its start and its stop."""

    __slots__ = ("data", "got_input", "input_json", "kind")

    def __init__(self, data: dict[str, Any]) -> None:
        self.data = data
        self.kind: object = data.get("type")
        self.input_json: list[str] = []
        self.got_input = False


class AnthropicStreamDecoder(StreamDecoder):
    """Reads one streamed response of the Messages wire."""

    def __init__(self, head: WireHead) -> None:
        self._head = head
        self._parser = SseParser()
        self._preface = bytearray()
        self._assembly = Assembly(FAMILY)
        self._open: dict[int, _OpenBlock] = {}
        self._started: MessageStart | None = None
        self._blocks = 0
        self._usage: UsageBody | None = None
        self._stop_reason: str | None = None
        self._done = False

    def feed(self, data: bytes) -> list[Chunk]:
        """The chunks that `data` completes."""
        if self._done:
            return []
        if self._started is None and len(self._preface) < _PREFACE:
            self._preface += data[: _PREFACE - len(self._preface)]
        try:
            events = self._parser.feed(data)
        except EventTooLongError as error:
            raise MalformedResponseError(str(error)) from None
        chunks: list[Chunk] = []
        for event in events:
            self._take(event, chunks)
        return chunks

    def close(self) -> None:
        """The bytes have ended. Raises what they came to, where that is no whole answer."""
        try:
            for event in [] if self._done else self._parser.close():
                self._take(event, [])
        except MalformedResponseError:
            pass  # the last event was cut, and below that is said in the right words
        if self._is_whole():
            return
        if self._started is None:
            self._raise_what_came_instead()
        message = self._assembly.message()
        raise StreamBrokenError(
            "the stream ended before its message_stop",
            partial=message.text,
            usage=self._known_usage(),
            request_id=self._head.header("request-id"),
        )

    @property
    def completion(self) -> Completion:
        """The answer as far as it came."""
        message = self._assembly.message()
        started = self._started
        return Completion(
            message=message,
            finish_reason=finish_reason(self._stop_reason or "", message) if self._is_whole() else "error",
            usage=self._known_usage(),
            model="" if started is None else started.message.model,
            id="" if started is None else started.message.id,
            request_id=self._head.header("request-id"),
        )

    @property
    def done(self) -> bool:
        """True once `message_stop` was read."""
        return self._done

    def _is_whole(self) -> bool:
        return self._done or (self._stop_reason is not None and not self._open)

    def _known_usage(self) -> Usage | None:
        return None if self._usage is None else usage_of(self._usage)

    def _take(self, sse: SseEvent, chunks: list[Chunk]) -> None:
        if self._done:
            return
        event = _read_event(sse)
        if self._started is None and not isinstance(event, MessageStart | ErrorEvent | Ping | None):
            raise MalformedResponseError("the stream does not begin with message_start")
        self._obey(event, chunks)

    def _obey(self, event: Event | None, chunks: list[Chunk]) -> None:
        match event:
            case MessageStart():
                self._start(event, chunks)
            case BlockStart():
                self._start_block(event, chunks)
            case BlockDelta():
                self._grow_block(event, chunks)
            case BlockStop():
                self._stop_block(event, chunks)
            case MessageDelta():
                self._stop_reason = event.delta.stop_reason or self._stop_reason
                self._note_usage(event.usage, chunks)
            case MessageStop():
                self._stop()
            case ErrorEvent():
                body = {"error": event.error, "request_id": event.request_id}
                raise error_in_answer(body, self._head, self._known_usage())
            case Ping() | None:
                pass
            case _:
                assert_never(event)

    def _start(self, event: MessageStart, chunks: list[Chunk]) -> None:
        if self._started is not None:
            raise MalformedResponseError("a second message_start in one stream")
        self._started = event
        self._preface.clear()
        self._note_usage(event.message.usage, chunks)

    def _start_block(self, event: BlockStart, chunks: list[Chunk]) -> None:
        if event.index in self._open or event.index < self._blocks:
            raise MalformedResponseError(f"content block {event.index} begins twice")
        self._blocks = event.index + 1
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

    def _grow_block(self, event: BlockDelta, chunks: list[Chunk]) -> None:
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
        citation = json_object(delta.get("citation"))
        if delta.get("type") == "citations_delta" and citation is not None:
            self._assembly.cite(at, citation)
        else:
            self._text(at, _needed(delta, "text_delta", "text"), chunks)

    def _grow_thinking(self, at: int, delta: dict[str, Any], chunks: list[Chunk]) -> None:
        if delta.get("type") == "signature_delta":
            self._assembly.thinking(at, signature=_needed(delta, "signature_delta", "signature"))
        else:
            self._thinking(at, _needed(delta, "thinking_delta", "thinking"), chunks)

    def _stop_block(self, event: BlockStop, chunks: list[Chunk]) -> None:
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

    def _stop(self) -> None:
        if self._stop_reason is None:
            raise MalformedResponseError("the stream ended without a stop_reason")
        self._open.clear()
        self._done = True

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

    def _note_usage(self, usage: UsageBody | None, chunks: list[Chunk]) -> None:
        if usage is not None:
            self._usage = latest(self._usage, usage)
            chunks.append(UsageUpdate(usage_of(self._usage or usage)))

    def _raise_what_came_instead(self) -> None:
        """A 200 that was asked for a stream may hold an error in JSON, a page of HTML, or nothing."""
        preface = bytes(self._preface).strip()
        if not preface:
            return
        try:
            body: object = msgspec.json.decode(preface)
        except UNREADABLE:
            body = None
        fields = json_object(body)
        if fields is not None and (fields.get("type") == "error" or "error" in fields):
            raise error_in_answer(fields, self._head)
        if preface[:1] in b"<{[":
            raise MalformedResponseError("the response is no event stream")


def _read_event(sse: SseEvent) -> Event | None:
    """The event; None for one that says nothing to us. Raises MalformedResponseError."""
    try:
        return decode_event(sse.data)
    except UNREADABLE as error:
        if sse.name == "error":
            return ErrorEvent({"message": sse.data})
        if sse.data.strip() == "[DONE]":
            return None  # not of this wire, but gateways add it
        try:
            typed = decode_typed(sse.data)
        except UNREADABLE:
            raise MalformedResponseError("an event of the stream is not JSON") from None
        if typed.error is not None:
            return ErrorEvent(typed.error)
        if isinstance(typed.type, str) and typed.type not in KNOWN_EVENTS:
            return None
        raise MalformedResponseError(f"an event of the stream lacks what its type needs: {error}") from None


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
