"""What `kernel.explain` said before a call, held to what became of the call: under faults of every kind, many at once.

Calls of one kernel follow one another, so that cool-downs and open circuits of the ones before stand in the way of the
next. Everything is virtual time; the seed decides the faults and the jitter.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import attrs
import pytest
import trio
from worlds import run

import penstock
from penstock import Attempt, Explanation, errors
from penstock.testing import Reply, ScriptedTransport
from penstock_plugins.rehearsal import Fault, RehearsalTransport, Rule, Script, Upstream, faults

FAULTS: tuple[Fault, ...] = (
    faults.RateLimit(after_s=2.0),
    faults.RateLimit(after_s=45.0),
    faults.RateLimit(hint="none"),
    faults.Quota(),
    faults.ServerFailure(),
    faults.Overloaded(),
    faults.WrongKey(),
    faults.ModelNotFound(),
    faults.InvalidRequest(),
    faults.ContextLength(),
    faults.FilteredAnswer(),
    faults.ResetConnection(),
    faults.ResetConnection(at="mid_body"),
    faults.SilentBeforeHead(),
    faults.SilentAfterHead(),
    faults.LateFirstToken(by_s=25),
    faults.Stall(),
    faults.Trickle(bytes_per_s=3),
    faults.CutStream(),
    faults.MissingTerminator(),
    faults.MalformedChunk(),
    faults.ErrorEvent(),
    faults.ErrorEvent(after_chunks=2),
    faults.Html(),
    faults.EmptyBody(),
    faults.NoUsage(),
)
CALLS = 6
"""Calls of each kernel."""
EPSILON = 1e-6


@attrs.frozen
class Ended:
    """What became of a call."""

    seconds: float
    attempts: Sequence[Attempt]
    cost: Decimal | None
    tokens: int


def script_of(chance: random.Random) -> Script:
    rules = [
        Rule(
            fault=chance.choice(FAULTS),
            probability=chance.choice([0.3, 0.7, 1.0]),
            model=chance.choice(["*", "gpt*"]),
        )
        for _ in range(chance.randint(1, 4))
    ]
    return Script(tuple(rules), seed=chance.randrange(10**6))


def settings_of(chance: random.Random) -> penstock.Config:
    targets = chance.sample(
        ["anthropic/claude-sonnet-4-20250514", "openai/gpt-4o", "anthropic/claude-3-haiku-20240307"],
        chance.randint(1, 3),
    )
    tables: dict[str, Any] = {
        "providers": {"anthropic": {"api_key": "any"}, "openai": {"api_key": "any"}},
        "routes": {
            "default": {
                "cascade": [{"target": target, "attempts": chance.randint(1, 4)} for target in targets],
                "timeout": chance.choice([5.0, 60.0, 400.0]),
                "on_content_filter": chance.choice(["fail", "next"]),
                "all_open": chance.choice(["soonest", "fail", "ignore"]),
            }
        },
        "defaults": {"timeouts": {"connect": 2, "first_token": 10, "idle": 8, "total": 40}},
    }
    if chance.random() < 0.6:
        tables["budget"] = {"limits": [{"per": "day", "usd": 1_000}]}
    if chance.random() < 0.3:
        tables["cache"] = {"store": "memory", "when": "always"}
    return penstock.Config.from_dict(tables, environ={})


async def ended(kernel: penstock.Kernel, prompt: str, *, stream: bool, **options: Any) -> Ended:
    began = trio.current_time()
    told: penstock.ChatResponse | errors.CallError
    try:
        if stream:
            async with kernel.stream(prompt, **options) as chunks:
                async for _ in chunks:
                    pass
            told = chunks.response
        else:
            told = await kernel.complete(prompt, **options)
    except errors.CallError as error:
        told = error
    seconds = trio.current_time() - began
    usage = told.usage
    return Ended(seconds, told.attempts, told.cost, usage.total_tokens if usage else 0)


def check(explanation: Explanation, call: Ended) -> None:
    """Nothing came to more than was said."""
    assert explanation.seconds is not None
    assert call.seconds <= explanation.seconds + EPSILON
    assert len(call.attempts) <= explanation.attempts
    made = Counter(attempt.target for attempt in call.attempts)
    stages = {stage.target: stage for stage in explanation.stages}
    for target, times in made.items():
        assert times <= stages[target].attempts
    for attempt in call.attempts:
        stage = stages[attempt.target]
        assert attempt.duration <= stage.longest_attempt + EPSILON
        if stage.cost is not None and attempt.cost is not None:
            assert attempt.cost <= stage.cost
    # A hedge runs beside its probe, and takes no time of its own.
    assert sum(attempt.duration for attempt in call.attempts if not attempt.hedge) <= explanation.trying + EPSILON
    if explanation.cost is not None:
        assert call.cost is not None
        assert call.cost <= explanation.cost
    if explanation.tokens is not None:
        assert call.tokens <= explanation.tokens
    if call.attempts:
        first = call.attempts[0]
        assert first.target == explanation.first, "it begins where it was said to begin"
        assert explanation.starts_in is not None
        assert first.waited == pytest.approx(explanation.starts_in)


@pytest.mark.parametrize("seed", range(60))
def test_no_call_comes_to_more_than_was_explained(seed: int) -> None:
    chance = random.Random(seed)
    settings, upstream = settings_of(chance), Upstream(script_of(chance))
    random.seed(seed)  # the jitter of back-offs and cool-downs

    async def main() -> None:
        async with penstock.open_kernel(settings, transport=RehearsalTransport(upstream)) as kernel:
            for number in range(CALLS):
                stream = chance.random() < 0.5
                options: dict[str, Any] = {
                    "max_tokens": chance.choice([None, 400, 8_000]),
                    "commit": chance.choice([None, "buffer", "whole", "continue", "restart"]),
                }
                # Everything told by the calls before is known: a call that is made now knows it too.
                await kernel.snapshot()
                explanation = kernel.explain(f"question {number}", stream=stream, **options)
                check(explanation, await ended(kernel, f"question {number}", stream=stream, **options))
                await trio.sleep(chance.choice([0.0, 3.0, 30.0]))

    run(main, limit=10**7)


@pytest.mark.parametrize("stream", [False, True])
def test_a_silent_upstream_costs_what_was_said_before_the_next_target_begins(stream: bool) -> None:  # noqa: FBT001
    upstream = Upstream(Script((Rule(fault=faults.SilentBeforeHead(), model="claude-*"),)))
    settings = penstock.Config.from_dict(
        {
            "providers": {"anthropic": {"api_key": "any"}, "openai": {"api_key": "any"}},
            "routes": {"default": {"cascade": ["anthropic/claude-sonnet-4-20250514", "openai/gpt-4o"]}},
            "defaults": {"timeouts": {"first_token": 10, "total": 40}},
        },
        environ={},
    )

    async def main() -> None:
        async with penstock.open_kernel(settings, transport=RehearsalTransport(upstream)) as kernel:
            explanation = kernel.explain("hello", stream=stream)
            call = await ended(kernel, "hello", stream=stream)
            assert [attempt.target for attempt in call.attempts] == [stage.target for stage in explanation.stages]
            assert call.attempts[0].duration == pytest.approx(explanation.stages[0].silent)

    run(main)


def test_a_stream_whose_connection_stays_open_after_its_end_is_within_its_longest_attempt() -> None:
    usage = b'{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}'
    last = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":' + usage + b"}\n\n"
    events = [
        b'data: {"id":"1","model":"gpt-4o","choices":[{"index":0,"delta":{"content":"x"},"finish_reason":null}]}\n\n',
        b": still here\n\n",
        last + b"data: [DONE]\n\n",
        b": nobody closes this\n\n",
    ]
    settings = penstock.Config.from_dict(
        {
            "providers": {"openai": {"api_key": "any"}},
            "routes": {"default": {"cascade": [{"target": "openai/gpt-4o", "attempts": 1}]}},
            "defaults": {"timeouts": {"first_token": 40, "idle": 40, "total": 40}},
        },
        environ={},
    )

    async def main() -> None:
        # The end comes just before the total timeout, and then nothing: the connection gets its second.
        upstream = ScriptedTransport([Reply(chunks=events, pause=13.3)])
        async with penstock.open_kernel(settings, transport=upstream) as kernel:
            explanation = kernel.explain("hello", stream=True)
            call = await ended(kernel, "hello", stream=True)
            assert 40.0 < call.attempts[0].duration <= explanation.stages[0].longest_attempt
            check(explanation, call)

    run(main)
