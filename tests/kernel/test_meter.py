"""Streams of a provider that ignores `max_tokens`: cut at the hold, told with what came, and booked in full."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import attrs
import httpx
import msgspec
import pytest
import trio
from breaking import LOST, body_of, cascade, watch
from hedging import Two, after, nothing_is_left, two_targets
from hedging import ask as ask_two
from worlds import GPT, HAIKU, SONNET, anthropic_chunks, good, is_stream, openai_chunks, run

import penstock
from penstock import errors
from penstock._events import AttemptEnded, BudgetOverrun
from penstock.testing import Answer, Reply, ScriptedTransport
from penstock_plugins.rehearsal import Latency, RehearsalTransport, Rule, Script, Upstream, faults, serve

LIMITED = {"limits": [{"per": "day", "tokens": 10**9}]}
MOST = 20
"""`max_tokens` here."""
LINE = 16 * (MOST + 1)
"""UTF-8 bytes from which on it is certain that more was served."""
READ = 16 * 1024
"""The most that one read of a socket brings."""
ENDLESS = "All work and no play makes Jack a dull boy. " * 100


def endless(request: httpx.Request) -> Reply:
    """An answer of 4,400 bytes, a piece of three every tenth of a second."""
    return attrs.evolve(good(request, ENDLESS), pause=0.1)


def settings(url: str, model: str) -> penstock.Config:
    return penstock.Config.from_dict(
        {
            "providers": {
                "anthropic": {"api_key": "any", "base_url": url},
                "openai": {"api_key": "any", "base_url": f"{url}/v1"},
            },
            "routes": {"default": {"cascade": [model]}},
            "budget": LIMITED,
        },
        environ={},
    )


async def check(kernel: penstock.Kernel, upstream: Upstream) -> None:
    """Cut, told, booked, and upstream is left alone at once."""
    events, shown = kernel.events(), ""
    with pytest.raises(errors.BudgetCutError) as caught:
        async with kernel.stream("Why is the sky blue?", max_tokens=MOST) as stream:
            async for text in stream.text():
                shown += text
    assert caught.value.partial == shown
    assert LINE <= len(shown.encode()) <= LINE + READ
    (attempt,) = caught.value.attempts
    assert attempt.outcome == "budget_cut"
    with trio.fail_after(5):
        while upstream.statistics().in_flight:  # noqa: ASYNC110 - another loop may have it
            await trio.sleep(0.01)
    served = upstream.statistics().served()
    assert served.completed == 0
    assert MOST < served.output_tokens < MOST + 2_000, "it would have gone on for ever"
    assert served.requests == 1, "nothing more is paid for"
    snapshot = await kernel.snapshot()
    window = snapshot.accounts[""].windows[0]
    assert window.held.tokens == 0
    assert attempt.usage is not None
    assert window.spent.tokens > attempt.usage.output_tokens
    (overrun,) = [event for event in events.take() if isinstance(event, BudgetOverrun)]
    assert overrun.tokens > 0


def ignoring_max_tokens() -> Upstream:
    script = Script((Rule(fault=faults.IgnoreMaxTokens(extra_tokens=5_000)),), seed=1)
    return Upstream(script, latency=Latency(chunk_s=0.002))


@pytest.mark.parametrize("model", ["anthropic/claude-sonnet-4-20250514", "openai/gpt-4o"])
def test_over_real_sockets_a_stream_beyond_its_hold_is_cut(model: str) -> None:
    async def main() -> None:
        upstream = ignoring_max_tokens()
        with trio.fail_after(30):
            async with serve(upstream) as server, penstock.open_kernel(settings(server.url, model)) as kernel:
                await check(kernel, upstream)

    trio.run(main)


@pytest.mark.parametrize("model", ["anthropic/claude-sonnet-4-20250514", "openai/gpt-4o"])
def test_in_memory_a_stream_beyond_its_hold_is_cut(model: str) -> None:
    async def main() -> None:
        upstream = ignoring_max_tokens()
        transport = RehearsalTransport(upstream)
        async with penstock.open_kernel(settings("http://rehearsal", model), transport=transport) as kernel:
            await check(kernel, upstream)

    run(main)


def cut_short(main: Callable[[penstock.Kernel, ScriptedTransport], Awaitable[None]], **tables: Any) -> None:
    """`main` over targets that never end."""

    async def story() -> None:
        upstream = ScriptedTransport(endless)
        config = cascade((GPT, 2), (SONNET, 2), budget=LIMITED, **tables)
        async with penstock.open_kernel(config, transport=upstream) as kernel:
            await main(kernel, upstream)
            snapshot = await kernel.snapshot()
            assert snapshot.in_flight == 0
            assert snapshot.accounts[""].windows[0].held.tokens == 0
            assert upstream.open == 0

    run(story)


@pytest.mark.parametrize("commit", ["first_content", "buffer", "whole", "continue", "restart"])
def test_under_every_commit_policy_a_cut_is_final_and_tells_what_came(commit: str) -> None:
    async def main(kernel: penstock.Kernel, upstream: ScriptedTransport) -> None:
        seen = await watch(kernel, max_tokens=MOST, commit=commit)
        assert isinstance(seen.error, errors.BudgetCutError)
        assert seen.attempts == [(GPT, "budget_cut")]
        assert len(upstream.requests) == 1, "no fallback is paid for"
        assert seen.error.partial == ENDLESS[:LINE]
        # What is shown late was not shown; the error has it all the same.
        assert seen.text == ("" if commit in ("whole", "buffer") else ENDLESS[:LINE])

    cut_short(main)


def test_an_answer_that_is_wanted_whole_and_streamed_upstream_is_cut_too() -> None:
    async def main(kernel: penstock.Kernel, upstream: ScriptedTransport) -> None:
        with pytest.raises(errors.BudgetCutError) as caught:
            await kernel.complete("hello", max_tokens=MOST)
        assert is_stream(upstream.requests[0])
        assert caught.value.partial == ENDLESS[:LINE]
        assert len(upstream.requests) == 1

    cut_short(main, defaults={"upstream_stream": "always"})


def test_an_answer_that_is_not_streamed_cannot_be_cut_and_is_booked_in_full() -> None:
    async def main() -> None:
        body = good(httpx.Request("POST", "http://x/v1/chat", content=b"{}"), ENDLESS).json
        body["usage"] = {"prompt_tokens": 2_000_000, "completion_tokens": 900, "total_tokens": 2_000_900}
        async with penstock.open_kernel(
            cascade((GPT, 2), budget=LIMITED), transport=ScriptedTransport(lambda _: Reply(json=body))
        ) as kernel:
            events = kernel.events()
            response = await kernel.complete("hello", max_tokens=MOST)
            assert response.text == ENDLESS
            assert (await kernel.snapshot()).accounts[""].windows[0].spent.tokens == 2_000_900
            assert [type(event) for event in events.take()].count(BudgetOverrun) == 1

    run(main)


def test_a_consumer_that_reads_slowly_keeps_no_connection_open_that_is_cut() -> None:
    async def main(kernel: penstock.Kernel, upstream: ScriptedTransport) -> None:
        text = ""
        with pytest.raises(errors.BudgetCutError):
            async with kernel.stream("hello", max_tokens=MOST) as stream:
                await trio.sleep(50)
                async for piece in stream.text():
                    text += piece
                    await trio.sleep(2)
                    if len(text) >= LINE - 9:  # the last is in the channel
                        assert upstream.open == 0
        assert text == ENDLESS[:LINE]

    cut_short(main)


def test_a_stream_that_is_drained_is_cut_as_well() -> None:
    async def main(kernel: penstock.Kernel, upstream: ScriptedTransport) -> None:
        events = kernel.events()
        async with kernel.stream("hello", max_tokens=MOST, on_leave="drain") as stream:
            await anext(stream)
        assert upstream.open == 1
        await trio.sleep(25)
        assert upstream.open == 0
        (ended,) = [event for event in events.take() if isinstance(event, AttemptEnded)]
        assert (ended.outcome, ended.estimated) == ("budget_cut", True)

    cut_short(main)


def test_a_continuation_beyond_its_hold_is_cut_and_tells_the_whole_of_what_was_shown() -> None:
    async def main() -> None:
        answers = iter(
            [Reply(chunks=[*anthropic_chunks(ENDLESS)[:12], LOST]), Reply(chunks=anthropic_chunks(ENDLESS[30:]))]
        )
        upstream = ScriptedTransport(lambda _: next(answers))
        async with penstock.open_kernel(cascade((SONNET, 1), (HAIKU, 1), budget=LIMITED), transport=upstream) as kernel:
            seen = await watch(kernel, max_tokens=MOST, commit="continue")
            assert isinstance(seen.error, errors.BudgetCutError)
            assert seen.attempts == [(SONNET, "truncated"), (HAIKU, "budget_cut")]
            assert seen.error.partial == seen.text == ENDLESS[: len(seen.text)]
            assert len(seen.text) > LINE, "what the first attempt brought was paid for by its own bound"

    run(main)


@pytest.mark.parametrize("mode", ["stream", "complete"])
def test_a_hedge_that_wins_and_goes_beyond_its_hold_is_cut_and_the_probe_is_over(mode: Any) -> None:
    async def main() -> None:
        two = Two(fallback=after(0.2))
        tables = {"defaults": {"upstream_stream": "always", "timeouts": {"first_token": 20.0, "total": 30.0}}}
        async with penstock.open_kernel(two_targets(**tables), transport=two.upstream) as kernel:
            await two.learn(kernel, 0.3)
            await two.fall_silent(kernel)
            two.fallback = endless
            with pytest.raises(errors.BudgetCutError) as caught:
                await ask_two(kernel, mode, "a probe and its hedge", max_tokens=MOST)
            assert {attempt.outcome for attempt in caught.value.attempts} == {"cancelled", "budget_cut"}
            assert caught.value.partial == ENDLESS[:LINE]
            await nothing_is_left(kernel, two.upstream)

    run(main)


def telling(counts: list[int], *, finish: str | None = "length") -> Callable[[httpx.Request], Answer]:
    """A stream that reports its usage with every piece, as some servers do."""

    def answer(request: httpx.Request) -> Answer:
        assert body_of(request)[
            "max_completion_tokens" if "max_completion_tokens" in body_of(request) else "max_tokens"
        ]
        events: list[dict[str, Any]] = [
            {
                "choices": [{"index": 0, "delta": {"content": "a "}, "finish_reason": None}],
                "usage": {"prompt_tokens": 5, "completion_tokens": count, "total_tokens": 5 + count},
            }
            for count in counts
        ]
        if finish is not None:
            events.append({**events[-1], "choices": [{"index": 0, "delta": {}, "finish_reason": finish}]})
        lines = [b"data: " + msgspec.json.encode({"id": "c", "model": "gpt-4o", **event}) + b"\n\n" for event in events]
        return Reply(chunks=[*lines, b"data: [DONE]\n\n"], pause=0.1)

    return answer


def test_reported_usage_cuts_with_the_first_token_beyond_the_hold() -> None:
    async def main() -> None:
        upstream = ScriptedTransport(telling(list(range(1, 200))))
        async with penstock.open_kernel(cascade((GPT, 1), budget=LIMITED), transport=upstream) as kernel:
            seen = await watch(kernel, max_tokens=MOST)
            assert isinstance(seen.error, errors.BudgetCutError)
            assert seen.text == "a " * (MOST + 1)
            (attempt,) = seen.error.attempts
            assert attempt.usage is not None
            assert attempt.usage.output_tokens == MOST + 1

    run(main)


@pytest.mark.parametrize("last", [MOST, MOST + 5])
def test_a_whole_answer_is_never_taken_away(last: int) -> None:
    """One that ends exactly at its hold keeps it; one whose excess is told with its end is whole all the same."""

    async def main() -> None:
        tell = telling([*range(1, MOST + 1)])

        def answer(request: httpx.Request) -> Answer:
            if last == MOST:
                return tell(request)
            usage = {"prompt_tokens": 5, "completion_tokens": last, "total_tokens": 5 + last}
            chunks = [*openai_chunks("a short answer")[:-2]]
            end = b"data: " + msgspec.json.encode({"id": "c", "model": "gpt-4o", "choices": [], "usage": usage})
            return Reply(chunks=[*chunks, end + b"\n\n", b"data: [DONE]\n\n"], pause=0.1)

        async with penstock.open_kernel(
            cascade((GPT, 1), budget=LIMITED), transport=ScriptedTransport(answer)
        ) as kernel:
            seen = await watch(kernel, max_tokens=MOST)
            assert seen.response is not None
            assert seen.response.usage.output_tokens == last

    run(main)


def test_where_no_account_has_a_limit_nothing_is_held_and_nothing_is_cut() -> None:
    async def main() -> None:
        upstream = ScriptedTransport(endless)
        async with penstock.open_kernel(cascade((GPT, 1)), transport=upstream) as kernel:
            seen = await watch(kernel, max_tokens=MOST)
            assert seen.response is not None
            assert seen.text == ENDLESS

    run(main)


def of_choice(number: int, text: str, finish: str | None = None) -> bytes:
    choice = {"index": number, "delta": {"content": text} if text else {}, "finish_reason": finish}
    return b"data: " + msgspec.json.encode({"choices": [choice]}) + b"\n\n"


TWO = penstock.ChatRequest("hi", max_tokens=MOST, extra={"openai": {"n": 2}})
THEIR_LINE = 16 * (2 * MOST + 1)
USAGE_OF_TWO = b'data: {"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":12,"total_tokens":21}}\n\n'
DONE = b"data: [DONE]\n\n"


def test_a_choice_beside_the_answer_is_metered_as_the_answer_is() -> None:
    sent = [of_choice(0, "a"), *[of_choice(1, "four")] * 5_000, of_choice(0, "", "stop"), DONE]

    async def main() -> None:
        settings = cascade((GPT, 1), budget=LIMITED)
        transport = ScriptedTransport([Reply(chunks=sent, pause=0.1)])
        async with penstock.open_kernel(settings, transport=transport) as kernel:
            with pytest.raises(errors.BudgetCutError) as caught:
                async with kernel.stream(TWO) as stream:
                    async for _ in stream:
                        pass
            assert caught.value.partial == "a"
            assert trio.current_time() < 0.1 * (THEIR_LINE / 4 + 20)
            assert transport.open == 0
            window = (await kernel.snapshot()).accounts[""].windows[0]
            assert window.spent.tokens > THEIR_LINE // 4, "what came of it is booked"

    run(main)


def test_a_whole_answer_is_not_taken_away_for_a_choice_that_runs_on_nor_waits_for_its_end() -> None:
    sent = [of_choice(0, "a"), of_choice(0, "", "stop"), *[of_choice(1, "four")] * 5_000, DONE]

    async def main() -> None:
        settings = cascade((GPT, 1), budget=LIMITED)
        transport = ScriptedTransport([Reply(chunks=sent, pause=0.1)])
        async with penstock.open_kernel(settings, transport=transport) as kernel:
            async with kernel.stream(TWO) as stream:
                async for _ in stream:
                    pass
            assert stream.response.text == "a"
            assert stream.response.usage.estimated
            assert trio.current_time() < 0.1 * (THEIR_LINE / 4 + 20)
            assert transport.open == 0
            assert (await kernel.snapshot()).accounts[""].windows[0].spent.tokens > THEIR_LINE // 4

    run(main)


def test_the_usage_of_an_answer_is_waited_for_while_another_choice_goes_on() -> None:
    # Longer than the wire's last word is waited for by itself.
    late = [of_choice(1, "four")] * 7
    sent = [of_choice(0, "a"), of_choice(0, "", "stop"), *late, of_choice(1, "", "stop"), USAGE_OF_TWO, DONE]

    async def main() -> None:
        settings = cascade((GPT, 1), budget=LIMITED)
        transport = ScriptedTransport([Reply(chunks=sent, pause=2.0)])
        async with penstock.open_kernel(settings, transport=transport) as kernel:
            async with kernel.stream(TWO) as stream:
                async for _ in stream:
                    pass
            assert not stream.response.usage.estimated
            assert stream.response.usage.output_tokens == 12

    run(main)


def test_an_answer_that_goes_on_behind_its_finish_reason_is_never_cut_to_look_whole() -> None:
    pieces = 40
    sent = [*[of_choice(0, "sixteen letters!", "stop")] * pieces, of_choice(1, "b", "stop"), USAGE_OF_TWO, DONE]

    async def main() -> None:
        settings = cascade((GPT, 1), budget=LIMITED)
        transport = ScriptedTransport([Reply(chunks=sent, pause=0.1)])
        async with penstock.open_kernel(settings, transport=transport) as kernel:
            async with kernel.stream(penstock.ChatRequest("hi", max_tokens=MOST)) as stream:
                async for _ in stream:
                    pass
            assert len(stream.response.text) == 16 * pieces > LINE

    run(main)
