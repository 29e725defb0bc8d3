"""A streamed answer while it comes: bytes to chunks, the clocks beside them, and when it counts as whole.

Not here: the response that it comes in (`_incoming`), which clock fires when (`policy.stream_watch`), who is shown what
(`_trials`).
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Literal, NoReturn, TypeAlias, cast

import msgspec
import trio

from penstock._codec_edge import CodecEdge
from penstock._codec_results import flaw_of_tool_call, wrong_kind
from penstock._foreign import interruptible, let_through
from penstock._incoming import AFTER_THE_END, Incoming
from penstock.abc import Missing, StreamDecoder
from penstock.errors import BudgetCutError, CallError, StreamBrokenError
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

__all__ = ["Deliver", "StillMissing", "StreamedAnswer"]

EARLY = 0.01
"""Seconds that a timeout of a stream may fire early: to move a deadline costs more than to read a chunk."""
WORTH_A_CONNECTION = 0.2
"""Seconds left of the call's own time below which nobody waits for that: a loop that is late by half of it would lose
the answer to the deadline, for the sake of a connection."""

FOR_USAGE = 5.0
"""Seconds for usage once the whole answer is there. Servers have counted by then what they have written: all that were
recorded tell it in the event of the finish reason or in the next, and a gateway that asks another one for it needs a
second or two. What comes meanwhile (pings, comments) says only that the connection is alive."""

StillMissing: TypeAlias = Missing | Literal["nothing"]
Deliver: TypeAlias = Callable[[Sequence[Chunk], StillMissing], Awaitable[None]]
"""Takes a batch, and what the stream still has to bring after it."""


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
        self._metered: Usage | None = None
        """That of it which the meter has seen."""
        self.end_lost: str | None = None
        """Of an answer that is whole all the same: the kind of what came in the place of its end."""
        self.streamed_bytes = 0
        """UTF-8 bytes of text, thinking and arguments that came."""
        self._only_aside = False
        """The last read brought more of other choices, and nothing of the answer."""
        self.text: StreamedText | None = None
        """The same for a tokenizer to count, where the answer is metered by one."""

    @property
    @interruptible
    def partial(self) -> str:
        """The text that has come so far."""
        if self._whole is not None:
            return self._whole.message.text
        decoder = self._decoder
        try:
            text = cast("object", decoder.completion.message.text) if decoder else ""
        except BaseException as error:  # noqa: BLE001 - a decoder that failed may not know any more; the failure itself is told
            let_through(error)
            return ""
        return text if isinstance(text, str) else ""

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

    async def all_but_the_end(self, instead: str, deliver: Deliver) -> Completion | None:
        """The answer, where nothing is missing of it but its usage or the wire's mark of its end.

        `instead` is the kind of what came in its place.
        """
        decoder = self._decoder
        if decoder is None:
            return None
        try:
            completion = await self._ended(decoder, deliver)
        except CallError:
            return None
        self.end_lost = instead
        return completion

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
            await deliver(chunks, "nothing")
        return completion

    async def _pump(
        self, incoming: Incoming, decoder: StreamDecoder, deliver: Deliver, meter: Meter | None
    ) -> Completion:
        watch, scope = self._watch, self._scope
        missing: StillMissing = "answer"
        until = limit = math.inf
        while (data := await incoming.read(StreamBrokenError)) is not None:
            before, was = self.streamed_bytes, missing
            chunks = self._feed(decoder, data)
            missing = self._missing(decoder)
            # A whole answer is not taken away: nothing more of it would be billed.
            if meter is not None and missing == "answer" and self._is_over(meter):
                await self._cut_short(incoming, chunks, deliver)
            now = self._note_time(chunks, self.streamed_bytes - before)
            if missing != was and was == "answer":
                # From here on no clock but these may end the attempt, and none takes back what has come.
                scope.deadline = math.inf
                limit = trio.current_effective_deadline()
            waited = 0.0
            if chunks:
                await deliver(chunks, missing)
                if scope.deadline == math.inf:
                    waited = trio.current_time() - now
                    watch.pause(waited)
            if missing != "answer":
                # More of the answer, and a consumer that is slow to take it, are no part of the wait for its end.
                if missing != was or waited > EARLY or self.streamed_bytes > before:
                    until = -math.inf if self._runs_on(was, meter) else _last_moment(missing, limit)
                if missing == "nothing" or until == -math.inf:
                    await _finish_reading(incoming, until)
                    break
            due = min(watch.deadline(), until)
            if not 0 <= due - scope.deadline < EARLY:
                scope.deadline = due
        return await self._ended(decoder, deliver)

    def _runs_on(self, was: StillMissing, meter: Meter | None) -> bool:
        """True where what comes behind a whole answer is of other choices alone, and more than is held: then the end of
        it all is waited for no longer.
        """
        return self._only_aside and was != "answer" and meter is not None and self._is_over(meter)

    def _is_over(self, meter: Meter) -> bool:
        """Asked after each read, and answered at once where nothing has changed that matters."""
        over = self.text is not None and self.text.is_over()
        if not over and self.usage is self._metered and self.streamed_bytes <= meter.most_bytes:
            return False
        self._metered = self.usage
        return over or meter.is_over(self.streamed_bytes, self.usage)

    def _note_time(self, chunks: Sequence[Chunk], output_bytes: int) -> float:
        """The clocks hear of a read."""
        now = trio.current_time()
        if chunks and self.first_token_at is None:
            self._look_for_a_token(chunks, now)
        self._watch.heard(now)
        self._watch.brought(now, output_bytes)
        return now

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
            await deliver(chunks, "answer")
        target = self._edge.target
        raise BudgetCutError(f"{target} went on beyond what the call may use of its budget, and was cut off")

    async def _ended(self, decoder: StreamDecoder, deliver: Deliver) -> Completion:
        """The answer, where the bytes may end here. Raises what the decoder says of it where they may not."""
        rest = self._edge.call(decoder.close)
        chunks = [] if rest is None else self._noted(cast("list[Chunk]", self._edge.checked(rest, list)))
        self._note_aside(decoder)
        unread = cast("object", self._edge.call(getattr, decoder, "unread", None))
        if isinstance(unread, CallError):
            self.end_lost = unread.kind
        completion = self._edge.completed(self._edge.call(lambda: decoder.completion))
        usage = completion.usage
        if usage is not None and self._edge.call(getattr, decoder, "missing", "answer") == "usage":
            # What was counted on the way is no count of the whole.
            usage = msgspec.structs.replace(usage, estimated=True)
            completion = msgspec.structs.replace(completion, usage=usage)
        if chunks:
            if self.first_token_at is None:
                self._look_for_a_token(chunks, trio.current_time())
            await deliver(chunks, "nothing")
        return completion

    def _missing(self, decoder: StreamDecoder) -> StillMissing:
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
        before = self.streamed_bytes
        chunks = self._noted(cast("list[Chunk]", self._edge.told(lambda: decoder.feed(data), list)))
        own = self.streamed_bytes - before
        self._note_aside(decoder)
        self._only_aside = not own and self.streamed_bytes > before
        return chunks

    def _note_aside(self, decoder: StreamDecoder) -> None:
        """What came of other choices is measured as the answer is: it is billed, too."""
        if aside := self._edge.call(_told_aside, decoder):
            for place, text in aside:
                self._measure(("aside", place), text)

    def _measure(self, part: Hashable, text: str) -> None:
        if not isinstance(cast("object", text), str):
            self._edge.sound(wrong_kind(text, "a chunk"))
        size = len(text) if text.isascii() else len(text.encode(errors="surrogatepass"))
        self.streamed_bytes += size
        if self.text is not None:
            self.text.add(part, text, size)

    def _noted(self, given: list[Chunk]) -> list[Chunk]:
        """What a decoder gave, measured."""
        chunks: list[Chunk] = []
        for chunk in given:
            match chunk:
                case TextDelta(text=text) | ThinkingDelta(text=text):
                    self._measure((type(chunk), 0), text)
                case ToolCallDelta(index=index, arguments=text):
                    self._edge.sound(flaw_of_tool_call(chunk))
                    self._measure((type(chunk), index), text)
                case UsageUpdate():
                    self.usage = self._edge.believed(chunk.usage) or self.usage
                case Finished():
                    continue
                case _:  # neither a chunk nor one that is a decoder's to give
                    self._edge.sound(wrong_kind(chunk, "the chunks"))
            chunks.append(chunk)
        return chunks


def _told_missing(decoder: StreamDecoder) -> object:
    return "nothing" if getattr(decoder, "done", False) else getattr(decoder, "missing", "answer")


def _told_aside(decoder: StreamDecoder) -> Sequence[tuple[int, str]]:
    """Decoders need not be of our class, nor know of this. Raises where it is none."""
    told: Sequence[tuple[int, str]] = getattr(decoder, "aside", ())
    return [(int(place), "" + text) for place, text in told] if told else ()


def _last_moment(missing: StillMissing, limit: float) -> float:
    """Until when that is waited for, beside what the timeouts say; minus infinity: not at all.

    A whole answer is not lost to the call's own deadline, `limit`: half of what is left of it is enough to spend.
    """
    now = trio.current_time()
    left = limit - now
    if left < WORTH_A_CONNECTION:
        return -math.inf
    return now + min(FOR_USAGE if missing == "usage" else AFTER_THE_END, left / 2)


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
