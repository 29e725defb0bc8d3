"""What `kernel.explain` said before a call, held to what became of the call: under faults of every kind, many at once.

Calls of one kernel follow one another, so that cool-downs and open circuits of the ones before stand in the way of the
next. Everything is virtual time; the seed decides the faults and the jitter.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import attrs
import httpx
import msgspec
import pytest
import trio
from worlds import good, run

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


def settings_of(chance: random.Random, **defaults: Any) -> penstock.Config:
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
        "defaults": {"timeouts": {"connect": 2, "first_token": 10, "idle": 8, "total": 40}, **defaults},
    }
    if chance.random() < 0.6:
        tables["budget"] = {"limits": [{"per": "day", "usd": 1_000}]}
    if chance.random() < 0.3:
        tables["cache"] = {"store": "memory", "when": "always"}
    return penstock.Config.from_dict(tables, environ={})


async def ended(kernel: penstock.Kernel, prompt: str | penstock.ChatRequest, *, stream: bool, **options: Any) -> Ended:
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


class Trip(msgspec.Struct):
    """What an answer is to become."""

    city: str
    days: int


RIGHT = '{"city": "Rome", "days": 3}'
LONG = ("x" * 20_000, "\U0001f600" * 20_000)
REFUSALS = (
    "response_format of this type is not supported",
    "tools are not supported",
    "parallel_tool_calls is not supported",
    "output_config: schema is too complex",
)


def answer_of(chance: random.Random) -> Callable[[httpx.Request], Reply]:
    """An upstream that bills what it may, and whose answers are cut, wrong, refused or right."""
    weights = [chance.random() for _ in range(5)]

    def answer(request: httpx.Request) -> Reply:
        asked = msgspec.json.decode(request.content)
        most = int(asked.get("max_tokens") or asked.get("max_completion_tokens") or 2_000)
        kind = chance.choices(["cut", "wrong", "refused", "failed", "right"], weights)[0]
        if kind == "refused":
            error = {"type": "invalid_request_error", "message": chance.choice(REFUSALS)}
            return Reply(400, json={"type": "error", "error": error}, delay=1.0)
        if kind == "failed":
            return Reply(500, json={"type": "error", "error": {"type": "api_error", "message": "no"}}, delay=1.0)
        texts = {
            "cut": '{"city": "Ro',
            "wrong": f'{{"city": "{chance.choice(LONG)}"}}',
            "right": RIGHT,
        }
        body = good(request, texts[kind]).json
        read, written = min(len(request.content), 100_000), most if kind == "cut" else min(most, 9)
        body["usage"] = {"input_tokens": read, "output_tokens": written}
        if "choices" in body:
            body["choices"][0]["finish_reason"] = "length" if kind == "cut" else "stop"
            body["usage"] = {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}
        else:
            body["stop_reason"] = "max_tokens" if kind == "cut" else "end_turn"
        return Reply(json=body, delay=1.0)

    return answer


@pytest.mark.parametrize("seed", range(60))
def test_no_call_for_a_value_comes_to_more_than_was_explained(seed: int) -> None:
    chance = random.Random(seed)
    settings = settings_of(chance, upstream_stream="never")
    random.seed(seed)

    async def main() -> None:
        async with penstock.open_kernel(settings, transport=ScriptedTransport(answer_of(chance))) as kernel:
            for number in range(CALLS):
                most = chance.choice([None, 1, 400, 8_000])
                request = penstock.ChatRequest(f"question {number}", output=Trip, max_tokens=most)
                await kernel.snapshot()
                explanation = kernel.explain(request)
                assert explanation.cost is not None
                check(explanation, await ended(kernel, request, stream=False))
                await trio.sleep(chance.choice([0.0, 3.0, 30.0]))

    run(main, limit=10**7)


def explained_and_made(answers: Sequence[Reply], **options: Any) -> tuple[Explanation, Ended]:
    """A call for a value over one target, of one attempt, that is answered so."""
    settings = penstock.Config.from_dict(
        {
            "providers": {"openai": {"api_key": "any"}},
            "routes": {"default": {"cascade": [{"target": "openai/gpt-4o", "attempts": 1}]}},
            "defaults": {"upstream_stream": "never"},
        },
        environ={},
    )

    async def main() -> tuple[Explanation, Ended]:
        async with penstock.open_kernel(settings, transport=ScriptedTransport(answers)) as kernel:
            request = penstock.ChatRequest("where to?", output=Trip, **options)
            return kernel.explain(request), await ended(kernel, request, stream=False)

    return run(main)


def cut(tokens: int) -> Reply:
    message = {"role": "assistant", "content": '{"city": "Ro'}
    usage = {"prompt_tokens": 2_000, "completion_tokens": tokens, "total_tokens": 2_000 + tokens}
    choice = {"index": 0, "message": message, "finish_reason": "length"}
    return Reply(json={"id": "1", "model": "gpt-4o", "choices": [choice], "usage": usage}, delay=1.0)


def test_a_cut_answer_is_explained_with_twice_the_room_for_each_repair() -> None:
    explanation, call = explained_and_made([cut(500), cut(1_000), cut(2_000)], max_tokens=500)
    assert [attempt.usage.output_tokens for attempt in call.attempts if attempt.usage] == [500, 1_000, 2_000]
    assert explanation.stages[0].output_tokens == 2_000
    # One as configured, one for a dead connection, four ways that may be refused, two repairs.
    assert explanation.attempts == explanation.stages[0].attempts == 1 + 1 + 4 + 2
    check(explanation, call)


def test_an_answer_that_is_quoted_to_be_mended_is_explained_as_read() -> None:
    message = {"role": "assistant", "content": f'{{"city": "{LONG[1]}"}}'}
    body = {"id": "1", "model": "gpt-4o", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
    usage = {"prompt_tokens": 45_000, "completion_tokens": 5, "total_tokens": 45_005}
    explanation, call = explained_and_made([Reply(json=body | {"usage": usage}, delay=1.0)] * 3, max_tokens=50)
    read = explanation.stages[0].input_tokens
    assert read is not None
    assert 45_000 < read <= 128_000, "no more than the model can read"
    check(explanation, call)


def test_no_room_is_explained_beyond_what_the_model_can_write() -> None:
    explanation, call = explained_and_made([cut(10_000), cut(16_384)], max_tokens=10_000)
    assert [attempt.usage.output_tokens for attempt in call.attempts if attempt.usage] == [10_000, 16_384]
    assert explanation.stages[0].output_tokens == 16_384
    check(explanation, call)


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
