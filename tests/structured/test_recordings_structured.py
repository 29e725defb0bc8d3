"""Every recorded exchange that asked for JSON or strict tools, was refused, or ended for its length: what it must give.

`recorded_outcomes.jsonl` lists them all: a value, calls with their arguments, text (where only tools were asked for),
a refusal, the end of the room (`length`), nothing, or an error. A recording that is not listed fails.
"""

from __future__ import annotations

from typing import Any

import pytest
from damaged_outputs import same
from dialect_exchanges import BY_FOLDER, SERVER, codec_of
from recorded import Recording
from recorded_outcomes import (
    EXCHANGES,
    LISTED,
    TAGS,
    Outcome,
    exchanges_that_give,
    given,
    kind_of,
    schema_of,
    tools_of,
)

from penstock import errors
from penstock.abc import Provider
from penstock.errors import ProviderError
from penstock.policy.json_finding import Found, NotFound, find_json
from penstock.types import Completion
from penstock_providers.anthropic_messages import AnthropicMessages
from penstock_providers.openai_chat import OpenAIChat, OpenAIChatOptions


def codec_for(exchange: Recording) -> Provider:
    match kind_of(exchange):
        case "anthropic":
            return AnthropicMessages()
        case "openai":
            return OpenAIChat(OpenAIChatOptions(base_url=SERVER))
        case _:
            return codec_of(BY_FOLDER[exchange.provider])


def read(exchange: Recording) -> Completion:
    codec = codec_for(exchange)
    if not exchange.streamed:
        return codec.decode(exchange.whole())
    decoder = codec.decoder(exchange.head())
    decoder.feed(exchange.body_bytes())
    decoder.close()
    return decoder.completion


def found(text: str, schema: dict[str, Any] | None) -> Any:
    answer = find_json(text, schema)
    assert isinstance(answer, Found), answer
    return answer.value


def test_every_recording_of_these_kinds_is_listed_once() -> None:
    assert sorted(outcome.id for outcome in LISTED) == sorted(EXCHANGES)


def test_the_kinds_are_all_there() -> None:
    assert {"value", "calls", "refusal", "length", "error"} <= {outcome.gives for outcome in LISTED}
    assert {feature for exchange in EXCHANGES.values() for feature in exchange.features} >= TAGS


@pytest.mark.parametrize(("outcome", "exchange"), given("value"))
def test_an_answer_in_json_gives_its_value(outcome: Outcome, exchange: Recording) -> None:
    completion = read(exchange)
    assert completion.finish_reason == "stop"
    assert same(found(completion.message.text, schema_of(exchange)), outcome.value)


@pytest.mark.parametrize(("outcome", "exchange"), given("calls"))
def test_calls_give_arguments_that_fit_their_tools(outcome: Outcome, exchange: Recording) -> None:
    completion = read(exchange)
    assert completion.finish_reason == "tool_calls"
    calls = completion.message.tool_calls
    arguments = [found(call.raw_arguments or "{}", tools_of(exchange).get(call.name)) for call in calls]
    assert [call.name for call in calls] == [name for name, _ in outcome.calls]
    assert same(arguments, [wanted for _, wanted in outcome.calls])


@pytest.mark.parametrize("exchange", exchanges_that_give("text"))
def test_text_beside_strict_tools_holds_no_value(exchange: Recording) -> None:
    completion = read(exchange)
    assert completion.finish_reason == "stop"
    assert isinstance(find_json(completion.message.text, {"type": "object"}), NotFound)


@pytest.mark.parametrize("exchange", exchanges_that_give("refusal"))
def test_a_refusal_is_told_as_one(exchange: Recording) -> None:
    assert read(exchange).finish_reason == "refusal"


@pytest.mark.parametrize("exchange", exchanges_that_give("length"))
def test_what_ended_for_its_length_is_told_so_and_holds_no_value(exchange: Recording) -> None:
    completion = read(exchange)
    assert completion.finish_reason == "length"
    for text in (completion.message.text, *(call.raw_arguments for call in completion.message.tool_calls)):
        assert isinstance(find_json(text, {"type": "object"}), NotFound)


@pytest.mark.parametrize("exchange", exchanges_that_give("nothing"))
def test_an_answer_without_content_holds_no_value(exchange: Recording) -> None:
    completion = read(exchange)
    assert completion.finish_reason == "stop"
    assert not completion.message.content
    assert isinstance(find_json(completion.message.text, {"type": "object"}), NotFound)


@pytest.mark.parametrize(("outcome", "exchange"), given("error"))
def test_a_schema_that_the_provider_does_not_take_is_an_error_of_its_kind(
    outcome: Outcome, exchange: Recording
) -> None:
    kind = getattr(errors, outcome.error)
    if exchange.response.status >= 400:
        assert type(codec_for(exchange).classify(exchange.whole(), now=0.0)) is kind
        return
    with pytest.raises(ProviderError) as caught:
        read(exchange)
    assert type(caught.value) is kind
