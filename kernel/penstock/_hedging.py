"""Hedges: the attempt beside a probe that brings nothing, and how long that is waited for.

Not here: how the two run and which of them is shown (`_trials`, `_attempt`).
"""

from __future__ import annotations

import attrs

from penstock._asked import Call
from penstock._attempt import AttemptRun, Race
from penstock._cover import Cover
from penstock._engine import Engine
from penstock._fitting import CallFitting
from penstock._health import tell_health
from penstock._reach import Reach
from penstock._retry_leave import RetryLeave
from penstock._trials import Trials
from penstock.actors.stream_pump import Consumer
from penstock.errors import BudgetExceededError, CallError, LedgerUnavailableError
from penstock.policy.patience import patience

__all__ = ["Hedging"]


@attrs.define(eq=False)
class Hedging:
    """Finds a second attempt for the probes of one call."""

    engine: Engine
    call: Call
    consumer: Consumer | None
    fitting: CallFitting
    reach: Reach
    cover: Cover
    leave: RetryLeave
    trials: Trials

    def delay(self, probe: AttemptRun) -> float:
        """Seconds that a probe of a target known to be silent is waited for before another attempt begins."""
        learned = self.engine.router.snapshot.learned.get(probe.target.name)
        return patience(
            learned.first_token_p95 if learned and probe.streamed else None,
            probe.permit.overtaken,
            limit=probe.limit,
            left=self.call.deadline - self.engine.clock.monotonic(),
        )

    async def hedge(self, stage: int, race: Race) -> AttemptRun | None:
        """An attempt beside the probe of `stage`, at the next target that can be asked now; None: there is none."""
        passed = {stage}
        while self.consumer is None or not self.consumer.left:
            other = self.reach.elsewhere(*passed)
            if other is None:
                other = self.reach.elsewhere(*passed, probing=True)
            if other is None:
                return None
            passed.add(other)
            hedge = await self.hedge_at(other, race)
            if hedge is not None or race.is_over:
                return hedge
        return None  # who asked is gone: what is under way may end, and no more

    async def hedge_at(self, stage: int, race: Race) -> AttemptRun | None:
        """The same at one stage; None where it may not be tried, or by now need not."""
        target, begin = self.call.targets[stage], self.trials.begin_at(stage)
        fitted = self.fitting.request_for(stage, target)
        if isinstance(fitted, CallError):
            return None
        asked = self.trials.asked(stage, begin, fitted)
        try:
            if self.call.chain and await self.cover.one_more(stage, begin, asked) is not None:
                return None
        except (BudgetExceededError, LedgerUnavailableError):
            return None  # the probe goes on alone
        if await self.leave.ask_for_hedge(stage, self.trials.asked_now) is not None:
            return None
        permit = await self.reach.admit(stage, ignoring=False)
        if permit is None:
            return None
        if race.is_over:
            tell_health(self.engine, target, permit, self.call.id, answered=False, error=None)
            return None
        self.call.span.event("hedge", target=target.name)
        return self.trials.make(stage, permit, begin, asked, race)
