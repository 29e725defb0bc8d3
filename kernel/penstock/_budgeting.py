"""What a call may cost, worked out before it is sent: the lines of its hold, and who refuses.

Not here: the ledger itself (`policy.budget`), and what an attempt did cost (`_books`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs
import msgspec
from msgspec import Struct

from penstock._codec_bounds import output_terms, told_bound
from penstock._live_target import LiveTarget, OutputKey
from penstock._text_size import is_text, text_bytes
from penstock.errors import BudgetExceededError, CallError
from penstock.policy.accounts import ChainTerms, UnknownUsage, check_request_limits
from penstock.policy.bound import OutputRange
from penstock.policy.budget import Amount, Line, Refused
from penstock.policy.holds import NOTHING
from penstock.policy.money import NANO_PER_USD, cost, dearest_prices, input_cost, nano_for, usd_in_words
from penstock.policy.routing import NOTHING_LEARNED, TOKENS_PER_BYTE, Learned
from penstock.policy.shape import Shape, shape_of
from penstock.types import (
    MOST_TOKENS,
    ChatRequest,
    Price,
    Target,
    Usage,
)

__all__ = [
    "BudgetRules",
    "HoldTerms",
    "Offer",
    "Pricing",
    "dearest_stages",
    "hold_terms",
    "most_read",
    "refusal_error",
    "uncapped_bound",
]

MOST_NANO_USD = 1_000_000 * NANO_PER_USD
"""A million USD for one attempt: more is a slip of whoever wrote it. Every ledger's store keeps exactly what this and
`MOST_TOKENS` leave, so that none refuses what another takes."""


@attrs.frozen
class BudgetRules:
    """What the configuration says of budgets beside the limits themselves."""

    on_unknown_price: str = "deny"
    price_cap: Price | None = None
    """What a model of unknown price is taken to cost, where `on_unknown_price` is "cap"."""
    on_unknown_bound: str = "deny"
    unknown_usage: UnknownUsage = "bound"
    """What is charged for an attempt whose usage nobody told, where no account says otherwise."""
    hold_wait: float = 5.0
    min_output_tokens: int = 1_024


class Offer(Struct, frozen=True, gc=False):
    """What an attempt at one stage costs at most: its line, and how its output is set."""

    line: Line
    outputs: OutputRange
    choices: int
    """Answers asked for at once: each may use the whole of `max_tokens`."""
    input_estimate: int
    proven_input: int | None
    """The codec's own bound of the input; None where there is none, and the line stands on the estimate."""
    uncapped_output: int
    """What `outputs.maximum` would be without an account's limit per request."""
    price: Price | None = None
    """What it is held and charged at: the target's, or the cap."""
    text_bytes: int = 0
    """Of a request that is text alone; 0 for others, which say nothing about how text turns into tokens."""

    @property
    def likely(self) -> Line:
        """The line by the estimate of the input, at its usual price."""
        return _likely(self.line, self.input_estimate, self.price)

    def output(self, granted: int) -> int:
        """The output that one attempt is allowed, where so much is granted to the whole call.

        What a request names itself it is sent with, whatever was granted before: a cut answer is given more room.
        """
        return granted if self.outputs.insert or granted > self.outputs.maximum else self.outputs.maximum

    def bound(self, output: int) -> Amount:
        """The most that one attempt costs with so much output allowed."""
        return self.line.amount_at(output)

    def estimate(self, output: int) -> Amount:
        """What one attempt most likely costs, where the answer takes all the output."""
        return self.likely.amount_at(output)

    def request(self, request: ChatRequest, output: int) -> ChatRequest:
        """The request as it is sent: with `max_tokens` where the budget had to set it."""
        if not self.outputs.insert:
            return request
        # The grant is for the whole cascade: a target that gives less than the most generous one is asked for less.
        given = min(output, self.outputs.maximum)
        return msgspec.structs.replace(request, max_tokens=max(1, given // self.choices))


class HoldTerms(Struct, frozen=True, gc=False):
    """What a call asks of its accounts before its first attempt: the dearest of `lines`, at an output in the range."""

    lines: tuple[Line, ...]
    likely: tuple[Line, ...]
    """Empty where nothing counts by estimates."""
    min_output: int
    max_output: int


def hold_terms(offers: Sequence[Offer], *, guesses: bool) -> HoldTerms:
    """The hold of a call that may try these: enough for any one of them. `guesses`: some window counts by estimates."""
    minimum = maximum = 0
    lines: list[Line] = []
    for offer in offers:
        least, most = offer.outputs.minimum, offer.outputs.maximum
        minimum = least if least > minimum else minimum
        maximum = most if most > maximum else maximum
        lines.append(offer.line)
    likely = tuple([offer.likely for offer in offers]) if guesses else ()
    return HoldTerms(tuple(lines), likely, minimum, maximum if maximum > minimum else minimum)


def dearest_stages(offers: Mapping[int, Offer]) -> frozenset[int]:
    """The stages of these that cost most, by money or else by tokens: to be left out where all do not fit.

    Empty where all cost the same: none would be left.
    """
    costs = {stage: offer.bound(offer.outputs.minimum) for stage, offer in offers.items()}
    money = any(cost.nano_usd for cost in costs.values())
    sizes = {stage: cost.nano_usd if money else cost.tokens for stage, cost in costs.items()}
    most = max(sizes.values())
    dearest = frozenset(stage for stage, size in sizes.items() if size == most)
    return frozenset() if len(dearest) == len(sizes) else dearest


class Pricing(Struct, eq=False, gc=False):
    """By what is known now: what an attempt costs at most, of one target after the other."""

    terms: ChainTerms
    learned: Mapping[str, Learned]
    rules: BudgetRules
    named: int | None
    """The `max_tokens` of the caller: a limit of tokens per request is for that, and no way to a smaller model, which
    is asked for less."""
    usual: ChatRequest | None = None
    """What nearly every target is asked, where its shape is known."""
    shape: Shape | None = None
    _asked: _Asked | None = None

    def output_key(self, shape: Shape | None) -> OutputKey:
        """What the output of requests of that shape is set by: under it a target remembers how."""
        return shape, self.terms.output_cap, self.rules.min_output_tokens

    def offer(self, request: ChatRequest | CallError, target: LiveTarget) -> Offer | CallError:
        """That of one target, or why it may not be tried. `request`: fitted to it; an error where it cannot be."""
        if isinstance(request, CallError):
            return request
        asked = self._asked
        if asked is None or asked.request is not request:
            # Nearly always one for all targets: most take what is asked as it is.
            asked = self._asked = _Asked.of(request, self.shape if request is self.usual else shape_of(request))
        try:
            return _offer(self, asked, target)
        except CallError as error:
            return error  # the codec cannot say, or broke: that target is passed over

    def speaks_for_others(self, offer: Offer | CallError, target: LiveTarget) -> bool:
        """Whether none is dearer, or refused, of the targets whose line is nowhere above that of this offer as long as
        no window cuts that off.

        Nothing is known of their estimates: they are no matter where the bound itself keeps all limits per request, and
        no window counts by them.
        """
        if not isinstance(offer, Offer) or offer.proven_input is None:
            return False
        line, window = offer.line, target.capabilities.context_window
        if window is not None and line.input_tokens >= window:
            return False
        least = offer.outputs.minimum
        return self.terms.within(line.input_tokens, max(self.named or 0, least), line.amount_at(least).nano_usd)


def uncapped_bound(request: ChatRequest, target: LiveTarget, learned: Learned | None) -> Amount | None:
    """The most that an attempt costs where no account has a say in it; None: nothing bounds it. Never raises.

    The codec reads the whole request for it: it is asked only where a provider did not tell what it billed.
    """
    reads, writes = most_read(request, target, learned), target.output_bound(request)
    if reads is None or writes is None:
        return None
    writes = min(writes, MOST_TOKENS)
    return Line.at_price(reads, target.price, writes).amount_at(writes)


def most_read(
    request: ChatRequest, target: LiveTarget, learned: Learned | None, *, by_bytes: bool = False
) -> int | None:
    """The most input tokens of an attempt: the codec's bound, and what real answers had beyond it. Never raises.

    None: nothing bounds them. `by_bytes`: though a plugin counts tokens of the target.
    """

    def bound(asked: ChatRequest, wire: Target) -> object:
        wire = msgspec.structs.replace(wire, count_tokens=None) if by_bytes and wire.count_tokens else wire
        return target.provider.codec.input_bound(asked, wire)

    try:
        reads = told_bound(bound, request, target)
    except CallError:
        return None
    return None if reads is None else min(_with_learned(reads, learned or NOTHING_LEARNED, target), MOST_TOKENS)


def _with_learned(bound: int, learned: Learned, target: LiveTarget) -> int:
    """The codec's bound and what real answers had beyond it: no more than the model's window, where it has one."""
    if not learned.extra_allowance:
        return bound
    window = target.capabilities.context_window
    # A header of the target's own may ask for a larger window than the model's usual one.
    if window is None or target.wire.headers:
        return bound + learned.extra_allowance
    return min(bound + learned.extra_allowance, max(bound, window))


class _Asked(Struct, frozen=True, gc=False):
    """A request, and what every target would find out of it anew."""

    request: ChatRequest
    size: int
    says_how_text_counts: int
    shape: Shape | None

    @classmethod
    def of(cls, request: ChatRequest, shape: Shape | None) -> _Asked:
        size = text_bytes(request)
        return cls(request, size, size if shape is not None or is_text(request) else 0, shape)


def _offer(pricing: Pricing, asked: _Asked, target: LiveTarget) -> Offer | CallError:
    terms, rules, named = pricing.terms, pricing.rules, pricing.named or 0
    learned = pricing.learned.get(target.name) or NOTHING_LEARNED
    estimate = round(asked.size * (learned.tokens_per_byte or TOKENS_PER_BYTE)) or 1
    bound = told_bound(target.provider.codec.input_bound, asked.request, target)
    if bound is None and rules.on_unknown_bound == "deny":
        return BudgetExceededError(
            f"{target.name}: the request holds something whose input, output or price has no bound, and an account on"
            ' its path has a limit; on_unknown_bound = "estimate" would let it through on a guess'
        )
    price = target.price or rules.price_cap
    if price is None and terms.money and rules.on_unknown_price != "allow":
        return BudgetExceededError(
            f"{target.name}: the price of {target.wire.model} is not known, and an account on its path has a limit in"
            ' money; give the target a price, or set on_unknown_price to "cap" or "allow"'
        )
    if bound is None:
        input_tokens = estimate + learned.extra_allowance
    else:
        input_tokens = _with_learned(bound, learned, target) if learned.extra_allowance else bound
        estimate = estimate if estimate < input_tokens else input_tokens
    output = output_terms(asked.request, pricing.output_key(asked.shape), target)
    outputs = output.outputs
    most = target.dearest
    if most is None and price is not None:
        most = dearest_prices(price, input_tokens)
    line = Line.at_dearest(input_tokens, most, outputs.maximum)
    nano_usd = line.input_nano_usd + nano_for(outputs.maximum, line.output_nano_per_million)
    if input_tokens > MOST_TOKENS or outputs.maximum > MOST_TOKENS or nano_usd > MOST_NANO_USD:
        return BudgetExceededError(
            f"{target.name}: one attempt could come to {input_tokens} tokens of input and {outputs.maximum} of output,"
            f" and {usd_in_words(nano_usd)} USD, which is more than is held for one:"
            f" {MOST_TOKENS} tokens of either, {usd_in_words(MOST_NANO_USD)} USD; ask for less, or for fewer answers"
        )
    least = None
    if terms.money and price is not None:
        least = cost(Usage(input_tokens=estimate, output_tokens=outputs.minimum), price)
    wanted = named if named > outputs.minimum else outputs.minimum
    if not terms.within(estimate, wanted, least):
        at_most = None if least is None else line.amount_at(outputs.minimum).nano_usd
        refused = check_request_limits(
            terms.chain, estimate, wanted, nano_usd=least, input_bound=input_tokens, nano_usd_bound=at_most
        )
        if refused:
            return refusal_error(refused)
    return Offer(
        line,
        outputs,
        output.choices,
        estimate,
        bound,
        output.uncapped,
        price,
        asked.says_how_text_counts,
    )


def _likely(line: Line, estimate: int, price: Price | None) -> Line:
    """The line by the estimate of the input, which is never above its bound. An answer may come to all its output."""
    if price is None:
        return Line(estimate, 0, 0, line.max_output)
    nano_usd = input_cost(estimate, price)
    nano_usd = nano_usd if nano_usd < line.input_nano_usd else line.input_nano_usd
    # Where the price depends on neither length nor time, what comes out costs what it costs at most.
    varies = price.long is not None or price.timed
    output = dearest_prices(price, estimate).output if varies else line.output_nano_per_million
    return Line(estimate, nano_usd, output, line.max_output)


def refusal_error(refused: Refused) -> BudgetExceededError:
    """The error for a refusal of the ledger."""
    missing, otherwise = refused.missing, refused.otherwise or NOTHING
    return BudgetExceededError(
        refused.says,
        account=refused.account,
        limit=refused.limit,
        missing_tokens=missing.tokens,
        missing_nano_usd=missing.nano_usd,
        refills_at=refused.refills_at,
        basis=refused.basis,
        missing_tokens_otherwise=otherwise.tokens,
        missing_nano_usd_otherwise=otherwise.nano_usd,
    )
