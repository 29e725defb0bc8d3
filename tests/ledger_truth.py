"""A ledger kept by hand, for the machine over `LedgerBook`: reservations with their ends, added up for each question.

It knows no pages, totals or lapses that are undone: it asks of each entry whether its time is over.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeAlias

import attrs

from penstock.policy.holds import Line
from penstock.policy.ledger_steps import Adopt, Renew, Reserve, Settle, Step, TopUp, WindowUse
from penstock.policy.window import Per, window_at

Pair: TypeAlias = tuple[int, int]
"""Tokens, nano-USD."""
NONE: Pair = (0, 0)
LENGTHS = {"minute": 60.0, "hour": 3_600.0, "day": 86_400.0, "month": 30 * 86_400.0}


def plus(one: Pair, other: Pair) -> Pair:
    return one[0] + other[0], one[1] + other[1]


def least(one: Pair, other: Pair) -> Pair:
    return min(one[0], other[0]), min(one[1], other[1])


def most(one: Pair, other: Pair) -> Pair:
    return max(one[0], other[0]), max(one[1], other[1])


def total(pairs: Iterable[Pair]) -> Pair:
    summed = NONE
    for pair in pairs:
        summed = plus(summed, pair)
    return summed


def cost(lines: Iterable[Line], output: int) -> Pair:
    """The dearest line, each unit for itself, money rounded up."""
    dearest = NONE
    for line in lines:
        given = min(output, line.max_output)
        nano = line.input_nano_usd + math.ceil(given * line.output_nano_per_million / 10**6)
        dearest = most(dearest, (line.input_tokens + given, nano))
    return dearest


def minus(one: Pair, other: Pair) -> Pair:
    return one[0] - other[0], one[1] - other[1]


def fullest(pairs: Iterable[Pair]) -> Pair:
    found = NONE
    for pair in pairs:
        found = most(found, pair)
    return found


def is_below(account: str, parent: str) -> bool:
    return not parent or account == parent or account.startswith(f"{parent}/")


def relatives(key: str, keys: Iterable[str]) -> list[str]:
    """The others of the same period and account."""
    period, _, account = key.split(":", 2)
    return [other for other in keys if other != key and other.split(":", 2)[::2] == [period, account]]


@attrs.define
class Said:
    """An answer, as far as it is judged."""

    kind: str
    """held, lacking, known, stale, charged."""
    amount: Pair = NONE
    likely: Pair | None = None
    output: int = 0
    lacking: tuple[str, ...] = ()
    hopeless: bool = False


@attrs.define
class Piece:
    """What was reserved at one time: in each window until an end."""

    amount: Pair
    likely: Pair
    ends: dict[str, float]


@attrs.define
class Entry:
    account: str
    pieces: list[Piece]
    lease_ends: float
    reserved_at: float
    output: int = 0
    top_ups: int = 0
    charged: Pair | None = None
    lapsed: bool = False
    guesses: bool = False
    """It has an estimate, which some windows count."""
    guessed: set[str] = attrs.Factory(set[str])
    """Those: once a window counts it in one way, it goes on so."""

    @property
    def amount(self) -> Pair:
        return total(piece.amount for piece in self.pieces)

    @property
    def likely(self) -> Pair | None:
        return total(piece.likely for piece in self.pieces) if self.guesses else None

    def counts(self, key: str) -> Iterator[tuple[float, Pair, Pair]]:
        """Where it counts in a window: until when, what it holds there, what it is charged there.

        Each piece takes what it held, the last one all the rest.
        """
        pieces = [piece for piece in self.pieces if key in piece.ends]
        left = self.charged or NONE
        for piece in pieces:
            held = piece.likely if key in self.guessed else piece.amount
            share = left if piece is pieces[-1] else least(left, held)
            left = (left[0] - share[0], left[1] - share[1])
            yield piece.ends[key], held, share

    def is_over(self, now: float) -> bool:
        return all(end <= now for piece in self.pieces for end in piece.ends.values())


@attrs.define
class Truth:
    lease: float
    now: float
    entries: dict[str, Entry] = attrs.Factory(dict[str, Entry])
    old: list[Entry] = attrs.Factory(list[Entry])
    """Settled ones that still count."""
    adopted: list[tuple[str, float, Pair]] = attrs.Factory(list[tuple[str, float, Pair]])
    buckets: dict[str, list[float]] = attrs.Factory(dict[str, list[float]])
    """The ends that something of each window was ever counted to, newest last. Its keys are the known windows."""
    tombs: dict[str, float] = attrs.Factory(dict[str, float])
    batch: int = 0
    last: dict[str, tuple[int, float]] = attrs.Factory(dict[str, tuple[int, float]])
    """When each window was last counted in since it began: in which batch, and at what time."""
    behind: dict[str, int] = attrs.Factory(dict[str, int])
    """The windows that may lack what another of their period and account has, with the last batch they lack nothing
    of."""

    def run(self, steps: Sequence[Step], now: float) -> list[Said]:
        """What a batch must be answered."""
        self.advance(now)
        self.batch += 1
        barred: set[str] = set()
        return [self._answer(step, barred) for step in steps]

    def advance(self, now: float) -> None:
        self.now = max(self.now, now)
        self.tombs = {id_: until for id_, until in self.tombs.items() if until > self.now}
        for id_, entry in list(self.entries.items()):
            entry.lapsed = entry.lapsed or entry.lease_ends <= self.now
            if entry.lapsed and entry.is_over(self.now):
                del self.entries[id_]
        self.old = [entry for entry in self.old if not entry.is_over(self.now)]
        self.adopted = [row for row in self.adopted if row[1] > self.now]

    def used(self, key: str) -> tuple[Pair, Pair]:
        """Held and spent in a window."""
        held = spent = NONE
        for adopted, end, amount in self.adopted:
            if adopted == key and end > self.now:
                spent = plus(spent, amount)
        for entry in (*self.entries.values(), *self.old):
            for end, holds, charge in entry.counts(key):
                if end > self.now:
                    if entry.charged is not None:
                        spent = plus(spent, charge)
                    elif entry.lapsed:
                        spent = plus(spent, holds)
                    else:
                        held = plus(held, holds)
        return held, spent

    def lacks(self, use: WindowUse, need: Pair, *, but_holds: bool = False) -> bool:
        held, spent = self.used(use.key)
        limits = (use.limit_tokens, use.limit_nano_usd)
        return any(
            limit is not None and need[unit] + spent[unit] + (0 if but_holds else held[unit]) > limit
            for unit, limit in enumerate(limits)
        )

    def _answer(self, step: Step, barred: set[str]) -> Said:
        match step:
            case Reserve():
                return self._reserve(step, barred)
            case TopUp():
                return self._top_up(step)
            case Settle():
                return self._settle(step)
            case Renew():
                for id_ in step.hold_ids:
                    if id_ in self.entries:
                        self.entries[id_].lease_ends = self.now + step.lease
                        self.entries[id_].lapsed = False
                return Said("known")
            case Adopt():
                return self._adopt(step)
            case _:
                raise AssertionError(step)

    def _reserve(self, step: Reserve, barred: set[str]) -> Said:
        if step.hold_id in self.entries:
            known = self.entries[step.hold_id]
            return Said("held", known.amount, known.likely, known.output)
        if step.hold_id in self.tombs:
            return Said("known")
        if self._stale(step.windows):
            return Said("stale")
        self._know(step.windows)

        def lacks(use: WindowUse, output: int, *, but_holds: bool = False) -> bool:
            lines = step.likely or step.lines if use.by_estimate else step.lines
            return self.lacks(use, cost(lines, output), but_holds=but_holds)

        lacking = tuple(use.key for use in step.windows if lacks(use, step.min_output))
        hopeless = any(lacks(use, step.min_output, but_holds=True) for use in step.windows)
        if lacking or any(use.key in barred for use in step.windows):
            if step.waits and not hopeless:
                barred.update(lacking)
            return Said("lacking", lacking=lacking, hopeless=hopeless)
        output = step.max_output
        while any(lacks(use, output) for use in step.windows):
            output -= 1
        piece = Piece(cost(step.lines, output), cost(step.likely or step.lines, output), self._ends(step.windows))
        guessed = {use.key for use in step.windows if use.by_estimate}
        self._counted(step.windows)
        entry = Entry(
            step.account,
            [piece],
            self.now + step.lease,
            self.now,
            output,
            guesses=bool(guessed),
            guessed=guessed,
        )
        self.entries[step.hold_id] = entry
        return Said("held", entry.amount, entry.likely, output)

    def _top_up(self, step: TopUp) -> Said:
        entry = self.entries.get(step.hold_id)
        if entry is None:
            return Said("known")
        if step.number <= entry.top_ups:
            return Said("held", entry.amount, entry.likely, entry.output)
        if self._stale(step.windows):
            return Said("stale")
        self._know(step.windows)
        more = (step.more.tokens, step.more.nano_usd)
        guess = more if step.likely is None else (step.likely.tokens, step.likely.nano_usd)
        known = {key for piece in entry.pieces for key in piece.ends}
        guessed = entry.guessed | {
            use.key for use in step.windows if entry.guesses and use.by_estimate and use.key not in known
        }

        def lacks(use: WindowUse, *, but_holds: bool = False) -> bool:
            return self.lacks(use, guess if use.key in guessed else more, but_holds=but_holds)

        lacking = tuple(use.key for use in step.windows if lacks(use))
        if lacking:
            hopeless = any(lacks(use, but_holds=True) for use in step.windows)
            return Said("lacking", lacking=lacking, hopeless=hopeless)
        if entry.lapsed:
            entry.lease_ends = self.now
        entry.top_ups, entry.lapsed, entry.guessed = step.number, False, guessed
        entry.pieces.append(Piece(more, guess, self._ends(step.windows)))
        self._counted(step.windows)
        return Said("held", entry.amount, entry.likely, entry.output)

    def _settle(self, step: Settle) -> Said:
        if step.hold_id in self.tombs:
            return Said("known")
        entry = self.entries.pop(step.hold_id, None)
        if entry is None and self._stale(step.windows):
            return Said("stale")
        self.tombs[step.hold_id] = self.now + (86_400.0 if step.windows else self.lease)
        if entry is None and not step.windows:
            return Said("known")
        if entry is None:
            self._know(step.windows)
            entry = Entry(step.account, [Piece(NONE, NONE, self._ends(step.windows))], math.inf, self.now)
            self._counted(step.windows)
        held = entry.amount
        entry.charged = (step.charged.tokens, step.charged.nano_usd)
        self.old.append(entry)
        return Said("charged", held)

    def _adopt(self, step: Adopt) -> Said:
        """What it lacks is what others have counted, in its time, in batches in which it was left out."""
        key = step.window.key
        if self._stale((step.window,)):
            return Said("stale")
        self._know((step.window,))
        since, live = self._begins(step.window), self._is_live(key)
        below = [entry for entry in self.entries.values() if is_below(entry.account, step.account)]
        lapsed = [entry for entry in below if entry.lapsed]
        full: list[str] = []
        for other in relatives(key, self.buckets):
            batch, time = self.last.get(other, (0, -math.inf))
            if self._is_live(other) and time >= since and (not live or batch > self._lacks_nothing_until(key)):
                full.append(other)
        spent = [self._spent(other, since, lapsed) for other in full]
        own = self._spent(key, -math.inf, lapsed)
        more = most(NONE, minus(fullest(spent), own)) if full else NONE
        late = [
            (entry, piece)
            for entry in below
            if not entry.lapsed or (entry.lease_ends if entry.top_ups else entry.reserved_at) >= since
            for piece in entry.pieces
            if key not in piece.ends  # what was reserved in it before stays where it was
        ]
        if live and not full and not late:
            return Said("known")
        end = self._ends((step.window,))[key]
        self.adopted.append((key, end, more))
        if full:
            self.last[key] = max([self.last.get(key, (0, -math.inf)), *[self.last[other] for other in full]])
            self.behind.pop(key, None)
        elif not live:
            self.behind[key] = self.batch
        for entry, piece in late:
            if not any(key in known.ends for known in entry.pieces) and entry.guesses and step.window.by_estimate:
                entry.guessed.add(key)
            piece.ends[key] = end
        return Said("known")

    def _begins(self, use: WindowUse) -> float:
        period, zone, _ = use.key.split(":", 2)
        return self.now - LENGTHS[period] if use.rolling else window_at(Per(period), use.end - 1, zone).start

    def _is_live(self, key: str) -> bool:
        return any(end > self.now for end in self.buckets.get(key, ()))

    def _lacks_nothing_until(self, key: str) -> int:
        return self.behind.get(key, self.last.get(key, (0, 0.0))[0])

    def _spent(self, key: str, since: float, lapsed: Sequence[Entry]) -> Pair:
        """What is spent in a window, without these, and in a rolling one without what is older."""
        period, zone, _ = key.split(":", 2)
        rows = [(end, amount) for adopted, end, amount in self.adopted if adopted == key]
        for entry in (*self.entries.values(), *self.old):
            charged = entry.charged is not None
            if charged or (entry.lapsed and entry not in lapsed):
                rows += [(end, charge if charged else holds) for end, holds, charge in entry.counts(key)]
        old = -math.inf if zone != "rolling" else since + LENGTHS[period]
        return total(amount for end, amount in rows if end > self.now and end > old)

    def _counted(self, windows: Sequence[WindowUse]) -> None:
        """A window that was left out of a batch in which a relative was counted lacks that from then on."""
        keys = [use.key for use in windows]
        for key in keys:
            others = [self.last.get(other, (0, 0.0))[0] for other in relatives(key, keys)]
            until = self._lacks_nothing_until(key)
            begins = key not in self.last and key not in self.behind
            if others and not begins and max(others) > until:
                self.behind[key] = until
            elif others or until >= self.last.get(key, (0, 0.0))[0]:
                self.behind.pop(key, None)  # it lacks nothing, up to now
        for key in keys:
            self.last[key] = (self.batch, self.now)

    def _stale(self, windows: Iterable[WindowUse]) -> bool:
        return any(use.end <= self.now for use in windows)

    def _know(self, windows: Iterable[WindowUse]) -> None:
        for use in windows:
            self.buckets.setdefault(use.key, [])

    def _ends(self, windows: Iterable[WindowUse]) -> dict[str, float]:
        """Until when what is counted now counts: a window goes on until its end, whatever a later step thinks of it."""
        ends: dict[str, float] = {}
        for use in windows:
            live = [end for end in self.buckets[use.key] if end > self.now]
            if not live or (use.rolling and use.end > live[-1]):
                if not live:
                    self.last.pop(use.key, None)
                    self.behind.pop(use.key, None)
                live.append(use.end)
            self.buckets[use.key] = live
            ends[use.key] = live[-1]
        return ends
