"""Tokenizers of plugins: bounds count their tokens in place of bytes, and a stream beyond its hold is cut at it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from breaking import cascade, watch
from worlds import GPT, HAIKU, SONNET, config, good, is_stream, run

import penstock
from penstock import errors
from penstock._events import BudgetOverrun
from penstock.hookspecs import hookimpl
from penstock.testing import Reply, ScriptedTransport
from penstock.types import ChatRequest, Message, Text, Tool

LIMITED: dict[str, Any] = {"limits": [{"per": "day", "tokens": 10**9}]}
PROMPT = "All work and no play. " * 500
ENDLESS = "All work and no play makes Jack a dull boy. " * 100
MOST = 20
CANARY = "canary-in-the-prompt"


def by_fours(text: str) -> int:
    """A tokenizer on bytes: four of them a token, and what is left."""
    return -(-len(text.encode()) // 4)


class Tokenizer:
    """A plugin that knows models by the beginning of their names, and what it was asked."""

    def __init__(self, count: Callable[[str], Any] = by_fours, prefix: str = "") -> None:
        self.count = count
        self.prefix = prefix
        self.asked: list[tuple[str, str]] = []
        self.texts: list[str] = []

    @hookimpl
    def penstock_tokenizer(self, model: str, kind: str) -> Callable[[str], int] | None:
        self.asked.append((model, kind))
        return self._counted if model.startswith(self.prefix) else None

    def _counted(self, text: str) -> int:
        self.texts.append(text)
        counted: int = self.count(text)
        return counted


def request(target: str, **more: Any) -> ChatRequest:
    return ChatRequest([Message.user(PROMPT)], model=target, max_tokens=100, **more)


async def bound(asked: ChatRequest, *plugins: object, budget: dict[str, Any] = LIMITED) -> int:
    """The most input of it."""
    transport = ScriptedTransport(good)
    async with penstock.open_kernel(config(budget=budget), transport=transport, plugins=plugins) as kernel:
        (target,) = kernel.quote(asked).targets
        assert target.bound is not None, target
        return target.bound.input_tokens


@pytest.mark.parametrize("target", [GPT, SONNET, HAIKU])
@pytest.mark.parametrize(
    "more",
    [
        {},
        {"tools": [Tool("look", "Looks something up.", {"type": "object", "properties": {}})]},
        {"system": "Be brief. " * 100},
        {"system": Message.system([Text("Be brief. " * 100)]), "tools": [Tool("look", "", {"type": "object"})]},
    ],
    ids=["plain", "tools", "system", "both"],
)
def test_the_bound_counts_tokens_in_place_of_the_bytes_of_texts_and_all_else_by_bytes(
    target: str, more: dict[str, Any]
) -> None:
    async def main() -> None:
        asked = request(target, **more)
        by_bytes, exact = await bound(asked), await bound(asked, Tokenizer())
        texts = [PROMPT, *(["Be brief. " * 100] if "system" in more else [])]
        saved = sum(len(text) - by_fours(text) for text in texts)
        assert saved <= by_bytes - exact <= saved + 2 * len(texts), "at most the quotes of a text count less"

    run(main)


def test_parts_of_a_message_are_counted_each() -> None:
    async def main() -> None:
        parts = [Text("one " * 500), Text("two " * 500)]
        asked = ChatRequest([Message.user(parts)], model=SONNET, max_tokens=10)
        plugin = Tokenizer()
        assert await bound(asked) - await bound(asked, plugin) == 3_000
        assert plugin.texts == ["one " * 500, "two " * 500]

    run(main)


def test_a_tokenizer_is_asked_for_once_for_each_target_and_serves_the_models_it_knows() -> None:
    async def main() -> None:
        plugin = Tokenizer(prefix="gpt")
        settings = config(budget=LIMITED)
        async with penstock.open_kernel(settings, transport=ScriptedTransport(good), plugins=[plugin]) as kernel:
            for _ in range(3):
                await kernel.complete(PROMPT, model=GPT, max_tokens=10)
                await kernel.complete(PROMPT, model=SONNET, max_tokens=10)
        assert len([each for each in plugin.asked if each == ("gpt-4o", "openai")]) == 1
        assert ("claude-sonnet-4-20250514", "anthropic") in plugin.asked
        assert plugin.texts == [PROMPT] * 3

    run(main)


def test_without_a_limited_account_nothing_is_counted() -> None:
    async def main() -> None:
        plugin = Tokenizer()
        async with penstock.open_kernel(config(), transport=ScriptedTransport(good), plugins=[plugin]) as kernel:
            await kernel.complete(PROMPT, model=GPT)
            await watch(kernel)
        assert plugin.texts == []

    run(main)


def endless(request: httpx.Request) -> Reply:
    """4,400 bytes, three at a time."""
    return good(request, ENDLESS, pause=0.1)


@pytest.mark.parametrize("target", [GPT, SONNET])
def test_a_stream_beyond_its_hold_is_cut_with_the_first_token_too_many(target: str) -> None:
    async def main() -> None:
        settings = cascade((target, 1), budget=LIMITED)
        transport = ScriptedTransport(endless)
        async with penstock.open_kernel(settings, transport=transport, plugins=[Tokenizer()]) as kernel:
            with kernel.events() as events:
                seen = await watch(kernel, max_tokens=MOST)
                assert isinstance(seen.error, errors.BudgetCutError)
                (attempt,) = seen.error.attempts
                assert attempt.usage is not None
                assert by_fours(seen.error.partial) == MOST + 1 == attempt.usage.output_tokens
                await kernel.snapshot()  # what was told before is booked
                (overrun,) = [event for event in events.take() if isinstance(event, BudgetOverrun)]
                assert overrun.tokens == 1

    run(main)


def test_a_stream_that_ends_at_its_hold_is_not_cut() -> None:
    text = ENDLESS[: 4 * MOST]

    async def main() -> None:
        settings = cascade((GPT, 1), budget=LIMITED)
        transport = ScriptedTransport(lambda request: good(request, text, pause=0.1))
        async with penstock.open_kernel(settings, transport=transport, plugins=[Tokenizer()]) as kernel:
            seen = await watch(kernel, max_tokens=MOST)
            assert seen.error is None
            assert seen.text == text

    run(main)


@pytest.mark.parametrize(("bytes_per_token", "tokens"), [(1, 9), (9, 1)])
def test_what_a_broken_stream_served_is_told_as_it_is_counted(bytes_per_token: int, tokens: int) -> None:
    async def main() -> None:
        def cut(asked: httpx.Request) -> Reply:
            assert is_stream(asked)
            reply = good(asked, "forty-two of them and more")
            assert reply.chunks is not None
            return Reply(chunks=[*list(reply.chunks)[:4], httpx.ReadError("cut")])

        settings = cascade((GPT, 1), budget={**LIMITED, "unknown_usage": "likely"})
        plugin = Tokenizer(lambda text: -(-len(text.encode()) // bytes_per_token))
        async with penstock.open_kernel(settings, transport=ScriptedTransport(cut), plugins=[plugin]) as kernel:
            seen = await watch(kernel, max_tokens=1_000)
            assert isinstance(seen.error, errors.StreamBrokenError)
            (attempt,) = seen.error.attempts
            assert attempt.usage is not None
            assert (len(seen.error.partial), attempt.usage.output_tokens) == (9, tokens)

    run(main)


def raising(_: str) -> int:
    raise RuntimeError(CANARY)


def negative(_: str) -> int:
    return -1


def more_than_characters(text: str) -> int:
    return len(text) + 1


def itself(text: str) -> str:
    return text


def true(_: str) -> bool:
    return True


@pytest.mark.parametrize("count", [raising, negative, more_than_characters, itself, true])
def test_one_that_breaks_is_asked_no_more_told_once_and_bytes_count_instead(
    count: Callable[[str], Any], caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        by_bytes = await bound(request(GPT))
        plugin = Tokenizer(count)
        settings = cascade((GPT, 1), budget=LIMITED)
        async with penstock.open_kernel(settings, transport=ScriptedTransport(endless), plugins=[plugin]) as kernel:
            for _ in range(2):
                (target,) = kernel.quote(request(GPT)).targets
                assert target.bound is not None
                assert target.bound.input_tokens == by_bytes
            seen = await watch(kernel, max_tokens=MOST)
            assert isinstance(seen.error, errors.BudgetCutError)
            assert len(seen.error.partial) > 16 * MOST
        assert len(plugin.texts) == 1

    with caplog.at_level(logging.WARNING, "penstock"):
        run(main)
    (told,) = [record.getMessage() for record in caplog.records if "tokenizer" in record.getMessage()]
    assert "bytes count instead" in told
    assert CANARY not in told


def test_a_hook_that_fails_or_returns_no_counter_is_passed_over_for_the_next(caplog: pytest.LogCaptureFixture) -> None:
    class Failing:
        @hookimpl
        def penstock_tokenizer(self, model: str) -> Callable[[str], int] | None:
            raise OSError(model)

    class Wrong:
        @hookimpl
        def penstock_tokenizer(self) -> Any:
            return "words"

    async def main() -> None:
        by_bytes = await bound(request(GPT))
        exact = await bound(request(GPT), Tokenizer(), Wrong(), Failing())
        assert exact < by_bytes / 2

    with caplog.at_level(logging.WARNING, "penstock"):
        run(main)
    told = [record.getMessage() for record in caplog.records]
    assert any("its penstock_tokenizer failed" in message for message in told)
    assert any("returned str, which counts nothing" in message for message in told)
