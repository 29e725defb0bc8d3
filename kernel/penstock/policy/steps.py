"""The words between a call and its cascade: the stages that it has, and the steps that it is told to take.

Not here: which step is next (`retry`).
"""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

import attrs
from msgspec import Struct

__all__ = ["AllOpen", "Stage", "Step", "Stop", "Try", "Wait"]


AllOpen: TypeAlias = Literal["soonest", "fail", "ignore"]
"""What a call does where the circuits of all targets it could still try are open: wait for the first probe that its
time allows, stop at once, or try them as if they were closed. A cool-down is no open circuit: where one target cools
and the others are open, the first of them is waited for under each policy. Nor is an isolated one ever ignored."""


@attrs.frozen
class Stage:
    """One stage of a cascade: a target, and how many attempts a call may make there."""

    target: str
    attempts: int = 1
    context_window: int | None = None
    provider: str = ""
    target_share: float = math.inf
    """Failures against its target after which the call goes to others first (`BreakerSettings.share_of_a_call`)."""
    provider_share: float = math.inf
    """The same of failures against its provider."""

    def closeness(self, other: Stage) -> int:
        """How much they have in common: 2 the target, 1 the provider, 0 nothing.

        Where a provider is reached does not count: another key at the same address shares no fate.
        """
        if self.target == other.target:
            return 2
        return int(bool(self.provider) and self.provider == other.provider)


class Try(Struct, frozen=True):
    """Attempt this stage now. `ignoring`: though its circuit is open; no leave is to be asked for."""

    stage: int
    ignoring: bool = False


@attrs.frozen
class Wait:
    """Nothing to do before `until`; then ask again. `stage` is the one waited for."""

    until: float
    stage: int


@attrs.frozen
class Stop:
    """The cascade is over.

    `final`: an error that no other target would cure. `spent`: every target has been tried as often as it may be.
    `no_time`: the next one could be tried at `ready_at`, after the deadline. `all_open`: every circuit is open, and
    the call was not to wait for the first, at `ready_at`.
    """

    reason: Literal["final", "spent", "no_time", "all_open"]
    ready_at: float | None = None


Step: TypeAlias = Try | Wait | Stop
