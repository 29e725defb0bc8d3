"""BudgetKeeper: the one owner of the ledger. What it grants is held until the same call settles it.

It never restarts: a ledger that forgot what was spent would be worse than none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from msgspec import Struct

from penstock._clock import Clock
from penstock.actors._address import Address
from penstock.actors._inbox import Inbox, open_mailbox
from penstock.actors._mail import Envelope, Reply, Request
from penstock.actors._mailbox import MailStatistics
from penstock.actors._supervisor import NEVER_RESTART, Actor
from penstock.policy.accounts import AccountSpec
from penstock.policy.budget import (
    AccountSnapshot,
    Amount,
    BudgetEvent,
    Granted,
    Ledger,
    Line,
    Refused,
    Waiting,
)

__all__ = ["BudgetKeeper", "BudgetRef", "open_budget_keeper"]


class _Reserve(Request["Granted | Refused"], frozen=True):
    hold_id: str
    account: str
    lines: tuple[Line, ...]
    min_output: int
    max_output: int
    wait: float


class _TopUp(Request["Granted | Refused"], frozen=True):
    hold_id: str
    more: Amount


class _Settle(Struct, frozen=True):
    hold_id: str
    charged: Amount
    estimated: bool


class BudgetKeeper(Actor):
    """Owns a Ledger. A reserve that has to wait is answered when settles make room, or when its wait is over."""

    name = "budget_keeper"
    restart_policy = NEVER_RESTART

    def __init__(self, ledger: Ledger, clock: Clock, on_event: Callable[[BudgetEvent], None]) -> None:
        self._ledger = ledger
        self._clock = clock
        self._on_event = on_event
        self._waiting: dict[str, Reply[Granted | Refused]] = {}

    def handle(self, envelope: Envelope) -> None:
        """One message."""
        now = self._clock.wall()
        message = envelope.message
        match message:
            case _Reserve():
                self._reserve(message, envelope.reply, now)
            case _Settle():
                self._ledger.settle(message.hold_id, message.charged, now, estimated=message.estimated)
                self._waiting.pop(message.hold_id, None)
            case _TopUp():
                assert envelope.reply is not None
                envelope.reply.answer(self._ledger.top_up(message.hold_id, message.more, now))
            case _:
                raise TypeError(f"budget_keeper takes no {type(message).__name__}")

    def _reserve(self, message: _Reserve, reply: Reply[Granted | Refused] | None, now: float) -> None:
        assert reply is not None
        result = self._ledger.reserve(
            message.hold_id,
            message.account,
            message.lines,
            min_output=message.min_output,
            max_output=message.max_output,
            now=now,
            wait_until=now + message.wait if message.wait > 0 else None,
        )
        if isinstance(result, Waiting):
            self._waiting[message.hold_id] = reply
        else:
            reply.answer(result)

    def drained(self) -> None:
        """Lets those in who fit now; tells what happened."""
        if self._waiting:
            for result in self._ledger.take_grants(self._clock.wall()):
                reply = self._waiting.pop(result.hold_id, None)
                if reply is not None:
                    reply.answer(result)
        for event in self._ledger.take_events():
            self._on_event(event)

    def wake_at(self) -> float | None:
        """When the first wait is over."""
        end = self._ledger.next_wait_end if self._waiting else None
        return None if end is None else self._clock.monotonic() + max(0.0, end - self._clock.wall())

    def restart(self) -> None:
        """Never called: the supervisor's table says so."""
        raise AssertionError("a budget keeper does not restart")

    def stop(self, error: Exception) -> None:
        """Whoever waits for room learns that there will be none."""
        for reply in self._waiting.values():
            reply.fail(error)
        self._waiting.clear()


class BudgetRef:
    """How calls reserve and settle."""

    def __init__(self, address: Address, look: Callable[[], Mapping[str, AccountSnapshot]]) -> None:
        self._address = address
        # Frozen copies, made between two messages: to publish all accounts after every drain would cost each call.
        self._look = look

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
    ) -> Granted | Refused:
        """Holds the dearest of `lines`, over all ancestors at once, or says which limit refuses.

        Waits up to `wait` seconds for other holds to settle where that would make room. Whatever comes of it, `settle`
        is owed.
        """
        message = _Reserve(hold_id, account, tuple(lines), min_output, max_output, wait)
        return await self._address.ask(message, owes=hold_id, deadline=deadline, context=context)

    async def top_up(self, hold_id: str, more: Amount, *, deadline: float, context: object = None) -> Granted | Refused:
        """More for a hold that is not enough. Owes nothing of its own."""
        message = _TopUp(hold_id, more)
        return await self._address.ask(message, rides_on=hold_id, deadline=deadline, context=context)

    def settle(self, hold_id: str, charged: Amount, *, estimated: bool) -> None:
        """Replaces the hold by what was charged. Never raises, never waits; a second one is ignored."""
        if self._address.owes(hold_id):
            self._address.tell_owed(hold_id, _Settle(hold_id, charged, estimated))

    def accounts(self) -> Mapping[str, AccountSnapshot]:
        """Every account that has limits, with what is held and spent there: frozen copies, made on demand."""
        return self._look()

    async def flush(self) -> None:
        """Waits until everything told before is handled."""
        await self._address.flush()

    def close(self) -> None:
        """No more mail."""
        self._address.close()

    def statistics(self) -> MailStatistics:
        """Its mailbox at this moment."""
        return self._address.statistics()


def open_budget_keeper(
    accounts: Sequence[AccountSpec], clock: Clock, *, slots: int, on_event: Callable[[BudgetEvent], None]
) -> tuple[BudgetKeeper, Inbox, BudgetRef]:
    """A keeper with an empty ledger in memory, the inbox for its supervisor, and the Ref for everyone else."""
    address, inbox = open_mailbox(BudgetKeeper.name, slots=slots)
    ledger = Ledger(accounts)
    return BudgetKeeper(ledger, clock, on_event), inbox, BudgetRef(address, lambda: ledger.snapshot(clock.wall()))
