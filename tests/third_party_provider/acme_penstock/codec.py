"""Acme's wire as a pure codec."""

from __future__ import annotations

import msgspec

from acme_penstock.wire import Line, Speech, Turn, Units, WrongBody
from penstock.abc import Provider, StreamDecoder
from penstock.errors import (
    AuthenticationError,
    InvalidRequestError,
    MalformedResponseError,
    ModelNotFoundError,
    OverloadedError,
    ProviderError,
    RateLimitedError,
    ServerError,
    StreamBrokenError,
    UnsendableRequestError,
)
from penstock.types import (
    Capabilities,
    ChatRequest,
    Chunk,
    Completion,
    Message,
    Target,
    Text,
    TextDelta,
    Usage,
    UsageUpdate,
    WireHead,
    WireRequest,
    WireResponse,
)

__all__ = ["Acme"]

ENDINGS = {"done": "stop", "cut": "length"}
ERRORS: dict[int, type[ProviderError]] = {
    401: AuthenticationError,
    404: ModelNotFoundError,
    429: RateLimitedError,
    503: OverloadedError,
}
WINDOW, LONGEST = 32_000, 4_000


class Acme(Provider):
    """Speaks to one of Acme's regions."""

    family = "acme"

    def __init__(self, base_url: str) -> None:
        self._url = f"{base_url.rstrip('/')}/speak"

    def encode(self, request: ChatRequest, target: Target, *, stream: bool, now: float) -> WireRequest:
        del now
        if request.tools:
            raise UnsendableRequestError("Acme's voices use no tools")
        turns = [Turn("stage", _words(request.system))] if request.system else []
        turns += [Turn(message.role, _words(message)) for message in request.messages]
        body = {
            **target.params,
            "voice": target.model,
            "turns": turns,
            "limit": request.max_tokens or target.default_max_tokens or LONGEST,
            "stream": stream,
        }
        headers = (("content-type", "application/json"), *target.headers)
        return WireRequest("POST", self._url, headers, msgspec.json.encode(body))

    def authorize(self, wire: WireRequest, secret: str | None, *, now: float) -> WireRequest:
        del now
        if secret is None:
            return wire
        return msgspec.structs.replace(wire, headers=(*wire.headers, ("x-acme-key", secret)))

    def input_bound(self, request: ChatRequest, target: Target) -> int | None:
        del target
        turns = [request.system or "", *request.messages]
        return min(WINDOW, sum(len(_words(turn).encode()) + 8 for turn in turns))

    def decode(self, response: WireResponse) -> Completion:
        try:
            speech = msgspec.json.decode(response.body, type=Speech)
        except msgspec.DecodeError as error:
            raise MalformedResponseError("Acme's answer is not what /speak returns") from error
        return Completion(
            message=Message.assistant(speech.says),
            finish_reason=ENDINGS.get(speech.ended, speech.ended),
            usage=_usage(speech.units),
            model=speech.voice,
            id=speech.id,
            raw=msgspec.json.decode(response.body),
        )

    def decoder(self, head: WireHead) -> StreamDecoder:
        del head
        return _Lines()

    def classify(self, response: WireResponse, *, now: float) -> ProviderError:
        del now
        try:
            wrong = msgspec.json.decode(response.body, type=WrongBody).wrong
        except (msgspec.DecodeError, UnicodeDecodeError):
            wrong = WrongBody().wrong
        kind = ERRORS.get(response.status, ServerError if response.status >= 500 else InvalidRequestError)
        return kind(
            f"Acme: {wrong.why[:500] or f'status {response.status}'}",
            status=response.status,
            code=wrong.code or None,
            retry_after=_seconds(response.header("retry-after")),
        )

    def capabilities(self, model: str) -> Capabilities:
        del model
        return Capabilities(tools=False, vision=False, context_window=WINDOW, max_output=LONGEST)


class _Lines(StreamDecoder):
    """One JSON object a line; the last one says how it ended."""

    def __init__(self) -> None:
        self._rest = b""
        self._said: list[str] = []
        self._end: Line | None = None

    def feed(self, data: bytes) -> list[Chunk]:
        *lines, self._rest = (self._rest + data).split(b"\n")
        chunks: list[Chunk] = []
        for line in lines:
            if line and self._end is None:
                chunks += self._read(line)
        return chunks

    def _read(self, line: bytes) -> list[Chunk]:
        try:
            read = msgspec.json.decode(line, type=Line)
        except msgspec.DecodeError as error:
            raise MalformedResponseError("a line of Acme's stream is no JSON of its kind") from error
        chunks: list[Chunk] = []
        if read.more:
            self._said.append(read.more)
            chunks.append(TextDelta(read.more))
        if read.ended is not None:
            self._end = read
            if read.units:
                chunks.append(UsageUpdate(_usage(read.units)))
        return chunks

    def close(self) -> None:
        if self._end is None:
            raise StreamBrokenError("Acme's stream ended without its last line", partial="".join(self._said))

    @property
    def completion(self) -> Completion:
        end = self._end or Line()
        return Completion(
            message=Message.assistant("".join(self._said)),
            finish_reason=ENDINGS.get(end.ended or "", end.ended or "error"),
            usage=_usage(end.units) if end.units else None,
            model=end.voice,
            id=end.id,
        )

    @property
    def done(self) -> bool:
        return self._end is not None


def _words(said: str | Message) -> str:
    if isinstance(said, str):
        return said
    others = [type(part).__name__ for part in said.content if not isinstance(part, Text)]
    if others:
        raise UnsendableRequestError(f"Acme's voices take text, not {others[0]}")
    return "".join(part.text for part in said.content if isinstance(part, Text))


def _usage(units: Units) -> Usage:
    return Usage(input_tokens=units.heard, output_tokens=units.spoken)


def _seconds(value: str | None) -> float | None:
    return float(value) if value and value.isdecimal() else None
