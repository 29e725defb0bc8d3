"""Whole answers that are streamed upstream: when they are, that they are the same, and the patience that models get."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from breaking import cascade, chunks_of, scripted
from trio.testing import MockClock
from worlds import GPT, SONNET, config, is_stream, run

import penstock
from penstock import ChatRequest, Tool, errors
from penstock.policy.upstream_stream import LONG_ANSWER, asked_to_think, streams_upstream, takes_long
from penstock.testing import Reply, ScriptedTransport, Silence
from penstock.types import Capabilities
from penstock_plugins.rehearsal import RehearsalTransport, Script, Upstream

TELLS = Capabilities(stream_usage=True)
SILENT = Capabilities(stream_usage=False)
REASONING = "openai/o3-mini"
WEATHER = Tool("weather", "of a city", {"type": "object", "properties": {"city": {"type": "string"}}})


@pytest.mark.parametrize(
    ("request_", "streams"),
    [
        (ChatRequest("hello"), False),
        (ChatRequest("hello", max_tokens=LONG_ANSWER), False),
        (ChatRequest("hello", max_tokens=LONG_ANSWER + 1), True),
        (ChatRequest("hello", thinking="low"), True),
        (ChatRequest("hello", thinking=2_000), True),
        (ChatRequest("hello", thinking="off"), False),
        (ChatRequest("hello", thinking=0), False),
        (ChatRequest("hello", thinking="off", max_tokens=LONG_ANSWER + 1), True),
    ],
)
def test_auto_streams_what_may_take_long_where_streams_tell_their_usage(request_: ChatRequest, streams: bool) -> None:  # noqa: FBT001
    long = takes_long(request_, thinks=asked_to_think(request_) or False)
    assert streams_upstream(TELLS, "auto", takes_long=long) == streams
    assert not streams_upstream(SILENT, "auto", takes_long=long)
    for capabilities in (TELLS, SILENT):
        assert streams_upstream(capabilities, "always", takes_long=long)
        assert not streams_upstream(capabilities, "never", takes_long=long)


def test_what_the_params_ask_for_counts_where_the_request_says_nothing() -> None:
    for own in (True, False, None):
        assert asked_to_think(ChatRequest("hello"), own=own) is own
        assert asked_to_think(ChatRequest("hello", thinking="off"), own=own) is False
        assert asked_to_think(ChatRequest("hello", thinking="low"), own=own) is True
    assert takes_long(ChatRequest("hello"), thinks=False, own_max_tokens=LONG_ANSWER + 1)
    assert not takes_long(ChatRequest("hello", max_tokens=9), thinks=False, own_max_tokens=LONG_ANSWER + 1)


@pytest.mark.parametrize(
    ("mode", "max_tokens", "streams"),
    [
        (None, 100, False),
        (None, 5_000, True),
        ("auto", 5_000, True),
        ("always", 100, True),
        ("never", 5_000, False),
    ],
)
@pytest.mark.parametrize("target", [SONNET, GPT])
def test_a_whole_answer_is_asked_for_as_configured(
    target: str,
    mode: str | None,
    max_tokens: int,
    streams: bool,  # noqa: FBT001 - a parameter
) -> None:
    async def main() -> None:
        tables: dict[str, Any] = {} if mode is None else {"defaults": {"upstream_stream": mode}}
        upstream = scripted()
        async with penstock.open_kernel(cascade((target, 1), **tables), transport=upstream) as kernel:
            response = await kernel.complete("hello", max_tokens=max_tokens)
            assert is_stream(upstream.requests[0]) == streams
            (attempt,) = response.attempts
            assert (attempt.first_token is not None) == streams
            assert (response.raw is None) == streams
            assert response.text

    run(main)


ASKED: dict[str, dict[str, Any]] = {
    "text": {"max_tokens": 5_000},
    "cut short": {"max_tokens": 40},
    "tools": {"max_tokens": 5_000, "tools": [WEATHER]},
    "thinking": {"max_tokens": 9_000, "thinking": 2_000},
}


@pytest.mark.parametrize("asked", ASKED)
@pytest.mark.parametrize("target", [SONNET, GPT])
def test_streamed_upstream_or_not_the_answer_is_the_same(target: str, asked: str) -> None:
    async def answer(mode: str) -> penstock.ChatResponse:
        # The rehearsal upstream answers by the content of the request alone.
        transport = RehearsalTransport(Upstream(Script(seed=3)))
        settings = config(
            providers={
                "anthropic": {"api_key": "any", "base_url": "http://rehearsal"},
                "openai": {"api_key": "any", "base_url": "http://rehearsal/v1"},
            },
            routes={"default": {"cascade": [{"target": target, "attempts": 1}]}},
            defaults={"upstream_stream": mode},
        )
        async with penstock.open_kernel(settings, transport=transport) as kernel:
            return await kernel.complete("What is the weather in Oslo?", **ASKED[asked])

    async def main() -> None:
        streamed, whole = await answer("always"), await answer("never")
        assert streamed.message == whole.message
        assert streamed.usage == whole.usage
        assert (streamed.finish_reason, streamed.tool_calls) == (whole.finish_reason, whole.tool_calls)
        assert streamed.cost == whole.cost
        assert streamed.raw is None
        assert whole.raw is not None
        assert streamed.attempts[0].first_token is not None
        assert whole.attempts[0].first_token is None

    trio.run(main, clock=MockClock(autojump_threshold=0))


# Patience


@pytest.mark.parametrize(
    ("target", "options", "timeouts", "seconds"),
    [
        (SONNET, {}, {}, 30.0),
        (SONNET, {"thinking": 2_000, "max_tokens": 9_000}, {}, 300.0),
        (SONNET, {"thinking": "off"}, {}, 30.0),
        (REASONING, {}, {}, 300.0),
        (GPT, {}, {}, 30.0),
        # What is configured is meant.
        (SONNET, {"thinking": 2_000, "max_tokens": 9_000}, {"first_token": 45}, 45.0),
        (REASONING, {}, {"first_token": 45}, 45.0),
        (SONNET, {"thinking": 2_000, "max_tokens": 9_000}, {"idle": 45}, 300.0),
    ],
)
@pytest.mark.parametrize("how", ["stream", "complete"])
def test_models_that_think_before_they_speak_get_more_time_for_the_first_token(
    target: str, options: dict[str, Any], timeouts: dict[str, Any], seconds: float, how: str
) -> None:
    async def main() -> None:
        settings = cascade((target, 1), defaults={"timeouts": timeouts, "upstream_stream": "always"})
        async with penstock.open_kernel(settings, transport=ScriptedTransport([Silence()])) as kernel:
            with pytest.raises(errors.FirstTokenTimeoutError):
                if how == "complete":
                    await kernel.complete("hello", **options)
                else:
                    async with kernel.stream("hello", **options) as stream:
                        async for _ in stream:
                            pass
            assert trio.current_time() == pytest.approx(seconds)

    trio.run(main, clock=MockClock(autojump_threshold=0))


@pytest.mark.parametrize(
    ("target", "params", "options", "streamed", "seconds"),
    [
        (SONNET, {}, {}, False, 600.0),
        (SONNET, {"max_tokens": 5_000}, {}, True, 30.0),
        (SONNET, {"max_tokens": 5_000}, {"max_tokens": 100}, False, 600.0),
        (SONNET, {"thinking": {"type": "enabled", "budget_tokens": 2_000}}, {}, True, 300.0),
        (SONNET, {"thinking": {"type": "enabled", "budget_tokens": 2_000}}, {"thinking": "off"}, False, 600.0),
        (SONNET, {"thinking": {"type": "disabled"}}, {}, False, 600.0),
        (GPT, {"max_completion_tokens": 5_000}, {}, True, 30.0),
        ("openai/gpt-5", {"reasoning_effort": "high"}, {}, True, 300.0),
        ("openai/gpt-5", {"reasoning_effort": "minimal", "max_tokens": 5_000}, {}, True, 30.0),
        ("openai/gpt-5", {"max_completion_tokens": 5_000}, {}, True, 300.0),
    ],
)
def test_what_a_target_asks_for_by_its_own_params_counts_as_if_the_request_did(
    target: str,
    params: dict[str, Any],
    options: dict[str, Any],
    streamed: bool,  # noqa: FBT001 - a parameter
    seconds: float,
) -> None:
    async def main() -> None:
        provider, _, model = target.partition("/")
        settings = cascade(("t", 1), targets={"t": {"provider": provider, "model": model, "params": params}})
        upstream = ScriptedTransport([Silence()])
        async with penstock.open_kernel(settings, transport=upstream) as kernel:
            (stage,) = kernel.explain("hello", **options).stages
            assert (stage.streamed, stage.silent) == (streamed, seconds)
            with pytest.raises(errors.CallError):
                await kernel.complete("hello", **options)
            assert is_stream(upstream.requests[0]) == streamed
            assert trio.current_time() == pytest.approx(seconds)

    trio.run(main, clock=MockClock(autojump_threshold=0))


@pytest.mark.parametrize(
    ("options", "timeouts", "seconds"),
    [
        ({}, {}, 30.0),
        ({"thinking": 2_000, "max_tokens": 9_000}, {}, 120.0),
        ({"thinking": 2_000, "max_tokens": 9_000}, {"idle": 45}, 45.0),
    ],
)
def test_they_get_more_time_between_their_words_too(
    options: dict[str, Any], timeouts: dict[str, Any], seconds: float
) -> None:
    async def main() -> None:
        upstream = ScriptedTransport(
            lambda request: Reply(chunks=[b"".join(chunks_of(request, 2)), b": late\n\n"], pause=250.0)
        )
        settings = cascade((SONNET, 1), defaults={"timeouts": timeouts | {"first_token": 260}})
        async with penstock.open_kernel(settings, transport=upstream) as kernel:
            with pytest.raises(errors.StreamBrokenError) as caught:
                async with kernel.stream("hello", **options) as stream:
                    async for _ in stream:
                        pass
            assert isinstance(caught.value.__cause__, errors.IdleTimeoutError)
            assert trio.current_time() == pytest.approx(250 + seconds)

    trio.run(main, clock=MockClock(autojump_threshold=0))
