"""What every call of a kernel works with: the Refs of the actors, the targets, the transport, the clock."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping

import attrs
import trio

from penstock._asked import Call, CallTerms
from penstock._budgeting import BudgetRules
from penstock._clock import Clock
from penstock._config import Config
from penstock._events import EventHub
from penstock._live_target import LiveTarget
from penstock._outputs import OutputBook
from penstock._overdue import Overdue
from penstock._second_level import SecondLevel
from penstock._step import Step
from penstock._targets import TargetBook
from penstock.actors._mailbox import MailStatistics
from penstock.actors._waiting_room import WaitingRoom
from penstock.actors.breaker_registry import BreakerRef
from penstock.actors.budget_ref import BudgetRef
from penstock.actors.cache_actor import CacheRef
from penstock.actors.router_ref import RouterRef
from penstock.errors import ActorFailedError, KernelClosedError
from penstock.policy.accounts import AccountTree
from penstock.policy.breaker import BreakerState
from penstock.policy.freshness import Freshness
from penstock.telemetry import Telemetry

__all__ = ["Engine", "later"]


MOST_DRAINS = 32
"""Streams that may go on without a consumer at once; one more is cancelled: an exact bill is worth no pile of them."""


ALONE = 8
"""Calls in flight up to which each runs on as far as it can. Of more, each lets the others come as far as it is, twice
(`_step`). Both switches are a twentieth of the instructions of a call, and save a tenth of its time at 32 and at 256 in
flight; at 8 neither shows, and alone a call would take a thirtieth longer (`benchmarks`: calls).
"""


def _refreshes_nothing(call: Call, stage: int, key: str) -> None:
    """Until the kernel says who does."""
    del call, stage, key


@attrs.define(eq=False)
class Engine:
    """Shared by all calls. `config`, `targets`, `accounts` and `rules` are replaced together by a reload: a call takes
    from them what it needs when it is planned, and never again.
    """

    name: str
    """Begins the ids of its calls."""
    config: Config
    clock: Clock
    targets: TargetBook
    accounts: AccountTree
    rules: BudgetRules
    budget: BudgetRef
    breakers: BreakerRef
    waiting: WaitingRoom
    """Where calls sleep until a target may be tried again."""
    cache: CacheRef | None
    router: RouterRef
    events: EventHub
    telemetry: Telemetry
    places: trio.Semaphore
    """`max_in_flight` of them, given out in the order of asking."""
    second_level: SecondLevel | None = None
    """What keeps answers beyond this process; None: nothing does."""
    freshness: Freshness = attrs.field(factory=Freshness)
    """What the age of a stored answer allows."""
    refresh: Callable[[Call, int, str], None] = _refreshes_nothing
    """Fetches anew what a call was served past its time, in the background: the call, the stage, the key."""
    starting: Step = attrs.Factory(Step)
    """Where calls that got their place keep step."""
    ending: Step = attrs.Factory(Step)
    """Where calls that got their answer do."""
    drains: trio.Semaphore = attrs.Factory(lambda: trio.Semaphore(MOST_DRAINS, max_value=MOST_DRAINS))
    """Places of streams that go on upstream after their consumers have left."""
    overdue: Overdue = attrs.Factory(Overdue)
    """Ends exchanges whose own time is up."""
    outputs: OutputBook = attrs.Factory(OutputBook)
    """The types that answers are to become, each made ready once."""
    reload: Callable[[Config], Awaitable[None]] | None = None
    """Takes on another configuration; None only while the kernel opens."""
    problems: Callable[[], tuple[str, ...]] = tuple
    """Plugins that could not be used, as far as is known by now."""
    running: set[trio.CancelScope] = attrs.Factory(set[trio.CancelScope])
    """The scopes of the calls in flight: what a shutdown cancels when its grace is over."""
    dead: list[str] = attrs.Factory(list[str])
    """Actors that are over for good: a bug, after which the kernel takes calls only to fail them."""
    failure: ActorFailedError | None = None
    """The first of their crashes."""
    closing: bool = False
    calls: int = 0
    """Counted up for the ids of calls."""
    terms: dict[tuple[object, ...], CallTerms] = attrs.Factory(dict[tuple[object, ...], CallTerms])
    """What options came to, by what they said (`_plan`). A reload begins anew."""
    _places_in_step: int = attrs.field(init=False)
    """So few are left where calls keep step."""
    _idle: trio.Event | None = None

    def __attrs_post_init__(self) -> None:
        self._places_in_step = self.config.kernel.max_in_flight - ALONE

    @property
    def in_flight(self) -> int:
        """Calls that have a place."""
        return self.config.kernel.max_in_flight - self.places.value

    @property
    def keeps_step(self) -> bool:
        """Whether it pays for a call to let the others come as far as it is: see `ALONE`."""
        return self.places.value < self._places_in_step

    def fail(self, actor: str, error: ActorFailedError) -> None:
        """An actor is over for good: calls in flight end with its error, and later ones are not taken."""
        self.dead.append(actor)
        self.failure = self.failure or error
        for scope in tuple(self.running):
            scope.cancel()

    def check_taking_calls(self) -> None:
        """Raises KernelClosedError or ActorFailedError where no call can be taken any more."""
        if self.closing:
            raise KernelClosedError("the kernel is shut down or shutting down; it takes no new calls")
        if self.failure is not None:
            raise ActorFailedError(*self.failure.args) from self.failure.__cause__

    def ended(self, scope: trio.CancelScope) -> None:
        """A call is over."""
        self.running.discard(scope)
        if not self.running and self._idle is not None:
            self._idle.set()

    async def idle(self) -> None:
        """Waits until no call is running."""
        while self.running:
            self._idle = trio.Event()
            await self._idle.wait()

    def mail(self) -> tuple[MailStatistics, ...]:
        """The mailboxes of all actors."""
        refs = (self.router, self.breakers, self.cache, self.budget)
        return tuple(ref.statistics() for ref in refs if ref is not None)

    async def flush(self) -> None:
        """Waits until every actor has handled what it was told before."""
        for ref in (self.router, self.breakers, self.cache, self.budget):
            if ref is not None:
                await ref.flush()

    def cooling(self, targets: tuple[LiveTarget, ...]) -> Mapping[int, float]:
        """Stages that cool down, with the moment until which (monotonic)."""
        cooling = self.router.snapshot.cooling
        return _latest(targets, lambda scope: cooling[scope].until if scope in cooling else None) if cooling else {}

    def opened(self, targets: tuple[LiveTarget, ...]) -> Mapping[int, float]:
        """Stages with an open circuit, with the moment of its first probe (monotonic; infinite while isolated)."""
        unhealthy = self.breakers.snapshot

        def until(scope: str) -> float | None:
            health = unhealthy.get(scope)
            blocked = health is not None and health.state in (BreakerState.OPEN, BreakerState.ISOLATED)
            return health.open_until if health and blocked else None

        return _latest(targets, until) if unhealthy else {}

    def doubted(self, targets: tuple[LiveTarget, ...]) -> Mapping[int, float]:
        """Stages with a circuit that is not closed, for as long as nobody has shown that they are well."""
        unhealthy = self.breakers.snapshot
        return _latest(targets, lambda scope: math.inf if scope in unhealthy else None) if unhealthy else {}

    def unavailable(self, targets: tuple[LiveTarget, ...]) -> Mapping[int, float]:
        """Stages that nobody may try yet, for either reason, with the moment from which on (monotonic)."""
        return later(self.cooling(targets), self.opened(targets))


def later(one: Mapping[int, float], other: Mapping[int, float]) -> Mapping[int, float]:
    """Both together: the later moment of each stage."""
    if not (one and other):
        return one or other
    return {stage: max(one.get(stage, 0.0), other.get(stage, 0.0)) for stage in {*one, *other}}


def _latest(targets: tuple[LiveTarget, ...], until: Callable[[str], float | None]) -> Mapping[int, float]:
    blocked: dict[int, float] = {}
    for stage, target in enumerate(targets):
        moments = [moment for scope in target.scopes if (moment := until(scope)) is not None]
        if moments:
            blocked[stage] = max(moments)
    return blocked
