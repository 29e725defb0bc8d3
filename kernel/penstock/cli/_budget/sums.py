"""What was spent, added up by account, by target, or both. Pure.

Not here: printing it (`report`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, TypeAlias

import attrs

from penstock.policy.ledger_steps import SpendRow

__all__ = ["By", "Sum", "sums_of", "total_of"]

By: TypeAlias = Literal["account", "target"]


@attrs.frozen(kw_only=True)
class Sum:
    """What one account, one target, or one of them at the other has spent."""

    account: str | None
    """None: whoever it was."""
    target: str | None
    calls: int = 0
    """Calls with a share in it. One that was tried at two targets counts at both."""
    attempts: int = 0
    input_tokens: int = 0
    """Those read from a prompt cache and written to one included."""
    cached_input_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    """Reasoning included."""
    reasoning_tokens: int = 0
    nano_usd: int = 0
    estimated_nano_usd: int = 0
    """Of `nano_usd`, what was charged without a bill."""
    estimated_tokens: int = 0

    @property
    def tokens(self) -> int:
        """Input and output."""
        return self.input_tokens + self.output_tokens

    @property
    def estimated_share(self) -> float:
        """Of the money; where there is none, of the tokens."""
        if self.nano_usd:
            return self.estimated_nano_usd / self.nano_usd
        return self.estimated_tokens / self.tokens if self.tokens else 0.0

    def plus(self, row: SpendRow) -> Sum:
        """With one more row of the journal."""
        spent = row.spent
        tokens = spent.input_tokens + spent.output_tokens
        return attrs.evolve(
            self,
            calls=self.calls + row.calls,
            attempts=self.attempts + spent.attempts,
            input_tokens=self.input_tokens + spent.input_tokens,
            cached_input_tokens=self.cached_input_tokens + spent.cached_input_tokens,
            cache_write_tokens=self.cache_write_tokens + spent.cache_write_tokens,
            output_tokens=self.output_tokens + spent.output_tokens,
            reasoning_tokens=self.reasoning_tokens + spent.reasoning_tokens,
            nano_usd=self.nano_usd + spent.nano_usd,
            estimated_nano_usd=self.estimated_nano_usd + (spent.nano_usd if spent.estimated else 0),
            estimated_tokens=self.estimated_tokens + (tokens if spent.estimated else 0),
        )


def sums_of(rows: Iterable[SpendRow], by: Sequence[By]) -> list[Sum]:
    """One for each that has spent, the dearest first."""
    sums: dict[tuple[str | None, str | None], Sum] = {}
    for row in rows:
        account = row.account if "account" in by else None
        target = row.spent.target if "target" in by else None
        known = sums.get((account, target)) or Sum(account=account, target=target)
        sums[account, target] = known.plus(row)
    return sorted(sums.values(), key=lambda one: (-one.nano_usd, -one.tokens, one.account or "", one.target or ""))


def total_of(rows: Iterable[SpendRow]) -> Sum:
    """All of them together."""
    total = Sum(account=None, target=None)
    for row in rows:
        total = total.plus(row)
    return total
