"""What a span says: attributes worked out from what the kernel knows when a call or an attempt is over. Pure.

Not here: content (`_content`), and what happened on the way (`_story`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import urlsplit

from penstock._discreet import type_name
from penstock.policy.commit import Continue, Restart
from penstock.telemetry import _names as n

if TYPE_CHECKING:
    from penstock._attempt import AttemptRun
    from penstock._books import Books
    from penstock._ending import Ended
    from penstock._live_target import LiveTarget
    from penstock.policy.commit import Begin
    from penstock.telemetry._names import Vocabulary
    from penstock.types import Attempt, ChatRequest, Usage

__all__ = ["Attributes", "attempt_ended", "begin_word", "call_ended", "chosen", "server_of"]

Attributes: TypeAlias = dict[str, str | int | float | bool | Sequence[str]]
MOST_CHARACTERS = 256
"""Of a value that comes from a user or a provider."""
MOST_STOPS = 16
"""No provider takes more stop sequences."""
DEFAULT_PORTS = {"http": 80, "https": 443}


def attempt_ended(names: Vocabulary, attempt: AttemptRun, told: Attempt, began: Attributes) -> Attributes:
    """What the span of an attempt says at its end, beside what it said when it `began`."""
    said: Attributes = {n.OUTCOME: told.outcome}
    request = attempt.sent or attempt.request
    _request(said, names, request, attempt.target)
    if attempt.wants_value or request.output is not None:
        said[n.OUTPUT_TYPE] = "json"
    _exchange(said, attempt, began)
    _answer(said, attempt)
    if told.outcome not in {"ok", "cancelled"}:
        said[n.ERROR_TYPE] = told.outcome
    if told.usage is not None and (told.usage.total_tokens or not told.usage.estimated):
        _usage(said, names, told.usage)
    if told.cost is not None:
        said[n.COST] = float(told.cost)
    if attempt.lost:
        said[n.ATTEMPT_LOST] = True
    if told.provider_request_id:
        said[n.PROVIDER_REQUEST_ID] = told.provider_request_id[:MOST_CHARACTERS]
    _phases(said, attempt, told)
    return said


def call_ended(ended: Ended, books: Books, *, fallback: str | None, queued: float) -> Attributes:
    """What the span of a call says at its end. `fallback`: why another target than its route's first was asked;
    `queued`: seconds until it got its place.
    """
    said: Attributes = {
        n.OUTCOME: ended.outcome,
        n.ATTEMPTS: len(books.attempts),
        n.CACHE: ended.cache,
        n.PHASE_QUEUE: queued,
    }
    if ended.target:
        said[n.TARGET] = ended.target
    if fallback is not None:
        said[n.FALLBACK_REASON] = fallback
    if ended.outcome not in {"ok", "cancelled"}:
        said[n.ERROR_TYPE] = ended.outcome
    usage, cost = books.usage, books.cost
    said[n.CALL_INPUT], said[n.CALL_OUTPUT] = usage.input_tokens, usage.output_tokens
    if usage.estimated:
        said[n.ESTIMATED] = True
    if cost is not None:
        said[n.COST] = float(cost)
    return said


def begin_word(begin: Begin) -> str | None:
    """How an attempt begins after an answer that broke; None: there was none."""
    match begin:
        case Continue():
            return "continue"
        case Restart():
            return "restart"
        case _:
            return None


def chosen(metadata: Mapping[str, Any] | None, keys: Sequence[str]) -> Attributes:
    """What of a call's metadata is told: the keys that were asked for, their values as they are or as text. Never
    raises: of what cannot be made a text, the type is told.
    """
    if not (keys and metadata):
        return {}
    return {key: _plain(metadata[key]) for key in keys if metadata.get(key) is not None}


def _plain(value: object) -> str | int | float | bool:
    if isinstance(value, bool | float) or (isinstance(value, int) and -(2**63) <= value < 2**63):
        return value
    try:
        return str(value)[:MOST_CHARACTERS]
    except Exception:  # noqa: BLE001 - the caller's own class, or a number of more digits than Python writes
        return f"<{type_name(value)}>"


@lru_cache(maxsize=1_024)
def server_of(url: str) -> tuple[str, int] | None:
    """Where a URL leads. Targets are few, and each has one."""
    try:
        parts = urlsplit(url)
        port = parts.port or DEFAULT_PORTS.get(parts.scheme)
    except ValueError:
        return None
    return None if parts.hostname is None or port is None else (parts.hostname, port)


def _request(said: Attributes, names: Vocabulary, request: ChatRequest, target: LiveTarget) -> None:
    if request.max_tokens is not None:
        said[n.REQUEST_MAX_TOKENS] = request.max_tokens
    if request.temperature is not None:
        said[n.REQUEST_TEMPERATURE] = request.temperature
    if request.top_p is not None:
        said[n.REQUEST_TOP_P] = request.top_p
    if request.seed is not None:
        said[n.REQUEST_SEED] = request.seed
    if request.stop:
        said[n.REQUEST_STOP] = tuple(each[:MOST_CHARACTERS] for each in request.stop[:MOST_STOPS])
    if names.reasoning_level is not None and isinstance(request.thinking, str):
        said[names.reasoning_level] = request.thinking
    if request.extra or target.wire.params:
        _fields(said, request, target)


def _fields(said: Attributes, request: ChatRequest, target: LiveTarget) -> None:
    """What the request and the target say in the wire's own words."""
    fields: dict[str, object] = dict(target.wire.params)
    for name in (target.provider.codec.family, target.provider.name):
        fields |= request.extra.get(name, {})
    for field, name in n.REQUEST_FIELDS.items():
        value = fields.get(field)
        if isinstance(value, int | float) and not isinstance(value, bool):
            said[name] = value if field == "top_k" else float(value)
    choices = fields.get("n")
    if isinstance(choices, int) and not isinstance(choices, bool) and choices != 1:
        said[n.REQUEST_CHOICES] = choices


def _exchange(said: Attributes, attempt: AttemptRun, began: Attributes) -> None:
    exchange = attempt.exchange
    if attempt.streamed:
        said[n.REQUEST_STREAM] = True
    server = None if exchange.url is None else server_of(exchange.url)
    if server is not None and server != (began.get(n.SERVER_ADDRESS), began.get(n.SERVER_PORT)):
        said[n.SERVER_ADDRESS], said[n.SERVER_PORT] = server
    if exchange.status is not None:
        said[n.HTTP_STATUS] = exchange.status


def _answer(said: Attributes, attempt: AttemptRun) -> None:
    completion = attempt.completion
    if completion is not None:
        said[n.FINISH_REASONS] = (completion.finish_reason[:MOST_CHARACTERS],)
        said[n.RESPONSE_MODEL] = (completion.model or attempt.target.wire.model)[:MOST_CHARACTERS]
        if completion.id:
            said[n.RESPONSE_ID] = completion.id[:MOST_CHARACTERS]
    else:
        # As the conventions have it: one was expected, and did not come, whether it failed or was cancelled.
        said[n.FINISH_REASONS] = ("error",)


def _usage(said: Attributes, names: Vocabulary, usage: Usage) -> None:
    said[n.INPUT_TOKENS], said[n.OUTPUT_TOKENS] = usage.input_tokens, usage.output_tokens
    if usage.cached_input_tokens:
        said[n.CACHE_READ_TOKENS] = usage.cached_input_tokens
    if usage.cache_write_tokens:
        said[names.cache_write_tokens] = usage.cache_write_tokens
    if usage.cache_write_1h_tokens:
        said[n.CACHE_WRITE_1H] = usage.cache_write_1h_tokens
    if usage.reasoning_tokens:
        said[n.REASONING_TOKENS] = usage.reasoning_tokens
    if usage.estimated:
        said[n.ESTIMATED] = True


def _phases(said: Attributes, attempt: AttemptRun, told: Attempt) -> None:
    if told.waited:
        said[n.PHASE_WAITED] = told.waited
    connected = attempt.exchange.connected_at
    if connected is not None:
        said[n.PHASE_CONNECT] = max(0.0, connected - attempt.running.started)
    if told.first_token is not None:
        said[n.PHASE_FIRST_TOKEN] = said[n.TIME_TO_FIRST_CHUNK] = told.first_token
        said[n.PHASE_STREAM] = told.duration - told.first_token
    if attempt.validating is not None:
        said[n.PHASE_VALIDATE] = attempt.validating
