"""A streamed Chat Completions response, from bytes to deltas.

Not here: server-sent events (`penstock.policy.sse`), what the chunks add up to (`_read`).

The stream is whole once a `finish_reason` came. `[DONE]` alone is not enough: gateways are known to end a dead
upstream's stream with it, while no server that was recorded leaves the reason out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from penstock.abc import Missing, StreamDecoder
from penstock.errors import CallError, MalformedResponseError, ProviderError, StreamBrokenError
from penstock.policy.sse import EventTooLongError, SseEvent, SseParser
from penstock.types import Chunk, Completion, UsageUpdate, WireHead
from penstock_providers.openai_chat._broken_off import broken_off
from penstock_providers.openai_chat._errors import error_in_answer, request_id_of, tells_error
from penstock_providers.openai_chat._foreign import fields_of, is_list, items_of
from penstock_providers.openai_chat._read import AnswerReader
from penstock_providers.openai_chat._wire import Answer, parse_chunk, parse_json

__all__ = ["ChatDecoder"]

_WHITESPACE = b"\xef\xbb\xbf \t\r\n"
_LARGEST_BODY = 1_048_576
_LABELS = frozenset({"finish_reason", "native_finish_reason", "role"})
"""Words of a choice that are no part of an answer."""


class ChatDecoder(StreamDecoder):
    """Reads one stream.

    An error does not swallow what came before it in the same read: `feed` gives the chunks, and raises when it is
    called next, or `close` does; `done` is true meanwhile.
    """

    def __init__(self, head: WireHead) -> None:
        self._head = head
        self._events = SseParser()
        self._reader = AnswerReader(whole=False)
        self._done = False
        self._failure: CallError | None = None
        self._unread: CallError | None = None
        self._begun = False
        self._body: bytearray | None = None
        self._count = 0

    def feed(self, data: bytes) -> list[Chunk]:
        """The chunks that `data` completes."""
        self._reader.aside.clear()
        if self._failure is not None:
            raise self._failure
        if self._done or not self._is_event_stream(data):
            return []
        chunks: list[Chunk] = []
        try:
            for event in self._events.feed(data):
                self._take(event, chunks)
        except EventTooLongError as error:
            malformed = self._malformed(str(error))
            if self.missing == "answer":
                self._fail(malformed, chunks)
            else:
                self._unread, self._done = malformed, True
        except CallError as error:
            self._fail(error, chunks)
        return chunks

    def close(self) -> list[Chunk]:
        """The bytes have ended. Gives what a last event without its blank line brings."""
        self._reader.aside.clear()
        if self._failure is not None:
            raise self._failure
        if self._body is not None:
            raise self._error_in_body(bytes(self._body))
        chunks: list[Chunk] = []
        for event in self._events.close():
            self._take_unfinished(event, chunks)
        if not self._reader.finished:
            raise StreamBrokenError(
                f"the stream ended after {self._count} chunks without a finish_reason",
                partial=self._reader.message().text,
                usage=self._reader.usage,
                request_id=request_id_of(self._head),
            )
        return chunks

    @property
    def aside(self) -> Sequence[tuple[int, str]]:
        """Of choices that `n` asked for beside the first."""
        return self._reader.aside

    @property
    def completion(self) -> Completion:
        """The answer so far."""
        return self._reader.completion(request_id=request_id_of(self._head))

    @property
    def done(self) -> bool:
        """True after `[DONE]`, and after an error."""
        return self._done

    @property
    def missing(self) -> Missing:
        """All but usage has come with the `finish_reason`: of the first choice, which is the answer."""
        if self._failure is not None or not self._reader.finished:
            return "answer"
        return "end" if self._reader.usage_is_final else "usage"

    @property
    def unread(self) -> CallError | None:
        """An error, or an event that is no JSON, or no chunk and without a word in its choices."""
        return self._unread

    def _fail(self, error: CallError, chunks: list[Chunk]) -> None:
        self._failure, self._done = error, True
        if not chunks:
            raise error

    def _take(self, event: SseEvent, chunks: list[Chunk]) -> None:
        data = event.data.strip()
        if self._done or not data:
            return
        if data == "[DONE]":
            self._done = True
            return
        self._count += 1
        if self.missing == "answer":
            self._take_chunk(event.name, data, chunks)
            return
        try:
            self._take_chunk(event.name, data, chunks)
        except MalformedResponseError as error:
            if error is self._unread or _has_words(data):
                raise
            self._unread = error.with_traceback(None)  # which holds this decoder
        except ProviderError as error:
            # Said in the place of the end, of an answer of which nothing is missing.
            self._unread, self._done = error.with_traceback(None), True
            chunks += self._reader.take_usage(
                fields_of(_payload(data)).get("usage")
            )  # OpenRouter's tells the count too

    def _take_chunk(self, name: str, data: str, chunks: list[Chunk]) -> None:
        answer = self._parse(name, data)
        if answer is None:
            return
        failed = broken_off(answer, self._head)
        if failed is not None and self._reader.finished:
            raise failed
        added = self._reader.take(answer)
        if self._unread is not None and _are_of_the_answer(added):
            raise self._unread  # so it may have been more of the answer, too
        chunks += added
        if failed is not None:
            failed.usage = self._reader.usage
            raise failed

    def _parse(self, name: str, data: str) -> Answer | None:
        """The event as a chunk; None for events of a kind that is not known. Raises the error it tells."""
        try:
            answer = None if name == "error" else parse_chunk(data, self._count)
        except MalformedResponseError as error:
            if name in ("", "message"):
                raise self._malformed(str(error)) from error
            return None
        if answer is None or answer.error:
            raise error_in_answer(_payload(data), self._head, self._reader.usage)
        if answer.choices is None and tells_error(_payload(data)):
            raise error_in_answer(_payload(data), self._head, self._reader.usage)
        return answer

    def _take_unfinished(self, event: SseEvent, chunks: list[Chunk]) -> None:
        """An event that lacks only its closing blank line.

        It counts, but where it is a piece of an answer that was cut: what nobody will be shown is no part of it.
        Cut JSON is what a broken stream looks like; whether it is one, the finish reason decides.
        """
        try:
            if not self._done and self._is_a_cut_piece(parse_chunk(event.data.strip(), self._count)):
                return
        except MalformedResponseError:
            if event.name != "error" and event.data.strip() != "[DONE]":
                return
        self._take(event, chunks)

    def _is_a_cut_piece(self, answer: Answer) -> bool:
        alone = AnswerReader(whole=False)
        return _are_of_the_answer(alone.take(answer)) and not (self._reader.finished or alone.finished)

    def _is_event_stream(self, data: bytes) -> bool:
        """False once the body has turned out to be one JSON document; raises for HTML."""
        if not self._begun:
            start = data.lstrip(_WHITESPACE)[:1]
            self._begun = bool(start)
            if start == b"<":
                self._fail(self._malformed("an HTML page came instead of a stream"), [])
            if start in (b"{", b"["):
                self._body = bytearray()
        if self._body is None:
            return True
        self._body += data
        if len(self._body) > _LARGEST_BODY:
            self._fail(self._malformed("one JSON document came instead of a stream"), [])
        return False

    def _error_in_body(self, body: bytes) -> CallError:
        """Some servers answer with an error in a plain body, under a 200 that promised a stream."""
        try:
            payload = parse_json(body, "the body")
        except MalformedResponseError as error:
            return self._malformed(f"{error}, and no event stream")
        if tells_error(payload):
            return error_in_answer(payload, self._head)
        return self._malformed("one JSON document came instead of a stream")

    def _malformed(self, says: str) -> MalformedResponseError:
        return MalformedResponseError(says, usage=self._reader.usage, request_id=request_id_of(self._head))


def _payload(data: str) -> Any:
    try:
        return parse_json(data, "")
    except MalformedResponseError:
        return data


def _has_words(data: str) -> bool:
    """True where something that is no chunk can be seen to be more of an answer all the same: text in its choices."""
    rest: list[Any] = [fields_of(_payload(data)).get("choices")]
    while rest:  # no recursion: what a server nests must not break us
        held = rest.pop()
        if isinstance(held, str) and held:
            return True
        rest += items_of(held) if is_list(held) else ()
        rest += [value for name, value in fields_of(held).items() if name not in _LABELS]
    return False


def _are_of_the_answer(chunks: list[Chunk]) -> bool:
    return any(not isinstance(chunk, UsageUpdate) for chunk in chunks)
