"""Runs an actor, and decides what a crash means: a restart with a new core, or the end of that actor.

The table: BreakerRegistry, CacheActor and Router start again, at most 3 times in 5 s. BudgetKeeper never does:
forgetting what was spent is the one unforgivable bug.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from typing import ClassVar

import attrs
import trio

from penstock.actors._inbox import Inbox
from penstock.actors._mail import Envelope
from penstock.errors import ActorFailedError

__all__ = ["NEVER_RESTART", "RESTART", "Actor", "RestartPolicy", "supervise"]

logger = logging.getLogger("penstock")


@attrs.frozen
class RestartPolicy:
    """At most `restarts` within `seconds`: Elixir's default, which has served for decades."""

    restarts: int
    seconds: float


RESTART = RestartPolicy(3, 5.0)
NEVER_RESTART = RestartPolicy(0, 0.0)


class Actor(ABC):
    """A task that owns one pure core. Its handlers never await."""

    name: ClassVar[str]
    asks: ClassVar[frozenset[str]] = frozenset()
    """The actors it may ask: the declarations together must have no cycle."""
    restart_policy: ClassVar[RestartPolicy] = RESTART
    at_once: ClassVar[bool] = False
    """True for one that takes no observations, publishes nothing after a drain, and waits for no moment: then mail is
    handled as it is sent where it sleeps, in the sender's task, one message at a time and in order as ever."""

    async def run(self, inbox: Inbox) -> None:
        """Serves until its addresses are closed; then answers whoever still waits."""
        await inbox.serve(self.handle, self.observe, self.drained, self.wake_at, at_once=self.at_once)
        self.stop(ActorFailedError(f"{self.name} ended with the kernel"))

    @abstractmethod
    def handle(self, envelope: Envelope) -> None:
        """One message. An exception is a crash: it fails this asker and counts as a restart."""

    def observe(self, observations: dict[str, object]) -> None:
        """What callers reported since the last drain, merged by key."""
        raise TypeError(f"{self.name} takes no observations, got {sorted(observations)}")

    def drained(self) -> None:
        """The mailbox is empty: publish what changed."""
        return

    def wake_at(self) -> float | None:
        """When (monotonic) something is due without mail."""
        return None

    @abstractmethod
    def restart(self) -> None:
        """Begins again with a new core. What the old one had promised to answer later fails or is let go."""

    @abstractmethod
    def stop(self, error: Exception) -> None:
        """The actor is over: answers everyone it had promised an answer."""


async def supervise(
    actor: Actor, inbox: Inbox, on_crash: Callable[[str, Exception, bool], None]
) -> ActorFailedError | None:
    """Runs `actor` until it ends. Returns None, or the error of the crash that ended it for good; never raises it.

    `on_crash` hears of every crash: the actor's name, the error, and whether it starts again.
    """
    crashes: deque[float] = deque()
    while True:
        try:
            await actor.run(inbox)
        except Exception as crash:  # noqa: BLE001 - whatever a handler raises is a bug, and all bugs are treated alike
            again = _may_restart(crashes, actor.restart_policy)
            # No traceback here: its values could hold prompts. It travels as the cause of what the askers get.
            logger.error(  # noqa: TRY400
                "actor %s crashed: %s%s", actor.name, type(crash).__name__, "; restarted" if again else ""
            )
            on_crash(actor.name, crash, again)
            error = ActorFailedError(
                f"the {actor.name} of the kernel broke ({type(crash).__name__}): a bug in penstock, please report it"
            )
            error.__cause__ = crash
            inbox.fail_in_hand(error)
            if not again:
                inbox.die(error)
                actor.stop(error)
                return error
            actor.restart()
            inbox.count_restart()
        else:
            return None


def _may_restart(crashes: deque[float], policy: RestartPolicy) -> bool:
    now = trio.current_time()
    while crashes and crashes[0] <= now - policy.seconds:
        crashes.popleft()
    if len(crashes) >= policy.restarts:
        return False
    crashes.append(now)
    return True
