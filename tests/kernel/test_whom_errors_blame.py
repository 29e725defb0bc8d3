"""Errors of one prompt, one model or one request: what they mean for the call, and that others never hear of them."""

from __future__ import annotations

from typing import Any

import httpx
import msgspec
import pytest
import trio
from worlds import ANSWER, KEY, good, model_of, run

import penstock
from penstock import errors
from penstock.testing import Answer, Reply, ScriptedTransport
from penstock.types import ChatRequest, Message, Tool

Body = dict[str, Any]

FLAGGED: Body = {
    "code": 403,
    "message": 'x/m requires moderation on Anthropic. Your input was flagged for "violence".',
    "metadata": {"reasons": ["violence"], "flagged_input": "..."},
}
AFFORD: Body = {
    "code": 402,
    "message": "This request requires more credits, or fewer max_tokens. You requested up to 9000 tokens, but can only"
    " afford 5123.",
}
BLOCKED: Body = {"message": "The model `big` is blocked.", "code": "model_permission_blocked_project"}
NO_CALL: Body = {"message": "Failed to call a function.", "code": "tool_use_failed", "failed_generation": "<function"}
NO_JSON: Body = {"message": "Failed to validate JSON.", "code": "json_validate_failed", "failed_generation": "{"}
WEATHER = Tool("weather", "The weather of a city.", {"type": "object", "properties": {"city": {"type": "string"}}})
HAS_N = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"], "additionalProperties": False}


class Upstream:
    """Answers well what it is asked, but with an error where a request is of a certain kind."""

    def __init__(self, status: int, error: Body, *, bad: str = "BAD", where: str = "first", times: int = 1_000) -> None:
        self.status, self.error, self.bad, self.where, self.times = status, error, bad, where, times
        self.asked: list[str] = []
        self.bodies: list[Body] = []
        self.transport = ScriptedTransport(self.reply)

    def reply(self, request: httpx.Request) -> Answer:
        self.asked.append(model_of(request))
        self.bodies.append(msgspec.json.decode(request.content))
        if self.where in model_of(request) and self.bad in request.content.decode() and self.times:
            self.times -= 1
            return Reply(self.status, json={"error": self.error})
        return good(request, '{"n": 1}' if b"integer" in request.content else ANSWER)


def settings(kind: str, *stages: Any, **route: Any) -> penstock.Config:
    """One provider of that kind, and another beside it."""
    providers = {kind: {"api_key": KEY}, "other": {"kind": "openai", "base_url": "https://o.example", "api_key": KEY}}
    return penstock.Config.from_dict(
        {"providers": providers, "routes": {"default": {"cascade": list(stages), **route}}}, environ={}
    )


async def nothing_is_blamed(kernel: penstock.Kernel) -> None:
    await trio.sleep(0.1)
    snapshot = await kernel.snapshot()
    assert not snapshot.cooling
    assert {told.state.value for told in (await kernel.breakers.states()).values()} <= {"closed"}


@pytest.mark.parametrize("policy", ["fail", "next"])
def test_a_prompt_that_moderation_refused_with_a_403_is_sent_on_by_policy_alone_and_closes_no_key(policy: str) -> None:
    async def main() -> None:
        upstream = Upstream(403, FLAGGED)
        config = settings("openrouter", "openrouter/first", "other/second", on_content_filter=policy)
        async with penstock.open_kernel(config, transport=upstream.transport) as kernel:
            for _ in range(6):
                if policy == "next":
                    assert (await kernel.complete("BAD")).target == "other/second"
                    continue
                with pytest.raises(errors.ContentFilteredError):
                    await kernel.complete("BAD")
            assert ("second" in upstream.asked) is (policy == "next")
            await nothing_is_blamed(kernel)
            assert (await kernel.complete("good")).target == "openrouter/first"

    run(main)


def test_a_request_that_the_credit_left_does_not_pay_for_is_passed_on_and_smaller_ones_are_still_sent() -> None:
    async def main() -> None:
        upstream = Upstream(402, AFFORD, bad="9000")
        config = settings("openrouter", {"target": "openrouter/first", "attempts": 3}, "other/second")
        async with penstock.open_kernel(config, transport=upstream.transport) as kernel:
            dear = await kernel.complete("hello", max_tokens=9_000)
            told = [(attempt.target, attempt.outcome) for attempt in dear.attempts]
            assert told == [("openrouter/first", "quota_exhausted"), ("other/second", "ok")]
            await nothing_is_blamed(kernel)
            assert (await kernel.complete("hello", max_tokens=100)).target == "openrouter/first"

    run(main)


def test_a_cheaper_model_of_the_same_account_may_still_take_what_is_too_dear_for_the_first() -> None:
    async def main() -> None:
        upstream = Upstream(402, AFFORD, bad="9000")
        config = settings("openrouter", "openrouter/first", "openrouter/cheap")
        async with penstock.open_kernel(config, transport=upstream.transport) as kernel:
            assert (await kernel.complete("hello", max_tokens=9_000)).target == "openrouter/cheap"

    run(main)


def test_a_402_of_an_empty_account_cools_its_key_for_every_call() -> None:
    async def main() -> None:
        upstream = Upstream(402, {"code": 402, "message": "Insufficient credits"})
        config = settings("openrouter", "openrouter/first", "openrouter/cheap", "other/second")
        async with penstock.open_kernel(config, transport=upstream.transport) as kernel:
            assert (await kernel.complete("BAD")).target == "other/second"
            assert (await kernel.complete("good")).target == "other/second"
            assert upstream.asked == ["first", "second", "second"]

    run(main)


def test_a_model_that_is_blocked_for_the_key_says_nothing_of_its_others() -> None:
    async def main() -> None:
        upstream = Upstream(403, BLOCKED, bad="", where="big")
        async with penstock.open_kernel(settings("groq", "groq/small"), transport=upstream.transport) as kernel:
            with pytest.raises(errors.ModelNotFoundError):
                await kernel.complete("hello", model="groq/big")
            await nothing_is_blamed(kernel)
            assert (await kernel.complete("hello")).target == "groq/small"

    run(main)


@pytest.mark.parametrize("error", [NO_CALL, NO_JSON], ids=lambda error: str(error["code"]))
def test_what_a_model_wrote_in_vain_is_asked_for_once_more_then_of_the_next_target(error: Body) -> None:
    async def main() -> None:
        upstream = Upstream(400, error)
        config = settings("groq", {"target": "groq/first", "attempts": 3}, "other/second")
        request = ChatRequest([Message.user("BAD")], tools=[WEATHER], max_tokens=50)
        async with penstock.open_kernel(config, transport=upstream.transport) as kernel:
            for _ in range(6):
                response = await kernel.complete(request)
                told = [(attempt.target, attempt.outcome) for attempt in response.attempts]
                assert told == [("groq/first", "generation_failed")] * 2 + [("other/second", "ok")]
            await nothing_is_blamed(kernel)
            assert (await kernel.complete("good")).target == "groq/first"

    run(main)


def test_another_sample_may_do() -> None:
    async def main() -> None:
        upstream = Upstream(400, NO_CALL, times=1)
        config = settings("groq", {"target": "groq/first", "attempts": 2})
        async with penstock.open_kernel(config, transport=upstream.transport) as kernel:
            assert (await kernel.complete("BAD")).target == "groq/first"
            assert upstream.asked == ["first", "first"]

    run(main)


@pytest.mark.parametrize("error", [NO_CALL, NO_JSON], ids=lambda error: str(error["code"]))
def test_a_value_that_a_server_refuses_is_asked_of_the_next_target(error: Body) -> None:
    async def main() -> None:
        upstream = Upstream(400, error)
        config = settings("groq", {"target": "groq/first", "attempts": 3}, "other/second")
        async with penstock.open_kernel(config, transport=upstream.transport) as kernel:
            extracted = await kernel.extract(HAS_N, "BAD")
            assert extracted.value == {"n": 1}
            assert upstream.asked == ["first", "first", "second"]
            await nothing_is_blamed(kernel)

    run(main)


@pytest.mark.parametrize("error", [NO_CALL, NO_JSON], ids=lambda error: str(error["code"]))
def test_a_value_that_the_last_targets_server_refuses_is_asked_for_in_words_by_this_call_alone(error: Body) -> None:
    async def main() -> None:
        upstream = Upstream(400, error, times=1)
        async with penstock.open_kernel(settings("groq", "groq/first"), transport=upstream.transport) as kernel:
            assert (await kernel.extract(HAS_N, "BAD")).value == {"n": 1}
            assert (await kernel.extract(HAS_N, "good")).value == {"n": 1}
            strict = ["tools" in body or "response_format" in body for body in upstream.bodies]
            assert strict == [True, False, True]

    run(main)
