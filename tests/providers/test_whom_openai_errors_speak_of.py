"""Errors of one prompt, one model or one request, under statuses that otherwise speak of the key or its account."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from penstock.errors import (
    AuthenticationError,
    ContentFilteredError,
    ContextLengthError,
    GenerationFailedError,
    InvalidRequestError,
    ModelNotFoundError,
    PermissionDeniedError,
    ProviderError,
    QuotaExhaustedError,
    RateLimitedError,
    RefusedError,
    ServerError,
)
from penstock.types import WireResponse
from penstock_providers.openai_chat import OpenAIChat

CODEC = OpenAIChat()


def classified(status: int, body: Any, **headers: str) -> ProviderError:
    told = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    return CODEC.classify(WireResponse(status, told, msgspec.json.encode(body)), now=0.0)


def openai(message: str, code: str | None = None, **rest: Any) -> dict[str, Any]:
    return {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": code, **rest}}


def openrouter(status: int, message: str, **metadata: Any) -> dict[str, Any]:
    return {"error": {"code": status, "message": message, "metadata": metadata}}


def litellm(message: str, kind: str | None = None) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": None, "code": "400"}}


FLAGGED = 'openai/gpt-4o-mini requires moderation on OpenAI. Your input was flagged for "harassment".'
FLAGS = {"reasons": ["harassment"], "flagged_input": "You...", "provider_name": "OpenAI", "model_slug": "gpt-4o-mini"}
XAI_DENIES = "The caller does not have permission to execute the specified operation"
XAI_FLAGS = "Content violates usage guidelines. Team: t-1, API key ID: k-1, Failed check: SAFETY_CHECK_TYPE_BIO"
ZAI = "System detected potentially unsafe or sensitive content in input or generation."
ZHIPU = "系统检测到输入或生成内容可能包含不安全或敏感内容"

FILTERED: dict[str, tuple[int, Any]] = {
    "OpenRouter's moderation": (403, openrouter(403, FLAGGED, **FLAGS)),
    "OpenRouter's moderation, in words that nobody knows": (403, openrouter(403, "No.", **FLAGS)),
    "OpenRouter's moderation, by its sentence alone": (403, openrouter(403, FLAGGED)),
    "OpenRouter's guardrail": (403, openrouter(403, "Request blocked: it", patterns=["ignore all instructions"])),
    "OpenRouter's word for a filter": (400, openrouter(400, "No.", error_type="content_policy_violation")),
    "xAI's, behind OpenRouter": (
        403,
        openrouter(403, "Provider returned error", raw=f'{{"code":"{XAI_DENIES}","error":"{XAI_FLAGS}"}}'),
    ),
    "xAI's check": (403, {"code": XAI_DENIES, "error": XAI_FLAGS}),
    "xAI's guidelines": (400, {"code": "invalid-argument", "error": "Content violates usage guidelines."}),
    "DeepSeek's risk": (400, openai("Content Exists Risk", "invalid_request_error")),
    "DeepSeek's risk, flat": (400, {"detail": "Content Exists Risk"}),
    "Z.ai's": (400, {"error": {"code": "1301", "message": ZAI}}),
    "Z.ai's in Chinese": (400, {"error": {"code": "1301", "message": ZHIPU}}),
    "a gateway's list of words": (400, openai("input contains sensitive words: [x]", "sensitive_words_detected")),
}


@pytest.mark.parametrize("name", FILTERED)
def test_a_prompt_that_moderation_refused_is_filtered_whatever_the_status(name: str) -> None:
    status, body = FILTERED[name]
    error = classified(status, body)
    assert type(error) is ContentFilteredError
    assert error.status == status


@pytest.mark.parametrize(
    "body",
    [
        openai("Forbidden"),
        {"object": "error", "message": "Forbidden", "type": "forbidden", "code": "1500"},
        {"code": XAI_DENIES, "error": "Team t-1 is not authorized to perform this action."},
        openai("Your account was flagged for violating our usage guidelines."),
        openai("This API key does not have access to models."),
        openrouter(403, "Your organization requires that members use another key", error_type="permission_denied"),
        openrouter(403, "Only management keys can perform this operation", flagged_input=None, patterns=[]),
        "Forbidden",
    ],
    ids=lambda body: str(body)[:60],
)
def test_a_403_that_names_neither_prompt_nor_model_is_of_the_key(body: Any) -> None:
    assert type(classified(403, body)) is PermissionDeniedError


def test_what_openrouter_calls_an_invalid_prompt_is_one_of_the_wrong_form() -> None:
    body = openrouter(400, "messages[0].role: unknown", error_type="invalid_prompt")
    assert type(classified(400, body)) is InvalidRequestError
    assert type(classified(400, openai("Your prompt...", "invalid_prompt"))) is ContentFilteredError


def test_openrouters_word_for_a_refusal_is_one() -> None:
    assert type(classified(400, openrouter(400, "I cannot help with that.", error_type="refusal"))) is RefusedError


def test_openrouters_own_words_leave_the_code_as_it_was() -> None:
    assert classified(403, openrouter(403, FLAGGED, error_type="content_policy_violation", **FLAGS)).code == "403"


BLOCKED = "The model `m` is blocked at the {} level. Please have the admin enable it at https://x/settings/limits"


@pytest.mark.parametrize(
    "body",
    [
        openai(BLOCKED.format("organization"), "model_permission_blocked_org"),
        openai(BLOCKED.format("project"), "model_permission_blocked_project"),
        {"error": "Access to model meta-llama/Llama-3.1-405B is restricted and you are not in the authorized list."},
        {"error": "You are trying to access a gated repo."},
        openai("Free tier users do not have access to this model"),
        openai("Project `proj_x` does not have access to model `m`"),
    ],
    ids=str,
)
def test_a_model_that_the_key_may_not_use_is_none_for_it(body: Any) -> None:
    assert type(classified(403, body)) is ModelNotFoundError


AFFORD = (
    "This request requires more credits, or fewer max_tokens. You requested up to 60000 tokens, but can only afford {}"
)


@pytest.mark.parametrize(
    ("body", "of_this_request"),
    [
        (openrouter(402, AFFORD.format("5123. To increase, visit https://x"), provider_name=None), True),
        (openrouter(402, "Prompt tokens limit exceeded: 77084 > 67343. To increase, visit https://x"), True),
        (openrouter(402, "No.", reason="weight_exceeds_budget", limit_source="openrouter_credits"), True),
        (openrouter(402, AFFORD.format("0. To increase, visit https://x")), False),
        (openrouter(402, "Prompt tokens limit exceeded: 77084 > 0"), False),
        (openrouter(402, "Prompt tokens limit exceeded: 77084 > -12"), False),
        (openrouter(402, "Insufficient credits", limit_source="openrouter_credits"), False),
        (openai("Insufficient Balance"), False),
        ("Payment Required", False),
    ],
)
def test_credit_that_is_too_little_for_one_request_is_told_from_credit_that_is_used_up(
    body: Any,
    of_this_request: bool,  # noqa: FBT001 - a parameter of the table
) -> None:
    error = classified(402, body)
    assert type(error) is QuotaExhaustedError
    assert error.of_this_request is of_this_request


SPENT = "Budget has been exceeded! Key=9f (sk-...TMqg) Current cost: 0.000118, Max budget: 0.0001"
TOO_DEAR = "Budget has been exceeded! Current cost: 0.0, Estimated request cost: 3.64, Max budget: 2.5"


@pytest.mark.parametrize(
    ("status", "body", "of_this_request"),
    [
        (403, openrouter(403, "Key limit exceeded (total limit). Manage it using https://x/settings/keys"), False),
        (403, openrouter(403, "Budget limit exceeded (monthly limit)."), False),
        (429, litellm(SPENT, "budget_exceeded"), False),
        (400, litellm(SPENT), False),
        (429, litellm("LiteLLM User: one, exceeded budget for model=m", "budget_exceeded"), False),
        (400, litellm("ExceededBudget: End User=one over budget. Spend=0.0008, Budget=0.0001", "auth_error"), False),
        (429, litellm(TOO_DEAR, "budget_exceeded"), True),
    ],
)
def test_what_a_key_of_a_gateway_may_spend_is_a_quota(
    status: int,
    body: Any,
    of_this_request: bool,  # noqa: FBT001 - a parameter of the table
) -> None:
    error = classified(status, body)
    assert type(error) is QuotaExhaustedError
    assert error.of_this_request is of_this_request


def test_a_team_without_credits_is_a_quota_and_no_permission() -> None:
    told = {
        "code": XAI_DENIES,
        "error": "Your newly created team doesn't have any credits yet. You can purchase credits",
    }
    assert type(classified(403, told)) is QuotaExhaustedError


def test_a_key_that_is_said_to_be_wrong_is_wrong_whatever_is_said_beside_it_of_a_model() -> None:
    body = openai("Invalid API key, or you do not have access to the model")
    assert type(classified(403, body)) is AuthenticationError


def test_a_rate_of_a_gateway_is_no_quota() -> None:
    throttled = litellm("Rate limit exceeded for api_key: d8. Limit type: tokens. Remaining: 0.", "throttling_error")
    assert type(classified(429, throttled)) is RateLimitedError


@pytest.mark.parametrize(
    "sentence",
    [
        "This request would exceed your available credits given what runs.",
        "This request requires more credits, given what runs; can only afford 0",
    ],
)
def test_credit_that_running_requests_hold_comes_back_and_is_waited_for(sentence: str) -> None:
    body = openrouter(402, sentence, reason="in_flight_budget_exhausted")
    error = classified(402, body, retry_after="3")
    assert type(error) is RateLimitedError
    assert error.retry_after == 3.0


@pytest.mark.parametrize(
    "body",
    [
        openai("Tool call validation failed: parameters for tool x", "tool_use_failed", failed_generation="{}"),
        openai("attempted to call tool 'context window' which was not in request.tools", "tool_use_failed"),
        openai("Failed to validate JSON. Please adjust your prompt.", "json_validate_failed", failed_generation="{"),
        openai("Failed to call a function. Please adjust your prompt. See 'failed_generation' for more details."),
        openrouter(400, "Provider returned error", raw='{"error":{"message":"-","code":"tool_use_failed"}}'),
    ],
    ids=str,
)
def test_what_a_model_wrote_and_its_server_refuses_is_no_fault_of_the_request(body: Any) -> None:
    error = classified(400, body)
    assert type(error) is GenerationFailedError
    assert error.status == 400


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, openai("tools.0.function.parameters: not a JSON Schema", "invalid_tools"), InvalidRequestError),
        (400, openai("maximum context length is 8192 tokens"), ContextLengthError),
        (500, openai("Something failed in generation"), ServerError),
    ],
)
def test_no_other_error_is_taken_for_one_of_those(status: int, body: Any, kind: type[ProviderError]) -> None:
    assert type(classified(status, body)) is kind
