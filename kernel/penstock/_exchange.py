"""One upstream exchange: a request goes out, a completion or one typed error comes back.

The edge where foreign exceptions become ours, each once, with its cause. Not here: whether to try again (`_call`),
and what an exchange cost (`_books`).
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TypeVar, cast

import attrs
import httpx
import trio

from penstock._edge import translated
from penstock._targets import LiveTarget
from penstock._transport import decompressed
from penstock.abc import Provider, StreamDecoder
from penstock.errors import (
    AuthenticationError,
    CallError,
    CodecFailedError,
    ConfigError,
    ConnectionLostError,
    MalformedResponseError,
    ProviderError,
    StreamBrokenError,
    TotalTimeoutError,
    UnsendableRequestError,
)
from penstock.policy.stream_watch import Phases, StreamWatch
from penstock.types import (
    ChatRequest,
    Chunk,
    Completion,
    Finished,
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

MAX_ERROR_BODY = 1_048_576
"""An error's body is read to be understood, not kept: 1 MiB is a thousand times the largest recorded one."""
MAX_BODY = 67_108_864
"""64 MiB: a whole answer with images in base64 stays far below."""


AFTER_THE_END = 1.0
"""Seconds for the HTTP body to end after the wire's own end; then the connection is not worth keeping."""
_Result = TypeVar("_Result")
_Error = TypeVar("_Error", bound=CallError)


@attrs.define
class Exchange:
    """One attempt at one target. After it ended, in whatever way, its fields tell how far it came."""

    live: LiveTarget
    wall: Callable[[], float]
    first_token_at: float | None = None
    request_id: str | None = None
    usage: Usage | None = None
    """As reported so far."""
    streamed_bytes: int = 0
    """UTF-8 bytes of text, thinking and arguments that came."""
    _decoder: StreamDecoder | None = None
    _secret: str | None = None

    @property
    def target(self) -> str:
        """The target's name, for errors."""
        return self.live.name

    @property
    def codec(self) -> Provider:
        """The codec of the target's provider."""
        return self.live.provider.codec

    @property
    def phases(self) -> Phases:
        """The timeouts of the target."""
        return self.live.phases

    @property
    def partial(self) -> str:
        """The text a stream has brought so far."""
        return self._decoder.completion.message.text if self._decoder else ""

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
                self._decoder = self._codec_call(self.codec.decoder, head)
                return await self._pump(response, self._decoder, deliver, watch, scope)
            finally:
                await _let_go(response)
        assert scope.cancelled_caught
        raise watch.error(self.target)

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
            chunks = self._feed(decoder, data)
            now = trio.current_time()
            if chunks and self.first_token_at is None and any(map(_is_token, chunks)):
                self.first_token_at = now
                watch.token(now)
            watch.heard(now)
            if chunks:
                # The consumer's time is not the provider's: its clocks stop until the batch is taken.
                scope.deadline = math.inf
                await deliver(chunks)
                watch.pause(trio.current_time() - now)
            scope.deadline = watch.deadline()
            if decoder.done:
                await self._finish_reading(body)
                break
        self._codec_call(decoder.close)
        return decoder.completion

    async def _finish_reading(self, body: AsyncIterator[bytes]) -> None:
        """Past the wire's own end comes only the end of the HTTP body: once read, the connection can be kept."""
        with trio.move_on_after(AFTER_THE_END):
            try:
                while await self._read(body, StreamBrokenError) is not None:
                    pass
            except CallError:
                return  # the answer is complete; only the connection is lost

    def _encode(self, request: ChatRequest, *, stream: bool) -> WireRequest:
        wire = self._codec_call(self.codec.encode, request, self.live.wire, stream=stream, now=self.wall())
        secret = self.live.provider.secret
        try:
            self._secret = None if secret is None else secret.reveal()
        except ConfigError as error:
            raise AuthenticationError(f"{self.target}: {error}") from None
        return self._codec_call(self.codec.authorize, wire, self._secret, now=self.wall())

    async def _send(self, wire: WireRequest) -> httpx.Response:
        try:
            request = httpx.Request(
                wire.method,
                wire.url,
                headers=list(wire.headers),
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
        except Exception as error:
            raise translated(error, self.target) from error
        # Our own transport has done it; one that was handed in leaves a body as it came.
        return decompressed(response, limit=MAX_BODY)

    def _head(self, response: httpx.Response) -> WireHead:
        head = WireHead(
            response.status_code,
            tuple((name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in response.headers.raw),
        )
        self.request_id = head.header("x-request-id") or head.header("request-id")
        return head

    async def _body(self, response: httpx.Response) -> bytes:
        limit = MAX_BODY if response.is_success else MAX_ERROR_BODY
        pieces: list[bytes] = []
        size = 0
        body = _bytes_of(response)
        while (data := await self._read(body, MalformedResponseError)) is not None:
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
        except Exception as error:
            ours = translated(error, self.target)
            if isinstance(ours, ConnectionLostError):
                # The head came: what is lost is the rest of an answer, not the provider.
                raise cut(f"{self.target}: the response was cut: {ours}") from error
            raise ours from error

    def _decode(self, response: WireResponse) -> Completion:
        if not 200 <= response.status < 300:
            raise self._classify(response)
        completion = self._codec_call(self.codec.decode, response)
        self.request_id = completion.request_id or self.request_id
        return completion

    def _classify(self, response: WireResponse) -> ProviderError:
        try:
            error = self.codec.classify(response, now=self.wall())
        except Exception as bug:
            raise self._codec_bug(bug) from bug
        self.request_id = error.request_id or self.request_id
        return self._scrubbed(error)

    def _scrubbed(self, error: _Error) -> _Error:
        """The error without our credential: providers do quote it."""
        if self._secret and self._secret in str(error):
            error.args = (str(error).replace(self._secret, "[key]"),)
        return error

    def _feed(self, decoder: StreamDecoder, data: bytes) -> list[Chunk]:
        fed = self._codec_call(decoder.feed, data)
        chunks: list[Chunk] = [chunk for chunk in fed if not isinstance(chunk, Finished)]
        for chunk in chunks:
            match chunk:
                case TextDelta(text=text) | ThinkingDelta(text=text) | ToolCallDelta(arguments=text):
                    self.streamed_bytes += len(text.encode())
                case UsageUpdate():
                    self.usage = chunk.usage
                case _:
                    pass
        return chunks

    def _codec_call(self, function: Callable[..., _Result], *args: object, **kwargs: object) -> _Result:
        try:
            return function(*args, **kwargs)
        except CallError as error:
            raise self._scrubbed(error) from error.__cause__
        except Exception as bug:
            raise self._codec_bug(bug) from bug

    def _codec_bug(self, bug: Exception) -> CodecFailedError:
        return CodecFailedError(
            f"the codec of {self.target} broke ({type(bug).__name__}): a bug in the provider plugin"
        )


def _bytes_of(response: httpx.Response) -> AsyncIterator[bytes]:
    # What the transport yields is already decoded; httpx's own aiter_raw() would add a layer of generators.
    return aiter(cast("httpx.AsyncByteStream", response.stream))


async def _let_go(response: httpx.Response) -> None:
    """Closes a response. Shielded: a transport that waits while closing must not lose its connection to a cancel."""
    with trio.CancelScope(shield=True, deadline=trio.current_time() + AFTER_THE_END):
        await response.aclose()


def _is_token(chunk: Chunk) -> bool:
    return isinstance(chunk, TextDelta | ThinkingDelta | ToolCallDelta)
