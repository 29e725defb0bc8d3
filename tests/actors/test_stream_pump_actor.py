"""The stream pump and its two ends: batches in order, bounded; how the call ended; leaving at any moment."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import trio
import trio.testing
from supervised import cancelled_everywhere, run
from trio.testing import wait_all_tasks_blocked

from penstock.actors.stream_pump import Consumer, StreamRef, open_stream_pump
from penstock.errors import KernelError, ServerError
from penstock.types import ChatResponse, Chunk, Message, TextDelta, Usage

RESPONSE = ChatResponse(
    message=Message.assistant("all"), finish_reason="stop", usage=Usage(), cost=None, model="m", target="t", route="r"
)


def batch(number: int) -> list[Chunk]:
    return [TextDelta(str(number))]


async def number_of(ref: StreamRef) -> int | None:
    chunks = await ref.next_batch()
    if chunks is None:
        return None
    (chunk,) = chunks
    assert isinstance(chunk, TextDelta)
    return int(chunk.text)


class Call:
    """Sends so many batches, then ends as it is told to."""

    def __init__(self, batches: int, end: Exception | None = None, *, forever: bool = False) -> None:
        self.batches = batches
        self.end = end
        self.forever = forever
        self.sent = 0
        self.cleaned_up = False

    async def __call__(self, consumer: Consumer) -> ChatResponse:
        try:
            for number in range(self.batches):
                await consumer.put(batch(number))
                self.sent += 1
            if self.forever:
                await trio.sleep_forever()
            if self.end is not None:
                raise self.end
            return RESPONSE
        finally:
            self.cleaned_up = True


def with_pump(call: Call, talk: Callable[[StreamRef], Awaitable[None]]) -> None:
    async def main() -> None:
        async with trio.open_nursery() as nursery:
            _, ref = open_stream_pump(nursery, call)
            await talk(ref)
            await ref.close()

    run(main)
    assert call.cleaned_up


def test_batches_come_in_order_and_the_response_after_the_last() -> None:
    async def talk(ref: StreamRef) -> None:
        assert [await number_of(ref) for _ in range(50)] == list(range(50))
        assert await ref.next_batch() is None
        assert await ref.next_batch() is None
        assert ref.response is RESPONSE
        assert ref.statistics().batches == ref.statistics().chunks == 50

    with_pump(Call(50), talk)


def test_a_consumer_that_does_not_read_stops_the_pump_after_three_batches() -> None:
    call = Call(1_000)

    async def talk(ref: StreamRef) -> None:
        await trio.sleep(1_000)
        assert call.sent == 2
        assert ref.statistics().batches == 3, "two in the channel and one in hand"
        assert ref.statistics().queued == 2
        assert await number_of(ref) == 0
        await wait_all_tasks_blocked()
        assert call.sent == 3

    with_pump(call, talk)


def test_what_the_call_raised_is_raised_bare_after_what_it_had_sent() -> None:
    error = ServerError("boom")
    error.__cause__ = ValueError("why")

    async def talk(ref: StreamRef) -> None:
        await trio.sleep(10)
        assert [await number_of(ref) for _ in range(2)] == [0, 1]
        for _ in range(2):
            with pytest.raises(ServerError) as caught:
                await ref.next_batch()
            assert caught.value is error
            assert isinstance(caught.value.__cause__, ValueError)
        assert ref.response is None

    with_pump(Call(2, error), talk)


@pytest.mark.parametrize("read", range(5))
def test_leaving_after_any_number_of_batches_ends_the_call_before_the_leave_is_over(read: int) -> None:
    call = Call(4, forever=True)

    async def talk(ref: StreamRef) -> None:
        for _ in range(min(read, 4)):
            await ref.next_batch()
        await ref.close()
        assert call.cleaned_up
        with pytest.raises(KernelError, match="has been left"):
            await ref.next_batch()
        await ref.close()

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            _, ref = open_stream_pump(nursery, call)
            await talk(ref)

    run(main)


def test_leaving_under_a_cancelled_scope_waits_for_the_pump_all_the_same() -> None:
    call = Call(1, forever=True)

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            _, ref = open_stream_pump(nursery, call)
            await ref.next_batch()
            with trio.CancelScope() as scope:
                scope.cancel()
                await ref.close()
            assert call.cleaned_up

    run(main)


def test_cancelled_at_any_step_a_reader_loses_no_batch() -> None:
    async def main() -> None:
        async with trio.open_nursery() as nursery:
            _, ref = open_stream_pump(nursery, Call(400))
            seen: list[int] = []

            async def job() -> None:
                for _ in range(3):
                    number = await number_of(ref)
                    assert number is not None
                    seen.append(number)

            async def after() -> None:
                assert seen == list(range(len(seen)))

            assert await cancelled_everywhere(job, after) > 3
            await ref.close()

    run(main)


def test_a_batch_for_which_there_is_room_is_no_checkpoint_and_waiting_is_announced() -> None:
    told: list[str] = []

    async def call(consumer: Consumer) -> ChatResponse:
        with trio.testing.assert_no_checkpoints():
            for number in range(2):
                await consumer.put(batch(number), before_waiting=lambda: told.append("waits"))
        assert told == []
        await consumer.put(batch(2), before_waiting=lambda: told.append("waits"))
        assert told == ["waits"]
        return RESPONSE

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            _, ref = open_stream_pump(nursery, call)
            await trio.testing.wait_all_tasks_blocked()
            assert told == ["waits"]
            assert [await number_of(ref) for _ in range(4)] == [0, 1, 2, None]
            await ref.close()

    run(main)


def test_an_offer_is_taken_where_there_is_room_and_else_counts_for_nothing() -> None:
    async def call(consumer: Consumer) -> ChatResponse:
        with trio.testing.assert_no_checkpoints():
            assert [consumer.offer(batch(number)) for number in range(3)] == [True, True, False]
        assert (consumer.batches, consumer.chunks) == (2, 2)
        await consumer.put(batch(2))
        assert (consumer.batches, consumer.chunks) == (3, 3)
        return RESPONSE

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            _, ref = open_stream_pump(nursery, call)
            await wait_all_tasks_blocked()
            assert [await number_of(ref) for _ in range(4)] == [0, 1, 2, None]
            await ref.close()

    run(main)


def test_what_is_handed_over_waits_beside_the_channel_and_keeps_its_place() -> None:
    room = trio.Event()

    async def call(consumer: Consumer) -> ChatResponse:
        with trio.testing.assert_no_checkpoints():
            for number in range(4):
                consumer.hand_over(batch(number))
        await room.wait()
        await consumer.put(batch(4))
        consumer.hand_over(batch(5))
        consumer.hand_over(batch(6))
        return RESPONSE

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            _, ref = open_stream_pump(nursery, call)
            await wait_all_tasks_blocked()
            assert ref.statistics().queued == 4
            assert await number_of(ref) == 0
            room.set()
            await wait_all_tasks_blocked()
            assert [await number_of(ref) for _ in range(2)] == [1, 2]
            await wait_all_tasks_blocked()
            assert ref.response is RESPONSE, "nothing that was handed over is waited for"
            assert ref.statistics().queued == 4
            assert [await number_of(ref) for _ in range(5)] == [3, 4, 5, 6, None]
            await ref.close()

    run(main)


def test_an_error_comes_after_what_was_handed_over_and_leaving_forgets_both() -> None:
    async def call(consumer: Consumer) -> ChatResponse:
        for number in range(4):
            consumer.hand_over(batch(number))
        raise ServerError("late")

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            _, ref = open_stream_pump(nursery, call)
            assert [await number_of(ref) for _ in range(4)] == [0, 1, 2, 3]
            with pytest.raises(ServerError):
                await ref.next_batch()
            await ref.close()
            _, ref = open_stream_pump(nursery, call)
            await ref.settled()
            await ref.close()
            assert ref.statistics().queued == 0

    run(main)


def test_the_pump_belongs_to_nobody_who_opened_it() -> None:
    import contextvars

    who = contextvars.ContextVar("who", default="nobody")
    seen: list[str] = []

    async def call(consumer: Consumer) -> ChatResponse:
        seen.append(who.get())
        await consumer.put(batch(0))
        return RESPONSE

    async def main() -> None:
        who.set("a caller")
        async with trio.open_nursery() as nursery:
            _, ref = open_stream_pump(nursery, call)
            await ref.settled()
            assert ref.response is RESPONSE
            await ref.close()

    run(main)
    assert seen == ["nobody"]
