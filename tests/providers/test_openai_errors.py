"""Which error a response tells: every shape seen on wires of this kind, and what no shape may do."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import (
    AuthenticationError,
    ContentFilteredError,
    ContextLengthError,
    GenerationFailedError,
    InvalidRequestError,
    ModelNotFoundError,
    OverloadedError,
    PermissionDeniedError,
    ProviderError,
    QuotaExhaustedError,
    RateLimitedError,
    ServerError,
)
from penstock.types import Headers, WireResponse
from penstock_providers.openai_chat import OpenAIChat

CODEC = OpenAIChat()
NOW = 1_754_667_600.0  # 2025-08-08T15:40:00Z


def respond(status: int, body: Any, **headers: str) -> WireResponse:
    raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
    return WireResponse(status, tuple((name.replace("_", "-"), value) for name, value in headers.items()), raw)


def classified(status: int, body: Any, **headers: str) -> ProviderError:
    return CODEC.classify(respond(status, body, **headers), now=NOW)


def openai(message: str, kind: str | None = "invalid_request_error", code: Any = None, **rest: Any) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": None, "code": code, **rest}}


FILTERED = "The response was filtered due to the prompt triggering Azure OpenAI's content management policy."
VIOLATION = {"code": "ResponsibleAIPolicyViolation", "content_filter_result": {"jailbreak": {"filtered": True}}}
RETRY_INFO = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "48s"}
GOOGLE_QUOTA = "You exceeded your current quota, please check your plan and billing details."
UPSTREAM_BUSY = {"raw": "m is temporarily rate-limited upstream.", "provider_name": "X"}
SHAPES: list[tuple[str, int, Any, type[ProviderError], str | None]] = [
    (
        "a wrong key",
        401,
        openai("Incorrect API key provided: x.", code="invalid_api_key"),
        AuthenticationError,
        "invalid_api_key",
    ),
    ("Azure's wrong key", 401, {"error": {"code": "401", "message": "Access denied"}}, AuthenticationError, "401"),
    (
        "xAI's wrong key",
        400,
        {"code": "invalid-argument", "error": "Incorrect API key provided."},
        AuthenticationError,
        "invalid-argument",
    ),
    (
        "Google's wrong key",
        400,
        [
            {
                "error": {
                    "code": 400,
                    "message": "API key not valid. Please pass a valid API key.",
                    "status": "INVALID_ARGUMENT",
                }
            }
        ],
        AuthenticationError,
        "400",
    ),
    ("Mistral's wrong key", 401, {"detail": "Invalid API Key"}, AuthenticationError, None),
    (
        "no model for the key",
        403,
        openai("You are not allowed to sample from this model"),
        ModelNotFoundError,
        "invalid_request_error",
    ),
    (
        "a forbidden country",
        403,
        openai("Country not supported", code="unsupported_country_region_territory"),
        PermissionDeniedError,
        "unsupported_country_region_territory",
    ),
    (
        "no such model",
        404,
        openai("The model `x` does not exist", code="model_not_found"),
        ModelNotFoundError,
        "model_not_found",
    ),
    (
        "no such deployment",
        404,
        {"error": {"code": "DeploymentNotFound", "message": "-"}},
        ModelNotFoundError,
        "DeploymentNotFound",
    ),
    (
        "no such model, told by 400",
        400,
        openai("The requested model 'x' does not exist.", code="model_not_found"),
        ModelNotFoundError,
        "model_not_found",
    ),
    (
        "Mistral's unknown model",
        400,
        {"object": "error", "message": "Invalid model: x", "type": "invalid_model", "code": "1500"},
        ModelNotFoundError,
        "1500",
    ),
    (
        "xAI's unknown model",
        400,
        {"code": "invalid-argument", "error": "Model not found: x"},
        ModelNotFoundError,
        "invalid-argument",
    ),
    (
        "OpenRouter's unknown model",
        400,
        {"error": {"message": "a/b is not a valid model ID", "code": 400}},
        ModelNotFoundError,
        "400",
    ),
    ("Venice's unknown model", 404, {"error": "Specified model not found: x."}, ModelNotFoundError, None),
    (
        "a rate",
        429,
        openai("Rate limit reached. Please try again in 6ms.", "tokens", "rate_limit_exceeded"),
        RateLimitedError,
        "rate_limit_exceeded",
    ),
    (
        "a request larger than its rate",
        413,
        openai("Request too large: Limit 6000, Requested 12903", "tokens", "rate_limit_exceeded"),
        RateLimitedError,
        "rate_limit_exceeded",
    ),
    (
        "Azure's rate",
        429,
        {"error": {"code": "RateLimitReached", "message": "Your requests have exceeded rate limit."}},
        RateLimitedError,
        "RateLimitReached",
    ),
    (
        "Groq's rate, which speaks of billing",
        429,
        openai("Rate limit reached. Need more? Upgrade at https://x/settings/billing", "tokens", "rate_limit_exceeded"),
        RateLimitedError,
        "rate_limit_exceeded",
    ),
    (
        "Mistral's rate",
        429,
        {"object": "error", "message": "Rate limit exceeded", "type": "rate_limited", "code": "1300"},
        RateLimitedError,
        "1300",
    ),
    (
        "Mistral's capacity",
        429,
        {
            "object": "error",
            "message": "Service tier capacity exceeded for this model.",
            "type": "invalid_request_error",
            "code": None,
        },
        RateLimitedError,
        "invalid_request_error",
    ),
    (
        "a shared pool's rate",
        429,
        {"error": {"message": "Provider returned error", "code": 429, "metadata": UPSTREAM_BUSY}},
        RateLimitedError,
        "429",
    ),
    (
        "Google's minute",
        429,
        {"error": {"code": 429, "message": GOOGLE_QUOTA, "status": "RESOURCE_EXHAUSTED", "details": [RETRY_INFO]}},
        RateLimitedError,
        "429",
    ),
    (
        "an empty account",
        429,
        openai(GOOGLE_QUOTA, "insufficient_quota", "insufficient_quota"),
        QuotaExhaustedError,
        "insufficient_quota",
    ),
    ("an empty account by its sentence alone", 429, openai(GOOGLE_QUOTA, None), QuotaExhaustedError, None),
    (
        "an inactive account",
        429,
        openai("Your account is not active, please check your billing details.", code="billing_not_active"),
        QuotaExhaustedError,
        "billing_not_active",
    ),
    (
        "a hard limit",
        400,
        openai("Billing hard limit has been reached", code="billing_hard_limit_reached"),
        QuotaExhaustedError,
        "billing_hard_limit_reached",
    ),
    (
        "DeepSeek's empty account",
        402,
        openai("Insufficient Balance", "unknown_error", "invalid_request_error"),
        QuotaExhaustedError,
        "invalid_request_error",
    ),
    (
        "Moonshot's empty account",
        429,
        openai("Your account is suspended", "exceeded_current_quota_error"),
        QuotaExhaustedError,
        "exceeded_current_quota_error",
    ),
    (
        "a context overflow",
        400,
        openai("This model's maximum context length is 8192 tokens.", code="context_length_exceeded"),
        ContextLengthError,
        "context_length_exceeded",
    ),
    (
        "DeepSeek's context overflow",
        400,
        openai(
            "This model's maximum context length is 1048565 tokens. However, you requested 1250025 tokens",
            code="invalid_request_error",
        ),
        ContextLengthError,
        "invalid_request_error",
    ),
    (
        "OpenRouter's context overflow",
        400,
        {"error": {"message": "This endpoint's maximum context length is 200000 tokens.", "code": 400}},
        ContextLengthError,
        "400",
    ),
    (
        "llama.cpp's context overflow",
        400,
        {
            "error": {
                "code": 400,
                "message": "request (2009 tokens) exceeds the available context size (512 tokens)",
                "type": "exceed_context_size_error",
                "n_ctx": 512,
            }
        },
        ContextLengthError,
        "400",
    ),
    (
        "Ollama's context overflow",
        400,
        openai("prompt too long; exceeded max context length by 1119046 tokens"),
        ContextLengthError,
        "invalid_request_error",
    ),
    (
        "xAI's context overflow",
        400,
        {"code": "invalid-argument", "error": "This model's maximum prompt length is 131072"},
        ContextLengthError,
        "invalid-argument",
    ),
    (
        "a context overflow under 429",
        429,
        openai("Too many tokens: the prompt exceeds the model's context window", "tokens"),
        ContextLengthError,
        "tokens",
    ),
    (
        "a context overflow under 500",
        500,
        openai("the request exceeds the available context size", "server_error"),
        ContextLengthError,
        "server_error",
    ),
    (
        "GitHub's context overflow",
        413,
        openai("Request body too large for gpt-4o model. Max size: 8000 tokens.", code="tokens_limit_reached"),
        ContextLengthError,
        "tokens_limit_reached",
    ),
    ("a body too large", 413, b"<html>413 Request Entity Too Large</html>", ContextLengthError, None),
    (
        "Azure's filter",
        400,
        openai(FILTERED, None, "content_filter", innererror=VIOLATION, status=400),
        ContentFilteredError,
        "content_filter",
    ),
    (
        "Azure's filter by its inner error alone",
        400,
        openai("-", None, None, innererror=VIOLATION),
        ContentFilteredError,
        "ResponsibleAIPolicyViolation",
    ),
    (
        "a flagged prompt",
        400,
        openai("Your prompt was flagged", code="invalid_prompt"),
        ContentFilteredError,
        "invalid_prompt",
    ),
    (
        "an unsupported parameter",
        400,
        openai("Unsupported parameter: 'stop'", code="unsupported_parameter"),
        InvalidRequestError,
        "unsupported_parameter",
    ),
    (
        "an invalid schema",
        400,
        openai("Invalid schema for response_format", code="invalid_json_schema"),
        InvalidRequestError,
        "invalid_json_schema",
    ),
    (
        "a flat body",
        400,
        {"code": 400, "message": "Temperature must be between 0 and 2", "type": "Bad Request"},
        InvalidRequestError,
        "400",
    ),
    (
        "a failed generation",
        400,
        openai("Tool call validation failed", code="tool_use_failed", failed_generation="{}"),
        GenerationFailedError,
        "tool_use_failed",
    ),
    (
        "FastAPI's validation",
        422,
        {"detail": [{"loc": ["body", "x"], "msg": "field required", "type": "missing"}]},
        InvalidRequestError,
        None,
    ),
    ("a server error", 500, openai("The server had an error", "server_error"), ServerError, "server_error"),
    ("a conflict", 409, openai("Conflict"), ServerError, "invalid_request_error"),
    ("a timeout of theirs", 408, b"", ServerError, None),
    ("too early", 425, b"", ServerError, None),
    ("a gateway's page", 502, b"<html><body>502 Bad Gateway</body></html>", ServerError, None),
    ("Cloudflare's status", 524, b"error code: 524", ServerError, None),
    ("no service", 503, b"upstream connect error", OverloadedError, None),
    ("an overload", 503, openai("The engine is currently overloaded", "server_error"), OverloadedError, "server_error"),
    ("slow down", 503, openai("Slow down", "server_error", "slow_down"), OverloadedError, "slow_down"),
    (
        "an overload under 429",
        429,
        openai("The engine is currently overloaded, please try again later", "engine_overloaded_error"),
        OverloadedError,
        "engine_overloaded_error",
    ),
    ("an overload under 500", 500, openai("Overloaded", "api_error"), OverloadedError, "api_error"),
    ("Anthropic's status", 529, openai("Overloaded", "overloaded_error"), OverloadedError, "overloaded_error"),
    ("a redirect", 302, b"", ProviderError, None),
]


@pytest.mark.parametrize(
    ("status", "body", "kind", "code"), [shape[1:] for shape in SHAPES], ids=[shape[0] for shape in SHAPES]
)
def test_every_shape_of_an_error_is_told_apart(
    status: int, body: Any, kind: type[ProviderError], code: str | None
) -> None:
    error = classified(status, body)
    assert type(error) is kind
    assert (error.status, error.code) == (status, code)
    assert str(error)


@pytest.mark.parametrize("content_type", ["text/plain", "text/event-stream", "application/octet-stream", "text/html"])
def test_the_content_type_decides_nothing(content_type: str) -> None:
    body = openai("Incorrect API key provided", code="invalid_api_key")
    assert type(classified(401, body, content_type=content_type)) is AuthenticationError


def test_leading_blank_lines_and_a_byte_order_mark_hide_no_error() -> None:
    raw = msgspec.json.encode(openai("no credit", code="insufficient_quota"))
    assert type(classified(429, b"\n \n\n   " + raw)) is QuotaExhaustedError
    assert type(classified(429, b"\xef\xbb\xbf" + raw)) is QuotaExhaustedError


def test_the_sentence_is_quoted_and_cut_at_500_characters() -> None:
    assert str(classified(400, openai("Bad\n  thing"))) == "Bad thing"
    assert len(str(classified(400, openai("x" * 10_000)))) == 500
    assert "HTTP 502" in str(classified(502, b"<html>secret page</html>"))
    assert "secret" not in str(classified(502, b"<html>secret page</html>"))


def test_openrouters_true_cause_is_told() -> None:
    body = {"error": {"message": "Provider returned error", "code": 429, "metadata": UPSTREAM_BUSY}}
    assert "temporarily rate-limited upstream" in str(classified(429, body))


@pytest.mark.parametrize(
    ("inner", "outer", "kind", "code"),
    [
        ({"code": 429, "message": "Too much", "status": "RESOURCE_EXHAUSTED"}, {"code": 429}, RateLimitedError, "429"),
        ({"code": 503, "message": "Too much"}, {}, OverloadedError, "503"),
        ({"message": "Too much", "code": "insufficient_quota"}, {"code": 400}, QuotaExhaustedError, "400"),
    ],
)
def test_a_body_that_stands_where_a_sentence_should_is_read(
    inner: dict[str, Any], outer: dict[str, Any], kind: type[ProviderError], code: str
) -> None:
    """Recorded at OpenRouter, in a stream: Google's whole answer, indented, is the message."""
    message = msgspec.json.format(msgspec.json.encode({"error": inner}), indent=2).decode()
    with pytest.raises(ProviderError) as caught:
        CODEC.decode(respond(200, {"error": {"message": message, **outer}}))
    assert type(caught.value) is kind
    assert (str(caught.value), caught.value.code) == ("Too much", code)


def test_a_sentence_in_braces_is_only_a_sentence() -> None:
    for said in ("{not json", "[1, 2]", '{"a": 1}'):
        assert str(classified(400, openai(said))) == said


def test_the_providers_name_for_the_exchange_is_kept() -> None:
    assert classified(500, b"", x_request_id="req_1", apim_request_id="az").request_id == "req_1"
    assert classified(500, b"", apim_request_id="az").request_id == "az"
    assert classified(500, b"").request_id is None


@pytest.mark.parametrize(
    ("told", "kept"), [("true", True), ("false", False), ("TRUE", True), ("maybe", None), ("", None)]
)
def test_the_servers_word_on_retrying_is_kept(told: str, kept: bool | None) -> None:  # noqa: FBT001 - a parameter of the table
    assert classified(500, b"", x_should_retry=told).should_retry is kept
    assert classified(500, b"").should_retry is None


RATE = openai("Rate limit reached", "requests", "rate_limit_exceeded")


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry_after": "7"}, 7.0),
        ({"retry_after": "1", "retry_after_ms": "0"}, 1.0),
        ({"retry_after": "7", "retry_after_ms": "2500"}, 2.5),
        ({"retry_after": "Fri, 08 Aug 2025 15:41:00 GMT"}, 60.0),
        ({"x_ratelimit_remaining_tokens": "0", "x_ratelimit_reset_tokens": "6m0s"}, 360.0),
        (
            {
                "x_ratelimit_remaining_tokens": "0",
                "x_ratelimit_reset_tokens": "2s",
                "x_ratelimit_remaining_requests": "0",
                "x_ratelimit_reset_requests": "8.64s",
            },
            8.64,
        ),
        ({"x_ratelimit_remaining_tokens": "5", "x_ratelimit_reset_tokens": "6m0s"}, None),
        ({}, None),
    ],
)
def test_a_rate_limit_tells_when_to_come_back(headers: dict[str, str], seconds: float | None) -> None:
    assert classified(429, RATE, **headers).retry_after == seconds


@pytest.mark.parametrize(("words", "seconds"), [("3.89s", 3.89), ("174ms", 0.174), ("6m0s", 360.0)])
def test_a_rate_limit_without_headers_is_read_from_its_sentence(words: str, seconds: float) -> None:
    body = openai(f"Limit: 10000 / min. Please try again in {words}. Contact us.", "tokens", "rate_limit_exceeded")
    assert classified(429, body).retry_after == pytest.approx(seconds)


def test_googles_retry_info_is_read_from_the_body() -> None:
    body = {"error": {"code": 429, "message": GOOGLE_QUOTA, "details": [RETRY_INFO]}}
    assert classified(429, body).retry_after == 48.0


def test_a_reset_says_nothing_about_errors_other_than_a_rate() -> None:
    headers = {"x_ratelimit_remaining_requests": "0", "x_ratelimit_reset_requests": "6m0s"}
    assert classified(500, openai("-", "server_error"), **headers).retry_after is None
    assert classified(503, b"", **headers, retry_after="3").retry_after == 3.0


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "error",
                    "message",
                    "code",
                    "type",
                    "status",
                    "detail",
                    "details",
                    "innererror",
                    "metadata",
                    "raw",
                    "@type",
                    "retryDelay",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(st.integers(300, 599), JSON.map(msgspec.json.encode) | st.binary(max_size=100), st.text(max_size=30))
def test_no_body_makes_classify_raise(status: int, body: bytes, header: str) -> None:
    headers: Headers = (("retry-after", header), ("x-should-retry", header), ("x-ratelimit-reset-tokens", header))
    error = CODEC.classify(WireResponse(status, headers, body), now=NOW)
    assert isinstance(error, ProviderError)
    assert 0 < len(str(error)) <= 500
    assert error.retry_after is None or error.retry_after > 0


def test_deeply_nested_json_is_no_bug() -> None:
    assert type(classified(500, b"[" * 200_000)) is ServerError
    assert type(classified(500, b'{"error":' * 100_000)) is ServerError
