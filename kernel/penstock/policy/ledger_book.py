"""The book of a ledger: carries out steps, one after the other, on pages.

Not here: how they are counted there (`ledger_counting`), where pages are kept (memory, or rows on a disk), who waits
for room (`policy.budget`), and time: `now` is given, and one that goes back never reopens a window.

The law: `free = limit - held - spent` after every step, for every window and unit; only a charge above its hold (an
overrun) makes `free` negative, and then nothing new is held there. A step that raises has changed nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial

from penstock.policy.holds import NOTHING, Amount, Line, dearest, most_output
from penstock.policy.ledger_adoption import begin_of, gone_on_without, missed, parts_to_adopt, still_standing
from penstock.policy.ledger_counting import CHARGED_KNOWN, EARLIEST, LATEST, NEVER, LedgerCounting, quarter
from penstock.policy.ledger_pages import HoldPage, Part, WindowPage
from penstock.policy.ledger_room import Room, fits, free_in, free_nano_usd, free_tokens, lacks
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
    Stale,
    Step,
    TopUp,
    Turn,
    WindowUse,
)
from penstock.policy.money import usd_in_words

__all__ = ["LedgerBook", "check_amount", "check_time"]

KNOWN = Known()
STALE = Stale()


class LedgerBook(LedgerCounting):
    """Carries out batches of steps. One owner calls it; nothing here waits."""

    def run(self, steps: Iterable[Step], now: float) -> Landed:
        """One batch. Raises ValueError where a step makes no sense; those before it were carried out then."""
        self.advance(now)
        self.batch += 1
        barred: set[str] = set()
        answers: list[Answer] = []
        for step in steps:  # nearly all are one of the first two
            if isinstance(step, Reserve):
                answers.append(self._reserve(step, barred))
            elif isinstance(step, Settle):
                answers.append(self._settle(step))
            else:
                answers.append(self._carry_out(step))
        return Landed(self.now, tuple(answers))

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

    def _carry_out(self, step: TopUp | Renew | Adopt | Release | Change) -> Answer:
        match step:
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
        pages = self.pages
        hold = pages.hold(step.hold_id)
        if hold is not None:
            return _held(hold)
        if pages.is_settled(step.hold_id):
            return KNOWN
        if not 0 <= step.min_output <= step.max_output:
            raise ValueError(f"outputs from {step.min_output} to {step.max_output} are no range")
        if self._over(step.windows):  # before the pages are asked for, which makes those that are not there
            return STALE
        free = free_in(step.windows, pages.window, self.now)
        most = dearest(step.lines, step.max_output)
        if barred or free.by_estimate or not free.takes(most):
            found = self._fitted(step, barred)
            if isinstance(found, Lacking):
                return found
            output, parts = found
            held = None
        else:  # as of nearly every reserve
            output, held = step.max_output, Held(step.max_output, most)
            buckets = free.buckets
            if buckets is None:
                buckets = tuple([pages.window(use.key).bucket(use.end, rolling=use.rolling) for use in step.windows])
            self._note_count(buckets)
            parts = [Part(most, self._hold_in(buckets, most))]
        page = HoldPage(step.hold_id, step.account, output, parts, self.now, self.now + step.lease)
        if self.tombstone < step.lease < NEVER:
            self.tombstone = step.lease
        pages.add_hold(page)
        return held or _held(page)

    def _fitted(self, step: Reserve, barred: set[str]) -> Lacking | tuple[int, list[Part]]:
        """The largest output that there is room for, and what is counted for it; or what is in the way of the least."""
        uses = self._uses(step.windows)
        least, guesses = dearest(step.lines, step.min_output), step.likely or step.lines
        lacking = lacks(uses, least, partial(dearest, guesses, step.min_output))
        behind = tuple([use.use.key for use in uses if use.use.key in barred]) if barred else ()
        if lacking or behind:
            hopeless = Lacking(lacking).hopeless
            if step.waits and not hopeless:
                barred.update(lack.key for lack in lacking)
            shortest = min(step.min_output, 1)
            need, guess = dearest(step.lines, shortest), partial(dearest, guesses, shortest)
            return Lacking(lacking, behind, fits(uses, need, guess, but_holds=hopeless))
        guessing = [use for use in uses if use.by_estimate]
        output, amount = step.max_output, least
        if step.min_output < step.max_output:
            output = _most_output(uses, guessing, step, guesses)
            amount = dearest(step.lines, output)
        parts = [Part(amount, self._count(uses, amount, by_estimate=False))]
        if guessing:
            likely = dearest(guesses, output)
            parts.append(Part(likely, self._count(uses, likely, by_estimate=True), likely=True))
        self._note_count([bucket for part in parts for bucket in part.buckets])
        return output, parts

    def _top_up(self, step: TopUp) -> Held | Lacking | Known | Stale:
        likely = step.more if step.likely is None else step.likely
        check_amount(step.more.at_most(likely))
        hold = self.pages.hold(step.hold_id)
        if hold is None:
            return KNOWN
        if step.number <= hold.top_ups:
            return _held(hold)
        if self._over(step.windows):
            return STALE
        uses = self._uses_of(hold, step.windows)
        lacking = lacks(uses, step.more, lambda: likely)
        if lacking:
            return Lacking(lacking)
        if hold.lapsed:
            self._revive(hold)
            hold.lease_ends = self.now  # then it lapses again, after all that was put right by hand until now
        hold.top_ups = step.number
        added = [Part(step.more, self._count(uses, step.more, by_estimate=False))]
        if any(use.by_estimate for use in uses):
            added.append(Part(likely, self._count(uses, likely, by_estimate=True), likely=True))
        self._note_count([bucket for part in added for bucket in part.buckets])
        for part in added:
            self._add(hold, part)
        if hold.released:
            self._lapse(hold)  # with what it asked for now
        self.pages.touched_hold(hold)
        return _held(hold)

    @staticmethod
    def _add(hold: HoldPage, part: Part) -> None:
        last = next((known for known in reversed(hold.parts) if known.likely is part.likely), None)
        if last is not None and last.buckets == part.buckets:
            last.amount += part.amount
        else:
            hold.parts.append(part)

    def _settle(self, step: Settle) -> Charged | Known | Stale:
        charged = step.charged
        if charged.tokens < 0 or charged.nano_usd < 0:
            check_amount(charged)
        if self.pages.is_settled(step.hold_id):
            return KNOWN
        hold = self.pages.hold(step.hold_id)
        if hold is None and self._over(step.windows):
            return STALE
        until = self.now + self.tombstone
        if step.windows:  # also where it has a hold: sent again once that is gone, it is charged without one
            until = max(until, self.now + CHARGED_KNOWN)
        self.pages.bury(step.hold_id, until)
        if step.spent:
            self.pages.journal(quarter(self.now), hold.account if hold else step.account, step.spent)
        if hold is not None:
            self.pages.drop_hold(hold)
            if hold.lapsed:
                self._revive(hold)
        elif step.windows:
            buckets = self._count_all(self._uses(step.windows), NOTHING)
            self._note_count(buckets)
            hold = HoldPage(step.hold_id, step.account, 0, [Part(NOTHING, buckets)], self.now, self.now)
        else:
            return KNOWN
        if not step.turns:  # as of nearly every call
            self._charge(hold, charged, estimated=step.estimated)
            return Charged(hold.amount, ())
        before = self._live(hold)
        self._charge(hold, charged, estimated=step.estimated)
        return Charged(hold.amount, tuple([_turn(window, spent) for window, spent in before.items()]))

    def _renew(self, step: Renew) -> Known:
        self._remember(step.lease)
        for hold_id in step.hold_ids:
            hold = self.pages.hold(hold_id)
            if hold is not None and not hold.released:
                if hold.lapsed:
                    self._revive(hold)
                hold.lease_ends = self.now + step.lease
                self.pages.touched_hold(hold)
        return KNOWN

    def _adopt(self, step: Adopt) -> Known | Stale:
        if self._over((step.window,)):
            return STALE
        (use,) = self._uses((step.window,))
        page, begin = use.page, begin_of(step.window, self.now)
        siblings = list(self.pages.siblings(page.key))
        others = [self.pages.window(key) for key in siblings]
        for other in others:
            other.advance(self.now)
        others = gone_on_without(page, others, begin)
        holds = list(self.pages.holds_below(step.account))
        parts = list(parts_to_adopt(step.window, holds, begin))
        if page.buckets and not others and not parts:
            return KNOWN
        spent, known = missed(page, others, holds, begin), bool(page.buckets)
        bucket = self._count_all([use], NOTHING)[0]
        bucket.settle(NOTHING, spent, estimated=False)
        if others:
            page.counted, page.level = max([page.counted, *[other.counted for other in others]]), None
        elif not known:
            page.level = self.batch
        left_out: list[tuple[Amount, float]] = []
        for hold, part in parts:
            if hold.lapsed:
                charged = page.still_charged(still_standing(hold, part.amount, siblings), hold.lease_ends)
                bucket.settle(NOTHING, charged, estimated=True)
                left_out.append((part.amount - charged, hold.lease_ends))
            else:
                bucket.hold(part.amount)
            part.buckets += (bucket,)
            self.pages.touched_hold(hold)
        for amount, ended in left_out:  # when all are charged: each by what was known of the window before
            page.leave_out(amount, ended)
        if left_out:
            self.pages.touched_window(page)
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
        hold.released = True
        self.pages.touched_hold(hold)
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
        if wanted.tokens != page.spent_tokens:
            page.corrected_tokens_at = self.now
        if wanted.nano_usd != page.spent_nano_usd:
            page.corrected_nano_usd_at = self.now
        self._spend(page, use.use, wanted)
        if step.reset or (step.spent_tokens is not None and step.spent_nano_usd is not None):
            page.level = self.batch  # all that others have counted until now is in it
            self.pages.touched(page.buckets)
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
            bucket.count(NOTHING, NOTHING, guessed - bucket.estimated)
            less -= share
        self.pages.touched(page.buckets)


def _turn(window: WindowPage, before: Amount) -> Turn:
    return Turn(window.key, before, window.spent, window.buckets[-1].end, window.limit_tokens, window.limit_nano_usd)


def _held(hold: HoldPage) -> Held:
    return Held(hold.output_tokens, hold.amount, hold.likely)


def _most_output(uses: Sequence[Room], guessing: Sequence[Room], step: Reserve, guesses: Sequence[Line]) -> int:
    """The largest output at which all lines fit the windows, each by its measure."""
    proving = [use for use in uses if not use.by_estimate] if guessing else uses
    output = most_output(step.lines, free_tokens(proving), free_nano_usd(proving), step.max_output)
    if not guessing:
        return output
    return most_output(guesses, free_tokens(guessing), free_nano_usd(guessing), output)


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
