"""What a codec says of the tokens that a request may take: of its input at most, and how its output is set.

Not here: what they cost, and who has them (`_budgeting`).
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import msgspec

from penstock._edge import broken_codec
from penstock._foreign import interruptible, let_through
from penstock._live_target import LiveTarget, OutputKey, OutputTerms
from penstock.errors import CallError
from penstock.policy.bound import OutputRange, output_range
from penstock.types import MOST_TOKENS, ChatRequest, Message, Target

__all__ = ["output_terms", "told_bound"]

ANY_MESSAGES = (Message.user("?"),)
PROBE = 65_536
"""Above the thinking budgets that a wire adds to small values of max_tokens."""


@interruptible
def told_bound(ask: Callable[[ChatRequest, Target], object], request: ChatRequest, target: LiveTarget) -> int | None:
    """What the codec's `input_bound` or `output_bound` tells: the most tokens; None: nothing bounds them.

    Raises CallError where the codec cannot say. The ledger must never see a figure that is none.
    """
    try:
        told = ask(request, target.wire)
    except CallError:
        raise
    except BaseException as bug:  # noqa: BLE001 - foreign code
        let_through(bug)
        failure = broken_codec(target.name, bug)
    else:
        if told is None or (isinstance(told, int) and told >= 0):
            return told
        failure = broken_codec(target.name, "a bound that is no number of tokens")
    raise failure


def output_terms(request: ChatRequest, key: OutputKey, target: LiveTarget) -> OutputTerms:
    """How the output is set: remembered by the target for all requests of the shape, for it depends on no text."""
    shape, output_cap, min_output_tokens = key
    if shape is None:
        return _found_output_terms(request, target, output_cap, min_output_tokens)
    known = target.outputs.get(key)
    if known is None:
        known = _found_output_terms(request, target, output_cap, min_output_tokens)
        target.remember_output(key, known)
    return known


def _found_output_terms(
    request: ChatRequest, target: LiveTarget, output_cap: int | None, min_output_tokens: int
) -> OutputTerms:
    # The output does not depend on what is asked: a codec need not encode long prompts to tell its bound.
    skeleton = copy.copy(request)
    msgspec.structs.force_setattr(skeleton, "messages", ANY_MESSAGES)
    fixed, choices = _output_of(skeleton, target)
    outputs = output_range(
        requested=fixed,
        default_max_tokens=_least(target.default_max_tokens, output_cap),
        model_max=target.capabilities.max_output,
        thinking=request.thinking not in (None, "off"),
        limited=True,
        min_output_tokens=min_output_tokens,
    )
    if outputs.insert:  # ours to choose: of several answers together no more than one attempt may be held for
        most = max(1, MOST_TOKENS // choices)
        outputs = OutputRange(min(outputs.minimum, most), min(outputs.maximum, most), insert=True)
    if choices > 1:
        outputs = OutputRange(outputs.minimum * choices, outputs.maximum * choices, insert=outputs.insert)
    uncapped = outputs.maximum if output_cap is None else max(outputs.maximum, _uncapped(target) * choices)
    return OutputTerms(outputs, choices, uncapped)


def _uncapped(target: LiveTarget) -> int:
    """What an answer might have been given where no account limited it."""
    return target.default_max_tokens or target.capabilities.max_output or 0


def _output_of(request: ChatRequest, target: LiveTarget) -> tuple[int | None, int]:
    """The output that the wire request fixes (None: ours to choose), and how many answers it asks for.

    Asked of the codec with two values of max_tokens: what does not follow them is fixed elsewhere, by `extra`.
    """

    def bound(asked: ChatRequest) -> int | None:
        return told_bound(target.provider.codec.output_bound, asked, target)

    if request.max_tokens is not None:
        return bound(request) or request.max_tokens, 1
    low = bound(msgspec.structs.replace(request, max_tokens=PROBE))
    high = bound(msgspec.structs.replace(request, max_tokens=PROBE + 1))
    if low is None or high is None:
        return None, 1
    if low == high:
        return low, 1
    return None, max(1, high - low)


def _least(one: int | None, other: int | None) -> int | None:
    if one is None or other is None:
        return other if one is None else one
    return min(one, other)
