"""What a configuration says of money and of answers: the budget, the ledger it is kept in, and the cache."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import attrs

from penstock._config_checks import NOT_IN_A_FILE, a_store, at_least_one, more_than_zero, zero_or_more
from penstock._discreet import keys_only
from penstock.policy.accounts import AccountSpec, UnknownUsage, limits_in_words
from penstock.policy.cache_policy import CacheWhen
from penstock.policy.window import Per
from penstock.types import Price

__all__ = ["BudgetConfig", "CacheConfig", "LedgerConfig", "OnStoreDown"]

OnStoreDown: TypeAlias = Literal["deny", "allow"]


@attrs.frozen(kw_only=True)
class BudgetConfig:
    """The tree of accounts, and what happens where something about a call's cost is not known."""

    accounts: tuple[AccountSpec, ...] = ()
    on_unknown_price: Literal["deny", "cap", "allow"] = "deny"
    price_cap: Price | None = None
    """What a model of unknown price is taken to cost where that is "cap"."""
    on_unknown_bound: Literal["deny", "estimate"] = "deny"
    unknown_usage: UnknownUsage = "bound"
    """What is charged for an attempt whose usage the provider did not tell, where no account says otherwise. "likely",
    the best guess, may be less than what is billed: limits may then be exceeded."""
    hold_wait: float = attrs.field(default=5.0, validator=more_than_zero)
    """Seconds a call waits for other calls' holds to settle."""
    min_output_tokens: int = attrs.field(default=1024, validator=at_least_one)
    """A budget never caps an answer below this: it refuses."""

    @property
    def gives_up(self) -> tuple[str, ...]:
        """What is no longer promised of the limits, in sentences."""
        told: list[str] = []
        guess = [_key(spec.path, "unknown_usage") for spec in self.accounts if spec.unknown_usage == "likely"]
        guess = ["budget.unknown_usage", *guess] if self.unknown_usage == "likely" else guess
        if guess and any(spec.limits for spec in self.accounts):
            told.append(
                f'{", ".join(guess)} = "likely": where a provider does not tell what an attempt used, the best guess is'
                " charged, which may be less than is billed; limits may be exceeded by the difference"
            )
        for spec in self.accounts:
            limits = [limit for limit in spec.limits if limit.per is not Per.REQUEST]
            judged = [
                words for limit in limits if spec.measure(limit) == "estimate" for words in limits_in_words(limit)
            ]
            if judged:
                told.append(
                    f'{_key(spec.path, "limits")}: bound = "estimate" of {", ".join(judged)}: what calls cost beyond'
                    " their estimates exceeds it, and is booked; nothing new is held then"
                )
        return tuple(told)


def _key(account: str, name: str) -> str:
    """Where a file says that of an account."""
    return f"accounts.{account}.{name}" if account else f"budget.{name}"


@attrs.frozen(kw_only=True)
class LedgerConfig:
    """Where spending is kept."""

    store: str = attrs.field(default="memory", validator=a_store)
    """The name of what keeps it; in a `[ledger]` table without one, `sqlite`."""
    lease: float = attrs.field(default=60.0, validator=more_than_zero)
    """Seconds after which the hold of a call that is no longer heard of is charged in full."""
    timeout: float = attrs.field(default=5.0, validator=more_than_zero)
    """Seconds that the store gets for one batch of reserves and settles."""
    on_store_down: OnStoreDown = "deny"
    """`allow`: where the store does not answer calls go all the same, and are booked when it is back."""
    options: dict[str, Any] = attrs.field(factory=dict[str, Any], repr=keys_only, metadata={NOT_IN_A_FILE: True})
    """What the table says beside these: the store's own."""


@attrs.frozen(kw_only=True)
class CacheConfig:
    """Where and when answers are kept."""

    store: str = attrs.field(default="sqlite", validator=a_store)
    """The name of what keeps them beyond this process; `memory`: nothing does."""
    ttl: float = attrs.field(default=3600.0, validator=more_than_zero)
    """Seconds."""
    when: CacheWhen = "deterministic"
    stale_while_revalidate: float = attrs.field(default=0.0, validator=zero_or_more)
    """Seconds after its ttl in which an answer is served at once, and fetched anew in the background."""
    stale_if_error: float = attrs.field(default=0.0, validator=zero_or_more)
    """Seconds after its ttl in which an answer is served once every target has failed."""
    memory_bytes: int = attrs.field(default=67_108_864, validator=at_least_one)
    store_timeout: float = attrs.field(default=0.25, validator=more_than_zero)
    """Seconds that one call waits for the store at most, each time it asks it; then it goes on as if it had missed."""
    options: dict[str, Any] = attrs.field(factory=dict[str, Any], repr=keys_only, metadata={NOT_IN_A_FILE: True})
    """What the table says beside these: the store's own."""
