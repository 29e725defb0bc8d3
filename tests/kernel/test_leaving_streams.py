"""Leaving a stream before its end: cancelled at once, or drained for an exact bill, and nothing left behind."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import Any

import attrs
import httpx
import pytest
import trio
from breaking import TEXT, cascade, cut, scripted, whole
from cancelled import cancelled_everywhere
from trio.testing import MockClock, wait_all_tasks_blocked
from worlds import GPT, HAIKU, SONNET, anthropic_chunks, config, good, run

import penstock
from penstock import errors
from penstock._events import AttemptEnded, CallEnded
from penstock.testing import Reply, ScriptedTransport, Silence

LIMITED = {"limits": [{"per": "day", "tokens": 10**9}]}
PAUSE = 0.5
"""Seconds between the pieces of an answer, which takes about ten in all."""


def slowly(pause: float = PAUSE) -> ScriptedTransport:
    return ScriptedTransport(lambda request: attrs.evolve(whole(request), pause=pause))


async def all_over(kernel: penstock.Kernel, upstream: ScriptedTransport) -> penstock.KernelSnapshot:
    """Nothing is under way, held, or open."""
    snapshot = await kernel.snapshot()
    assert snapshot.in_flight == 0 == snapshot.waiting
    assert upstream.open == 0
    assert all(actor.slots_in_use == 0 for actor in snapshot.actors.values())
    assert all(window.held.tokens == 0 for window in snapshot.accounts[""].windows)
    assert kernel._engine.drains.value == 32  # pyright: ignore[reportPrivateUsage] - nothing public tells
    return snapshot


async def left(kernel: penstock.Kernel, asked: str = "hello", chunks: int = 2, **options: Any) -> None:
    """A consumer that stops after so many chunks."""
    async with kernel.stream(asked, max_tokens=100, **options) as stream:
        for _ in range(chunks):
            await anext(stream)


def spent(snapshot: penstock.KernelSnapshot) -> int:
    return snapshot.accounts[""].windows[0].spent.tokens


@pytest.mark.parametrize("target", [SONNET, GPT])
def test_by_default_leaving_cancels_at_once_and_settles_an_estimate(target: str) -> None:
    async def main() -> None:
        upstream = slowly()
        async with penstock.open_kernel(cascade((target, 1), budget=LIMITED), transport=upstream) as kernel:
            events = kernel.events()
            await left(kernel)
            assert upstream.open == 0
            snapshot = await all_over(kernel, upstream)
            (ended,) = [event for event in events.take() if isinstance(event, AttemptEnded)]
            assert (ended.outcome, ended.estimated) == ("cancelled", True)
            assert spent(snapshot) == ended.charged_tokens > 100, "its bound: who knows what was generated"

    run(main)


@pytest.mark.parametrize("commit", ["first_content", "continue", "restart"])
@pytest.mark.parametrize("target", [SONNET, GPT])
def test_drained_the_attempt_is_read_to_its_end_and_its_bill_is_exact(target: str, commit: str) -> None:
    async def main() -> None:
        upstream = slowly()
        async with penstock.open_kernel(cascade((target, 1), budget=LIMITED), transport=upstream) as kernel:
            events = kernel.events()
            began = trio.current_time()
            await left(kernel, on_leave="drain", commit=commit)
            assert trio.current_time() - began < 3, "nobody waits for it"
            assert upstream.open == 1
            assert kernel.snapshot().in_flight == 1, "it keeps its place"
            await trio.sleep(20)
            snapshot = await all_over(kernel, upstream)
            assert spent(snapshot) == 14
            told = events.take()
            (attempt,) = [event for event in told if isinstance(event, AttemptEnded)]
            assert (attempt.outcome, attempt.estimated, attempt.charged_tokens) == ("ok", False, 14)
            assert [event.outcome for event in told if isinstance(event, CallEnded)] == ["ok"]

    run(main)


@pytest.mark.parametrize("commit", ["whole", "buffer"])
def test_a_stream_that_was_left_before_it_was_shown_is_drained_as_well(commit: str) -> None:
    async def main() -> None:
        upstream = slowly()
        async with penstock.open_kernel(cascade((SONNET, 1), budget=LIMITED), transport=upstream) as kernel:
            async with kernel.stream("hello", on_leave="drain", commit=commit):
                await trio.sleep(3)
            await trio.sleep(20)
            assert spent(await all_over(kernel, upstream)) == 14

    run(main)


def test_where_draining_is_configured() -> None:
    async def main(settings: penstock.Config, *, drained: bool, options: dict[str, Any], view: dict[str, Any]) -> None:
        upstream = slowly()
        async with penstock.open_kernel(settings, transport=upstream) as kernel:
            await left(kernel.with_options(**view), **options)
            assert upstream.open == (1 if drained else 0)
            await trio.sleep(20)
            await all_over(kernel, upstream)

    def check(*, drained: bool, options: Any = None, view: Any = None, **tables: Any) -> None:
        settings = cascade((SONNET, 1), budget=LIMITED, **tables)

        async def story() -> None:
            await main(settings, drained=drained, options=options or {}, view=view or {})

        run(story)

    drain, cancel = {"on_leave": "drain"}, {"on_leave": "cancel"}
    check(drained=True, kernel=drain)
    check(drained=True, route=drain)
    check(drained=True, view=drain)
    check(drained=True, options=drain)
    # The nearer one decides.
    check(drained=False, kernel=drain, route=cancel)
    check(drained=False, route=drain, view=cancel)
    check(drained=False, view=drain, options=cancel)


@pytest.mark.parametrize("word", ["drian", "", "wait", True])
def test_another_word_is_a_mistake(word: Any) -> None:
    async def main() -> None:
        async with penstock.open_kernel(config(), transport=ScriptedTransport(good)) as kernel:
            with pytest.raises(errors.ConfigError, match="valid: cancel, drain"):
                async with kernel.stream("hello", on_leave=word):
                    pass

    run(main)


# Its bounds


def test_a_drain_ends_after_thirty_seconds() -> None:
    async def main() -> None:
        upstream = slowly(pause=7.0)
        async with penstock.open_kernel(cascade((SONNET, 1), budget=LIMITED), transport=upstream) as kernel:
            events = kernel.events()
            await left(kernel, on_leave="drain")
            began = trio.current_time()
            await trio.sleep(29.9)
            assert upstream.open == 1
            await trio.sleep(0.2)
            assert trio.current_time() - began < 31
            snapshot = await all_over(kernel, upstream)
            (ended,) = [event for event in events.take() if isinstance(event, AttemptEnded)]
            assert (ended.outcome, ended.estimated) == ("cancelled", True)
            assert spent(snapshot) == ended.charged_tokens

    run(main)


def test_the_calls_own_deadline_ends_a_drain_sooner() -> None:
    async def main() -> None:
        upstream = slowly(pause=7.0)
        async with penstock.open_kernel(cascade((SONNET, 1), budget=LIMITED), transport=upstream) as kernel:
            await left(kernel, on_leave="drain", chunks=1, timeout=25)
            assert trio.current_time() < 25
            assert upstream.open == 1
            await trio.sleep(5)
            await all_over(kernel, upstream)

    run(main)


def test_of_forty_streams_that_are_left_thirty_two_are_drained() -> None:
    async def main() -> None:
        upstream = slowly()
        async with penstock.open_kernel(cascade((SONNET, 1), budget=LIMITED), transport=upstream) as kernel:
            for number in range(40):
                await left(kernel, str(number), chunks=1, on_leave="drain")
                assert upstream.open == kernel.snapshot().in_flight <= 32
            await trio.sleep(40)
            await all_over(kernel, upstream)

    async def at_once() -> None:
        upstream = slowly()
        async with penstock.open_kernel(cascade((SONNET, 1), budget=LIMITED), transport=upstream) as kernel:
            async with trio.open_nursery() as nursery:
                for number in range(40):
                    nursery.start_soon(partial(left, kernel, str(number), on_leave="drain"))
            assert upstream.open == 32
            await trio.sleep(40)
            assert spent(await all_over(kernel, upstream)) > 32 * 14

    run(main)
    run(at_once)


def test_drained_streams_hold_their_places() -> None:
    async def main() -> None:
        upstream = slowly()
        settings = cascade((SONNET, 1), budget=LIMITED, kernel={"max_in_flight": 1})
        async with penstock.open_kernel(settings, transport=upstream) as kernel:
            await left(kernel, on_leave="drain")
            began = trio.current_time()
            assert (await kernel.complete("next in line")).text == TEXT
            assert trio.current_time() - began > 5
            await all_over(kernel, upstream)

    run(main)


# It never begins anything


@pytest.mark.parametrize("commit", ["first_content", "buffer", "whole", "continue", "restart"])
def test_no_attempt_is_made_for_a_consumer_that_has_left(commit: str) -> None:
    async def main() -> None:
        upstream = scripted(sonnet=[cut(6, pause=1.0)])
        settings = cascade((SONNET, 2), (HAIKU, 2), budget=LIMITED)
        async with penstock.open_kernel(settings, transport=upstream) as kernel:
            events = kernel.events()
            async with kernel.stream("hello", on_leave="drain", commit=commit):
                await trio.sleep(4)
            await trio.sleep(60)
            await all_over(kernel, upstream)
            assert len(upstream.requests) == 1
            (outcome,) = [event.outcome for event in events.take() if isinstance(event, CallEnded)]
            assert outcome == ("truncated" if commit == "first_content" else "cancelled")

    run(main)


def test_a_prefill_that_is_refused_is_not_asked_for_anew_for_nobody() -> None:
    async def main() -> None:
        refused = Reply(400, json={"type": "error", "error": {"type": "invalid_request_error"}}, delay=5.0)
        upstream = scripted(sonnet=[cut(2, pause=0.1), refused])
        async with penstock.open_kernel(cascade((SONNET, 2), budget=LIMITED), transport=upstream) as kernel:
            async with kernel.stream("hello", on_leave="drain", commit="continue"):
                await trio.sleep(3)
            await trio.sleep(60)
            assert len(upstream.requests) == 2
            await all_over(kernel, upstream)

    run(main)


def test_no_hedge_is_sent_beside_a_probe_whose_consumer_has_left() -> None:
    asked: list[str] = []

    def answer(request: httpx.Request) -> Reply | Silence:
        if b"haiku" in request.content or b"after" in request.content:
            asked.append("other" if b"haiku" in request.content else "probe")
            return Reply(chunks=anthropic_chunks(TEXT), delay=10.0)
        return Silence()

    async def main() -> None:
        settings = cascade(
            (SONNET, 1),
            (HAIKU, 1),
            budget=LIMITED,
            breaker={"failures_in_a_row": 1, "min_calls_in_a_row": 1, "open_for": 5.0, "open_cap": 5.0},
            defaults={"timeouts": {"first_token": 20, "total": 100}, "upstream_stream": "always"},
        )
        upstream = ScriptedTransport(answer)
        async with penstock.open_kernel(settings, transport=upstream) as kernel:
            await kernel.complete("before")
            await trio.sleep(60)
            asked.clear()
            async with kernel.stream("after", on_leave="drain"):
                await trio.sleep(1)
            await trio.sleep(60)
            assert asked == ["probe"]
            await all_over(kernel, upstream)

    run(main)


def test_a_stream_that_waits_in_back_off_is_left_at_once() -> None:
    async def main() -> None:
        busy = Reply(429, json={"type": "error", "error": {"type": "rate_limit_error"}}, headers=[("retry-after", "5")])
        upstream = ScriptedTransport([busy])
        async with penstock.open_kernel(cascade((SONNET, 3), budget=LIMITED), transport=upstream) as kernel:
            async with kernel.stream("hello", on_leave="drain"):
                await trio.sleep(2)
            assert len(upstream.requests) == 1
            await all_over(kernel, upstream)
            await trio.sleep(60)
            assert len(upstream.requests) == 1

    run(main)


def test_a_stream_that_waits_for_its_place_is_left_at_once() -> None:
    async def main() -> None:
        upstream = slowly()
        settings = cascade((SONNET, 1), budget=LIMITED, kernel={"max_in_flight": 1})
        async with penstock.open_kernel(settings, transport=upstream) as kernel:
            async with kernel.stream("one") as first:
                await anext(first)
                async with kernel.stream("two", on_leave="drain"):
                    await trio.sleep(1)
                assert kernel.snapshot().waiting == 0
            await all_over(kernel, upstream)
            assert len(upstream.requests) == 1

    run(main)


# Odd moments


@pytest.mark.parametrize("on_leave", ["cancel", "drain"])
def test_leaving_after_the_end_changes_nothing(on_leave: str) -> None:
    async def main() -> None:
        upstream = slowly()
        async with penstock.open_kernel(cascade((SONNET, 1), budget=LIMITED), transport=upstream) as kernel:
            async with kernel.stream("hello", on_leave=on_leave) as stream:
                async for _ in stream:
                    pass
                assert stream.response.text == TEXT
            assert spent(await all_over(kernel, upstream)) == 14
            assert stream.response.text == TEXT

    run(main)


@pytest.mark.parametrize("on_leave", ["cancel", "drain"])
def test_leaving_with_all_that_came_unread_is_no_loss(on_leave: str) -> None:
    async def main() -> None:
        upstream = slowly(pause=0.0)
        async with penstock.open_kernel(cascade((SONNET, 1), budget=LIMITED), transport=upstream) as kernel:
            async with kernel.stream("hello", on_leave=on_leave):
                await trio.sleep(50)
            await trio.sleep(20)
            exact = spent(await all_over(kernel, upstream)) == 14
            assert exact == (on_leave == "drain")

    run(main)


def test_a_drain_outlives_the_scope_and_the_error_it_was_left_by() -> None:
    async def main() -> None:
        upstream = slowly()
        async with penstock.open_kernel(cascade((SONNET, 1), budget=LIMITED), transport=upstream) as kernel:
            with trio.CancelScope() as scope:
                async with kernel.stream("hello", on_leave="drain") as stream:
                    await anext(stream)
                    scope.cancel()
                    await trio.sleep(1)
            assert scope.cancelled_caught
            with pytest.raises(ZeroDivisionError):
                async with kernel.stream("again", on_leave="drain") as stream:
                    await anext(stream)
                    raise ZeroDivisionError
            assert upstream.open == 2
            await trio.sleep(20)
            assert spent(await all_over(kernel, upstream)) == 28

    run(main)


def test_what_becomes_of_a_drained_call_is_told_to_nobody_else() -> None:
    async def main() -> None:
        upstream = scripted(sonnet=[cut(6, pause=1.0)])
        async with penstock.open_kernel(cascade((SONNET, 1), budget=LIMITED), transport=upstream) as kernel:
            await left(kernel, on_leave="drain")
            await trio.sleep(60)
            await all_over(kernel, upstream)
            assert kernel.health().ready

    run(main)


# Shutdown


def test_a_shutdown_gives_a_drain_its_grace_and_no_more() -> None:
    async def main(pause: float) -> float:
        upstream = slowly(pause=pause)
        settings = cascade((SONNET, 1), budget=LIMITED, kernel={"grace": 7})
        async with penstock.open_kernel(settings, transport=upstream) as kernel:
            await left(kernel, on_leave="drain")
            began = trio.current_time()
        assert upstream.open == 0
        return trio.current_time() - began

    async def quick() -> None:
        assert await main(0.25) < 5

    async def slow() -> None:
        assert await main(5.0) == pytest.approx(7.0)

    run(quick)
    run(slow)


def test_a_body_that_failed_waits_for_no_drain() -> None:
    async def main() -> None:
        upstream, began = slowly(), 0.0
        with pytest.raises(ZeroDivisionError):
            async with penstock.open_kernel(cascade((SONNET, 1), budget=LIMITED), transport=upstream) as kernel:
                await left(kernel, on_leave="drain")
                began = trio.current_time()
                raise ZeroDivisionError
        assert trio.current_time() == began > 0
        assert upstream.open == 0

    run(main)


# At every step


def breaking() -> ScriptedTransport:
    """Breaks in between, so that streams restart, go on, and wait."""
    script = iter([good, cut(2), cut(0), cut(1)])

    def answer(request: httpx.Request) -> Reply:
        return next(script, whole)(request)

    return ScriptedTransport(answer)


@pytest.mark.slow
@pytest.mark.parametrize("commit", ["continue", "restart", "whole"])
def test_a_stream_that_recovers_is_cancelled_at_any_point_and_leaves_nothing_behind(commit: str) -> None:
    async def job(kernel: penstock.Kernel) -> None:
        async with kernel.stream("what is the answer?", commit=commit) as stream:
            with suppress(errors.CallError):
                async for _ in stream:
                    pass

    assert cancelled_everywhere(job, breaking) > 10


class Left(trio.abc.Instrument):
    """Wakes the consumer of a stream, so that it leaves, just before the n-th time that any task is scheduled."""

    def __init__(self, nth: int) -> None:
        self.steps_left = nth
        self.leave = trio.Event()

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        del task
        self.steps_left -= 1
        if self.steps_left == 0:
            self.leave.set()


async def left_at_step(nth: int, on_leave: str) -> bool:
    """Whether the stream was over before."""
    upstream = ScriptedTransport(lambda request: Reply(chunks=whole(request).chunks, pause=0.01))
    instrument = Left(nth)
    async with penstock.open_kernel(cascade((SONNET, 1), budget=LIMITED), transport=upstream) as kernel:
        async with kernel.stream("hello", on_leave=on_leave) as stream, trio.open_nursery() as nursery:

            async def read() -> None:
                async for _ in stream:
                    pass
                instrument.leave.set()

            nursery.start_soon(read)
            trio.lowlevel.add_instrument(instrument)
            await instrument.leave.wait()
            nursery.cancel_scope.cancel()
        trio.lowlevel.remove_instrument(instrument)
        await trio.sleep(5)
        await wait_all_tasks_blocked()
        await all_over(kernel, upstream)
    return instrument.steps_left > 0


@pytest.mark.slow
@pytest.mark.parametrize("on_leave", ["cancel", "drain"])
def test_a_stream_that_is_left_at_any_step_leaves_nothing_behind(on_leave: str) -> None:
    for nth in range(1, 1_000):
        if trio.run(left_at_step, nth, on_leave, clock=MockClock(autojump_threshold=0)):
            assert nth > 20
            return
    raise AssertionError("it never gets through")
