"""A streamed answer while it comes: bytes to chunks, the clocks beside them, and when it counts as whole.

Not here: the response that it comes in (`_incoming`), which clock fires when (`policy.stream_watch`), who is shown what
(`_trials`).
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence
from typing import Literal, NoReturn, TypeAlias, cast

import trio

from penstock._codec_edge import CodecEdge, credible
from penstock._incoming import AFTER_THE_END, Incoming
from penstock.abc import Missing, StreamDecoder
from penstock.errors import BudgetCutError, CallError, MalformedResponseError, StreamBrokenError
from penstock.policy.commit import is_token
from penstock.policy.meter import Meter, StreamedText
from penstock.policy.replay import replayed
from penstock.policy.stream_watch import StreamWatch
from penstock.types import (
    Chunk,
    Completion,
    Finished,
    TextDelta,
    ThinkingDelta,
    ToolCallDelta,
    Usage,
    UsageUpdate,
    WireResponse,
)

__all__ = ["Deliver", "StreamedAnswer"]

EARLY = 0.01
"""Seconds that a timeout of a stream may fire early: to move a deadline costs more than to read a chunk."""
WORTH_A_CONNECTION = 0.2
"""Seconds left of the call's own time below which nobody waits for that: a loop that is late by half of it would lose
the answer to the deadline, for the sake of a connection."""

Deliver: TypeAlias = Callable[[Sequence[Chunk]], Awaitable[None]]
_StillMissing: TypeAlias = Missing | Literal["nothing"]


class StreamedAnswer:
    """The answer of one exchange. After it ended, in whatever way, its fields tell how far it came."""

    def __init__(self, edge: CodecEdge, watch: StreamWatch, scope: trio.CancelScope) -> None:
        self._edge = edge
        self._watch = watch
        self._scope = scope
        """Where the stream's clocks tick."""
        self._decoder: StreamDecoder | None = None
        self._whole: Completion | None = None
        """An answer that came in one piece although a stream was asked for."""
        self.first_token_at: float | None = None
        self.usage: Usage | None = None
        """As reported so far."""
        self.end_lost: str | None = None
        """Of an answer that is whole all the same: the kind of what came in the place of its end."""
        self.streamed_bytes = 0
        """UTF-8 bytes of text, thinking and arguments that came."""
        self.text: StreamedText | None = None
        """The same for a tokenizer to count, where the answer is metered by one."""

    @property
    def partial(self) -> str:
        """The text that has come so far."""
        if self._whole is not None:
            return self._whole.message.text
        decoder = self._decoder
        try:
            return decoder.completion.message.text if decoder else ""
        except Exception:  # noqa: BLE001 - a decoder that failed may not know any more; the failure itself is told
            return ""

    def pause_clocks(self) -> None:
        """First-token, idle and total timeouts stop until the batch at hand is taken: it is not the provider's time."""
        self._scope.deadline = math.inf

    async def taken(self, incoming: Incoming, deliver: Deliver, meter: Meter | None = None) -> Completion:
        """The whole answer, delivered as it comes, a batch for each read. BudgetCutError where the meter ends it."""
        if incoming.is_whole:
            self._watch.in_one_piece()
            self._scope.deadline = self._watch.deadline()
            return await self._take_whole(incoming, deliver)
        edge = self._edge
        self.text = None if meter is None else meter.text()
        self._decoder = edge.call(lambda: edge.codec.decoder(incoming.head))
        return await self._pump(incoming, self._decoder, deliver, meter)

    def all_but_the_end(self) -> Completion | None:
        """The answer, where nothing is missing of it but its usage or the wire's mark of its end."""
        decoder = self._decoder
        if decoder is None:
            return None
        try:
            return self._ended(decoder)
        except CallError:
            return None

    async def _take_whole(self, incoming: Incoming, deliver: Deliver) -> Completion:
        """Some servers know no streams, and send the whole answer in spite of what was asked."""
        body, head = await incoming.body(StreamBrokenError), incoming.head
        if not body.strip():
            raise StreamBrokenError(f"{self._edge.target}: the response ended before it began")
        completion = self._edge.decode(WireResponse(head.status, head.headers, body))
        if chunks := replayed(completion.message):
            self._whole = completion
            # The answer is here: no clock of this attempt may take it back.
            self._scope.deadline = math.inf
            await deliver(chunks)
        return completion

    async def _pump(
        self, incoming: Incoming, decoder: StreamDecoder, deliver: Deliver, meter: Meter | None
    ) -> Completion:
        watch, scope = self._watch, self._scope
        missing, until = "answer", math.inf
        most_bytes, told = (math.inf, None) if meter is None else (meter.most_bytes, self.usage)
        while (data := await incoming.read(StreamBrokenError)) is not None:
            before = self.streamed_bytes
            chunks = self._feed(decoder, data)
            over = self.text is not None and self.text.is_over()
            if meter is not None and (over or self.streamed_bytes > most_bytes or self.usage is not told):
                told = self.usage
                # A whole answer is not taken away: nothing more of it would be billed.
                if (over or meter.is_over(self.streamed_bytes, told)) and self._missing(decoder) == "answer":
                    await self._cut_short(incoming, chunks, deliver)
            now = trio.current_time()
            if chunks and self.first_token_at is None:
                self._look_for_a_token(chunks, now)
            watch.heard(now)
            watch.brought(now, self.streamed_bytes - before)
            if chunks:
                await deliver(chunks)
                if scope.deadline == math.inf:
                    watch.pause(trio.current_time() - now)
            now_missing = self._missing(decoder)
            if now_missing != missing:
                # From here on no clock but these may end the attempt, and none takes back what has come.
                missing, scope.deadline = now_missing, math.inf
                until = min(until, _last_moment(missing))
            if missing == "nothing" or until == -math.inf:
                await _finish_reading(incoming, until)
                break
            due = min(watch.deadline(), until)
            if not 0 <= due - scope.deadline < EARLY:
                scope.deadline = due
        return self._ended(decoder)

    def _look_for_a_token(self, chunks: Sequence[Chunk], now: float) -> None:
        if any(map(is_token, chunks)):
            self.first_token_at = now
            self._watch.token(now)

    async def _cut_short(self, incoming: Incoming, chunks: Sequence[Chunk], deliver: Deliver) -> NoReturn:
        """The connection goes first: what comes while the consumer takes its time would be billed. What came is shown,
        for it is paid for.
        """
        await incoming.let_go()
        self.pause_clocks()
        if chunks:
            await deliver(chunks)
        target = self._edge.target
        raise BudgetCutError(f"{target} went on beyond what the call may use of its budget, and was cut off")

    def _ended(self, decoder: StreamDecoder) -> Completion:
        """The answer, where the bytes may end here. Raises what the decoder says of it where they may not."""
        self._edge.call(decoder.close)
        unread = cast("object", getattr(decoder, "unread", None))
        if isinstance(unread, MalformedResponseError):
            self.end_lost = unread.kind
        return self._edge.completed(self._edge.call(lambda: decoder.completion))

    def _missing(self, decoder: StreamDecoder) -> _StillMissing:
        """What the stream still has to bring, by what its decoder says."""
        match self._edge.call(_told_missing, decoder):
            case "usage":
                return "usage" if self._edge.live.capabilities.stream_usage else "end"
            case "end":
                return "end"
            case "nothing":
                return "nothing"
            case _:
                return "answer"

    def _feed(self, decoder: StreamDecoder, data: bytes) -> list[Chunk]:
        fed = cast("list[Chunk]", self._edge.told(lambda: decoder.feed(data), list))
        chunks: list[Chunk] = []
        for chunk in fed:
            match chunk:
                case TextDelta(text=text) | ThinkingDelta(text=text) | ToolCallDelta(arguments=text):
                    size = len(text) if text.isascii() else len(text.encode(errors="surrogatepass"))
                    self.streamed_bytes += size
                    if self.text is not None:
                        self.text.add((type(chunk), getattr(chunk, "index", 0)), text, size)
                case UsageUpdate():
                    self.usage = credible(chunk.usage) or self.usage
                case Finished():
                    continue
                case _:
                    pass
            chunks.append(chunk)
        return chunks


def _told_missing(decoder: StreamDecoder) -> object:
    return "nothing" if getattr(decoder, "done", False) else getattr(decoder, "missing", "answer")


def _last_moment(missing: _StillMissing) -> float:
    """Until when that is waited for, beside what the timeouts say; minus infinity: not at all.

    A whole answer is not lost to the call's own deadline: half of what is left of it is enough to spend.
    """
    if missing == "answer":
        return math.inf
    now = trio.current_time()
    left = trio.current_effective_deadline() - now
    if left < WORTH_A_CONNECTION:
        return -math.inf
    return now + (left / 2 if missing == "usage" else min(AFTER_THE_END, left / 2))


async def _finish_reading(incoming: Incoming, until: float) -> None:
    """Past the wire's own end comes only the end of the HTTP body: once read, the connection can be kept."""
    if until == -math.inf:
        return
    with trio.CancelScope(deadline=until):
        try:
            while await incoming.read(StreamBrokenError) is not None:
                pass
        except CallError:
            return  # the answer is complete; only the connection is lost
