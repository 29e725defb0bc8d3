"""One call's wish for a hold, as it stands in the queue, and what it may come to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from msgspec import Struct

from penstock.policy.holds import Amount, Granted, Line, Refused
from penstock.policy.ledger_steps import Held

__all__ = ["Decision", "HoldAsk"]

Decision: TypeAlias = Granted | Refused


class HoldAsk(Struct, frozen=True, gc=False):
    """A reserve that may have to wait."""

    hold_id: str
    account: str
    lines: tuple[Line, ...]
    min_output: int
    max_output: int
    wait_until: float | None
    likely: tuple[Line, ...] = ()
    """What they most likely come to; empty: as `lines`."""

    @classmethod
    def checked(
        cls,
        hold_id: str,
        account: str,
        lines: Sequence[Line],
        outputs: tuple[int, int],
        wait_until: float | None,
        *,
        likely: Sequence[Line] = (),
    ) -> HoldAsk:
        """Raises ValueError where it makes no sense."""
        min_output, max_output = outputs
        if not lines:
            raise ValueError("a hold needs at least one line")
        if not 0 <= min_output <= max_output:
            raise ValueError(f"outputs from {min_output} to {max_output} are no range")
        return cls(hold_id, account, tuple(lines), min_output, max_output, wait_until, tuple(likely))

    @classmethod
    def for_all_of(cls, hold_id: str, account: str, held: Held) -> HoldAsk:
        """The same amounts and output once more, or nothing; it does not wait."""
        lines, output = (_line(held.amount),), held.output_tokens
        likely = () if held.likely is None else (_line(held.likely),)
        return cls(hold_id, account, lines, output, output, None, likely)

    def may_wait(self, now: float) -> bool:
        """True while its wait is not over."""
        return self.wait_until is not None and now < self.wait_until


def _line(amount: Amount) -> Line:
    """What is so much at every output."""
    return Line(amount.tokens, amount.nano_usd, 0, 0)
