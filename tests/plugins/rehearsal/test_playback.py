"""The lazy sender sends what a real one would have sent: held against a task that writes into a bounded buffer."""

from __future__ import annotations

import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from penstock.types import WireRequest
from penstock_plugins.rehearsal import Exchange, Upstream
from penstock_plugins.rehearsal.ledger import Ledger
from penstock_plugins.rehearsal.plan import Data, End, Hang, Reset, Step, Wait
from penstock_plugins.rehearsal.playback import Playback
from penstock_plugins.rehearsal.sabotage import Plan

WINDOW = 10

steps = st.lists(
    st.one_of(
        st.integers(1, 14).map(lambda size: Data(b"x" * size, size)),
        st.integers(1, 5).map(lambda seconds: Wait(float(seconds))),
    ),
    max_size=12,
)
readings = st.lists(st.integers(0, 6), min_size=1, max_size=20)
"""Seconds a reader does something else before each time it asks."""


class Counted(Exchange):
    """An exchange that tells how many bytes were sent."""

    def __init__(self, planned: tuple[Step, ...]) -> None:
        ledger = Ledger()
        ledger.enter()
        super().__init__(ledger, Plan(planned), None)
        self.sent = 0
        self.ledger = ledger

    def did(self, step: Step) -> None:
        super().did(step)
        self.sent += len(step.data) if isinstance(step, Data) else 0


class Pipe:
    """The model: a buffer of so many bytes (one piece always fits), a task that fills it, a reader that empties it."""

    def __init__(self) -> None:
        self.pieces: list[Step] = []
        self.sent = 0
        self.unread = 0
        self.changed = trio.Condition()

    async def write(self, planned: tuple[Step, ...]) -> None:
        for step in planned:
            match step:
                case Wait(seconds=seconds):
                    await trio.sleep(seconds)
                case Hang():
                    await trio.sleep_forever()
                case _:
                    await self._put(step)

    async def _put(self, step: Step) -> None:
        size = len(step.data) if isinstance(step, Data) else 0
        async with self.changed:
            while self.unread and self.unread + size > WINDOW:
                await self.changed.wait()
            self.pieces.append(step)
            self.unread += size
            self.sent += size

    async def take(self) -> Step | None:
        async with self.changed:
            if not self.pieces:
                return None
            step = self.pieces.pop(0)
            self.unread -= len(step.data) if isinstance(step, Data) else 0
            self.changed.notify_all()
            return step


@given(steps, st.sampled_from([End(), Reset(), Hang()]), readings)
def test_a_lazy_sender_is_where_a_busy_one_would_be(planned: list[Step], ending: Step, pauses: list[int]) -> None:
    whole = (*planned, ending)
    lazy, busy = observed_lazily(whole, pauses), observed_busily(whole, pauses)
    assert lazy == busy


def observed_lazily(planned: tuple[Step, ...], pauses: list[int]) -> list[tuple[Step | None, int]]:
    exchange = Counted(planned)
    playback = Playback(exchange, now=0.0, window=WINDOW)
    seen: list[tuple[Step | None, int]] = []
    now = 0.0
    for pause in pauses:
        now += pause
        seen.append((playback.take(now), exchange.sent))
    return seen


def observed_busily(planned: tuple[Step, ...], pauses: list[int]) -> list[tuple[Step | None, int]]:
    seen: list[tuple[Step | None, int]] = []

    async def story() -> None:
        pipe = Pipe()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pipe.write, planned)
            for pause in pauses:
                await trio.sleep(pause)
                # What is due at this very instant is sent first.
                await trio.testing.wait_all_tasks_blocked()
                sent = pipe.sent
                seen.append((await pipe.take(), sent))
            nursery.cancel_scope.cancel()

    trio.run(story, clock=trio.testing.MockClock(autojump_threshold=0))
    return seen


def test_next_at_tells_when_there_is_more() -> None:
    playback = Playback(Counted((Wait(3.0), Data(b"a"), Wait(4.0), End())), now=10.0, window=WINDOW)
    assert playback.take(10.0) is None
    assert playback.next_at == 13.0
    assert playback.take(13.0) == Data(b"a")
    assert playback.take(13.0) is None
    assert playback.next_at == 17.0
    assert playback.take(17.0) == End()


def test_leaving_ends_the_exchange_once_and_sends_no_more() -> None:
    exchange = Counted((Data(b"a"), Wait(1.0), Data(b"b"), Wait(1.0), Data(b"c"), End()))
    playback = Playback(exchange, now=0.0, window=WINDOW)
    playback.leave(1.5)
    playback.leave(100.0)
    assert exchange.sent == 2
    assert exchange.ledger.statistics().in_flight == 0


def test_an_exchange_is_closed_once() -> None:
    upstream = Upstream()
    exchange = upstream.receive(WireRequest("GET", "/", (), b""), now=0.0, wall=0.0)
    exchange.close()
    exchange.close()
    assert upstream.statistics().in_flight == 0
