"""Anthropic's errors as penstock's: by status where that decides, else by `error.type`, with the exceptions known.

Not here: what is done about them (the error-action table of the kernel).
"""

from __future__ import annotations

import re

import attrs
import msgspec

from penstock.errors import (
    AuthenticationError,
    ContentFilteredError,
    ContextLengthError,
    InvalidRequestError,
    ModelNotFoundError,
    OverloadedError,
    PermissionDeniedError,
    ProviderError,
    QuotaExhaustedError,
    RateLimitedError,
    ServerError,
)
from penstock.policy import hints
from penstock.types import Usage, WireHead, WireResponse
from penstock_providers.anthropic_messages._wire import UNREADABLE, json_list, json_object

__all__ = ["ErrorDetail", "error_in_answer", "error_of", "read_error"]

LONGEST_QUOTE = 500

_BY_TYPE: dict[str, type[ProviderError]] = {
    "invalid_request_error": InvalidRequestError,
    "authentication_error": AuthenticationError,
    "billing_error": QuotaExhaustedError,
    "permission_error": PermissionDeniedError,
    "not_found_error": ModelNotFoundError,
    # Too many bytes: only a target with room for more may do better.
    "request_too_large": ContextLengthError,
    "rate_limit_error": RateLimitedError,
    "api_error": ServerError,
    "timeout_error": ServerError,
    "overloaded_error": OverloadedError,
}
_BY_STATUS: dict[int, type[ProviderError]] = {
    401: AuthenticationError,
    402: QuotaExhaustedError,
    403: PermissionDeniedError,
    404: ModelNotFoundError,
    408: ServerError,
    409: ServerError,
    413: ContextLengthError,
    425: ServerError,
    429: RateLimitedError,
    503: OverloadedError,
    529: OverloadedError,
}

# The vendor tells these by its sentence alone, under `invalid_request_error` or `rate_limit_error`. A sentence may
# quote the request, so the patterns are whole phrases.
_QUOTA = re.compile(
    r"spend limit|^your credit balance is too low|you have (?:reached|exceeded) your .{0,40}usage limits"
    r"|^extra usage is required",
    re.IGNORECASE,
)
_CONTEXT = re.compile(
    r"^(?:prompt|input) is too long|exceeds? (?:the )?(?:maximum )?context (?:limit|length|window)", re.IGNORECASE
)
_FILTERED = re.compile(r"blocked by content filtering policy", re.IGNORECASE)
_BAD_KEY = re.compile(r"^invalid (?:x-)?api.?key", re.IGNORECASE)
# `error.details.error_code`, sent since late 2026.
_QUOTA_CODE = re.compile(r"spend_limit_reached|billing_unavailable")
_CONTEXT_CODE = re.compile(r"request_body_too_large")
_SHOULD_RETRY = {"true": True, "false": False}


@attrs.frozen
class ErrorDetail:
    """What the provider said went wrong; empty where it did not."""

    type: str = ""
    message: str = ""
    code: str = ""
    request_id: str | None = None
    delay: float | None = None
    """Seconds to wait, where the body says so: Vertex has no header for it."""


def error_of(response: WireResponse, *, now: float) -> ProviderError:
    """The error a response other than 2xx tells. Never raises."""
    detail = read_error(response.body)
    kind = _kind(response.status, detail)
    # What is no error says nothing about retries: a 200 may carry `retry-after` too.
    hinting = response.status >= 400
    return kind(
        _sentence(kind, detail.message, f"HTTP {response.status}"),
        status=response.status,
        code=detail.code or detail.type or None,
        should_retry=_SHOULD_RETRY.get((response.header("x-should-retry") or "").lower()) if hinting else None,
        retry_after=_hint(kind, detail, response, now) if hinting else None,
        request_id=response.header("request-id") or detail.request_id,
    )


def _hint(kind: type[ProviderError], detail: ErrorDetail, response: WireResponse, now: float) -> float | None:
    """Seconds until the server wants to be asked again: by its headers, else by its body."""
    # A reset says when a rate is there again, and nothing about other errors.
    read = hints.retry_after if kind is RateLimitedError else hints.stated_retry_after
    stated = read(response.headers, now=now)
    return detail.delay if stated is None else stated


def error_in_answer(body: object, head: WireHead, usage: Usage | None = None) -> ProviderError:
    """The error told inside a 200: by an event of a stream, or in place of the message."""
    detail = _detail(body)
    kind = _kind(None, detail)
    return kind(
        _sentence(kind, detail.message, "an error inside the answer"),
        code=detail.code or detail.type or None,
        usage=usage,
        retry_after=detail.delay,
        request_id=head.header("request-id") or detail.request_id,
    )


def read_error(body: bytes) -> ErrorDetail:
    """What can be read of an error's body, whatever it holds: other JSON, HTML, nothing."""
    try:
        return _detail(msgspec.json.decode(body))
    except UNREADABLE:
        return ErrorDetail()


def _kind(status: int | None, detail: ErrorDetail) -> type[ProviderError]:
    # A full server says so under `api_error` and 500, too.
    named = OverloadedError if detail.message.strip().lower() == "overloaded" else _BY_TYPE.get(detail.type)
    if status is not None and status >= 500:
        return named if named is OverloadedError else _BY_STATUS.get(status, ServerError)
    if status not in (401, 404):
        told = QuotaExhaustedError if named is QuotaExhaustedError else _told(detail)
        if told is not None:
            return told
    if status in (None, 400):
        return named or (ServerError if status is None else InvalidRequestError)
    return _BY_STATUS.get(status) or named or InvalidRequestError


def _told(detail: ErrorDetail) -> type[ProviderError] | None:
    if _QUOTA_CODE.search(detail.code) or _QUOTA.search(detail.message):
        return QuotaExhaustedError
    if _CONTEXT_CODE.search(detail.code) or _CONTEXT.search(detail.message):
        return ContextLengthError
    if _FILTERED.search(detail.message):
        return ContentFilteredError
    return AuthenticationError if _BAD_KEY.search(detail.message) else None


def _sentence(kind: type[ProviderError], message: str, where: str) -> str:
    if not message:
        return f"{kind.says} ({where})"
    short = message if len(message) <= LONGEST_QUOTE else message[: LONGEST_QUOTE - 1] + "…"
    return f"{kind.says} ({where}): {short}"


def _detail(body: object) -> ErrorDetail:
    """`{"error": {"type", "message", "details"}, "request_id"}`, and what gateways make of it."""
    # Vertex wraps the errors of its streams in a list.
    items = json_list(body) or [body]
    fields = json_object(items[0]) or {}
    error = json_object(fields.get("error")) or fields
    code = (json_object(error.get("details")) or {}).get("error_code")
    sentences = (_string(error.get(name)) for name in ("message", "Message", "error", "detail"))
    message = next(filter(None, sentences), "")
    delay = hints.retry_delay(error.get("details"))
    return ErrorDetail(
        type=_string(error.get("type")),
        message=message,
        code=_string(code),
        request_id=_string(fields.get("request_id")) or None,
        delay=hints.retry_in_words(message) if delay is None else delay,
    )


def _string(value: object) -> str:
    return value if isinstance(value, str) else ""
