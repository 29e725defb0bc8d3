"""Answers past their time: served while they are fetched anew, served in an outage, and never passed off as fresh."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any

import httpx
import pytest
import trio
from leaving_ledger import LeavingLedger
from worlds import ANSWER, GPT, HAIKU, SONNET, config, good
from worlds import run as run_in_a_world

import penstock
from penstock import errors
from penstock._clock import MOCK_WALL_ANCHOR
from penstock._events import CacheRefreshed
from penstock.testing import Answer, Broken, FakeCacheStore, Reply, ScriptedTransport, Silence


def run(main: Callable[[], Awaitable[None]]) -> None:
    """All kernels of one run tell one time."""

    async def dated() -> None:
        MOCK_WALL_ANCHOR.set(1_700_000_000.0)
        await main()

    run_in_a_world(dated)


def cached(**tables: Any) -> penstock.Config:
    own = {"store": "memory", "when": "always", "ttl": 100.0, **tables.pop("cache", {})}
    return config(cache=own, **tables)


class Upstream:
    """Answers with the number of the request, until it is told to answer otherwise."""

    def __init__(self, delay: float = 1.0) -> None:
        self.bad: Answer | None = None
        self.delay = delay
        self.served = 0
        self.transport = ScriptedTransport(self.answer)

    def answer(self, request: httpx.Request) -> Answer:
        if self.bad is not None:
            return self.bad
        self.served += 1
        return Reply(json=good(request, f"answer {self.served}").json, delay=self.delay)

    @property
    def asked(self) -> int:
        return len(self.transport.requests)


DOWN = Reply(500, json={"error": {"type": "api_error", "message": "down"}})


def test_a_stale_answer_is_served_at_once_and_fetched_anew_behind_its_readers_back() -> None:
    async def main() -> None:
        upstream = Upstream()
        async with penstock.open_kernel(
            cached(cache={"stale_while_revalidate": 50}), transport=upstream.transport
        ) as kernel:
            await kernel.complete("hello")
            await trio.sleep(120)
            began = trio.current_time()
            stale = await kernel.complete("hello")
            assert trio.current_time() == began
            assert (stale.cache, stale.text, stale.attempts) == ("stale", "answer 1", ())
            assert stale.saved is not None
            assert stale.saved.age > 100
            await trio.sleep(2)
            fresh = await kernel.complete("hello")
            assert (fresh.cache, fresh.text) == ("hit", "answer 2")
            assert upstream.asked == 2

    run(main)


def test_many_readers_of_one_stale_answer_make_one_refresh() -> None:
    async def main() -> None:
        upstream = Upstream()
        async with penstock.open_kernel(
            cached(cache={"stale_while_revalidate": 50}), transport=upstream.transport
        ) as kernel:
            await kernel.complete("hello")
            await trio.sleep(120)
            with kernel.events() as events:
                for _ in range(100):
                    assert (await kernel.complete("hello")).cache == "stale"
                await trio.sleep(2)
                told = [event for event in events.take() if type(event).__name__ == "CacheRefreshed"]
            assert [event.outcome for event in told] == ["ok"]  # type: ignore[union-attr]
            assert upstream.asked == 2

    run(main)


def test_no_more_than_eight_refreshes_run_at_once() -> None:
    async def main() -> None:
        upstream = Upstream()
        async with penstock.open_kernel(
            cached(cache={"stale_while_revalidate": 5_000}), transport=upstream.transport
        ) as kernel:
            for number in range(30):
                await kernel.complete(f"question {number}")
            await trio.sleep(200)
            upstream.delay = 10.0
            for number in range(30):
                assert (await kernel.complete(f"question {number}")).cache == "stale"
            await trio.sleep(1)
            assert kernel.snapshot().in_flight == 8

    run(main)


def test_a_refresh_is_a_call_with_a_hold_and_a_bill_of_its_own() -> None:
    async def main() -> None:
        upstream = Upstream()
        tables = {"cache": {"stale_while_revalidate": 50}, "accounts": {"a": {"limits": [{"per": "day", "usd": 5}]}}}
        async with penstock.open_kernel(cached(**tables), transport=upstream.transport) as kernel:
            await kernel.complete("hello", model=GPT, account="a")
            once = (await kernel.snapshot()).accounts["a"]
            await trio.sleep(120)
            await kernel.complete("hello", model=GPT, account="a")
            await trio.sleep(2)
            twice = (await kernel.snapshot()).accounts["a"]
            spent = [account.windows[0].spent.nano_usd for account in (once, twice)]
            assert spent[1] == 2 * spent[0] > 0

    run(main)


@pytest.mark.parametrize("served_by", [0, 1, 2])
def test_a_refresh_holds_for_its_own_target_whatever_the_route_of_the_call(served_by: int) -> None:
    """However different the targets are: the hold of a refresh is not that of the call which was served."""

    async def main() -> None:
        upstream = Upstream()
        order = [GPT, SONNET, "openai/gpt-4.1"]
        cascade = [*order[served_by:], *order[:served_by]]
        tables = {"cache": {"stale_while_revalidate": 50}, "budget": {"limits": [{"per": "day", "usd": 5}]}}
        settings = cached(routes={"default": {"cascade": cascade}}, **tables)
        async with penstock.open_kernel(settings, transport=upstream.transport) as kernel:
            await kernel.complete("hello")
            await trio.sleep(120)
            with kernel.events() as events:
                assert (await kernel.complete("hello")).cache == "stale"
                await trio.sleep(2)
                refreshed = [event for event in events.take() if isinstance(event, CacheRefreshed)]
            assert [(event.target, event.outcome) for event in refreshed] == [(cascade[0], "ok")]
            found = await kernel.complete("hello")
            assert (found.cache, found.text) == ("hit", "answer 2")

    run(main)


def test_a_refresh_that_fails_harms_nobody_and_is_not_repeated_at_once() -> None:
    async def main() -> None:
        upstream = Upstream()
        async with penstock.open_kernel(
            cached(cache={"stale_while_revalidate": 500}), transport=upstream.transport
        ) as kernel:
            await kernel.complete("hello", model=GPT)
            await trio.sleep(120)
            upstream.bad = Reply(400, json={"error": {"message": "no", "type": "invalid_request_error"}})
            for _ in range(60):
                assert (await kernel.complete("hello", model=GPT)).cache == "stale"
                await trio.sleep(1)
            assert upstream.asked - 1 == 12, "one each five seconds"

    run(main)


def test_a_kernel_that_closes_gives_a_refresh_its_grace_and_no_more() -> None:
    async def main() -> None:
        upstream = Upstream()
        async with penstock.open_kernel(
            cached(cache={"stale_while_revalidate": 50}), transport=upstream.transport
        ) as kernel:
            await kernel.complete("hello")
            await trio.sleep(120)
            upstream.bad = Silence()
            await kernel.complete("hello")
            await trio.sleep(0.1)
            left = trio.current_time()
        assert trio.current_time() - left <= 10.1

    run(main)


def test_a_stream_is_served_a_stale_answer_as_well_and_says_so() -> None:
    async def main() -> None:
        upstream = Upstream()
        async with penstock.open_kernel(
            cached(cache={"stale_while_revalidate": 50}), transport=upstream.transport
        ) as kernel:
            await kernel.complete("hello")
            await trio.sleep(120)
            async with kernel.stream("hello") as stream:
                assert "".join([text async for text in stream.text()]) == "answer 1"
            assert stream.response.cache == "stale"
            await trio.sleep(2)
            assert upstream.asked == 2

    run(main)


@pytest.mark.parametrize("second_level", [False, True], ids=["in memory", "in a store"])
@pytest.mark.parametrize("outage", [DOWN, Broken(), Reply(429, json={"error": {"message": "slow down"}})], ids=str)
def test_in_an_outage_answers_past_their_time_are_served_and_say_so(outage: Answer, second_level: bool) -> None:  # noqa: FBT001 - a parameter of the test
    async def main() -> None:
        upstream, store = Upstream(), FakeCacheStore()
        own = {"stale_if_error": 10_000, "store": "fake" if second_level else "memory"}

        def opened() -> Any:
            return penstock.open_kernel(cached(cache=own), transport=upstream.transport, plugins=[store.plugin()])

        async with opened() as kernel:
            await kernel.complete("hello")
            await trio.sleep(3_000)
            upstream.bad = outage
            if not second_level:
                await in_the_outage(kernel)
        if second_level:
            async with opened() as kernel:
                await in_the_outage(kernel)

    async def in_the_outage(kernel: penstock.Kernel) -> None:
        for _ in range(5):
            response = await kernel.complete("hello", timeout=60)
            assert (response.cache, response.text, response.target) == ("stale", "answer 1", SONNET)
            assert response.saved is not None
            assert response.saved.age >= 3_000
        with pytest.raises(errors.CallError):
            await kernel.complete("a question of which nothing is stored", timeout=60)

    run(main)


def test_before_a_stale_answer_every_target_is_asked() -> None:
    def answer(request: httpx.Request) -> Answer:
        return DOWN if down and b"haiku" not in request.content else good(request, f"{len(upstream.requests)}")

    down = False
    upstream = ScriptedTransport(answer)

    async def main() -> None:
        nonlocal down
        async with penstock.open_kernel(cached(cache={"stale_if_error": 10_000}), transport=upstream) as kernel:
            await kernel.complete("hello")
            await trio.sleep(3_000)
            down = True
            response = await kernel.complete("hello")
            assert (response.cache, response.target) == ("miss", HAIKU)

    run(main)


def test_a_stale_answer_of_an_earlier_target_in_the_cascade_is_preferred() -> None:
    bad: set[bytes] = set()

    def answer(request: httpx.Request) -> Answer:
        return DOWN if any(model in request.content for model in bad) else good(request)

    async def main() -> None:
        upstream = ScriptedTransport(answer)
        async with penstock.open_kernel(cached(cache={"stale_if_error": 10_000}), transport=upstream) as kernel:
            for model in (HAIKU, GPT):
                await kernel.complete("hello", model=model)
            await trio.sleep(3_000)
            bad.update({b"sonnet", b"gpt", b"haiku"})
            response = await kernel.complete("hello", timeout=100)
            assert (response.cache, response.target) == ("stale", GPT)

    run(main)


def test_where_the_time_is_up_before_anybody_answered_a_stale_answer_is_better_than_none() -> None:
    async def main() -> None:
        upstream = Upstream()
        async with penstock.open_kernel(
            cached(cache={"stale_if_error": 10_000}), transport=upstream.transport
        ) as kernel:
            await kernel.complete("hello")
            await trio.sleep(3_000)
            upstream.bad = Silence()
            began = trio.current_time()
            response = await kernel.complete("hello", timeout=5)
            assert trio.current_time() - began == pytest.approx(5.0)
            assert (response.cache, response.text) == ("stale", "answer 1")
            assert [attempt.outcome for attempt in response.attempts] == ["cancelled"]
            with pytest.raises(errors.DeadlineExceededError):
                await kernel.complete("another", timeout=5)

    run(main)


def test_the_callers_own_cancellation_is_answered_with_nothing() -> None:
    async def main() -> None:
        upstream = Upstream()
        async with penstock.open_kernel(
            cached(cache={"stale_if_error": 10_000}), transport=upstream.transport
        ) as kernel:
            await kernel.complete("hello")
            await trio.sleep(3_000)
            upstream.bad = Silence()
            with trio.move_on_after(5) as scope:
                await kernel.complete("hello", timeout=5)
            assert scope.cancelled_caught

    run(main)


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        (Reply(400, json={"error": {"message": "no", "type": "invalid_request_error"}}), errors.InvalidRequestError),
        (
            Reply(400, json={"error": {"message": "too long", "code": "context_length_exceeded"}}),
            errors.ContextLengthError,
        ),
    ],
)
def test_an_error_of_the_request_itself_is_no_outage(bad: Answer, error: type[Exception]) -> None:
    async def main() -> None:
        upstream = Upstream()
        async with penstock.open_kernel(
            cached(cache={"stale_if_error": 10_000}), transport=upstream.transport
        ) as kernel:
            await kernel.complete("hello", model=GPT)
            await trio.sleep(3_000)
            upstream.bad = bad
            with pytest.raises(error):
                await kernel.complete("hello", model=GPT)

    run(main)


@pytest.mark.parametrize(
    "limit",
    [{"per": "day", "tokens": 1}, {"per": "request", "usd": 0.000001}, {"per": "day", "usd": 0.000001}],
    ids=["of a day", "of a request", "of money"],
)
def test_where_a_budget_refuses_an_answer_past_its_time_costs_nothing(limit: dict[str, Any]) -> None:
    async def main() -> None:
        upstream = Upstream()
        accounts = {"t": {"tenant": "t"}, "t/a": {"limits": [limit]}}
        async with penstock.open_kernel(
            cached(cache={"stale_if_error": 10_000}, accounts=accounts), transport=upstream.transport
        ) as kernel:
            await kernel.complete("hello", account="t/b", model=GPT)
            await trio.sleep(3_000)
            response = await kernel.complete("hello", account="t/a", model=GPT)
            assert (response.cache, response.text, response.attempts) == ("stale", "answer 1", ())
            async with kernel.stream("hello", account="t/a", model=GPT) as stream:
                assert "".join([text async for text in stream.text()]) == "answer 1"
            with pytest.raises(errors.BudgetExceededError):
                await kernel.complete("another", account="t/a", model=GPT)
            await trio.sleep(10_000)
            with pytest.raises(errors.BudgetExceededError):
                await kernel.complete("hello", account="t/a", model=GPT)
            assert upstream.asked == 1

    run(main)


def test_in_an_outage_a_budget_too_small_for_its_retries_is_answered_as_well() -> None:
    async def main() -> None:
        upstream = Upstream()
        accounts = {"t": {"tenant": "t"}, "t/a": {"limits": [{"per": "day", "tokens": 4_000}]}}
        settings = cached(cache={"stale_if_error": 10_000}, accounts=accounts)
        async with penstock.open_kernel(settings, transport=upstream.transport) as kernel:
            await kernel.complete("hello", account="t/b", max_tokens=500)
            await trio.sleep(3_000)
            upstream.bad = Broken(httpx.ReadError("reset"))  # sent, and nobody knows what it cost
            response = await kernel.complete("hello", account="t/a", max_tokens=500)
            assert (response.cache, response.text, len(response.attempts)) == ("stale", "answer 1", 1)

    run(main)


def test_one_call_that_the_budget_refuses_leaves_the_upstream_to_those_that_waited_for_it() -> None:
    async def main() -> None:
        upstream = Upstream()
        tight = {"limits": [{"per": "day", "tokens": 4_000}]}
        settings = cached(
            cache={"stale_if_error": 10_000}, accounts={"t": {"tenant": "t"}, "t/a": tight}, budget={"hold_wait": 5}
        )
        async with penstock.open_kernel(settings, transport=upstream.transport) as kernel:
            await kernel.complete("hello", account="t/b", model=GPT)
            await trio.sleep(3_000)
            upstream.delay = 100.0
            texts: dict[str, tuple[str, str]] = {}

            async def ask(prompt: str, account: str, name: str) -> None:
                response = await kernel.complete(prompt, account=account, model=GPT)
                texts[name] = (response.cache, response.text)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(ask, "what fills the budget", "t/a", "holder")
                await trio.sleep(1)
                nursery.start_soon(ask, "hello", "t/a", "refused")  # leads while it waits for room
                await trio.sleep(1)
                nursery.start_soon(ask, "hello", "t/b", "follower")
            assert texts["refused"] == ("stale", "answer 1")
            assert texts["follower"] == ("miss", "answer 3")

    run(main)


def test_while_the_ledger_is_away_answers_past_their_time_are_served() -> None:
    async def main() -> None:
        upstream, ledger = Upstream(), LeavingLedger()
        settings = cached(
            cache={"stale_if_error": 10_000},
            budget={"limits": [{"per": "day", "tokens": 1_000_000}]},
            ledger={"store": "leaving"},
        )
        async with penstock.open_kernel(settings, transport=upstream.transport, plugins=[ledger]) as kernel:
            await kernel.complete("hello", model=GPT)
            await trio.sleep(3_000)
            ledger.away = True
            response = await kernel.complete("hello", model=GPT)
            assert (response.cache, response.text, response.attempts) == ("stale", "answer 1", ())
            with pytest.raises(errors.LedgerUnavailableError):
                await kernel.complete("another", model=GPT)

    run(main)


def test_by_default_nothing_is_served_past_its_time() -> None:
    async def main() -> None:
        upstream = Upstream()
        async with penstock.open_kernel(cached(), transport=upstream.transport) as kernel:
            await kernel.complete("hello")
            await trio.sleep(120)
            assert (await kernel.complete("hello")).text == "answer 2"
            await trio.sleep(120)
            upstream.bad = DOWN
            with pytest.raises(errors.CallError):
                await kernel.complete("hello", timeout=60)

    run(main)


def test_while_every_circuit_is_open_the_cache_answers_at_once() -> None:
    async def main() -> None:
        upstream = Upstream(0.0)
        tables = {"cache": {"stale_if_error": 10_000}, "breaker": {"all_open": "fail"}}
        async with penstock.open_kernel(cached(**tables), transport=upstream.transport) as kernel:
            for number in range(10):
                await kernel.complete(f"question {number}")
            await trio.sleep(3_000)
            for scope in (SONNET, GPT, HAIKU):
                await kernel.breakers.isolate(f"target:{scope}")
            began = trio.current_time()
            for number in range(10):
                response = await kernel.complete(f"question {number}")
                assert (response.cache, response.attempts) == ("stale", ())
            assert trio.current_time() == began
            assert upstream.asked == 10

    run(main)


def test_a_stream_is_answered_in_an_outage_as_long_as_nothing_was_shown() -> None:
    async def main() -> None:
        upstream = Upstream()
        async with penstock.open_kernel(
            cached(cache={"stale_if_error": 10_000}), transport=upstream.transport
        ) as kernel:
            await kernel.complete("hello")
            await trio.sleep(3_000)
            upstream.bad = DOWN
            async with kernel.stream("hello", timeout=60) as stream:
                assert "".join([text async for text in stream.text()]) == "answer 1"
            assert stream.response.cache == "stale"

    run(main)


def test_a_cached_answer_says_what_it_saved() -> None:
    async def main() -> None:
        upstream = Upstream()
        async with penstock.open_kernel(cached(), transport=upstream.transport) as kernel:
            paid = await kernel.complete("hello", model=GPT)
            assert paid.saved is None
            await trio.sleep(30)
            again = await kernel.complete("hello", model=GPT)
            assert again.cost == Decimal(0)
            assert again.usage.total_tokens == 0
            assert again.saved is not None
            assert again.saved.cost == paid.cost
            assert paid.cost
            assert again.saved.usage == paid.usage
            assert again.saved.age == pytest.approx(31, abs=2)
            assert ANSWER not in repr(again)

    run(main)
