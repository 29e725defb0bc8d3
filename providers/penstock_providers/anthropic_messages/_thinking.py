"""How much a model may think and write: `thinking`, `effort` and `max_tokens` of one request.

The wire counts thinking inside `max_tokens`, demands that a budget is smaller, and takes none under 1,024 tokens. A
`max_tokens` that is given is a fence: it is never raised, the budget gives way.
"""

from __future__ import annotations

from typing import Any

import attrs

from penstock.types import ChatRequest, Target, ThinkingLevel
from penstock_providers.anthropic_messages._models import Model, model_of

__all__ = ["Allowance", "allowance", "budget_of", "room_for", "takes_budget"]

ANSWER_TOKENS = 8_192
"""What the answer gets where nobody says; the wire demands a figure. Only the oldest models write less."""
SMALLEST_BUDGET = 1_024
BUDGETS: dict[ThinkingLevel, int] = {"low": 1_024, "medium": 4_096, "high": 16_384}
"""The levels in tokens, for models that take budgets."""

# Newer models show nothing of their thinking unless asked to.
_ADAPTIVE = {"type": "adaptive", "display": "summarized"}


@attrs.frozen
class Allowance:
    """Fields of the body: `thinking` and `effort` are None where nothing is to be sent."""

    max_tokens: int
    thinking: dict[str, Any] | None = None
    effort: str | None = None


def allowance(request: ChatRequest, target: Target, *, budgets: bool = True) -> Allowance:
    """What to send for `thinking` and `max_tokens` of the request. Without `budgets`, thinking is adaptive or not."""
    model = model_of(target.model)
    if not budgets and model.thinks in ("budget", "budget or adaptive"):
        model = attrs.evolve(model, thinks="never" if model.thinks == "budget" else "adaptive")
    given = request.max_tokens or _whole_number(target.params.get("max_tokens"))
    match request.thinking:
        case None:
            return Allowance(given or _default(model, target, 0))
        case "off":
            thinking = None if model.quiet == "omit" else {"type": model.quiet}
            return Allowance(given or _default(model, target, 0), thinking)
        case wish:
            budget = budget_of(wish)
            max_tokens = given or _default(model, target, budget)
            return _thinking(model, wish, budget, max_tokens)


def budget_of(wish: ThinkingLevel | int | None) -> int:
    """A wish to think in tokens."""
    return BUDGETS.get(wish, 0) if isinstance(wish, str) else wish or 0


def takes_budget(request: ChatRequest, turns: list[dict[str, Any]]) -> bool:
    """Whether this conversation may go on with a thinking budget.

    The provider refuses one beside a forced tool, and where the assistant's turn that is gone on with (its tools have
    answered, or it is the last) does not begin with thinking: as after another provider's answer. Such a request is
    better answered without thinking than not at all.
    """
    if request.tool_choice not in (None, "auto", "none"):
        return False
    spoken = next((turn for turn in reversed(turns) if turn["role"] == "assistant"), None)
    if spoken is None:
        return True
    content: str | list[dict[str, Any]] = spoken["content"]
    kinds = ["text"] if isinstance(content, str) else [block.get("type") for block in content]
    goes_on = spoken is turns[-1] or "tool_use" in kinds
    return not goes_on or kinds[0] in ("thinking", "redacted_thinking")


def room_for(thinking: object, max_tokens: int, target: Target) -> int:
    """A `max_tokens` nobody named, raised where a budget from `extra` or params would not fit into it."""
    match thinking:
        case {"budget_tokens": int(budget)} if budget >= max_tokens:
            return _default(model_of(target.model), target, budget)
        case _:
            return max_tokens


def _thinking(model: Model, wish: ThinkingLevel | int, budget: int, max_tokens: int) -> Allowance:
    match model.thinks:
        case "never":
            return Allowance(max_tokens)
        case "adaptive":
            return Allowance(max_tokens, _ADAPTIVE, _effort(wish))
        case "budget or adaptive" if isinstance(wish, str):
            return Allowance(max_tokens, _ADAPTIVE, wish)
        case "budget" | "budget or adaptive":
            # Where both do not fit, a quarter is left for the answer.
            fitting = budget if budget < max_tokens else max_tokens * 3 // 4
            if fitting < SMALLEST_BUDGET:
                return Allowance(max_tokens)
            return Allowance(max_tokens, {"type": "enabled", "budget_tokens": fitting})


def _effort(wish: ThinkingLevel | int) -> str:
    if isinstance(wish, str):
        return wish
    return next((level for level, budget in BUDGETS.items() if wish <= budget), "high")


def _default(model: Model, target: Target, budget: int) -> int:
    most = model.max_output
    answer = target.default_max_tokens or (ANSWER_TOKENS if most is None else min(most, ANSWER_TOKENS))
    if model.thinks == "never":
        budget = 0
    return answer + budget if most is None else min(most, answer + budget)


def _whole_number(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
