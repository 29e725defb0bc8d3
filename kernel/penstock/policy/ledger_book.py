"""The book of a ledger: carries out steps, one after the other, on pages.

Not here: where pages are kept (memory, or rows on a disk), who waits for room (`policy.budget`), and time: `now` is
given, and one that goes back never reopens a window.

The law: `free = limit - held - spent` after every step, for every window and unit; only a charge above its hold (an
overrun) makes `free` negative, and then nothing new is held there. A step that raises has changed nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from penstock.policy.holds import NOTHING, Amount, dearest, most_output
from penstock.policy.ledger_pages import Bucket, HoldPage, Pages, Part, WindowPage
from penstock.policy.ledger_room import Room, free_nano_usd, free_tokens, lacks
from penstock.policy.ledger_steps import (
    Adopt,
    Answer,
    Change,
    Changed,
    Charged,
    Held,
    HistoryRow,
    Known,
    Lacking,
    Landed,
    Release,
    Renew,
    Reserve,
    Settle,
    Spent,
    Stale,
    Step,
    TopUp,
    Turn,
    WindowUse,
)
from penstock.policy.money import usd_in_words

__all__ = ["EARLIEST", "JOURNAL_STEP", "LATEST", "LedgerBook", "check_amount", "check_time"]

# The years that a calendar has: an absurd `now` must not be remembered as the latest.
EARLIEST = -6.2e10
LATEST = 2.5e11
JOURNAL_STEP = 900.0
"""Seconds: days of every time zone begin at a quarter of an hour."""
KNOWN = Known()
STALE = Stale()


class LedgerBook:
    """Carries out batches of steps. One owner calls it; nothing here waits."""

    def __init__(self, pages: Pages, *, now: float = EARLIEST, tombstone: float = 60.0) -> None:
        self.pages = pages
        self.now = now
        """The latest time ever given."""
        self.tombstone = tombstone
        """Seconds for which settled ids are remembered: the longest lease of all reserves, where that is longer. Pages
        that outlive the book keep it with them."""

    def run(self, steps: Iterable[Step], now: float) -> Landed:
        """One batch. Raises ValueError where a step makes no sense; those before it were carried out then."""
        self.advance(now)
        barred: set[str] = set()
        return Landed(self.now, tuple([self._carry_out(step, barred) for step in steps]))

    def advance(self, now: float) -> None:
        """Time goes on: leases end, tombstones go."""
        check_time(now)
        self.now = max(self.now, now)
        self.pages.forget_buried(self.now)
        for hold in self.pages.due(self.now):
            if not hold.lapsed:
                self._lapse(hold)
            if hold.counts_until <= self.now:
                self.pages.drop_hold(hold)

    def charge_all(self, holds: Iterable[HoldPage]) -> None:
        """Charges these holds in full, as if their leases had ended."""
        for hold in holds:
            if not hold.lapsed:
                self._lapse(hold)

    def _carry_out(self, step: Step, barred: set[str]) -> Answer:
        match step:
            case Reserve():
                return self._reserve(step, barred)
            case Settle():
                return self._settle(step)
            case TopUp():
                return self._top_up(step)
            case Renew():
                return self._renew(step)
            case Adopt():
                return self._adopt(step)
            case Release():
                return self._release(step)
            case Change():
                return self._change(step)

    def _reserve(self, step: Reserve, barred: set[str]) -> Held | Lacking | Known | Stale:
        hold = self.pages.hold(step.hold_id)
        if hold is not None:
            return Held(hold.output_tokens, hold.amount)
        if self.pages.is_settled(step.hold_id):
            return KNOWN
        if not 0 <= step.min_output <= step.max_output:
            raise ValueError(f"outputs from {step.min_output} to {step.max_output} are no range")
        if self._over(step.windows):
            return STALE
        uses = self._uses(step.windows)
        least = dearest(step.lines, step.min_output)
        lacking = lacks(uses, least)
        behind = tuple([use.use.key for use in uses if use.use.key in barred]) if barred else ()
        if lacking or behind:
            hopeless = Lacking(lacking).hopeless
            if step.waits and not hopeless:
                barred.update(lack.key for lack in lacking)
            shortest = dearest(step.lines, min(step.min_output, 1))
            return Lacking(lacking, behind, not any(use.missing(shortest, but_holds=hopeless) for use in uses))
        output, amount = step.max_output, least
        if step.min_output < step.max_output:
            output = most_output(step.lines, free_tokens(uses), free_nano_usd(uses), step.max_output)
            amount = dearest(step.lines, output)
        part = Part(amount, self._count(uses, amount))
        page = HoldPage(step.hold_id, step.account, output, [part], self.now, self.now + step.lease)
        self._remember(step.lease)
        self.pages.add_hold(page)
        return Held(output, amount)

    def _top_up(self, step: TopUp) -> Held | Lacking | Known | Stale:
        check_amount(step.more)
        hold = self.pages.hold(step.hold_id)
        if hold is None:
            return KNOWN
        if step.number <= hold.top_ups:
            return Held(hold.output_tokens, hold.amount)
        if self._over(step.windows):
            return STALE
        uses = self._uses(step.windows)
        lacking = lacks(uses, step.more)
        if lacking:
            return Lacking(lacking)
        if hold.lapsed:
            self._revive(hold)
        hold.top_ups = step.number
        buckets = self._count(uses, step.more)
        last = hold.parts[-1]
        if last.buckets == buckets:
            last.amount += step.more
        else:
            hold.parts.append(Part(step.more, buckets))
        self.pages.touched_hold(hold)
        return Held(hold.output_tokens, hold.amount)

    def _settle(self, step: Settle) -> Charged | Known | Stale:
        check_amount(step.charged)
        if self.pages.is_settled(step.hold_id):
            return KNOWN
        hold = self.pages.hold(step.hold_id)
        if hold is None and self._over(step.windows):
            return STALE
        self.pages.bury(step.hold_id, self.now + self.tombstone)
        if step.spent:
            self.pages.journal(_quarter(self.now), hold.account if hold else step.account, step.spent)
        if hold is not None:
            self.pages.drop_hold(hold)
            if hold.lapsed:
                self._revive(hold)
        elif step.windows:
            buckets = self._count(self._uses(step.windows), NOTHING)
            hold = HoldPage(step.hold_id, step.account, 0, [Part(NOTHING, buckets)], self.now, self.now)
        else:
            return KNOWN
        before = self._live(hold) if step.turns else {}
        self._charge(hold, step.charged, estimated=step.estimated)
        turns = [Turn(window.key, spent, window.spent, window.buckets[-1].end) for window, spent in before.items()]
        return Charged(hold.amount, tuple(turns))

    def _renew(self, step: Renew) -> Known:
        self._remember(step.lease)
        for hold_id in step.hold_ids:
            hold = self.pages.hold(hold_id)
            if hold is not None:
                hold.lease_ends = self.now + step.lease
                if hold.lapsed:
                    self._revive(hold)
                self.pages.touched_hold(hold)
        return KNOWN

    def _adopt(self, step: Adopt) -> Known | Stale:
        if self.pages.knows_window(step.window.key):
            return KNOWN
        if self._over((step.window,)):
            return STALE
        spent = NOTHING
        for key in self.pages.siblings(step.window.key):
            other = self.pages.window(key)
            other.advance(self.now)
            spent = spent.at_least(other.spent)
        bucket = self._count(self._uses((step.window,)), NOTHING)[0]
        bucket.settle(NOTHING, spent, estimated=False)
        for hold in self.pages.holds_below(step.account):
            for part in hold.parts:
                if any(counted.window.key == bucket.window.key for counted in part.buckets):
                    continue  # reserved in that very window, before: it stays where it was
                part.buckets += (bucket,)
                bucket.hold(part.amount)
                if hold.lapsed:
                    bucket.settle(part.amount, part.amount, estimated=True)
            self.pages.touched_hold(hold)
        self.pages.touched((bucket,))
        return KNOWN

    def _release(self, step: Release) -> Changed | Known:
        hold = self.pages.hold(step.hold_id)
        if hold is None:
            return KNOWN
        amount = _in_words(hold.amount)
        if not hold.lapsed:
            hold.lease_ends = min(hold.lease_ends, self.now)
            self._lapse(hold)
        held, charged = f"{amount} held", f"{amount} charged"
        self.pages.note(
            HistoryRow(
                at=self.now,
                action="release",
                account=hold.account,
                window=hold.id,
                before=held,
                after=charged,
                reason=step.reason,
            )
        )
        return Changed(held, charged)

    def _change(self, step: Change) -> Changed | Stale:
        if self._over((step.window,)):
            return STALE
        (use,) = self._uses((step.window,))
        page, before = use.page, _state(use)
        wanted = page.spent
        if step.reset:
            page.limit_tokens = page.limit_nano_usd = None
            wanted = NOTHING
        if step.limit_tokens is not None:
            page.limit_tokens = step.limit_tokens
        if step.limit_nano_usd is not None:
            page.limit_nano_usd = step.limit_nano_usd
        wanted = Amount(
            wanted.tokens if step.spent_tokens is None else step.spent_tokens,
            wanted.nano_usd if step.spent_nano_usd is None else step.spent_nano_usd,
        )
        check_amount(wanted)
        self._spend(page, use.use, wanted)
        self.pages.touched_window(page)
        after = _state(self._uses((step.window,))[0])
        self.pages.note(
            HistoryRow(
                at=self.now,
                action="reset" if step.reset else "set",
                account=step.account,
                window=step.window.key,
                before=before,
                after=after,
                reason=step.reason,
            )
        )
        return Changed(before, after)

    def _spend(self, page: WindowPage, use: WindowUse, wanted: Amount) -> None:
        """Corrects what is spent: the newest buckets first, so that no bucket goes below nothing."""
        if wanted == page.spent:
            return
        last = page.bucket(use.end, rolling=use.rolling)
        change = wanted - page.spent
        last.settle(NOTHING, change.at_least(NOTHING), estimated=False)
        less = NOTHING - change.at_most(NOTHING)
        for bucket in reversed(page.buckets):
            share = bucket.spent.at_most(less)
            bucket.settle(NOTHING, NOTHING - share, estimated=False)
            guessed = bucket.estimated.at_most(bucket.spent)
            page.estimated += guessed - bucket.estimated
            bucket.estimated = guessed
            less -= share
        self.pages.touched(page.buckets)

    # What several steps do

    def _uses(self, windows: Sequence[WindowUse]) -> list[Room]:
        uses: list[Room] = []
        for use in windows:
            page = self.pages.window(use.key)
            if page.buckets and page.buckets[0].end <= self.now:
                page.advance(self.now)
            tokens = use.limit_tokens if page.limit_tokens is None else page.limit_tokens
            nano_usd = use.limit_nano_usd if page.limit_nano_usd is None else page.limit_nano_usd
            uses.append(Room(page, use, tokens, nano_usd))
        return uses

    def _count(self, uses: Sequence[Room], amount: Amount) -> tuple[Bucket, ...]:
        buckets = tuple([use.page.bucket(use.use.end, rolling=use.use.rolling) for use in uses])
        for bucket in buckets:
            bucket.hold(amount)
        self.pages.touched(buckets)
        return buckets

    def _lapse(self, hold: HoldPage) -> None:
        """Charges a hold in full: nobody knows what became of its call."""
        hold.lapsed = True
        for part in hold.parts:
            for bucket in part.buckets:
                bucket.settle(part.amount, part.amount, estimated=True)
            self.pages.touched(part.buckets)
        self.pages.touched_hold(hold)
        self._write_down(hold, calls=1)

    def _revive(self, hold: HoldPage) -> None:
        self._write_down(hold, calls=-1)
        hold.lapsed = False
        for part in hold.parts:
            for bucket in part.buckets:
                bucket.unsettle(part.amount)
            self.pages.touched(part.buckets)

    def _write_down(self, hold: HoldPage, *, calls: int) -> None:
        """For reports: the charge of a lapsed hold, at no target that anybody knows; -1: taken back, for the truth."""
        amount = hold.amount
        output = min(hold.output_tokens, amount.tokens)
        spent = Spent(
            target="",
            attempts=0,
            input_tokens=calls * (amount.tokens - output),
            output_tokens=calls * output,
            nano_usd=calls * amount.nano_usd,
            estimated=True,
        )
        self.pages.journal(_quarter(hold.reserved_at), hold.account, (spent,), calls=calls)

    def _charge(self, hold: HoldPage, charged: Amount, *, estimated: bool) -> None:
        """Each part takes what it held, in the window that it was held in; the last one all the rest."""
        rest = charged
        last = hold.parts[-1]
        for part in hold.parts:
            share = rest if part is last else rest.at_most(part.amount)
            rest -= share
            for bucket in part.buckets:
                bucket.settle(part.amount, share, estimated=estimated)
            self.pages.touched(part.buckets)

    def _live(self, hold: HoldPage) -> dict[WindowPage, Amount]:
        """The windows of a hold that are not over, with what is spent in them."""
        live: dict[WindowPage, Amount] = {}
        for part in hold.parts:
            for bucket in part.buckets:
                window = bucket.window
                if window not in live:
                    window.advance(self.now)
                    if window.buckets:
                        live[window] = window.spent
        return live

    def _over(self, windows: Iterable[WindowUse]) -> bool:
        """True where a window that the step names is over by the book's clock."""
        return any(use.end <= self.now for use in windows)

    def _remember(self, lease: float) -> None:
        if self.tombstone < lease < math.inf:
            self.tombstone = lease


def _quarter(time: float) -> float:
    return time // JOURNAL_STEP * JOURNAL_STEP


def _state(use: Room) -> str:
    limits = [
        *([] if use.nano_usd is None else [f"{usd_in_words(use.nano_usd)} USD"]),
        *([] if use.tokens is None else [f"{use.tokens} tokens"]),
    ]
    return f"{_in_words(use.page.spent)} spent of {' and '.join(limits) or 'no limit'}"


def _in_words(amount: Amount) -> str:
    return f"{usd_in_words(amount.nano_usd)} USD and {amount.tokens} tokens"


def check_time(now: float) -> None:
    """Raises ValueError where it is none: an absurd one must not be remembered as the latest."""
    if not EARLIEST < now < LATEST:
        raise ValueError(f"{now!r} is no Unix time")


def check_amount(amount: Amount) -> None:
    """Raises ValueError where a figure of it is below nothing."""
    if amount.negative:
        raise ValueError(f"{amount} is negative")
