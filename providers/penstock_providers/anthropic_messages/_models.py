"""What Anthropic's models can do, as data: from the vendor's model and migration pages, as of November 2026.

Not here: prices (the price plugins), and what is made of these facts (`_thinking`, `_body`, `_bound`).
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Literal

import attrs

from penstock.types import Capabilities, SchemaLimits, ToolCallIdForm
from penstock_providers.schema_words import ANNOTATIONS, COMPOSED, UNCOUNTED

__all__ = ["CITATIONS", "HIGHEST_TEMPERATURE", "Model", "capabilities_of", "model_of"]

IDS = ToolCallIdForm(symbols="_-")
"""The wire answers 400 to others: "String should match pattern '^[a-zA-Z0-9_-]+$'". It names no length."""
CITATIONS = "_location"
"""How the types of all its citations end."""
HIGHEST_TEMPERATURE = 1.0
"""The wire's range ends there; other families go to 2."""

Thinks = Literal["never", "budget", "budget or adaptive", "adaptive"]
"""How thinking is asked for: `budget` with a number of tokens, `adaptive` with an effort."""
Quiet = Literal["omit", "disabled", "between_tools"]
"""How thinking is turned off: by saying nothing (also where it cannot be), or by this type."""


@attrs.frozen
class Model:
    """One model. None: not known."""

    context_window: int | None = 200_000
    max_output: int | None = 64_000
    thinks: Thinks = "budget"
    quiet: Quiet = "omit"
    thinks_unasked: bool = False
    sampling: bool = True
    """It takes temperature and top_p; newer models answer 400 to any but the defaults."""
    one_of_sampling: bool = False
    """It takes either of them: "`temperature` and `top_p` cannot both be specified for this model"."""
    prefill: bool = True
    json_schema: bool | None = False
    tools: bool = True
    vision: bool = True
    image_tokens: int = 1_800
    """Published: about 1,600 at 1568 pixels; 1,660 was measured, with a few words beside the image."""


_CLAUDE_2 = Model(max_output=4_096, thinks="never", tools=False, vision=False)
_CLAUDE_3 = Model(max_output=4_096, thinks="never")
_CLAUDE_3_5 = Model(max_output=8_192, thinks="never")
_OPUS_4 = Model(max_output=32_000)
_OPUS_4_1 = attrs.evolve(_OPUS_4, one_of_sampling=True)
_CLAUDE_4_5 = Model(one_of_sampling=True, json_schema=True)
_CLAUDE_4_6 = Model(1_000_000, 128_000, "budget or adaptive", one_of_sampling=True, prefill=False, json_schema=True)
_CLAUDE_4_7 = attrs.evolve(_CLAUDE_4_6, thinks="adaptive", sampling=False, image_tokens=5_000)  # 2576 pixels: 4,784
_CLAUDE_5 = attrs.evolve(_CLAUDE_4_7, quiet="disabled", thinks_unasked=True)
_CLAUDE_5_ALWAYS = attrs.evolve(_CLAUDE_5, quiet="omit")
_CLAUDE_5_BETWEEN = attrs.evolve(_CLAUDE_5, quiet="between_tools")

_MODELS = {
    "claude-2": attrs.evolve(_CLAUDE_2, context_window=100_000),
    "claude-2.0": attrs.evolve(_CLAUDE_2, context_window=100_000),
    "claude-2.1": _CLAUDE_2,
    "claude-instant-1.2": attrs.evolve(_CLAUDE_2, context_window=100_000),
    "claude-3-opus": _CLAUDE_3,
    "claude-3-sonnet": _CLAUDE_3,
    "claude-3-haiku": _CLAUDE_3,
    "claude-3-5-sonnet": _CLAUDE_3_5,
    "claude-3-5-haiku": _CLAUDE_3_5,
    "claude-3-7-sonnet": Model(),
    "claude-sonnet-4": Model(),
    "claude-opus-4": _OPUS_4,
    "claude-opus-4-1": _OPUS_4_1,
    "claude-sonnet-4-5": _CLAUDE_4_5,
    "claude-haiku-4-5": _CLAUDE_4_5,
    "claude-opus-4-5": _CLAUDE_4_5,
    "claude-sonnet-4-6": _CLAUDE_4_6,
    "claude-opus-4-6": _CLAUDE_4_6,
    "claude-opus-4-7": _CLAUDE_4_7,
    "claude-opus-4-8": _CLAUDE_4_7,
    "claude-sonnet-5": _CLAUDE_5,
    "claude-opus-5": _CLAUDE_5,
    "claude-haiku-5-5": _CLAUDE_5,
    "claude-sonnet-5-5": _CLAUDE_5_BETWEEN,
    "claude-opus-5-5": _CLAUDE_5_ALWAYS,
    "claude-fable-5": _CLAUDE_5_ALWAYS,
    "claude-fable-5-1": _CLAUDE_5_ALWAYS,
    "claude-mythos-5": _CLAUDE_5_ALWAYS,
    "claude-mythos-5-1": _CLAUDE_5_ALWAYS,
}
# A Claude that is not listed is newer than this table: it is spoken to as the newest are.
_NEWER = attrs.evolve(_CLAUDE_5_ALWAYS, context_window=None, max_output=None)
# Anything else behind this wire is another vendor's: the wire's oldest ways, and no promises.
_FOREIGN = Model(None, None, prefill=False, json_schema=None, image_tokens=5_000)

# Bedrock's `eu.anthropic.` before the name; after it a date, `-latest`, Bedrock's version, or Anthropic's alias `-0`.
SCHEMAS = SchemaLimits(
    recursion=False,
    most_optional=24,
    most_unions=16,
    # Not in the documentation's list of what is supported: numerical, string and array constraints.
    unsaid=ANNOTATIONS
    | UNCOUNTED
    | {
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "multipleOf",
        "minLength",
        "maxLength",
        "maxItems",
        "minItems",
    },
    refused=COMPOSED,
    formats=frozenset({"date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"}),
)
"""Of its 400s: "24 optional parameters", "16 union-typed parameters", no recursive schemas.

The rest from https://platform.claude.com/docs/en/build-with-claude/structured-outputs."""

_SPELLING = re.compile(r"(?:.*[./])?(claude-.+?)(?:[-@]20\d{6}|-latest|@latest|@default|-0)?(?:-v\d+)?(?::\d+)?")


@lru_cache(maxsize=1024)
def model_of(name: str) -> Model:
    """What is known of the model, however Anthropic, Vertex AI or Bedrock spell its name."""
    spelled = _SPELLING.fullmatch(name.lower())
    if spelled is None:
        return _FOREIGN
    return _MODELS.get(spelled[1], _NEWER)


def capabilities_of(name: str) -> Capabilities:
    """The same, in the kernel's words."""
    model = model_of(name)
    return Capabilities(
        prefill=model.prefill,
        json_schema=model.json_schema,
        schema_limits=SCHEMAS,
        tools=model.tools,
        parallel_tools=model.tools,
        vision=model.vision,
        seed=False,
        temperature=model.sampling,
        highest_temperature=HIGHEST_TEMPERATURE,
        top_p=model.sampling,
        thinking=model.thinks != "never",
        thinking_parts="signed",
        citations=CITATIONS,
        tool_call_id=IDS,
        stream_usage=True,
        reasoning=model.thinks_unasked,
        context_window=model.context_window,
        max_output=model.max_output,
    )
