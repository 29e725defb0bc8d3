"""Server-sent events from bytes, as the HTML standard parses them, in time linear in the bytes.

Not here: what the events mean (the codecs). Reconnection (`retry`, `id`) is left out: an LLM stream cannot be resumed.
"""

from __future__ import annotations

import codecs

from msgspec import Struct

__all__ = ["EventTooLongError", "SseEvent", "SseParser"]


class SseEvent(Struct, frozen=True):
    """One event: its name (empty where the stream gave none) and its data lines joined by newlines."""

    name: str
    data: str


class EventTooLongError(ValueError):
    """One event grew beyond the limit: no provider sends that, and it would be kept in memory."""


class SseParser:
    """Feed it bytes, take events.

    Laws: how the bytes are split changes nothing; LF, CRLF and CR end a line; comments and unknown fields are skipped;
    an event without data is no event; invalid UTF-8 becomes U+FFFD, as the standard says; what is kept is bounded.
    An event that is too long raises however the bytes are split, but events that the same bytes complete before it
    are lost then. After an exception the parser is not used again.
    """

    def __init__(self, *, max_event: int = 16_777_216) -> None:
        # 16 MiB: the largest recorded event (an image in base64) is under 3 MiB.
        self._decode = codecs.getincrementaldecoder("utf-8-sig")("replace").decode
        self._max_event = max_event
        self._tail: list[str] = []
        self._tail_size = 0
        self._skip_lf = False
        self._name = ""
        self._data: list[str] = []
        self._data_size = 0

    def feed(self, data: bytes) -> list[SseEvent]:
        """The events that `data` completes. Raises EventTooLongError."""
        return self._take(self._decode(data))

    def close(self) -> list[SseEvent]:
        """The end of the bytes: the last event where only its closing blank line is missing.

        The standard drops such an event. Servers of LLMs do end streams without the blank line, and what their last
        line says (`[DONE]`, an error) matters more here than the letter.
        """
        events = self._take(self._decode(b"", True))
        last = "".join(self._tail)
        self._tail, self._tail_size = [], 0
        # The empty line that is missing; and before it the line that has no end.
        self._read([last, ""] if last else [""], events)
        return events

    def _take(self, text: str) -> list[SseEvent]:
        events: list[SseEvent] = []
        if self._skip_lf and text:
            # A CR ended the last line; a LF that follows it in the next read belongs to it.
            self._skip_lf = False
            if text[0] == "\n":
                text = text[1:]
        if not text:
            return events
        self._skip_lf = text[-1] == "\r"
        if "\r" in text:
            text = text.replace("\r\n", "\n").replace("\r", "\n")
        lines = text.split("\n")
        rest = lines.pop()
        if lines and self._tail:
            lines[0] = "".join(self._tail) + lines[0]
            self._tail, self._tail_size = [], 0
        self._read(lines, events)
        if rest:
            self._tail.append(rest)
            self._tail_size += len(rest)
            self._check_size(self._tail_size)
        return events

    def _check_size(self, line_size: int) -> None:
        if self._data_size + line_size > self._max_event:
            raise self._too_long()

    def _too_long(self) -> EventTooLongError:
        return EventTooLongError(f"a server-sent event exceeds {self._max_event} characters")

    def _read(self, lines: list[str], events: list[SseEvent]) -> None:
        """Whole lines. One loop without calls of ours: a read brings a hundred of them."""
        name, data, room = self._name, self._data, self._max_event - self._data_size
        for line in lines:
            # Every line, even of a comment, and not only what is left at the end of a read: how the bytes are split
            # must not decide.
            if len(line) > room:
                raise self._too_long()
            if not line:
                if data:
                    events.append(SseEvent(name, data[0] if len(data) == 1 else "\n".join(data)))
                name, data, room = "", [], self._max_event
                continue
            field, _, value = line.partition(":")
            if field == "data":
                value = value.removeprefix(" ")
                data.append(value)
                # With its newline: without it, empty data lines would pile up unseen.
                room -= len(value) + 1
            elif field == "event":
                name = value.removeprefix(" ")
        self._name, self._data, self._data_size = name, data, self._max_event - room
