"""Router: keeps what calls learn about targets and providers, and publishes it as a snapshot that calls read.

They ask only where they need leave: to go where a cool-down is just over, and for an attempt that is no first one.
"""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import attrs
from msgspec import Struct

from penstock._clock import Clock
from penstock.actors._address import Address
from penstock.actors._inbox import Inbox, open_mailbox
from penstock.actors._mail import Envelope, Request
from penstock.actors._mailbox import MailStatistics
from penstock.actors._supervisor import Actor
from penstock.actors._waiting_room import WaitingRoom
from penstock.policy.retry_budget import RetryBudget, RetryBudgetSettings, Suppressed, Traffic, Withdrawn
from penstock.policy.routing import Admitted, CoolDown, CoolReason, Denied, Learned, PermitVerdict, Routing, eased

__all__ = ["RouteSnapshot", "Router", "RouterRef", "open_router"]


TOGETHER = 16
"""So many observations of what can wait cost one waking."""
FIRST_TOKENS_KEPT = 100
"""First-token times of a target that wait for the router: no more of them count anyway."""
ASKS_OF_A_CALL = 3
"""A call may hold the permit of a probe and of its hedge, and ask for one more thing meanwhile: it never waits for room
that only its own end would make."""


class RouteSnapshot(Struct, frozen=True):
    """What is known of the targets.

    Absent from `cooling`: may be tried. There and over: may be tried by those whom `RouterRef.admit` lets. Absent from
    `learned`: nothing learned yet.
    """

    cooling: Mapping[str, CoolDown]
    learned: Mapping[str, Learned]
    no_retries: Mapping[str, Suppressed] = {}
    """Providers whose retry budget had no room for a call when somebody last asked; over with `retry_at`."""


@attrs.define
class _Cell:
    """The published snapshot: replaced whole, read by everyone."""

    snapshot: RouteSnapshot
    waiting: WaitingRoom

    def publish(self, snapshot: RouteSnapshot) -> None:
        """Shows what is new, and wakes those it lets pass: of a cool-down that is over as many as it has permits."""
        before, self.snapshot = self.snapshot, snapshot
        self.waiting.ease(eased(before.cooling, snapshot.cooling))


class _Admit(Request["Admitted | Denied"], frozen=True):
    permit_id: str
    scopes: tuple[str, ...]
    lease: float


class _Return(Struct, frozen=True):
    permit_id: str
    verdict: PermitVerdict


class _Withdraw(Request["Withdrawn | Suppressed"], frozen=True):
    provider: str
    nano_usd: int | None
    hold_nano_usd: int | None
    money_only: bool
    """True for a fallback's first attempt: it withdraws no call."""


class _Spend(Request["Withdrawn | Suppressed"], frozen=True):
    account: str
    nano_usd: int | None
    hold_nano_usd: int | None


@attrs.frozen
class _Limited:
    reason: CoolReason
    retry_after: float | None


class _Used(Struct, frozen=True):
    """Of one exchange, or of several together."""

    text_bytes: int
    input_tokens: int
    excess: int


class Router(Actor):
    """Owns the Routing core and the RetryBudget core. A restart forgets: both are learned again from what calls see."""

    name = "router"

    def __init__(
        self,
        retry_budget_for: Callable[[str], RetryBudgetSettings],
        cell: _Cell,
        clock: Clock,
        on_cool_down: Callable[[CoolDown], None],
        retry_money_of: Callable[[str], float | None],
    ) -> None:
        self._retry_budget_for = retry_budget_for
        self._retry_money_of = retry_money_of
        self._cell = cell
        self._clock = clock
        self._on_cool_down = on_cool_down
        self._core = Routing()
        self._retries = RetryBudget(retry_budget_for)
        self._of_accounts = self._no_account_yet()
        self._no_retries: dict[str, Suppressed] = {}
        self._published = self._core.version, self._no_retries

    def _no_account_yet(self) -> RetryBudget:
        """Of accounts only the money counts: providers count the calls."""
        return RetryBudget(
            lambda account: RetryBudgetSettings(money_ratio=self._retry_money_of(account)),
            whose=lambda account: f"account {account!r}" if account else "the root account",
        )

    def handle(self, envelope: Envelope) -> None:
        """One message."""
        now = self._clock.monotonic()
        message = envelope.message
        match message:
            case _Admit(permit_id=permit_id, scopes=scopes, lease=lease):
                assert envelope.reply is not None
                envelope.reply.answer(self._core.admit(permit_id, scopes, now, lease=lease))
            case _Return(permit_id=permit_id, verdict=verdict):
                self._core.give_back(permit_id, verdict, now)
            case _Withdraw(provider=provider, nano_usd=nano_usd, hold_nano_usd=hold, money_only=money_only):
                assert envelope.reply is not None
                ask = self._retries.spend if money_only else self._retries.withdraw
                envelope.reply.answer(ask(provider, now, nano_usd=nano_usd, hold_nano_usd=hold))
                self._note_room(provider, now)
            case _Spend(account=account, nano_usd=nano_usd, hold_nano_usd=hold):
                assert envelope.reply is not None
                envelope.reply.answer(self._of_accounts.spend(account, now, nano_usd=nano_usd, hold_nano_usd=hold))
            case _:
                raise TypeError(f"router takes no {type(message).__name__}")

    def observe(self, observations: dict[str, object]) -> None:
        """What was seen, by sort and name: `limited:` a scope, `used:` a target, `provider:` or `account:` traffic."""
        now = self._clock.monotonic()
        for key, seen in observations.items():
            sort, _, name = key.partition(":")
            match seen:
                case _Limited(reason=reason, retry_after=hint):
                    jitter = random.random()  # noqa: S311 - spreads load, guards nothing
                    cooled = self._core.cool(name, reason, now=now, jitter=jitter, retry_after=hint)
                    if cooled:
                        self._on_cool_down(cooled)
                case _Used():
                    self._core.used(
                        name, text_bytes=seen.text_bytes, input_tokens=seen.input_tokens, excess=seen.excess
                    )
                case Traffic():
                    (self._of_accounts if sort == "account" else self._retries).merge(name, seen)
                    if sort == "provider" and name in self._no_retries:
                        self._note_room(name, now)
                case _:
                    self._core.first_tokens(name, cast("deque[float]", seen))

    def drained(self) -> None:
        """Takes back leases that ended, publishes if anything changed."""
        self._core.expire(self._clock.monotonic())
        standing = self._core.version, self._no_retries
        if standing != self._published:
            self._published = standing
            self._cell.publish(RouteSnapshot(self._core.cooling(), self._core.learned(), self._no_retries))

    def _note_room(self, provider: str, now: float) -> None:
        """For who wants to know beforehand. The mapping is published, so it is replaced."""
        found = self._retries.used_up(provider, now)
        before = self._no_retries.get(provider)
        if found is not None and (before is None or _room(found) != _room(before)):
            self._no_retries = {**self._no_retries, provider: found}
        elif found is None and before is not None:
            self._no_retries = {name: told for name, told in self._no_retries.items() if name != provider}

    def wake_at(self) -> float | None:
        """When the next lease ends."""
        return self._core.next_expiry

    def restart(self) -> None:
        """Forgets: permits of before are unknown to the new core and ignored, retry budgets are as new."""
        self._core = Routing()
        self._retries = RetryBudget(self._retry_budget_for)
        self._of_accounts = self._no_account_yet()
        self._no_retries = {}
        self._published = self._core.version, self._no_retries
        self._cell.publish(RouteSnapshot({}, {}))

    def stop(self, error: Exception) -> None:
        """Nobody waits: every request is answered at once."""


def _room(suppressed: Suppressed) -> tuple[int, int, float]:
    return suppressed.used, suppressed.limit, suppressed.retry_at


class RouterRef:
    """How calls read what the router knows, tell it what they saw, and ask for leave."""

    def __init__(
        self,
        address: Address,
        cell: _Cell,
        clock: Clock,
        retry_budget_for: Callable[[str], RetryBudgetSettings],
    ) -> None:
        self._address = address
        self._cell = cell
        self._clock = clock
        self._retry_budget_for = retry_budget_for
        self._told = 0

    @property
    def snapshot(self) -> RouteSnapshot:
        """What is known now. Never waits."""
        return self._cell.snapshot

    # Leave, where a cool-down is over

    async def admit(
        self,
        permit_id: str,
        scopes: Sequence[str],
        *,
        lease: float,
        deadline: float = math.inf,
        context: object = None,
    ) -> Admitted | Denied:
        """Leave to try scopes of `snapshot.cooling`: all of them, or none. `give_back` is owed."""
        message = _Admit(permit_id, tuple(scopes), lease)
        return await self._address.ask(message, owes=permit_id, deadline=deadline, context=context)

    def give_back(self, permit_id: str, verdict: PermitVerdict) -> None:
        """Returns a permit with how its attempt ended. Never raises, never waits; a second one is ignored.

        Where it ended at a limit, tell `limited` first: that begins the new cool-down.
        """
        if self._address.owes(permit_id):
            self._address.tell_owed(permit_id, _Return(permit_id, verdict))

    # Leave for attempts beyond the first

    async def withdraw(
        self,
        provider: str,
        *,
        nano_usd: int | None = None,
        hold_nano_usd: int | None = None,
        deadline: float = math.inf,
        context: object = None,
    ) -> Withdrawn | Suppressed:
        """Leave for a retry or a hedge, before it waits in back-off. Owes nothing; `settled` takes the receipt.

        `nano_usd` is the most the attempt may come to (None: its price is unknown), `hold_nano_usd` the call's hold.
        """
        message = _Withdraw(provider, nano_usd, hold_nano_usd, money_only=False)
        return await self._address.ask(message, deadline=deadline, context=context)

    async def spend(
        self,
        provider: str,
        *,
        nano_usd: int | None = None,
        hold_nano_usd: int | None = None,
        deadline: float = math.inf,
        context: object = None,
    ) -> Withdrawn | Suppressed:
        """Leave for a fallback's first attempt, which costs money alone. Where no money cap is set nobody is asked."""
        if not self.caps_money(provider):
            return Withdrawn(provider, self._clock.monotonic())
        message = _Withdraw(provider, nano_usd, hold_nano_usd, money_only=True)
        return await self._address.ask(message, deadline=deadline, context=context)

    def first_attempt(self, provider: str) -> None:
        """A call tries this provider for the first time. Never raises; it matters only to the next who asks."""
        now = self._clock.monotonic()
        self._add_traffic(f"provider:{provider}", lambda traffic: traffic.first_attempt(now))

    def settled(self, provider: str, nano_usd: int, granted: Withdrawn | None = None) -> None:
        """What an attempt was charged, with the receipt of its withdrawal if it had one. Never raises."""
        if not self.caps_money(provider):
            return
        now = self._clock.monotonic()
        self._add_traffic(f"provider:{provider}", lambda traffic: traffic.settled(nano_usd, now, granted))

    async def spend_of_account(
        self,
        account: str,
        *,
        nano_usd: int | None = None,
        hold_nano_usd: int | None = None,
        deadline: float = math.inf,
        context: object = None,
    ) -> Withdrawn | Suppressed:
        """Leave for the money of an attempt beyond a call's first, of an account that caps it. As `withdraw`."""
        message = _Spend(account, nano_usd, hold_nano_usd)
        return await self._address.ask(message, deadline=deadline, context=context)

    def settled_of_account(self, account: str, nano_usd: int, granted: Withdrawn | None = None) -> None:
        """What an attempt of a call of the account, or of one below it, was charged. As `settled`."""
        now = self._clock.monotonic()
        self._add_traffic(f"account:{account}", lambda traffic: traffic.settled(nano_usd, now, granted))

    def _add_traffic(self, key: str, add: Callable[[Traffic], None]) -> None:
        waiting = self._address.waiting(key)
        if waiting is not None:
            add(waiting)
            return

        def fold(before: Traffic | None) -> Traffic:
            traffic = before or Traffic()
            add(traffic)
            return traffic

        self._address.observe(key, fold, wake=False)

    def caps_money(self, provider: str) -> bool:
        """True where retries, fallbacks and hedges have a limit in money there."""
        return self._retry_budget_for(provider).money_ratio is not None

    # What was seen

    def limited(self, scope: str, reason: CoolReason, retry_after: float | None) -> None:
        """A target or key said that it is used up for now. Never raises."""

        def fold(before: _Limited | None) -> _Limited:
            seen = _Limited(reason, retry_after)
            # Of many at once the longest hint counts.
            return seen if before is None else max(before, seen, key=lambda limited: limited.retry_after or 0.0)

        self._address.observe(f"limited:{scope}", fold, wake=True)

    def used(self, target: str, *, text_bytes: int, input_tokens: int, excess: int) -> None:
        """Real usage of one exchange; `text_bytes` 0 where it says nothing about text. Never raises."""
        tokens = input_tokens if text_bytes else 0

        def fold(before: _Used | None) -> _Used:
            if before is None:
                return _Used(text_bytes, tokens, excess)
            most = excess if excess > before.excess else before.excess
            return _Used(before.text_bytes + text_bytes, before.input_tokens + tokens, most)

        # An exceeded bound matters at once, the ratio does not.
        self._observe_together(f"used:{target}", fold, wake=excess > 0)

    def first_token(self, target: str, seconds: float) -> None:
        """A healthy answer began so many seconds after its request. Never raises."""

        def fold(before: deque[float] | None) -> deque[float]:
            seen = deque[float](maxlen=FIRST_TOKENS_KEPT) if before is None else before
            seen.append(seconds)
            return seen

        self._observe_together(f"first_token:{target}", fold, wake=False)

    def _observe_together(self, key: str, fold: Callable[[Any], Any], *, wake: bool) -> None:
        """So many together cost one waking, where none of them is urgent."""
        self._told += 1
        self._address.observe(key, fold, wake=wake or self._told % TOGETHER == 0)

    def catch_up(self) -> None:
        """The snapshot shows everything told before. Never waits, never raises."""
        self._address.catch_up()

    async def flush(self) -> None:
        """Waits until everything told before is handled."""
        await self._address.flush()

    def close(self) -> None:
        """No more mail."""
        self._address.close()

    def statistics(self) -> MailStatistics:
        """Its mailbox at this moment."""
        return self._address.statistics()


def open_router(
    clock: Clock,
    *,
    slots: int,
    on_cool_down: Callable[[CoolDown], None],
    waiting: WaitingRoom,
    retry_budget_for: Callable[[str], RetryBudgetSettings] = lambda _: RetryBudgetSettings(),
    retry_money_of: Callable[[str], float | None] = lambda _: None,
) -> tuple[Router, Inbox, RouterRef]:
    """A router, the inbox for its supervisor, and the Ref for everyone else.

    `slots`: calls that may be in flight; those of them in `waiting` hear of every target that lets more pass.
    """
    address, inbox = open_mailbox(Router.name, slots=ASKS_OF_A_CALL * slots)
    cell = _Cell(RouteSnapshot({}, {}), waiting)
    router = Router(retry_budget_for, cell, clock, on_cool_down, retry_money_of)
    return router, inbox, RouterRef(address, cell, clock, retry_budget_for)
