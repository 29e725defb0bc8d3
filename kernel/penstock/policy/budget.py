"""The ledger: who may spend what. Holds are reserved over all parents of an account at once, then settled.

Not here: what a request costs at most (bound, money, the providers), and waiting itself: the ledger says who waits and
until when, its owner keeps the time.

    reserve -> Granted -> [top_up] -> settle
            -> Waiting -> (take_grants) Granted | Refused
            -> Refused

The law: `free = limit - held - spent` after every message, for every account, window and unit; only a charge above its
hold (an overrun) makes `free` negative, and then nothing new is granted there. An exception leaves all as it was.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import attrs
from msgspec import Struct

from penstock.policy.accounts import (
    AccountSpec,
    AccountTree,
    Limit,
    check_path,
    check_request_limits,
    path_and_parents,
    request_output_cap,
)
from penstock.policy.counted_accounts import AccountSnapshot, CountedAccounts
from penstock.policy.counted_window import Bucket, CountedWindow, WindowSnapshot
from penstock.policy.holds import (
    NOTHING,
    Amount,
    BudgetEvent,
    Granted,
    Line,
    Overrun,
    Refused,
    SoftLimitReached,
    Waiting,
    dearest,
    most_output,
)
from penstock.policy.window import Per

__all__ = [
    "AccountSnapshot",
    "AccountSpec",
    "Amount",
    "BudgetEvent",
    "Granted",
    "Ledger",
    "LedgerStatistics",
    "Limit",
    "Line",
    "Overrun",
    "Per",
    "Refused",
    "SoftLimitReached",
    "Waiting",
    "WindowSnapshot",
    "check_path",
    "check_request_limits",
    "request_output_cap",
]


# The years that a calendar has: an absurd `now` must not be remembered as the latest.
_EARLIEST = -6.2e10
_LATEST = 2.5e11


@attrs.frozen
class LedgerStatistics:
    """Holds that are not settled, holds that wait, settled ids that are still known."""

    holds: int
    waiting: int
    tombstones: int


@attrs.define
class _Part:
    """What was reserved at one time, and where it is counted: one bucket of every window on the account's path."""

    amount: Amount
    buckets: tuple[Bucket, ...]

    def settle(self, charged: Amount, *, estimated: bool) -> None:
        for bucket in self.buckets:
            bucket.settle(self.amount, charged, estimated=estimated)


@attrs.define
class _Hold:
    id: str
    account: str
    output_tokens: int
    parts: list[_Part]

    @property
    def amount(self) -> Amount:
        first, *others = self.parts
        if not others:
            return first.amount
        return sum((part.amount for part in others), first.amount)

    def count_in(self, bucket: Bucket) -> None:
        for part in self.parts:
            part.buckets += (bucket,)
            bucket.hold(part.amount)

    def granted(self) -> Granted:
        return Granted(self.id, self.output_tokens, self.amount)


class _Ask(Struct, frozen=True):
    """A reserve that may have to wait."""

    hold_id: str
    account: str
    lines: tuple[Line, ...]
    min_output: int
    max_output: int
    wait_until: float | None
    least: Amount

    @classmethod
    def checked(
        cls, hold_id: str, account: str, lines: Sequence[Line], outputs: tuple[int, int], wait_until: float | None
    ) -> _Ask:
        min_output, max_output = outputs
        if not lines:
            raise ValueError("a hold needs at least one line")
        if not 0 <= min_output <= max_output:
            raise ValueError(f"outputs from {min_output} to {max_output} are no range")
        least = dearest(lines, min_output)
        return cls(hold_id, account, tuple(lines), min_output, max_output, wait_until, least)

    @property
    def shortest(self) -> Amount:
        """With one token of output: what tells whether the minimum is the reason of a refusal."""
        return dearest(self.lines, min(self.min_output, 1))


class Ledger:
    """The tree of accounts with everything held and spent. One owner calls it; nothing here waits.

    `now` is Unix time. One that goes back never reopens a window: windows follow the latest time ever given.
    A settled id is remembered for `tombstone` seconds, so that a reserve which comes after its settle is refused.
    """

    def __init__(self, accounts: Sequence[AccountSpec], *, tombstone: float = 60.0) -> None:
        self._accounts = CountedAccounts(accounts)
        self._tombstone_s = tombstone
        self._now = _EARLIEST
        self._holds: dict[str, _Hold] = {}
        self._waiting: dict[str, _Ask] = {}
        self._blocked: set[CountedWindow] = set()
        self._decided: list[Granted | Refused] = []
        self._tombstones: dict[str, float] = {}
        self._events: list[BudgetEvent] = []

    def chain(self, account: str) -> tuple[AccountSpec, ...]:
        """The specs on the account's path, the root's first."""
        return self._accounts.tree.chain(account)

    def limited(self, account: str) -> bool:
        """True where any account on the path has a limit."""
        return any(spec.limits for spec in self.chain(account))

    def money_limited(self, account: str) -> bool:
        """True where any account on the path has a limit in money."""
        return any(limit.nano_usd is not None for spec in self.chain(account) for limit in spec.limits)

    def tenant_of(self, account: str) -> str:
        """The cache partition of the account."""
        return self._accounts.tree.tenant_of(account)

    def reserve(
        self,
        hold_id: str,
        account: str,
        lines: Sequence[Line],
        *,
        min_output: int,
        max_output: int,
        now: float,
        wait_until: float | None,
    ) -> Granted | Waiting | Refused:
        """Hold the dearest of the lines, with the largest output in the range that fits every window on the path.

        Where the least of it fits only once others settle, it waits, behind those who came before; None does not wait.
        Where it could not fit with every hold released, it is refused at once. Idempotent by id.
        """
        ask = _Ask.checked(hold_id, account, lines, (min_output, max_output), wait_until)
        self._accounts.tree.chain(account)  # raises where it is no path
        self._advance(now)
        self._serve(now)
        held = self._holds.get(hold_id)
        if held is not None:
            return held.granted()
        if hold_id in self._tombstones:
            return Refused(hold_id, account, "", NOTHING, None, "settled")
        if hold_id in self._waiting:
            return Waiting(hold_id)
        decision = self._decide(ask, now)
        if isinstance(decision, Waiting):
            self._waiting[hold_id] = ask
        return decision

    def top_up(self, hold_id: str, more: Amount, now: float) -> Granted | Refused:
        """Hold more for a call that runs, all or nothing. It does not wait, and goes before those who do.

        What is added counts in the windows of now, the rest of the hold where it was reserved.
        """
        _check_amount(more)
        self._advance(now)
        hold = self._holds.get(hold_id)
        if hold is None:
            return Refused(hold_id, "", "", more, None, "settled")
        windows = self._accounts.on_path(hold.account, self._now)
        lacking = _lacking(windows, more)
        if lacking:
            return _refused(hold_id, lacking, more)
        buckets = tuple(window.bucket(self._now) for window in windows)
        for bucket in buckets:
            bucket.hold(more)
        last = hold.parts[-1]
        if last.buckets == buckets:
            last.amount += more
        else:
            hold.parts.append(_Part(more, buckets))
        return hold.granted()

    def settle(self, hold_id: str, charged: Amount, now: float, *, estimated: bool = False) -> None:
        """Replace the hold by what was charged, in the window of the reservation. Idempotent by id.

        Takes a waiting one out of the queue. An unknown id leaves a tombstone: a reserve that comes later is refused.
        """
        _check_amount(charged)
        self._advance(now)
        if hold_id in self._tombstones:
            return
        self._tombstones[hold_id] = self._now + self._tombstone_s
        self._waiting.pop(hold_id, None)
        if self._decided:
            self._decided = [decision for decision in self._decided if decision.hold_id != hold_id]
        hold = self._holds.pop(hold_id, None)
        if hold is not None:
            self._charge(hold, charged, estimated=estimated)

    def take_grants(self, now: float) -> list[Granted | Refused]:
        """The answers for waiting holds that can go now, that no longer can, or whose wait is over."""
        self._advance(now)
        self._serve(now)
        decided, self._decided = self._decided, []
        return decided

    @property
    def next_wait_end(self) -> float | None:
        """When `take_grants` has something to decide although nothing was settled; None: nobody waits."""
        ends = [ask.wait_until for ask in self._waiting.values() if ask.wait_until is not None]
        refills = [window.buckets[0].end for window in self._blocked if window.buckets] if self._waiting else []
        return min([*ends, *refills], default=None)

    def snapshot(self, now: float | None = None) -> Mapping[str, AccountSnapshot]:
        """Every account with limited windows, by path: as of the last message, or of `now`."""
        if now is not None:
            self._advance(now)
        return self._accounts.snapshot(self._now)

    def statistics(self) -> LedgerStatistics:
        """How much the ledger remembers."""
        return LedgerStatistics(len(self._holds), len(self._waiting), len(self._tombstones))

    def take_events(self) -> list[BudgetEvent]:
        """Soft limits reached and overruns since it was last asked, in order."""
        events, self._events = self._events, []
        return events

    def reconfigure(self, accounts: Sequence[AccountSpec], now: float) -> None:
        """Other accounts and limits over what is held and spent; `CountedAccounts.reconfigure` says what goes on.

        A new window counts the outstanding holds of its subtree.
        """
        tree = AccountTree(accounts)
        self._advance(now)
        in_use = [hold.account for hold in self._holds.values()]
        for window in self._accounts.reconfigure(tree, in_use, self._now):
            bucket = window.bucket(self._now)
            for hold in self._holds.values():
                if window.account in path_and_parents(hold.account):
                    hold.count_in(bucket)

    def _advance(self, now: float) -> None:
        if not _EARLIEST < now < _LATEST:
            raise ValueError(f"{now!r} is no Unix time")
        self._now = max(self._now, now)
        while self._tombstones:
            oldest = next(iter(self._tombstones))
            if self._tombstones[oldest] > self._now:
                break
            del self._tombstones[oldest]

    def _serve(self, now: float) -> None:
        """Decide what of the queue can be decided, first come first served.

        Who lacks room in a window blocks it for all who come later, in whatever account they are: else small calls
        would starve a large one. Whom he does not compete with, he does not block.
        """
        if self._blocked:
            self._blocked.clear()
        if not self._waiting:
            return
        for ask in list(self._waiting.values()):
            decision = self._decide(ask, now)
            if not isinstance(decision, Waiting):
                del self._waiting[ask.hold_id]
                self._decided.append(decision)

    def _decide(self, ask: _Ask, now: float) -> Granted | Waiting | Refused:
        windows = self._accounts.on_path(ask.account, self._now)
        lacking = _lacking(windows, ask.least)
        behind = [(window, NOTHING) for window in windows if window in self._blocked] if self._blocked else []
        if not lacking and not behind:
            return self._grant(ask, windows)
        hopeless = bool(lacking) and bool(_lacking(windows, ask.least, but_holds=True))
        if hopeless or ask.wait_until is None or now >= ask.wait_until:
            below = not behind and not _lacking(windows, ask.shortest, but_holds=hopeless)
            return _refused(ask.hold_id, lacking or behind, ask.least, below_minimum=below)
        self._blocked.update(window for window, _ in lacking)
        return Waiting(ask.hold_id)

    def _grant(self, ask: _Ask, windows: Sequence[CountedWindow]) -> Granted:
        output, amount = ask.max_output, ask.least
        if ask.min_output < ask.max_output:
            tokens = min((free for window in windows if (free := window.free_tokens) is not None), default=None)
            nano_usd = min((free for window in windows if (free := window.free_nano_usd) is not None), default=None)
            output = most_output(ask.lines, tokens, nano_usd, ask.max_output)
            amount = dearest(ask.lines, output)
        buckets = tuple(window.bucket(self._now) for window in windows)
        for bucket in buckets:
            bucket.hold(amount)
        hold = self._holds[ask.hold_id] = _Hold(ask.hold_id, ask.account, output, [_Part(amount, buckets)])
        return hold.granted()

    def _charge(self, hold: _Hold, charged: Amount, *, estimated: bool) -> None:
        rest = charged
        *earlier, last = hold.parts
        for part in earlier:
            share = rest.at_most(part.amount)
            rest -= share
            part.settle(share, estimated=estimated)
        last.settle(rest, estimated=estimated)
        limited: dict[CountedWindow, None] = {}
        for part in hold.parts:
            for bucket in part.buckets:
                if bucket.window.limited:
                    limited[bucket.window] = None
        if limited and not charged.fits(hold.amount):
            self._events.append(Overrun(hold.account, hold.id, hold.amount, charged))
        for window in limited:
            window.advance(self._now)
            self._events.extend(window.take_soft_events())


def _lacking(
    windows: Iterable[CountedWindow], need: Amount, *, but_holds: bool = False
) -> list[tuple[CountedWindow, Amount]]:
    lacking: list[tuple[CountedWindow, Amount]] = []
    for window in windows:
        short = window.missing(need, but_holds=but_holds)
        if short is not None:
            lacking.append((window, short))
    return lacking


def _refused(
    hold_id: str, lacking: Sequence[tuple[CountedWindow, Amount]], need: Amount, *, below_minimum: bool = False
) -> Refused:
    """Names the limit that decides when to come back: the spent one that refills last, else the first that is held."""
    spent = _lacking((window for window, _ in lacking), need, but_holds=True)
    if not spent:
        window, missing = lacking[0]
        return Refused(
            hold_id, window.account, window.describe(missing), missing, None, "held", below_minimum=below_minimum
        )
    refills = [(window.refills_at(need), window, missing) for window, missing in spent]
    refills_at, window, missing = max(refills, key=lambda refill: math.inf if refill[0] is None else refill[0])
    words = window.describe(missing)
    return Refused(hold_id, window.account, words, missing, refills_at, "exhausted", below_minimum=below_minimum)


def _check_amount(amount: Amount) -> None:
    if amount.negative:
        raise ValueError(f"{amount} is negative")
