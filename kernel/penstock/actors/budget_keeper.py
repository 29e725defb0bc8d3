"""BudgetKeeper: what calls hold and settle, one batch after the other in the ledger's store.

At most one batch is under way; what comes meanwhile is the next one. It never restarts: a keeper that forgot what it
owes the store would be worse than none.
"""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Literal, TypeAlias, TypeVar, cast

import attrs
import trio
from msgspec import Struct

from penstock._clock import Clock
from penstock.abc import LedgerStore
from penstock.actors._address import Address
from penstock.actors._inbox import Inbox, open_mailbox
from penstock.actors._mail import Envelope, Reply, Request
from penstock.actors._mailbox import MailStatistics
from penstock.actors._supervisor import NEVER_RESTART, Actor
from penstock.errors import ActorFailedError, LedgerUnavailableError
from penstock.policy.account_windows import AccountSnapshot, AccountWindows
from penstock.policy.accounts import AccountSpec
from penstock.policy.foreseen_hold import foresee_hold
from penstock.policy.hold_queue import Decision, HoldAsk, HoldQueue
from penstock.policy.holds import NOTHING, Amount, BudgetEvent, Granted, Line, Refused
from penstock.policy.ledger_steps import Held, Lacking, Landed, Reserve, Settle, Spent, Step, TopUp, WindowRow
from penstock.policy.money import usd_in_words
from penstock.policy.refusals import refusals

__all__ = ["BudgetKeeper", "BudgetRef", "KeeperSettings", "OnStoreDown", "StoreChange", "open_budget_keeper"]

logger = logging.getLogger("penstock")

T = TypeVar("T")

OnStoreDown: TypeAlias = Literal["deny", "allow"]

POLL = 0.05
"""Seconds until those who wait for room ask a store again that others settle in, too."""
SETTLE_WITHIN = 0.01
"""Seconds that settles wait for the next ask, to be one batch with it: calls that come one after the other then need
half as many, and whoever comes finds the store at rest more often. Until then what was held stays held."""
RETRY = (0.1, 2.0)
"""Seconds until a store that did not answer is asked again, at first and at most; doubled in between."""
MOST_SAID = 10
"""Different troubles of a store that are logged until it is back."""
MOST_UNBOOKED = 10_000
"""Charges that are kept for a store that is away, some megabytes; beyond it no more calls are let through."""


@attrs.frozen(kw_only=True)
class KeeperSettings:
    """How the keeper deals with its store."""

    lease: float = 60.0
    """Seconds after which a hold that nobody renews is charged in full. Renewed at a third of it."""
    timeout: float = 5.0
    """Seconds that the store gets for one batch."""
    on_store_down: OnStoreDown = "deny"


class StoreChange(Struct, frozen=True):
    """The store does not answer any more, or does again."""

    away: bool
    reason: str = ""
    booked: int = 0
    """Once it is back: charges that had waited for it."""


class _Reserve(Request[Decision], frozen=True, gc=False):
    hold_id: str
    account: str
    lines: tuple[Line, ...]
    likely: tuple[Line, ...]
    min_output: int
    max_output: int
    wait: float


class _TopUp(Request[Decision], frozen=True, gc=False):
    hold_id: str
    more: Amount
    likely: Amount | None


class _Settle(Struct, frozen=True, gc=False):
    hold_id: str
    charged: Amount
    estimated: bool
    spent: tuple[Spent, ...]


@attrs.frozen
class _Noted:
    account: str
    spent: tuple[Spent, ...]


class _Reconfigure(Request[None], frozen=True):
    accounts: tuple[AccountSpec, ...]


class BudgetKeeper(Actor):
    """Owns a HoldQueue. A reserve that has to wait is answered when settles make room, or when its wait is over."""

    name = "budget_keeper"
    restart_policy = NEVER_RESTART

    def __init__(
        self,
        queue: HoldQueue,
        store: LedgerStore,
        clock: Clock,
        settings: KeeperSettings,
        *,
        on_event: Callable[[BudgetEvent], None],
        on_store: Callable[[StoreChange], None],
    ) -> None:
        self._queue = queue
        self._store = store
        self._clock = clock
        self._settings = settings
        self._on_event = on_event
        self._on_store = on_store
        self._asking: dict[str, Reply[Decision]] = {}
        """Whose answer is owed: one ask a call at a time."""
        self._away: LedgerUnavailableError | None = None
        self._said: set[str] = set()
        """What was logged since the store is away: what is wrong with it may change meanwhile."""
        self._retry_at = -math.inf
        self._retry_in = RETRY[0]
        self._settle_at = math.inf
        """When settles that wait for the next ask are carried out without one (monotonic)."""

    async def run(self, inbox: Inbox) -> None:
        """Serves until its addresses are closed, then books what is left."""
        await inbox.serve(self.handle, self.observe, self.drained, self.wake_at, self.commit)
        if self._queue.has_work:
            self._retry_at = -math.inf
            await self.commit(at_once=True)
        self._tell_what_is_left()
        self.stop(ActorFailedError(f"{self.name} ended with the kernel"))

    def _tell_what_is_left(self) -> None:
        """At the end, while the store is away: what will be booked otherwise, and what never."""
        lost = self._queue.never_booked
        for account, (calls, charged) in lost.items():
            logger.error(
                "the ledger's store is away, and the kernel ends: %s USD and %d tokens of %d calls of account %a, which"
                " were let through without it, are never booked; add them by hand (penstock budget set)",
                usd_in_words(charged.nano_usd),
                charged.tokens,
                calls,
                account or "/",
            )
        held = self._queue.kept - sum(calls for calls, _ in lost.values())
        if held:
            logger.error(
                "the ledger's store is away: %d charges were not booked; what is held for them is charged in full when"
                " the leases end",
                held,
            )

    def handle(self, envelope: Envelope) -> None:
        """One message."""
        message = envelope.message
        match message:
            case _Reserve():
                assert envelope.reply is not None
                wait_until = self._clock.wall() + message.wait if message.wait > 0 else None
                outputs = (message.min_output, message.max_output)
                ask = HoldAsk.checked(
                    message.hold_id, message.account, message.lines, outputs, wait_until, likely=message.likely
                )
                self._queue.ask(ask)
                self._asking[message.hold_id] = envelope.reply
            case _Settle():
                hold_id = message.hold_id
                self._asking.pop(hold_id, None)
                if self._queue.knows(hold_id):
                    self._queue.settle(hold_id, message.charged, estimated=message.estimated, spent=message.spent)
            case _TopUp(hold_id=hold_id, more=more, likely=likely):
                assert envelope.reply is not None
                if self._queue.top_up(hold_id, more, likely):
                    self._asking[hold_id] = envelope.reply
                else:
                    envelope.reply.answer(Refused(hold_id, "", "", more, None, "settled"))
            case _Reconfigure(accounts=accounts):
                assert envelope.reply is not None
                self._queue.reconfigure(accounts)
                envelope.reply.answer(None)
            case _:
                raise TypeError(f"budget_keeper takes no {type(message).__name__}")

    def observe(self, observations: dict[str, object]) -> None:
        """What calls spent that had no hold, by call."""
        for call_id, seen in observations.items():
            noted = cast("_Noted", seen)
            if self._queue.kept < MOST_UNBOOKED:
                self._queue.settle(call_id, NOTHING, account=noted.account, spent=noted.spent)

    async def commit(self, *, at_once: bool) -> None:
        """Everything that is to be done now, in one batch; where the store was away, first what is owed to it.

        Settles alone wait a little, unless it is to be done `at_once`.
        """
        queue = self._queue
        if self._away is not None:
            if self._clock.monotonic() < self._retry_at:
                self._turn_away(queue.batch(self._clock.wall()), sent=False)
                return
            if not await self._carry_out(self._clock.wall(), serve=False):
                return
        now = self._clock.wall()
        is_due = queue.some_wait or queue.next_renewal <= now
        if is_due or (queue.has_work and (at_once or not self._settles_wait())):
            await self._carry_out(now, serve=True)

    def _settles_wait(self) -> bool:
        if not self._queue.only_settles or not (self._store.durable or self._store.shared):
            return False
        now = self._clock.monotonic()
        if self._settle_at == math.inf:
            self._settle_at = now + SETTLE_WITHIN
        return now < self._settle_at

    async def _carry_out(self, now: float, *, serve: bool) -> bool:
        """One batch; False where the store did not answer.

        Where it does, and will not take the batch, it is for what one step says: the halves of it are sent in its
        place, until that one stands alone and is dropped. Its neighbours never pay for it, then or later.
        """
        self._settle_at = math.inf
        left: list[Sequence[Step]] = [self._queue.batch(now, serve=serve)]
        while left:
            steps = left.pop(0)
            try:
                landed = await self._asked(steps)
            except Exception as error:  # noqa: BLE001 - foreign code: a broken store degrades budgets, never the kernel
                if steps and not isinstance(error, LedgerUnavailableError) and await self._still_answers():
                    if len(steps) == 1:
                        self._drop(steps[0], error)
                    else:
                        middle = len(steps) // 2
                        left[:0] = [steps[:middle], steps[middle:]]
                    continue
                self._is_away(_unavailable(error))
                self._turn_away([*steps, *itertools.chain(*left)], sent=True)
                return False
            if self._away is not None:
                self._is_back(len(steps))
            self._landed(steps, landed, now)
        return True

    async def _still_answers(self) -> bool:
        """True where the store takes a batch in which nothing can be wrong."""
        try:
            await self._asked(())
        except Exception:  # noqa: BLE001 - foreign code
            return False
        return True

    def _landed(self, steps: Sequence[Step], landed: Landed, now: float) -> None:
        for decision in self._queue.landed(steps, landed, now):
            reply = self._asking.pop(decision.hold_id, None)
            if reply is not None:
                reply.answer(decision)
        self._tell_events()

    def _tell_events(self) -> None:
        for event in self._queue.take_events():
            self._on_event(event)

    def _drop(self, step: Step, error: Exception) -> None:
        """One step that the store cannot take: sent again with each batch, it would keep all others out."""
        why = _unavailable(error)
        self._queue.dropped(step)
        if isinstance(step, Reserve | TopUp):
            reply = self._asking.pop(step.hold_id, None)
            if reply is not None:
                says = f"the ledger's store answers, but cannot keep what this call is to hold: {why}"
                reply.fail(LedgerUnavailableError(says))
        elif isinstance(step, Settle):
            logger.error(
                "the ledger's store answers, but cannot keep a charge, which is dropped: %s nano-USD and %s tokens of"
                " account %a; what was held for it is charged in full when its lease ends: %s",
                step.charged.nano_usd,
                step.charged.tokens,
                step.account,
                why,
            )
        else:
            logger.error(
                "the ledger's store answers, but cannot carry out a step, which is dropped (%s): %s",
                type(step).__name__,
                why,
            )
        self._tell_events()

    async def _asked(self, steps: Sequence[Step]) -> Landed:
        store = self._store
        if not (store.durable or store.shared):
            return await store.commit(steps)  # it has nothing to wait for
        return await _in_time(store.commit(steps), self._settings.timeout)

    def _turn_away(self, steps: Sequence[Step], *, sent: bool) -> None:
        """What becomes of asks that the store cannot answer."""
        error = self._away
        assert error is not None
        allowed = self._settings.on_store_down == "allow" and self._queue.kept < MOST_UNBOOKED
        for step in self._queue.failed(steps, sent=sent):
            reply = self._asking.pop(step.hold_id, None)
            if reply is None:
                continue
            if allowed:
                reply.answer(self._queue.let_through(step))
            else:
                wait = max(0.0, self._retry_at - self._clock.monotonic())
                reply.fail(LedgerUnavailableError(str(error), retry_after=wait))

    def _is_away(self, error: LedgerUnavailableError) -> None:
        if self._away is None:
            self._on_store(StoreChange(away=True, reason=str(error)))
            then = "let through and booked later" if self._settings.on_store_down == "allow" else "refused"
            logger.error("%s; calls of accounts with limits are %s", error, then)
        elif str(error) not in self._said and len(self._said) < MOST_SAID:
            logger.error("%s", error)
        if len(self._said) < MOST_SAID:
            self._said.add(str(error))
        self._away = error
        self._retry_at = self._clock.monotonic() + self._retry_in
        self._retry_in = min(2 * self._retry_in, RETRY[1])

    def _is_back(self, booked: int) -> None:
        self._away = None
        self._said.clear()
        self._retry_in = RETRY[0]
        self._on_store(StoreChange(away=False, booked=booked))
        logger.warning("the ledger's store answers again; %d charges that waited for it are booked", booked)

    def wake_at(self) -> float | None:
        """When the first wait is over, leases are to be renewed, or the store is to be asked again."""
        if self._away is not None:
            return self._retry_at
        if self._queue.has_work:
            # Or at once: what the store would not do for a window that was over.
            return self._clock.monotonic() if self._settle_at == math.inf else self._settle_at
        due = self._queue.next_renewal
        if due == math.inf and not self._queue.some_wait:
            return None
        now, wall = self._clock.monotonic(), self._clock.wall()
        if self._queue.some_wait:
            end = self._queue.next_wait_end
            due = due if end is None else min(due, end)
            if self._store.shared:
                due = min(due, wall + POLL)
        return None if due == math.inf else now + max(0.0, due - wall)

    def restart(self) -> None:
        """Never called: the supervisor's table says so."""
        raise AssertionError("a budget keeper does not restart")

    def stop(self, error: Exception) -> None:
        """Whoever waits for an answer learns that there will be none."""
        for reply in self._asking.values():
            reply.fail(error)
        self._asking.clear()


class BudgetRef:
    """How calls reserve and settle."""

    def __init__(self, address: Address, windows: AccountWindows, store: LedgerStore, timeout: float) -> None:
        self._address = address
        self._windows = windows
        self._store = store
        self._timeout = timeout
        self.keeps_journal = store.durable
        """Whether anybody can read later what was spent at which target."""
        self._rows: Sequence[WindowRow] = ()
        self._seen: frozenset[str] = frozenset()
        """The windows that the store was asked for when it was last looked at."""

    async def reserve(
        self,
        hold_id: str,
        account: str,
        lines: Sequence[Line],
        *,
        min_output: int,
        max_output: int,
        wait: float,
        deadline: float,
        context: object = None,
        likely: Sequence[Line] = (),
    ) -> Granted | Refused:
        """Holds the dearest of `lines`, over all ancestors at once, or says which limit refuses.

        Windows by estimate hold the dearest of `likely` instead, at the same output; without it, that of `lines`.
        Waits up to `wait` seconds for other holds to settle where that would make room. Whatever comes of it, `settle`
        is owed. Raises LedgerUnavailableError where the store does not answer.
        """
        message = _Reserve(hold_id, account, tuple(lines), tuple(likely), min_output, max_output, wait)
        return await self._address.ask(message, owes=hold_id, deadline=deadline, context=context)

    async def top_up(
        self,
        hold_id: str,
        more: Amount,
        *,
        deadline: float,
        context: object = None,
        likely: Amount | None = None,
    ) -> Granted | Refused:
        """More for a hold that is not enough. Owes nothing of its own. Raises as `reserve` does.

        `likely` is what counts in windows by estimate; None: as `more`.
        """
        message = _TopUp(hold_id, more, likely)
        return await self._address.ask(message, rides_on=hold_id, deadline=deadline, context=context)

    def settle(self, hold_id: str, charged: Amount, *, estimated: bool, spent: Sequence[Spent] = ()) -> None:
        """Replaces the hold by what was charged. Never raises, never waits; a second one is ignored.

        `spent` says which target it went to, for reports.
        """
        if self._address.owes(hold_id):
            self._address.tell_owed(hold_id, _Settle(hold_id, charged, estimated, tuple(spent)))

    def note(self, call_id: str, account: str, spent: Sequence[Spent]) -> None:
        """For reports: what a call spent that had no need of a hold. Never raises, never waits."""

        def fold(_: object) -> _Noted:
            return _Noted(account, tuple(spent))

        self._address.observe(call_id, fold, wake=True)

    async def reconfigure(self, accounts: Sequence[AccountSpec]) -> None:
        """Other accounts and limits over what is held and spent."""
        await self._address.ask_aside(_Reconfigure(tuple(accounts)))

    def route_instead(self, account: str, now: float) -> str | None:
        """The route that calls of the account go instead of their own, because so much is spent; None: their own."""
        return self._windows.route_instead(account, now)

    def accounts(self) -> Mapping[str, AccountSnapshot]:
        """Every account that has limits, with what is held and spent there.

        Of a store that must be asked, those that it was asked of by the last `look`, as of then: none before the first.
        """
        rows = self._store.peek()
        return self._windows.snapshot(self._rows, self._seen) if rows is None else self._windows.snapshot(rows)

    def foresee(
        self,
        account: str,
        lines: Sequence[Line],
        *,
        min_output: int,
        max_output: int,
        now: float,
        rows: Sequence[WindowRow] | None = None,
        likely: Sequence[Line] = (),
    ) -> Granted | tuple[Refused, ...] | None:
        """What a reserve of the same would come to at `now`: everything in its way, even where it would only wait.

        By `rows`, as `see` shows them; else by what is known without waiting. None: the store was not looked at yet.
        """
        own = self._windows.on_path(account)
        known = self._known({window.key for window in own}) if rows is None else rows
        if known is None:
            return None
        uses = self._windows.uses(account, now)
        step = Reserve(
            hold_id="",
            account=account,
            windows=uses,
            lines=tuple(lines),
            min_output=min_output,
            max_output=max_output,
            lease=self._timeout,
            likely=tuple(likely),
        )
        answer = foresee_hold(step, known, now)
        if isinstance(answer, Held):
            return Granted("", answer.output_tokens, answer.amount, answer.likely)
        assert isinstance(answer, Lacking)  # nobody has settled it, and its windows are those of now
        return refusals(answer, own)

    async def see(self, account: str) -> Sequence[WindowRow]:
        """The windows on the path of an account, as the store has them now. Raises LedgerUnavailableError."""
        rows = self._store.peek()
        return await self._shown([window.key for window in self._windows.on_path(account)]) if rows is None else rows

    async def look(self) -> None:
        """Asks the store how its windows are. Raises LedgerUnavailableError."""
        if self._store.durable:
            keys = self._windows.known_keys()
            self._rows, self._seen = await self._shown(keys), frozenset(keys)

    def _known(self, keys: set[str]) -> Sequence[WindowRow] | None:
        rows = self._store.peek()
        return self._rows if rows is None and keys <= self._seen else rows

    async def _shown(self, keys: Sequence[str]) -> Sequence[WindowRow]:
        try:
            return await _in_time(self._store.windows(keys), self._timeout)
        except Exception as error:  # noqa: BLE001 - foreign code
            raise _unavailable(error) from None

    async def flush(self) -> None:
        """Waits until everything told before is handled, and booked where the store answers."""
        await self._address.flush()

    def close(self) -> None:
        """No more mail."""
        self._address.close()

    def statistics(self) -> MailStatistics:
        """Its mailbox at this moment."""
        return self._address.statistics()


def open_budget_keeper(
    accounts: Sequence[AccountSpec],
    store: LedgerStore,
    clock: Clock,
    *,
    slots: int,
    on_event: Callable[[BudgetEvent], None],
    on_store: Callable[[StoreChange], None],
    settings: KeeperSettings | None = None,
) -> tuple[BudgetKeeper, Inbox, BudgetRef]:
    """A keeper over the store, the inbox for its supervisor, and the Ref for everyone else."""
    settings = settings or KeeperSettings()
    address, inbox = open_mailbox(BudgetKeeper.name, slots=slots)
    # In memory of one process holds need no lease: whoever holds settles, or all of it is gone.
    lease = settings.lease if store.durable or store.shared else math.inf
    queue = HoldQueue(accounts, lease=lease, adopts=store.durable)
    keeper = BudgetKeeper(queue, store, clock, settings, on_event=on_event, on_store=on_store)
    return keeper, inbox, BudgetRef(address, queue.windows, store, settings.timeout)


async def _in_time(answer: Awaitable[T], timeout: float) -> T:  # noqa: ASYNC109 - it is the store's, not a caller's
    """What the store answers within so many seconds. Raises LedgerUnavailableError."""
    with trio.move_on_after(timeout):
        return await answer
    raise LedgerUnavailableError(f"the ledger's store did not answer within {timeout:g} s")


def _unavailable(error: Exception) -> LedgerUnavailableError:
    """What a store raised, as our own error. Foreign words could hold anything."""
    if isinstance(error, LedgerUnavailableError):
        return error
    return LedgerUnavailableError(f"the ledger's store broke: {type(error).__name__}")
