"""What an attempt of a call would be charged at most and whether that fits, found out without making it.

It reads what a call reads through the code that a call uses, like `_explain`, whose question is another: how long, how
often, whom. Not here: the values (`_quotation`), and what a store would answer (`policy.foreseen_hold`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import attrs
import msgspec

from penstock._asked import Call
from penstock._engine import Engine
from penstock._foreseen import Spending, spendings
from penstock._foreseen_fit import foreseen_fit
from penstock._live_target import LiveTarget
from penstock._plan import CallOptions, make_call
from penstock._quotation import AttemptQuote, CallQuote, Quote, Shortfall, TargetQuote
from penstock.errors import BudgetExceededError
from penstock.policy.holds import NOTHING, Line, Refused
from penstock.policy.ledger_steps import WindowRow
from penstock.telemetry import NO_TELEMETRY
from penstock.types import ChatRequest

__all__ = ["quote"]


@attrs.frozen
class _Fit:
    """Whether the hold would be had."""

    fits: bool | None
    hold: CallQuote | None = None
    output_tokens: int | None = None
    shortfalls: tuple[Shortfall, ...] = ()
    too_dear: tuple[str, ...] = ()


def quote(engine: Engine, request: ChatRequest, options: CallOptions, rows: Sequence[WindowRow] | None = None) -> Quote:
    """The quote by what is known, or by `rows` that the store has just shown. Raises what making the call would."""
    # The very plan of a call, but without its span, and counted by nobody.
    call = make_call(attrs.evolve(engine, telemetry=NO_TELEMETRY), request, options)
    spent = spendings(engine, call)
    targets = [_target(target, each) for target, each in zip(call.targets, spent, strict=True)]
    tried = [target for target in targets if target.refused is None]
    found = _fit(engine, call, spent, rows)

    async def later() -> Quote:
        await engine.budget.flush()
        return quote(engine, request, options, await engine.budget.see(call.account))

    return Quote(
        route=call.route,
        account=call.account,
        targets=tuple(targets),
        bound=_dearest([target.bound for target in tried]),
        estimate=_dearest([target.estimate for target in tried]),
        fits=found.fits,
        hold=found.hold,
        output_tokens=found.output_tokens,
        shortfalls=found.shortfalls,
        too_dear=found.too_dear,
        later=later,
    )


def _target(target: LiveTarget, spending: Spending) -> TargetQuote:
    offer = spending.offer
    refused = None if spending.refused is None else str(spending.refused).removeprefix(f"{target.name}: ")
    bound = estimate = None
    if refused is None and offer is not None and spending.output is not None:
        if offer.proven_input is not None:
            line = Line.at_price(offer.line.input_tokens, offer.price, spending.output)
            bound = AttemptQuote(
                input_tokens=line.input_tokens,
                output_tokens=spending.output,
                nano_usd=None if offer.price is None else line.amount_at(spending.output).nano_usd,
            )
        likely = msgspec.structs.replace(offer.likely, max_output=spending.output)
        estimate = AttemptQuote(
            input_tokens=likely.input_tokens,
            output_tokens=spending.output,
            nano_usd=None if offer.price is None else likely.amount_at(spending.output).nano_usd,
        )
    return TargetQuote(
        target=target.name,
        provider=target.provider.name,
        model=target.wire.model,
        bound=bound,
        estimate=estimate,
        refused=refused,
    )


def _dearest(attempts: Sequence[AttemptQuote | None]) -> CallQuote | None:
    """Each unit for itself; None where one of them is not known."""
    known = [attempt for attempt in attempts if attempt is not None]
    if not known or len(known) < len(attempts):
        return None
    prices = [attempt.nano_usd for attempt in known if attempt.nano_usd is not None]
    return CallQuote(
        tokens=max(attempt.tokens for attempt in known),
        nano_usd=max(prices) if len(prices) == len(known) else None,
    )


def _fit(engine: Engine, call: Call, spent: Sequence[Spending], rows: Sequence[WindowRow] | None) -> _Fit:
    if all(each.refused is not None for each in spent):
        return _Fit(fits=False, shortfalls=tuple(_of_the_request(spent)))
    found = foreseen_fit(engine, call, spent, rows) if call.chain else None
    if found is None:
        return _Fit(fits=True)
    if found.granted is not None:
        amount, offers = found.granted.amount, found.held_for.values()
        priced = all(offer.price is not None for offer in offers)
        hold = CallQuote(tokens=amount.tokens, nano_usd=amount.nano_usd if priced else None)
        too_dear = tuple(call.targets[stage].name for stage in sorted(found.too_dear))
        return _Fit(fits=True, hold=hold, output_tokens=found.granted.output_tokens, too_dear=too_dear)
    if not found.refused:
        return _Fit(fits=None)
    return _Fit(fits=False, shortfalls=tuple(_of_a_window(refused) for refused in found.refused))


def _of_a_window(refused: Refused) -> Shortfall:
    otherwise = refused.otherwise or NOTHING
    return Shortfall(
        account=refused.account,
        limit=refused.limit,
        reason="held" if refused.reason == "held" else "spent",
        missing_tokens=refused.missing.tokens,
        missing_nano_usd=refused.missing.nano_usd,
        refills_at=refused.refills_at,
        basis=refused.basis,
        missing_tokens_otherwise=otherwise.tokens,
        missing_nano_usd_otherwise=otherwise.nano_usd,
    )


def _of_the_request(spent: Sequence[Spending]) -> Iterator[Shortfall]:
    """Limits per request that rule out every target, each named once: by the target that is missing least of it."""
    least: dict[tuple[str, str], Shortfall] = {}
    for each in spent:
        error = each.refused
        if not isinstance(error, BudgetExceededError) or not error.limit:
            continue
        short = Shortfall(
            account=error.account,
            limit=error.limit,
            reason="request",
            missing_tokens=error.missing_tokens,
            missing_nano_usd=error.missing_nano_usd,
            refills_at=None,
            basis=error.basis,
            missing_tokens_otherwise=error.missing_tokens_otherwise,
            missing_nano_usd_otherwise=error.missing_nano_usd_otherwise,
        )
        known = least.get((short.account, short.limit), short)
        least[short.account, short.limit] = min(
            known, short, key=lambda one: (one.missing_nano_usd, one.missing_tokens)
        )
    yield from least.values()
