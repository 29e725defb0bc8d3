"""`kernel.explain`: what a call would do, told without doing it. Every reason, every bound, and nothing is sent."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any

import httpx
import msgspec
import pytest
import trio
import trio.testing
from worlds import CASCADE, GPT, HAIKU, KEY, SONNET, config, failing, good, model_of, run

import penstock
from penstock import Explanation, StageExplanation, errors
from penstock._events import CallStarted
from penstock.testing import Answer, Broken, Reply, ScriptedTransport, Silence
from penstock.types import WireRequest
from penstock_providers.openai_chat import OpenAIChat

PROMPT = "canary-of-the-prompt-51c0"
RATE = {"type": "error", "error": {"type": "rate_limit_error", "message": "slow down"}}
QUOTA = {"type": "error", "error": {"type": "billing_error", "message": "Your credit balance is too low"}}
ALONE = {"default": {"cascade": [CASCADE[0]]}}


def explained(
    settings: penstock.Config,
    *,
    upstream: ScriptedTransport | None = None,
    before: Callable[[penstock.Kernel], Awaitable[None]] | None = None,
    **options: Any,
) -> Explanation:
    """The explanation of a call made after `before`; nothing is sent for it."""
    transport = upstream or ScriptedTransport(good)

    async def main() -> Explanation:
        async with penstock.open_kernel(settings, transport=transport) as kernel:
            if before is not None:
                await before(kernel)
                await kernel.snapshot()
            sent = len(transport.requests)
            mail = kernel.snapshot().actors
            explanation = kernel.explain(PROMPT, **options)
            assert len(transport.requests) == sent
            assert kernel.snapshot().actors == mail
            assert PROMPT not in repr(explanation)
            assert KEY not in repr(explanation)
            return explanation

    return run(main)


def fail_once(*, wait: float = 0.0) -> Callable[[penstock.Kernel], Awaitable[None]]:
    """A call that meets whatever the upstream holds for the primary, and answers elsewhere or not at all."""

    async def before(kernel: penstock.Kernel) -> None:
        with pytest.raises(errors.CallError):
            await kernel.complete("first", model=SONNET, timeout=0.5)
        await trio.sleep(wait)

    return before


def stage_of(explanation: Explanation, target: str) -> StageExplanation:
    return next(stage for stage in explanation.stages if stage.target == target)


# What is told


def test_a_healthy_cascade_is_told_in_its_order_and_begins_at_once() -> None:
    explanation = explained(config())
    assert [(stage.target, stage.allowed) for stage in explanation.stages] == [(SONNET, 3), (GPT, 2), (HAIKU, 5)]
    assert [(stage.provider, stage.model) for stage in explanation.stages][1] == ("openai", "gpt-4o")
    assert {stage.when.says for stage in explanation.stages} == {"now"}
    assert (explanation.route, explanation.first, explanation.starts_in) == ("default", SONNET, 0.0)


def test_each_stage_may_take_one_attempt_more_for_a_dead_kept_connection() -> None:
    explanation = explained(config())
    assert [stage.attempts for stage in explanation.stages] == [4, 3, 6]
    assert explanation.attempts == 13


def test_a_model_in_place_of_a_route_is_one_stage() -> None:
    explanation = explained(config(), model="openai/gpt-4o-mini")
    assert [stage.target for stage in explanation.stages] == ["openai/gpt-4o-mini"]
    assert explanation.route == "model:openai/gpt-4o-mini"


def test_timeouts_are_those_that_apply_to_a_stream_or_to_a_whole_answer() -> None:
    timeouts = {"connect": 2, "first_token": 20, "idle": 15, "total": 60}
    settings = config(defaults={"timeouts": timeouts, "upstream_stream": "never"})
    whole, streamed = (explained(settings, stream=stream).stages[0] for stream in (False, True))
    assert (whole.streamed, whole.timeouts.first_token, whole.timeouts.idle, whole.silent) == (False, None, None, 60.0)
    assert (streamed.streamed, streamed.timeouts.first_token, streamed.silent) == (True, 20.0, 20.0)
    assert whole.timeouts.total == streamed.timeouts.total == whole.longest_attempt == 60.0
    assert streamed.longest_attempt == 61.0, "the connection of a stream gets a second to end"
    assert whole.unreachable == 2.0


def test_a_whole_answer_that_is_streamed_upstream_has_the_clocks_of_a_stream() -> None:
    long = explained(config(defaults={"timeouts": {"first_token": 20}}), max_tokens=8_000).stages[0]
    assert (long.streamed, long.timeouts.first_token, long.silent) == (True, 20.0, 20.0)
    thinking = explained(config(), thinking="high").stages[0]
    assert (thinking.streamed, thinking.silent, thinking.timeouts.idle) == (True, 300.0, 120.0)
    assert not explained(config(), max_tokens=1_000).stages[0].streamed


def test_going_on_from_a_prefix_may_be_tried_in_vain_and_reads_the_prefix_again() -> None:
    plain, going_on = (explained(config(), max_tokens=500, stream=True, commit=each) for each in (None, "continue"))
    sonnet, again = plain.stages[0], going_on.stages[0]
    assert again.attempts == sonnet.attempts + 1
    assert (again.input_tokens, again.output_tokens) == (200_000, sonnet.output_tokens)
    assert going_on.stages[1].attempts == plain.stages[1].attempts, "there nothing can be gone on from"
    assert again.cost is not None
    assert sonnet.cost is not None
    assert again.cost > sonnet.cost


# Where the deadline comes from


@pytest.mark.parametrize(
    ("timeout", "route", "scope", "expected"),
    [
        (None, None, None, (600.0, "kernel")),
        (None, 180.0, None, (180.0, "route")),
        (30.0, 180.0, None, (30.0, "argument")),
        (300.0, 180.0, 60.0, (60.0, "scope")),
        (None, None, 700.0, (700.0, "scope")),
        (math.inf, None, None, (None, "argument")),
    ],
)
def test_the_deadline_is_the_earliest_of_those_who_name_one(
    timeout: float | None, route: float | None, scope: float | None, expected: tuple[float | None, str]
) -> None:
    routes = {"default": {"cascade": CASCADE, **({"timeout": route} if route else {})}}

    async def main() -> None:
        async with penstock.open_kernel(config(routes=routes), transport=ScriptedTransport(good)) as kernel:
            with trio.fail_after(math.inf if scope is None else scope):
                await trio.lowlevel.checkpoint()
                explanation = kernel.explain(PROMPT, timeout=timeout)
            assert (explanation.deadline, explanation.deadline_from) == expected
            assert explanation.seconds == explanation.deadline

    # The limit of `run` itself would be a scope around it.
    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def test_a_stream_is_not_bounded_by_the_scope_it_is_opened_in() -> None:
    async def main() -> None:
        async with penstock.open_kernel(config(), transport=ScriptedTransport(good)) as kernel:
            with trio.fail_after(5):
                await trio.lowlevel.checkpoint()
                explanation = kernel.explain(PROMPT, stream=True)
            assert (explanation.deadline, explanation.deadline_from) == (600.0, "kernel")

    run(main)


def test_options_of_a_view_count_as_said() -> None:
    async def main() -> None:
        async with penstock.open_kernel(config(), transport=ScriptedTransport(good)) as kernel:
            explanation = kernel.with_options(account="team/search", timeout=7.0).explain(PROMPT)
        assert (explanation.account, explanation.deadline, explanation.deadline_from) == (
            "team/search",
            7.0,
            "argument",
        )

    run(main)


# Why a target is not tried now


def test_a_target_that_asked_for_time_is_cooling() -> None:
    upstream = failing(SONNET, answer=Reply(429, json=RATE, headers=[("retry-after", "60")]))
    explanation = explained(config(), upstream=upstream, before=fail_once(wait=10.0))
    primary = stage_of(explanation, SONNET).when
    assert (primary.reason, primary.scope) == ("cooling", f"target:{SONNET}")
    assert primary.ready_in == pytest.approx(50.0)
    assert primary.says == "in 50.0 s: cooling (rate limited)"
    assert (explanation.first, explanation.starts_in) == (GPT, 0.0)


def test_a_target_whose_time_is_over_takes_calls_back_a_few_at_a_time() -> None:
    upstream = failing(SONNET, answer=Reply(429, json=RATE, headers=[("retry-after", "60")]))
    explanation = explained(config(), upstream=upstream, before=fail_once(wait=60.0))
    assert (explanation.stages[0].when.reason, explanation.stages[0].when.ready_in) == ("thawing", 0.0)
    assert (explanation.first, explanation.starts_in) == (SONNET, 0.0)


def test_where_every_circuit_is_open_the_policy_of_the_route_is_told() -> None:
    async def fail_often(kernel: penstock.Kernel) -> None:
        for _ in range(2):
            with pytest.raises(errors.CallError):
                await kernel.complete("first")

    told: dict[str, tuple[str | None, bool]] = {}
    for policy in ("soonest", "fail", "ignore"):
        upstream = failing(SONNET, answer=Broken())
        explanation = explained(
            config(routes={"default": {"cascade": [CASCADE[0]], "all_open": policy}}),
            upstream=upstream,
            before=fail_often,
        )
        (stage,) = explanation.stages
        assert stage.when.reason == ("ignored" if policy == "ignore" else "circuit_open")
        assert stage.when.says.startswith("now" if policy == "ignore" else "in ")
        assert explanation.attempts == stage.attempts == (0 if policy == "fail" else 4)
        told[policy] = explanation.first, bool(explanation.starts_in)
    assert told == {"soonest": (SONNET, True), "fail": (None, False), "ignore": (SONNET, False)}


def test_a_short_wait_for_the_only_target_is_told() -> None:
    upstream = failing(SONNET, answer=Reply(429, json=RATE, headers=[("retry-after", "60")]))
    explanation = explained(config(routes=ALONE), upstream=upstream, before=fail_once(wait=57.0))
    assert explanation.first == SONNET
    assert explanation.starts_in == pytest.approx(3.0)


def test_a_wait_beyond_the_deadline_leaves_nobody_to_be_tried() -> None:
    upstream = failing(SONNET, answer=Reply(429, json=RATE, headers=[("retry-after", "60")]))
    explanation = explained(config(routes=ALONE), upstream=upstream, before=fail_once(), timeout=20.0)
    assert (explanation.first, explanation.starts_in) == (None, None)


def test_an_empty_account_at_the_provider_cools_every_target_of_its_key() -> None:
    upstream = failing(SONNET, answer=Reply(402, json=QUOTA))
    explanation = explained(config(), upstream=upstream, before=fail_once())
    for target in (SONNET, HAIKU):
        told = stage_of(explanation, target).when
        assert (told.reason, told.scope) == ("cooling", "key:anthropic/0")
        assert told.says.endswith("s: cooling (quota exhausted)")
    assert stage_of(explanation, GPT).when.reason == "ready"


def test_a_target_that_failed_in_a_row_has_an_open_circuit_and_then_a_probe() -> None:
    upstream = failing(SONNET, answer=Reply(500, json=RATE))

    async def fail_often(kernel: penstock.Kernel) -> None:
        for _ in range(2):
            await kernel.complete("first")

    async def and_wait(kernel: penstock.Kernel) -> None:
        await fail_often(kernel)
        await trio.sleep(15.0)

    told = explained(config(), upstream=upstream, before=fail_often).stages[0].when
    assert (told.reason, told.scope) == ("circuit_open", f"target:{SONNET}")
    assert told.ready_in is not None
    assert 0 < told.ready_in <= 5.0
    assert told.says == f"in {told.ready_in:.1f} s: circuit open (failures in a row)"
    later = explained(config(), upstream=failing(SONNET, answer=Reply(500, json=RATE)), before=and_wait)
    assert (later.stages[0].when.reason, later.stages[0].when.ready_in) == ("probe", 0.0)
    assert later.first == SONNET


def test_a_target_that_is_being_probed_is_waited_for_by_nobody_who_has_another() -> None:
    async def main() -> None:
        primary: list[Answer] = [Broken()]
        upstream = failing(SONNET, answer=lambda _: primary[0])
        async with penstock.open_kernel(config(), transport=upstream) as kernel, trio.open_nursery() as nursery:
            for _ in range(2):
                await kernel.complete("first")
            await trio.sleep(15.0)
            primary[0] = Silence()
            nursery.start_soon(kernel.complete, "the probe")
            await trio.sleep(1.0)
            explanation = kernel.explain(PROMPT)
            told = explanation.stages[0].when
            assert (told.reason, told.ready_in) == ("probing", None)
            assert explanation.first == GPT
            nursery.cancel_scope.cancel()

    run(main)


@pytest.mark.parametrize("all_open", ["soonest", "fail"])
def test_a_call_that_was_a_probe_has_ended_for_who_asks_right_after_it(all_open: str) -> None:
    async def main() -> None:
        primary: list[Answer] = [Broken()]
        alone = {"default": {**ALONE["default"], "all_open": all_open}}
        upstream = failing(SONNET, answer=lambda request: primary[0] if primary else good(request))
        async with penstock.open_kernel(config(routes=alone), transport=upstream) as kernel:
            for _ in range(2):
                with pytest.raises(errors.CallError):
                    await kernel.complete("first", timeout=3)
            await trio.sleep(15.0)
            primary.clear()
            reasons: list[str] = []
            for number in range(8):
                response = await kernel.complete("hello")
                assert response.attempts[0].probe is (number < 7)
                explanation = kernel.explain(PROMPT)
                reasons.append(explanation.stages[0].when.reason)
                assert explanation.first == SONNET
            assert reasons == ["probe"] * 6 + ["ready"] * 2

    run(main)


def test_an_isolated_target_is_never_tried_yet_counted_for_it_may_be_closed() -> None:
    async def isolate(kernel: penstock.Kernel) -> None:
        await kernel.breakers.isolate(f"target:{SONNET}")

    explanation = explained(config(), before=isolate)
    told = explanation.stages[0].when
    assert (told.reason, told.ready_in, told.says) == ("isolated", None, "never: isolated by hand")
    assert explanation.first == GPT
    assert explanation.attempts == 13


@pytest.mark.parametrize("policy", ["soonest", "fail", "ignore"])
def test_where_every_target_is_isolated_nothing_is_tried(policy: str) -> None:
    async def isolate(kernel: penstock.Kernel) -> None:
        for provider in ("openai", "anthropic"):
            await kernel.breakers.isolate(f"provider:{provider}")

    explanation = explained(config(breaker={"all_open": policy}), before=isolate)
    assert (explanation.first, explanation.attempts, explanation.trying) == (None, 0, 0.0)
    assert [stage.attempts for stage in explanation.stages] == [0, 0, 0]
    assert [stage.when.reason for stage in explanation.stages] == ["isolated"] * 3
    assert explanation.cost == 0


def test_where_the_call_waits_for_a_place_what_is_isolated_now_may_be_tried_by_then() -> None:
    async def main() -> None:
        transport = ScriptedTransport([Silence()])
        async with penstock.open_kernel(config(kernel={"max_in_flight": 1}), transport=transport) as kernel:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(kernel.complete, "takes the place")
                await trio.testing.wait_all_tasks_blocked()
                for provider in ("openai", "anthropic"):
                    await kernel.breakers.isolate(f"provider:{provider}")
                assert (kernel.explain(PROMPT).first, kernel.explain(PROMPT).attempts) == (None, 13)
                nursery.cancel_scope.cancel()

    run(main)


def test_where_open_circuits_are_ignored_a_cool_down_is_not() -> None:
    def answer(request: httpx.Request) -> Answer:
        limited = Reply(429, json=RATE, headers=[("retry-after", "60")])
        return limited if model_of(request) in SONNET else Broken()

    async def cool_and_open(kernel: penstock.Kernel) -> None:
        for target in (SONNET, HAIKU):
            with pytest.raises(errors.CallError):
                await kernel.complete("first", model=target, timeout=0.1)

    breaker = {"all_open": "ignore", "failures_in_a_row": 1, "min_calls_in_a_row": 1}
    upstream = ScriptedTransport(answer)
    explanation = explained(config(breaker=breaker, routes=ALONE), upstream=upstream, before=cool_and_open)
    assert explanation.stages[0].when.reason == "cooling"
    assert explanation.starts_in == pytest.approx(60.0, abs=0.1)


def test_of_two_things_in_the_way_the_longer_one_is_told() -> None:
    upstream = failing(SONNET, answer=Reply(429, json=RATE, headers=[("retry-after", "60")]))

    async def both(kernel: penstock.Kernel) -> None:
        await fail_once()(kernel)
        await kernel.breakers.isolate("provider:anthropic")

    assert explained(config(), upstream=upstream, before=both).stages[0].when.reason == "isolated"


def test_without_a_price_a_limit_in_money_rules_a_target_out() -> None:
    settings = config(
        budget={"limits": [{"per": "day", "usd": 20}]},
        routes={"default": {"cascade": ["openai/of-my-own", {"target": GPT, "attempts": 2}]}},
    )
    explanation = explained(settings)
    told = explanation.stages[0]
    assert (told.when.reason, told.when.ready_in, told.attempts, told.allowed) == ("budget", None, 0, 3)
    assert told.when.says.startswith("never: the price of of-my-own is not known")
    assert explanation.first == GPT
    assert explanation.attempts == 3
    assert explanation.cost is not None, "what is never tried costs nothing"


def test_a_request_above_a_limit_of_its_own_is_never_sent() -> None:
    settings = config(accounts={"team": {"limits": [{"per": "request", "output_tokens": 100}]}})
    explanation = explained(settings, account="team", max_tokens=1_000)
    assert {stage.when.reason for stage in explanation.stages} == {"budget"}
    assert (explanation.first, explanation.attempts, explanation.cost) == (None, 0, Decimal(0))


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (errors.UnsendableRequestError("videos have no place on this wire"), "videos have no place on this wire"),
        (KeyError(PROMPT), "a bug in the provider plugin"),
    ],
)
def test_what_a_codec_cannot_say_is_one_attempt_that_ends_before_anything_is_sent(
    error: Exception, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def encode(*_: object, **__: object) -> WireRequest:
        raise error

    monkeypatch.setattr(OpenAIChat, "encode", encode)

    async def main() -> None:
        upstream = ScriptedTransport(good)
        async with penstock.open_kernel(config(), transport=upstream) as kernel:
            explanation = kernel.explain(PROMPT, model=GPT)
            told = explanation.stages[0]
            assert (told.when.reason, told.when.ready_in) == ("unsendable", None)
            assert told.when.says.startswith("never: ")
            assert words in told.when.says
            assert PROMPT not in repr(explanation)
            with pytest.raises(errors.CallError) as caught:
                await kernel.complete(PROMPT, model=GPT)
            assert len(caught.value.attempts) == 1 <= explanation.attempts
            assert upstream.requests == []

    run(main)


# Tokens and money


def test_money_is_told_where_a_price_is_known_though_no_account_has_a_limit() -> None:
    target = {"provider": "openai", "model": "own", "price": {"input": 2.0, "output": 10.0}}
    settings = config(targets={"own": target}, routes={"default": {"cascade": [{"target": "own", "attempts": 2}]}})
    explanation = explained(settings, max_tokens=1_000)
    stage = explanation.stages[0]
    assert stage.input_tokens is not None
    assert stage.output_tokens == 1_000
    dearest = Decimal(stage.input_tokens) * 2 / 10**6 + Decimal("0.01")
    assert stage.cost == explanation.dearest == dearest
    assert explanation.cost == 3 * dearest
    assert explanation.nano_usd == 3 * int(dearest * 10**9)
    assert explanation.tokens == 3 * (stage.input_tokens + 1_000)
    assert explanation.accounts == ()


def test_without_a_price_tokens_are_bounded_and_money_is_not_known() -> None:
    explanation = explained(config(), model="openai/of-my-own", max_tokens=10)
    assert explanation.tokens is not None
    assert explanation.cost is None
    assert explanation.dearest is None
    assert explanation.stages[0].cost is None


def test_an_answer_without_a_limit_of_its_own_has_no_bound() -> None:
    explanation = explained(config(), model="openai/of-my-own")
    assert (explanation.stages[0].output_tokens, explanation.tokens, explanation.cost) == (None, None, None)


def test_with_a_limit_on_the_path_the_hold_is_the_dearest_attempt() -> None:
    settings = config(budget={"limits": [{"per": "day", "usd": 20, "timezone": "Europe/Berlin"}]})
    explanation = explained(settings, account="team/search")
    assert [(told.account, told.limits) for told in explanation.accounts] == [("", ("20 USD per day (Europe/Berlin)",))]

    async def main() -> None:
        async with penstock.open_kernel(settings, transport=ScriptedTransport([Silence()])) as kernel:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(kernel.complete, PROMPT)
                await trio.sleep(0.5)
                held = (await kernel.snapshot()).accounts[""].windows[0].held
                assert held.nano_usd == explanation.dearest_nano_usd
                nursery.cancel_scope.cancel()

    run(main)


def test_a_request_without_a_bound_is_explained_without_one() -> None:
    image = penstock.ChatRequest([penstock.Message.user("look")], extra={"openai": {"web_search_options": {}}})

    async def main() -> None:
        async with penstock.open_kernel(config(), transport=ScriptedTransport(good)) as kernel:
            explanation = kernel.explain(image)
            assert stage_of(explanation, GPT).input_tokens is None
            assert stage_of(explanation, GPT).cost is None
            assert explanation.cost is None
            assert explanation.stages[0].cost is not None

    run(main)


# Cache, and what cannot be explained


def test_the_cache_is_told_with_the_policy_that_applies() -> None:
    assert explained(config()).cache == "off"
    cached = config(cache={"store": "memory"})
    asked = explained(cached, temperature=0)
    assert (asked.cache, {stage.looked_up for stage in asked.stages}) == ("deterministic", {True})
    assert {stage.looked_up for stage in explained(cached).stages} == {False}
    assert {stage.looked_up for stage in explained(cached, cache="always").stages} == {True}
    assert explained(cached, cache="never", temperature=0).cache == "never"


def test_what_cannot_be_called_cannot_be_explained() -> None:
    async def main() -> None:
        async with penstock.open_kernel(config(), transport=ScriptedTransport(good)) as kernel:
            with pytest.raises(errors.NoRouteError):
                kernel.explain(PROMPT, route="nowhere")
            with pytest.raises(errors.ConfigError):
                kernel.explain(PROMPT, route="default", model=GPT)
            with pytest.raises(errors.UnsendableRequestError):
                kernel.explain(PROMPT, timeout=-1.0)
        with pytest.raises(errors.KernelClosedError):
            kernel.explain(PROMPT)

    run(main)


def test_an_explanation_is_plain_data() -> None:
    explanation = explained(config())
    assert msgspec.json.decode(msgspec.json.encode(explanation), type=Explanation) == explanation


def test_to_explain_is_no_call() -> None:
    async def main() -> None:
        async with penstock.open_kernel(config(), transport=ScriptedTransport(good)) as kernel:
            events = kernel.events()
            await kernel.complete("first")
            kernel.explain(PROMPT)
            await kernel.complete("second")
            started = [event for event in events.take() if isinstance(event, CallStarted)]
            numbers = [int(event.call_id.rpartition("-")[2]) for event in started]
            assert numbers == [1, 2], "it is counted by nobody, and told to nobody"

    run(main)


def answer_after(first: Answer) -> ScriptedTransport:
    """One bad answer, then good ones."""
    bad = [first]
    return ScriptedTransport(lambda request: bad.pop() if bad else good(request))


def test_the_attempts_of_the_response_tell_the_same_story() -> None:
    async def main() -> None:
        async with penstock.open_kernel(config(), transport=answer_after(Reply(401, json=RATE))) as kernel:
            explanation = kernel.explain(PROMPT)
            response = await kernel.complete(PROMPT)
            told = [stage.target for stage in explanation.stages]
            assert [attempt.target for attempt in response.attempts] == [SONNET, GPT] == told[:2]
            assert explanation.cost is not None
            assert response.cost is not None
            assert response.cost <= explanation.cost
            assert len(response.attempts) <= explanation.attempts
            after = await kernel.snapshot()
            assert after.in_flight == 0
            again = kernel.explain(PROMPT)
            assert again.stages[0].when.says.endswith("s: circuit open (key refused)")
            assert again.first == GPT

    run(main)


@pytest.mark.parametrize("before", [(), ("openai/o1-mini",)], ids=["first", "after one that is passed over"])
def test_a_target_that_ends_the_call_for_what_it_cannot_take_ends_the_explanation_too(before: tuple[str, ...]) -> None:
    """Told to begin with the next target, a caller would wait for an answer that never comes."""
    on_unsupported = {"seed": "fail", "tools": "next"}
    settings = config(routes={"default": {"cascade": [*before, SONNET, GPT], "on_unsupported": on_unsupported}})
    request = penstock.ChatRequest(PROMPT, seed=7, tools=[penstock.Tool("clock")])

    async def main() -> None:
        upstream = ScriptedTransport(good)
        async with penstock.open_kernel(settings, transport=upstream) as kernel:
            explanation = kernel.explain(request)
            assert stage_of(explanation, SONNET).when.reason == "unfit"
            assert (explanation.first, explanation.starts_in, explanation.attempts) == (None, None, 0)
            with pytest.raises(errors.ParameterDemandedError) as ended:
                await kernel.complete(request)
            assert ended.value.attempts == ()
            # While its circuit is open the call does not come to it.
            await kernel.breakers.isolate(f"target:{SONNET}")
            await kernel.snapshot()
            assert kernel.explain(request).first == GPT
            assert (await kernel.complete(request)).target == GPT
        assert len(upstream.requests) == 1

    run(main)


def test_what_a_target_cannot_take_rules_it_out() -> None:
    tool = penstock.Tool("clock")
    routes = {"default": {"cascade": ["openai/o1-mini", GPT]}}
    explanation = explained(config(routes=routes), tools=[tool])
    told = explanation.stages[0]
    assert (told.when.reason, told.when.ready_in, told.attempts) == ("unfit", None, 0)
    assert told.when.says.startswith("never: ")
    assert "tools" in told.when.says
    assert explanation.first == GPT


def test_a_retry_budget_that_is_used_up_is_told_at_every_stage_of_its_provider_until_it_has_room() -> None:
    settings = config(
        routes={"default": {"cascade": [{"target": GPT, "attempts": 5}, "openai/gpt-4o-mini", SONNET]}},
        retry_budget={"floor": 2, "ratio": 0.0},
        breaker={"failures_in_a_row": 32, "window_calls": 1_000},
    )

    async def main() -> None:
        upstream = ScriptedTransport(
            lambda request: good(request) if "claude" in model_of(request) else Reply(500, json={})
        )
        async with penstock.open_kernel(settings, transport=upstream) as kernel:
            assert {stage.retries for stage in kernel.explain(PROMPT).stages} == {None}
            response = await kernel.complete("first")
            assert [attempt.target for attempt in response.attempts].count(GPT) == 3
            mail = kernel.snapshot().actors
            explanation = kernel.explain(PROMPT)
            assert kernel.snapshot().actors == mail, "nobody was asked"
            first, second, elsewhere = (stage.retries for stage in explanation.stages)
            assert first == second
            assert first is not None
            assert (first.used, first.limit, elsewhere) == (2, 2, None)
            assert first.room_in is not None
            assert 0 < first.room_in <= 11
            assert "the retry budget of provider openai is used up (2 of 2 retries); there is room" in first.says
            assert explanation.first == GPT, "a call's first attempt is free"
            await trio.sleep(first.room_in)
            assert {stage.retries for stage in kernel.explain(PROMPT).stages} == {None}

    run(main)
