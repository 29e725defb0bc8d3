"""Who asks for a hold, who waits for room, and what is told: the steps for a ledger store, and what its answers mean.

Not here: how a store carries out steps (`ledger_book`), and time: it is given, by the clock of this process, and runs
ahead of it where the store's own does.

    ask -> batch -> (the store) -> landed: Granted | Refused, or it waits and is in the next batch again
                                -> failed: nothing is known of the asks; the settles are kept for the next batch
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
from msgspec import Struct

from penstock.policy.account_window import AccountWindow
from penstock.policy.account_windows import AccountWindows
from penstock.policy.accounts import AccountSpec
from penstock.policy.adoptions import Adoptions
from penstock.policy.hold_ask import Decision, HoldAsk
from penstock.policy.holds import (
    NOTHING,
    Amount,
    BudgetEvent,
    Granted,
    Refused,
    dearest,
)
from penstock.policy.ledger_book import check_amount, check_time
from penstock.policy.ledger_counting import EARLIEST
from penstock.policy.ledger_steps import (
    Adopt,
    Answer,
    Charged,
    Held,
    Lacking,
    Landed,
    Renew,
    Reserve,
    Settle,
    Spent,
    Stale,
    Step,
    TopUp,
)
from penstock.policy.refusals import refused
from penstock.policy.soft_limits import SoftLimits

__all__ = ["HoldQueue"]


class _Live(Struct, gc=False):
    """A hold that this process asked for and has not settled."""

    account: str
    granted: Held | None = None
    """What its call may spend."""
    top_ups: int = 0
    unheld: bool = False
    """It was let through without the store, which most likely holds nothing for it."""


class HoldQueue:
    """What one process asks of a ledger store. One owner calls it; nothing here waits."""

    def __init__(
        self, accounts: Sequence[AccountSpec], *, lease: float = math.inf, adopts: bool = False, lapse: float = 60.0
    ) -> None:
        """`lapse`: seconds until a hold that has no lease is charged in full, where its charge cannot be kept."""
        self.windows = AccountWindows(accounts)
        self.now = EARLIEST
        """The latest time of this process and of the store."""
        self._lease = lease
        self._lapse = lapse
        self._lapsing: tuple[str, ...] = ()
        """Holds without a lease that are to get one, so that they end."""
        self._renew_at = math.inf
        self._live: dict[str, _Live] = {}
        self._asks: dict[str, HoldAsk] = {}
        self._waiting: dict[str, HoldAsk] = {}
        self._lacks: dict[str, Lacking] = {}
        """What those who wait were last told."""
        self._top_ups: dict[str, TopUp] = {}
        self._settles: dict[str, Settle] = {}
        self._unheld: set[str] = set()
        """Settles of calls that may hold nothing, until the store has answered. Their windows are those of the batch
        that they are sent with: an account's windows may change meanwhile, and the time goes on."""
        self._adoptions = Adoptions(self.windows, store_lives_on=adopts)
        self._again = False
        """Some who wait were asked about a window that was over."""
        self._soft = SoftLimits(self.windows)

    # What comes in

    def ask(self, ask: HoldAsk) -> None:
        """A reserve. One that waits already keeps its place."""
        self.windows.on_path(ask.account)  # raises ValueError where it is no path
        if ask.hold_id not in self._waiting:
            self._asks[ask.hold_id] = ask
        if ask.hold_id not in self._live:
            self._live[ask.hold_id] = _Live(ask.account)

    def top_up(self, hold_id: str, more: Amount, likely: Amount | None = None) -> bool:
        """More for a hold; False where this process holds none of that id. `likely`: by estimate; None: as `more`."""
        check_amount(more)
        check_amount(more if likely is None else likely)
        live = self._live.get(hold_id)
        if live is None or live.granted is None:
            return False
        live.top_ups += 1
        self._top_ups[hold_id] = TopUp(hold_id=hold_id, number=live.top_ups, windows=(), more=more, likely=likely)
        return True

    def settle(
        self,
        hold_id: str,
        charged: Amount,
        *,
        estimated: bool = False,
        account: str | None = None,
        spent: tuple[Spent, ...] = (),
    ) -> None:
        """The hold is over. Takes a waiting ask out of the queue; what was asked and is not sent is sent no more.

        What had none is charged to `account`, where it is named: in the windows that it has when the store is told.
        """
        if charged.tokens < 0 or charged.nano_usd < 0:
            check_amount(charged)
        if hold_id in self._settles:
            return
        self._asks.pop(hold_id, None)
        self._top_ups.pop(hold_id, None)
        if self._waiting:
            self._leave(hold_id)
        live = self._live.pop(hold_id, None)
        unheld = account is not None if live is None else live.unheld
        account = live.account if live else account or ""
        turns = (live is not None or unheld) and self.windows.is_soft(account)
        if unheld:
            self._unheld.add(hold_id)
        self._settles[hold_id] = Settle(
            hold_id=hold_id,
            charged=charged,
            estimated=estimated,
            account=account,
            spent=spent,
            turns=turns,
        )

    def reconfigure(self, accounts: Sequence[AccountSpec]) -> None:
        """Other accounts and limits over what is held and spent: `AccountWindows.reconfigure` says what goes on."""
        in_use = [live.account for live in self._live.values()]
        self._adoptions.reconfigure(accounts, in_use)

    # To the store and back

    def batch(self, now: float, *, serve: bool = True) -> list[Step]:
        """Everything to be carried out now: what is settled first, then those who wait, then those who came.

        `serve` False leaves out the asks.
        """
        check_time(now)
        self.now = max(self.now, now)
        uses = self.windows.uses
        steps: list[Step] = []
        settles = self._settles.values()
        steps += [self._in_windows_of_now(settle) for settle in settles] if self._unheld else settles
        if self.now >= self._renew_at:
            self._renew_at = self.now + self._lease / 3
            if held := [hold_id for hold_id, live in self._live.items() if live.granted]:
                steps.append(Renew(tuple(held), self._lease))
        if self._lapsing:
            steps.append(Renew(self._lapsing, self._lapse))
            self._lapsing = ()
        for top_up in self._top_ups.values():
            windows = uses(self._live[top_up.hold_id].account, self.now)
            steps.append(msgspec.structs.replace(top_up, windows=windows))
        self._settles, self._top_ups = {}, {}
        if serve:
            self._again = False
            for ask in (*self._waiting.values(), *self._asks.values()):
                steps.append(
                    Reserve(
                        hold_id=ask.hold_id,
                        account=ask.account,
                        windows=uses(ask.account, self.now),
                        lines=ask.lines,
                        min_output=ask.min_output,
                        max_output=ask.max_output,
                        lease=self._lease,
                        waits=ask.wait_until is not None and now < ask.wait_until,  # as `may_wait`
                        likely=ask.likely,
                    )
                )
        # Before anything is counted there, and in the windows of the same time. Settles without a hold count in the
        # new window, too: before its Adopt they would make it known to the store, which then takes over nothing of
        # what others of its period have spent. Behind it nothing is lost and nothing counts twice: the charge is in no
        # window yet when the new one takes over, and then goes to all of the account's, the former ones too.
        steps[:0] = self._adoptions.before(steps, self.now)
        return steps

    def landed(self, steps: Sequence[Step], landed: Landed, now: float) -> list[Decision]:
        """What the answers say to those who asked. `now` is that of the batch."""
        self.now = max(self.now, landed.now)
        decisions: list[Decision] = []
        for step, answer in zip(steps, landed.answers, strict=True):
            decision: Decision | None = None
            match step:
                case Reserve():
                    decision = self._reserved(step, answer, now)
                case Settle():
                    self._settled(step, answer)
                case TopUp():
                    decision = self._topped_up(step, answer)
                case Adopt() if isinstance(answer, Stale):
                    self._adoptions.again(step)
                case _:
                    pass
            if decision is not None:
                decisions.append(decision)
        return decisions

    def failed(self, steps: Sequence[Step], *, sent: bool = True) -> list[Reserve | TopUp]:
        """The store did not answer: whose asks failed with that. Settles and the like are kept for the next batch.

        `sent` False: the batch never left, so nothing of it is to be undone.
        """
        asked: list[Reserve | TopUp] = []
        kept: dict[str, Settle] = {}
        for step in steps:
            match step:
                case Settle():
                    kept[step.hold_id] = step
                case Adopt():
                    self._adoptions.again(step)
                case Renew() if self.holds_have_no_lease:
                    self._lapsing = (*step.hold_ids, *self._lapsing)
                case Renew():
                    self._renew_at = self.now  # again with the next batch
                case Reserve():
                    self._asks.pop(step.hold_id, None)
                    waited = step.hold_id in self._waiting
                    self._leave(step.hold_id)
                    if not sent and not waited:
                        self._never_held(step.hold_id)
                    asked.append(step)
                case TopUp():
                    asked.append(step)
                case _:
                    pass
        self._settles = {**kept, **self._settles}
        return asked

    def dropped(self, step: Step) -> None:
        """The store answers, and cannot take this step: it is sent no more. What it holds lapses with its lease."""
        match step:
            case Reserve():
                self._asks.pop(step.hold_id, None)
                waited = step.hold_id in self._waiting
                self._leave(step.hold_id)
                if not waited:
                    # Nothing is held, so its settle, in which the same would be wrong, has nothing to settle.
                    self._never_held(step.hold_id)
            case Settle():
                if self.holds_have_no_lease and step.hold_id not in self._unheld:
                    self._lapsing = (*self._lapsing, step.hold_id)
                self._unheld.discard(step.hold_id)
                self._soft.not_booked(step)
            case _:
                pass

    def knows(self, hold_id: str) -> bool:
        """True where a settle of that id has something to settle, as far as this process knows."""
        return hold_id in self._live

    def again(self, settle: Settle) -> None:
        """The charge is in the next batch once more."""
        self._settles.setdefault(settle.hold_id, settle)

    def is_unheld(self, step: Step) -> bool:
        """True of the charge of a call for which the store may hold nothing."""
        return isinstance(step, Settle) and step.hold_id in self._unheld

    @property
    def holds_have_no_lease(self) -> bool:
        """True in a store that ends with the process: whoever holds there settles."""
        return self._lease == math.inf

    def let_through(self, step: Reserve | TopUp) -> Granted:
        """Grants what a store that is away could not: the charge is booked when it is back, in the windows of then."""
        if isinstance(step, TopUp):
            live = self._live[step.hold_id]
            before = live.granted
            assert before is not None  # nobody else tops up
            live.granted = _with_more(before, step)
            return Granted(step.hold_id, before.output_tokens, live.granted.amount, live.granted.likely)
        amount, likely = dearest(step.lines, step.max_output), None
        if any(use.by_estimate for use in step.windows):
            likely = dearest(step.likely or step.lines, step.max_output)
        # One that was let through before may ask for a hold of all that it has: its top-ups go on being counted.
        known = self._live.get(step.hold_id)
        top_ups = known.top_ups if known else 0
        held = Held(step.max_output, amount, likely)
        self._live[step.hold_id] = _Live(step.account, held, top_ups, unheld=True)
        # The store may hold it all the same: it is renewed like the others, which does nothing where there is none.
        self._expect_renewal()
        return Granted(step.hold_id, step.max_output, amount, likely)

    # What is known

    @property
    def has_work(self) -> bool:
        """True where the next batch has something in it beside those who wait, and renewals."""
        return bool(self._asks or self._settles or self._top_ups or self._adoptions or self._again or self._lapsing)

    @property
    def only_settles(self) -> bool:
        """True where the next batch would only settle."""
        return not (self._asks or self._top_ups or self._adoptions or self._again)

    @property
    def some_wait(self) -> bool:
        """True while asks wait for room."""
        return bool(self._waiting)

    @property
    def holds(self) -> int:
        """Holds of this process that are not settled."""
        return sum(live.granted is not None and not live.unheld for live in self._live.values())

    def is_waiting(self, hold_id: str) -> bool:
        """True while that ask waits for room."""
        return hold_id in self._waiting

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._waiting)

    @property
    def kept(self) -> int:
        """Settles that the store has not taken yet."""
        return len(self._settles)

    @property
    def never_booked(self) -> dict[str, tuple[int, Amount]]:
        """By account: of the settles that the store has not taken, those of calls that were let through without it.

        Nothing is held for them. How many, and what they come to.
        """
        lost: dict[str, tuple[int, Amount]] = {}
        for settle in self._settles.values():
            if settle.hold_id in self._unheld and self.windows.counts(settle.account):
                calls, charged = lost.get(settle.account, (0, NOTHING))
                lost[settle.account] = calls + 1, charged + settle.charged
        return lost

    @property
    def next_wait_end(self) -> float | None:
        """When there is something to decide of those who wait although nothing was settled here."""
        ends: list[float] = []
        for hold_id, ask in self._waiting.items():
            if ask.wait_until is not None:
                ends.append(ask.wait_until)
            if hold_id in self._lacks:
                ends += [lack.frees_at for lack in self._lacks[hold_id].lacks if lack.frees_at is not None]
        return min(ends, default=None)

    @property
    def next_renewal(self) -> float:
        """When holds are to be renewed; infinite where nothing is held."""
        return self._renew_at if self._live else math.inf

    def take_events(self) -> list[BudgetEvent]:
        """Soft limits reached and overruns since it was last asked, in order."""
        return self._soft.take_events()

    def _expect_renewal(self) -> None:
        if self._renew_at == math.inf:
            self._renew_at = self.now + self._lease / 3

    # The answers

    def _reserved(self, step: Reserve, answer: Answer, now: float) -> Decision | None:
        ask = self._asks.pop(step.hold_id, None) or self._waiting.get(step.hold_id)
        if ask is None:
            return None  # it left meanwhile: its settle follows
        match answer:
            case Held():
                if self._waiting:
                    self._leave(step.hold_id)
                live = self._live[step.hold_id]
                live.granted, live.unheld = answer, False
                if self._renew_at == math.inf:
                    self._expect_renewal()
                return Granted(step.hold_id, answer.output_tokens, answer.amount, answer.likely)
            case Lacking() if answer.hopeless or not ask.may_wait(now):
                self._leave(step.hold_id)
                return refused(step.hold_id, answer, self._by_key(step.account))
            case Lacking():
                self._waiting[step.hold_id] = ask
                self._lacks[step.hold_id] = answer
                return None
            case Stale():
                # It keeps its place: the order of the answers is the order of asking.
                self._waiting[step.hold_id] = ask
                self._lacks.pop(step.hold_id, None)
                self._again = True
                return None
            case _:
                self._leave(step.hold_id)
                return Refused(step.hold_id, step.account, "", NOTHING, None, "settled")

    def _topped_up(self, step: TopUp, answer: Answer) -> Decision | None:
        live = self._live.get(step.hold_id)
        if live is None:
            return None
        match answer:
            case Held():
                live.granted, live.unheld = answer, False
                return Granted(step.hold_id, answer.output_tokens, answer.amount, answer.likely)
            case Lacking():
                return refused(step.hold_id, answer, self._by_key(live.account))
            case Stale():
                self._top_ups[step.hold_id] = step
                return None
            case _ if live.unheld and live.granted is not None:
                # The store never held what it was let through with: it is to hold all of it now, if there is room.
                all_of_it = _with_more(live.granted, step)
                self._asks[step.hold_id] = HoldAsk.for_all_of(step.hold_id, live.account, all_of_it)
                return None
            case _:
                return Refused(step.hold_id, "", "", step.more, None, "settled")

    def _settled(self, step: Settle, answer: Answer) -> None:
        if isinstance(answer, Stale):
            self._settles[step.hold_id] = step  # again with the next batch, in the windows of then
            return
        self._unheld.discard(step.hold_id)
        if isinstance(answer, Charged):
            self._soft.charged(step, answer, self.now)

    def _in_windows_of_now(self, settle: Settle) -> Settle:
        """As it is to be sent: where it may have no hold, with what its account counts in by now."""
        if settle.hold_id not in self._unheld:
            return settle
        windows = self.windows.uses(settle.account, self.now)
        if settle.windows is windows:  # as of all that are kept while a store is away, thousands of them
            return settle
        return msgspec.structs.replace(settle, windows=windows, turns=self.windows.is_soft(settle.account))

    def _by_key(self, account: str) -> dict[str, AccountWindow]:
        return {window.key: window for window in self.windows.on_path(account)}

    def _never_held(self, hold_id: str) -> None:
        """Its settle has nothing to settle; but what was let through before is charged all the same."""
        live = self._live.get(hold_id)
        if live is not None and not live.unheld:
            del self._live[hold_id]

    def _leave(self, hold_id: str) -> None:
        self._waiting.pop(hold_id, None)
        self._lacks.pop(hold_id, None)


def _with_more(held: Held, step: TopUp) -> Held:
    """What was held or let through, and what is asked beside it."""
    likely = held.likely
    if likely is not None:
        likely += step.more if step.likely is None else step.likely
    return Held(held.output_tokens, held.amount + step.more, likely)
