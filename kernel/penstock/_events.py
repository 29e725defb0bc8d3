"""What the kernel tells those who watch it: typed events, fanned out without ever waiting for a listener."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable
from typing import Self, TypeAlias, cast

import trio
from msgspec import Struct

from penstock._config_mistakes import shown
from penstock.errors import ConfigError, ConfigMistake

__all__ = [
    "ActorCrashed",
    "AttemptEnded",
    "BreakerChanged",
    "BudgetNotBooked",
    "BudgetOverrun",
    "BudgetSoftLimit",
    "CacheRefreshed",
    "CacheStoreChanged",
    "CallEnded",
    "CallStarted",
    "CoolingDown",
    "Event",
    "EventHub",
    "EventStream",
    "LedgerAway",
    "LedgerBack",
    "ParametersDropped",
    "PartsLeftOut",
    "Reloaded",
    "RequestAdapted",
    "RetrySuppressed",
    "Shutdown",
    "StreamEndLost",
    "UsageDisbelieved",
]


class CallStarted(Struct, frozen=True, tag="call_started"):
    """A call got its place among those in flight."""

    call_id: str
    route: str
    account: str


class AttemptEnded(Struct, frozen=True, tag="attempt_ended"):
    """One upstream exchange is over. `outcome` is `ok`, `cancelled` or the kind of its error.

    What is charged for it is its bill; where the provider told none, `estimated`, and the most it can come to. Where
    nothing bounds that (a document by URL, a model whose longest answer is not known, in a call without a limited
    account), it is the best guess, as in `Attempt.usage`; where the price is not known, the money is 0.
    """

    call_id: str
    target: str
    number: int
    outcome: str
    duration: float
    charged_tokens: int = 0
    charged_nano_usd: int = 0
    estimated: bool = False


class StreamEndLost(Struct, frozen=True, tag="stream_end_lost"):
    """An answer came whole, and counts; in the place of the mark of its end, or of its usage, something else did.

    `reason` is the kind of error that this would have been before: `truncated` where the connection broke, `malformed`
    where an event or the HTTP around it could not be read, `idle_timeout` where nothing came that mattered, the kind of
    an error that the provider told there, or another of a transport.
    """

    call_id: str
    target: str
    reason: str


class UsageDisbelieved(Struct, frozen=True, tag="usage_disbelieved"):
    """A provider told counts of tokens that cannot be right: below zero, or more than a thousand million of one kind.

    They are taken for none: what is told and charged in their place is an estimate.
    """

    call_id: str
    target: str


class ParametersDropped(Struct, frozen=True, tag="parameters_dropped"):
    """A target was asked without parameters that it cannot take, by the names that `on_unsupported` uses.

    `max_tokens` among them: it is asked for no more than its model can write.
    """

    call_id: str
    target: str
    parameters: tuple[str, ...]


class PartsLeftOut(Struct, frozen=True, tag="parts_left_out"):
    """A target was given the conversation without parts that it cannot take: how many, and of which kinds.

    Kinds: `thinking`, `provider_part` and `citations` of another wire family; `image`, `tool_call`, `tool_result`.
    """

    call_id: str
    target: str
    kinds: tuple[str, ...]
    parts: int


class RequestAdapted(Struct, frozen=True, tag="request_adapted"):
    """A target was asked all of it, in other words than the request has, so that its wire takes it.

    What of: `tools_declared`: the tools that the conversation has used, none of which may be called now.
    `tool_errors_in_words`: results of tools that failed, where the wire has no field for that. `thinking_reduced`: less
    thinking than was asked for, so that an answer has room beside it in `max_tokens`.
    """

    call_id: str
    target: str
    adaptations: tuple[str, ...]


class CallEnded(Struct, frozen=True, tag="call_ended"):
    """A call is over. `duration` in seconds, `cost` in nano-USD (None: a price is unknown)."""

    call_id: str
    route: str
    account: str
    outcome: str
    target: str | None
    attempts: int
    duration: float
    tokens: int
    cost: int | None
    cache: str


class BreakerChanged(Struct, frozen=True, tag="breaker_changed"):
    """A breaker went from one state to another."""

    scope: str
    before: str
    after: str
    reason: str


class CoolingDown(Struct, frozen=True, tag="cooling_down"):
    """A target or key is left alone for `seconds`."""

    scope: str
    seconds: float
    reason: str


class RetrySuppressed(Struct, frozen=True, tag="retry_suppressed"):
    """A call may not try once more: the retry budget of that provider is used up.

    `reason` is `calls` or `money`; `says` tells how much of what is used up, and when there is room again.
    """

    call_id: str
    provider: str
    reason: str
    says: str


class BudgetSoftLimit(Struct, frozen=True, tag="budget_soft_limit"):
    """An account used more than the soft share of a limit."""

    account: str
    limit: str
    used_ratio: float


class BudgetDegraded(Struct, frozen=True, tag="budget_degraded"):
    """An account has spent so much of a limit that its calls by route go `route` instead, until less of it is spent."""

    account: str
    limit: str
    used_ratio: float
    route: str


class BudgetOverrun(Struct, frozen=True, tag="budget_overrun"):
    """A provider billed more than the bound of its request; it was booked in full."""

    account: str
    tokens: int
    nano_usd: int


class BudgetNotBooked(Struct, frozen=True, tag="budget_not_booked"):
    """The ledger's store answers, and cannot keep this charge: it is dropped, so that it holds up no other.

    What was held for it is charged in full when its lease ends; the log says why it could not be kept.
    """

    account: str
    tokens: int
    nano_usd: int


class LedgerAway(Struct, frozen=True, tag="ledger_away"):
    """The ledger's store does not answer. Told once, until it does again."""

    reason: str
    on_store_down: str
    """`deny`: calls of limited accounts are refused; `allow`: they go, and are booked when it is back."""


class LedgerBack(Struct, frozen=True, tag="ledger_back"):
    """The ledger's store answers again."""

    booked: int
    """Charges that had waited for it."""


class CacheStoreChanged(Struct, frozen=True, tag="cache_store_changed"):
    """The store of the cache is left alone (`usable` False), or asked again. `part` is `reading` or `writing`."""

    store: str
    part: str
    usable: bool
    reason: str


class CacheRefreshed(Struct, frozen=True, tag="cache_refreshed"):
    """A stale answer was fetched anew behind a caller's back; `outcome` as for a call. `call_id` is of that call."""

    call_id: str
    target: str
    outcome: str


class Reloaded(Struct, frozen=True, tag="reloaded"):
    """Another configuration holds for calls that begin from now on."""

    changed: tuple[str, ...]
    """The sections that differ from before; keys of providers are not compared."""


class ActorCrashed(Struct, frozen=True, tag="actor_crashed"):
    """A bug in penstock. `restarted` is False where that actor is over."""

    actor: str
    error: str
    restarted: bool


class Shutdown(Struct, frozen=True, tag="shutdown"):
    """The kernel takes no new calls; `in_flight` are given `grace` seconds."""

    in_flight: int
    grace: float


Event: TypeAlias = (
    CallStarted
    | ParametersDropped
    | PartsLeftOut
    | RequestAdapted
    | AttemptEnded
    | StreamEndLost
    | UsageDisbelieved
    | CallEnded
    | BreakerChanged
    | CoolingDown
    | RetrySuppressed
    | BudgetSoftLimit
    | BudgetDegraded
    | BudgetNotBooked
    | BudgetOverrun
    | LedgerAway
    | LedgerBack
    | CacheStoreChanged
    | CacheRefreshed
    | Reloaded
    | ActorCrashed
    | Shutdown
)


class EventStream:
    """One listener: async-iterates events, oldest first. A listener that is slow loses the oldest, counted in `missed`.

    It listens from the moment it is made until `close`, or until the kernel is closed.
    """

    def __init__(self, hub: EventHub, size: int) -> None:
        self._hub = hub
        self._waiting: deque[Event] = deque(maxlen=size)
        self._lot = trio.lowlevel.ParkingLot()
        self._closed = False
        self.missed = 0

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        while not self._waiting:
            if self._closed:
                raise StopAsyncIteration
            await self._lot.park()
        return self._waiting.popleft()

    def take(self) -> list[Event]:
        """What has come so far, without waiting."""
        events = list(self._waiting)
        self._waiting.clear()
        return events

    def close(self) -> None:
        """Listens no more; what has come can still be read."""
        self._closed = True
        self._hub.forget(self)
        self._lot.unpark_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def put(self, event: Event) -> None:
        """For the hub."""
        if len(self._waiting) == self._waiting.maxlen:
            self.missed += 1
        self._waiting.append(event)
        self._lot.unpark_all()


class EventHub:
    """Fans events out. `emit` never waits and never raises."""

    def __init__(self) -> None:
        self._streams: list[EventStream] = []
        self._tap: Callable[[Event], None] | None = None
        self._watcher: Callable[[Event], None] | None = None

    @property
    def heard(self) -> bool:
        """False while nobody listens: then an event need not be made."""
        return bool(self._streams) or self._tap is not None

    def tap(self, listener: Callable[[Event], None] | None) -> None:
        """Who is called with every event, beside the streams. It must not raise."""
        self._tap = listener

    def watch(self, listener: Callable[[Event], None]) -> None:
        """Who is called with every event that is made anyway: for its sake alone none is. It must not raise."""
        self._watcher = listener

    def listen(self, size: int) -> EventStream:
        """A new listener that keeps at most `size` events. Raises ConfigError where that is no number of them."""
        if not isinstance(cast("object", size), int) or isinstance(size, bool) or not 1 <= size <= sys.maxsize:
            raise ConfigError(
                [ConfigMistake("size", f"it is {shown(size)}; it must be a number of events, at least 1")]
            )
        stream = EventStream(self, size)
        self._streams.append(stream)
        return stream

    def forget(self, stream: EventStream) -> None:
        """For the stream's own close."""
        if stream in self._streams:
            self._streams.remove(stream)

    def emit(self, event: Event) -> None:
        """Tells every listener."""
        if self._tap is not None:
            self._tap(event)
        if self._watcher is not None:
            self._watcher(event)
        for stream in self._streams:
            stream.put(event)

    def close(self) -> None:
        """The kernel is closed: every stream ends after what it holds."""
        for stream in list(self._streams):
            stream.close()
