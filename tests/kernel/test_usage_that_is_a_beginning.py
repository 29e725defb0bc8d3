"""Counts that are only a beginning: told and booked as the estimates they are, never below what came."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
import trio
from breaking import LOST, cascade
from worlds import GPT, SONNET, anthropic_chunks, openai_body, openai_chunks, run

import penstock
from penstock import errors
from penstock._events import AttemptEnded
from penstock.testing import Reply, ScriptedTransport

TEXT = "word " * 400
LEAST = len(TEXT) // 4
"""Tokens that so much text is taken for, at four bytes each."""
LIMITED = {"limits": [{"per": "day", "tokens": 10**9}]}
HOWS = ["stream", "complete"]


def without_usage_at_the_end(target: str) -> list[bytes]:
    """The wire's first count comes (of 11 and 1), the final one does not."""
    if target == SONNET:
        return [chunk.replace(b',"usage":{"output_tokens":3}', b"") for chunk in anthropic_chunks(TEXT)]
    first = b'data: {"choices":[],"usage":{"prompt_tokens":11,"completion_tokens":1}}\n\n'
    begun, *rest = openai_chunks(TEXT)
    return [begun, first, *rest[:-2], rest[-1]]


async def ended(
    how: str, answer: Reply, target: str, *, unknown_usage: str = "bound", whole: bool = False
) -> tuple[penstock.ChatResponse | errors.CallError, int, AttemptEnded]:
    """How the call ended, what the ledger has spent, and what was told of its one attempt."""
    settings = cascade(
        (target, 1),
        budget={**LIMITED, "unknown_usage": unknown_usage},
        defaults={"upstream_stream": "never" if whole else "always"},
    )
    end: penstock.ChatResponse | errors.CallError
    async with penstock.open_kernel(settings, transport=ScriptedTransport([answer])) as kernel:
        events = kernel.events()
        try:
            if how == "stream":
                async with kernel.stream("hello", max_tokens=5_000) as stream:
                    async for chunk in stream:
                        if isinstance(chunk, penstock.Finished):
                            assert chunk.usage == stream.response.usage
                end = stream.response
            else:
                end = await kernel.complete("hello", max_tokens=5_000)
        except errors.CallError as error:
            end = error
        spent = (await kernel.snapshot()).accounts[""].windows[0].spent.tokens
        (told,) = [event for event in events.take() if isinstance(event, AttemptEnded)]
    return end, spent, told


def is_an_estimate(
    end: penstock.ChatResponse | errors.CallError, spent: int, told: AttemptEnded, *, input_tokens: int = 11
) -> None:
    assert end.usage is not None
    assert end.usage.estimated
    assert end.usage.input_tokens == input_tokens
    assert end.usage.output_tokens >= LEAST
    assert [attempt.usage for attempt in end.attempts] == [end.usage]
    assert told.estimated
    assert spent == told.charged_tokens >= end.usage.total_tokens


@pytest.mark.parametrize("ending", ["whole", "without its end", "reset at its end"])
@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("target", [SONNET, GPT])
def test_a_whole_answer_whose_first_count_was_its_last_is_an_estimate(target: str, how: str, ending: str) -> None:
    chunks: Sequence[bytes | Exception] = without_usage_at_the_end(target)
    if ending != "whole":
        chunks = [*chunks[:-1], *([LOST] if ending.startswith("reset") else [])]

    async def main() -> None:
        end, spent, told = await ended(how, Reply(chunks=list(chunks)), target)
        assert isinstance(end, penstock.ChatResponse)
        assert end.text == TEXT
        is_an_estimate(end, spent, told)

    run(main)


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("target", [SONNET, GPT])
def test_so_is_what_came_of_an_answer_that_was_cut(target: str, how: str) -> None:
    kept = len(without_usage_at_the_end(target)) - 3

    async def main() -> None:
        end, spent, told = await ended(how, Reply(chunks=[*without_usage_at_the_end(target)[:kept], LOST]), target)
        assert isinstance(end, errors.StreamBrokenError)
        is_an_estimate(end, spent, told)

    run(main)


@pytest.mark.parametrize("target", [SONNET, GPT])
def test_charged_by_the_likely_it_is_charged_by_what_came(target: str) -> None:
    async def main() -> None:
        answer = Reply(chunks=without_usage_at_the_end(target))
        end, spent, told = await ended("stream", answer, target, unknown_usage="likely")
        is_an_estimate(end, spent, told)
        assert spent == 11 + LEAST

    run(main)


@pytest.mark.parametrize("on_leave", ["cancel", "drain"])
@pytest.mark.parametrize("target", [SONNET, GPT])
def test_so_is_an_answer_that_was_left_drained_or_not(target: str, on_leave: str) -> None:
    upstream = ScriptedTransport([Reply(chunks=without_usage_at_the_end(target), pause=0.01)])

    async def main() -> None:
        async with penstock.open_kernel(cascade((target, 1), budget=LIMITED), transport=upstream) as kernel:
            events = kernel.events()
            came = 0
            async with kernel.stream("hello", max_tokens=5_000, on_leave=on_leave) as stream:
                async for chunk in stream:
                    came += len(getattr(chunk, "text", ""))
                    if came > len(TEXT) // 2:
                        break
            await trio.sleep(20.0)
            (told,) = [event for event in events.take() if isinstance(event, AttemptEnded)]
            assert told.outcome == ("ok" if on_leave == "drain" else "cancelled")
            assert told.estimated
            spent = (await kernel.snapshot()).accounts[""].windows[0].spent.tokens
            assert spent == told.charged_tokens >= 11 + (LEAST if on_leave == "drain" else LEAST // 2)

    run(main)


@pytest.mark.parametrize("unknown_usage", ["bound", "likely"])
@pytest.mark.parametrize(
    ("usage", "input_tokens"),
    [(None, 2), ({}, 2), ({"prompt_tokens": 11}, 11), ({"completion_tokens": 1}, 2)],
    ids=["none", "empty", "of the input alone", "of the output alone"],
)
@pytest.mark.parametrize("how", HOWS)
def test_so_is_an_answer_in_one_piece_with_half_a_count_or_none(
    how: str, usage: dict[str, Any] | None, input_tokens: int, unknown_usage: str
) -> None:
    body = msgspec.json.encode(openai_body(TEXT) | {"usage": usage})
    answer = Reply(body=body, headers=[("content-type", "application/json")])

    async def main() -> None:
        end, spent, told = await ended(how, answer, GPT, unknown_usage=unknown_usage, whole=how == "complete")
        is_an_estimate(end, spent, told, input_tokens=input_tokens)

    run(main)


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize(("target", "chunks"), [(SONNET, anthropic_chunks(TEXT)), (GPT, openai_chunks(TEXT))])
def test_a_final_count_is_taken_as_it_is(target: str, chunks: list[bytes], how: str) -> None:
    async def main() -> None:
        end, spent, told = await ended(how, Reply(chunks=chunks), target)
        assert end.usage == penstock.Usage(input_tokens=11, output_tokens=3)
        assert spent == told.charged_tokens == 14
        assert not told.estimated

    run(main)
