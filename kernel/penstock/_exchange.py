"""One upstream exchange: a request goes out, a completion or one typed error comes back.

The edge where foreign exceptions become ours, each once, with its cause. Not here: whether to try again (`_call`),
and what an exchange cost (`_books`).
"""

from __future__ import annotations

import logging
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import lru_cache
from typing import ParamSpec, TypeVar, cast

import attrs
import httpx
import msgspec
import trio

from penstock._edge import broken_codec, broken_transport, discreet, without_secret
from penstock._idempotency import IdempotencyKeys
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
EARLY = 0.01
"""Seconds that a timeout of a stream may fire early: to move a deadline costs more than to read a chunk."""
WORTH_A_CONNECTION = 0.2
"""Seconds left of the call's own time below which nobody waits for that: a loop that is late by half of it would lose
the answer to the deadline, for the sake of a connection."""
_Result = TypeVar("_Result")
_Asked = ParamSpec("_Asked")


@attrs.define
class Exchange:
    """One attempt at one target. After it ended, in whatever way, its fields tell how far it came."""

    live: LiveTarget
    phases: Phases
    """The timeouts that hold for this request at this target."""
    wall: Callable[[], float]
    keys: IdempotencyKeys = attrs.field(factory=IdempotencyKeys, repr=False)
    """Those of the call, so that another attempt finds the same."""
    first_token_at: float | None = None
    status: int | None = None
    """None: no head came."""
    request_id: str | None = None
    usage: Usage | None = None
    """As reported so far."""
    streamed_bytes: int = 0
    """UTF-8 bytes of text, thinking and arguments that came."""
    _scope: trio.CancelScope | None = None
    """Where the stream's clocks tick."""
    _decoder: StreamDecoder | None = None
    _whole: Completion | None = None
    """An answer that came in one piece although a stream was asked for."""
    _cut: bool = False
    """The connection broke under the answer."""
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
        if self._whole is not None:
            return self._whole.message.text
        decoder = self._decoder
        try:
            return decoder.completion.message.text if decoder else ""
        except Exception:  # noqa: BLE001 - a decoder that failed may not know any more; the failure itself is told
            return ""

    async def whole(self, request: ChatRequest, encoded: WireRequest | None = None) -> Completion:
        """An unstreamed exchange. Connect, write and total timeouts apply. `encoded`: where it has been encoded."""
        wire = self._encode(request, stream=False) if encoded is None else self._authorized(encoded)
        with trio.CancelScope(deadline=trio.current_time() + self.phases.total) as scope:
            response = await self._send(self._keyed(wire))
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

        `deliver` says `pause_clocks` before it waits for the consumer. `Finished` is not delivered: that is for the
        caller to say, once this has returned. An answer that lacks only the wire's mark of its end is whole, however
        the connection ended after it.
        """
        wire = self._encode(request, stream=True)
        watch = StreamWatch(self.phases, trio.current_time())
        with trio.CancelScope(deadline=watch.deadline()) as scope:
            self._scope = scope
            response = await self._send(self._keyed(wire))
            try:
                head = self._head(response)
                if not response.is_success:
                    body = await self._body(response)
                    raise self._classify(WireResponse(head.status, head.headers, body))
                if _is_whole(head):
                    watch.in_one_piece()
                    scope.deadline = watch.deadline()
                    return await self._take_whole(head, response, deliver, scope)
                self._decoder = self._codec_call(lambda: self.codec.decoder(head))
                return await self._pump(response, self._decoder, deliver, watch, scope)
            except StreamBrokenError as broken:
                if not self._cut or (completion := self._all_but_the_end()) is None:
                    raise
                logger.debug("%s: the answer was whole, its end was not: %s", self.target, broken.kind)
                return completion
            finally:
                await _let_go(response)
        assert scope.cancelled_caught
        if (completion := self._all_but_the_end()) is not None:
            return completion
        raise watch.error(self.target)

    def _all_but_the_end(self) -> Completion | None:
        """The answer, where nothing is missing of it but the wire's mark of its end."""
        decoder = self._decoder
        if decoder is None:
            return None
        try:
            self._codec_call(decoder.close)
            return self._completed(self._codec_call(lambda: decoder.completion))
        except CallError:
            return None

    def pause_clocks(self) -> None:
        """First-token, idle and total timeouts stop until the batch at hand is taken: it is not the provider's time."""
        if self._scope is not None:
            self._scope.deadline = math.inf

    async def _take_whole(
        self,
        head: WireHead,
        response: httpx.Response,
        deliver: Callable[[Sequence[Chunk]], Awaitable[None]],
        scope: trio.CancelScope,
    ) -> Completion:
        """Some servers know no streams, and send the whole answer in spite of what was asked."""
        body = await self._body(response, StreamBrokenError)
        if not body.strip():
            raise StreamBrokenError(f"{self.target}: the response ended before it began")
        completion = self._decode(WireResponse(head.status, head.headers, body))
        if chunks := replayed(completion.message):
            self._whole = completion
            # The answer is here: no clock of this attempt may take it back.
            scope.deadline = math.inf
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
                await deliver(chunks)
                if scope.deadline == math.inf:
                    watch.pause(trio.current_time() - now)
            due = watch.deadline()
            if not 0 <= due - scope.deadline < EARLY:
                scope.deadline = due
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
        if left < WORTH_A_CONNECTION:
            return
        with trio.move_on_after(min(AFTER_THE_END, left / 2)):
            try:
                while await self._read(body, StreamBrokenError) is not None:
                    pass
            except CallError:
                return  # the answer is complete; only the connection is lost

    def _encode(self, request: ChatRequest, *, stream: bool) -> WireRequest:
        codec, now = self.codec, self.wall()
        return self._authorized(self._codec_call(codec.encode, request, self.live.wire, stream=stream, now=now))

    def _authorized(self, encoded: WireRequest) -> WireRequest:
        wire = self._checked(encoded, WireRequest)
        secret = self.live.provider.secret
        try:
            self._secret = None if secret is None else secret.reveal()
        except ConfigError as error:
            raise AuthenticationError(f"{self.target}: {error}") from None
        authorized = self._codec_call(self.codec.authorize, wire, self._secret, now=self.wall())
        return self._checked(authorized, WireRequest)

    def _keyed(self, wire: WireRequest) -> WireRequest:
        """With an idempotency key, where the provider takes one and the target's own headers name none."""
        header = self.live.provider.idempotency_header
        if header is None:
            return wire
        try:
            for name, _ in wire.headers:
                if name.lower() == header:
                    return wire
            headers = (*wire.headers, (header, self.keys.key(self.target, wire.body)))
        except (TypeError, ValueError, AttributeError):
            return wire  # what is wrong with it is told when it is sent
        return WireRequest(wire.method, wire.url, headers, wire.body)

    async def _send(self, wire: WireRequest) -> httpx.Response:
        # Reading has no timeout there: the scope around it knows what is waited for, and until when.
        timeout = {"connect": self.phases.connect, "write": self.phases.write, "read": None, "pool": None}
        try:
            request = _http_request(wire, {"timeout": timeout})
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
            return response if isinstance(response.stream, Body) else decompressed(response, limit=MAX_BODY)
        try:
            raise self._discreet(failure)
        finally:
            del failure  # it holds this frame: together they would wait for the garbage collector

    def _head(self, response: httpx.Response) -> WireHead:
        head = WireHead(
            response.status_code,
            tuple([(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in response.headers.raw]),
        )
        self.status = head.status
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
            self._cut = True
            # The head came: what is lost is the rest of an answer, not the provider.
            lost = cut(f"{self.target}: the response was cut: {failure}").with_traceback(failure.__traceback__)
            lost.__cause__ = failure.__cause__
            failure = lost
        try:
            raise self._discreet(failure)
        finally:
            del failure  # it holds this frame: together they would wait for the garbage collector

    def _decode(self, response: WireResponse) -> Completion:
        if not 200 <= response.status < 300:
            raise self._classify(response)
        return self._completed(self._codec_call(self.codec.decode, response))

    def _completed(self, told: object) -> Completion:
        """What a codec read, where it is an answer at all."""
        completion = self._checked(told, Completion)
        self._checked(completion.message, Message)
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
        chunks: list[Chunk] = []
        for chunk in fed:
            match chunk:
                case TextDelta(text=text) | ThinkingDelta(text=text) | ToolCallDelta(arguments=text):
                    self.streamed_bytes += len(text) if text.isascii() else len(text.encode(errors="surrogatepass"))
                case UsageUpdate():
                    self.usage = _credible(chunk.usage) or self.usage
                case Finished():
                    continue
                case _:
                    pass
            chunks.append(chunk)
        return chunks

    def _codec_call(self, ask: Callable[_Asked, _Result], *args: _Asked.args, **kwargs: _Asked.kwargs) -> _Result:
        failure: CallError
        try:
            return ask(*args, **kwargs)
        except CallError as error:
            failure = error
        except (Exception, SystemExit) as bug:  # noqa: BLE001 - foreign code; even one that exits must not end us
            failure = broken_codec(self.target, bug)
        # Raised out here, so that no context holds what the bug said.
        try:
            raise self._discreet(failure)
        finally:
            del failure  # it holds this frame: together they would wait for the garbage collector

    def _discreet(self, error: CallError) -> CallError:
        return discreet(error, self._secret, self.target)

    def _told(self, ask: Callable[[], object], kind: type[_Result]) -> _Result:
        """What the codec says, where it is what its class promises."""
        return self._checked(self._codec_call(ask), kind)

    def _checked(self, told: object, kind: type[_Result]) -> _Result:
        if isinstance(told, kind):
            return told
        raise broken_codec(self.target, f"{type(told).__name__} in place of {kind.__name__}")


def _credible(usage: object) -> Usage | None:
    """Counts that cannot be right are no counts: unknown usage is charged at its bound, wrong usage as it is."""
    if not isinstance(usage, Usage):
        return None
    for count in msgspec.structs.astuple(usage):
        if not isinstance(count, int) or count < 0:
            return None
    return usage


def _bytes_of(response: httpx.Response) -> AsyncIterator[bytes]:
    # What the transport yields is already decoded; httpx's own aiter_raw() would add a layer of generators.
    return aiter(cast("httpx.AsyncByteStream", response.stream))


async def _let_go(response: httpx.Response) -> None:
    """Closes a response. Never raises: the exchange is over, and how it ended is known.

    Shielded: a transport that waits while closing must lose neither its connection to a cancel nor us the answer.
    """
    try:
        if isinstance(response.stream, Body):
            await response.stream.aclose()  # our own, which never waits
            return
        with trio.CancelScope(shield=True, deadline=trio.current_time() + AFTER_THE_END):
            await response.aclose()
    except Exception as error:  # noqa: BLE001 - foreign code
        logger.debug("a transport broke while it closed a response: %s", type(error).__name__)


def _is_whole(head: WireHead) -> bool:
    return (head.header("content-type") or "").partition(";")[0].strip().lower() == "application/json"


def _http_request(wire: WireRequest, extensions: dict[str, object]) -> httpx.Request:
    """The codec's headers, and ours where it names none. Its body has been read, as if it had been given whole.

    httpx would find out what a body is and what headers it needs, at the price of all the rest.
    """
    url, host = _parsed(wire.url)
    named = {name.lower() for name, _ in wire.headers}
    headers = [*wire.headers, *(header for header in OUR_HEADERS if header[0] not in named)]
    if "host" not in named:
        headers.insert(0, ("host", host))
    if "content-length" not in named and "transfer-encoding" not in named:
        headers.append(("content-length", str(len(wire.body))))
    stream = httpx.ByteStream(wire.body)
    request = httpx.Request(wire.method, url, headers=headers, stream=stream, extensions=extensions)
    request.read()
    return request


@lru_cache(maxsize=1_024)
def _parsed(url: str) -> tuple[httpx.URL, str]:
    """The URL and its `host` header. Parsing costs more than a request; targets are few, and each has one URL."""
    parsed = httpx.URL(url)
    return parsed, parsed.netloc.decode("ascii")
