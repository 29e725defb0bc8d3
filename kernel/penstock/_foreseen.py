"""What can be known of one attempt before it is made: when it may begin, what it costs at most, whether it can be said.

Not here: the whole call (`_explain`). Nothing here sends, asks an actor, or changes anything.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Sequence
from typing import TYPE_CHECKING, cast

import attrs

from penstock._asked import Call
from penstock._budgeting import BudgetRules, Offer, Pricing
from penstock._codec_results import flaw_of_wire
from penstock._edge import broken_codec, discreet
from penstock._engine import Engine
from penstock._explanation import Reason, When
from penstock._fitting import CallFitting
from penstock._foreign import let_through
from penstock._live_target import LiveTarget
from penstock.errors import BudgetExceededError, CallError, UnsupportedParameterError
from penstock.policy.accounts import chain_terms
from penstock.policy.breaker import BreakerState, ScopeHealth
from penstock.policy.holds import Amount, Line
from penstock.policy.routing import NOTHING_LEARNED, CoolDown, Learned
from penstock.types import ChatRequest, WireRequest

if TYPE_CHECKING:
    from penstock._extraction import Extraction
    from penstock._foreseen_repairs import Mending

__all__ = ["Spending", "goes_on", "refusal", "spendings", "unsendable", "when", "when_ignored"]

UNLIMITED = BudgetRules(on_unknown_price="allow", on_unknown_bound="estimate")
"""Where no account on the path has a limit, nothing is refused for want of a price or a bound."""


@attrs.frozen(kw_only=True)
class Spending:
    """What one attempt may use at most."""

    asked: ChatRequest
    """The request fitted to the target."""
    sent: ChatRequest
    """The request as the budget lets it go out."""
    likely_input: int
    input: int | None
    """Tokens; None: nothing bounds them. So for the output."""
    output: int | None
    amount: Amount | None
    """None where one of them has no bound. Without a price its money is 0."""
    priced: bool
    offer: Offer | None = None
    """What the hold of the call would count it with."""
    refused: CallError | None = None
    """Why the budget lets no attempt be made, whatever is left in its accounts."""
    mending: Mending | None = None
    """Where the answer is to become a value, and that was asked for: what it may come to. All else here is of what is
    asked at first."""


def spendings(engine: Engine, call: Call, *, repairs: bool = False) -> list[Spending]:
    """For each stage of a call. `repairs`: with what these may come to."""
    learned = engine.router.snapshot.learned
    rules = call.rules if call.chain else UNLIMITED
    fitting = CallFitting(call.id, call.request, call.on_unsupported, engine.events, call.targets)
    fitted = [fitting.foreseen(stage, target) for stage, target in enumerate(call.targets)]
    first = _asking(call)
    pricing = Pricing(chain_terms(call.chain), learned, rules, call.request.max_tokens)
    known: dict[Hashable, Spending] = {}
    spent: list[Spending] = []
    for stage, (target, request) in enumerate(zip(call.targets, fitted, strict=True)):
        alike = _alike(call, stage, request, learned.get(target.name))
        spending = known.get(alike)
        if spending is None:
            asked = _first_asked(first, stage, target, request)
            spending = _spending(call, target, asked, pricing.offer(asked, target))
            if spending.refused is None:  # else it says of which target
                known[alike] = spending
        spent.append(spending)
    return spent if first is None or not repairs else _with_mending(engine, first, fitted, spent)


def _asking(call: Call) -> Extraction | None:
    if call.output is None:
        return None
    from penstock._foreseen_repairs import asking  # noqa: PLC0415 - what reads JSON, imported by who needs it

    return asking(call, call.output)


def _first_asked(
    first: Extraction | None, stage: int, target: LiveTarget, request: ChatRequest | CallError
) -> ChatRequest | CallError:
    if first is None or isinstance(request, CallError):
        return request
    return first.first_asked(stage, target, request)


def _alike(call: Call, stage: int, request: ChatRequest | CallError, learned: Learned | None) -> Hashable:
    """Equal for stages of which all is the same that can be known of an attempt: a route may be long.

    The identity of the request stands for it: it lives as long as the fitting does.
    """
    if isinstance(request, CallError):
        return stage
    target, known = call.targets[stage], learned or NOTHING_LEARNED
    refused = None if call.output is None else call.output.ready.refused_by(target)
    figures = known.extra_allowance, known.tokens_per_byte, bool(target.wire.headers)
    return call.along.alike[stage], id(request), refused, figures


def _with_mending(
    engine: Engine, first: Extraction, fitted: Sequence[ChatRequest | CallError], spent: Sequence[Spending]
) -> list[Spending]:
    """What is the same for several stages is worked out for the first of them."""
    from penstock._foreseen_repairs import FirstAsked, mendings  # noqa: PLC0415 - likewise

    tried = {
        id(each): (FirstAsked(fitted=request, asked=each.asked, reads=each.input, writes=each.output), target)
        for request, each, target in reversed(list(zip(fitted, spent, first.call.targets, strict=True)))
        if not isinstance(request, CallError) and each.refused is None
    }
    found = dict(zip(tried, mendings(engine, first, list(tried.values())), strict=True))
    mended = {id(each): attrs.evolve(each, mending=found.get(id(each))) for each in spent}
    return [mended[id(each)] for each in spent]


def _spending(call: Call, target: LiveTarget, request: ChatRequest | CallError, offer: Offer | CallError) -> Spending:
    priced = target.price is not None
    if isinstance(request, CallError):
        return _nothing(call.request, priced=priced, refused=request)
    if not isinstance(offer, Offer):
        # Without a limit nobody asks the codec for bounds: what broke here shows where the request is encoded.
        return _nothing(request, priced=priced, refused=offer if call.chain else None)
    reads = None if offer.proven_input is None else offer.line.input_tokens
    if reads is not None and goes_on(call, target):
        # What was shown is read again: only the window bounds how much that is.
        reads = target.capabilities.context_window
    # Without a limit nothing is inserted: what the wire request itself allows is the bound, if it has one.
    writes = offer.outputs.maximum if call.chain else target.output_bound(request)
    amount = None
    if reads is not None and writes is not None:
        amount = Line.at_price(reads, target.price, writes).amount_at(writes)
    return Spending(
        asked=request,
        sent=offer.request(request, offer.outputs.maximum) if call.chain else request,
        likely_input=offer.input_estimate,
        input=reads,
        output=writes,
        amount=amount,
        offer=offer,
        priced=priced,
    )


def _nothing(asked: ChatRequest, *, priced: bool, refused: CallError | None) -> Spending:
    """Of a target that is not to be asked, or of which nothing can be said."""
    return Spending(
        asked=asked, sent=asked, likely_input=0, input=None, output=None, amount=None, priced=priced, refused=refused
    )


def goes_on(call: Call, target: LiveTarget) -> bool:
    """True where an attempt there may go on from what a broken one has shown."""
    return (
        call.commit.policy == "continue"
        and target.capabilities.prefill
        and not target.asked_to_think(call.request)
        and call.request.output is None
        and call.output is None
    )


def refusal(target: LiveTarget, error: CallError) -> When:
    """Never: the budget, or the target's codec, rules it out for this request."""
    reason: Reason = "unsendable"
    if isinstance(error, BudgetExceededError):
        reason = "budget"
    elif isinstance(error, UnsupportedParameterError):
        reason = "unfit"
    return When(reason=reason, ready_in=None, says=f"never: {_words(target, error)}")


def unsendable(target: LiveTarget, request: ChatRequest, *, streamed: bool, wall: float) -> CallError | None:
    """What the codec would raise instead of a wire request."""
    codec = target.provider.codec
    wire: object = None
    try:
        wire = codec.encode(request, target.wire, stream=streamed, now=wall)
    except CallError as error:
        return discreet(error, None, target.name)
    except BaseException as bug:  # noqa: BLE001 - foreign code
        let_through(bug)
        return broken_codec(target.name, bug)
    if not isinstance(cast("object", wire), WireRequest):
        return broken_codec(target.name, f"{type(wire).__name__} in place of WireRequest")
    flaw = flaw_of_wire(wire)
    return None if flaw is None else broken_codec(target.name, flaw)


def when(engine: Engine, target: LiveTarget, now: float) -> When:
    """When a target may be tried, by what everyone knows: whatever stands in the way longest says why."""
    found = [*_cooling(engine, target, now), *_unhealthy(engine, target, now)]
    ready = When(reason="ready", ready_in=0.0, says="now")
    return max(found, key=_hindrance, default=ready)


def when_ignored(engine: Engine, target: LiveTarget, now: float) -> When:
    """The same for a call that goes on as if no circuit were open."""
    barred = [found for found in _unhealthy(engine, target, now) if found.reason == "isolated"]
    says = 'now, though its circuit is open, as every other is: all_open = "ignore"'
    tried = When(reason="ignored", ready_in=0.0, says=says)
    return max([tried, *_cooling(engine, target, now), *barred], key=_hindrance)


def _hindrance(found: When) -> tuple[float, bool]:
    if found.reason == "probing":
        return 0.0, True  # it may be over at any moment
    return (math.inf if found.ready_in is None else found.ready_in), found.reason != "ready"


def _cooling(engine: Engine, target: LiveTarget, now: float) -> Iterator[When]:
    known = engine.router.snapshot.cooling
    cools = (known[scope] for scope in target.scopes if scope in known)
    return (_cools(cool, now) for cool in cools)


def _cools(cool: CoolDown, now: float) -> When:
    left = cool.until - now
    if cool.is_over(now):
        says = "now, a few calls at a time: its cool-down is over"
        return When(reason="thawing", ready_in=0.0, says=says, scope=cool.scope)
    says = f"in {left:.1f} s: cooling ({cool.reason.replace('_', ' ')})"
    return When(reason="cooling", ready_in=left, says=says, scope=cool.scope)


def _unhealthy(engine: Engine, target: LiveTarget, now: float) -> Iterator[When]:
    known = engine.breakers.snapshot
    return (_breaks(scope, known[scope], now) for scope in target.scopes if scope in known)


def _breaks(scope: str, health: ScopeHealth, now: float) -> When:
    left = health.open_until - now
    match health.state:
        case BreakerState.ISOLATED:
            return When(reason="isolated", ready_in=None, says="never: isolated by hand", scope=scope)
        case BreakerState.OPEN if left > 0:
            says = f"in {left:.1f} s: circuit open ({health.cause.replace('_', ' ')})"
            return When(reason="circuit_open", ready_in=left, says=says, scope=scope)
        case BreakerState.HALF_OPEN if not health.permits_left:
            says = "once a probe under way has ended: circuit half open"
            return When(reason="probing", ready_in=None, says=says, scope=scope)
        case _:
            says = f"now, as a probe: circuit half open (was {health.cause.replace('_', ' ')})"
            return When(reason="probe", ready_in=0.0, says=says, scope=scope)


def _words(target: LiveTarget, error: CallError) -> str:
    return str(error).removeprefix(f"{target.name}: ")
