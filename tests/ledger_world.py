"""Several processes over one book, each with at most one batch under way: what they do, and what must hold after it.

Not here: what happens in which order (`policy/test_ledger_machine.py`), and the sums (`ledger_truth`).
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs
from ledger_truth import NONE, Pair, Said, Truth

from penstock.policy.accounts import AccountSpec, Limit
from penstock.policy.hold_ask import HoldAsk
from penstock.policy.hold_queue import HoldQueue
from penstock.policy.holds import Amount, Granted, Line, Refused
from penstock.policy.ledger_book import LedgerBook
from penstock.policy.ledger_steps import (
    Adopt,
    Answer,
    Charged,
    Held,
    Known,
    Lacking,
    Landed,
    Renew,
    Reserve,
    Settle,
    Stale,
    Step,
    TopUp,
    WindowUse,
)
from penstock.policy.memory_pages import MemoryPages
from penstock.policy.window import Per

NOON = 1_777_896_000.0  # 2026-05-04 12:00 UTC
LEASE = 60.0
LATE = 50.0
"""A batch that was given up may still be carried out so much later: within the life of a tombstone."""
ACCOUNTS = ("", "a", "a/x", "b")
DAY = "day:UTC:"
MINUTE = 60
"""The only windows that roll here."""


def accounts(tokens: int, nano_usd: int, *, rolling: bool, guessing: bool) -> list[AccountSpec]:
    """The same limits, some by patterns; `rolling`, `guessing`: the minute of `a` is counted in another way."""
    day = Limit(per=Per.DAY, tokens=6 * tokens, nano_usd=6 * nano_usd)
    hour = Limit(per=Per.HOUR, tokens=3 * tokens, bound="estimate")
    minute = Limit(per=Per.MINUTE, tokens=2 * tokens, nano_usd=2 * nano_usd, rolling=rolling)
    own = Limit(per=Per.MINUTE, tokens=tokens, rolling=True)
    return [
        AccountSpec(path="", limits=(day,)),
        AccountSpec(path="a", limits=(minute,), bound="estimate" if guessing else "proof"),
        AccountSpec(path="*", limits=(hour,)),
        AccountSpec(path="*/x", limits=(own,)),
    ]


@attrs.define
class Call:
    """A call as its process knows it."""

    id: str
    account: str
    lines: tuple[Line, ...]
    likely: tuple[Line, ...]
    least: int
    most: int
    until: float | None
    asked: int
    """Its place in the order of asking."""
    held: Pair | None = None
    charge: Pair = NONE
    let_through: bool = False
    """Without the store: most likely nothing is held for it there."""


@attrs.define
class Process:
    queue: HoldQueue
    skew: float
    rolling: bool
    """How it counts the minute of `a` by now."""
    waiting: dict[str, Call] = attrs.Factory(dict[str, Call])
    """Asked and not answered, in the order of asking."""
    running: dict[str, Call] = attrs.Factory(dict[str, Call])
    owed: dict[str, Call] = attrs.Factory(dict[str, Call])
    """Settled, and the store has not said so yet."""
    flight: list[Step] | None = None
    sent_at: float = 0.0
    used: dict[str, float] = attrs.Factory(dict[str, float])
    """The windows that it has adopted with the limits of now, with the end that each had then."""
    begun: dict[str, float] = attrs.Factory(dict[str, float])
    """By period and kind: when the first window ends that it counted in with the limits of now. Whatever begins after
    that has nothing of a time before."""


class World:
    """Whatever is called, `check` must hold after it."""

    def __init__(self, *, tokens: int, nano_usd: int, skews: Sequence[float]) -> None:
        self.figures = (tokens, nano_usd)
        self.now = NOON
        self.book = LedgerBook(MemoryPages())
        self.truth = Truth(LEASE, NOON)
        self.processes = [self._process(skew, rolling=False, guessing=skew < 0) for skew in skews]
        self.limbo: list[tuple[float, list[Step]]] = []
        self.serial = 0
        self.beyond = False
        """Something was charged that was never held: limits may be exceeded from now on."""
        self.served = NONE
        """By calls that settled, or whose process was killed after their grant."""

    def _process(self, skew: float, *, rolling: bool, guessing: bool) -> Process:
        specs = accounts(*self.figures, rolling=rolling, guessing=guessing)
        return Process(HoldQueue(specs, lease=LEASE, adopts=True), skew, rolling)

    # What happens

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.limbo = [(at, steps) for at, steps in self.limbo if self.now - at < LATE]

    def ask(
        self,
        process: Process,
        account: str,
        lines: tuple[Line, ...],
        outputs: Pair,
        wait: float | None,
        *,
        likely: tuple[Line, ...],
    ) -> None:
        self.serial += 1
        until = None if wait is None else self.now + process.skew + wait
        call = Call(f"hold-{self.serial}", account, lines, likely, *outputs, until, self.serial)
        process.queue.ask(HoldAsk.checked(call.id, account, lines, outputs, call.until, likely=likely))
        process.waiting[call.id] = call

    def settle(self, process: Process, call: Call, charged: Pair) -> None:
        process.waiting.pop(call.id, None)
        process.running.pop(call.id, None)
        if not process.queue.knows(call.id):
            return
        if call.held is None or charged[0] > call.held[0] or charged[1] > call.held[1]:
            self.beyond = self.beyond or charged != NONE
        call.charge = charged
        process.owed[call.id] = call
        process.queue.settle(call.id, Amount(*charged))

    def top_up(self, process: Process, call: Call, more: Pair, likely: Pair | None = None) -> None:
        assert process.queue.top_up(call.id, Amount(*more), None if likely is None else Amount(*likely))

    def send(self, process: Process) -> None:
        """Everything that is to be done, in one batch."""
        assert process.flight is None
        now = self.now + process.skew
        steps = process.queue.batch(now)
        reserves = [step.hold_id for step in steps if isinstance(step, Reserve)]
        assert reserves == sorted(process.waiting, key=lambda id_: process.waiting[id_].asked), (
            "first come, first served"
        )
        assert {step.hold_id for step in steps if isinstance(step, Settle)} == process.owed.keys(), "all that is owed"
        order = [(Adopt, Settle, Renew, TopUp, Reserve).index(type(step)) for step in steps]
        assert order == sorted(order), "what makes room goes before what takes it"
        renewed = {id_ for step in steps if isinstance(step, Renew) for id_ in step.hold_ids}
        self.truth.advance(self.now)
        for id_, call in process.running.items():
            if call.held is not None and not renewed:
                assert not self.truth.entries[id_].lapsed, "a hold of a call that lives lapsed, and is not renewed"
            assert call.held is None or not renewed or id_ in renewed
        self._check_unheld(process, steps, now)
        self._check_first_uses(process, steps)
        process.flight, process.sent_at = steps, now

    def land(self, process: Process) -> None:
        """The store carries it out, and its answer comes."""
        steps, process.flight = self._flown(process), None
        landed = self._carry_out(steps)
        expected = [
            decided
            for step, answer in zip(steps, landed.answers, strict=True)
            if (decided := self._decided(process, step, answer)) is not None
        ]
        told = process.queue.landed(steps, landed, process.sent_at)
        assert [_verdict(decision) for decision in told] == expected

    def lose(self, process: Process, fate: str, *, allow: bool = False) -> None:
        """No answer comes. What was asked for has failed, or is let through."""
        steps, process.flight = self._flown(process), None
        for step in steps:
            if isinstance(step, Adopt):
                process.used.pop(step.window.key, None)
        self._meet(steps, fate)
        self._fail(process, steps, sent=True, allow=allow)

    def find_it_away(self, process: Process) -> None:
        """The store is known to be away: nothing is sent."""
        steps = process.queue.batch(self.now + process.skew)
        self._begin(process, steps)
        self._fail(process, steps, sent=False, allow=False)

    def come_late(self, number: int) -> None:
        """A batch that was given up is carried out after all."""
        _, steps = self.limbo.pop(number)
        self._carry_out(steps)

    def reload(self, process: Process, *, rolling: bool, guessing: bool) -> None:
        """Other limits, while calls run and batches are under way."""
        process.queue.reconfigure(accounts(*self.figures, rolling=rolling, guessing=guessing))
        process.rolling = rolling
        process.used.clear()
        process.begun.clear()

    def kill(self, process: Process, *, skew: float, rolling: bool, guessing: bool, fate: str) -> None:
        """`kill -9`: another one takes its place."""
        if process.flight:
            self._meet(process.flight, fate)
        for call in process.running.values():
            if call.held is not None:
                self._serve(call.held)
        self.processes[self.processes.index(process)] = self._process(skew, rolling=rolling, guessing=guessing)

    def end(self) -> None:
        """All that lives settles, all that is dead lapses: nothing is held, and nothing that was served is missing."""
        for process in self.processes:
            if process.flight is not None:
                self.land(process)
            for call in (*process.running.values(), *process.waiting.values()):
                self.settle(process, call, call.held or NONE)
            for _ in range(3):  # stale ones are asked again
                self.send(process)
                self.land(process)
            assert not process.queue.has_work
            assert process.queue.holds == process.queue.waiting == 0 == len(process.owed)
        self.pass_time(LEASE)
        self.check()
        pages = self.book.pages
        assert isinstance(pages, MemoryPages)
        assert not any(row.held.tokens or row.held.nano_usd for row in pages.windows(None, self.now))
        if self.now < NOON + 43_200:
            _, spent = self.truth.used(DAY)
            assert spent[0] >= self.served[0]
            assert spent[1] >= self.served[1]

    # What must hold

    def check(self) -> None:
        """Every window is as in the book that is kept by hand, and none is used beyond its limit."""
        self.truth.advance(self.now)
        self.book.advance(self.now)
        pages = self.book.pages
        assert isinstance(pages, MemoryPages)
        shown = {row.key: row for row in pages.windows(None, self.now)}
        assert shown.keys() == self.truth.buckets.keys()
        for key, row in shown.items():
            held, spent = self.truth.used(key)
            assert (row.held, row.spent) == (Amount(*held), Amount(*spent)), key
        if DAY in shown and not self.beyond:
            held, spent = self.truth.used(DAY)
            assert held[0] + spent[0] <= 6 * self.figures[0]
            assert held[1] + spent[1] <= 6 * self.figures[1]

    @staticmethod
    def _check_unheld(process: Process, steps: Sequence[Step], now: float) -> None:
        """What had no hold is charged in all windows that its account has by now, whatever it had when it was let
        through; what may have one, in those of its hold."""
        for step in steps:
            if isinstance(step, Settle):
                counted = {use.key for use in step.windows}
                if process.owed[step.hold_id].let_through:
                    assert counted >= windows_of(step.account, rolling=process.rolling)
                    assert all(use.end > now for use in step.windows), "it is charged in a window that is over"
                else:
                    assert not counted

    def _check_first_uses(self, process: Process, steps: Sequence[Step]) -> None:
        """A window that this process counts in for the first time begins with what others of its period have spent.

        Where the period in which the process began to count is over, there is nothing that it could begin with.
        """
        self._begin(process, steps)
        adopted = {step.window.key: step.window.end for step in steps if isinstance(step, Adopt)}
        for step in steps:
            for use in step.windows if isinstance(step, Reserve | TopUp | Settle) else ():
                begun = process.begun[shape_of(use)]
                over = use.end - MINUTE >= begun if use.rolling else use.end > begun
                if use.key not in process.used and not over:
                    assert adopted.get(use.key) == use.end, f"{use.key} is counted in before it is adopted"
        process.used.update(adopted)

    @staticmethod
    def _begin(process: Process, steps: Sequence[Step]) -> None:
        for step in steps:
            for use in step.windows if isinstance(step, Reserve | TopUp | Settle) else ():
                process.begun.setdefault(shape_of(use), use.end)

    # How

    def _meet(self, steps: list[Step], fate: str) -> None:
        """What becomes of a batch whose answer nobody hears: carried out now, late, twice, or never."""
        if fate in ("carried out", "twice"):
            self._carry_out(steps)
        if fate in ("late", "twice"):
            self.limbo.append((self.now, steps))

    @staticmethod
    def _flown(process: Process) -> list[Step]:
        assert process.flight is not None
        return process.flight

    def _carry_out(self, steps: Sequence[Step]) -> Landed:
        expected = self.truth.run(steps, self.now)
        landed = self.book.run(steps, self.now)
        assert landed.now == self.truth.now
        assert [_said(answer, one) for answer, one in zip(landed.answers, expected, strict=True)] == expected
        return landed

    def _decided(self, process: Process, step: Step, answer: Answer) -> tuple[object, ...] | None:
        """What its process must tell whoever asked; notes it."""
        match step, answer:
            case Reserve(), _ if step.hold_id in process.waiting:
                call = process.waiting[step.hold_id]
                return self._asked(process, call, answer)
            case TopUp(), Held() if step.hold_id in process.running:
                call = process.running[step.hold_id]
                call.held, call.let_through = (answer.amount.tokens, answer.amount.nano_usd), False
                return step.hold_id, answer.output_tokens, answer.amount, answer.likely
            case TopUp(), Known() if step.hold_id in process.running and process.running[step.hold_id].let_through:
                # Nothing was held for it yet: with the next batch all of it is asked for.
                self.serial += 1
                call = process.waiting[step.hold_id] = process.running.pop(step.hold_id)
                call.until, call.asked = None, self.serial
            case TopUp(), Lacking() | Known() if step.hold_id in process.running:
                return step.hold_id, "refused"
            case Settle(), Charged() | Known():
                call = process.owed.pop(step.hold_id)
                self._serve(call.charge if isinstance(answer, Charged) else NONE)
            case _:
                pass
        return None

    @staticmethod
    def _asked(process: Process, call: Call, answer: Answer) -> tuple[object, ...] | None:
        over = call.until is None or process.sent_at >= call.until
        match answer:
            case Held():
                process.running[call.id] = process.waiting.pop(call.id)
                call.held, call.let_through = (answer.amount.tokens, answer.amount.nano_usd), False
                return call.id, answer.output_tokens, answer.amount, answer.likely
            case Stale():
                return None
            case Lacking() if not (answer.hopeless or over):
                return None
            case _:
                del process.waiting[call.id]
                if call.let_through:
                    process.running[call.id] = call  # it may end with what it has
                return call.id, "refused"

    def _fail(self, process: Process, steps: Sequence[Step], *, sent: bool, allow: bool) -> None:
        for step in process.queue.failed(steps, sent=sent):
            if isinstance(step, TopUp):
                continue  # its call goes on without, or ends with what it has
            call = process.waiting.pop(step.hold_id, None)
            if call is None:
                continue  # it left meanwhile
            if allow:
                process.queue.let_through(step)
                call.let_through = True
                process.running[call.id] = call
            else:
                self.settle(process, call, NONE)  # as the call's `finally` does, whatever it was told

    def _serve(self, charge: Pair) -> None:
        self.served = (self.served[0] + charge[0], self.served[1] + charge[1])


def windows_of(account: str, *, rolling: bool) -> set[str]:
    """The keys of those that limit it, as `accounts` says."""
    minute = "minute:rolling:a" if rolling else "minute:UTC:a"
    below = {"": set[str](), "a": {minute}, "a/x": {minute, "minute:rolling:a/x"}, "b": {"hour:UTC:b"}}
    return {DAY, *below[account]}


def shape_of(use: WindowUse) -> str:
    """Period and kind, of the key of a window: all but its account."""
    return use.key.rpartition(":")[0]


def _said(answer: Answer, like: Said) -> Said:
    match answer:
        case Held():
            likely = None if answer.likely is None else (answer.likely.tokens, answer.likely.nano_usd)
            return Said("held", (answer.amount.tokens, answer.amount.nano_usd), likely, answer.output_tokens)
        case Lacking():
            return Said("lacking", lacking=tuple(lack.key for lack in answer.lacks), hopeless=answer.hopeless)
        case Charged():
            return Said("charged", (answer.held.tokens, answer.held.nano_usd))
        case Stale():
            return Said("stale")
        case Known():
            return Said("known")
        case _:
            raise AssertionError(like)


def _verdict(decision: Granted | Refused) -> tuple[object, ...]:
    if isinstance(decision, Granted):
        return decision.hold_id, decision.output_tokens, decision.amount, decision.likely
    return decision.hold_id, "refused"
