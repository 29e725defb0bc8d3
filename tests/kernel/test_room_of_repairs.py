"""The room that a cut answer is given, on a route of models that can write more and less: never more than they can."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import attrs
import httpx
import msgspec
import pytest
from breaking import body_of
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import GPT, HAIKU, SONNET, config, good, model_of, run

import penstock
from penstock import errors
from penstock.testing import Reply, ScriptedTransport


class Trip(msgspec.Struct):
    city: str
    days: int


RIGHT = '{"city": "Rome", "days": 3}'
CUT = '{"city": "Ro'
WRONG = '{"city": "Rome", "days": "three"}'
LIMITED = {"limits": [{"per": "day", "usd": 1_000}]}
OLD_GPT = "openai/gpt-4"
MOST = {GPT: 16_384, OLD_GPT: 8_192, HAIKU: 4_096, SONNET: 64_000}
"""Tokens that their models can write."""


def most_of(request: httpx.Request) -> int | None:
    body = body_of(request)
    told: int | None = body.get("max_tokens") or body.get("max_completion_tokens")
    return told


def target_of(request: httpx.Request) -> str:
    return next(target for target in MOST if target.endswith(f"/{model_of(request)}"))


def cut(request: httpx.Request) -> Reply:
    """An answer that used up what it was given."""
    body, used = good(request, CUT).json, most_of(request) or 1_000
    if "choices" in body:
        body["choices"][0]["finish_reason"] = "length"
        body["usage"] = {"prompt_tokens": 50, "completion_tokens": used, "total_tokens": 50 + used}
    else:
        body["stop_reason"] = "max_tokens"
        body["usage"] = {"input_tokens": 50, "output_tokens": used}
    return Reply(json=body)


def down(_: httpx.Request) -> Reply:
    return Reply(500, json={"error": {"message": "no"}})


def right(request: httpx.Request) -> Reply:
    return good(request, RIGHT)


def wrong(request: httpx.Request) -> Reply:
    return good(request, WRONG)


@attrs.frozen
class Ended:
    value: Any
    explanation: penstock.Explanation
    asked: Sequence[tuple[str, int | None]]
    written: Sequence[tuple[str, int]]


def extracted(
    endings: Sequence[Callable[[httpx.Request], Reply]],
    route: Sequence[str],
    *,
    max_tokens: int | None,
    limited: bool,
) -> Ended:
    """A call for a value whose attempts end so one after the other, and are all right afterwards."""
    left = list(endings)

    def answer(request: httpx.Request) -> Reply:
        most, asked = MOST[target_of(request)], most_of(request)
        if asked is not None and asked > most:
            return Reply(400, json={"error": {"type": "invalid_request_error", "message": "max_tokens is too large"}})
        return left.pop(0)(request) if left else right(request)

    upstream = ScriptedTransport(answer)
    stages = [{"target": target, "attempts": 1} for target in route]
    tables: dict[str, Any] = {"budget": LIMITED} if limited else {}
    settings = config(routes={"default": {"cascade": stages}}, defaults={"upstream_stream": "never"}, **tables)

    async def main() -> Ended:
        value: Any = None
        told: penstock.ChatResponse | errors.CallError
        async with penstock.open_kernel(settings, transport=upstream) as kernel:
            request = penstock.ChatRequest("Plan a trip.", output=Trip, max_tokens=max_tokens)
            explanation = kernel.explain(request)
            try:
                told = response = await kernel.complete(request)
                value = response.value
            except errors.CallError as error:
                told = error
        asked = [(target_of(request), most_of(request)) for request in upstream.requests]
        written = [(each.target, each.usage.output_tokens) for each in told.attempts if each.usage is not None]
        return Ended(value, explanation, asked, written)

    return run(main)


def explained(explanation: penstock.Explanation) -> list[int | None]:
    return [stage.output_tokens for stage in explanation.stages]


@pytest.mark.parametrize("limited", [False, True])
def test_a_fallback_is_given_no_more_room_than_its_model_can_write(*, limited: bool) -> None:
    ended = extracted([cut, down], [GPT, HAIKU], max_tokens=4_096, limited=limited)
    assert ended.asked == [(GPT, 4_096), (GPT, 8_192), (HAIKU, 4_096)]
    assert ended.value == Trip("Rome", 3)
    assert explained(ended.explanation) == [16_384, 4_096]


@pytest.mark.parametrize("limited", [False, True])
def test_a_fallback_that_can_write_less_than_was_too_little_gives_up_its_turn(*, limited: bool) -> None:
    ended = extracted([cut, down, cut], [GPT, HAIKU, SONNET], max_tokens=4_096, limited=limited)
    assert ended.asked[:3] == [(GPT, 4_096), (GPT, 8_192), (HAIKU, 4_096)]
    assert [target for target, _ in ended.asked[3:]] == [SONNET]
    assert ended.value == Trip("Rome", 3)


@settings(max_examples=60, deadline=None)
@given(
    endings=st.lists(st.sampled_from([cut, cut, cut, down, wrong]), max_size=8),
    route=st.lists(st.sampled_from(list(MOST)), min_size=1, max_size=4, unique=True),
    max_tokens=st.sampled_from([None, 300, 3_000, 4_096]),
    limited=st.booleans(),
)
def test_no_model_is_asked_for_more_than_it_can_write_nor_is_that_explained(
    endings: list[Callable[[httpx.Request], Reply]], route: list[str], max_tokens: int | None, *, limited: bool
) -> None:
    ended = extracted(endings, route, max_tokens=max_tokens, limited=limited)
    most_explained = dict(zip(route, explained(ended.explanation), strict=True))
    for target, asked in ended.asked:
        assert asked is None or asked <= MOST[target]
    for target, explained_most in most_explained.items():
        assert explained_most is not None
        assert explained_most <= MOST[target]
    for target, written in ended.written:
        assert written <= (most_explained[target] or 0)
