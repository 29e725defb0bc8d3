"""Every recorded answer in a dialect of Chat Completions, read by the codec and by nothing but `json`."""

from __future__ import annotations

from typing import Any

import pytest
from dialect_exchanges import ANSWERED, BY_FOLDER, FAILED, FAILING_STREAMS, STREAMED, VERIFIED, codec_of, exchanges_of
from plain_reading import PlainAnswer, part_of, plain_answer, seen_in
from recorded import Recording, recordings

from penstock.errors import (
    AuthenticationError,
    ContextLengthError,
    GenerationFailedError,
    InvalidRequestError,
    ModelNotFoundError,
    ProviderError,
    RateLimitedError,
    ServerError,
)
from penstock.types import (
    Chunk,
    Completion,
    Refusal,
    TextDelta,
    Thinking,
    ThinkingDelta,
    ToolCallDelta,
    Usage,
    UsageUpdate,
)
from penstock_providers.openai_chat import Dialect, OpenAIChat

ENDS = {"eos": "stop"}
"""What a provider calls one of penstock's reasons."""
ERRORS: dict[str, type[ProviderError]] = {
    "azure-openai-chat/dd-trace-js--azure-openai": ModelNotFoundError,
    "azure-openai-chat/openllmetry--test_azure-test_chat_reasoning": ModelNotFoundError,
    "azure-openai-chat/ruby_llm--g_with_azure": AuthenticationError,
    "azure-openai-chat/ruby_llm--ure_grok": RateLimitedError,
    "deepseek/rig--re_shape_matrix-forced": InvalidRequestError,
    "deepseek/rig--wire_shape_matrix-blocking_image": InvalidRequestError,
    "deepseek/ruby_llm--cenarios_deepseek": ContextLengthError,
    "deepseek/ruby_llm--ror_handling": AuthenticationError,
    "groq/pydantic-ai--test_groq-test_tool_use_failed": GenerationFailedError,
    "llamacpp-openai-compat/rig--error_matrix-context_overflow": ContextLengthError,
    "llamacpp-openai-compat/rig--error_matrix-missing_api_key": AuthenticationError,
    "llamacpp-openai-compat/rig--multimodal_matrix-malformed": InvalidRequestError,
    "llamacpp-openai-compat/rig--structured_output_matrix-schema_and_grammar": ServerError,
    "mistral/rig--logprobs_rejection": InvalidRequestError,
    "mistral/rig--response_identity_edge": ModelNotFoundError,
    "ollama-openai-compat/ruby_llm--_handling": AuthenticationError,
    "ollama-openai-compat/ruby_llm--arios": ContextLengthError,
    "openrouter/pydantic-ai--test_openrouter-test_openrouter_errors_raised": RateLimitedError,
    "openrouter/rig--response_identity_edge": ModelNotFoundError,
    "openrouter/ruby_llm--andling": AuthenticationError,
    "openrouter/ruby_llm--ios": ContextLengthError,
    "perplexity-openai-compat/ruby_llm--hat_error": AuthenticationError,
    "venice-openai-compat/rig--error_envelope": ModelNotFoundError,
}
"""By the beginning of the recording's id."""


def ids(exchanges: list[Recording]) -> list[str]:
    return [exchange.id for exchange in exchanges]


def codec_for(exchange: Recording) -> OpenAIChat:
    return codec_of(BY_FOLDER[exchange.provider])


def read(exchange: Recording) -> Completion:
    if exchange.streamed:
        return read_in_pieces(exchange)[1]
    return codec_for(exchange).decode(exchange.whole())


def read_in_pieces(exchange: Recording, *, size: int | None = None) -> tuple[list[Chunk], Completion]:
    decoder = codec_for(exchange).decoder(exchange.head())
    body = exchange.body_bytes()
    size = size or len(body)
    chunks: list[Chunk] = []
    for start in range(0, len(body), size):
        chunks += decoder.feed(body[start : start + size])
    decoder.close()
    return chunks, decoder.completion


def end_of(plain: PlainAnswer) -> str:
    """How penstock calls that end: by what is there, where a server says `stop` of everything."""
    told = plain.finish or "stop"
    if plain.refusal:
        return "refusal"
    told = ENDS.get(told, told)
    return "tool_calls" if told == "stop" and plain.calls else told


def counts_of(usage: dict[str, Any] | None, dialect: Dialect) -> dict[str, int] | None:
    """The counts in the words of a provider's usage, as penstock names them."""
    if usage is None:
        return None
    inside = part_of(usage, "prompt_tokens_details")
    reasoning = part_of(usage, "completion_tokens_details").get("reasoning_tokens") or 0
    cached = inside.get("cached_tokens") or usage.get("prompt_cache_hit_tokens") or usage.get("cached_tokens") or 0
    output = usage["completion_tokens"] + (reasoning if dialect.seen.reasoning_beside else 0)
    return {
        # A server was seen to report more cached tokens than tokens: none of them is left out.
        "input": max(cached, usage["prompt_tokens"]),
        "cached": cached,
        "output": output,
        "reasoning": min(reasoning, output),
    }


def counted(usage: Usage | None) -> dict[str, int] | None:
    if usage is None:
        return None
    return {
        "input": usage.input_tokens,
        "cached": usage.cached_input_tokens,
        "output": usage.output_tokens,
        "reasoning": usage.reasoning_tokens,
    }


def test_the_recordings_are_those_of_the_rows() -> None:
    assert len(VERIFIED) == 16
    assert (len(ANSWERED), len(STREAMED), len(FAILED)) == (165, 66, 24)
    assert {exchange.id for row in VERIFIED for exchange in exchanges_of(row)} >= FAILING_STREAMS


@pytest.mark.parametrize("exchange", ANSWERED, ids=ids(ANSWERED))
def test_an_answer_says_what_its_bytes_say(exchange: Recording) -> None:
    plain, completion = plain_answer(exchange), read(exchange)
    parts = completion.message.content
    assert completion.message.text == plain.text
    assert "".join(part.text for part in parts if isinstance(part, Thinking)) == plain.reasoning
    assert "".join(part.text for part in parts if isinstance(part, Refusal)) == plain.refusal
    assert completion.finish_reason == end_of(plain)
    assert counted(completion.usage) == counts_of(plain.usage, BY_FOLDER[exchange.provider])
    calls = completion.message.tool_calls
    assert [(call.id, call.name, call.raw_arguments) for call in calls] == [
        (call.id, call.name, call.arguments) for call in plain.calls
    ]


@pytest.mark.parametrize("exchange", STREAMED, ids=ids(STREAMED))
def test_a_stream_that_comes_byte_by_byte_says_the_same(exchange: Recording) -> None:
    assert read_in_pieces(exchange, size=1) == read_in_pieces(exchange)


@pytest.mark.parametrize("exchange", STREAMED, ids=ids(STREAMED))
def test_the_deltas_of_a_stream_add_up_to_it(exchange: Recording) -> None:
    plain = plain_answer(exchange)
    chunks, completion = read_in_pieces(exchange, size=97)
    assert "".join(c.text for c in chunks if isinstance(c, TextDelta) and not c.refusal) == plain.text
    assert "".join(c.text for c in chunks if isinstance(c, ThinkingDelta)) == plain.reasoning
    arguments = [""] * len(plain.calls)
    for chunk in chunks:
        if isinstance(chunk, ToolCallDelta):
            arguments[chunk.index] += chunk.arguments
    assert arguments == [call.arguments for call in plain.calls]
    updates = [chunk.usage for chunk in chunks if isinstance(chunk, UsageUpdate)]
    assert (updates[-1] if updates else None) == completion.usage


@pytest.mark.parametrize("dialect", VERIFIED, ids=[row.name for row in VERIFIED])
def test_what_a_row_says_of_answers_is_what_its_recordings_show(dialect: Dialect) -> None:
    assert seen_in(exchanges_of(dialect)) == dialect.seen


@pytest.mark.parametrize("exchange", FAILED, ids=ids(FAILED))
def test_an_error_in_a_dialect_is_understood(exchange: Recording) -> None:
    (kind,) = [kind for begins, kind in ERRORS.items() if exchange.id.startswith(begins)]
    error = codec_for(exchange).classify(exchange.whole(), now=0.0)
    assert type(error) is kind
    assert error.status == exchange.response.status
    assert str(error)


def test_every_kind_of_error_is_one_of_a_recording() -> None:
    for begins in ERRORS:
        assert any(exchange.id.startswith(begins) for exchange in FAILED), begins


@pytest.mark.parametrize(
    ("name", "kind", "says"),
    [
        ("groq/pydantic-ai--test_groq-test_tool_use_failed_error_streaming--0", GenerationFailedError, "Tool call"),
    ],
)
def test_a_stream_that_turns_into_an_error_raises_it(name: str, kind: type[ProviderError], says: str) -> None:
    (exchange,) = [each for each in recordings(name.partition("/")[0]) if each.id == name]
    with pytest.raises(ProviderError) as caught:
        read_in_pieces(exchange, size=1)
    assert type(caught.value) is kind
    assert says in str(caught.value)
