"""One upstream exchange: a request goes out, a completion or one typed error comes back.

The edge where foreign exceptions become ours, each once, with its cause. Not here: whether to try again (`_call`),
and what an exchange cost (`_books`).
"""

from __future__ import annotations

import logging
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import lru_cache
from typing import TypeVar, cast

import attrs
import httpx
import msgspec
import trio

from penstock._edge import broken_codec, broken_transport, discreet, without_secret
from penstock._targets import LiveTarget
from penstock._transport import decompressed
from penstock._transport.body import Body
from penstock.abc import Provider, StreamDecoder
from penstock.errors import (
    AuthenticationError,
    CallError,
    ConfigError,
    ConnectionLostError,
    InvalidRequestError,
    MalformedResponseError,
    ServerError,
    StreamBrokenError,
    TotalTimeoutError,
    UnsendableRequestError,
)
from penstock.policy.commit import is_token
from penstock.policy.replay import replayed
from penstock.policy.stream_watch import Phases, StreamWatch
from penstock.types import (
    ChatRequest,
    Chunk,
    Completion,
    Finished,
    Message,
    TextDelta,
    ThinkingDelta,
    ToolCallDelta,
    Usage,
    UsageUpdate,
    WireHead,
    WireRequest,
    WireResponse,
)

__all__ = ["Exchange"]

logger = logging.getLogger("penstock")

MAX_ERROR_BODY = 1_048_576
"""An error's body is read to be understood, not kept: 1 MiB is a thousand times the largest recorded one."""
MAX_BODY = 67_108_864
"""64 MiB: a whole answer with images in base64 stays far below."""


NAMED_STATUSES = frozenset({400, 401, 403, 404, 413, 422})
"""Statuses that mean what they say, whatever `x-should-retry` adds."""
OUR_HEADERS = (("accept-encoding", "identity"), ("user-agent", "penstock"))
"""A compressed stream comes in lumps; a whole answer is small beside the time it takes to be made."""
AFTER_THE_END = 1.0
"""Seconds for the HTTP body to end after the wire's own end; then the connection is not worth keeping."""
_Result = TypeVar("_Result")


@attrs.define
class Exchange:
    """One attempt at one target. After it ended, in whatever way, its fields tell how far it came."""

    live: LiveTarget
    phases: Phases
    """The timeouts that hold for this request at this target."""
    wall: Callable[[], float]
    first_token_at: float | None = None
    came_whole: bool = False
    """A stream was asked for, and the whole answer came at once: when it began to be made nobody knows."""
    request_id: str | None = None
    usage: Usage | None = None
    """As reported so far."""
    streamed_bytes: int = 0
    """UTF-8 bytes of text, thinking and arguments that came."""
    _decoder: StreamDecoder | None = None
    _secret: str | None = attrs.field(default=None, repr=False)

    @property
    def target(self) -> str:
        """The target's name, for errors."""
        return self.live.name

    @property
    def codec(self) -> Provider:
        """The codec of the target's provider."""
        return self.live.provider.codec

    @property
    def partial(self) -> str:
        """The text a stream has brought so far."""
        decoder = self._decoder
        try:
            return decoder.completion.message.text if decoder else ""
        except Exception:  # noqa: BLE001 - a decoder that failed may not know any more; the failure itself is told
            return ""

    async def whole(self, request: ChatRequest) -> Completion:
        """An unstreamed exchange. Connect, write and total timeouts apply."""
        wire = self._encode(request, stream=False)
        with trio.CancelScope(deadline=trio.current_time() + self.phases.total) as scope:
            response = await self._send(wire)
            try:
                head = self._head(response)
                body = await self._body(response)
            finally:
                await _let_go(response)
            return self._decode(WireResponse(head.status, head.headers, body))
        assert scope.cancelled_caught
        raise TotalTimeoutError(f"{self.target} did not answer within {self.phases.total:g} s (total)")

    async def streamed(self, request: ChatRequest, deliver: Callable[[Sequence[Chunk]], Awaitable[None]]) -> Completion:
        """A streamed exchange: batches of chunks go to `deliver` as they come, a batch for each read.

        First-token, idle and total timeouts stop while `deliver` waits. `Finished` is not delivered: that is the
        caller's to say, once this has returned.
        """
        wire = self._encode(request, stream=True)
        watch = StreamWatch(self.phases, trio.current_time())
        with trio.CancelScope(deadline=watch.deadline()) as scope:
            response = await self._send(wire)
            try:
                head = self._head(response)
                if not response.is_success:
                    body = await self._body(response)
                    raise self._classify(WireResponse(head.status, head.headers, body))
                if _is_whole(head):
                    return await self._take_whole(head, response, deliver)
                self._decoder = self._codec_call(lambda: self.codec.decoder(head))
                return await self._pump(response, self._decoder, deliver, watch, scope)
            finally:
                await _let_go(response)
        assert scope.cancelled_caught
        raise watch.error(self.target)

    async def _take_whole(
        self, head: WireHead, response: httpx.Response, deliver: Callable[[Sequence[Chunk]], Awaitable[None]]
    ) -> Completion:
        """Some servers know no streams, and send the whole answer in spite of what was asked."""
        body = await self._body(response, StreamBrokenError)
        if not body.strip():
            raise StreamBrokenError(f"{self.target}: the response ended before it began")
        completion = self._decode(WireResponse(head.status, head.headers, body))
        self.came_whole = True
        if chunks := replayed(completion.message):
            self.first_token_at = trio.current_time()
            await deliver(chunks)
        return completion

    async def _pump(
        self,
        response: httpx.Response,
        decoder: StreamDecoder,
        deliver: Callable[[Sequence[Chunk]], Awaitable[None]],
        watch: StreamWatch,
        scope: trio.CancelScope,
    ) -> Completion:
        body = _bytes_of(response)
        while (data := await self._read(body, StreamBrokenError)) is not None:
            before = self.streamed_bytes
            chunks = self._feed(decoder, data)
            now = trio.current_time()
            if chunks and self.first_token_at is None and any(map(is_token, chunks)):
                self.first_token_at = now
                watch.token(now)
            watch.heard(now)
            watch.brought(now, self.streamed_bytes - before)
            if chunks:
                # The consumer's time is not the provider's: its clocks stop until the batch is taken.
                scope.deadline = math.inf
                await deliver(chunks)
                watch.pause(trio.current_time() - now)
            scope.deadline = watch.deadline()
            if self._codec_call(lambda: getattr(decoder, "done", False)):
                # The answer is whole: no clock of this attempt may take it back.
                scope.deadline = math.inf
                await self._finish_reading(body)
                break
        self._codec_call(decoder.close)
        return self._completed(self._codec_call(lambda: decoder.completion))

    async def _finish_reading(self, body: AsyncIterator[bytes]) -> None:
        """Past the wire's own end comes only the end of the HTTP body: once read, the connection can be kept."""
        # A whole answer is not lost to the call's own deadline either: half of what is left of it is enough to spend.
        left = trio.current_effective_deadline() - trio.current_time()
        with trio.move_on_after(max(0.0, min(AFTER_THE_END, left / 2))):
            try:
                while await self._read(body, StreamBrokenError) is not None:
                    pass
            except CallError:
                return  # the answer is complete; only the connection is lost

    def _encode(self, request: ChatRequest, *, stream: bool) -> WireRequest:
        codec, now = self.codec, self.wall()
        wire = self._told(lambda: codec.encode(request, self.live.wire, stream=stream, now=now), WireRequest)
        secret = self.live.provider.secret
        try:
            self._secret = None if secret is None else secret.reveal()
        except ConfigError as error:
            raise AuthenticationError(f"{self.target}: {error}") from None
        return self._told(lambda: codec.authorize(wire, self._secret, now=now), WireRequest)

    async def _send(self, wire: WireRequest) -> httpx.Response:
        try:
            request = httpx.Request(
                wire.method,
                _parsed(wire.url),
                headers=_headers(wire),
                content=wire.body,
                # Reading has no timeout there: the scope around it knows what is waited for, and until when.
                extensions={
                    "timeout": {"connect": self.phases.connect, "write": self.phases.write, "read": None, "pool": None}
                },
            )
        except (httpx.InvalidURL, UnicodeEncodeError, ValueError, TypeError) as error:
            # Never the value: it could be a credential with a line break in it.
            raise UnsendableRequestError(
                f"{self.target}: the request has a URL or header that HTTP cannot carry ({type(error).__name__})"
            ) from None
        try:
            response = await self.live.provider.transport.handle_async_request(request)
        except Exception as error:  # noqa: BLE001 - foreign code: whatever it raises is translated
            failure = broken_transport(error, self.target)
        else:
            # Our own transport has done it; one that was handed in leaves a body as it came.
            return decompressed(response, limit=MAX_BODY)
        raise self._discreet(failure)

    def _head(self, response: httpx.Response) -> WireHead:
        head = WireHead(
            response.status_code,
            tuple((name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in response.headers.raw),
        )
        self._is_named(head.header("x-request-id") or head.header("request-id"))
        return head

    async def _body(
        self, response: httpx.Response, cut: type[MalformedResponseError | StreamBrokenError] = MalformedResponseError
    ) -> bytes:
        limit = MAX_BODY if response.is_success else MAX_ERROR_BODY
        pieces: list[bytes] = []
        size = 0
        body = _bytes_of(response)
        while (data := await self._read(body, cut)) is not None:
            pieces.append(data)
            size += len(data)
            if size > limit:
                raise MalformedResponseError(f"{self.target} sent a body of more than {limit} bytes")
        return b"".join(pieces)

    async def _read(
        self, body: AsyncIterator[bytes], cut: type[MalformedResponseError | StreamBrokenError]
    ) -> bytes | None:
        try:
            return await anext(body)
        except StopAsyncIteration:
            return None
        except Exception as error:  # noqa: BLE001 - foreign code: whatever it raises is translated
            failure = broken_transport(error, self.target)
        if isinstance(failure, ConnectionLostError):
            # The head came: what is lost is the rest of an answer, not the provider.
            lost = cut(f"{self.target}: the response was cut: {failure}").with_traceback(failure.__traceback__)
            lost.__cause__ = failure.__cause__
            failure = lost
        raise self._discreet(failure)

    def _decode(self, response: WireResponse) -> Completion:
        if not 200 <= response.status < 300:
            raise self._classify(response)
        return self._completed(self._codec_call(lambda: self.codec.decode(response)))

    def _completed(self, told: object) -> Completion:
        """What a codec read, where it is an answer at all."""
        completion = self._told(lambda: told, Completion)
        self._told(lambda: completion.message, Message)
        self._is_named(completion.request_id)
        usage = _credible(completion.usage)
        return completion if usage is completion.usage else msgspec.structs.replace(completion, usage=usage)

    def _classify(self, response: WireResponse) -> CallError:
        error = self._told(lambda: self.codec.classify(response, now=self.wall()), CallError)
        self._discreet(error)
        self._is_named(error.request_id)
        if type(error) is InvalidRequestError and error.should_retry and error.status not in NAMED_STATUSES:
            # A status that no row of the table names, and a server that asks for another try.
            error = ServerError(
                str(error), status=error.status, code=error.code, should_retry=True, retry_after=error.retry_after
            )
        return error

    def _is_named(self, request_id: str | None) -> None:
        if request_id:
            self.request_id = without_secret(request_id, self._secret)

    def _feed(self, decoder: StreamDecoder, data: bytes) -> list[Chunk]:
        fed = cast("list[Chunk]", self._told(lambda: decoder.feed(data), list))
        chunks: list[Chunk] = [chunk for chunk in fed if not isinstance(chunk, Finished)]
        for chunk in chunks:
            match chunk:
                case TextDelta(text=text) | ThinkingDelta(text=text) | ToolCallDelta(arguments=text):
                    self.streamed_bytes += len(text.encode(errors="surrogatepass"))
                case UsageUpdate():
                    self.usage = _credible(chunk.usage) or self.usage
                case _:
                    pass
        return chunks

    def _codec_call(self, ask: Callable[[], _Result]) -> _Result:
        failure: CallError
        try:
            return ask()
        except CallError as error:
            failure = error
        except (Exception, SystemExit) as bug:  # noqa: BLE001 - foreign code; even one that exits must not end us
            failure = broken_codec(self.target, bug)
        # Raised out here, so that no context holds what the bug said.
        raise self._discreet(failure)

    def _discreet(self, error: CallError) -> CallError:
        return discreet(error, self._secret, self.target)

    def _told(self, ask: Callable[[], object], kind: type[_Result]) -> _Result:
        """What the codec says, where it is what its class promises."""
        told = self._codec_call(ask)
        if isinstance(told, kind):
            return told
        raise broken_codec(self.target, f"{type(told).__name__} in place of {kind.__name__}")


def _credible(usage: object) -> Usage | None:
    """Counts that cannot be right are no counts: unknown usage is charged at its bound, wrong usage as it is."""
    if not isinstance(usage, Usage):
        return None
    counts = (getattr(usage, name) for name in usage.__struct_fields__)
    return usage if all(isinstance(count, int) and count >= 0 for count in counts) else None


def _bytes_of(response: httpx.Response) -> AsyncIterator[bytes]:
    # What the transport yields is already decoded; httpx's own aiter_raw() would add a layer of generators.
    return aiter(cast("httpx.AsyncByteStream", response.stream))


async def _let_go(response: httpx.Response) -> None:
    """Closes a response. Never raises: the exchange is over, and how it ended is known.

    Shielded: a transport that waits while closing must lose neither its connection to a cancel nor us the answer.
    """
    try:
        if isinstance(response.stream, Body):
            await response.aclose()  # our own, which never waits
            return
        with trio.CancelScope(shield=True, deadline=trio.current_time() + AFTER_THE_END):
            await response.aclose()
    except Exception as error:  # noqa: BLE001 - foreign code
        logger.debug("a transport broke while it closed a response: %s", type(error).__name__)


def _is_whole(head: WireHead) -> bool:
    return (head.header("content-type") or "").partition(";")[0].strip().lower() == "application/json"


def _headers(wire: WireRequest) -> list[tuple[str, str]]:
    """The codec's headers, and ours where it names none."""
    named = {name.lower() for name, _ in wire.headers}
    return [*wire.headers, *(header for header in OUR_HEADERS if header[0] not in named)]


@lru_cache(maxsize=1_024)
def _parsed(url: str) -> httpx.URL:
    """Parsing costs more than the rest of a request; targets are few, and each has one URL."""
    return httpx.URL(url)
