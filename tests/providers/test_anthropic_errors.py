"""Anthropic's errors by status, type and sentence: shapes quoted by users, those of gateways, and none at all."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from penstock.errors import (
    AuthenticationError,
    ContentFilteredError,
    ContextLengthError,
    InvalidRequestError,
    MalformedResponseError,
    ModelNotFoundError,
    OverloadedError,
    PermissionDeniedError,
    ProviderError,
    QuotaExhaustedError,
    RateLimitedError,
    ServerError,
)
from penstock.types import Headers, WireResponse
from penstock_providers.anthropic_messages import AnthropicMessages

CODEC = AnthropicMessages()
NOW = datetime(2025, 6, 2, 15, 15, 30, tzinfo=UTC).timestamp()


def classified(status: int, body: Any, *headers: tuple[str, str]) -> ProviderError:
    sent = body if isinstance(body, bytes) else msgspec.json.encode(body)
    return CODEC.classify(WireResponse(status, headers, sent), now=NOW)


def told(type: str, message: str = "", **more: Any) -> dict[str, Any]:
    return {"type": "error", "error": {"type": type, "message": message, **more}, "request_id": "req_1"}


INVALID = "invalid_request_error"
LIMIT = "rate_limit_error"


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, told(INVALID, "max_tokens: Field required"), InvalidRequestError),
        (422, told(INVALID, "no"), InvalidRequestError),
        (401, told("authentication_error", "invalid x-api-key"), AuthenticationError),
        (403, told("permission_error", "not for you"), PermissionDeniedError),
        (404, told("not_found_error", "model: claude-9"), ModelNotFoundError),
        (408, told("timeout_error", "slow"), ServerError),
        (409, told("a_new_error", "again"), ServerError),
        (413, told("request_too_large", "Request exceeds the maximum size"), ContextLengthError),
        (429, told(LIMIT, "This request would exceed your account's rate limit."), RateLimitedError),
        (500, told("api_error", "Internal server error"), ServerError),
        (500, told("api_error", "Overloaded"), OverloadedError),
        (502, b"<html>Bad gateway</html>", ServerError),
        (503, b"", OverloadedError),
        (504, told("timeout_error", "slow"), ServerError),
        (529, told("overloaded_error", "Overloaded"), OverloadedError),
        (529, b"", OverloadedError),
        (400, told("overloaded_error", "Overloaded"), OverloadedError),
        (499, b"", InvalidRequestError),
        (302, b"", InvalidRequestError),
    ],
)  # fmt: skip
def test_status_and_type_name_the_error(status: int, body: Any, kind: type[ProviderError]) -> None:
    error = classified(status, body)
    assert type(error) is kind
    assert error.status == status


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (402, told("billing_error", "There is an issue with your billing details")),
        (403, told("billing_error", "There is an issue with your billing details")),
        (402, b""),
        (400, told(INVALID, "Your credit balance is too low to access the Anthropic API. Please go to Plans.")),
        (400, told(INVALID, "You have reached your specified API usage limits. You will regain access on 2025-07-01.")),
        (429, told(LIMIT, "This organization has reached its monthly spend limit.")),
        (429, told(LIMIT, "No more.", details={"error_code": "enforced_spend_limit_reached"})),
        (403, told("permission_error", "No.", details={"error_code": "linked_organization_billing_unavailable"})),
        (429, told(LIMIT, "Extra usage is required for long context requests.")),
    ],
)  # fmt: skip
def test_used_up_money_is_told_from_a_rate_limit(status: int, body: Any) -> None:
    assert type(classified(status, body)) is QuotaExhaustedError


@pytest.mark.parametrize(
    "sentence",
    [
        "prompt is too long: 215842 tokens > 200000 maximum",
        "input length and `max_tokens` exceed context limit: 188240 + 21333 > 200000, decrease input length",
        "Input is too long for requested model.",
    ],
)
def test_a_prompt_that_is_too_long_is_told_from_a_wrong_request(sentence: str) -> None:
    assert type(classified(400, told(INVALID, sentence))) is ContextLengthError
    assert type(classified(413, told(INVALID, sentence))) is ContextLengthError


def test_the_words_of_the_request_do_not_name_the_error() -> None:
    for quoted in (
        "tools.0.name: 'get_spend_limit_of_billing' is too long",
        "messages.0.content: 'invalid api key' is not a list",
        "tools.1.description: 'says: your credit balance is too low' is not allowed",
    ):
        assert type(classified(400, told(INVALID, quoted))) is InvalidRequestError


def test_a_blocked_answer_and_a_bad_key_are_known_under_400() -> None:
    assert type(classified(400, told(INVALID, "Output blocked by content filtering policy"))) is ContentFilteredError
    assert type(classified(400, told(INVALID, "Invalid API key provided"))) is AuthenticationError


def test_the_code_is_the_narrowest_name_of_the_cause() -> None:
    assert (
        classified(429, told(LIMIT, "m", details={"error_code": "ramp_limit_exceeded"})).code == "ramp_limit_exceeded"
    )
    assert classified(429, told(LIMIT, "m", details=["odd"])).code == LIMIT
    assert classified(429, b"").code is None


def test_the_request_id_stands_in_the_header_or_in_the_body() -> None:
    assert classified(500, told("api_error"), ("request-id", "req_2")).request_id == "req_2"
    assert classified(500, told("api_error")).request_id == "req_1"
    assert classified(500, told("api_error") | {"request_id": None}).request_id is None


@pytest.mark.parametrize(("sent", "read"), [("true", True), ("false", False), ("maybe", None), ("TRUE", True)])
def test_should_retry_is_read(sent: str, read: bool | None) -> None:  # noqa: FBT001 - a table's column
    assert classified(529, b"", ("x-should-retry", sent)).should_retry is read


def quoted_limits(**remaining: str) -> Headers:
    """The headers of a 429 as quoted in a public thread: input tokens used up, for 18 more seconds."""
    limits = {
        "input-tokens": ("200000", "0", "48"),
        "output-tokens": ("80000", "80000", "00"),
        "requests": ("4000", "4000", "00"),
    }
    return tuple(
        (f"anthropic-ratelimit-{name}-{field}", value)
        for name, (limit, left, second) in limits.items()
        for field, value in (
            ("limit", limit),
            ("remaining", remaining.get(name.replace("-", "_"), left)),
            ("reset", f"2025-06-02T15:15:{second}Z"),
        )
    )  # fmt: skip


def test_retry_after_is_taken_from_its_header_first() -> None:
    assert classified(429, told(LIMIT), ("retry-after", "16"), *quoted_limits()).retry_after == 16


def test_else_from_the_reset_of_what_is_used_up() -> None:
    assert classified(429, told(LIMIT), *quoted_limits()).retry_after == 18
    assert classified(429, told(LIMIT), *quoted_limits(input_tokens="5")).retry_after is None
    assert classified(429, told(LIMIT)).retry_after is None


def test_an_error_in_a_200_is_raised_as_what_it_is() -> None:
    with pytest.raises(OverloadedError) as raised:
        CODEC.decode(WireResponse(200, (), msgspec.json.encode(told("overloaded_error", "Overloaded"))))
    assert (raised.value.status, raised.value.request_id) == (None, "req_1")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"  \n",
        b"<html>",
        b"[]",
        b"7",
        b'{"content": [',
        b"{}",
        b'{"content": [], "stop_reason": null}',
        b'{"content": "text", "stop_reason": "end_turn"}',
        b'{"content": [{"type": "text"}], "stop_reason": "end_turn"}',
        b'{"content": [{"text": "a"}], "stop_reason": "end_turn"}',
        b"[" * 100_000,
    ],
)
def test_a_200_that_is_no_message_is_malformed(body: bytes) -> None:
    with pytest.raises(MalformedResponseError):
        CODEC.decode(WireResponse(200, (), body))


@pytest.mark.parametrize(
    "body",
    [
        {"error": "a plain sentence"},
        {"message": "a plain sentence"},
        {"detail": "a plain sentence"},
        {"error": {"message": "a plain sentence", "code": 7}},
        [{"error": 1}],
        {"error": {"type": ["x"], "message": {"y": 1}}, "request_id": 5},
        "text",
        None,
    ],
)
def test_bodies_of_gateways_do_no_harm(body: Any) -> None:
    error = classified(400, body)
    assert type(error) is InvalidRequestError
    if "plain sentence" in repr(body):
        assert "a plain sentence" in str(error)


def test_a_long_sentence_is_shortened() -> None:
    assert 400 < len(str(classified(400, told(INVALID, "x" * 10_000)))) < 700


def test_deep_nesting_is_survived() -> None:
    assert type(classified(500, b"[" * 100_000)) is ServerError
