"""Whole answers that are one text and nothing else are read at once: as if they had been put together from pieces."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from recorded import recordings

from penstock.types import Completion
from penstock_providers.openai_chat._read import AnswerReader, plain_completion
from penstock_providers.openai_chat._wire import as_answer, parse_json

BODIES = [
    parse_json(exchange.body_bytes(), exchange.id)
    for exchange in recordings("openai-chat", "azure-openai-chat")
    if not exchange.streamed and exchange.response.status < 400
]
CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
MESSAGES = st.fixed_dictionaries(
    {"content": st.sampled_from(["Hello.", "", None, [{"type": "text", "text": "Hello."}]])},
    optional={
        "refusal": st.sampled_from([None, "", "I will not."]),
        "reasoning_content": st.sampled_from([None, "", "Hm."]),
        "reasoning": st.sampled_from([None, "Hm.", {"text": "Hm."}]),
        "reasoning_details": st.sampled_from([[], [{"type": "reasoning.text", "text": "Hm."}]]),
        "tool_calls": st.sampled_from([None, [], [CALL]]),
        "function_call": st.sampled_from([None, {"name": "f", "arguments": "{}"}]),
        "annotations": st.sampled_from([None, [], [{"type": "url_citation"}]]),
        "audio": st.sampled_from([None, {"id": "audio_1", "transcript": "Hello."}]),
    },
)
USAGES = st.sampled_from([None, {}, {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}])
CHOICES = st.fixed_dictionaries(
    {"message": MESSAGES},
    optional={
        "index": st.sampled_from([None, 0, 1]),
        "finish_reason": st.sampled_from([None, "stop", "length", "tool_calls", "content_filter", "STOP", "eos"]),
        "usage": USAGES,
        "finish_details": st.sampled_from([None, {"type": "stop"}]),
    },
)
ANSWERS = st.fixed_dictionaries(
    {"choices": st.lists(CHOICES, max_size=2)},
    optional={
        "id": st.sampled_from(["chatcmpl-1", "", None, 1]),
        "model": st.sampled_from(["m-1", None]),
        "usage": USAGES,
        "x_groq": st.sampled_from([None, {"id": "req_2", "usage": {"prompt_tokens": 3, "completion_tokens": 2}}]),
        "citations": st.sampled_from([None, ["https://example.org"]]),
        "search_results": st.sampled_from([None, [{"url": "https://example.org"}]]),
    },
)


def both(payload: Any) -> tuple[Completion | None, Completion]:
    """At once, and from pieces."""
    answer = as_answer(payload, "the response")
    reader = AnswerReader(whole=True)
    reader.take(answer)
    return plain_completion(answer, request_id="req_1", raw=payload), reader.completion(request_id="req_1", raw=payload)


@pytest.mark.parametrize(
    "beside",
    [
        {"refusal": "I will not."},
        {"reasoning_content": "Hm."},
        {"reasoning": "Hm."},
        {"reasoning_details": [{"type": "reasoning.text", "text": "Hm."}]},
        {"tool_calls": [CALL]},
        {"function_call": {"name": "f", "arguments": "{}"}},
        {"annotations": [{"type": "url_citation"}]},
        {"audio": {"id": "audio_1", "transcript": "Hello."}},
    ],
    ids=lambda beside: next(iter(beside)),
)
def test_a_text_with_anything_beside_it_keeps_that(beside: dict[str, Any]) -> None:
    message = {"role": "assistant", "content": "Hello.", **beside}
    at_once, from_pieces = both({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})
    assert at_once is None or at_once == from_pieces


@given(ANSWERS)
def test_what_is_read_at_once_is_what_the_pieces_come_to(payload: dict[str, Any]) -> None:
    at_once, from_pieces = both(payload)
    assert at_once is None or at_once == from_pieces


def test_recorded_answers_come_to_the_same_and_many_of_them_are_read_at_once() -> None:
    read = [both(payload) for payload in BODIES]
    assert all(at_once is None or at_once == from_pieces for at_once, from_pieces in read)
    plain = [at_once for at_once, _ in read if at_once is not None]
    assert len(plain) > len(BODIES) / 3
