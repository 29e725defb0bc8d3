"""What `Kernel.quote` tells of the price of a call before it is made, as typed values. No prompt is in them.

Not here: finding it out (`_quote`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Literal

import attrs
from msgspec import Struct

from penstock.policy.money import usd, usd_in_words

__all__ = ["AttemptQuote", "CallQuote", "Quote", "Shortfall", "TargetQuote"]


class AttemptQuote(Struct, frozen=True, kw_only=True):
    """What one attempt comes to."""

    input_tokens: int
    output_tokens: int
    """All that the answer may be given, reasoning and all choices included: nobody knows how long it will be."""
    nano_usd: int | None
    """None: the price is not known."""

    @property
    def tokens(self) -> int:
        """Input and output."""
        return self.input_tokens + self.output_tokens

    @property
    def cost(self) -> Decimal | None:
        """In USD."""
        return None if self.nano_usd is None else usd(self.nano_usd)

    def __str__(self) -> str:
        return f"{self.input_tokens} + {self.output_tokens} tokens, {_money(self.nano_usd)}"


class CallQuote(Struct, frozen=True, kw_only=True):
    """What the dearest single attempt of a call comes to, each unit for itself."""

    tokens: int
    nano_usd: int | None
    """None: a price is not known."""

    @property
    def cost(self) -> Decimal | None:
        """In USD."""
        return None if self.nano_usd is None else usd(self.nano_usd)

    def __str__(self) -> str:
        return f"{self.tokens} tokens, {_money(self.nano_usd)}"


class TargetQuote(Struct, frozen=True, kw_only=True):
    """One target of the cascade."""

    target: str
    provider: str
    model: str
    bound: AttemptQuote | None
    """The most that one attempt can be billed, asked what the call asks at first; None: nothing bounds it, or it may
    not be tried."""
    estimate: AttemptQuote | None
    """The same by the tokens that the input most likely has, margin included; None: the output has no bound, or it may
    not be tried."""
    refused: str | None = None
    """Why this call may not try it, whatever is left in the accounts."""

    def __str__(self) -> str:
        if self.refused is not None:
            return f"{self.target}: never: {self.refused}"
        likely = "" if self.estimate is None else f"; most likely {self.estimate}"
        return f"{self.target}: at most {self.bound or 'no one knows how much'}{likely}"


class Shortfall(Struct, frozen=True, kw_only=True):
    """A limit that does not allow the call now."""

    account: str
    """The account whose limit it is, the call's own or one above; the root's is ""."""
    limit: str
    """In words: "20 USD per day (Europe/Berlin)"."""
    reason: Literal["spent", "held", "request"]
    """`held`: it fits once calls in flight are settled, and the call waits for that. `spent`: not even then. `request`:
    the call is too large for a limit per request."""
    missing_tokens: int
    missing_nano_usd: int
    refills_at: float | None
    """Unix time at which it fits if nothing else is spent; of a rolling window the latest. None: with the next settle
    (`held`), or never."""
    basis: Literal["bound", "estimate"] = "bound"
    """What was compared with the limit: the most that the call can come to, or what it most likely does."""
    missing_tokens_otherwise: int = 0
    missing_nano_usd_otherwise: int = 0
    """What would be missing by the other of the two; 0 both: it would fit by that."""

    @property
    def missing(self) -> Decimal:
        """The money that is missing, in USD."""
        return usd(self.missing_nano_usd)

    def __str__(self) -> str:
        whose = f"account {self.account!r}" if self.account else "the root account"
        other = "estimate" if self.basis == "bound" else "bound"
        missing = _amount(self.missing_tokens, self.missing_nano_usd)
        otherwise = _amount(self.missing_tokens_otherwise, self.missing_nano_usd_otherwise)
        says = f"{whose}: {self.limit}: {missing} missing by the {self.basis}, {otherwise} by the {other}"
        if self.reason == "held":
            return f"{says} until calls in flight are settled"
        if self.refills_at is None:
            return says
        return f"{says}; refills at {datetime.fromtimestamp(self.refills_at, UTC).isoformat(timespec='seconds')}"


@attrs.frozen(kw_only=True)
class Quote:
    """What an attempt of a call would be charged at most, and whether its accounts allow that now. Nothing is reserved.

    It is of one attempt, as the hold of a call is: what fails and was billed all the same, and the repairs of an answer
    that is to become a value, are held as the call comes to them. All of it together at most tells `Kernel.explain`.

    `await` the quote for one in which everything told before is booked, and for which the ledger's store was asked: it
    raises LedgerUnavailableError where that does not answer. Without waiting it goes by what this process knows: of a
    ledger in memory all there is, of others what was seen when it last looked.
    """

    route: str
    account: str
    targets: tuple[TargetQuote, ...]
    """In the order of the cascade."""
    bound: CallQuote | None
    """The dearest single attempt, asked what the call asks at first: what is held before that, where there is room.
    None: nothing bounds it."""
    estimate: CallQuote | None
    """The same by the estimates."""
    fits: bool | None
    """Whether the call would begin at once. None: the store was not asked yet."""
    hold: CallQuote | None
    """What would be held now: less than `bound` where only a shorter answer, or a cheaper target, fits. None: nothing
    would be, for it does not fit, or no account on the path has a limit."""
    output_tokens: int | None
    """How long an answer the budget allows now; None likewise."""
    shortfalls: tuple[Shortfall, ...]
    """The limits that do not allow it, the root's first. Where an account on the path has `degrade`: nor the cheapest
    target alone."""
    too_dear: tuple[str, ...] = ()
    """Targets that would be left out, so that it fits: an account on the path has `degrade`."""
    _later: Callable[[], Awaitable[Quote]] = attrs.field(eq=False, repr=False, alias="later")

    def __await__(self) -> Generator[Any, Any, Quote]:
        return self._later().__await__()

    @property
    def waits(self) -> bool:
        """True where the call would wait for others to settle, up to `hold_wait`, and fit then."""
        return bool(self.shortfalls) and all(short.reason == "held" for short in self.shortfalls)

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        for target in self.targets:
            yield str(target)
        if self.hold is not None:
            without = f", without {', '.join(self.too_dear)}" if self.too_dear else ""
            yield f"fits now: {self.hold} would be held, for an answer of up to {self.output_tokens} tokens{without}"
        elif self.fits:
            yield "fits: no account on its path has a limit"
        elif self.fits is None:
            yield "not known whether it fits: the ledger's store was not asked yet"
        else:
            yield "does not fit now" + (", and would wait:" if self.waits else ":" if self.shortfalls else "")
            for short in self.shortfalls:
                yield f"  {short}"


def _amount(tokens: int, nano_usd: int) -> str:
    short = [f"{usd_in_words(nano_usd)} USD"] if nano_usd else []
    return " and ".join([*short, *([f"{tokens} tokens"] if tokens else [])]) or "nothing"


def _money(nano_usd: int | None) -> str:
    return "price unknown" if nano_usd is None else f"{usd_in_words(nano_usd)} USD"
