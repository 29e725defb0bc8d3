"""Probes of a target that had fallen silent: hedged, settled, told, and never a burden to the caller for long."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any, cast

import attrs
import httpx
import pytest
import trio
from hedging import (
    FALLBACK_TEXT,
    FIRST_TOKEN,
    MODES,
    OWN,
    PRIMARY_TEXT,
    TOTAL,
    Mode,
    Two,
    after,
    ask,
    cut,
    in_turn,
    nothing_is_left,
    silent,
    two_targets,
)
from leaving_ledger import LeavingLedger
from trio.testing import MockClock
from worlds import GPT, HAIKU, SONNET, config, good, model_of, run

import penstock
from penstock import Attempt, errors
from penstock._events import AttemptEnded, RetrySuppressed
from penstock.testing import Answer, Broken, Reply, ScriptedTransport, Silence

BOOM = Reply(500, json={"type": "error", "error": {"type": "api_error", "message": "boom"}})
modes = pytest.mark.parametrize("mode", MODES)


def story(attempts: tuple[Attempt, ...]) -> list[tuple[str, str, bool, bool]]:
    """In the order in which they are told: that in which they began."""
    assert [attempt.number for attempt in attempts] == [*range(1, len(attempts) + 1)]
    return [(attempt.target, attempt.outcome, attempt.probe, attempt.hedge) for attempt in attempts]


def charged(kernel: penstock.Kernel) -> int:
    return kernel.snapshot().accounts[""].windows[0].spent.nano_usd


@modes
def test_a_probe_that_stays_silent_is_hedged_after_two_seconds_and_settled_at_its_bound(mode: Mode) -> None:
    async def main() -> None:
        two = Two()
        async with penstock.open_kernel(two_targets(), transport=two.upstream) as kernel:
            await two.fall_silent(kernel)
            events, began = kernel.events(), trio.current_time()
            response = await ask(kernel, mode)
            assert trio.current_time() - began == pytest.approx(2.2)
            assert [(at - began, who) for at, who in two.asked] == [(0.0, SONNET), (2.0, GPT)]
            assert (response.target, response.text) == (GPT, FALLBACK_TEXT)
            assert story(response.attempts) == [(SONNET, "cancelled", True, False), (GPT, "ok", False, True)]
            lost, won = response.attempts
            assert lost.duration == pytest.approx(2.2)
            assert lost.usage is not None
            assert lost.usage.estimated
            assert won.usage is not None
            assert not won.usage.estimated
            assert lost.error is None
            ends = {event.target: event for event in events.take() if isinstance(event, AttemptEnded)}
            assert ends[SONNET].estimated
            assert ends[SONNET].charged_tokens > 4_000, "its bound: the provider may have made all of an answer"
            assert ends[GPT].charged_tokens == 14
            await nothing_is_left(kernel, two.upstream)

    run(main)


@modes
@pytest.mark.parametrize("usual", [0.5, 1.5, 6.0])
def test_the_hedge_begins_after_the_usual_time_of_the_probed_target_and_two_seconds_at_most(
    mode: Mode, usual: float
) -> None:
    async def main() -> None:
        two = Two()
        async with penstock.open_kernel(two_targets(), transport=two.upstream) as kernel:
            await two.learn(kernel, usual)
            await two.fall_silent(kernel)
            began = trio.current_time()
            await ask(kernel, mode)
            # What is known of first tokens says nothing of how long a whole answer takes.
            expected = 2.0 if mode == "complete" else min(usual, 2.0)
            assert [who for _, who in two.asked] == [SONNET, GPT]
            assert two.asked[1][0] - began == pytest.approx(expected)

    run(main)


def test_late_first_tokens_do_not_count_for_the_usual_time_of_a_healthy_target() -> None:
    async def main() -> None:
        two = Two()
        async with penstock.open_kernel(two_targets(), transport=two.upstream) as kernel:
            await two.learn(kernel, 0.5)
            two.primary = after(FIRST_TOKEN * 0.9)
            for number in range(7):
                assert (await ask(kernel, "stream", f"slow {number}")).target == SONNET
                await trio.sleep(30)
            await two.fall_silent(kernel)
            began = trio.current_time()
            await ask(kernel, "stream")
            assert two.asked[1][0] - began == pytest.approx(0.5)

    run(main)


@modes
def test_a_probe_that_answers_in_time_is_not_hedged_and_closes_the_breaker_within_20_seconds(mode: Mode) -> None:
    async def main() -> None:
        two = Two()
        async with penstock.open_kernel(two_targets(), transport=two.upstream) as kernel:
            await two.fall_silent(kernel)
            began = trio.current_time()
            for number in range(7):
                two.primary = after(1.0 - number / 100)  # so none is as late as what those before have taught
                response = await ask(kernel, mode, f"probe {number}")
                assert story(response.attempts) == [(SONNET, "ok", True, False)]
            assert trio.current_time() - began < 20
            assert not (await kernel.snapshot()).breakers
            assert {who for _, who in two.asked} == {SONNET}

    run(main)


@modes
def test_a_probe_that_answers_before_its_hedge_wins_and_the_hedge_is_cancelled_and_settled(mode: Mode) -> None:
    async def main() -> None:
        two = Two(fallback=after(5.0, FALLBACK_TEXT))
        async with penstock.open_kernel(two_targets(), transport=two.upstream) as kernel:
            await two.fall_silent(kernel)
            two.primary, began = after(3.0), trio.current_time()
            response = await ask(kernel, mode)
            assert trio.current_time() - began == pytest.approx(3.0)
            assert response.text == PRIMARY_TEXT
            assert story(response.attempts) == [(SONNET, "ok", True, False), (GPT, "cancelled", False, True)]
            health = (await kernel.snapshot()).breakers
            assert health.keys() == {OWN}, "that a hedge lost says nothing of its target"
            assert health[OWN].permits_left == 2, "an answer in its own time counts as one"
            await nothing_is_left(kernel, two.upstream)

    run(main)


@modes
def test_a_target_that_is_silent_again_opens_again_for_longer(mode: Mode) -> None:
    async def main() -> None:
        two = Two()
        async with penstock.open_kernel(two_targets(), transport=two.upstream) as kernel:
            await two.fall_silent(kernel)
            # What jitter took from one time is added to the next, up to the cap.
            for least, most in ((8, 11), (12, 15), (12, 15)):
                began = trio.current_time()
                response = await ask(kernel, mode, f"at {began}")
                assert response.target == GPT
                health = (await kernel.snapshot()).breakers[OWN]
                assert health.state.value == "open"
                assert least <= round(health.open_until - trio.current_time(), 6) <= most
                # While it is open nobody pays for two attempts.
                assert len((await ask(kernel, mode, f"between {began}")).attempts) == 1
                await trio.sleep_until(health.open_until)

    run(main)


@modes
def test_a_probe_that_fails_before_the_delay_is_not_hedged(mode: Mode) -> None:
    async def main() -> None:
        two = Two()
        async with penstock.open_kernel(two_targets(), transport=two.upstream) as kernel:
            await two.fall_silent(kernel)
            two.primary = lambda _: attrs.evolve(BOOM, delay=1.0)
            began = trio.current_time()
            response = await ask(kernel, mode)
            assert story(response.attempts) == [(SONNET, "server_error", True, False), (GPT, "ok", False, False)]
            assert two.asked[1][0] - began == pytest.approx(1.0)

    run(main)


@modes
def test_with_all_defaults_hedges_of_a_target_that_stays_silent_begin_when_the_readme_says(mode: Mode) -> None:
    settings = config(routes={"default": {"cascade": [SONNET, GPT]}})
    upstream = ScriptedTransport(lambda request: good(request) if model_of(request) in GPT else Silence())
    waits: list[float] = []

    async def main() -> None:
        async with penstock.open_kernel(settings, transport=upstream) as kernel:
            while len(waits) < 10:
                began = trio.current_time()
                if (await ask(kernel, mode)).attempts[0].probe:
                    waits.append(trio.current_time() - began)
                await trio.sleep(5.0)

    trio.run(main, clock=MockClock(autojump_threshold=0))
    assert waits == pytest.approx([2.0, 4.0, 2.0, 8.0, 2.0, 4.0, 2.0, 15.0, 2.0, 4.0])


@modes
def test_where_the_hedge_fails_the_probe_goes_on_and_may_still_answer(mode: Mode) -> None:
    async def main() -> None:
        two = Two(fallback=lambda request: good(request, FALLBACK_TEXT))
        async with penstock.open_kernel(two_targets(), transport=two.upstream) as kernel:
            await two.fall_silent(kernel)
            two.primary, two.fallback = after(9.0), lambda _: BOOM
            response = await ask(kernel, mode)
            assert response.text == PRIMARY_TEXT
            assert story(response.attempts) == [(SONNET, "ok", True, False), (GPT, "server_error", False, True)]
            await nothing_is_left(kernel, two.upstream)

    run(main)


@modes
def test_where_both_fail_one_error_tells_both_in_the_order_in_which_they_did(mode: Mode) -> None:
    async def main() -> None:
        two = Two()
        async with penstock.open_kernel(two_targets(), transport=two.upstream) as kernel:
            await two.fall_silent(kernel)
            two.fallback = lambda _: attrs.evolve(BOOM, delay=1.0)
            began = trio.current_time()
            with pytest.raises(errors.CascadeExhaustedError) as caught:
                await ask(kernel, mode)
            limit = TOTAL if mode == "complete" else FIRST_TOKEN
            assert trio.current_time() - began == pytest.approx(limit), "its limit once, and not one after the other"
            kind = "total_timeout" if mode == "complete" else "first_token_timeout"
            assert story(caught.value.attempts) == [(SONNET, kind, True, False), (GPT, "server_error", False, True)]
            assert [error.kind for error in caught.value.errors] == ["server_error", kind]
            await nothing_is_left(kernel, two.upstream)

    run(main)


class Eager(ScriptedTransport):
    """Its answers come in one go once they come: whoever reads them has no step in between at which to be cancelled."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await super().handle_async_request(request)
        pieces = [piece async for piece in cast("httpx.AsyncByteStream", response.stream)]
        await response.aclose()
        await trio.sleep_until(math.floor(trio.current_time()) + 1.0)
        return httpx.Response(response.status_code, headers=response.headers, stream=InOneGo(pieces))


class InOneGo(httpx.AsyncByteStream):
    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = iter(pieces)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            yield piece


@pytest.mark.slow
@modes
def test_where_both_answer_in_the_same_tick_one_is_shown_and_both_are_paid(mode: Mode) -> None:
    winners: Counter[str] = Counter()

    async def main() -> None:
        two = Two()
        upstream = Eager(two.answer)
        async with penstock.open_kernel(two_targets(), transport=upstream) as kernel:
            await two.fall_silent(kernel)
            two.primary, two.fallback = after(2.9), after(0.9, FALLBACK_TEXT)
            await trio.sleep_until(math.ceil(trio.current_time()))
            response = await ask(kernel, mode)
            winners[response.target] += 1
            assert response.text == (PRIMARY_TEXT if response.target == SONNET else FALLBACK_TEXT)
            told = {attempt.target: attempt for attempt in response.attempts}
            assert told.keys() == {SONNET, GPT}
            assert told[response.target].outcome == "ok"
            loser = told[GPT if response.target == SONNET else SONNET]
            assert loser.usage is not None
            # A whole answer that came in the moment it lost is paid as what it was.
            assert loser.usage.estimated == (loser.outcome == "cancelled")
            await nothing_is_left(kernel, upstream)

    for _ in range(30):  # trio shuffles what may run at once
        run(main)
    assert winners.keys() == {SONNET, GPT}


@modes
@pytest.mark.parametrize("commit", ["first_content", "buffer", "whole", "continue", "restart"])
@pytest.mark.parametrize("winner", ["probe", "hedge"])
def test_nothing_of_the_loser_is_shown_under_any_commit_policy(mode: Mode, commit: str, winner: str) -> None:
    async def main() -> None:
        two = Two(fallback=after(0.5 if winner == "hedge" else 9.0, FALLBACK_TEXT))
        settings = two_targets(cache={"store": "memory", "when": "never"})
        async with penstock.open_kernel(settings, transport=two.upstream) as kernel:
            await two.fall_silent(kernel)
            two.primary = after(3.0)
            response = await ask(kernel, mode, commit=commit)
            assert response.text == (FALLBACK_TEXT if winner == "hedge" else PRIMARY_TEXT)
            assert len(response.attempts) == 2
            await nothing_is_left(kernel, two.upstream)

    run(main)


@pytest.mark.parametrize("commit", ["first_content", "buffer", "whole", "continue", "restart"])
def test_a_hedge_that_breaks_after_its_first_token_is_met_as_any_broken_stream(commit: str) -> None:
    async def main() -> None:
        two = Two()
        settings = two_targets(first=2, cache={"store": "memory", "when": "never"})
        async with penstock.open_kernel(settings, transport=two.upstream) as kernel:
            await two.fall_silent(kernel)
            two.fallback = cut(0.5)
            if commit == "first_content":
                with pytest.raises(errors.StreamBrokenError) as caught:
                    await ask(kernel, "stream", commit=commit)
                assert caught.value.partial
                await nothing_is_left(kernel, two.upstream)
                return
            script = iter([silent])

            def recovers(request: httpx.Request) -> Answer:
                return next(script, after(0.3))(request)

            two.primary = recovers
            parts: list[str] = []
            async with kernel.stream("hello", commit=commit) as stream:
                async for chunk in stream:
                    if isinstance(chunk, penstock.Restarted):
                        parts.clear()
                    if isinstance(chunk, penstock.TextDelta):
                        parts.append(chunk.text)
            assert "".join(parts) == stream.response.text
            assert stream.response.target == SONNET
            assert [attempt.target for attempt in stream.response.attempts] == [SONNET, GPT, SONNET]
            await nothing_is_left(kernel, two.upstream)

    run(main)


@modes
def test_a_probe_that_was_overtaken_counts_as_an_attempt_of_its_stage(mode: Mode) -> None:
    async def main() -> None:
        two = Two()
        async with penstock.open_kernel(two_targets(), transport=two.upstream) as kernel:
            await two.fall_silent(kernel)
            two.fallback = cut(0.5)
            with pytest.raises(errors.CallError) as caught:
                await ask(kernel, mode, commit="whole")
            assert [attempt.target for attempt in caught.value.attempts] in ([SONNET, GPT], [GPT, SONNET])

    run(main)


def test_a_hedge_that_lost_counts_as_an_attempt_of_its_stage() -> None:
    async def main() -> None:
        two = Two()
        async with penstock.open_kernel(two_targets(second=2), transport=two.upstream) as kernel:
            await two.fall_silent(kernel)
            two.primary, two.fallback = cut(3.0), in_turn(after(9.0, FALLBACK_TEXT), cut(0.5))
            with pytest.raises(errors.CascadeExhaustedError) as caught:
                await ask(kernel, "stream", commit="whole")
            lost, again = [attempt for attempt in caught.value.attempts if attempt.target == GPT]
            assert (lost.outcome, lost.hedge, again.outcome, again.hedge) == ("cancelled", True, "truncated", False)

    run(main)


# What a hedge needs


@modes
def test_without_room_in_the_budget_for_two_the_probe_goes_on_alone(mode: Mode) -> None:
    async def main() -> None:
        two = Two()
        settings = two_targets(accounts={"small": {"limits": [{"per": "day", "usd": 0.135}]}})
        async with penstock.open_kernel(settings, transport=two.upstream) as kernel:
            await two.fall_silent(kernel)
            two.primary = after(9.0)
            response = await ask(kernel, mode, account="small")
            assert story(response.attempts) == [(SONNET, "ok", True, False)]
            await nothing_is_left(kernel, two.upstream)

    run(main)


@modes
def test_without_a_ledger_to_ask_for_two_the_probe_goes_on_alone(mode: Mode) -> None:
    async def main() -> None:
        two, ledger = Two(), LeavingLedger()
        settings = two_targets(accounts={"some": {"limits": [{"per": "day", "usd": 50}]}}, ledger={"store": "leaving"})
        async with penstock.open_kernel(settings, transport=two.upstream, plugins=[ledger]) as kernel:
            await two.fall_silent(kernel)
            two.primary = after(9.0)
            responses: list[penstock.ChatResponse] = []

            async def call() -> None:
                responses.append(await ask(kernel, mode, account="some"))

            async with trio.open_nursery() as nursery:
                nursery.start_soon(call)
                await trio.sleep(1)
                ledger.away = True
            assert story(responses[0].attempts) == [(SONNET, "ok", True, False)]
            ledger.away = False
            await trio.sleep(10)
            await nothing_is_left(kernel, two.upstream)

    run(main)


@modes
def test_without_room_in_the_retry_budget_there_is_no_hedge(mode: Mode) -> None:
    async def main() -> None:
        two = Two()
        settings = two_targets(retry_budget={"floor": 0, "ratio": 0.0})
        async with penstock.open_kernel(settings, transport=two.upstream) as kernel:
            await two.fall_silent(kernel)
            two.primary, events = after(9.0), kernel.events()
            response = await ask(kernel, mode)
            assert story(response.attempts) == [(SONNET, "ok", True, False)]
            told = [event for event in events.take() if isinstance(event, RetrySuppressed)]
            assert [(event.provider, event.reason) for event in told] == [("openai", "calls")]

    run(main)


@modes
@pytest.mark.parametrize("why", ["cooling", "open", "isolated", "unpriced"])
def test_where_no_other_target_can_be_asked_the_probe_goes_on_alone(mode: Mode, why: str) -> None:
    async def main() -> None:
        two = Two()
        async with penstock.open_kernel(two_targets(), transport=two.upstream) as kernel:
            await two.fall_silent(kernel)
            if why == "cooling":
                two.fallback = lambda _: Reply(
                    429, json={"error": {"message": "slow"}}, headers=[("retry-after", "60")]
                )
            elif why == "open":
                two.fallback = lambda _: BOOM
            else:
                await kernel.breakers.isolate(f"target:{GPT}")
            if why in ("cooling", "open"):
                with pytest.raises(errors.CallError):
                    await kernel.complete("makes it so", model=GPT, timeout=3.0)
                await kernel.snapshot()
            two.primary = after(4.0)
            two.asked.clear()
            response = await ask(kernel, mode)
            assert story(response.attempts) == [(SONNET, "ok", True, False)]
            assert [who for _, who in two.asked] == [SONNET]

    run(main)


def three(answers: dict[str, Callable[[httpx.Request], Answer]]) -> ScriptedTransport:
    def answer(request: httpx.Request) -> Answer:
        model = model_of(request)
        return answers[f"openai/{model}" if model.startswith("gpt") else f"anthropic/{model}"](request)

    return ScriptedTransport(answer)


ALL = {"default": {"cascade": [SONNET, GPT, HAIKU]}}


def test_a_healthy_target_is_asked_before_one_that_is_itself_to_be_probed() -> None:
    async def main() -> None:
        says: dict[str, Callable[[httpx.Request], Answer]] = {SONNET: silent, GPT: silent, HAIKU: after(0.1, "haiku")}
        upstream = three(says)
        async with penstock.open_kernel(two_targets(routes=ALL), transport=upstream) as kernel:
            assert (await ask(kernel, "stream", "falls silent")).target == HAIKU
            await trio.sleep(6)
            response = await ask(kernel, "stream")
            assert story(response.attempts) == [(SONNET, "cancelled", True, False), (HAIKU, "ok", False, True)]
            await nothing_is_left(kernel, upstream)

    run(main)


def test_where_all_are_to_be_probed_two_probes_run_at_once_and_the_first_to_answer_wins() -> None:
    async def main() -> None:
        two = Two()
        async with penstock.open_kernel(two_targets(), transport=two.upstream) as kernel:
            two.primary = two.fallback = silent
            with pytest.raises(errors.CascadeExhaustedError):
                await ask(kernel, "stream", "both fall silent")
            await trio.sleep(6)
            two.fallback = after(0.2, FALLBACK_TEXT)
            response = await ask(kernel, "stream")
            assert story(response.attempts) == [(SONNET, "cancelled", True, False), (GPT, "ok", True, True)]
            health = (await kernel.snapshot()).breakers
            assert health[OWN].state.value == "open"
            assert health[f"target:{GPT}"].permits_left == 2
            await trio.sleep(15)
            two.primary, two.fallback = after(4.5), after(3.0, FALLBACK_TEXT)
            response = await ask(kernel, "stream", "the other way round")
            assert story(response.attempts) == [(SONNET, "ok", True, False), (GPT, "cancelled", True, True)]
            health = (await kernel.snapshot()).breakers
            assert health[f"target:{GPT}"].permits_left == 2, "a hedge that lost had less time: nothing is said of it"
            await nothing_is_left(kernel, two.upstream)

    run(main)


def test_a_target_that_timed_out_in_this_call_is_no_hedge() -> None:
    async def main() -> None:
        says: dict[str, Callable[[httpx.Request], Answer]] = {SONNET: silent, GPT: after(0.2), HAIKU: silent}
        upstream = three(says)
        settings = two_targets(
            routes={"default": {"cascade": [{"target": SONNET, "attempts": 2}, {"target": HAIKU, "attempts": 2}]}},
            breaker={"failures_in_a_row": 2, "min_calls_in_a_row": 1},
        )
        async with penstock.open_kernel(settings, transport=upstream) as kernel:
            for _ in range(2):
                with pytest.raises(errors.CallError):
                    await kernel.complete("opens it", model=HAIKU, timeout=100.0)
            await trio.sleep(5)
            with pytest.raises(errors.CallError) as caught:
                await ask(kernel, "stream", timeout=45.0)
            assert not any(attempt.hedge for attempt in caught.value.attempts)

    run(main)


def test_a_hedge_that_is_told_to_slow_down_makes_its_target_cool_and_nothing_else() -> None:
    async def main() -> None:
        two = Two()
        async with penstock.open_kernel(two_targets(), transport=two.upstream) as kernel:
            await two.fall_silent(kernel)
            two.primary = after(5.0)
            two.fallback = lambda _: Reply(429, json={"error": {"message": "slow"}}, headers=[("retry-after", "60")])
            response = await ask(kernel, "stream")
            assert story(response.attempts) == [(SONNET, "ok", True, False), (GPT, "rate_limited", False, True)]
            assert (await kernel.snapshot()).cooling.keys() == {f"target:{GPT}"}

    run(main)


@modes
def test_a_hedge_holds_no_flight_and_its_answer_is_not_kept_as_the_probes(mode: Mode) -> None:
    async def main() -> None:
        two = Two()
        async with penstock.open_kernel(two_targets(), transport=two.upstream) as kernel:
            await two.fall_silent(kernel)
            assert (await ask(kernel, mode)).target == GPT
            await trio.sleep(11)
            two.primary = after(0.3)
            again = await ask(kernel, mode)
            assert (again.target, again.cache) == (SONNET, "miss")
            async with trio.open_nursery() as nursery:
                for _ in range(3):  # one of them follows no probe
                    nursery.start_soon(ask, kernel, mode, "several at once")
            await nothing_is_left(kernel, two.upstream)

    run(main)


# Whatever ends it


@modes
@pytest.mark.parametrize("timeout", [0.5, 1.9, 2.1, 2.4])
def test_a_deadline_before_during_and_after_the_hedge_leaves_nothing_behind(mode: Mode, timeout: float) -> None:
    async def main() -> None:
        two = Two()
        async with penstock.open_kernel(two_targets(), transport=two.upstream) as kernel:
            await two.fall_silent(kernel)
            two.fallback = silent
            began = trio.current_time()
            with pytest.raises(errors.DeadlineExceededError):
                await ask(kernel, mode, timeout=timeout)
            assert trio.current_time() - began == pytest.approx(timeout)
            await nothing_is_left(kernel, two.upstream)
            assert (await kernel.snapshot()).breakers[OWN].permits_left == 1, "nobody was faster: nothing is known"
            two.primary = after(0.2)
            assert (await ask(kernel, mode, "the next probe")).target == SONNET

    run(main)


@modes
def test_a_call_with_little_time_keeps_half_of_it_for_the_hedge(mode: Mode) -> None:
    async def main() -> None:
        two = Two()
        async with penstock.open_kernel(two_targets(), transport=two.upstream) as kernel:
            await two.fall_silent(kernel)
            response = await ask(kernel, mode, timeout=1.0)
            assert response.target == GPT
            assert {attempt.target: attempt.duration for attempt in response.attempts}[SONNET] == pytest.approx(0.7)

    run(main)


@modes
def test_an_outer_cancel_in_the_middle_of_both_is_the_callers_own(mode: Mode) -> None:
    async def main() -> None:
        two = Two()
        async with penstock.open_kernel(two_targets(), transport=two.upstream) as kernel:
            await two.fall_silent(kernel)
            two.fallback = silent
            came: list[type[BaseException]] = []
            with trio.move_on_after(3.0) as scope:
                try:
                    await ask(kernel, mode)
                except BaseException as error:
                    came.append(type(error))
                    raise
            assert came == [trio.Cancelled]  # one, and no group
            assert scope.cancelled_caught
            assert [who for _, who in two.asked] == [SONNET, GPT]
            await nothing_is_left(kernel, two.upstream)

    run(main)


@pytest.mark.parametrize("whose", ["probe", "hedge"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_what_comes_out_of_a_race_is_bare(whose: str, error: type[BaseException]) -> None:
    class Foreign(ScriptedTransport):
        """Raises what no transport should, once both attempts are under way."""

        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            mine = f"anthropic/{model_of(request)}" == SONNET
            if armed and mine == (whose == "probe"):
                await trio.sleep(4.0 if mine else 2.0)
                raise error("foreign")
            return await super().handle_async_request(request)

    armed: list[bool] = []

    async def main() -> None:
        two = Two()
        upstream = Foreign(two.answer)
        async with penstock.open_kernel(two_targets(), transport=upstream) as kernel:
            await two.fall_silent(kernel)
            armed.append(True)
            two.fallback = silent
            if error is RuntimeError:  # of a transport that was handed in: an error of the attempt, like any other
                with pytest.raises(errors.CallError):
                    await ask(kernel, "complete", timeout=10.0)
            else:
                with pytest.raises(KeyboardInterrupt):
                    await ask(kernel, "complete")
            armed.clear()
            await nothing_is_left(kernel, upstream)

    run(main)


class CancelAtStep(trio.abc.Instrument):
    """Cancels a scope just before the n-th time that any task is scheduled: the caller, an actor, a pump."""

    def __init__(self, nth: int) -> None:
        self.left = nth
        self.scope = trio.CancelScope()

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        del task
        self.left -= 1
        if self.left == 0:
            self.scope.cancel()


@pytest.mark.slow
@modes
@pytest.mark.parametrize("winner", ["probe", "hedge", "neither"])
def test_a_hedged_probe_cancelled_at_any_point_leaves_nothing_behind(mode: Mode, winner: str) -> None:
    async def once(nth: int) -> bool:
        two = Two()
        settings = two_targets(retry_budget={"money_ratio": 0.5})
        async with penstock.open_kernel(settings, transport=two.upstream) as kernel:
            await two.fall_silent(kernel)
            two.fallback = after(0.2, FALLBACK_TEXT) if winner == "hedge" else after(9.0)
            if winner == "neither":
                two.fallback = lambda _: attrs.evolve(BOOM, delay=1.0)
            two.primary = after(3.0) if winner == "probe" else silent
            cancel = CancelAtStep(nth)
            with cancel.scope:
                trio.lowlevel.add_instrument(cancel)
                try:
                    await ask(kernel, mode)
                except errors.CascadeExhaustedError:
                    assert winner == "neither"
            trio.lowlevel.remove_instrument(cancel)
            await nothing_is_left(kernel, two.upstream)
            two.primary, two.fallback = after(0.2), after(0.2)
            await trio.sleep(16)
            for number in range(7):
                assert (await ask(kernel, mode, f"probe {number}")).target == SONNET
            assert not (await kernel.snapshot()).breakers.get(OWN)
        return not cancel.scope.cancelled_caught

    nth = 1
    while not run(partial(once, nth)):
        nth += 1
        assert nth < 1_000
    assert nth > 10


def test_an_answer_is_not_kept_waiting_by_the_hedge_that_asks_for_leave() -> None:
    async def main() -> None:
        two = Two()
        async with penstock.open_kernel(two_targets(), transport=two.upstream) as kernel:
            await two.fall_silent(kernel)
            engine = kernel._engine  # pyright: ignore[reportPrivateUsage] - a router that is slow to answer
            withdraw = engine.router.withdraw

            async def slow(*args: Any, **options: Any) -> Any:
                await trio.sleep(60)
                return await withdraw(*args, **options)

            engine.router.withdraw = slow  # type: ignore[method-assign]
            two.primary, began = after(3.0), trio.current_time()
            response = await ask(kernel, "stream")
            assert story(response.attempts) == [(SONNET, "ok", True, False)]
            assert trio.current_time() - began == pytest.approx(3.0)

    run(main)


def test_a_consumer_that_left_for_a_drain_is_hedged_for_no_more() -> None:
    async def main() -> None:
        two = Two()
        settings = two_targets()
        settings = two_targets(routes={"default": {"cascade": [SONNET, GPT], "on_leave": "drain"}})
        async with penstock.open_kernel(settings, transport=two.upstream) as kernel:
            await two.fall_silent(kernel)
            two.primary = after(6.0)
            async with kernel.stream("hello"):
                await trio.sleep(1.0)
            await trio.sleep(20.0)
            assert [who for _, who in two.asked] == [SONNET]
            await nothing_is_left(kernel, two.upstream)

    run(main)


# In the long run

HOUR = 3_600.0


@attrs.frozen
class Latency:
    """How soon a healthy primary answers, and how soon its fallback does."""

    primary: Callable[[random.Random], float]
    fallback: float = 0.2


LATENCIES = {
    "quick": Latency(lambda _: 0.3),
    "three seconds": Latency(lambda _: 3.0),
    "eight seconds": Latency(lambda _: 8.0),
    "just within half the limit": Latency(lambda _: 9.5),
    "of long tail": Latency(lambda chance: min(9.9, chance.lognormvariate(0.5, 1.0))),
    "of two kinds": Latency(lambda chance: 9.0 if chance.random() < 0.3 else 0.4),
    "as slow as its fallback": Latency(lambda _: 5.0, 5.0),
}


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["stream", "complete"])
@pytest.mark.parametrize("known", [None, 0.4, 9.0], ids=["nothing known", "usually quick", "usually slow"])
@pytest.mark.parametrize("name", LATENCIES)
def test_a_target_that_is_well_again_carries_the_traffic_again_whatever_time_it_takes(
    name: str, known: float | None, mode: Mode
) -> None:
    latency = LATENCIES[name]

    def as_it_takes(request: httpx.Request) -> Answer:
        return after(latency.primary(chance))(request)

    chance = random.Random(7)

    async def main() -> None:
        two = Two(fallback=after(latency.fallback, FALLBACK_TEXT))
        settings = two_targets(cache={"store": "memory", "when": "never"}, budget={"limits": []})
        async with penstock.open_kernel(settings, transport=two.upstream) as kernel:
            if known is not None:
                await two.learn(kernel, known)
            await two.fall_silent(kernel)
            while trio.current_time() < 1_000:
                await ask(kernel, mode)
                await trio.sleep(5.0)
            two.primary, recovered = as_it_takes, trio.current_time()
            while (await kernel.snapshot()).breakers:
                await ask(kernel, mode)
                await trio.sleep(1.0)
                assert trio.current_time() - recovered < 900
            for _ in range(20):
                assert (await ask(kernel, mode)).target == SONNET

    random.seed(3)
    run(main)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["stream", "complete"])
@pytest.mark.parametrize("known", [None, 0.4, 9.0], ids=["nothing known", "usually quick", "usually slow"])
def test_a_target_that_stays_silent_for_an_hour_costs_few_second_attempts_and_little_waiting(
    known: float | None, mode: Mode
) -> None:
    async def main() -> None:
        two = Two()
        settings = two_targets(cache={"store": "memory", "when": "never"}, budget={"limits": []})
        async with penstock.open_kernel(settings, transport=two.upstream) as kernel:
            if known is not None:
                await two.learn(kernel, known)
            await two.fall_silent(kernel)
            began, waits = trio.current_time(), list[float]()
            while trio.current_time() < began + HOUR:
                since = trio.current_time()
                assert (await ask(kernel, mode)).target == GPT
                waits.append(trio.current_time() - since)
                await trio.sleep(3.0)
            probes = sum(who == SONNET for _, who in two.asked)
            assert probes <= HOUR / 12, "once for each time that it opens"
            assert len(two.asked) - probes == len(waits)
            long = sorted(wait for wait in waits if wait > 0.5)
            assert len(long) <= probes
            assert long[(len(long) - 1) // 2] < 2.3, "half of the probes are waited for two seconds at most"
            assert sum(long) / len(long) < 6.0

    random.seed(3)
    run(main)


def test_a_silent_provider_opens_again_as_well_when_its_probe_is_overtaken() -> None:
    scope = "provider:anthropic"

    async def main() -> None:
        two = Two()
        async with penstock.open_kernel(two_targets(), transport=two.upstream) as kernel:
            hangs = Broken(httpx.ConnectTimeout("no route"), delay=5.0)
            two.primary = lambda _: hangs
            assert (await ask(kernel, "stream", "cannot connect")).target == GPT
            health = (await kernel.snapshot()).breakers
            assert health.keys() == {scope, OWN}
            assert health[scope].silent
            await kernel.breakers.close(OWN)  # by hand: the provider alone is in doubt
            await trio.sleep(6)
            response = await ask(kernel, "stream")
            assert response.attempts[0].probe
            assert response.target == GPT
            health = (await kernel.snapshot()).breakers
            assert health.keys() == {scope}, "a target that nobody doubts is not blamed for its provider's silence"
            assert health[scope].state.value == "open"

    run(main)


def test_a_probe_that_was_overtaken_is_no_answer_to_a_breaker_that_failures_had_opened() -> None:
    async def main() -> None:
        two = Two()
        async with penstock.open_kernel(two_targets(), transport=two.upstream) as kernel:
            two.primary = lambda _: BOOM
            await ask(kernel, "stream", "the target fails")
            two.fallback = lambda _: Broken(httpx.ConnectTimeout("no route"), delay=5.0)
            with pytest.raises(errors.CallError):
                await kernel.complete("the provider hangs", model=HAIKU, timeout=30.0)
            health = (await kernel.snapshot()).breakers
            assert not health[OWN].silent
            assert health["provider:anthropic"].silent
            await trio.sleep(16)
            two.primary, two.fallback = silent, after(0.2)
            response = await ask(kernel, "stream")
            assert story(response.attempts) == [(SONNET, "cancelled", True, False), (GPT, "ok", False, True)]
            health = (await kernel.snapshot()).breakers
            assert health["provider:anthropic"].state.value == "open"
            assert (health[OWN].state.value, health[OWN].permits_left) == ("half_open", 1), "nothing was learned of it"

    run(main)
