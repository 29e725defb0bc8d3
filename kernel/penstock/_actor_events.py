"""What actors report, as the events that listeners get.

Actors and policies know nothing of events: they call back with values of their own.
"""

from __future__ import annotations

from penstock._events import (
    BreakerChanged,
    BudgetDegraded,
    BudgetNotBooked,
    BudgetOverrun,
    BudgetSoftLimit,
    CoolingDown,
    LedgerAway,
    LedgerBack,
)
from penstock.actors.store_standing import StoreChange
from penstock.policy import breaker, budget, routing

__all__ = ["changed", "cooling", "spending", "store_change"]


def cooling(cool: routing.CoolDown, now: float) -> CoolingDown:
    """The event of a provider or target that is left alone for a while; `now` is monotonic, in seconds."""
    return CoolingDown(cool.scope, cool.until - now, cool.reason)


def changed(change: breaker.BreakerChanged) -> BreakerChanged:
    """The event of a circuit that opened, half opened or closed."""
    return BreakerChanged(change.scope, change.before.value, change.after.value, str(change.reason))


def store_change(change: StoreChange, on_store_down: str) -> LedgerAway | LedgerBack:
    """The event of a ledger store that does not answer any more, or does again."""
    return LedgerAway(change.reason, on_store_down) if change.away else LedgerBack(change.booked)


def spending(event: budget.BudgetEvent) -> BudgetDegraded | BudgetNotBooked | BudgetOverrun | BudgetSoftLimit:
    """The event of what a settle, or a hold, came to at an account."""
    match event:
        case budget.Degraded():
            return BudgetDegraded(event.account, event.limit, event.share, event.route)
        case budget.SoftLimitReached():
            return BudgetSoftLimit(event.account, event.limit, event.share)
        case budget.NotBooked():
            return BudgetNotBooked(event.account, event.charged.tokens, event.charged.nano_usd)
        case budget.Overrun():
            over = event.charged - event.held
            return BudgetOverrun(event.account, max(0, over.tokens), max(0, over.nano_usd))
