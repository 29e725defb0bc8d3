"""One upstream exchange: a request goes out, a completion or one typed error comes back.

Here its clocks are set, and told which of them fired. Not here: sending (`_sending`), reading (`_incoming`,
`_streamed_answer`), what the codec says (`_codec_edge`); whether to try again (`_call`), and what it cost (`_books`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

import trio

from penstock._codec_edge import CodecEdge
from penstock._idempotency import IdempotencyKeys
from penstock._incoming import Incoming
from penstock._live_target import LiveTarget
from penstock._overdue import Overdue, Term
from penstock._sending import authorized, encoded, idempotency_of, send, without
from penstock._streamed_answer import Deliver, StreamedAnswer
from penstock._transport import Transport
from penstock._transport.connection import Connection
from penstock.errors import CallError, IdleTimeoutError, TotalTimeoutError
from penstock.policy.meter import Meter
from penstock.policy.stream_watch import Phases, StreamWatch
from penstock.types import ChatRequest, Completion, Usage, WireRequest, WireResponse

__all__ = ["Exchange"]


class Exchange:
    """One attempt at one target. After it ended, in whatever way, its fields tell how far it came.

    `phases` are the timeouts that hold for this request at this target; `keys` the idempotency keys of the call, so
    that another attempt finds the same.
    """

    def __init__(
        self,
        live: LiveTarget,
        phases: Phases,
        wall: Callable[[], float],
        overdue: Overdue,
        keys: IdempotencyKeys | None = None,
    ) -> None:
        self.phases = phases
        self.status: int | None = None
        """None: no head came."""
        self.url: str | None = None
        """Where it went; None: nowhere yet."""
        self.connected_at: float | None = None
        """When it had a connection (monotonic); None: it had none, or the transport does not tell."""
        self._placed = False
        """Whether it was let to a connection, a kept one or one to be made."""
        self.fresh = False
        """No kept connection will do: the last one had been closed."""
        self.trace: Sequence[tuple[str, str]] = ()
        """Headers that tell the provider of the trace it is part of."""
        self._edge = CodecEdge(live, wall)
        self._overdue = overdue
        self._term: Term | None = None
        self._keys = keys or IdempotencyKeys()
        self._answer: StreamedAnswer | None = None

    @property
    def request_id(self) -> str | None:
        """The provider's name for it, where anything told it."""
        return self._edge.request_id

    @property
    def was_sent(self) -> bool:
        """False where nothing of it can have gone out: our own transport had no connection for it."""
        return self.connected_at is not None or not self._is_ours

    @property
    def waited_for_others(self) -> bool:
        """True where all its time went by while every connection to the provider was in use: that is our own limit."""
        return self.url is not None and not self._placed and self._is_ours

    @property
    def _is_ours(self) -> bool:
        """Whether the transport is the kernel's own: no other tells of connections, or can give one up."""
        return isinstance(self._edge.live.provider.transport, Transport)

    @property
    def disbelieved(self) -> bool:
        """It told counts that cannot be right: they are taken for none."""
        return self._edge.disbelieved

    @property
    def first_token_at(self) -> float | None:
        """When the first token of a stream came (monotonic)."""
        return self._answer.first_token_at if self._answer else None

    @property
    def usage(self) -> Usage | None:
        """Of a stream, as reported so far."""
        return self._answer.usage if self._answer else None

    @property
    def streamed_bytes(self) -> int:
        """UTF-8 bytes of text, thinking and arguments that came as a stream."""
        return self._answer.streamed_bytes if self._answer else 0

    def streamed_tokens(self) -> int | None:
        """The tokens of the same, counted exactly; None where nothing can."""
        return self._answer.text.tokens() if self._answer and self._answer.text else None

    @property
    def partial(self) -> str:
        """The text a stream has brought so far."""
        return self._answer.partial if self._answer else ""

    @property
    def end_lost(self) -> str | None:
        """Of a stream whose answer is whole all the same: the kind of what came in the place of its end."""
        return self._answer.end_lost if self._answer else None

    def pause_clocks(self) -> None:
        """First-token, idle and total timeouts stop until the batch at hand is taken: it is not the provider's time."""
        if self._answer is not None:
            self._answer.pause_clocks()

    async def whole(
        self, request: ChatRequest, wire: WireRequest | None = None, *, ends_at: float = math.inf
    ) -> Completion:
        """An unstreamed exchange. Connect, write and total timeouts apply. `wire`: where it has been encoded.

        At `ends_at` (monotonic) a scope around it is over by itself: a total timeout that is no earlier needs nothing.
        """
        wire = authorized(self._edge, encoded(self._edge, request, stream=False) if wire is None else wire)
        phases = self.phases
        with self._within(trio.current_time() + phases.total, ends_at):
            incoming = await self._begun(wire)
            head = incoming.head
            try:
                body = await incoming.body()
            finally:
                await incoming.let_go()
            return self._edge.decode(WireResponse(head.status, head.headers, body))
        did = "had no connection free" if self.waited_for_others else "did not answer"
        raise TotalTimeoutError(f"{self._edge.target} {did} within {phases.total:g} s (total{phases.whose})")

    async def streamed(self, request: ChatRequest, deliver: Deliver, meter: Meter | None = None) -> Completion:
        """A streamed exchange: batches of chunks go to `deliver` as they come, a batch for each read.

        `deliver` says `pause_clocks` before it waits for the consumer. `Finished` is not delivered: that is for the
        caller to say, once this has returned. An answer that lacks only the wire's mark of its end is whole, however
        the connection ends after it, and before any deadline: `StreamDecoder.missing` says how long more is waited for.
        One that uses more than `meter` allows is cut: BudgetCutError.
        """
        wire = authorized(self._edge, encoded(self._edge, request, stream=True))
        watch = StreamWatch(self.phases, trio.current_time())
        scope = trio.CancelScope(deadline=watch.deadline())
        self._answer = answer = StreamedAnswer(self._edge, watch, scope)
        with scope:
            incoming = await self._begun(wire)
            head = incoming.head
            try:
                if not incoming.is_success:
                    raise self._edge.classify(WireResponse(head.status, head.headers, await incoming.body()))
                return await answer.taken(incoming, deliver, meter)
            except CallError as broken:
                if not incoming.broke or (completion := await answer.all_but_the_end(broken.kind, deliver)) is None:
                    raise
                return completion
            finally:
                await incoming.let_go()
        assert scope.cancelled_caught
        if (completion := await answer.all_but_the_end(IdleTimeoutError.kind, deliver)) is not None:
            return completion
        raise watch.error(self._edge.target)

    def _within(self, deadline: float, ends_at: float) -> AbstractContextManager[object]:
        """What ends an unstreamed exchange at that moment."""
        if deadline >= ends_at:
            return nullcontext()
        if not self._is_ours:
            return trio.CancelScope(deadline=deadline)
        self._term = Term(self._overdue, deadline)
        return self._term

    def _note_place(self) -> None:
        self._placed = True

    def _connected(self, connection: Connection) -> None:
        self.connected_at = trio.current_time()
        if self._term is not None:
            self._term.goes_over(connection)

    async def _begun(self, wire: WireRequest) -> Incoming:
        """Sent with the headers that are of this exchange alone, and answered with a head."""
        self.url = wire.url
        own = idempotency_of(self._edge, wire, self._keys)
        if self.trace:
            wire, own = without(wire, self.trace), (*own, *self.trace)
        until = math.inf if self._term is None else self._term.at
        response = await send(
            self._edge,
            wire,
            own,
            self.phases,
            placed=self._note_place,
            connected=self._connected,
            until=until,
            fresh=self.fresh,
        )
        self.status = response.status
        return Incoming(self._edge, response)
