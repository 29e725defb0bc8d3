"""BudgetKeeper: what calls hold and settle, one batch after the other in the ledger's store.

At most one batch is under way; what comes meanwhile is the next one. It never restarts: a keeper that forgot what it
owes the store would be worse than none. Not here: how calls speak with it (`budget_ref`), and when a store that does
not answer is asked again (`store_standing`).
"""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Callable, Sequence
from typing import Literal, TypeAlias, cast

import attrs

from penstock._clock import Clock
from penstock._foreign import let_through
from penstock.abc import LedgerStore
from penstock.actors._budget_mail import NotedMail, ReconfigureMail, ReserveMail, SettleMail, TopUpMail
from penstock.actors._inbox import Inbox, open_mailbox
from penstock.actors._mail import Envelope, Reply
from penstock.actors._supervisor import NEVER_RESTART, Actor
from penstock.actors.budget_ref import BudgetRef
from penstock.actors.late_charges import LateCharges
from penstock.actors.store_answers import checked_answers
from penstock.actors.store_standing import StoreChange, StoreStanding, in_time, unavailable, without_waiting
from penstock.errors import ActorFailedError, ConfigError, LedgerUnavailableError
from penstock.policy.accounts import AccountSpec
from penstock.policy.hold_ask import Decision
from penstock.policy.hold_queue import HoldQueue
from penstock.policy.holds import BudgetEvent, Refused
from penstock.policy.ledger_steps import Landed, Renew, Reserve, Settle, Step, TopUp
from penstock.policy.money import usd_in_words

__all__ = ["BudgetKeeper", "KeeperSettings", "OnStoreDown", "open_budget_keeper"]

logger = logging.getLogger("penstock")

OnStoreDown: TypeAlias = Literal["deny", "allow"]

POLL = 0.05
"""Seconds until those who wait for room ask a store again that others settle in, too."""
SETTLE_WITHIN = 0.01
"""Seconds that settles wait for the next ask, to be one batch with it: calls that come one after the other then need
half as many, and whoever comes finds the store at rest more often. Until then what was held stays held."""
LAST_BATCHES = 3
"""At the end of a kernel: what the store would not do for a window that was over is asked again in those of now."""
CANNOT_KEEP = (ValueError, OverflowError, ConfigError)
"""What a store raises for a step that it can never take. Whatever else it raises may be over in a moment."""
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
        self._asking: dict[str, Reply[Decision]] = {}
        """Whose answer is owed: one ask a call at a time."""
        then = "let through and booked later" if settings.on_store_down == "allow" else "refused"
        self._standing = StoreStanding(on_store, then=then)
        self._late = LateCharges()
        self._settle_at = math.inf
        """When settles that wait for the next ask are carried out without one (monotonic)."""

    async def run(self, inbox: Inbox) -> None:
        """Serves until its addresses are closed, then books what is left."""
        commit_now = None if self._store.waits else self._commit_now
        await inbox.serve(self.handle, self.observe, self.drained, self.wake_at, self.commit, commit_now=commit_now)
        self._standing.retry_at = -math.inf
        self._late.let_wait_no_more()
        for _ in range(LAST_BATCHES):
            if self._queue.has_work or self._late:  # and not for a store that is away: then it is not asked again
                await self.commit(at_once=True)
        self._late.let_wait_no_more()
        self._take_late_charges()
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
            case ReserveMail():
                assert envelope.reply is not None
                self._queue.ask(message.ask)
                self._asking[message.ask.hold_id] = envelope.reply
            case SettleMail():
                hold_id = message.hold_id
                self._asking.pop(hold_id, None)
                if self._queue.knows(hold_id):
                    self._queue.settle(hold_id, message.charged, estimated=message.estimated, spent=message.spent)
            case TopUpMail(hold_id=hold_id, more=more, likely=likely):
                assert envelope.reply is not None
                if self._queue.top_up(hold_id, more, likely):
                    self._asking[hold_id] = envelope.reply
                else:
                    envelope.reply.answer(Refused(hold_id, "", "", more, None, "settled"))
            case ReconfigureMail(accounts=accounts):
                assert envelope.reply is not None
                self._queue.reconfigure(accounts)
                envelope.reply.answer(None)
            case _:
                raise TypeError(f"budget_keeper takes no {type(message).__name__}")

    def observe(self, observations: dict[str, object]) -> None:
        """What calls spent that had no hold, by call."""
        for call_id, seen in observations.items():
            noted = cast("NotedMail", seen)
            # Of accounts that are limited by now there are no more than were under way when that came about.
            if self._queue.kept < MOST_UNBOOKED or self._queue.windows.is_limited(noted.account):
                self._queue.settle(
                    call_id, noted.charged, estimated=noted.estimated, account=noted.account, spent=noted.spent
                )

    async def commit(self, *, at_once: bool) -> None:
        """Everything that is to be done now, in one batch; where the store was away, first what is owed to it.

        Settles alone wait a little, unless it is to be done `at_once`.
        """
        queue = self._queue
        self._take_late_charges()
        if self._standing.away is not None:
            if self._clock.monotonic() < self._standing.retry_at:
                self._turn_away(queue.batch(self._clock.wall()), sent=False)
                return
            if not await self._carry_out(self._clock.wall(), serve=False):
                return
        now = self._clock.wall()
        is_due = queue.some_wait or queue.next_renewal <= now
        if is_due or (queue.has_work and (at_once or not self._settles_wait())):
            await self._carry_out(now, serve=True)

    def _take_late_charges(self) -> None:
        if self._late:
            for charge in self._late.due(self._clock.monotonic()):
                self._queue.again(charge)

    def _commit_now(self) -> None:
        """`commit`, of a store that never waits."""
        without_waiting(self.commit(at_once=True))

    def _settles_wait(self) -> bool:
        if not self._queue.only_settles or not self._store.waits:
            return False
        now = self._clock.monotonic()
        if self._settle_at == math.inf:
            self._settle_at = now + SETTLE_WITHIN
        return now < self._settle_at

    async def _carry_out(self, now: float, *, serve: bool) -> bool:
        """One batch; False where the store did not answer.

        Where it does, and will not take the batch, it is for what one step says: the halves of it are sent in its
        place, until that one stands alone. It is dropped, or, if it is a charge that may be taken later, stands aside
        for a while. Its neighbours never pay for it, then or later.
        """
        self._settle_at = math.inf
        left: list[Sequence[Step]] = [self._queue.batch(now, serve=serve)]
        while left:
            steps = left.pop(0)
            try:
                landed = checked_answers(await self._asked(steps), steps)
            except BaseException as error:  # noqa: BLE001 - foreign code: a broken store degrades budgets, never the kernel
                let_through(error)
                if steps and not isinstance(error, LedgerUnavailableError) and await self._still_answers():
                    if len(steps) > 1:
                        middle = len(steps) // 2
                        left[:0] = [steps[:middle], steps[middle:]]
                        continue
                    if not self._stands_aside(steps[0], error):
                        self._drop(steps[0], error)
                        continue
                    if not self._late.too_many:
                        continue
                self._standing.lost(unavailable(error), self._clock.monotonic())
                self._turn_away([*steps, *itertools.chain(*left)], sent=True)
                return False
            self._standing.found(len(steps))
            self._landed(steps, landed, now)
        return True

    async def _still_answers(self) -> bool:
        """True where the store takes a batch in which nothing can be wrong."""
        try:
            checked_answers(await self._asked(()), ())
        except BaseException as error:  # noqa: BLE001 - foreign code
            let_through(error)
            return False
        return True

    def _stands_aside(self, step: Step, error: BaseException) -> bool:
        """True where it is a charge that is tried again after a while."""
        if not isinstance(step, Settle) or isinstance(error, CANNOT_KEEP):
            return False
        return self._late.takes(step, self._clock.monotonic())

    def _landed(self, steps: Sequence[Step], landed: Landed, now: float) -> None:
        if self._late:
            self._late.forget(steps)
        for decision in self._queue.landed(steps, landed, now):
            reply = self._asking.pop(decision.hold_id, None)
            if reply is not None:
                reply.answer(decision)
        self._tell_events()

    def _tell_events(self) -> None:
        for event in self._queue.take_events():
            self._on_event(event)

    def _drop(self, step: Step, error: BaseException) -> None:
        """One step that the store cannot take: sent again with each batch, it would keep all others out."""
        why = unavailable(error)
        was_held = not self._queue.is_unheld(step)
        if isinstance(step, Reserve) and not isinstance(error, CANNOT_KEEP):
            self._queue.failed([step])  # it may be held all the same: its settle is sent
        else:
            self._queue.dropped(step)
        if isinstance(step, Reserve | TopUp):
            reply = self._asking.pop(step.hold_id, None)
            if reply is not None:
                says = f"the ledger's store answers, but cannot keep what this call is to hold: {why}"
                reply.fail(LedgerUnavailableError(says))
        elif isinstance(step, Settle):
            logger.error(
                "the ledger's store answers, but cannot keep a charge, which is dropped: %s nano-USD and %s tokens of"
                " account %a; %s: %s",
                step.charged.nano_usd,
                step.charged.tokens,
                step.account,
                "what was held for it is charged in full when its lease ends" if was_held else "nothing is held for it",
                why,
            )
        elif isinstance(step, Renew):
            logger.error(
                "the ledger's store answers, but cannot renew the leases of %d holds, which %s: %s",
                len(step.hold_ids),
                "stay held" if self._queue.holds_have_no_lease else "are charged in full if that goes on",
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
        if not store.waits:
            return without_waiting(store.commit(steps))
        return await in_time(store.commit(steps), self._settings.timeout)

    def _turn_away(self, steps: Sequence[Step], *, sent: bool) -> None:
        """What becomes of asks that the store cannot answer."""
        error = self._standing.away
        assert error is not None
        allowed = self._settings.on_store_down == "allow" and self._queue.kept < MOST_UNBOOKED
        for step in self._queue.failed(steps, sent=sent):
            reply = self._asking.pop(step.hold_id, None)
            if reply is None:
                continue
            if allowed:
                reply.answer(self._queue.let_through(step))
            else:
                wait = max(0.0, self._standing.retry_at - self._clock.monotonic())
                reply.fail(LedgerUnavailableError(str(error), retry_after=wait))

    def wake_at(self) -> float | None:
        """When the first wait is over, leases are to be renewed, or the store is to be asked again."""
        if self._standing.away is not None:
            return self._standing.retry_at
        due = self._next_work_at()
        late = self._late.next_at
        return due if late == math.inf else late if due is None else min(due, late)

    def _next_work_at(self) -> float | None:
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
    queue = HoldQueue(accounts, lease=lease, adopts=store.durable, lapse=settings.lease)
    keeper = BudgetKeeper(queue, store, clock, settings, on_event=on_event, on_store=on_store)
    return keeper, inbox, BudgetRef(address, queue.windows, store, clock, settings.timeout)
