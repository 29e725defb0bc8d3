"""The cascade: what a call does next, and what it does after an attempt failed.

Not here: the table that it goes by (`error_actions`), the words it uses (`steps`), and whether a target is known to be
unhealthy (`breaker`) or cooling (`routing`): the caller says so at each step.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from penstock.policy.backoff import DEFAULTS, RetrySettings, backoff
from penstock.policy.call_share import CallShare
from penstock.policy.error_actions import ACTIONS, Action, Blame, Cools, Next, Same
from penstock.policy.stage_progress import Progress
from penstock.policy.steps import AllOpen, Stage, Step, Stop, Try, Wait

__all__ = [
    "ACTIONS",
    "Action",
    "AllOpen",
    "Blame",
    "Cascade",
    "Cools",
    "Next",
    "RetrySettings",
    "Same",
    "Stage",
    "Step",
    "Stop",
    "Try",
    "Wait",
    "backoff",
]

LATER = 0.01
"""Seconds after a call has heard what a server asks for, by which everyone knows of it: they wait that much longer."""


class Cascade:
    """Walks the stages of one call. It owns every retry: nothing below it tries again.

    Laws: no stage is tried more often than its attempts (and once more where a reused connection was dead), whether
    they fail or lose to another that is faster; no step is planned that begins after the deadline; a stage that may
    never be tried again is never returned; one whose target or provider has failed this call as often as one call may
    have it fail is not returned while another can be tried at once, nor before it has rested; nor is one at a provider
    or address that fell silent while another elsewhere can be; while another can be tried no stage is waited for beyond
    `max_wait` since it failed, in however many waits; the answer depends on the arguments alone.
    """

    def __init__(
        self,
        stages: Sequence[Stage],
        *,
        deadline: float,
        settings: RetrySettings | None = None,
        next_on_content_filter: bool = False,
        all_open: AllOpen = "soonest",
    ) -> None:
        self._stages = tuple(stages)
        self._deadline = deadline
        self._settings = settings or DEFAULTS
        self._next_on_content_filter = next_on_content_filter
        self._all_open = all_open
        self._begun: list[Progress] | None = None
        """None: nothing is known against any stage. So most calls end, of routes however long."""
        self._known_share: CallShare | None = None
        """None: as above."""
        self._staying: int | None = None
        self._final = False

    @property
    def _progress(self) -> list[Progress]:
        """How far the call is at each stage."""
        if self._begun is None:
            self._begun = [Progress() for _ in self._stages]
        return self._begun

    @property
    def _share(self) -> CallShare:
        """What of the call's attempts each target and provider has had."""
        if self._known_share is None:
            self._known_share = CallShare(self._stages)
        return self._known_share

    def next(
        self,
        now: float,
        unavailable: Mapping[int, float] | None = None,
        *,
        opened: Mapping[int, float] | None = None,
    ) -> Step:
        """The next step. Both map a stage to the moment before which nobody may try it.

        `opened`: because its circuit is open (infinite where it is isolated by hand); `unavailable`: because it cools
        down, or for whatever else no policy lets a call pass over.
        """
        if self._final:
            return Stop("final")
        cooling, opened = unavailable or {}, opened or {}
        if self._begun is None and self._stages and not (cooling or opened):
            return Try(0)
        ready = self._ready_times(cooling, opened)
        if not ready:
            return Stop("spent")
        if self.ignores(now, opened):
            return self._ignore(now, cooling, opened)
        if self._all_open != "soonest" and self._all_are_open(now, opened):
            return Stop("all_open", min(ready.values()))
        return self._stay(now, ready) or self._choose(now, ready)

    def ignores(self, now: float, opened: Mapping[int, float]) -> bool:
        """True where the call goes on as if no circuit were open but those isolated by hand: there is no other left."""
        if self._all_open != "ignore" or not self._all_are_open(now, opened):
            return False
        return any(opened[stage] < math.inf for stage, progress in enumerate(self._progress) if not progress.spent)

    def _all_are_open(self, now: float, opened: Mapping[int, float]) -> bool:
        """True where every stage that may still be tried has an open circuit."""
        left = (stage for stage, progress in enumerate(self._progress) if not progress.spent)
        return all(opened.get(stage, -math.inf) > now for stage in left)

    def _ignore(self, now: float, cooling: Mapping[int, float], opened: Mapping[int, float]) -> Step:
        """The step that a call would take if no circuit were open but those isolated by hand."""
        isolated = {stage: until for stage, until in opened.items() if until == math.inf}
        ready = self._ready_times(cooling, isolated)
        step = self._stay(now, ready) or self._choose(now, ready)
        return Try(step.stage, ignoring=True) if isinstance(step, Try) else step

    def _stay(self, now: float, ready: Mapping[int, float]) -> Step | None:
        """The stage that failed last keeps its turn while its wait is short."""
        if self._staying is None or self._staying not in ready:
            return None
        at, progress = ready[self._staying], self._progress[self._staying]
        if at > max(now, progress.not_before) and not progress.patient:
            return None  # it is worse than this call knew: its circuit has opened, and others need not wait for it
        strain = self._strain(self._staying)
        by_then = max(at, now)
        if any(other <= by_then and self._strain(stage) < strain for stage, other in ready.items()):
            return None
        if at <= now:
            return Try(self._staying)
        most = self._settings.max_wait
        # Others come first where many wait: of one long wait in pieces, no piece is long.
        if at - now <= most and at <= progress.failed_at + most + LATER and at < self._deadline:
            return Wait(at, self._staying)
        return None

    def _choose(self, now: float, ready: Mapping[int, float]) -> Step:
        """The first stage that can go now, else the one that can go first; those that timed out come last.

        They come all the same where no other one can go within the call's time.
        """
        first_choice = {stage: at for stage, at in ready.items() if not self._progress[stage].last_resort}
        in_time = {stage: at for stage, at in first_choice.items() if at < self._deadline}
        for choice in (in_time, ready):
            if now_ready := [stage for stage, at in choice.items() if at <= now]:
                return Try(min(now_ready, key=self._strain))
            soonest = min(choice, key=lambda stage: (choice[stage], stage), default=None)
            if soonest is not None and choice[soonest] < self._deadline:
                return Wait(choice[soonest], soonest)
        return Stop("no_time", min(ready.values()))

    def _strain(self, stage: int) -> int:
        """Of stages that can go, those with less go first: 0, or 1 where its target or provider had its share of this
        call's failures; more where somebody kept the call waiting for nothing: 2 where that was its provider, 3 where
        it was itself.

        One failure more than its share might be the one that a breaker opens at, and does not as long as no other call
        has failed there: so this call asks others first, and leaves the last word to the next.
        """
        silent = self._progress[stage].silent
        return 1 + silent if silent else int(self._share.is_had(stage))

    def failed(
        self,
        stage: int,
        kind: str,
        *,
        now: float,
        jitter: float,
        retry_after: float | None = None,
        should_retry: bool | None = None,
    ) -> bool:
        """An attempt at `stage` ended in an error of `kind`. `jitter` in [0, 1]; `retry_after` in seconds.

        False where it counts as no attempt: a connection that had been closed while idle is replaced once.
        """
        action = ACTIONS[kind]
        progress = self._progress[stage]
        self._staying, progress.failed_at = None, now
        if action.same is Same.AT_ONCE:
            if progress.fresh_connection:
                progress.fresh_connection, progress.doubtful = False, True
                self._staying = stage
                return False
            action = ACTIONS["connection_lost"]
        progress.failures += 1
        times, progress.doubtful = 2 if progress.doubtful else 1, False
        self._share.count(stage, action.blame, now, times=times)
        if progress.failures >= self._stages[stage].attempts:
            progress.spent = True
        wait = max(backoff(progress.failures, self._settings, jitter), retry_after or 0.0)
        progress.not_before = max(progress.not_before, now + wait)
        progress.patient = action.same is Same.WAIT
        self._judge_same(stage, action, forbidden=should_retry is False)
        self._judge_next(stage, action.next)
        return True

    def overtaken(self, stage: int) -> None:
        """An attempt at `stage` was cut off, silent so far, for another that was faster: as a timeout, but no error.

        It had less time than one, so that of others of its provider it says nothing.
        """
        self.lost(stage)
        self._progress[stage].last_resort, self._progress[stage].silent = True, 2
        if self._staying == stage:
            self._staying = None

    def lost(self, stage: int) -> None:
        """An attempt at `stage` was cut off for another that was faster, and says nothing of its target."""
        progress = self._progress[stage]
        progress.failures += 1
        progress.doubtful = False
        progress.spent = progress.spent or progress.failures >= self._stages[stage].attempts

    def others_left(self, stage: int) -> bool:
        """True where a stage other than this one may still be tried."""
        if self._begun is None:
            return len(self._stages) > 1
        return any(not progress.spent for other, progress in enumerate(self._begun) if other != stage)

    def could_follow(self, *stages: int, blocked: Mapping[int, float]) -> bool:
        """True where another target than those of `stages` may yet be asked within the call's time.

        `blocked` maps a stage to the moment before which nobody may try it. One that has kept the call waiting, or
        cannot be reached, is none to hurry for.
        """
        asked = [self._stages[stage].target for stage in stages]
        if self._begun is None and not blocked:
            for stage in self._stages:  # noqa: SIM110 - asked by each call, and a generator costs as much as all of it
                if stage.target not in asked:
                    return True
            return False
        ready = self._ready_times(blocked, {})
        return any(
            at < self._deadline and not self._progress[stage].last_resort and self._stages[stage].target not in asked
            for stage, at in ready.items()
        )

    def known_better(self, stage: int) -> None:
        """Others have found out how it is with the stage's target, or do so now: this call need not rest there."""
        self._share.forget(stage)

    def left(self) -> list[int]:
        """Stages that may still be tried, now or later."""
        return [stage for stage, progress in enumerate(self._progress) if not progress.spent]

    def give_up(self, stage: int) -> None:
        """The stage cannot be tried at all (its price is unknown, its codec cannot say the request)."""
        self._progress[stage].spent = True

    def _judge_same(self, stage: int, action: Action, *, forbidden: bool) -> None:
        progress = self._progress[stage]
        match action.same:
            case Same.NEVER | Same.AT_ONCE:
                progress.spent = True
            case Same.ONCE:
                progress.spent = progress.spent or not progress.second_chance
                progress.second_chance = False
                self._staying = stage
            case Same.BACKOFF:
                progress.spent = progress.spent or forbidden
                self._staying = stage
            case Same.WAIT:
                self._staying = stage
            case Same.LAST:
                self._put_last(stage, unreachable=action.blame is Blame.PROVIDER)

    def _put_last(self, silent: int, *, unreachable: bool) -> None:
        """A silent upstream costs its limit once: its target comes last, whoever has much in common with it late.

        A provider that cannot be reached in time is out of reach for all its models.
        """
        for stage, progress in zip(self._stages, self._progress, strict=True):
            closeness = stage.closeness(self._stages[silent])
            progress.last_resort = progress.last_resort or closeness >= (1 if unreachable else 2)
            progress.silent = max(progress.silent, closeness)

    def _judge_next(self, stage: int, after: Next) -> None:
        """What is final for a target that was asked in its turn is no more than its own for one that was not."""
        waiting = self._passed_over(stage)
        match after:
            case Next.YES:
                pass
            case Next.NEVER:
                self._final = not waiting
            case Next.BY_POLICY:
                self._final = not (waiting or self._next_on_content_filter)
            case Next.LARGER_WINDOW:
                self._spend_smaller_windows(self._stages[stage].context_window, but=waiting)

    def _passed_over(self, stage: int) -> set[int]:
        """Stages before this one that had their share of failures, but not yet all of their attempts.

        It was asked in the place of these, which have been promised to the caller as well.
        """
        before = ((other, progress) for other, progress in enumerate(self._progress[:stage]) if not progress.spent)
        return {other for other, progress in before if self._share.is_had(other) and not progress.last_resort}

    def _spend_smaller_windows(self, window: int | None, *, but: set[int]) -> None:
        for stage, (other, progress) in enumerate(zip(self._stages, self._progress, strict=True)):
            larger = window is not None and other.context_window is not None and other.context_window > window
            progress.spent = progress.spent or not (larger or stage in but)

    def _ready_times(self, cooling: Mapping[int, float], opened: Mapping[int, float]) -> dict[int, float]:
        return {
            stage: max(
                progress.not_before,
                self._share.rests_until(stage),
                cooling.get(stage, -math.inf),
                opened.get(stage, -math.inf),
            )
            for stage, progress in enumerate(self._progress)
            if not progress.spent
        }
