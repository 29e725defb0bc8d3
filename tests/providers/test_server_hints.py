"""Every form in which servers say when to come back, through the codecs that read it.

Each row quotes the fact it stands for, as it was seen on wires or read in a vendor's SDK.
"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from penstock.abc import Provider
from penstock.errors import ProviderError, QuotaExhaustedError, RateLimitedError
from penstock.types import WireHead, WireResponse
from penstock_providers.anthropic_messages import AnthropicMessages
from penstock_providers.openai_chat import OpenAIChat

NOW = 1_754_667_600.0  # 2025-08-08T15:40:00Z
OPENAI, ANTHROPIC = OpenAIChat(), AnthropicMessages()
BOTH: tuple[Provider, ...] = (OPENAI, ANTHROPIC)
RATE = {"type": "error", "error": {"type": "rate_limit_error", "message": "Slow down", "code": "rate_limit_exceeded"}}


def classified(codec: Provider, status: int, body: Any, headers: dict[str, str]) -> ProviderError:
    return codec.classify(WireResponse(status, tuple(headers.items()), msgspec.json.encode(body)), now=NOW)


HEADERS: list[tuple[str, dict[str, str], float]] = [
    ("openai: `retry-after-ms`, then `retry-after`", {"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
    (
        "Azure: on 429 `retry-after`, `retry-after-ms`; zero says nothing",
        {"retry-after-ms": "0", "retry-after": "1"},
        1,
    ),
    ("Azure's gateways: `x-ms-retry-after-ms`", {"x-ms-retry-after-ms": "2500", "retry-after": "3"}, 2.5),
    ("botocore: `x-amz-retry-after` (ms)", {"x-amz-retry-after": "250"}, 0.25),
    ("`retry-after` (float seconds or HTTP-date)", {"retry-after": "3.5"}, 3.5),
    ("`retry-after` (float seconds or HTTP-date)", {"retry-after": "Fri, 08 Aug 2025 15:41:00 GMT"}, 60),
    ("Groq: `retry-after` only on 429", {"retry-after": "17"}, 17),
    (
        "Anthropic: `anthropic-ratelimit-{…,input-tokens,output-tokens}-{limit,remaining,reset}`: RFC 3339",
        {
            "anthropic-ratelimit-output-tokens-remaining": "0",
            "anthropic-ratelimit-output-tokens-reset": "2025-08-08T15:40:09Z",
            "anthropic-ratelimit-requests-remaining": "49",
            "anthropic-ratelimit-requests-reset": "2025-08-08T15:45:00Z",
        },
        9,
    ),
    (
        "OpenAI: duration string `6ms`, `0s`, `1m30s`",
        {
            "x-ratelimit-remaining-requests": "0",
            "x-ratelimit-reset-requests": "6ms",
            "x-ratelimit-remaining-tokens": "0",
            "x-ratelimit-reset-tokens": "1m30s",
        },
        90,
    ),
    (
        "Groq: duration string `17.379s`, `2m59.56s`",
        {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "2m59.56s"},
        179.56,
    ),
    (
        "Azure: integer seconds",
        {"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "13"},
        13,
    ),
    (
        "Mistral: older `ratelimitbysize-{limit,remaining,reset,query-cost}`: seconds",
        {"ratelimitbysize-remaining": "0", "ratelimitbysize-reset": "43", "ratelimitbysize-query-cost": "256"},
        43,
    ),
    (
        "OpenRouter: epoch milliseconds `x-ratelimit-reset: 1754667660000`",
        {"x-ratelimit-limit": "20", "x-ratelimit-remaining": "0", "x-ratelimit-reset": "1754667660000"},
        60,
    ),
    (
        "Together: `x-ratelimit-{limit,remaining,reset}`: seconds",
        {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "1"},
        1,
    ),
    ("Cohere: SDK reads `x-ratelimit-reset`: epoch seconds", {"x-ratelimit-reset": "1754667605"}, 5),
]


@pytest.mark.parametrize("codec", BOTH, ids=lambda codec: codec.family)
@pytest.mark.parametrize(("fact", "headers", "seconds"), HEADERS, ids=[row[0] for row in HEADERS])
def test_a_header_says_when_to_come_back(codec: Provider, fact: str, headers: dict[str, str], seconds: float) -> None:
    error = classified(codec, 429, RATE, headers)
    assert type(error) is RateLimitedError
    assert error.retry_after == pytest.approx(seconds), fact


@pytest.mark.parametrize("codec", BOTH, ids=lambda codec: codec.family)
@pytest.mark.parametrize("status", [500, 503, 529])
def test_what_is_stated_counts_for_every_error_and_a_reset_only_for_a_rate(codec: Provider, status: int) -> None:
    resets = {"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "6m0s"}
    assert classified(codec, status, {}, resets).retry_after is None
    assert classified(codec, status, {}, {**resets, "retry-after": "3"}).retry_after == 3


@pytest.mark.parametrize("codec", BOTH, ids=lambda codec: codec.family)
@pytest.mark.parametrize("status", [200, 204, 302])
def test_what_is_no_error_status_carries_no_hint(codec: Provider, status: int) -> None:
    # Fact 0.1: "`retry-after` appears on 200 responses from Anthropic (e.g. `retry-after: 17` with full remaining
    # quota)".
    headers = {"retry-after": "17", "retry-after-ms": "17000", "x-should-retry": "true"}
    error = classified(codec, status, {}, headers)
    assert (error.retry_after, error.should_retry) == (None, None)


def test_an_error_inside_a_200_does_not_take_the_hints_of_its_headers() -> None:
    headers = (("retry-after", "17"), ("x-should-retry", "true"))
    openrouter = {"error": {"message": "Provider returned error", "code": 429}, "user_id": "u"}
    for codec, body in ((OPENAI, openrouter), (ANTHROPIC, RATE)):
        with pytest.raises(RateLimitedError) as raised:
            codec.decode(WireResponse(200, headers, msgspec.json.encode(body)))
        assert (raised.value.retry_after, raised.value.should_retry) == (None, None)


def test_an_error_event_of_a_stream_does_not_take_the_hints_of_its_headers() -> None:
    event = b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}\n\n'
    for codec in BOTH:
        decoder = codec.decoder(WireHead(200, (("retry-after", "17"), ("content-type", "text/event-stream"))))
        with pytest.raises(ProviderError) as raised:
            decoder.feed(event)
        assert raised.value.retry_after is None


@pytest.mark.parametrize("codec", BOTH, ids=lambda codec: codec.family)
@pytest.mark.parametrize(("said", "meant"), [("true", True), ("false", False)])
@pytest.mark.parametrize("status", [400, 429, 500])
def test_the_servers_own_word_on_retrying_is_kept_both_ways(
    codec: Provider,
    status: int,
    said: str,
    meant: bool,  # noqa: FBT001 - a table's column
) -> None:
    # Facts, 10: "`x-should-retry: true/false` overrides".
    assert classified(codec, status, RATE, {"x-should-retry": said}).should_retry is meant


INFO = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "48s"}
QUOTA = {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"quotaId": "X-PerMinute"}]}
GOOGLE = {
    "error": {
        "code": 429,
        "message": "You exceeded your current quota, please check your plan and billing details.",
        "status": "RESOURCE_EXHAUSTED",
        "details": [QUOTA, INFO],
    }
}


@pytest.mark.parametrize("codec", BOTH, ids=lambda codec: codec.family)
@pytest.mark.parametrize("body", [GOOGLE, [GOOGLE]], ids=["plain", "in a list"])
def test_googles_retry_info_in_the_body_is_read(codec: Provider, body: Any) -> None:
    # "body-only `RetryInfo.retryDelay: "48s"` (Gemini)"; "may wrap it in a one-element array"
    error = classified(codec, 429, body, {})
    assert (type(error), error.retry_after) == (RateLimitedError, 48)


@pytest.mark.parametrize("codec", BOTH, ids=lambda codec: codec.family)
@pytest.mark.parametrize(("words", "seconds"), [("3.89s", 3.89), ("174ms", 0.174), ("6m0s", 360.0)])
def test_a_sentence_says_when_to_come_back(codec: Provider, words: str, seconds: float) -> None:
    # "A 429 message carries "Please try again in 3.89s / 174ms / 6m0s""
    body = {"error": {"message": f"Rate limit reached. Please try again in {words}. Contact us.", "type": "tokens"}}
    assert classified(codec, 429, body, {}).retry_after == pytest.approx(seconds)
    assert classified(codec, 429, body, {"retry-after": "2"}).retry_after == 2, "a header is exact"


def openrouter(**metadata: Any) -> dict[str, Any]:
    return {"error": {"message": "Provider returned error", "code": 429, "metadata": metadata}, "user_id": "u"}


def test_openrouters_true_cause_is_read_where_it_is_json_in_a_string() -> None:
    # "the true cause is in `metadata.raw`, often JSON in a string"
    for raw in (msgspec.json.encode(GOOGLE).decode(), msgspec.json.encode([GOOGLE]).decode(), GOOGLE):
        error = classified(OPENAI, 429, openrouter(raw=raw, provider_name="Google"), {})
        assert (type(error), error.retry_after) == (RateLimitedError, 48)
        assert str(error).startswith("Provider returned error: You exceeded your current quota")
        assert error.code == "429"


def test_openrouters_true_cause_is_read_where_it_is_a_sentence() -> None:
    raw = "m is temporarily rate-limited upstream. Please retry after 55 seconds."
    error = classified(OPENAI, 429, openrouter(raw=raw), {})
    assert (type(error), error.retry_after) == (RateLimitedError, 55)


def test_openrouters_true_cause_may_be_an_empty_account() -> None:
    raw = msgspec.json.encode({"error": {"message": "No more.", "code": "insufficient_quota"}}).decode()
    assert type(classified(OPENAI, 429, openrouter(raw=raw), {})) is QuotaExhaustedError


def test_openrouters_headers_are_read_from_its_body_too() -> None:
    told = {"X-RateLimit-Limit": "20", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1754667660000"}
    assert classified(OPENAI, 429, openrouter(headers=told), {}).retry_after == 60
    numbers = {"X-RateLimit-Remaining": 0, "X-RateLimit-Reset": 1_754_667_660_000}
    assert classified(OPENAI, 429, openrouter(headers=numbers), {}).retry_after == 60
    assert classified(OPENAI, 429, openrouter(headers=told), {"retry-after": "2"}).retry_after == 2


@pytest.mark.parametrize("raw", ["", "{", "[]", '"x"', "7", None, [], ["a"], {}, {"error": 5}, "[" * 100_000])
def test_a_cause_that_cannot_be_read_does_no_harm(raw: Any) -> None:
    error = classified(OPENAI, 429, openrouter(raw=raw), {})
    assert (type(error), error.retry_after) == (RateLimitedError, None)
    assert str(error).startswith("Provider returned error")
