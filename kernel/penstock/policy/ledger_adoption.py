"""What a window has missed of what others of its account and period have counted: what it takes over from them.

Those that count the same calls side by side have missed nothing of each other, whatever is spent in them: the one of
yesterday says nothing of today. So a window takes over from another only where that was counted in without it.

Not here: how that is booked (`ledger_book`).
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence

from penstock.policy.account_window import window_of
from penstock.policy.holds import NOTHING, Amount
from penstock.policy.ledger_counting import EARLIEST
from penstock.policy.ledger_pages import Bucket, HoldPage, Part, WindowPage
from penstock.policy.ledger_steps import WindowUse
from penstock.policy.window import rolling_period, window_at

__all__ = ["begin_of", "gone_on_without", "missed", "parts_to_adopt", "still_standing"]


def begin_of(use: WindowUse, now: float) -> float:
    """When the span of a window begins, with what is spent since; a name that no configuration gives has none."""
    try:
        _, (per, zone, _) = window_of(use.key)
        return now - rolling_period(per.value) if use.rolling else window_at(per, use.end - 1.0, zone).start
    except (ValueError, LookupError, OverflowError):
        return EARLIEST


def gone_on_without(page: WindowPage, others: Iterable[WindowPage], begin: float) -> list[WindowPage]:
    """Those in which something was counted since `begin` that the window has missed.

    Where nothing is in it, it has missed all since then.
    """
    known = page.knows_until if page.buckets else 0
    return [
        other
        for other in others
        if other.buckets and other.counted[1] >= begin and (other.counted[0] > known or not page.buckets)
    ]


def missed(page: WindowPage, others: Sequence[WindowPage], holds: Sequence[HoldPage], begin: float) -> Amount:
    """How much less is spent in the window than in the fullest of the others, since `begin`.

    Leaves out what is charged of lapsed holds: each counts for itself, once. And what is older than a correction by
    hand, which has it in it.
    """
    if not others:
        return NOTHING
    most = NOTHING
    for other in others:
        spent = _without(other.key, _since(other, begin), holds)
        at = other.counted[1]
        corrected = Amount(
            spent.tokens if at > page.corrected_tokens_at else 0,
            spent.nano_usd if at > page.corrected_nano_usd_at else 0,
        )
        most = most.at_least(corrected)
    return (most - _without(page.key, page.buckets, holds)).at_least(NOTHING)


def parts_to_adopt(use: WindowUse, holds: Iterable[HoldPage], begin: float) -> Iterator[tuple[HoldPage, Part]]:
    """What of holds does not count in the window and should.

    By its estimate only where a hold has one: what was reserved for windows by the bound alone has none. A window
    counts a hold in one way: as it did before. What was reserved in that very window before stays where it was, and
    one that lapsed before its span was charged before.
    """
    for hold in holds:
        if hold.lapsed and (hold.lease_ends if hold.top_ups else hold.reserved_at) < begin:
            continue
        likely = use.by_estimate and hold.likely is not None
        likely = hold.counts_by_estimate().get(use.key, likely)
        for part in hold.parts:
            if part.likely is likely and not any(bucket.window.key == use.key for bucket in part.buckets):
                yield hold, part


def still_standing(hold: HoldPage, amount: Amount, others: Container[str]) -> Amount:
    """What a lapsed hold is still charged of that amount in any of the other windows: what was put right by hand in all
    that have it is not charged again. Where none of them has it any more, nobody put it right.
    """
    charged = [
        bucket.window.still_charged(amount, hold.lease_ends)
        for part in hold.parts
        for bucket in part.buckets
        if bucket.live and bucket.window.key in others
    ]
    most = NOTHING if charged else amount
    for standing in charged:
        most = most.at_least(standing)
    return most


def _since(page: WindowPage, begin: float) -> Sequence[Bucket]:
    """What counts in spans that end behind `begin`: of a calendar window that was counted in since then, all."""
    try:
        _, (per, _, rolling) = window_of(page.key)
    except ValueError:
        return page.buckets
    if not rolling:
        return page.buckets
    period = rolling_period(per.value)
    return [bucket for bucket in page.buckets if bucket.end - period > begin]


def _without(key: str, buckets: Iterable[Bucket], holds: Iterable[HoldPage]) -> Amount:
    """What is spent in these buckets of a window, but for what lapsed holds are charged there."""
    counted = set(buckets)
    spent = sum([bucket.spent for bucket in counted], NOTHING)
    for bucket, amount in _lapsed(key, holds):
        if bucket in counted:
            spent -= amount
    return spent.at_least(NOTHING)


def _lapsed(key: str, holds: Iterable[HoldPage]) -> Iterator[tuple[Bucket, Amount]]:
    for hold in holds:
        if hold.lapsed:
            for part in hold.parts:
                for bucket in part.buckets:
                    if bucket.window.key == key:
                        yield bucket, bucket.window.still_charged(part.amount, hold.lease_ends)
