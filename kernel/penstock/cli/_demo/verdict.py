"""The end of the demo: is every call accounted for, and do the two ledgers agree? Pure; the tables are `report`'s.

Not here: penstock's own arithmetic of money. What the upstream served is priced anew, from its own counts.
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from penstock.cli._demo.run import Books
from penstock.cli._demo.scenario import PRICES, TARGETS, TargetName
from penstock.cli._demo.tally import Sort

__all__ = ["LedgerLine", "Verdict", "judge"]

NANO_PER_USD_PER_TOKEN = 1_000
"""A price of 1 USD per million tokens is 1,000 nano-USD a token."""
ORDER: tuple[Sort, ...] = ("answered", "cached", "shared", "refused", "failed")
WORDS: Mapping[Sort, str] = {
    "answered": "answered by {}",
    "cached": "answered from the cache",
    "shared": "answered by an equal call in flight",
    "refused": "refused here, {}",
    "failed": "failed: {}",
}
PLACES: Mapping[str, str] = {"sonnet": "sonnet, the 1st choice", "gpt": "gpt, the 2nd", "haiku": "haiku, the 3rd"}


@attrs.frozen(kw_only=True)
class LedgerLine:
    """A target in both ledgers. Money in nano-USD."""

    name: str
    attempts: int
    unbilled: int
    booked_tokens: int
    served_tokens: int
    booked_nano: int
    served_nano: int

    @property
    def covered(self) -> bool:
        """True where the upstream counted no more than was booked."""
        return self.booked_tokens >= self.served_tokens and self.booked_nano >= self.served_nano


@attrs.frozen(kw_only=True)
class Verdict:
    """What the demo claims, worked out from the books."""

    endings: tuple[tuple[str, int], ...]
    """In words, with their numbers."""
    total: int
    lines: tuple[LedgerLine, ...]
    whole: LedgerLine
    complaints: tuple[str, ...]
    """What a claim fails on. Empty: all is as it should be."""


def judge(books: Books) -> Verdict:
    """Adds up, and complains where the sums do not fit."""
    endings = _endings(books)
    lines = tuple(_line(books, name) for name in TARGETS)
    whole = _sum(lines)
    complaints = [
        (sum(count for _, count in endings) != books.tally.total, "not every call is accounted for"),
        (books.tally.not_whole > 0, f"{books.tally.not_whole} answers are not what they had to be"),
        (not whole.covered, "the upstream counted more than was booked"),
        (whole.booked_tokens != books.ledger.tokens, "the budget's tokens are not the sum of the attempts"),
        (whole.booked_nano != books.ledger.nano_usd, "the budget's money is not the sum of the attempts"),
        *((spent > limit, f"{path} spent more than its limit") for path, (spent, limit) in books.accounts.items()),
        (books.events_missed > 0, f"{books.events_missed} events were lost"),
    ]
    return Verdict(
        endings=endings,
        total=books.tally.total,
        lines=lines,
        whole=whole,
        complaints=tuple(says for fails, says in complaints if fails),
    )


def _endings(books: Books) -> tuple[tuple[str, int], ...]:
    counts: dict[str, int] = {}
    ranked = sorted(books.tally.endings.items(), key=lambda item: (ORDER.index(item[0].sort), _rank(item[0].of)))
    for ending, count in ranked:
        words = WORDS[ending.sort].format(PLACES.get(ending.of, ending.of))
        counts[words] = counts.get(words, 0) + count
    return tuple(counts.items())


def _rank(of: str) -> tuple[int, str]:
    return (TARGETS.index(of), "") if of in TARGETS else (len(TARGETS), of)


def _line(books: Books, name: TargetName) -> LedgerLine:
    charges, served = books.tally.charges[name], books.served[name]
    price_in, price_out = PRICES[name]
    return LedgerLine(
        name=name,
        attempts=charges.attempts,
        unbilled=charges.unbilled,
        booked_tokens=charges.tokens,
        served_tokens=served.input_tokens + served.output_tokens,
        booked_nano=charges.nano_usd,
        served_nano=(served.input_tokens * price_in + served.output_tokens * price_out) * NANO_PER_USD_PER_TOKEN,
    )


def _sum(lines: tuple[LedgerLine, ...]) -> LedgerLine:
    return LedgerLine(
        name="all",
        attempts=sum(line.attempts for line in lines),
        unbilled=sum(line.unbilled for line in lines),
        booked_tokens=sum(line.booked_tokens for line in lines),
        served_tokens=sum(line.served_tokens for line in lines),
        booked_nano=sum(line.booked_nano for line in lines),
        served_nano=sum(line.served_nano for line in lines),
    )
