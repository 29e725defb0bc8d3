"""What a target cannot take is left out and told, or sends the call on, or ends it: as the route says, always told."""

from __future__ import annotations

from typing import Any, ClassVar

import httpx
import msgspec
import pytest
from worlds import GPT, HAIKU, SONNET, config, good, model_of, run

import penstock
from penstock import ChatRequest, Image, Message, Text, Tool, errors
from penstock._config import Config
from penstock._events import AttemptEnded, Event, ParametersDropped, PartsLeftOut, RequestAdapted
from penstock.errors import ConfigError
from penstock.policy.fitting import UnsupportedRules
from penstock.testing import Reply, ScriptedTransport
from penstock.types import Target
from penstock_providers.openai_chat import OpenAIChat

PICTURE = Image(data=b"\x89PNG", media_type="image/png")
OLD = "openai/gpt-3.5-turbo"
"""It knows neither images nor schemas; OpenAI's reasoning models take no `stop`, Anthropic's wire no `seed`."""


def bodies(upstream: ScriptedTransport) -> list[dict[str, Any]]:
    return [msgspec.json.decode(request.content) for request in upstream.requests]


def told(events: list[Event], *kinds: type) -> list[Event]:
    return [event for event in events if isinstance(event, kinds)]


def route(*targets: str, **settings: Any) -> Config:
    return config(routes={"default": {"cascade": [{"target": target} for target in targets], **settings}})


def healthy() -> ScriptedTransport:
    return ScriptedTransport(good)


def broken(*models: str) -> ScriptedTransport:
    """An upstream where some models always fail."""

    def answer(request: httpx.Request) -> Reply:
        return Reply(500, json={}) if model_of(request) in models else good(request)

    return ScriptedTransport(answer)


# Dropped


def test_what_is_left_out_is_told_once_for_each_target_that_is_asked() -> None:
    request = ChatRequest("q", seed=7, stop="END", temperature=0.5)

    async def main() -> None:
        upstream = broken("claude-sonnet-4-20250514")
        async with penstock.open_kernel(route(SONNET, "openai/gpt-5"), transport=upstream) as kernel:
            with kernel.events() as events:
                response = await kernel.complete(request)
                seen = events.take()
        assert [attempt.target for attempt in response.attempts] == [SONNET, SONNET, SONNET, "openai/gpt-5"]
        call_id = next(event.call_id for event in seen if isinstance(event, AttemptEnded))
        assert told(seen, ParametersDropped) == [
            ParametersDropped(call_id, SONNET, ("seed",)),
            ParametersDropped(call_id, "openai/gpt-5", ("temperature", "stop")),
        ]
        sent = bodies(upstream)
        assert "seed" not in sent[0]
        assert (sent[0]["temperature"], sent[0]["stop_sequences"]) == (0.5, ["END"])
        assert sent[-1]["seed"] == 7
        assert not sent[-1].keys() & {"temperature", "stop"}

    run(main)


def test_a_request_that_fits_is_told_nothing_of() -> None:
    async def main() -> None:
        async with penstock.open_kernel(route(GPT), transport=healthy()) as kernel:
            with kernel.events() as events:
                await kernel.complete(ChatRequest("q", seed=7, temperature=0.5, thinking="off"))
                assert told(events.take(), ParametersDropped, PartsLeftOut) == []

    run(main)


def test_a_temperature_is_told_to_be_left_out_though_another_one_was_taken() -> None:
    async def main() -> None:
        upstream = healthy()
        async with penstock.open_kernel(route("openai/gpt-5"), transport=upstream) as kernel:
            with kernel.events() as events:
                for temperature in (None, 1, 0.5, 1, 0.5):
                    await kernel.complete("q", temperature=temperature)
                assert len(told(events.take(), ParametersDropped)) == 2
        assert [body.get("temperature") for body in bodies(upstream)] == [None, 1, None, 1, None]

    run(main)


def test_neither_events_nor_logs_hold_what_was_left_out(caplog: pytest.LogCaptureFixture) -> None:
    thought = penstock.Thinking("CANARY", signature="CANARY", family="other")
    request = ChatRequest([Message.user("q"), Message.assistant([thought]), Message.user("r")], stop="CANARY")

    async def main() -> None:
        with caplog.at_level("DEBUG", logger="penstock"):
            async with penstock.open_kernel(route("openai/gpt-5"), transport=healthy()) as kernel:
                with kernel.events() as events:
                    await kernel.complete(request)
                    seen = told(events.take(), ParametersDropped, PartsLeftOut)
        assert len(seen) == 2
        assert "CANARY" not in repr(seen) + caplog.text
        assert "is asked without stop, thinking" in caplog.text

    run(main)


def test_what_is_left_out_does_not_split_the_cache_and_nothing_passes_for_deterministic() -> None:
    async def main() -> None:
        upstream = healthy()
        settings = config(
            routes={"default": {"cascade": [SONNET]}, "think": {"cascade": ["openai/gpt-5"]}},
            cache={"store": "memory", "when": "deterministic"},
        )
        async with penstock.open_kernel(settings, transport=upstream) as kernel:
            outcomes = [
                (await kernel.complete(ChatRequest("q", temperature=0, seed=seed))).cache for seed in (1, 2, None)
            ]
            assert outcomes == ["miss", "hit", "hit"]
            # Without its temperature the answer is like any other.
            thought = [await kernel.complete(ChatRequest("q", temperature=0), route="think") for _ in range(2)]
            assert [response.cache for response in thought] == ["off", "off"]

    run(main)


def test_a_cap_of_the_budget_that_leaves_no_room_to_think_is_told() -> None:
    """Anthropic counts thinking inside `max_tokens`, and takes no budget under 1,024 tokens."""
    account = {"limits": [{"per": "request", "output_tokens": 1_000}]}

    async def main() -> None:
        upstream = healthy()
        for rule in ("drop", "fail"):
            settings = config(budget=account, defaults={"on_unsupported": {"thinking": rule}})
            async with penstock.open_kernel(settings, transport=upstream) as kernel:
                with kernel.events() as events:
                    if rule == "fail":
                        with pytest.raises(errors.ParameterDemandedError, match="cannot take this thinking"):
                            await kernel.complete("q", thinking="low", model=SONNET)
                    else:
                        await kernel.complete("q", thinking="low", model=SONNET)
                        (dropped,) = told(events.take(), ParametersDropped)
                        assert isinstance(dropped, ParametersDropped)
                        assert dropped.parameters == ("thinking",)
        (sent,) = bodies(upstream)
        assert sent["max_tokens"] == 1_000
        assert "thinking" not in sent

    run(main)


# Next


def test_a_target_that_cannot_see_is_passed_over_for_one_that_can() -> None:
    request = ChatRequest([Message.user([Text("What is this?"), PICTURE])])

    async def main() -> None:
        upstream = healthy()
        async with penstock.open_kernel(route(OLD, GPT), transport=upstream) as kernel:
            response = await kernel.complete(request)
            async with kernel.stream(request) as stream:
                text = "".join([piece async for piece in stream.text()])
        assert (response.target, text) == (GPT, response.text)
        assert [attempt.target for attempt in response.attempts] == [GPT]
        assert {model_of(request) for request in upstream.requests} == {"gpt-4o"}

    run(main)


def test_where_no_target_can_the_error_names_all_of_them_and_nothing_is_sent() -> None:
    async def main() -> None:
        upstream = healthy()
        limit = {"limits": [{"per": "day", "tokens": 1_000_000}]}
        for tables in ({}, {"budget": limit}):
            settings = config(routes={"default": {"cascade": [OLD, "openai/gpt-4"]}}, **tables)
            async with penstock.open_kernel(settings, transport=upstream) as kernel:
                with pytest.raises(errors.UnsupportedParameterError) as caught:
                    await kernel.complete([Message.user([PICTURE])])
                with pytest.raises(errors.UnsupportedParameterError, match="gpt-4 cannot take images") as single:
                    await kernel.complete([Message.user([PICTURE])], model="openai/gpt-4")
            assert str(caught.value) == (
                'openai/gpt-3.5-turbo cannot take images (vision); on_unsupported = "next"; '
                'openai/gpt-4 cannot take images (vision); on_unsupported = "next"'
            )
            assert caught.value.parameters == single.value.parameters == ("vision",)
            assert isinstance(caught.value, errors.RejectedError)
        assert upstream.requests == []

    run(main)


def test_a_target_that_failed_is_not_hidden_behind_one_that_was_passed_over() -> None:
    async def main() -> None:
        async with penstock.open_kernel(route(GPT, OLD), transport=broken("gpt-4o")) as kernel:
            with pytest.raises(errors.ServerError):
                await kernel.complete([Message.user([PICTURE])])

    run(main)


def test_images_left_out_by_the_routes_wish_are_told() -> None:
    async def main() -> None:
        upstream = healthy()
        settings = route(OLD, on_unsupported={"vision": "drop"})
        async with penstock.open_kernel(settings, transport=upstream) as kernel:
            with kernel.events() as events:
                await kernel.complete([Message.user([Text("What is this?"), PICTURE])])
                dropped, left_out = told(events.take(), ParametersDropped, PartsLeftOut)
        assert isinstance(dropped, ParametersDropped)
        assert dropped.parameters == ("vision",)
        assert isinstance(left_out, PartsLeftOut)
        assert (left_out.kinds, left_out.parts) == (("image",), 1)
        assert bodies(upstream)[0]["messages"] == [{"role": "user", "content": "What is this?"}]

    run(main)


# Fail


@pytest.mark.parametrize("budget", [{}, {"limits": [{"per": "day", "tokens": 1_000_000}]}])
def test_what_is_demanded_ends_the_call_before_anything_is_sent(budget: dict[str, Any]) -> None:
    async def main() -> None:
        upstream = healthy()
        cascade = {"default": {"cascade": [SONNET, GPT], "on_unsupported": {"seed": "fail"}}}
        async with penstock.open_kernel(config(routes=cascade, budget=budget), transport=upstream) as kernel:
            with pytest.raises(errors.ParameterDemandedError) as caught:
                await kernel.complete(ChatRequest("q", seed=7))
            assert caught.value.parameters == ("seed",)
            assert caught.value.attempts == ()
            assert str(caught.value) == f'{SONNET} cannot take a seed (seed); on_unsupported = "fail"'
        assert upstream.requests == []

    run(main)


@pytest.mark.parametrize("budget", [{}, {"limits": [{"per": "day", "tokens": 1_000_000}]}])
def test_a_demand_is_made_of_the_targets_that_come_up(budget: dict[str, Any]) -> None:
    """The first one answers, and that the second could not take the seed matters to nobody; if it fails, it does."""

    async def main() -> None:
        cascade = {"default": {"cascade": [GPT, SONNET], "on_unsupported": {"seed": "fail"}}}
        settings = config(routes=cascade, budget=budget)
        async with penstock.open_kernel(settings, transport=healthy()) as kernel:
            assert (await kernel.complete(ChatRequest("q", seed=7))).target == GPT
        upstream = broken("gpt-4o")
        async with penstock.open_kernel(settings, transport=upstream) as kernel:
            with pytest.raises(errors.ParameterDemandedError) as caught:
                await kernel.complete(ChatRequest("q", seed=7))
        assert {attempt.target for attempt in caught.value.attempts} == {GPT}
        assert {model_of(request) for request in upstream.requests} == {"gpt-4o"}

    run(main)


# A codec that breaks


class Breaking(OpenAIChat):
    """A codec with a bug in the one method."""

    answer: ClassVar[object] = None

    def unsupported(self, request: ChatRequest, target: Target) -> frozenset[str]:
        del request, target
        if self.answer is None:
            raise RuntimeError("CANARY")
        return self.answer  # type: ignore[return-value]


class Telling(Breaking):
    """A codec that does not keep its word."""

    answer = "seed"


@pytest.mark.parametrize("codec", [Breaking, Telling])
def test_a_codec_that_breaks_costs_its_own_target_and_no_more(codec: type[Breaking]) -> None:
    async def main() -> None:
        async with penstock.open_kernel(route(GPT, SONNET), transport=healthy()) as kernel:
            live = kernel._engine.targets.target(GPT)  # pyright: ignore[reportPrivateUsage]
            object.__setattr__(live.provider, "codec", codec())
            response = await kernel.complete(ChatRequest("q", seed=1))
            assert response.target == SONNET
            with pytest.raises(errors.CodecFailedError) as caught:
                await kernel.complete(ChatRequest("q", model=GPT, seed=1))
            assert "CANARY" not in str(caught.value)

    run(main)


# Extra


def test_extra_reaches_the_provider_and_the_family_it_is_keyed_by_and_no_other_wire() -> None:
    extra: dict[str, dict[str, Any]] = {
        "openai": {"verbosity": "low"},
        "openai-chat": {"logprobs": True},
        "anthropic": {"top_k": 5},
        "anthropic-messages": {"service_tier": "auto"},
        "local": {"min_p": 0.1},
    }
    reached = {
        GPT: {"verbosity": "low", "logprobs": True},
        "local/llama": {"logprobs": True, "min_p": 0.1},
        SONNET: {"top_k": 5, "service_tier": "auto"},
    }
    every = {name for fields in extra.values() for name in fields}

    async def main() -> None:
        upstream = healthy()
        local = {"kind": "openai", "base_url": "http://127.0.0.1:8080/v1"}
        async with penstock.open_kernel(config(providers={"local": local}), transport=upstream) as kernel:
            for target in reached:
                await kernel.complete(ChatRequest("q", model=target, extra=extra))
        sent = [{name: value for name, value in body.items() if name in every} for body in bodies(upstream)]
        assert sent == list(reached.values())

    run(main)


# Configuration


def rules_of(table: dict[str, Any], defaults: dict[str, Any] | None = None) -> UnsupportedRules:
    mapping = {"routes": {"default": {"cascade": ["openai/m"], **table}}, "defaults": defaults or {}}
    return Config.from_dict(mapping, environ={"OPENAI_API_KEY": "k"}).route().on_unsupported


def test_a_word_is_for_every_parameter_and_a_table_for_those_it_names() -> None:
    assert rules_of({}) == UnsupportedRules()
    assert rules_of({"on_unsupported": "fail"}) == UnsupportedRules.all("fail")
    assert rules_of({"on_unsupported": {"seed": "fail", "tools": "drop"}}) == UnsupportedRules(
        seed="fail", tools="drop"
    )


def test_a_route_lays_its_rules_over_the_defaults() -> None:
    defaults = {"on_unsupported": {"seed": "next", "stop": "fail"}}
    assert rules_of({"on_unsupported": {"seed": "fail"}}, defaults) == UnsupportedRules(seed="fail", stop="fail")
    assert rules_of({}, defaults) == UnsupportedRules(seed="next", stop="fail")
    assert rules_of({"on_unsupported": "drop"}, defaults) == UnsupportedRules.all("drop")


def test_a_call_that_names_a_model_keeps_to_the_defaults() -> None:
    async def main() -> None:
        settings = config(defaults={"on_unsupported": "fail"})
        async with penstock.open_kernel(settings, transport=healthy()) as kernel:
            with pytest.raises(errors.ParameterDemandedError):
                await kernel.complete(ChatRequest("q", model=SONNET, seed=1))

    run(main)


@pytest.mark.parametrize("place", ["routes.default", "defaults"])
@pytest.mark.parametrize(
    ("value", "path", "says"),
    [
        ("dorp", "", "did you mean 'drop'"),
        (5, "", "must be one of drop, fail, next"),
        ({"sead": "drop"}, ".sead", "did you mean 'seed'"),
        ({"seed": "ignore"}, ".seed", "must be one of drop, fail, next"),
        ({"tools": True}, ".tools", "must be one of drop, fail, next"),
        ({"seed": {"a": 1}}, ".seed", "must be one of drop, fail, next"),
    ],
)
def test_every_mistake_is_named_by_its_path(place: str, value: object, path: str, says: str) -> None:
    route: dict[str, Any] = {"cascade": ["openai/m"]}
    mapping: dict[str, Any] = {"routes": {"default": route}, "defaults": {}}
    (route if place == "routes.default" else mapping["defaults"])["on_unsupported"] = value
    with pytest.raises(ConfigError) as caught:
        Config.from_dict(mapping, environ={"OPENAI_API_KEY": "k"})
    (mistake,) = caught.value.mistakes
    assert mistake.path == f"{place}.on_unsupported{path}"
    assert says in mistake.says


def test_tools_are_asked_of_those_who_have_them() -> None:
    async def main() -> None:
        upstream = healthy()
        async with penstock.open_kernel(route("openai/o1-preview", SONNET), transport=upstream) as kernel:
            assert (await kernel.complete("q", tools=[Tool("f")])).target == SONNET
            assert (await kernel.complete("q")).target == "openai/o1-preview"

    run(main)


@pytest.mark.parametrize("rule", ["next", "drop", "fail"])
@pytest.mark.parametrize("in_result", [False, True])
def test_an_image_that_only_another_wire_finds_is_one_that_the_target_cannot_take(rule: str, in_result: bool) -> None:  # noqa: FBT001
    """Whatever the rule said, the target was passed over, and nothing told of it."""
    far = Image(url="gs://bucket/picture.png")
    call = penstock.ToolCall("a", "look")
    messages: list[Message | penstock.ToolResult] = [Message.user([Text("what is this?"), far])]
    if in_result:
        result = penstock.ToolResult("a", [Text("see"), far])
        messages = [Message.user("what is this?"), Message.assistant([call]), result]
    tools = [Tool("look")]

    async def main() -> None:
        upstream = healthy()
        settings = route(SONNET, GPT, on_unsupported={"vision": rule})
        async with penstock.open_kernel(settings, transport=upstream) as kernel:
            with kernel.events() as events:
                if rule == "fail":
                    with pytest.raises(errors.ParameterDemandedError, match="vision"):
                        await kernel.complete(messages, tools=tools)
                    return
                response = await kernel.complete(messages, tools=tools)
                seen = events.take()
        assert response.target == (GPT if rule == "next" else SONNET)
        (sent,) = upstream.requests
        assert (b"gs://bucket/picture.png" in sent.content) is (rule == "next")
        dropped = [(event.target, event.parameters) for event in seen if isinstance(event, ParametersDropped)]
        assert dropped == ([(SONNET, ("vision",))] if rule == "drop" else [])

    run(main)


def test_a_fallback_is_asked_for_no_more_than_its_model_can_write() -> None:
    """It answers 400 to more ("max_tokens: 8000 > 4096"), which would end the call."""
    haiku = HAIKU

    async def main() -> None:
        upstream = broken("claude-sonnet-4-20250514", "gpt-4o")
        async with penstock.open_kernel(route(SONNET, GPT, haiku), transport=upstream) as kernel:
            plan = kernel.explain("q", max_tokens=20_000)
            with kernel.events() as events:
                assert (await kernel.complete("q", max_tokens=20_000)).target == haiku
                seen = events.take()
            asked = {body["model"]: body["max_tokens"] for body in bodies(upstream)}
            assert list(asked.values()) == [20_000, 16_384, 4_096]
            assert [stage.output_tokens for stage in plan.stages] == [20_000, 16_384, 4_096]
            dropped = [(event.target, event.parameters) for event in seen if isinstance(event, ParametersDropped)]
            assert dropped == [(GPT, ("max_tokens",)), (haiku, ("max_tokens",))]
            # What none of them can write is sent as it was asked: that is a mistake, which somebody must tell.
            await kernel.complete("q", max_tokens=100_000)
            assert bodies(upstream)[-1]["max_tokens"] == 100_000
            await kernel.complete("q", max_tokens=8_000, model=haiku)
            assert bodies(upstream)[-1]["max_tokens"] == 8_000

    run(main)


@pytest.mark.parametrize("rules", ["fail", {"max_tokens": "fail"}])
def test_a_shorter_answer_than_was_asked_for_may_be_refused(rules: Any) -> None:
    async def main() -> None:
        upstream = broken("claude-sonnet-4-20250514")
        async with penstock.open_kernel(route(SONNET, HAIKU, on_unsupported=rules), transport=upstream) as kernel:
            plan = kernel.explain("q", max_tokens=20_000)
            assert plan.stages[1].attempts == 0
            with pytest.raises(errors.ParameterDemandedError) as caught:
                await kernel.complete("q", max_tokens=20_000)
            refused = caught.value
            assert refused.parameters == ("max_tokens",)
            assert f"{HAIKU} cannot write 20000 tokens, its model writes 4096 at most (max_tokens)" in str(refused)
            assert {body["model"] for body in bodies(upstream)} == {"claude-sonnet-4-20250514"}

    run(main)


def test_a_target_that_writes_less_may_be_passed_over_and_then_fails_nothing() -> None:
    async def main() -> None:
        upstream = healthy()
        request = ChatRequest("q", max_tokens=10_000, seed=1)
        for rules in ({"max_tokens": "next", "seed": "fail"}, {"max_tokens": "fail", "seed": "next"}):
            async with penstock.open_kernel(route(HAIKU, GPT, on_unsupported=rules), transport=upstream) as kernel:
                assert (await kernel.complete(request)).target == GPT
        for rules in ({"max_tokens": "drop", "seed": "fail"}, {"max_tokens": "fail", "seed": "drop"}):
            async with penstock.open_kernel(route(HAIKU, GPT, on_unsupported=rules), transport=upstream) as kernel:
                with pytest.raises(errors.ParameterDemandedError):
                    await kernel.complete(request)
        assert {body["model"] for body in bodies(upstream)} == {"gpt-4o"}

    run(main)


def test_a_limit_in_extra_is_nobodys_to_change_and_nothing_is_told_of_it() -> None:
    async def main() -> None:
        upstream = broken("claude-sonnet-4-20250514")
        async with penstock.open_kernel(route(SONNET, HAIKU), transport=upstream) as kernel:
            with kernel.events() as events:
                extra = {"anthropic": {"max_tokens": 20_000}}
                await kernel.complete(ChatRequest("q", max_tokens=20_000, extra=extra))
                assert told(events.take(), ParametersDropped) == []
        assert {body["max_tokens"] for body in bodies(upstream)} == {20_000}

    run(main)


def test_the_params_of_a_fallback_ask_for_no_more_than_its_model_can_write() -> None:
    """As `[defaults] params` does, which is for targets of all sizes."""

    async def main() -> None:
        upstream = broken("claude-sonnet-4-20250514", "gpt-4o")
        settings = config(
            routes={"default": {"cascade": [SONNET, GPT, HAIKU]}},
            defaults={"params": {"max_tokens": 60_000}},
        )
        async with penstock.open_kernel(settings, transport=upstream) as kernel:
            with kernel.events() as events:
                assert (await kernel.complete("q")).target == HAIKU
                dropped = [(event.target, event.parameters) for event in told(events.take(), ParametersDropped)]  # type: ignore[attr-defined]
            assert {body["model"]: body["max_tokens"] for body in bodies(upstream)} == {
                "claude-sonnet-4-20250514": 60_000,
                "gpt-4o": 16_384,
                "claude-3-haiku-20240307": 4_096,
            }
            assert dropped == [(GPT, ("max_tokens",)), (HAIKU, ("max_tokens",))]
            # Alone it is a mistake of the configuration, which the provider tells.
            await kernel.complete("q", model=HAIKU)
            assert bodies(upstream)[-1]["max_tokens"] == 60_000

    run(main)


def test_a_limit_of_tokens_per_request_is_no_way_to_a_smaller_model() -> None:
    async def main() -> None:
        upstream = broken("claude-sonnet-4-20250514")
        limits = {"limits": [{"per": "request", "output_tokens": 5_000}]}
        settings = config(routes={"default": {"cascade": [SONNET, HAIKU]}}, budget=limits)
        async with penstock.open_kernel(settings, transport=upstream) as kernel:
            with pytest.raises(errors.BudgetExceededError, match="5000"):
                await kernel.complete("q", max_tokens=20_000)
            assert upstream.requests == []
            assert [stage.attempts for stage in kernel.explain("q", max_tokens=20_000).stages] == [0, 0]
            # Within it the fallback is asked for as much as it can write.
            assert (await kernel.complete("q", max_tokens=5_000)).target == HAIKU
            assert bodies(upstream)[-1]["max_tokens"] == 4_096

    run(main)


def test_a_server_of_ones_own_may_call_its_model_as_it_likes() -> None:
    """What OpenAI's gpt-4 can write says nothing of it."""

    async def main() -> None:
        upstream = healthy()
        local = {"kind": "openai", "base_url": "http://127.0.0.1:1/v1"}
        cascade = {"default": {"cascade": ["local/gpt-4", SONNET]}}
        async with penstock.open_kernel(
            config(providers={"local": local}, routes=cascade), transport=upstream
        ) as kernel:
            with kernel.events() as events:
                assert (await kernel.complete("q", max_tokens=20_000)).target == "local/gpt-4"
                assert told(events.take(), ParametersDropped) == []
        assert bodies(upstream)[-1]["max_tokens"] == 20_000

    run(main)


def test_less_thinking_than_was_asked_for_is_told() -> None:
    """The answer needs room beside it in `max_tokens`, which is a fence."""

    async def main() -> None:
        upstream = broken("claude-sonnet-4-20250514")
        opus = "anthropic/claude-opus-4-20250514"
        async with penstock.open_kernel(route(SONNET, opus), transport=upstream) as kernel:
            with kernel.events() as events:
                await kernel.complete("q", max_tokens=60_000, thinking=40_000)
                seen = events.take()
        assert [(event.target, event.adaptations) for event in seen if isinstance(event, RequestAdapted)] == [
            (opus, ("thinking_reduced",))
        ]
        assert [body["thinking"]["budget_tokens"] for body in bodies(upstream)] == [40_000] * 3 + [24_000]

    run(main)


def test_thinking_that_a_budget_leaves_less_room_for_is_told_as_well() -> None:
    async def main() -> None:
        upstream = healthy()
        limits = {"limits": [{"per": "request", "output_tokens": 10_000}]}
        settings = config(routes={"default": {"cascade": [SONNET]}}, budget=limits)
        async with penstock.open_kernel(settings, transport=upstream) as kernel:
            with kernel.events() as events:
                await kernel.complete("q", thinking=16_000)
                (adapted,) = told(events.take(), RequestAdapted)
        assert adapted.adaptations == ("thinking_reduced",)  # type: ignore[attr-defined]
        assert bodies(upstream)[-1]["thinking"]["budget_tokens"] == 7_500

    run(main)
