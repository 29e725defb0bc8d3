"""Which error a response tells: status first, then the words of its body, whatever the content type says.

Not here: what follows from it (`penstock.policy.retry`), and the words (`_error_words`): context overflow, an empty
account, a wrong key and a refused prompt come under many statuses and spellings.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import msgspec

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
    RefusedError,
    ServerError,
)
from penstock.policy import hints
from penstock.types import Headers, Usage, WireHead, WireResponse
from penstock_providers.openai_chat import _error_words as spelt
from penstock_providers.openai_chat._foreign import fields_of, is_list, is_object, items_of, objects_in

__all__ = ["classify", "error_in_answer", "request_id_of", "tells_error"]

_LONGEST_SENTENCE = 500
_FIRST_ERROR = 400
_REQUEST_ID_HEADERS = (
    "x-request-id",
    "apim-request-id",
    "x-ms-request-id",
    "mistral-correlation-id",
    "x-generation-id",
    "request-id",
)

_Kind = type[ProviderError]

_BY_STATUS: dict[int, _Kind] = {
    401: AuthenticationError,
    402: QuotaExhaustedError,
    403: PermissionDeniedError,
    404: ModelNotFoundError,
    408: ServerError,
    409: ServerError,
    413: ContextLengthError,
    425: ServerError,
    429: RateLimitedError,
    498: OverloadedError,  # Groq: no capacity for the flex tier
    503: OverloadedError,
    529: OverloadedError,
}
_OF_THE_EXCHANGE: tuple[tuple[_Kind, re.Pattern[str], re.Pattern[str] | None], ...] = (
    (ContentFilteredError, spelt.FILTER_WORDS, spelt.FILTER_PHRASES),
    (RefusedError, spelt.REFUSAL_WORDS, None),
    (GenerationFailedError, spelt.GENERATION_WORDS, spelt.GENERATION_PHRASES),
    (ContextLengthError, spelt.CONTEXT_WORDS, spelt.CONTEXT_PHRASES),
)
"""Of what was asked or written, under whatever status: the 403 of a prompt that is refused says nothing of the key."""
_SAID_BESIDE = ("error_type", "reason")
_TOLD_BY_NAME = ("flagged_input", "patterns")
"""Their values quote the prompt."""


class _Told(NamedTuple):
    """What an error body says, in whichever envelope."""

    sentence: str = ""
    code: str | None = None
    words: tuple[str, ...] = ()
    status: int | None = None
    """An HTTP status named in the body, for errors that come under a 200."""
    delay: float | None = None
    headers: Headers = ()
    """Those of an upstream, where the body repeats them."""

    @property
    def lowered(self) -> str:
        return self.sentence[:4000].lower()

    def speaks_of(self, words: re.Pattern[str]) -> bool:
        return any(words.search(word) for word in self.words)


def classify(response: WireResponse, *, now: float) -> ProviderError:
    """The error a response tells. Never raises."""
    told = _told(_json(response.body))
    kind = _kind(response.status, told)
    # What is no error says nothing about retries: Anthropic, Together and others send `retry-after` with a 200.
    stated = _hint(kind, told, response, now) if response.status >= _FIRST_ERROR else None
    return _error(kind, told, response, retry_after=stated)


def _hint(kind: _Kind, told: _Told, response: WireResponse, now: float) -> float | None:
    """What headers say. A reset says when a rate is there again, and nothing about other errors."""
    read = hints.retry_after if kind is RateLimitedError else hints.stated_retry_after
    for headers in (response.headers, told.headers):
        seconds = read(headers, now=now)
        if seconds is not None:
            return seconds
    return None


def error_in_answer(payload: Any, head: WireHead, usage: Usage | None = None) -> ProviderError:
    """The error that the body, or an event, of a 2xx response tells. Its headers say nothing about when to retry."""
    told = _told(payload)
    error = _error(_kind(told.status or head.status, told), told, head, retry_after=None)
    error.usage = usage
    return error


def tells_error(payload: Any) -> bool:
    """True for a body that is an error in one of the envelopes, and no answer."""
    fields = fields_of(payload)
    if fields.get("error"):
        return True
    return not fields.get("choices") and (fields.get("object") == "error" or fields.get("type") == "error")


def request_id_of(head: WireHead) -> str | None:
    """The provider's name for the exchange."""
    named = dict(head.headers)
    for name in _REQUEST_ID_HEADERS:
        if found := named.get(name):
            return found
    return None


def _error(kind: _Kind, told: _Told, head: WireHead, *, retry_after: float | None) -> ProviderError:
    if retry_after is None:
        retry_after = told.delay if told.delay is not None else hints.retry_in_words(told.sentence)
    retry = (head.header("x-should-retry") or "").strip().lower() if head.status >= _FIRST_ERROR else ""
    error = kind(
        told.sentence[:_LONGEST_SENTENCE] or f"{kind.says} (HTTP {head.status}, without a sentence of its own)",
        status=head.status,
        code=told.code,
        should_retry={"true": True, "false": False}.get(retry),
        retry_after=retry_after,
        request_id=request_id_of(head),
    )
    if isinstance(error, QuotaExhaustedError):
        too_dear = spelt.TOO_DEAR_PHRASES.search(told.lowered) is not None
        error.of_this_request = too_dear or told.speaks_of(spelt.TOO_DEAR_WORDS)
    return error


def _kind(status: int, told: _Told) -> _Kind:
    """The order matters: what can be done nothing about comes before what a status alone says."""
    sentence = told.lowered
    for kind, words, phrases in _OF_THE_EXCHANGE:
        if told.speaks_of(words) or (phrases is not None and phrases.search(sentence)):
            return kind
    if told.speaks_of(spelt.HELD_WORDS):
        return RateLimitedError
    # Google says "exceeded your current quota" of a minute's rate too, but then it says when to come back.
    if told.delay is None and (told.speaks_of(spelt.QUOTA_WORDS) or spelt.QUOTA_PHRASES.search(sentence)):
        return QuotaExhaustedError
    if status in (400, 403, 404) or status < 300:
        if spelt.KEY_PHRASES.search(sentence):
            return AuthenticationError
        if told.speaks_of(spelt.MODEL_WORDS) or spelt.MODEL_PHRASES.search(sentence):
            return ModelNotFoundError
        if told.speaks_of(spelt.KEY_WORDS):
            return AuthenticationError
    if told.speaks_of(spelt.OVERLOAD_WORDS) or (status in (429, 500) and "overloaded" in sentence):
        return OverloadedError
    return _kind_by_status(status, told, sentence)


def _kind_by_status(status: int, told: _Told, sentence: str) -> _Kind:
    if status in (402, 413) and told.speaks_of(spelt.RATE_WORDS):
        return RateLimitedError  # Groq: more tokens in one request than a minute may have
    if status >= 500:
        return _BY_STATUS.get(status, ServerError)
    if status >= 400:
        return _BY_STATUS.get(status, InvalidRequestError)
    if status >= 300:
        # A redirect is never followed: the key would go elsewhere.
        return ProviderError
    return _kind_by_words(told, sentence)


def _kind_by_words(told: _Told, sentence: str) -> _Kind:
    """For an error that names no status."""
    if told.speaks_of(spelt.RATE_WORDS) or "rate limit" in sentence:
        return RateLimitedError
    if told.speaks_of(spelt.PERMISSION_WORDS):
        return PermissionDeniedError
    if told.speaks_of(spelt.REQUEST_WORDS):
        return InvalidRequestError
    return OverloadedError if "overloaded" in sentence else ServerError


def _told(payload: Any) -> _Told:
    """Reads `{"error": {...}}`, `{"error": "..."}`, flat bodies, FastAPI's `detail`, and any of them in a list."""
    if is_list(payload):
        items = items_of(payload)
        return _told(items[0]) if len(items) == 1 else _Told()
    if isinstance(payload, str):
        return _Told(_line(payload))
    fields = fields_of(payload)
    error = fields.get("error")
    inner = fields_of(error) if is_object(error) else fields
    sentence = error if isinstance(error, str) else _sentence(inner)
    innermost = fields_of(inner.get("innererror"))
    metadata = fields_of(inner.get("metadata"))
    cause = _cause(metadata.get("raw"))
    within = _body_in(sentence)
    if within is not None and within.sentence and not cause.sentence:
        sentence, cause = "", within
    told = [_word(inner.get(name)) for name in ("code", "type", "status")] + [_word(innermost.get("code"))]
    words = [word for word in told if word]
    delay = hints.retry_delay(inner.get("details"))
    return _Told(
        sentence=_line(f"{sentence}: {cause.sentence}" if sentence and cause.sentence else sentence or cause.sentence),
        code=words[0] if words else cause.code,
        words=(*(word.lower() for word in (*words, *_words_beside(metadata))), *cause.words),
        status=_status(inner) or cause.status,
        delay=cause.delay if delay is None else delay,
        headers=(*_headers(metadata.get("headers")), *cause.headers),
    )


def _words_beside(metadata: dict[str, Any]) -> list[str]:
    """What OpenRouter says of an error in `metadata`: its own word for it, and fields that only one kind has."""
    said = [f"{name}:{word}" for name in _SAID_BESIDE if (word := _word(metadata.get(name)))]
    return said + [f"{name}:" for name in _TOLD_BY_NAME if metadata.get(name)]


def _cause(raw: Any) -> _Told:
    """OpenRouter hides the true cause in `metadata.raw`: a sentence, or an upstream's body, most often in a string."""
    if not isinstance(raw, str):
        return _told(raw) if is_object(raw) else _Told()
    return _body_in(raw) or _Told(_line(raw))


def _body_in(sentence: str) -> _Told | None:
    """An upstream's whole body, which a gateway may put where its own sentence stands."""
    if not sentence.lstrip().startswith(("{", "[")):
        return None
    body = _json(sentence.encode(errors="replace"))
    return _told(body) if is_object(body) or is_list(body) else None


def _headers(told: Any) -> Headers:
    """OpenRouter repeats its rate-limit headers in `metadata.headers`, also where a gateway drops them."""
    return tuple((name.lower(), _word(value)) for name, value in fields_of(told).items())


def _sentence(fields: dict[str, Any]) -> str:
    """The provider's sentence."""
    for name in ("message", "detail", "msg", "error_description", "title"):
        value = fields.get(name)
        if is_list(value):
            # FastAPI's 422: a list of {"loc", "msg", "type"}.
            value = next((item.get("msg") for item in objects_in(value)), None)
        if isinstance(value, str) and value.strip():
            return value
    return ""


def _status(fields: dict[str, Any]) -> int | None:
    for name in ("status_code", "status", "code", "raw_status_code"):
        value = fields.get(name)
        number = int(value) if isinstance(value, str) and len(value) == 3 and value.isdecimal() else value
        if isinstance(number, int) and 400 <= number < 600:
            return number
    return None


def _json(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body.removeprefix(b"\xef\xbb\xbf"))
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None


def _word(told: Any) -> str:
    return str(told)[:200] if isinstance(told, str | int) and not isinstance(told, bool) else ""


def _line(text: str) -> str:
    return " ".join(text[:8000].split())
