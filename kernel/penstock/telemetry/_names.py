"""Every name that telemetry uses: of spans, attributes, events and metrics.

The `gen_ai.*` names are those of the OpenTelemetry GenAI semantic conventions, which are still in development. Two
vocabularies are spoken, and OTEL_SEMCONV_STABILITY_OPT_IN chooses, as those conventions ask:

- `RELEASED`: what the general conventions (github.com/open-telemetry/semantic-conventions) said of GenAI in 1.42.0, the
  schema that backends know. The default.
- `LATEST`: the text of the repository that GenAI has had of its own since (semantic-conventions-genai; November 2026,
  docs/gen-ai/client-inference.md, gen-ai-token-metrics.md), with `gen_ai_latest_experimental` in the variable.

What both call the same is a constant below. `penstock.*` are our own: documented here, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Final

import attrs

__all__ = ["LATEST", "LATEST_OPT_IN", "RELEASED", "Vocabulary", "vocabulary"]

SCOPE: Final = "penstock"
"""The instrumentation scope of spans and metrics."""
LATEST_OPT_IN: Final = "gen_ai_latest_experimental"

# Spans

CALL_SPAN: Final = "call {route}"
"""A call that names a model in place of a route is `call model`: names of models can come from callers."""
ATTEMPT_SPAN: Final = "chat {model}"
CHAT: Final = "chat"


@lru_cache(maxsize=1_024)
def span_of_call(route: str) -> str:
    """Made once of each: putting text together costs more than finding it."""
    return CALL_SPAN.format(route=route)


@lru_cache(maxsize=1_024)
def span_of_attempt(model: str) -> str:
    """The same."""
    return ATTEMPT_SPAN.format(model=model)


@lru_cache(maxsize=64)
def event_name(name: str) -> str:
    """The same; there are some twenty."""
    return EVENT.format(name=name)


# Attributes of attempts: GenAI and general conventions

OPERATION: Final = "gen_ai.operation.name"
PROVIDER: Final = "gen_ai.provider.name"
REQUEST_MODEL: Final = "gen_ai.request.model"
REQUEST_MAX_TOKENS: Final = "gen_ai.request.max_tokens"
REQUEST_TEMPERATURE: Final = "gen_ai.request.temperature"
REQUEST_TOP_P: Final = "gen_ai.request.top_p"
REQUEST_SEED: Final = "gen_ai.request.seed"
REQUEST_STOP: Final = "gen_ai.request.stop_sequences"
REQUEST_CHOICES: Final = "gen_ai.request.choice.count"
REQUEST_STREAM: Final = "gen_ai.request.stream"
REQUEST_FIELDS: Final = {name: f"gen_ai.request.{name}" for name in ("top_k", "frequency_penalty", "presence_penalty")}
"""Those that a request has in `extra`, or a target in `params`, under the name that the wire has for them."""
OUTPUT_TYPE: Final = "gen_ai.output.type"
RESPONSE_ID: Final = "gen_ai.response.id"
RESPONSE_MODEL: Final = "gen_ai.response.model"
FINISH_REASONS: Final = "gen_ai.response.finish_reasons"
TIME_TO_FIRST_CHUNK: Final = "gen_ai.response.time_to_first_chunk"
INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"
CACHE_READ_TOKENS: Final = "gen_ai.usage.cache_read.input_tokens"
REASONING_TOKENS: Final = "gen_ai.usage.reasoning.output_tokens"
TOKEN_TYPE: Final = "gen_ai.token.type"
TOKEN_MODALITY: Final = "gen_ai.token.modality"
INPUT_MESSAGES: Final = "gen_ai.input.messages"
OUTPUT_MESSAGES: Final = "gen_ai.output.messages"
SYSTEM_INSTRUCTIONS: Final = "gen_ai.system_instructions"
TOOL_DEFINITIONS: Final = "gen_ai.tool.definitions"
ERROR_TYPE: Final = "error.type"
SERVER_ADDRESS: Final = "server.address"
SERVER_PORT: Final = "server.port"
HTTP_STATUS: Final = "http.response.status_code"

# Attributes of our own. Durations are seconds, money is USD.

CALL_ID: Final = "penstock.call.id"
ROUTE: Final = "penstock.route"
ACCOUNT: Final = "penstock.account"
OUTCOME: Final = "penstock.outcome"
"""`ok`, `cancelled`, or the kind of the error."""
TARGET: Final = "penstock.target"
"""Of a call: who answered. Of an attempt: who was asked."""
ATTEMPTS: Final = "penstock.attempts"
CACHE: Final = "penstock.cache.outcome"
COST: Final = "penstock.cost_usd"
ESTIMATED: Final = "penstock.usage.estimated"
"""True where the provider did not tell all of the usage."""
CALL_INPUT: Final = "penstock.usage.input_tokens"
"""Of a call, all attempts together: not the `gen_ai` names, or whoever sums those up would count twice."""
CALL_OUTPUT: Final = "penstock.usage.output_tokens"
FALLBACK_REASON: Final = "penstock.fallback.reason"
"""Why the call was not answered by the first target of its route: the kind of what last stood in the way."""
ATTEMPT_NUMBER: Final = "penstock.attempt.number"
ATTEMPT_REASON: Final = "penstock.attempt.reason"
"""`first`, `retry`, `repair` (of an answer that was not valid), `fallback` or `hedge`."""
ATTEMPT_BEGIN: Final = "penstock.attempt.begin"
"""`continue` or `restart`, after an answer that broke once it was shown."""
ATTEMPT_PROBE: Final = "penstock.attempt.probe"
ATTEMPT_LOST: Final = "penstock.attempt.lost"
"""True for the one of two in a race that was not shown."""
PROVIDER_REQUEST_ID: Final = "penstock.provider.request_id"
CACHE_WRITE_1H: Final = "penstock.usage.cache_write_1h_tokens"
PHASE_QUEUE: Final = "penstock.phase.queue_s"
"""Of a call: until it got one of the `max_in_flight` places."""
PHASE_WAITED: Final = "penstock.phase.waited_s"
"""Of an attempt: back-off, cool-down or breaker, just before it."""
PHASE_CONNECT: Final = "penstock.phase.connect_s"
"""Until it had a connection, a pooled one as a rule; only of the kernel's own transport."""
PHASE_FIRST_TOKEN: Final = "penstock.phase.first_token_s"
"""From the start of the attempt."""
PHASE_STREAM: Final = "penstock.phase.stream_s"
"""From the first token to the end."""
PHASE_VALIDATE: Final = "penstock.phase.validate_s"
"""Of the attempt: reading its answer, and making a value of it, where one is asked for."""
CONTENT_CUT: Final = "penstock.content.cut"
"""True where captured content was cut to `content_limit`, or a part of it left out."""
METADATA: Final = "penstock.metadata."
"""In front of the keys of a call's metadata that `[telemetry] metadata` lists."""

# Events, all of them of calls. Their attributes stand without a prefix of their own.

EVENT: Final = "penstock.{name}"
RETRY: Final = "retry"
FALLBACK: Final = "fallback"
WAIT: Final = "wait"
COOL_DOWN: Final = "cool_down"
BREAKER: Final = "breaker"
DENIED: Final = "denied"
CACHE_EVENT: Final = "cache"
HOLD: Final = "hold"
CUT: Final = "cut"
REPAIR: Final = "repair"
"""An answer was not valid: `reason` says how, `step` what follows: `reask`, `more_room` or `next` (target)."""
COMMIT: Final = "commit"
HEDGE: Final = "hedge"
STALE: Final = "stale"
REFRESH: Final = "refresh"
"""Of a call that nobody waits for: it fetches anew what the call with the id `of` was served past its time."""
PASSED_OVER: Final = "passed_over"
RETRY_SUPPRESSED: Final = "retry_suppressed"

# Metrics of our own

CALL_DURATION: Final = "penstock.call.duration"
CALL_OVERHEAD: Final = "penstock.call.overhead"
QUEUE_WAIT: Final = "penstock.queue.wait"
COST_METRIC: Final = "penstock.cost"
ATTEMPTS_METRIC: Final = "penstock.attempts"
SUPPRESSED_METRIC: Final = "penstock.retries.suppressed"
CACHE_METRIC: Final = "penstock.cache.lookups"
BREAKER_METRIC: Final = "penstock.breaker.state"
BREAKER_CHANGES: Final = "penstock.breaker.changes"
BREAKER_SCOPE: Final = "penstock.breaker.scope"
"""An attribute of both: `target:sonnet`, `provider:openai`, `key:openai/0`. The state after a change is told under the
name of the metric that shows it."""
SUPPRESSED_PROVIDER: Final = "penstock.suppressed.provider"
SUPPRESSED_REASON: Final = "penstock.suppressed.reason"
QUEUE_LENGTH: Final = "penstock.queue.length"
IN_FLIGHT: Final = "penstock.calls.in_flight"
HOLDS: Final = "penstock.holds"

SECONDS: Final = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
"""Bounds of buckets that the conventions name for durations."""
TOKENS: Final = (1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864)
"""The same for tokens."""
SHORT_SECONDS: Final = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0)
"""For what penstock itself takes of a call: hundreds of microseconds, as a rule."""


@attrs.frozen(kw_only=True)
class Vocabulary:
    """What the two versions of the conventions call differently."""

    schema_url: str
    cache_write_tokens: str
    reasoning_level: str | None
    """None: there is no such attribute."""
    duration: str
    time_to_first_chunk: str
    time_per_output_chunk: str
    token_usage: str | None
    """One histogram for input and output, told apart by `gen_ai.token.type`; None: two of their own, and counters."""
    input_tokens: str | None = None
    output_tokens: str | None = None
    usage_counters: Mapping[str, str] = attrs.field(factory=dict[str, str])
    """By the field of `Usage` that each of them counts."""


RELEASED: Final = Vocabulary(
    schema_url="https://opentelemetry.io/schemas/1.42.0",
    cache_write_tokens="gen_ai.usage.cache_creation.input_tokens",
    reasoning_level=None,
    duration="gen_ai.client.operation.duration",
    time_to_first_chunk="gen_ai.client.operation.time_to_first_chunk",
    time_per_output_chunk="gen_ai.client.operation.time_per_output_chunk",
    token_usage="gen_ai.client.token.usage",
)
LATEST: Final = Vocabulary(
    schema_url="https://opentelemetry.io/schemas/gen-ai-dev/1.42.0-dev",
    cache_write_tokens="gen_ai.usage.cache_write.input_tokens",
    reasoning_level="gen_ai.request.reasoning.level",
    duration="gen_ai.client.inference.duration",
    time_to_first_chunk="gen_ai.client.inference.time_to_first_chunk",
    time_per_output_chunk="gen_ai.client.inference.time_per_output_chunk",
    token_usage=None,
    input_tokens="gen_ai.client.inference.operation.input_tokens",
    output_tokens="gen_ai.client.inference.operation.output_tokens",
    usage_counters={
        "input_tokens": "gen_ai.client.inference.usage.input_tokens",
        "output_tokens": "gen_ai.client.inference.usage.output_tokens",
        "cached_input_tokens": "gen_ai.client.inference.usage.cache_read.input_tokens",
        "cache_write_tokens": "gen_ai.client.inference.usage.cache_write.input_tokens",
        "reasoning_tokens": "gen_ai.client.inference.usage.reasoning.output_tokens",
    },
)

PROVIDERS: Final = {
    "azure": "azure.ai.openai",
    "mistral": "mistral_ai",
    "moonshot": "moonshot_ai",
    "xai": "x_ai",
}
"""By the kind of a provider, where the conventions have another word for it."""


def vocabulary(opt_in: str) -> Vocabulary:
    """The one that OTEL_SEMCONV_STABILITY_OPT_IN asks for: a list of words between commas, of which one is ours."""
    return LATEST if LATEST_OPT_IN in (word.strip() for word in opt_in.split(",")) else RELEASED
