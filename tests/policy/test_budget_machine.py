"""The ledger against a book that is kept by hand: every reservation with its time, added up anew for each question.

The book knows nothing of buckets, totals or spans: it asks of each entry whether its date is today's. Some windows
count by estimate: of each entry the book has both figures, and the windows in which the second counts.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import datetime
from typing import TypeAlias
from zoneinfo import ZoneInfo

import attrs
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from penstock.policy.accounts import Measure
from penstock.policy.budget import (
    AccountSpec,
    Amount,
    Granted,
    Ledger,
    Limit,
    Line,
    Overrun,
    Per,
    Refused,
    Waiting,
)

TOMBSTONE = 60.0
Pair: TypeAlias = tuple[int, int]
"""Tokens, nano-USD."""
Window: TypeAlias = tuple[str, Per, str, bool]
"""Account, period, zone, rolling."""

ACCOUNTS = ("", "a", "a/x", "a/y/z", "b", "b/1", "b/2/deep", "c")
SHAPES: dict[str, tuple[tuple[Per, str, bool], ...]] = {
    "": ((Per.MONTH, "America/New_York", False), (Per.MINUTE, "UTC", True)),
    "a": ((Per.DAY, "Europe/Berlin", False), (Per.HOUR, "UTC", True)),
    "a/x": ((Per.HOUR, "Australia/Lord_Howe", False), (Per.MINUTE, "UTC", False)),
    "b/*": ((Per.DAY, "America/Havana", False),),
}
# Just before clocks were set, months ended, a leap day came.
STARTS = [
    datetime(2026, 3, 28, 22, 59, tzinfo=ZoneInfo("Europe/Berlin")),
    datetime(2026, 10, 25, 1, 58, tzinfo=ZoneInfo("Europe/Berlin")),
    datetime(2026, 10, 31, 23, 59, tzinfo=ZoneInfo("America/Havana")),
    datetime(2026, 4, 5, 1, 30, tzinfo=ZoneInfo("Australia/Lord_Howe")),
    datetime(2024, 2, 29, 23, 0, tzinfo=ZoneInfo("America/New_York")),
    datetime(2026, 5, 4, 12, 0, tzinfo=ZoneInfo("UTC")),
]
SECONDS = {Per.MINUTE: 60, Per.HOUR: 3_600, Per.DAY: 86_400}


def prefixes(account: str) -> list[str]:
    names = account.split("/") if account else []
    return ["/".join(names[:count]) for count in range(len(names) + 1)]


def declared(account: str) -> str:
    return "b/*" if account in {"b/1", "b/2"} else account


@attrs.define
class Entry:
    """One reservation, all its parts with the time they were made at: at most, and most likely."""

    account: str
    parts: list[tuple[float, Pair, Pair]]
    guessed: set[Window]
    """Where it counts by the second figure: decided when it was reserved, for good."""
    charged: Pair | None = None

    def held(self, window: Window | None = None) -> list[Pair]:
        return [part[2] if window in self.guessed else part[1] for part in self.parts]

    def spent(self, window: Window) -> list[Pair]:
        """Whatever fits into the first part was spent then; what is left, later. All of it in every window."""
        assert self.charged is not None
        left, charges = self.charged, list[Pair]()
        for tokens, nano in self.held(window)[:-1]:
            charges.append((min(left[0], tokens), min(left[1], nano)))
            left = (left[0] - charges[-1][0], left[1] - charges[-1][1])
        return [*charges, left]


@attrs.define
class Asked:
    id: str
    account: str
    lines: list[Line]
    likely: list[Line]
    least: int
    most: int
    until: float | None

    def cost(self, output: int, *, guessed: bool = False) -> Pair:
        """The dearest line, with money rounded up, by fractions of a float-free division."""
        lines = self.likely or self.lines if guessed else self.lines
        tokens = max(line.input_tokens + min(output, line.max_output) for line in lines)
        nano = max(
            line.input_nano_usd + math.ceil(min(output, line.max_output) * line.output_nano_per_million / 10**6)
            for line in lines
        )
        return tokens, nano


@attrs.define
class Book:
    limits: dict[tuple[str, tuple[Per, str, bool]], tuple[int | None, int | None]]
    latest: float
    guessed: set[tuple[str, tuple[Per, str, bool]]] = attrs.Factory(set[tuple[str, tuple[Per, str, bool]]])
    """The limits by estimate."""
    entries: dict[str, Entry] = attrs.Factory(dict[str, Entry])
    queue: list[Asked] = attrs.Factory(list[Asked])
    blocked: list[Window] = attrs.Factory(list[Window])

    def windows(self, account: str) -> Iterator[Window]:
        for path in prefixes(account):
            for shape in SHAPES.get(declared(path), ()):
                yield (path, *shape)

    def guesses(self, window: Window) -> bool:
        return (declared(window[0]), window[1:]) in self.guessed

    def counts(self, window: Window, at: float) -> bool:
        """Is what was reserved at `at` in the window of the latest time?"""
        _, per, zone, rolling = window
        if rolling:
            width = SECONDS[per] // 60
            return math.ceil(at / width) * width + SECONDS[per] > self.latest
        then, now = (datetime.fromtimestamp(time, ZoneInfo(zone)) for time in (at, self.latest))
        match per:
            case Per.MONTH:
                return (then.year, then.month) == (now.year, now.month)
            case Per.DAY:
                return then.date() == now.date()
            case Per.HOUR:
                return self.same_hour(then, now)
            case _:
                return at // 60 == self.latest // 60

    def same_hour(self, then: datetime, now: datetime) -> bool:
        """Of the same name, and the clock was not set back to that name in between: half an hour is no new hour."""
        between = {then.utcoffset(), now.utcoffset()}
        same = (then.date(), then.hour) == (now.date(), now.hour)
        return same and (len(between) == 1 or str(now.tzinfo) == "Australia/Lord_Howe")

    def used(self, window: Window) -> tuple[Pair, Pair]:
        """Held and spent, added up from the first entry on."""
        held, spent = [0, 0], [0, 0]
        for entry in self.entries.values():
            if window[0] not in prefixes(entry.account):
                continue
            kind, amounts = (held, entry.held(window)) if entry.charged is None else (spent, entry.spent(window))
            for (at, _, _), amount in zip(entry.parts, amounts, strict=True):
                if self.counts(window, at):
                    kind[0] += amount[0]
                    kind[1] += amount[1]
        return (held[0], held[1]), (spent[0], spent[1])

    def lacks(self, window: Window, need: Pair, *, but_holds: bool = False) -> bool:
        held, spent = self.used(window)
        return any(
            limit is not None and need[unit] + spent[unit] + (0 if but_holds else held[unit]) > limit
            for unit, limit in enumerate(self.limits[declared(window[0]), window[1:]])
        )

    def decide(self, asked: Asked, now: float) -> str | int:
        """The output that is granted, else `refused` or `waiting`."""
        own = list(self.windows(asked.account))

        def lacks(window: Window, output: int, *, but_holds: bool = False) -> bool:
            return self.lacks(window, asked.cost(output, guessed=self.guesses(window)), but_holds=but_holds)

        if any(lacks(window, asked.least, but_holds=True) for window in own):
            return "refused"
        lacking = [window for window in own if lacks(window, asked.least)]
        if lacking or any(window in self.blocked for window in own):
            if asked.until is None or now >= asked.until:
                return "refused"
            self.blocked += lacking
            return "waiting"
        fitting = [
            output for output in range(asked.least, asked.most + 1) if not any(lacks(window, output) for window in own)
        ]
        output = max(fitting)
        part = (self.latest, asked.cost(output), asked.cost(output, guessed=True))
        self.entries[asked.id] = Entry(asked.account, [part], {window for window in own if self.guesses(window)})
        return output

    def serve(self, now: float) -> list[tuple[str, str | int]]:
        """Everyone in turn; where someone lacks room when it is his turn, nobody after him takes any."""
        decided: list[tuple[str, str | int]] = []
        still: list[Asked] = []
        self.blocked = []
        for asked in self.queue:
            decision = self.decide(asked, now)
            if decision == "waiting":
                still.append(asked)
            else:
                decided.append((asked.id, decision))
        self.queue = still
        return decided


lines = st.builds(
    Line,
    input_tokens=st.sampled_from([0, 5, 20, 40, 60]),
    input_nano_usd=st.sampled_from([0, 5, 20, 40, 60]),
    output_nano_per_million=st.sampled_from([0, 333_333, 1_000_000, 2_500_000]),
    max_output=st.integers(0, 30),
)
# Some limits that are soon reached, some that are not: where everything is refused nothing else is tried.
figure = st.sampled_from([300, 10**6, None, 150, 600, 1_000])
figures = st.tuples(figure, figure)


@attrs.frozen
class Wanted:
    """A call that is to come."""

    account: str
    lines: list[Line]
    likely: list[Line]
    least: int
    more: int
    wait: float | None


wants = st.builds(
    Wanted,
    account=st.sampled_from(ACCOUNTS),
    lines=st.lists(lines, min_size=1, max_size=2),
    likely=st.lists(lines, max_size=2),
    least=st.integers(0, 15),
    more=st.integers(0, 20),
    wait=st.none() | st.sampled_from([5.0, 100.0]),
)
pairs = st.tuples(st.integers(0, 90), st.integers(0, 90))
measure: st.SearchStrategy[Measure] = st.sampled_from(["proof", "proof", "estimate"])
steps = st.sampled_from(
    [0.0, 0.5, 1.0, 7.0, 59.0, 60.0, 61.0, 600.0, 3_600.0, 5_400.0, 43_200.0, 86_400.0, 2_700_000.0]
)


def verdict(decision: Granted | Waiting | Refused) -> str | int:
    match decision:
        case Granted():
            return decision.output_tokens
        case Waiting():
            return "waiting"
        case Refused():
            return "refused"


def total(amounts: list[Pair]) -> Pair:
    return sum(tokens for tokens, _ in amounts), sum(nano for _, nano in amounts)


def running(machine: LedgerMachine) -> list[str]:
    return [id_ for id_, entry in machine.book.entries.items() if entry.charged is None]


def some_run(machine: LedgerMachine) -> bool:
    return bool(running(machine))


def some_wait(machine: LedgerMachine) -> bool:
    return bool(machine.book.queue)


class LedgerMachine(RuleBasedStateMachine):
    """Random calls over a small tree, in which clocks are set and limits are changed."""

    @initialize(start=st.sampled_from(STARTS), data=st.data())
    def begin(self, start: datetime, data: st.DataObject) -> None:
        self.now = start.timestamp()
        self.serial = 0
        self.settled: dict[str, float] = {}
        self.overran = False
        self.overruns: list[str] = []
        self.answers: list[tuple[str, str | int]] = []
        self.book = Book({}, self.now)
        self.ledger = Ledger(self.draw_limits(data), tombstone=TOMBSTONE)

    def draw_limits(self, data: st.DataObject) -> list[AccountSpec]:
        specs: list[AccountSpec] = []
        self.book.guessed.clear()
        for path, shapes in SHAPES.items():
            limits: list[Limit] = []
            of_account = data.draw(measure)
            for shape in shapes:
                tokens, nano = data.draw(figures)
                if (tokens, nano) == (None, None):
                    # A window that limits nothing would not be there; this one is there and limits nothing.
                    tokens = 10**9
                self.book.limits[path, shape] = (tokens, nano)
                own = data.draw(st.none() | measure)
                if (own or of_account) == "estimate":
                    self.book.guessed.add((path, shape))
                per, zone, rolling = shape
                limits.append(Limit(per=per, timezone=zone, rolling=rolling, tokens=tokens, nano_usd=nano, bound=own))
            specs.append(AccountSpec(path=path, limits=tuple(limits), bound=of_account))
        return specs

    def tick(self) -> None:
        self.book.latest = max(self.book.latest, self.now)

    @rule(step=steps)
    def time_passes(self, step: float) -> None:
        self.now += step

    @rule(step=st.sampled_from([1.0, 90.0, 7_200.0, 100_000.0]))
    def the_clock_is_set_back(self, step: float) -> None:
        self.now -= step

    @rule(wanted=st.lists(wants, min_size=1, max_size=6))
    def calls_come(self, wanted: list[Wanted]) -> None:
        for want in wanted:
            self.reserve(want)

    @rule(wanted=wants, times=st.integers(2, 4), account=st.sampled_from(ACCOUNTS))
    def calls_of_a_kind_come(self, wanted: Wanted, times: int, account: str) -> None:
        for _ in range(times):
            self.reserve(wanted)
        self.reserve(attrs.evolve(wanted, account=account, wait=5.0))

    def reserve(self, wanted: Wanted) -> None:
        self.serial += 1
        until = None if wanted.wait is None else self.now + wanted.wait
        most = wanted.least + wanted.more
        ask = Asked(f"hold-{self.serial}", wanted.account, wanted.lines, wanted.likely, wanted.least, most, until)
        self.tick()
        self.answers += self.book.serve(self.now)
        expected = self.book.decide(ask, self.now)
        if expected == "waiting":
            self.book.queue.append(ask)
        decision = self.ledger.reserve(
            ask.id,
            ask.account,
            ask.lines,
            min_output=ask.least,
            max_output=most,
            now=self.now,
            wait_until=until,
            likely=ask.likely,
        )
        assert verdict(decision) == expected
        if isinstance(decision, Granted):
            self.check_amounts(decision)

    def check_amounts(self, granted: Granted) -> None:
        entry = self.book.entries[granted.hold_id]
        assert granted.amount == Amount(*total(entry.held()))
        likely = Amount(*total([guess for _, _, guess in entry.parts]))
        assert granted.likely == (likely if entry.guessed else None)

    @rule(data=st.data())
    def reserve_again(self, data: st.DataObject) -> None:
        """An id that came before is answered as before, or refused where it is settled."""
        self.tick()
        self.answers += self.book.serve(self.now)
        fresh = [id_ for id_, at in self.settled.items() if self.book.latest < at + TOMBSTONE]
        known = [*running(self), *(asked.id for asked in self.book.queue), *fresh]
        if not known:
            self.ledger.take_grants(self.now)
            self.answers = []
            return
        id_ = data.draw(st.sampled_from(known))
        decision = self.ledger.reserve(
            id_, "a", [Line(1, 1, 1, 1)], min_output=0, max_output=1, now=self.now, wait_until=None
        )
        match decision:
            case Granted():
                self.check_amounts(decision)
                assert id_ in running(self)
            case Waiting():
                assert id_ in [asked.id for asked in self.book.queue]
            case Refused():
                assert id_ in fresh
                assert decision.reason == "settled"

    @precondition(some_run)
    @rule(data=st.data(), share=st.sampled_from([0.0, 0.3, 1.0, 1.0]), estimated=st.booleans())
    def settle(self, data: st.DataObject, share: float, estimated: bool) -> None:  # noqa: FBT001  # drawn
        id_ = data.draw(st.sampled_from(running(self)))
        held = total(self.book.entries[id_].held())
        self.charge(id_, (int(held[0] * share), int(held[1] * share)), estimated=estimated)

    @precondition(some_run)
    @rule(data=st.data(), more=st.tuples(st.integers(0, 90), st.integers(1, 90)))
    def overrun(self, data: st.DataObject, more: Pair) -> None:
        id_ = data.draw(st.sampled_from(running(self)))
        held = total(self.book.entries[id_].held())
        self.charge(id_, (held[0] + more[0], held[1] + more[1]), estimated=False)
        if any(True for _ in self.book.windows(self.book.entries[id_].account)):
            self.overran = True
            self.overruns.append(id_)

    def charge(self, id_: str, charged: Pair, *, estimated: bool) -> None:
        self.tick()
        self.book.entries[id_].charged = charged
        self.settled[id_] = self.book.latest
        self.answers = [answer for answer in self.answers if answer[0] != id_]
        self.ledger.settle(id_, Amount(*charged), self.now, estimated=estimated)
        self.ledger.settle(id_, Amount(1, 1), self.now)

    @precondition(some_wait)
    @rule(data=st.data())
    def leave_the_queue(self, data: st.DataObject) -> None:
        asked = data.draw(st.sampled_from(self.book.queue))
        self.tick()
        self.book.queue.remove(asked)
        self.settled[asked.id] = self.book.latest
        self.ledger.settle(asked.id, Amount(), self.now)

    @rule()
    def settle_before_it_comes(self) -> None:
        self.serial += 1
        self.tick()
        self.settled[f"hold-{self.serial}"] = self.book.latest
        self.ledger.settle(f"hold-{self.serial}", Amount(5, 5), self.now)

    @precondition(some_run)
    @rule(data=st.data(), more=pairs, likely=st.none() | pairs)
    def top_up(self, data: st.DataObject, more: Pair, likely: Pair | None) -> None:
        id_ = data.draw(st.sampled_from(running(self)))
        self.tick()
        entry = self.book.entries[id_]
        guess = more if likely is None else likely
        fits = not any(
            self.book.lacks(window, guess if window in entry.guessed else more)
            for window in self.book.windows(entry.account)
        )
        told = None if likely is None else Amount(*likely)
        decision = self.ledger.top_up(id_, Amount(*more), self.now, likely=told)
        assert isinstance(decision, Granted) == fits
        if fits:
            entry.parts.append((self.book.latest, more, guess))
        if isinstance(decision, Granted):
            self.check_amounts(decision)

    @rule()
    def take_grants(self) -> None:
        self.tick()
        self.answers += self.book.serve(self.now)
        decided = [(decision.hold_id, verdict(decision)) for decision in self.ledger.take_grants(self.now)]
        assert decided == self.answers
        self.answers = []

    @rule(data=st.data())
    def change_the_limits(self, data: st.DataObject) -> None:
        self.tick()
        self.overran = True
        self.ledger.reconfigure(self.draw_limits(data), self.now)

    @invariant()
    def every_window_is_as_in_the_book(self) -> None:
        for path, snapshot in self.ledger.snapshot(self.now).items():
            self.tick()
            shapes = SHAPES[declared(path)]
            assert len(snapshot.windows) == len(shapes)
            for shape, shown in zip(shapes, snapshot.windows, strict=True):
                held, spent = self.book.used((path, *shape))
                assert (shown.held, shown.spent) == (Amount(*held), Amount(*spent))
                tokens, nano = self.book.limits[declared(path), shape]
                assert shown.free_tokens == (None if tokens is None else tokens - held[0] - spent[0])
                assert shown.free_nano_usd == (None if nano is None else nano - held[1] - spent[1])
                guesses = self.book.guesses((path, *shape))
                assert shown.by_estimate == guesses
                # By estimate a limit may be exceeded by what calls cost beyond it; one by proof beside it is not.
                if not (self.overran or guesses):
                    assert min(shown.free_tokens or 0, shown.free_nano_usd or 0) >= 0

    @invariant()
    def overruns_are_told_and_nothing_else_is(self) -> None:
        told = self.ledger.take_events()
        assert [event.hold_id for event in told if isinstance(event, Overrun)] == self.overruns
        assert len(told) == len(self.overruns)
        self.overruns = []

    @invariant()
    def someone_is_told_when_to_look_at_the_queue_again(self) -> None:
        ends = [asked.until for asked in self.book.queue if asked.until is not None]
        again = self.ledger.next_wait_end
        assert (again is None) == (not ends)
        assert again is None or again <= min(ends)


TestLedger = LedgerMachine.TestCase
