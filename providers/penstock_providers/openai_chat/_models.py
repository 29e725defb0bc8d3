"""What OpenAI's models can do, as data.

Sources: OpenAI's model pages (windows, output limits), its guide to images and vision (tokens per image) and its
reasoning guide (parameters that reasoning models reject), as of 2026-11. A model that is not here gets careful
guesses: no limits, nothing promised of schemas and seeds, the dearest image. A longer name wins over a shorter one, and
a name matches whole words only: `gpt-5.9` is not taken for `gpt-5`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Literal

import attrs

from penstock.types import Capabilities, SchemaLimits, ToolCallIdForm
from penstock_providers.schema_words import ANNOTATIONS, COMPOSED, UNCOUNTED

__all__ = ["LONGEST_ID", "MISTRAL_IDS", "Model", "is_mistral", "model_of", "unlimited_model_of"]

LONGEST_ID = 40
"""Characters; OpenAI answers 400 `string_above_max_length` to a longer id of a tool call. vLLM's are longer."""
IDS = ToolCallIdForm(longest=LONGEST_ID)
MISTRAL_IDS = ToolCallIdForm(symbols="", shortest=9, longest=9)
"""Mistral, and the chat templates of its models, take exactly nine letters and digits."""

# Tokens of the largest image at the most detail.
# By tiles: a base and up to 8 tiles of 512 px, since images are scaled into 2048 x 768.
# By patches: so many patches of 32 px at most, times the model's factor.
_TILES_4O = 85 + 8 * 170
_TILES_4O_MINI = 2833 + 8 * 5667
_TILES_O = 75 + 8 * 150
_PATCHES = 1536
_PATCHES_FLAGSHIP = 1536 * 120 // 100 + 1
_PATCHES_MINI = 1536 * 162 // 100 + 1
_PATCHES_O4_MINI = 1536 * 172 // 100 + 1
_PATCHES_NANO = 1536 * 246 // 100 + 1
_ORIGINAL = 10_000 * 120 // 100
_ORIGINAL_MINI = 10_000 * 162 // 100
_ORIGINAL_NANO = 10_000 * 246 // 100
_DEAREST_IMAGE = _TILES_4O_MINI


STRICT = SchemaLimits(
    all_required=True,
    most_properties=5_000,
    most_enumerated=1_000,
    deepest=10,
    lone_references=True,
    typed=True,
    formats=frozenset({"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"}),
    unsaid=ANNOTATIONS | UNCOUNTED | {"default"},
    refused=COMPOSED,
)
"""https://platform.openai.com/docs/guides/structured-outputs: what `strict` allows. References to itself it does.

Nothing beside a reference: of its 400s, "$ref cannot have keywords {'description'}"."""


@attrs.frozen(kw_only=True)
class Model:
    """One family of models. None: not known."""

    context_window: int | None = None
    max_output: int | None = None
    reasoning: bool = False
    """It thinks unseen: it wants `max_completion_tokens`, and takes `reasoning_effort`."""
    effort_off: Literal["none", "minimal", "low"] | None = None
    """The least reasoning it can be asked for."""
    fixed_sampling: Literal["always", "while reasoning", "never"] = "never"
    """When it rejects every `temperature` and `top_p` but 1."""
    takes_stop: bool = True
    json_schema: bool | None = True
    json_object: bool = False
    """It takes the wish for a JSON object without a schema, as far as that was recorded or is documented."""
    tools: bool = True
    parallel_tools: bool = True
    takes_parallel: bool = True
    """It takes `parallel_tool_calls`; the o series answers 400, whatever the value."""
    vision: bool = True
    seed: bool | None = True
    searches: bool = False
    """It reads the web on its own: nobody knows how much that brings into the prompt."""
    image_tokens: int = _DEAREST_IMAGE
    """The most input tokens one image can cost."""

    @property
    def known(self) -> bool:
        """False for guesses about names that are not in the table."""
        return self.context_window is not None

    def capabilities(self) -> Capabilities:
        """The same in the kernel's words."""
        sampling = self.fixed_sampling != "always"
        return Capabilities(
            json_schema=self.json_schema,
            json_object=self.json_object,
            schema_limits=STRICT,
            tools=self.tools,
            parallel_tools=self.parallel_tools,
            parallel_tool_calls=self.takes_parallel,
            vision=self.vision,
            seed=self.seed,
            temperature=sampling,
            top_p=sampling,
            stop=self.takes_stop,
            thinking=self.reasoning or not self.known,
            citations=None,
            tool_call_id=IDS,
            reasoning=self.reasoning,
            context_window=self.context_window,
            max_output=self.max_output,
        )


_UNKNOWN = Model(json_schema=None, seed=None)
_UNKNOWN_REASONING = Model(reasoning=True, fixed_sampling="while reasoning", takes_stop=False)
"""A successor of the reasoning models: what all of them have in common."""
_SUCCESSOR = re.compile(r"(?:gpt-(?:[5-9]|[1-9][0-9])|o[1-9])(?:[.-]|$)")

_MISTRAL = re.compile(r"(?:open-)?(?:mistral|mixtral|ministral|magistral|codestral|devstral|pixtral|voxtral)\b")

_GPT_35 = Model(context_window=16_385, max_output=4_096, json_schema=False, json_object=True, vision=False)
_GPT_35_0613 = attrs.evolve(_GPT_35, json_object=False, context_window=4_096, parallel_tools=False, seed=False)
_GPT_4 = Model(
    context_window=8_192, max_output=8_192, json_schema=False, vision=False, parallel_tools=False, seed=False
)
_GPT_4_TURBO = Model(
    context_window=128_000, max_output=4_096, json_schema=False, json_object=True, image_tokens=_TILES_4O
)
_GPT_4O = Model(context_window=128_000, max_output=16_384, json_object=True, image_tokens=_TILES_4O)
_GPT_41 = Model(context_window=1_047_576, max_output=32_768, image_tokens=_PATCHES)
_O = Model(
    context_window=200_000,
    max_output=100_000,
    reasoning=True,
    effort_off="low",
    fixed_sampling="always",
    parallel_tools=False,
    takes_parallel=False,
    image_tokens=_TILES_O,
)
_O1_PREVIEW = attrs.evolve(
    _O, context_window=128_000, max_output=32_768, effort_off=None, json_schema=False, tools=False, vision=False
)
_GPT_5 = Model(
    context_window=400_000,
    max_output=128_000,
    reasoning=True,
    effort_off="minimal",
    fixed_sampling="always",
    takes_stop=False,
    image_tokens=_PATCHES_FLAGSHIP,
)
_GPT_51 = attrs.evolve(_GPT_5, effort_off="none", fixed_sampling="while reasoning")
_GPT_54 = attrs.evolve(_GPT_51, context_window=1_050_000, image_tokens=_ORIGINAL)
_GPT_56 = attrs.evolve(_GPT_54, image_tokens=_DEAREST_IMAGE)
_GPT_5_CHAT = attrs.evolve(
    _GPT_4O, context_window=128_000, max_output=16_384, json_object=False, tools=False, image_tokens=_PATCHES_FLAGSHIP
)

_MODELS: dict[str, Model] = {
    "gpt-3.5-turbo": _GPT_35,
    "gpt-35-turbo": _GPT_35,  # Azure's spelling
    "gpt-3.5-turbo-0301": _GPT_35_0613,
    "gpt-3.5-turbo-0613": _GPT_35_0613,
    "gpt-3.5-turbo-16k": attrs.evolve(_GPT_35_0613, context_window=16_385),
    "gpt-4": _GPT_4,
    "gpt-4-32k": attrs.evolve(_GPT_4, context_window=32_768, max_output=32_768),
    "gpt-4-turbo": _GPT_4_TURBO,
    "gpt-4-1106": attrs.evolve(_GPT_4_TURBO, vision=False),
    "gpt-4-0125": attrs.evolve(_GPT_4_TURBO, vision=False),
    "gpt-4-vision": attrs.evolve(_GPT_4_TURBO, json_object=False),
    "gpt-4-1106-vision": attrs.evolve(_GPT_4_TURBO, json_object=False),
    "gpt-4.5": attrs.evolve(_GPT_4O, json_object=False),
    "gpt-4o": _GPT_4O,
    "gpt-4o-2024-05-13": attrs.evolve(_GPT_4O, max_output=4_096, json_schema=False),
    "gpt-4o-mini": attrs.evolve(_GPT_4O, image_tokens=_TILES_4O_MINI),
    "gpt-4o-search": attrs.evolve(_GPT_4O, json_object=False, searches=True, vision=False),
    "gpt-4o-mini-search": attrs.evolve(_GPT_4O, json_object=False, searches=True, vision=False),
    "gpt-4o-audio": attrs.evolve(_GPT_4O, json_schema=False, json_object=False, vision=False),
    "gpt-4o-mini-audio": attrs.evolve(_GPT_4O, json_schema=False, json_object=False, vision=False),
    "gpt-audio": attrs.evolve(_GPT_4O, json_schema=False, json_object=False, vision=False),
    "gpt-audio-mini": attrs.evolve(_GPT_4O, json_schema=False, json_object=False, vision=False),
    "chatgpt-4o": attrs.evolve(_GPT_4O, json_schema=False, json_object=False, tools=False),
    "gpt-4.1": _GPT_41,
    "gpt-4.1-mini": attrs.evolve(_GPT_41, image_tokens=_PATCHES_MINI),
    "gpt-4.1-nano": attrs.evolve(_GPT_41, image_tokens=_PATCHES_NANO),
    "o1": _O,
    "o1-mini": attrs.evolve(_O1_PREVIEW, max_output=65_536),
    "o1-preview": _O1_PREVIEW,
    "o3": attrs.evolve(_O, takes_stop=False, parallel_tools=True),
    "o3-mini": attrs.evolve(_O, vision=False),
    "o4-mini": attrs.evolve(_O, takes_stop=False, parallel_tools=True, image_tokens=_PATCHES_O4_MINI),
    "gpt-5": _GPT_5,
    "gpt-5-mini": attrs.evolve(_GPT_5, image_tokens=_PATCHES_MINI),
    "gpt-5-nano": attrs.evolve(_GPT_5, image_tokens=_PATCHES_NANO),
    "gpt-5-chat": _GPT_5_CHAT,
    "gpt-5-search": attrs.evolve(_GPT_5, searches=True),
    "gpt-5.1": _GPT_51,
    "gpt-5.1-chat": _GPT_5_CHAT,
    "gpt-5.2": _GPT_51,
    "gpt-5.2-chat": _GPT_5_CHAT,
    "gpt-5.3": _GPT_51,
    "gpt-5.3-chat": _GPT_5_CHAT,
    "gpt-5.4": _GPT_54,
    "gpt-5.4-mini": attrs.evolve(_GPT_51, image_tokens=_ORIGINAL_MINI),
    "gpt-5.4-nano": attrs.evolve(_GPT_51, image_tokens=_ORIGINAL_NANO),
    "gpt-5.5": _GPT_54,
    "gpt-5.6": _GPT_56,
    "sonar-deep-research": attrs.evolve(_UNKNOWN, searches=True),  # Perplexity's: bills what it read and searched
    "compound": attrs.evolve(_UNKNOWN, searches=True),  # Groq's systems of models with tools of their own
}


def is_mistral(name: str) -> bool:
    """Whether the model is one of Mistral's, on whatever server: nine letters and digits are taken everywhere."""
    return _MISTRAL.match(name.lower().rpartition("/")[2]) is not None


@lru_cache(maxsize=1024)
def model_of(name: str) -> Model:
    """What is known of a model. Fine-tuned (`ft:gpt-4o:...`) and routed (`openai/gpt-4o`) names are seen through."""
    bare = name.lower().removeprefix("ft:").rpartition("/")[2]
    for prefix in _prefixes(bare):
        known = _MODELS.get(prefix)
        if known is not None:
            return known
    return _UNKNOWN_REASONING if _SUCCESSOR.match(bare) else _UNKNOWN


@lru_cache(maxsize=1_024)
def unlimited_model_of(name: str) -> Model:
    """The same without the limits of its vendor, for who serves it under limits of his own. Every call asks."""
    known = model_of(name)
    return attrs.evolve(known, context_window=None, max_output=None) if known.known else known


def _prefixes(name: str) -> Iterable[str]:
    """The name and its beginnings that end where a word ends, longest first."""
    yield name
    for at in range(len(name) - 1, 0, -1):
        if name[at] in "-:_@":
            yield name[:at]
