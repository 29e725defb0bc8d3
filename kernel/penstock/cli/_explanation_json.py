"""An explanation as a JSON object, for programs that run the command.

Not here: when it is written.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec

from penstock._explanation import Explanation, StageExplanation

__all__ = ["explanation_line"]

# Amounts of money as numbers with all their digits, never as floats.
_ENCODER = msgspec.json.Encoder(decimal_format="number")


def explanation_line(explanation: Explanation) -> str:
    """Every field of it, and amounts in USD beside those in nano-USD."""
    fields: dict[str, Any] = {
        **msgspec.to_builtins(explanation),
        "stages": [_stage(stage) for stage in explanation.stages],
        "cost": _usd(explanation.cost),
        "dearest": _usd(explanation.dearest),
    }
    return _ENCODER.encode(fields).decode() + "\n"


def _stage(stage: StageExplanation) -> dict[str, Any]:
    return {**msgspec.to_builtins(stage), "cost": _usd(stage.cost)}


def _usd(cost: Decimal | None) -> Decimal | None:
    # Without the zeros of nano-USD at its end.
    return cost if cost is None else cost.normalize()
