"""One attempt of a call while it runs, and the race of two: a probe and its hedge.

Not here: what is decided before and after an attempt (`_call`), and the exchange itself (`_exchange`).
"""

from __future__ import annotations

import attrs
import trio

from penstock._books import Running
from penstock._exchange import Exchange
from penstock._health import Permit
from penstock._targets import LiveTarget
from penstock.errors import CallError
from penstock.policy.commit import Begin
from penstock.telemetry import AttemptSpan
from penstock.types import ChatRequest, Chunk, Completion

__all__ = ["AttemptRun", "Race", "unwrapped"]


class Race:
    """Who of the attempts under way is shown: the first that brings a token, or the whole answer. The others end."""

    __slots__ = ("_runners", "winner")

    def __init__(self) -> None:
        self._runners: list[AttemptRun] = []
        self.winner: AttemptRun | None = None

    @property
    def is_on(self) -> bool:
        """True where an attempt is under way already: one more is a hedge."""
        return bool(self._runners)

    def enter(self, attempt: AttemptRun) -> None:
        """One more takes part."""
        self._runners.append(attempt)

    def claim(self, attempt: AttemptRun) -> bool:
        """True for the first that asks, and whenever it asks again; all others are cancelled."""
        if self.winner is None:
            self.winner = attempt
            attempt.decided.set()
            for other in self._runners:
                if other is not attempt:
                    other.lost = True
                    other.scope.cancel()
        return self.winner is attempt


@attrs.define(eq=False)
class AttemptRun:
    """One attempt. After it ended, it holds a completion, or an error, or neither: it was cancelled, or lost a race."""

    stage: int
    target: LiveTarget
    permit: Permit
    request: ChatRequest
    """As it goes to the codec."""
    streamed: bool
    """Upstream: whether the consumer sees a stream is another matter."""
    begin: Begin
    running: Running
    exchange: Exchange
    span: AttemptSpan
    race: Race
    scope: trio.CancelScope = attrs.Factory(trio.CancelScope)
    decided: trio.Event = attrs.Factory(trio.Event)
    """It brought a token, or ended."""
    held: list[Chunk] = attrs.Factory(list[Chunk])
    """What came before its first token."""
    completion: Completion | None = None
    error: CallError | None = None
    filtered: bool = False
    """The error is that its answer was filtered or refused, and the route wants another one."""
    lost: bool = False
    """Another attempt was first."""


def unwrapped(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """What a nursery of ours ended in, bare: no group of ours reaches a user."""
    others = group.split(trio.Cancelled)[1]
    first: BaseException = (others or group).exceptions[0]
    return unwrapped(first) if isinstance(first, BaseExceptionGroup) else first  # pyright: ignore[reportUnknownArgumentType] - whatever is in a group is an exception
