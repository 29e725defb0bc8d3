"""What is asked of a budget and what it answers: amounts, lines, grants, refusals, events. Values without a state.

Not here: who has how much (budget).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Literal, TypeAlias

import attrs
from msgspec import Struct

from penstock.policy.money import TOKENS_PER_PRICE, Dearest, dearest_prices, nano_for, usd_in_words
from penstock.types import Price

__all__ = [
    "NOTHING",
    "Amount",
    "BudgetEvent",
    "Degraded",
    "Granted",
    "Line",
    "NotBooked",
    "Overrun",
    "Refused",
    "SoftLimitReached",
    "Waiting",
    "dearest",
    "most_output",
]


class Amount(Struct, frozen=True, gc=False):
    """Tokens and money. Differences may be negative."""

    tokens: int = 0
    nano_usd: int = 0

    def __add__(self, other: Amount) -> Amount:
        return Amount(self.tokens + other.tokens, self.nano_usd + other.nano_usd)

    def __sub__(self, other: Amount) -> Amount:
        return Amount(self.tokens - other.tokens, self.nano_usd - other.nano_usd)

    def fits(self, room: Amount) -> bool:
        """True where neither tokens nor money are more than `room` has."""
        return self.tokens <= room.tokens and self.nano_usd <= room.nano_usd

    def at_most(self, other: Amount) -> Amount:
        """The lesser of the two, each unit for itself."""
        return Amount(min(self.tokens, other.tokens), min(self.nano_usd, other.nano_usd))

    def at_least(self, other: Amount) -> Amount:
        """The greater of the two, each unit for itself."""
        return Amount(max(self.tokens, other.tokens), max(self.nano_usd, other.nano_usd))

    @property
    def negative(self) -> bool:
        """True where one of the units is below zero."""
        return self.tokens < 0 or self.nano_usd < 0


NOTHING = Amount()


class Line(Struct, frozen=True, gc=False):
    """What one attempt at one target costs at most, as a function of the output tokens it may give."""

    input_tokens: int
    input_nano_usd: int
    output_nano_per_million: int
    max_output: int
    """The target never gives more than this, whatever it is asked for."""

    def __post_init__(self) -> None:
        # Plain comparisons: each call makes two lines for each of its targets.
        if self.input_tokens < 0 or self.input_nano_usd < 0 or self.output_nano_per_million < 0 or self.max_output < 0:
            raise ValueError("no figure of a line is negative")

    @classmethod
    def at_price(cls, input_tokens: int, price: Price | None, max_output: int) -> Line:
        """The line of a target with that price, at its dearest; without a price it costs tokens only."""
        return cls.at_dearest(input_tokens, None if price is None else dearest_prices(price, input_tokens), max_output)

    @classmethod
    def at_dearest(cls, input_tokens: int, most: Dearest | None, max_output: int) -> Line:
        """The same where the most that its tokens cost is known."""
        if most is None:
            return cls(input_tokens, 0, 0, max_output)
        return cls(input_tokens, nano_for(input_tokens, most.input) + most.request, most.output, max_output)

    def amount_at(self, output: int) -> Amount:
        """The cost where so many output tokens are allowed."""
        given = output if output < self.max_output else self.max_output
        return Amount(self.input_tokens + given, self.input_nano_usd + nano_for(given, self.output_nano_per_million))

    def most_output(self, room_tokens: int | None, room_nano_usd: int | None, most: int) -> int:
        """The largest allowance of output up to `most` that costs no more than the room; -1 where none does."""
        if room_tokens is not None:
            left = room_tokens - self.input_tokens
            most = most if left >= self.max_output else min(most, left)
        if room_nano_usd is not None:
            left = room_nano_usd - self.input_nano_usd
            if left < 0:
                return -1
            rate = self.output_nano_per_million
            if rate:
                # Rounding up is no matter here: ceil(x) <= left exactly where x <= left.
                affordable = left * TOKENS_PER_PRICE // rate
                most = most if affordable >= self.max_output else min(most, affordable)
        return max(most, -1)


def dearest(lines: Sequence[Line], output: int) -> Amount:
    """The most that any one of the lines costs, each unit for itself."""
    # Plain numbers: this is asked for every call.
    tokens = nano_usd = 0
    for line in lines:
        given = output if output < line.max_output else line.max_output
        own_tokens = line.input_tokens + given
        own_nano_usd = line.input_nano_usd + nano_for(given, line.output_nano_per_million)
        tokens = own_tokens if own_tokens > tokens else tokens
        nano_usd = own_nano_usd if own_nano_usd > nano_usd else nano_usd
    return Amount(tokens, nano_usd)


def most_output(lines: Sequence[Line], room_tokens: int | None, room_nano_usd: int | None, most: int) -> int:
    """The largest allowance of output up to `most` at which every line fits the room; -1 where there is none."""
    return min(line.most_output(room_tokens, room_nano_usd, most) for line in lines)


class Granted(Struct, frozen=True, gc=False):
    """The amount is held until the hold is settled; the call may ask for up to `output_tokens` of output."""

    hold_id: str
    output_tokens: int
    amount: Amount
    """By the bound."""
    likely: Amount | None = None
    """What is held in windows by estimate; None where none of its windows is."""


class Waiting(Struct, frozen=True, gc=False):
    """The hold fits once others are settled: the answer comes by `take_grants`, at the latest when its wait is over."""

    hold_id: str


@attrs.frozen
class Refused:
    """Nothing is held. Says which limit, of this process and not the provider's, does not allow it."""

    hold_id: str
    account: str
    """The account whose limit it is: the caller's or one of its parents."""
    limit: str
    """The limit in words."""
    missing: Amount
    refills_at: float | None
    """When what is missing is there again, if nothing else is spent; None where that is not known, or never."""
    reason: Literal["exhausted", "held", "request", "settled"]
    """Spent; held or waited for by other calls; too large for a per-request limit; the hold was over before it came."""
    below_minimum: bool = False
    """True where an answer shorter than the smallest useful one would have fitted."""
    basis: Literal["bound", "estimate"] = "bound"
    """What was compared with the limit: the most the request can cost, or a guess."""
    otherwise: Amount | None = None
    """What would be missing by the other of the two; None: it would fit by that."""
    own: bool = False
    """True where the call that asks has a hold already, and asks for more."""

    def beside(self, bound: Amount, estimate: Amount) -> Refused:
        """The same with what would be missing by the estimate of what was refused by its bound.

        Whoever asks where nothing counts by estimates need not work one out before it is refused.
        """
        less = bound - estimate
        tokens = max(self.missing.tokens - less.tokens, 0) if self.missing.tokens else 0
        nano_usd = max(self.missing.nano_usd - less.nano_usd, 0) if self.missing.nano_usd else 0
        return attrs.evolve(self, otherwise=Amount(tokens, nano_usd) if tokens or nano_usd else None)

    @property
    def says(self) -> str:
        """The refusal as a sentence for people."""
        if self.reason == "settled":
            return f"hold {self.hold_id}: already settled"
        whose = f"account {self.account!r}" if self.account else "the root account"
        sentence = f"{whose}: this process's own limit of {self.limit} {self._shortfall}"
        if self.refills_at is not None:
            when = datetime.fromtimestamp(self.refills_at, UTC)
            sentence += f"; it refills at {when.isoformat(timespec='seconds')}"
        return sentence

    @property
    def _shortfall(self) -> str:
        short = _in_words(self.missing)
        if not short:
            return "is wanted by calls that came before"
        by = " and ".join(short)
        smallest = ", even for the shortest useful answer" if self.below_minimum and self.reason != "held" else ""
        measure = f"by the {self.basis} of the request{smallest}; {self._by_the_other}"
        if self.reason == "held":
            whom = "calls in flight, this one among them" if self.own else "calls in flight"
            return f"is held by {whom}; {by} are missing ({measure})"
        return f"is short by {by} ({measure})"

    @property
    def _by_the_other(self) -> str:
        other = "estimate" if self.basis == "bound" else "bound"
        if self.otherwise is None:
            return f"by the {other} it would fit"
        by = " and ".join(_in_words(self.otherwise))
        return f"by the {other}, too" if self.otherwise == self.missing else f"by the {other}, {by}"


def _in_words(missing: Amount) -> list[str]:
    money = [f"{usd_in_words(missing.nano_usd)} USD"] if missing.nano_usd > 0 else []
    return money + ([f"{missing.tokens} tokens"] if missing.tokens > 0 else [])


@attrs.frozen
class SoftLimitReached:
    """So much of a window's limit is spent as the account wants to be told of.

    Told once for each window, unit and share: by each process that charges something there, of what all have spent.
    """

    account: str
    limit: str
    spent: Amount
    share: float
    ends_at: float


@attrs.frozen
class Overrun:
    """More was charged than the hold: the provider did not keep to the documented bound. It is booked in full."""

    account: str
    hold_id: str
    held: Amount
    charged: Amount


@attrs.frozen
class NotBooked:
    """A charge that the ledger's store answers to and cannot keep: it is dropped, so that it holds up no other."""

    account: str
    hold_id: str
    charged: Amount


@attrs.frozen
class Degraded:
    """So much of a window's limit is spent that calls of the account go another way, until less of it is."""

    account: str
    limit: str
    spent: Amount
    share: float
    route: str
    ends_at: float
    """At the latest (Unix time)."""


BudgetEvent: TypeAlias = SoftLimitReached | Overrun | NotBooked | Degraded
