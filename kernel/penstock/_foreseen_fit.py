"""Whether a call would get its hold now, and for which of its targets, found out as a call finds it out.

Not here: what an attempt costs (`_foreseen`), what a store would answer (`policy.foreseen_hold`), and the hold itself
(`_hold`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs

from penstock._asked import Call
from penstock._budgeting import Offer, dearest_stages, hold_terms
from penstock._engine import Engine
from penstock._foreseen import Spending
from penstock.policy.holds import Granted, Refused
from penstock.policy.ledger_steps import WindowRow

__all__ = ["Fit", "foreseen_fit"]

NO_STAGES = frozenset[int]()


@attrs.frozen(kw_only=True)
class Fit:
    """What would become of the hold."""

    held_for: Mapping[int, Offer]
    """What attempts cost at the stages that it would cover: the last that were asked for."""
    granted: Granted | None = None
    refused: tuple[Refused, ...] = ()
    """What is in its way. Empty without a grant: the store was not asked yet."""
    too_dear: frozenset[int] = NO_STAGES
    """Stages that are left out, so that it fits: an account on the path has `degrade`."""


def foreseen_fit(
    engine: Engine, call: Call, spent: Sequence[Spending], rows: Sequence[WindowRow] | None = None
) -> Fit | None:
    """By `rows`, as the store shows them, else by what is known without asking it. None: no stage may be tried."""
    offers = {stage: each.offer for stage, each in enumerate(spent) if each.refused is None and each.offer is not None}
    too_dear = NO_STAGES
    while offers:
        found = _asked(engine, call, offers, rows)
        fit = Fit(held_for=offers, refused=found) if isinstance(found, tuple) else Fit(held_for=offers, granted=found)
        if not fit.refused or not call.limits.degrades or _would_wait(call, fit.refused):
            return attrs.evolve(fit, too_dear=too_dear) if fit.granted else fit
        dearest = dearest_stages(offers)
        if not dearest:
            return fit
        too_dear |= dearest
        offers = {stage: offer for stage, offer in offers.items() if stage not in dearest}
    return None


def _asked(
    engine: Engine, call: Call, offers: Mapping[int, Offer], rows: Sequence[WindowRow] | None
) -> Granted | tuple[Refused, ...]:
    terms = hold_terms(list(offers.values()), guesses=True)
    foreseen = engine.budget.foresee(
        call.account,
        terms.lines,
        min_output=terms.min_output,
        max_output=terms.max_output,
        now=engine.clock.wall(),
        rows=rows,
        likely=terms.likely,
    )
    return () if foreseen is None else foreseen


def _would_wait(call: Call, refused: Sequence[Refused]) -> bool:
    """True where others may make room in time: nothing is given up before."""
    return call.rules.hold_wait > 0 and all(each.reason == "held" for each in refused)
