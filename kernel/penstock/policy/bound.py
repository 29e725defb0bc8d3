"""How many tokens a call may cost: the range of its output, the estimate of its input, the least of what streamed.

Not here: the proven bound of the input, which is each provider's (`Provider.input_bound`), and what it costs (money).
"""

from __future__ import annotations

import math

import attrs
from msgspec import Struct

__all__ = ["BYTES_PER_TOKEN", "Estimate", "OutputRange", "lower_bound_tokens", "output_range"]

# What is asked for where neither the request nor the configuration nor the codec names a figure.
_USUAL_OUTPUT = 8_192
_USUAL_OUTPUT_THINKING = 32_768
BYTES_PER_TOKEN = 16
"""Of a text as a whole, at most: no tokenizer is thriftier. The recordings' median is 5.75."""


class OutputRange(Struct, frozen=True):
    """The output tokens a call may be given. `insert`: what is granted has to be written into the request."""

    minimum: int
    maximum: int
    insert: bool


def output_range(
    *,
    requested: int | None,
    default_max_tokens: int | None,
    model_max: int | None,
    thinking: bool,
    limited: bool,
    min_output_tokens: int = 1_024,
    min_output_tokens_thinking: int = 8_192,
) -> OutputRange:
    """What to reserve for the output of a call.

    A request that names its `max_tokens` gets them or is refused: the figure is never changed. One that names none is
    given what fits, where an account on its path has a limit: at most the smaller of the target's default and the
    model's maximum, and not less than the floor, below which an answer is of no use. Elsewhere nothing is inserted.
    """
    if requested is not None:
        return OutputRange(requested, requested, insert=False)
    known = [figure for figure in (default_max_tokens, model_max) if figure is not None]
    maximum = min(known) if known else (_USUAL_OUTPUT_THINKING if thinking else _USUAL_OUTPUT)
    if not limited:
        return OutputRange(0, model_max or maximum, insert=False)
    floor = min_output_tokens_thinking if thinking else min_output_tokens
    return OutputRange(min(floor, maximum), maximum, insert=True)


def lower_bound_tokens(bytes_streamed: int) -> int:
    """Tokens that so many bytes of a streamed answer cannot be fewer than, in effect."""
    return bytes_streamed // BYTES_PER_TOKEN


@attrs.define
class _Learned:
    tokens: float
    bytes: float


class Estimate:
    """How many input tokens so many bytes will be, learned per target from what the provider reported.

    It is a good guess with a margin, never a bound: per-request limits are judged on it, windows are not. Requests
    weigh by their size, and older ones fade. Small ones teach nothing: what they cost is mostly the provider's own
    preamble, and a ratio learned from it would make a guess about a large request absurd.
    """

    # Dearer than the 5.75 bytes per token of the recordings: a target begins with 4, at the weight of a few requests.
    _START = (1_024.0, 4_096.0)
    _FADE = 0.95
    _LEAST_BYTES = 1_000
    # Names of targets can come from callers: the oldest is forgotten rather than kept without end.
    _MOST_TARGETS = 4_096

    def __init__(self, *, margin: float = 1.1) -> None:
        self._margin = margin
        self._targets: dict[str, _Learned] = {}

    def learn(self, target: str, *, input_bytes: int, input_tokens: int) -> None:
        """What a request of so many bytes came to. Bytes are of text, tools and schemas: leave out one with media."""
        if input_bytes < self._LEAST_BYTES or input_tokens <= 0:
            return
        learned = self._targets.pop(target, None) or _Learned(*self._START)
        # No token is shorter than a byte: what is above did not come of the text.
        learned.tokens = learned.tokens * self._FADE + min(input_tokens, input_bytes)
        learned.bytes = learned.bytes * self._FADE + input_bytes
        self._targets[target] = learned
        if len(self._targets) > self._MOST_TARGETS:
            del self._targets[next(iter(self._targets))]

    def tokens(self, target: str, input_bytes: int) -> int:
        """The estimate for a request of so many bytes, margin included."""
        learned = self._targets.get(target) or _Learned(*self._START)
        return math.ceil(input_bytes * learned.tokens / learned.bytes * self._margin)
