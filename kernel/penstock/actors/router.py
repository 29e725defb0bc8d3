"""Router: keeps what calls learn about targets and providers, and publishes it as a snapshot that calls read.

They ask only where they need leave: to go where a cool-down is just over, and for an attempt that is no first one.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from typing import cast

from penstock._clock import Clock
from penstock.actors._inbox import Inbox, open_mailbox
from penstock.actors._mail import Envelope
from penstock.actors._router_mail import (
    AdmitMail,
    LimitedNote,
    ReturnMail,
    RouteCell,
    RouteSnapshot,
    SpendMail,
    UsedNote,
    WithdrawMail,
)
from penstock.actors._supervisor import Actor
from penstock.actors._waiting_room import WaitingRoom
from penstock.actors.router_ref import RouterRef
from penstock.policy.retry_budget import RetryBudget, RetryBudgetSettings, Suppressed, Traffic
from penstock.policy.routing import CoolDown, Routing

__all__ = ["Router", "open_router"]


ASKS_OF_A_CALL = 3
"""A call may hold the permit of a probe and of its hedge, and ask for one more thing meanwhile: it never waits for room
that only its own end would make."""


class Router(Actor):
    """Owns the Routing core and the RetryBudget core. A restart forgets: both are learned again from what calls see."""

    name = "router"

    def __init__(
        self,
        retry_budget_for: Callable[[str], RetryBudgetSettings],
        cell: RouteCell,
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
            case AdmitMail(permit_id=permit_id, scopes=scopes, lease=lease):
                assert envelope.reply is not None
                envelope.reply.answer(self._core.admit(permit_id, scopes, now, lease=lease))
            case ReturnMail(permit_id=permit_id, verdict=verdict):
                self._core.give_back(permit_id, verdict, now)
            case WithdrawMail(provider=provider, nano_usd=nano_usd, hold_nano_usd=hold, money_only=money_only):
                assert envelope.reply is not None
                ask = self._retries.spend if money_only else self._retries.withdraw
                envelope.reply.answer(ask(provider, now, nano_usd=nano_usd, hold_nano_usd=hold))
                self._note_room(provider, now)
            case SpendMail(account=account, nano_usd=nano_usd, hold_nano_usd=hold):
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
                case LimitedNote(reason=reason, retry_after=hint):
                    jitter = random.random()  # noqa: S311 - spreads load, guards nothing
                    cooled = self._core.cool(name, reason, now=now, jitter=jitter, retry_after=hint)
                    if cooled:
                        self._on_cool_down(cooled)
                case UsedNote():
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
    cell = RouteCell(RouteSnapshot({}, {}), waiting)
    router = Router(retry_budget_for, cell, clock, on_cool_down, retry_money_of)
    return router, inbox, RouterRef(address, cell, clock, retry_budget_for)
