"""`continue`: what a target is asked that goes on from a prefix, and when it is not asked to."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from breaking import (
    LOST,
    PREFILL_REFUSED,
    TEXT,
    body_of,
    cascade,
    cut,
    is_anthropic,
    prefill_of,
    scripted,
    watch,
)
from worlds import GPT, HAIKU, SONNET, anthropic_chunks, run

import penstock
from penstock import ChatRequest, Message, Tool, errors
from penstock.testing import Reply, ScriptedTransport

ELSEWHERE = [(SONNET, 1), (HAIKU, 1)]
BEGINNING = TEXT[:6]
WEATHER = Tool("weather", "of a city", {"type": "object", "properties": {"city": {"type": "string"}}})
TOO_LONG = Reply(
    400,
    json={"type": "error", "error": {"type": "invalid_request_error", "message": "prompt is too long: 9 tokens > 8"}},
)


def test_the_continuation_asks_the_same_of_the_target_but_for_the_beginning_of_the_answer() -> None:
    async def main() -> None:
        upstream = scripted(sonnet=[cut(12)])
        async with penstock.open_kernel(cascade((SONNET, 2)), transport=upstream) as kernel:
            request = ChatRequest(
                [Message.user("one"), Message.assistant("two"), Message.user("three")],
                system="Be brief.",
                max_tokens=100,
                temperature=0.5,
                stop=["END"],
                tools=[WEATHER],
            )
            seen = await watch(kernel, request, commit="continue")
            assert seen.text == TEXT
        first, second = (body_of(request) for request in upstream.requests)
        assert second["messages"][:-1] == first["messages"]
        assert second["messages"][-1] == {"role": "assistant", "content": TEXT[:36].rstrip()}
        assert (first["max_tokens"], second["max_tokens"]) == (100, 98)
        same = first.keys() - {"messages", "max_tokens"}
        assert {name: first[name] for name in same} == {name: second[name] for name in second if name in same}
        assert first.keys() == second.keys()

    run(main)


@pytest.mark.parametrize("again", ["", " ", " \n"])
def test_white_space_that_no_prefill_may_end_in_is_not_sent_and_not_shown_twice(again: str) -> None:
    async def main() -> None:
        first = Reply(chunks=[*anthropic_chunks("One. \n")[:-3], LOST])
        upstream = scripted(sonnet=[first, Reply(chunks=anthropic_chunks(f"{again}Two."))])
        async with penstock.open_kernel(cascade((SONNET, 2)), transport=upstream) as kernel:
            seen = await watch(kernel, commit="continue")
            assert prefill_of(upstream.requests[1]) == "One."
            assert seen.text == "One. \nTwo."
            assert seen.response is not None
            assert seen.response.text == "One. \nTwo."

    run(main)


def test_the_callers_own_beginning_of_the_answer_stays_before_what_was_shown() -> None:
    async def main() -> None:
        upstream = scripted(sonnet=[cut(2), Reply(chunks=anthropic_chunks(TEXT[6:]))])
        async with penstock.open_kernel(cascade((SONNET, 2)), transport=upstream) as kernel:
            seen = await watch(kernel, [Message.user("Say it."), Message.assistant("Well:")], commit="continue")
            assert prefill_of(upstream.requests[1]) == "Well:" + BEGINNING
            assert len(body_of(upstream.requests[1])["messages"]) == 2
            assert seen.text == TEXT, "what the caller had said is no part of the answer"

    run(main)


def test_two_cuts_in_a_row_are_two_seams() -> None:
    async def main() -> None:
        upstream = scripted(sonnet=[cut(2), cut(2)])
        async with penstock.open_kernel(cascade((SONNET, 2), (HAIKU, 1)), transport=upstream) as kernel:
            seen = await watch(kernel, commit="continue")
            assert seen.text == TEXT
            assert seen.markers == [f"seam {SONNET}", f"seam {HAIKU}"]
            assert [prefill_of(request) for request in upstream.requests] == ["", TEXT[:6], TEXT[:12].rstrip()]
            assert seen.response is not None
            assert seen.response.text == TEXT
            assert [attempt.outcome for attempt in seen.response.attempts] == ["truncated", "truncated", "ok"]

    run(main)


# Where no prefill is taken


@pytest.mark.parametrize("refusal", [PREFILL_REFUSED, TOO_LONG])
def test_a_target_that_refuses_the_prefill_is_asked_again_without_it(refusal: Reply) -> None:
    async def main() -> None:
        upstream = scripted(sonnet=[cut(2)], haiku=[refusal])
        async with penstock.open_kernel(cascade(*ELSEWHERE), transport=upstream) as kernel:
            plan = kernel.explain("hello", stream=True, commit="continue")
            seen = await watch(kernel, commit="continue")
            assert (seen.text, seen.markers) == (TEXT, [f"restarted {HAIKU}"])
            assert [prefill_of(request) for request in upstream.requests] == ["", BEGINNING, ""]
            assert [target for target, _ in seen.attempts] == [SONNET, HAIKU, HAIKU]
            assert plan.attempts >= 3

    run(main)


def test_a_prefill_that_is_refused_counts_as_none_of_the_attempts_and_hides_no_error() -> None:
    async def main() -> None:
        boom = Reply(500, json={"type": "error", "error": {"type": "api_error", "message": "boom"}})
        upstream = scripted(sonnet=[cut(2)], haiku=[PREFILL_REFUSED, boom, boom])
        async with penstock.open_kernel(cascade((SONNET, 1), (HAIKU, 2)), transport=upstream) as kernel:
            plan = kernel.explain("hello", stream=True, commit="continue")
            assert plan.attempts == kernel.explain("hello", stream=True).attempts + 2
            seen = await watch(kernel, commit="continue")
            assert isinstance(seen.error, errors.StreamBrokenError)
            assert seen.error.partial == BEGINNING
            outcomes = [outcome for _, outcome in seen.attempts]
            assert outcomes == ["truncated", "invalid_request", "server_error", "server_error"]
            cause = seen.error.__cause__
            assert isinstance(cause, errors.CascadeExhaustedError)
            assert [error.kind for error in cause.errors] == outcomes
            assert len(outcomes) <= plan.attempts

    run(main)


def test_each_target_is_asked_to_go_on_once_where_it_refuses() -> None:
    async def main() -> None:
        upstream = scripted(sonnet=[cut(2), PREFILL_REFUSED, cut(1)])
        async with penstock.open_kernel(cascade((SONNET, 3)), transport=upstream) as kernel:
            seen = await watch(kernel, commit="continue")
            # A cut answer is asked for once more, not more often.
            assert seen.text == TEXT[:3]
            assert [prefill_of(request) for request in upstream.requests] == ["", BEGINNING, ""]
            assert isinstance(seen.error, errors.StreamBrokenError)

    run(main)


def test_a_wire_that_knows_no_prefill_is_never_sent_one() -> None:
    async def main() -> None:
        upstream = scripted(gpt=[cut(2)])
        async with penstock.open_kernel(cascade((GPT, 2)), transport=upstream) as kernel:
            seen = await watch(kernel, commit="continue")
            assert (seen.text, seen.markers) == (TEXT, [f"restarted {GPT}"])
            assert [body_of(request)["messages"] for request in upstream.requests] == [
                [{"role": "user", "content": "hello"}]
            ] * 2

    run(main)


def test_what_one_wire_began_another_goes_on_with() -> None:
    async def main() -> None:
        upstream = scripted(gpt=[cut(2)])
        async with penstock.open_kernel(cascade((GPT, 1), (HAIKU, 1)), transport=upstream) as kernel:
            seen = await watch(kernel, commit="continue")
            assert (seen.text, seen.markers) == (TEXT, [f"seam {HAIKU}"])
            assert is_anthropic(upstream.requests[1])

    run(main)


@pytest.mark.parametrize(
    "request_",
    [
        ChatRequest("hello", thinking="low", max_tokens=9_000),
        ChatRequest("hello", thinking=2_000, max_tokens=9_000),
        ChatRequest("hello", output={"schema": {"type": "object"}}),
    ],
)
def test_thinking_and_schemas_are_asked_for_anew(request_: ChatRequest) -> None:
    async def main() -> None:
        upstream = scripted(sonnet=[cut(2)])
        settings = cascade((SONNET, 2), route={"on_unsupported": {"schema": "drop"}})
        async with penstock.open_kernel(settings, transport=upstream) as kernel:
            seen = await watch(kernel, request_, commit="continue")
            assert (seen.text, seen.markers) == (TEXT, [f"restarted {SONNET}"])
            assert [prefill_of(request) for request in upstream.requests] == ["", ""]

    run(main)


def events(*, block: dict[str, Any], deltas: list[dict[str, Any]]) -> list[bytes]:
    """A block of another kind after a text, and then the connection breaks."""
    told: list[dict[str, Any]] = [{"type": "content_block_start", "index": 1, "content_block": block}]
    told += [{"type": "content_block_delta", "index": 1, "delta": delta} for delta in deltas]
    lines = [b"event: %s\ndata: %s\n\n" % (event["type"].encode(), msgspec.json.encode(event)) for event in told]
    return [*anthropic_chunks("Let me see. ")[:-2], *lines]


CALLS = events(
    block={"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {}},
    deltas=[{"type": "input_json_delta", "partial_json": '{"city": "Os'}],
)
THOUGHTS = events(
    block={"type": "thinking", "thinking": "", "signature": ""},
    deltas=[{"type": "thinking_delta", "thinking": "Oslo, then"}],
)


@pytest.mark.parametrize("chunks", [CALLS, THOUGHTS])
def test_what_was_cut_in_the_middle_of_a_tool_call_or_a_thought_begins_again(chunks: list[bytes]) -> None:
    async def main() -> None:
        upstream = scripted(sonnet=[Reply(chunks=[*chunks, LOST])])
        async with penstock.open_kernel(cascade(*ELSEWHERE), transport=upstream) as kernel:
            seen = await watch(kernel, commit="continue", tools=[WEATHER])
            assert (seen.text, seen.markers) == (TEXT, [f"restarted {HAIKU}"])
            assert prefill_of(upstream.requests[1]) == ""
            assert seen.response is not None
            assert not seen.response.tool_calls, "the call that was cut is no part of the answer"

    run(main)


@pytest.mark.parametrize("commit", ["first_content", "restart", "whole", "continue"])
def test_a_tool_call_that_was_cut_is_in_no_response(commit: str) -> None:
    async def main() -> None:
        upstream = scripted(sonnet=[Reply(chunks=[*CALLS, LOST])])
        async with penstock.open_kernel(cascade(*ELSEWHERE), transport=upstream) as kernel:
            seen = await watch(kernel, commit=commit, tools=[WEATHER])
            if commit == "first_content":
                assert isinstance(seen.error, errors.StreamBrokenError)
                assert seen.error.partial == "Let me see. "
            else:
                assert seen.response is not None
                assert (seen.response.text, seen.response.tool_calls) == (TEXT, ())

    run(main)


# The guards


def test_nothing_of_a_continued_answer_is_cached() -> None:
    async def main() -> None:
        upstream = scripted(sonnet=[cut(2)])
        settings = cascade(*ELSEWHERE, cache={"store": "memory", "when": "always"})
        async with penstock.open_kernel(settings, transport=upstream) as kernel:
            continued = await kernel.complete("hello", commit="continue", max_tokens=5_000)
            assert continued.text == TEXT
            assert len(upstream.requests) == 2
            again = await kernel.complete("hello", commit="continue", max_tokens=5_000)
            assert (again.cache, len(upstream.requests)) == ("miss", 3)
            assert (await kernel.complete("hello", max_tokens=5_000)).cache == "hit"
            snapshot = await kernel.snapshot()
            assert snapshot.cache is not None
            assert snapshot.cache.flights.flights == 0

    run(main)


async def held_at(stream: penstock.ChatStream, kernel: penstock.Kernel, *kinds: type[penstock.Chunk]) -> int:
    """Tokens that are held when the next chunk of that kind comes."""
    async for chunk in stream:
        if isinstance(chunk, kinds):
            return (await kernel.snapshot()).accounts[""].windows[0].held.tokens
    raise AssertionError("there was none")


def test_the_hold_covers_a_continuation_whose_input_has_grown() -> None:
    async def main() -> None:
        long = "word " * 200
        cut_late = Reply(chunks=[*anthropic_chunks(long)[:-3], LOST], pause=0.1)
        upstream = scripted(sonnet=[cut_late, Reply(chunks=anthropic_chunks("the end"), pause=0.1)])
        settings = cascade((SONNET, 2), budget={"limits": [{"per": "day", "tokens": 10**9}]})
        async with penstock.open_kernel(settings, transport=upstream) as kernel:
            async with kernel.stream("hello", commit="continue", max_tokens=500) as stream:
                before = await held_at(stream, kernel, penstock.TextDelta)
                after = await held_at(stream, kernel, penstock.Seam)
                async for _ in stream:
                    pass
                assert stream.response.text == long + "the end"
            # The cut attempt at its bound, and one more: a token for every byte of the prefix, less what it used up.
            size = len(long.rstrip())
            grown = 2 * before + size - size // 16
            assert grown <= after < grown + 100
            window = (await kernel.snapshot()).accounts[""].windows[0]
            assert window.held.tokens == 0
            assert before <= window.spent.tokens <= after

    run(main)


def test_a_continuation_that_the_budget_does_not_allow_ends_the_stream_with_what_was_shown() -> None:
    async def main() -> None:
        upstream = scripted(sonnet=[cut(2)])
        settings = cascade((SONNET, 2), budget={"limits": [{"per": "day", "tokens": 4_000}]})
        async with penstock.open_kernel(settings, transport=upstream) as kernel:
            seen = await watch(kernel, commit="continue", max_tokens=1_000)
            assert isinstance(seen.error, errors.StreamBrokenError)
            assert isinstance(seen.error.__cause__, errors.BudgetExceededError)
            assert seen.error.partial == seen.text == BEGINNING
            assert [attempt.outcome for attempt in seen.error.attempts] == ["truncated"]

    run(main)


def test_an_answer_that_restarts_after_a_refused_prefill_is_held_at_its_own_bound() -> None:
    async def main() -> None:
        again = Reply(chunks=anthropic_chunks(TEXT), pause=0.1)
        upstream = scripted(sonnet=[cut(12, pause=0.1), PREFILL_REFUSED, again])
        settings = cascade((SONNET, 3), budget={"limits": [{"per": "day", "usd": 1}]})
        async with penstock.open_kernel(settings, transport=upstream) as kernel:
            async with kernel.stream("hello", commit="continue", max_tokens=100) as stream:
                await held_at(stream, kernel, penstock.TextDelta)
                first = (await kernel.snapshot()).accounts[""].windows[0].held.nano_usd
                await held_at(stream, kernel, penstock.Restarted)
                second = (await kernel.snapshot()).accounts[""].windows[0].held.nano_usd
        # The refused one cost nothing; the continuation it was topped up for cost a little more than beginning again.
        assert 2 * first <= second < 2.1 * first

    run(main)


@pytest.mark.slow
def test_a_hundred_thousand_characters_are_gone_on_from_with_one_token_left_to_ask_for() -> None:
    async def main() -> None:
        long = "x" * 100_000
        upstream = ScriptedTransport(
            [Reply(chunks=[*anthropic_chunks(long)[:-3], LOST]), Reply(chunks=anthropic_chunks("."))]
        )
        async with penstock.open_kernel(cascade((SONNET, 2)), transport=upstream) as kernel:
            seen = await watch(kernel, commit="continue", max_tokens=5_000)
            assert seen.text == long + "."
            assert body_of(upstream.requests[1])["max_tokens"] == 1

    run(main)
