"""One attempt of a call while it runs, and the race of two: a probe and its hedge.

Not here: what is decided before and after an attempt (`_call`), and the exchange itself (`_exchange`).
"""

from __future__ import annotations

import httpx
import trio
from msgspec import Struct

from penstock._books import Running
from penstock._exchange import Exchange
from penstock._health import Permit
from penstock._live_target import LiveTarget
from penstock.errors import CallError, CodecFailedError, FirstTokenTimeoutError, TotalTimeoutError
from penstock.policy.commit import Begin
from penstock.telemetry import AttemptSpan
from penstock.types import ChatRequest, Chunk, Completion

__all__ = ["AttemptRun", "Race"]


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

    @property
    def is_over(self) -> bool:
        """True where nobody needs one more: an attempt brought a token, or the only one has ended by itself."""
        return self.winner is not None or all(attempt.decided for attempt in self._runners)

    @property
    def stages(self) -> tuple[int, ...]:
        """Where they run."""
        return tuple([attempt.stage for attempt in self._runners]) if self._runners else ()

    def was_sent(self) -> bool:
        """True where a request of theirs may have gone out: it has a bill that is worth to be known."""
        return any(attempt.exchange.was_sent for attempt in self._runners)

    def enter(self, attempt: AttemptRun) -> None:
        """One more takes part."""
        self._runners.append(attempt)

    def claim(self, attempt: AttemptRun) -> bool:
        """True for the first that asks, and whenever it asks again; all others are cancelled."""
        if self.winner is None:
            self.winner = attempt
            attempt.decide()
            for other in self._runners:
                if other is not attempt:
                    other.lost = True
                    if other.scope is not None:
                        other.scope.cancel()
        return self.winner is attempt

    def end(self) -> None:
        """All is said and told: lets go of the attempts, and those of their errors.

        They hold it, and an error holds the frames that it passed, where the attempt is: together they would wait for
        the garbage collector, which stops every call. What an error says, it says without them, except of a bug.
        """
        for attempt in self._runners:
            error, attempt.error = attempt.error, None
            if error is not None and not isinstance(error, CodecFailedError):
                error.__traceback__ = None
                if isinstance(error.__cause__, httpx.TransportError):
                    error.__cause__.__traceback__ = None  # it was caught in a frame of the attempt
        self._runners.clear()
        self.winner = None


class AttemptRun(Struct, eq=False):
    """One attempt. After it ended, it holds a completion, or an error, or neither: it was cancelled, or lost a race.

    What a loser holds is settled and told, and never shown: an answer that came in the very moment it lost.
    """

    stage: int
    target: LiveTarget
    permit: Permit
    request: ChatRequest
    """Before the budget has its say."""
    streamed: bool
    """Upstream: whether the consumer sees a stream is another matter."""
    begin: Begin
    running: Running
    exchange: Exchange
    span: AttemptSpan
    race: Race
    wants_value: bool = False
    """Its answer is to become a value, however the target is asked for it."""
    sent: ChatRequest | None = None
    """As it went out, capped by the budget and by what its target can write; None: not yet."""
    scope: trio.CancelScope | None = None
    """Around it where it is one of two: the other may cancel it."""
    undecided: trio.CancelScope | None = None
    """Around whoever prepares a hedge for it: over as soon as it is decided."""
    decided: bool = False
    """It brought a token, or ended."""
    held: list[Chunk] | None = None
    """What came before its first token; None where nothing did."""
    completion: Completion | None = None
    validating: float | None = None
    """Seconds that making a value of its answer took, or finding out that it is none; None: nobody asked for one."""
    error: CallError | None = None
    filtered: bool = False
    """The error is that its answer was filtered or refused, and the route wants another one."""
    lost: bool = False
    """Another attempt was first."""

    def decide(self) -> None:
        """It brought a token, or ended: nobody needs to prepare a hedge for it any more."""
        self.decided = True
        if self.undecided is not None:
            self.undecided.cancel()

    @property
    def overtaken(self) -> bool:
        """A probe that brought nothing before its hedge did. A hedge that lost had less time: that says nothing."""
        came = self.completion is not None or self.exchange.first_token_at is not None
        return self.lost and not self.running.hedge and not came

    @property
    def was_hurried(self) -> bool:
        """It was left because the call has little time, sooner than its target is known to be silent.

        That is the caller's haste, and says nothing of the target's health.
        """
        usual = self.target.phases_for(self.request).first_token
        silent = isinstance(self.error, FirstTokenTimeoutError | TotalTimeoutError)
        return silent and self.exchange.phases.halved and self.limit < usual

    @property
    def limit(self) -> float:
        """Seconds until its first sign of an answer is overdue: of a whole answer there is none before its end."""
        phases = self.exchange.phases
        return phases.first_token if self.streamed else phases.total
