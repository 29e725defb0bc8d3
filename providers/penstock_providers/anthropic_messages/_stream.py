"""A streamed answer of the Messages wire: bytes in, chunks out, and in the end the whole message.

Not here: whole answers (`_read`), and the content blocks of a stream (`_streamed_blocks`). The wire's end is
`message_stop`; where everything came but that, the answer is whole all the same.
"""

from __future__ import annotations

from typing import assert_never

import msgspec

from penstock.abc import Missing, StreamDecoder
from penstock.errors import CallError, MalformedResponseError, ProviderError, StreamBrokenError
from penstock.policy.sse import EventTooLongError, SseEvent, SseParser
from penstock.types import Chunk, Completion, Usage, UsageUpdate, WireHead
from penstock_providers.anthropic_messages._errors import error_in_answer
from penstock_providers.anthropic_messages._read import finish_reason, latest, usage_of
from penstock_providers.anthropic_messages._streamed_blocks import StreamedBlocks
from penstock_providers.anthropic_messages._wire import (
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
    json_object,
    usage_body,
)

__all__ = ["AnthropicStreamDecoder"]

# Kept until the first event, to tell what came instead of a stream: an error in JSON is far smaller.
_PREFACE = 65_536


class AnthropicStreamDecoder(StreamDecoder):
    """Reads one streamed response of the Messages wire."""

    def __init__(self, head: WireHead) -> None:
        self._head = head
        self._parser = SseParser()
        self._preface = bytearray()
        self._blocks = StreamedBlocks()
        self._started: MessageStart | None = None
        self._usage: UsageBody | None = None
        self._stop_reason: str | None = None
        self._counted = False
        """Usage came with the stop reason, or after it: what `message_start` tells is only the beginning."""
        self._done = False
        self._failure: CallError | None = None
        self._unread: CallError | None = None

    def feed(self, data: bytes) -> list[Chunk]:
        """The chunks that `data` completes."""
        if self._failure is not None:
            raise self._failure
        if self._done:
            return []
        if self._started is None and len(self._preface) < _PREFACE:
            self._preface += data[: _PREFACE - len(self._preface)]
        try:
            events = self._parser.feed(data)
        except EventTooLongError as error:
            malformed = MalformedResponseError(str(error))
            if self.missing == "answer":
                raise malformed from None
            self._unread, self._done = malformed, True
            return []
        chunks: list[Chunk] = []
        for event in events:
            try:
                self._take(event, chunks)
            except CallError as failure:
                if not chunks:
                    raise
                # What came before it in the same read is delivered first: how the bytes are split must change nothing.
                self._failure = failure
                break
        return chunks

    def close(self) -> list[Chunk]:
        """The bytes have ended. Gives what a last event without its blank line brings, and raises what the bytes came
        to, where that is no whole answer.
        """
        if self._failure is not None:
            raise self._failure
        chunks: list[Chunk] = []
        try:
            for event in [] if self._done else self._parser.close():
                # A piece of an answer that was cut is nothing that anybody will be shown.
                if self._stop_reason is not None or not _is_of_a_block(event):
                    self._take(event, chunks)
        except MalformedResponseError:
            pass  # the last event was cut, and below that is said in the right words
        if self._stop_reason is not None:
            self._blocks.stop_all(chunks)
        if self._is_whole():
            return chunks
        if self._started is None:
            self._raise_what_came_instead()
        message = self._blocks.message()
        raise StreamBrokenError(
            "the stream ended before its message_stop",
            partial=message.text,
            usage=self._known_usage(),
            request_id=self._head.header("request-id"),
        )

    @property
    def completion(self) -> Completion:
        """The answer as far as it came."""
        message = self._blocks.message()
        started = self._started
        return Completion(
            message=message,
            finish_reason=finish_reason(self._stop_reason or "", message) if self._is_whole() else "error",
            usage=self._known_usage(),
            model="" if started is None else started.message.model or "",
            id="" if started is None else started.message.id or "",
            request_id=self._head.header("request-id"),
        )

    @property
    def done(self) -> bool:
        """True once `message_stop` was read, or an error that `close` will raise."""
        return self._done or self._failure is not None

    @property
    def missing(self) -> Missing:
        """All has come with the `message_delta` that tells the stop reason, once every block has ended."""
        if not self._is_whole():
            return "answer"
        return "end" if self._counted else "usage"

    @property
    def unread(self) -> CallError | None:
        """An error, or an event that is no JSON, or none that this wire has; none of a content block."""
        return self._unread

    def _is_whole(self) -> bool:
        if self._failure is not None:
            return False
        return self._done or (self._stop_reason is not None and self._blocks.all_stopped)

    def _known_usage(self) -> Usage | None:
        return None if self._usage is None else usage_of(self._usage)

    def _take(self, sse: SseEvent, chunks: list[Chunk]) -> None:
        if self._done:
            return
        if self.missing == "answer":
            self._take_event(sse, chunks)
            return
        try:
            self._take_event(sse, chunks)
        except MalformedResponseError as error:
            if error is self._unread or _is_of_a_block(sse):
                raise
            self._unread = error.with_traceback(None)  # which holds this decoder
        except ProviderError as error:
            # Said in the place of the end, of an answer of which nothing is missing.
            self._unread, self._done = error.with_traceback(None), True

    def _take_event(self, sse: SseEvent, chunks: list[Chunk]) -> None:
        event = _read_event(sse)
        if self._started is None and not isinstance(event, MessageStart | ErrorEvent | Ping | None):
            raise MalformedResponseError("the stream does not begin with message_start")
        if self._unread is not None and isinstance(event, BlockStart | BlockDelta):
            raise self._unread  # so it may have been more of the answer, too
        self._obey(event, chunks)

    def _obey(self, event: Event | None, chunks: list[Chunk]) -> None:
        match event:
            case MessageStart():
                self._start(event, chunks)
            case BlockStart():
                self._blocks.start(event, chunks)
            case BlockDelta():
                self._blocks.grow(event, chunks)
            case BlockStop():
                self._blocks.stop(event, chunks)
            case MessageDelta():
                self._stop_reason = event.delta.stop_reason or self._stop_reason
                usage = usage_body(event.usage)
                self._note_usage(usage, chunks)
                told = usage is not None and usage.output_tokens is not None
                self._counted = self._counted or (told and self._stop_reason is not None)
            case MessageStop():
                self._stop(chunks)
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
        self._note_usage(usage_body(event.message.usage), chunks)

    def _stop(self, chunks: list[Chunk]) -> None:
        if self._stop_reason is None:
            raise MalformedResponseError("the stream ended without a stop_reason")
        self._blocks.stop_all(chunks)
        self._done = True

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
        return _read_odd_event(sse, error)


def _is_of_a_block(sse: SseEvent) -> bool:
    """True where something that is no event of this wire can be seen to be more of an answer all the same."""
    try:
        told = decode_typed(sse.data).type
    except UNREADABLE:
        told = None
    return any(isinstance(name, str) and name.startswith("content_block") for name in (told, sse.name))


def _read_odd_event(sse: SseEvent, why: Exception) -> Event | None:
    """What is none of this wire's events: an error in a dress of its own, a type that is not known, or junk."""
    if sse.data.strip() in {"", "[DONE]"}:
        return None  # not of this wire, but gateways add them
    try:
        typed = decode_typed(sse.data)
    except UNREADABLE:
        if sse.name == "error":
            return ErrorEvent({"message": sse.data})
        raise MalformedResponseError("an event of the stream is not JSON") from None
    if typed.error is not None:
        return ErrorEvent(typed.error)
    if isinstance(typed.type, str) and typed.type not in KNOWN_EVENTS:
        return None
    raise MalformedResponseError(f"an event of the stream lacks what its type needs: {why}") from None
