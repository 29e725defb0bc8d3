"""Retries of all calls together: what a dead provider is spared, what fails at once and why, and what is free."""

from __future__ import annotations

import random
import tomllib
from collections.abc import Callable
from typing import Any

import attrs
import httpx
import pytest
import trio
from worlds import GPT, HAIKU, KEY, SONNET, config, good, model_of, run

import penstock
from penstock import Config, errors
from penstock._events import RetrySuppressed
from penstock.testing import Answer, Broken, Reply, ScriptedTransport, Silence

BOOM = Reply(500, json={"type": "error", "error": {"type": "api_error", "message": "boom"}})
NEVER_OPENS = {"max_gap": 1e-9, "window_calls": 100_000}
NONE = {"floor": 0, "ratio": 0.0}
DEAD: dict[str, Reply | Broken] = {
    "refused": Broken(),
    "reset": Broken(httpx.ReadError("reset")),
    "500": BOOM,
    "limited": Reply(429, json={"error": {"message": "slow down"}}, headers=[("retry-after", "2")]),
    "malformed": Reply(body=b"{", headers=[("content-type", "application/json")]),
}


def route(*stages: Any, **tables: Any) -> Config:
    return config(routes={"default": {"cascade": list(stages), **tables.pop("route", {})}}, **tables)


def by_target(answers: dict[str, Callable[[httpx.Request], Answer]]) -> ScriptedTransport:
    def answer(request: httpx.Request) -> Answer:
        model = model_of(request)
        name = f"openai/{model}" if model.startswith("gpt") else f"anthropic/{model}"
        return answers.get(name, good)(request)

    return ScriptedTransport(answer)


@attrs.define
class Failed:
    """One call that did, and when."""

    at: float
    attempts: int
    error: errors.CallError


async def many(kernel: penstock.Kernel, count: int, **options: Any) -> list[Failed]:
    """So many calls, a hair apart, so that a breaker that counts failures in a row never sees one."""
    failed: list[Failed] = []

    async def one(number: int) -> None:
        await trio.sleep(number * 1e-6)
        try:
            await kernel.complete(f"call {number}", **options)
        except errors.CallError as error:
            failed.append(Failed(trio.current_time(), len(error.attempts), error))

    async with trio.open_nursery() as nursery:
        for number in range(count):
            nursery.start_soon(one, number)
    return failed


@pytest.mark.slow
@pytest.mark.parametrize("breaker", [NEVER_OPENS, {}], ids=["no breaker", "breaker"])
@pytest.mark.parametrize("kind", DEAD)
def test_of_a_hundred_calls_at_once_a_dead_provider_sees_ten_and_a_fifth_of_them_again(
    kind: str, breaker: dict[str, Any]
) -> None:
    asked: list[float] = []

    def answer(_: httpx.Request) -> Answer:
        asked.append(trio.current_time())
        return attrs.evolve(DEAD[kind], delay=0.5)  # by when all hundred are under way

    async def main() -> None:
        upstream = ScriptedTransport(answer)
        settings = route({"target": GPT, "attempts": 3}, breaker=breaker)
        async with penstock.open_kernel(settings, transport=upstream) as kernel:
            events = kernel.events()
            failed = await many(kernel, 100, timeout=9.0)
            assert len(failed) == 100
            assert 100 <= sum(one.attempts for one in failed) == len(asked) <= 130
            assert sum(at < 10.0 for at in asked) - 100 <= 30
            told = [event for event in events.take() if isinstance(event, RetrySuppressed)]
            suppressed = [one for one in failed if "retry budget of provider openai is used up" in str(one.error)]
            assert len(suppressed) == len(told) >= 70
            assert {(event.provider, event.reason) for event in told} == {("openai", "calls")}
            if kind != "limited" and not breaker:
                return
            for one in suppressed:
                # At once: the moment that the failure came, and not after a back-off.
                if one.attempts == 1:
                    assert one.at == pytest.approx(0.5, abs=0.001)
                assert one.error.retry_after is not None
                assert 0 < one.error.retry_after <= 11
                assert "of 30 retries within 10 s" in str(one.error)
                assert "there is room again in" in str(one.error)
            snapshot = await kernel.snapshot()
            assert snapshot.in_flight == 0
            assert all(actor.slots_in_use == 0 for actor in snapshot.actors.values())

    random.seed(5)
    run(main)


@pytest.mark.slow
def test_calls_that_go_on_for_minutes_retry_a_fifth_of_what_they_try_and_ten_in_ten_seconds() -> None:
    firsts, again = list[float](), list[float]()
    seen: set[str] = set()

    def answer(request: httpx.Request) -> Answer:
        prompt = request.content.decode().partition('"content":"')[2].partition('"')[0]
        (again if prompt in seen else firsts).append(trio.current_time())
        seen.add(prompt)
        return BOOM

    async def main() -> None:
        settings = route({"target": GPT, "attempts": 4}, breaker=NEVER_OPENS)
        async with penstock.open_kernel(settings, transport=ScriptedTransport(answer)) as kernel:
            async with trio.open_nursery() as nursery:
                for number in range(600):
                    nursery.start_soon(quietly, kernel, f"call {number}")
                    await trio.sleep(0.2)
        assert len(firsts) == 600
        # Leave is given before the back-off, which is 2 s at most here: the tenth second may see what was given then.
        for begin in range(130):
            tried = sum(begin - 2 <= at < begin + 10 for at in firsts)
            assert sum(begin <= at < begin + 10 for at in again) <= 2 * 10 + 0.2 * tried
        assert len(again) <= 600 * 0.2 + 10 * 13

    run(main)


async def quietly(kernel: penstock.Kernel, prompt: str) -> None:
    with pytest.raises(errors.CallError):
        await kernel.complete(prompt)


# What is free, and what is not


@pytest.mark.parametrize("kind", DEAD)
def test_a_fallbacks_first_attempt_is_free_and_one_at_a_provider_that_failed_is_not(kind: str) -> None:
    async def main() -> None:
        upstream = by_target({SONNET: lambda _: DEAD[kind]})
        settings = route({"target": SONNET, "attempts": 3}, HAIKU, GPT, retry_budget=NONE)
        async with penstock.open_kernel(settings, transport=upstream) as kernel:
            response = await kernel.complete("hello")
            assert [attempt.target for attempt in response.attempts] == [SONNET, GPT]
            assert trio.current_time() == 0.0, "without leave there is nothing to wait for"

    run(main)


def test_a_first_attempt_that_is_a_probe_is_free() -> None:
    async def main() -> None:
        down = [True]
        upstream = by_target({GPT: lambda request: BOOM if down else good(request)})
        quick = {"failures_in_a_row": 1, "min_calls_in_a_row": 1}
        async with penstock.open_kernel(route(GPT, breaker=quick, retry_budget=NONE), transport=upstream) as kernel:
            with pytest.raises(errors.ServerError):
                await kernel.complete("opens it")
            down.clear()
            await trio.sleep(5)
            assert (await kernel.complete("probes it")).attempts[0].probe

    run(main)


def test_a_dead_connection_is_replaced_for_free_once_and_a_second_time_it_is_a_failure() -> None:
    dead = Broken(errors.ConnectionLostError("closed while idle", reused=True))

    async def once(faults: list[Answer], **tables: Any) -> int:
        upstream = ScriptedTransport(lambda request: faults.pop(0) if faults else good(request))
        async with penstock.open_kernel(route({"target": GPT, "attempts": 3}, **tables), transport=upstream) as kernel:
            return len((await kernel.complete("hello")).attempts)

    assert run(lambda: once([dead], retry_budget=NONE)) == 2
    assert run(lambda: once([dead, dead])) == 3
    with pytest.raises(errors.ConnectionLostError, match="retry budget of provider openai is used up"):
        run(lambda: once([dead, dead], retry_budget=NONE))


def wrong(kind: str, *, code: str | None = None, status: int = 400) -> Reply:
    return Reply(status, json={"error": {"message": "no", "type": kind, "code": code}})


@pytest.mark.parametrize(
    ("answer", "options"),
    [
        (wrong("invalid_request_error", code="context_length_exceeded"), {}),
        (wrong("invalid_request_error", code="content_filter"), {"on_content_filter": "next"}),
        (wrong("invalid_request_error", code="model_not_found", status=404), {}),
    ],
    ids=["context length", "filtered", "model not found"],
)
def test_what_says_nothing_about_the_provider_makes_no_retry_of_the_next_attempt_there(
    answer: Reply, options: dict[str, str]
) -> None:
    async def main() -> None:
        upstream = by_target({"openai/gpt-4": lambda _: answer})
        settings = route("openai/gpt-4", "openai/gpt-4o", retry_budget=NONE, route=options)
        async with penstock.open_kernel(settings, transport=upstream) as kernel:
            response = await kernel.complete("hello")
            assert [attempt.target for attempt in response.attempts] == ["openai/gpt-4", "openai/gpt-4o"]

    run(main)


def test_what_no_target_would_take_asks_no_retry_budget() -> None:
    async def main() -> None:
        upstream = by_target({GPT: lambda _: wrong("invalid_request_error")})
        async with penstock.open_kernel(route(GPT, SONNET, retry_budget=NONE), transport=upstream) as kernel:
            with pytest.raises(errors.InvalidRequestError) as caught:
                await kernel.complete("hello")
            assert "retry budget" not in str(caught.value)

    run(main)


def test_each_provider_has_its_own_budget_and_its_own_settings() -> None:
    text = f"""
        [providers.anthropic]
        api_key = "{KEY}"
        [providers.openai]
        api_key = "{KEY}"
        retry_budget = {{ floor = 2, ratio = 0 }}
        [retry_budget]
        floor = 5
        ratio = 0
        [breaker]
        max_gap = 1e-9
        window_calls = 100000
        [routes.default]
        cascade = [{{ target = "{GPT}", attempts = 2 }}]
        [routes.other]
        cascade = [{{ target = "{SONNET}", attempts = 2 }}]
    """

    async def main() -> None:
        upstream = ScriptedTransport([BOOM])
        settings = Config.from_dict(tomllib.loads(text), environ={})
        async with penstock.open_kernel(settings, transport=upstream) as kernel:
            assert sum(one.attempts - 1 for one in await many(kernel, 20)) == 2
            assert sum(one.attempts - 1 for one in await many(kernel, 20, route="other")) == 5

    run(main)


# Money


CAPPED = {"floor": 1_000, "ratio": 1.0, "money_ratio": 0.0}


def test_where_money_is_capped_fallbacks_count_and_ten_times_the_calls_hold_is_always_there() -> None:
    async def main() -> None:
        upstream = by_target({SONNET: lambda _: BOOM, GPT: lambda request: attrs.evolve(good(request), delay=5.0)})
        once = {"target": SONNET, "attempts": 1}
        settings = route(once, GPT, retry_budget=CAPPED, breaker=NEVER_OPENS)
        async with penstock.open_kernel(settings, transport=upstream) as kernel:
            failed = await many(kernel, 60, max_tokens=1_000)
            asked = sum(model_of(request) == "gpt-4o" for request in upstream.requests)
            assert asked == 60 - len(failed)
            assert 10 <= asked <= 25, "the dearest attempt is Sonnet's, and ten of these are worth some more of GPT's"
            for one in failed:
                assert one.at < 0.001
                assert "retries, fallbacks and hedges have spent" in str(one.error)
                assert one.error.retry_after is not None
            # Settled by now, at what they really cost: a hundredth of what they might have.
            assert not [one for one in await many(kernel, 10, max_tokens=1_000) if "fallbacks" in str(one.error)]

    run(main)


@pytest.mark.slow
def test_a_share_of_what_that_provider_was_paid_may_be_spent_on_retries_as_well() -> None:
    async def main() -> None:
        slow: list[bool] = []
        upstream = by_target(
            {SONNET: lambda _: BOOM, GPT: lambda request: attrs.evolve(good(request), delay=5.0 if slow else 0.0)}
        )
        once = {"target": SONNET, "attempts": 1}
        settings = route(once, GPT, retry_budget={**CAPPED, "money_ratio": 10.0}, breaker=NEVER_OPENS)
        async with penstock.open_kernel(settings, transport=upstream) as kernel:
            assert not await many(kernel, 1_700, model=GPT, max_tokens=1_000)
            await trio.sleep(120)
            slow.append(True)
            assert not await many(kernel, 60, max_tokens=1_000)

    run(main)


def test_leave_for_a_retry_that_was_never_made_costs_nothing() -> None:
    busy = Reply(500, json=BOOM.json, headers=[("retry-after", "4")])

    async def left(kernel: penstock.Kernel, number: int) -> None:
        """A call that ends while it waits for its retry."""
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(kernel.complete, f"left in its back-off {number}")
                await trio.sleep(1.0)
                scope.cancel()

    async def main() -> None:
        script: list[Answer] = []
        upstream = by_target({GPT: lambda request: script.pop(0) if script else good(request)})
        settings = route({"target": GPT, "attempts": 2}, retry_budget=CAPPED, breaker=NEVER_OPENS)
        async with penstock.open_kernel(settings, transport=upstream) as kernel:
            for number in range(30):
                script[:] = [busy]
                await left(kernel, number)
            script[:] = [BOOM]
            assert len((await kernel.complete("retried")).attempts) == 2

    run(main)


def test_a_hedge_counts_for_the_money_cap_until_it_is_settled() -> None:
    async def main() -> None:
        silent: list[bool] = []
        upstream = by_target({SONNET: lambda request: Silence() if silent else good(request)})
        quick = {"failures_in_a_row": 1, "min_calls_in_a_row": 1}
        settings = route(
            SONNET, GPT, retry_budget=CAPPED, breaker=quick, defaults={"timeouts": {"total": 20, "first_token": 20}}
        )
        async with penstock.open_kernel(settings, transport=upstream) as kernel:
            silent.append(True)
            await kernel.complete("falls silent")
            for _ in range(40):
                await trio.sleep(16)
                response = await kernel.complete("probes it")
                assert [attempt.hedge for attempt in response.attempts].count(True) == 1

    run(main)


# Money of accounts


def capped_by_accounts(**accounts: float) -> Config:
    """A cascade whose first target is dead; accounts with the share that their retries may spend."""
    once = {"target": SONNET, "attempts": 1}
    generous = {"floor": 1_000, "ratio": 1.0}
    tables = {name.replace("_", "/"): {"retry_money": share} for name, share in accounts.items()}
    return route(once, GPT, retry_budget=generous, breaker=NEVER_OPENS, accounts=tables)


def answering_late() -> ScriptedTransport:
    return by_target({SONNET: lambda _: BOOM, GPT: lambda request: attrs.evolve(good(request), delay=5.0)})


def test_an_account_caps_the_money_of_its_own_fallbacks_and_of_those_below_it_and_of_nobody_else() -> None:
    async def main() -> None:
        async with penstock.open_kernel(capped_by_accounts(team=0.0), transport=answering_late()) as kernel:
            with kernel.events() as events:
                async with trio.open_nursery() as nursery:
                    failed: dict[str, list[Failed]] = {}

                    async def of(account: str) -> None:
                        failed[account] = await many(kernel, 30, max_tokens=1_000, account=account)

                    for account in ("team", "team/search", "other"):
                        nursery.start_soon(of, account)
                told = [event for event in events.take() if isinstance(event, RetrySuppressed)]
            assert failed["other"] == []
            refused = failed["team"] + failed["team/search"]
            assert 60 - 25 <= len(refused) <= 60 - 10, "ten times the hold, in fallbacks that are worth a little less"
            for one in refused:
                assert "retry budget of account 'team' is used up" in str(one.error)
                assert one.error.retry_after is not None
            assert {(event.provider, event.reason) for event in told} == {("openai", "money")}
            # Settled by now, at what they really cost: a hundredth of what they might have.
            assert not await many(kernel, 5, max_tokens=1_000, account="team")

    run(main)


def test_the_root_account_is_named_as_such_and_a_larger_share_of_what_was_settled_lets_more_pass() -> None:
    async def main() -> None:
        once = {"target": SONNET, "attempts": 1}
        settings = route(once, GPT, retry_budget={"floor": 1_000}, breaker=NEVER_OPENS, budget={"retry_money": 0.0})
        async with penstock.open_kernel(settings, transport=answering_late()) as kernel:
            failed = await many(kernel, 60, max_tokens=1_000, account="team/search")
            assert failed
            assert all("retry budget of the root account is used up" in str(one.error) for one in failed)

    run(main)


def test_leave_that_a_provider_refuses_costs_its_accounts_nothing() -> None:
    async def main() -> None:
        twice = {"target": SONNET, "attempts": 2}
        upstream = by_target({SONNET: lambda _: BOOM})
        none = {"floor": 0, "ratio": 0.0}
        settings = route(twice, retry_budget=none, breaker=NEVER_OPENS, accounts={"team": {"retry_money": 0.0}})
        async with penstock.open_kernel(settings, transport=upstream) as kernel:
            failed = await many(kernel, 100, max_tokens=1_000, account="team")
            assert len(failed) == 100
            assert all("retry budget of provider anthropic" in str(one.error) for one in failed)

    run(main)


@pytest.mark.parametrize(("share", "refuses"), [(0.0, True), (10.0, False)])
def test_a_share_of_what_an_account_settled_may_be_spent_as_well(share: float, *, refuses: bool) -> None:
    async def main() -> None:
        async with penstock.open_kernel(capped_by_accounts(team=share), transport=answering_late()) as kernel:
            failed = await many(kernel, 60, max_tokens=1_000, account="team/search")
            assert bool(failed) is refuses

    run(main)
