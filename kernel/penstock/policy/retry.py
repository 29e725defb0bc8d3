"""What to do after an attempt failed: the error-action table as data, and the cascade that walks a route by it.

Not here: whether a target is known to be unhealthy (`breaker`) or cooling (`routing`): the caller says so at each step.
"""

from __future__ import annotations

import enum
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias

import attrs
from msgspec import Struct

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


class Same(enum.Enum):
    """May the same target be tried again?"""

    NEVER = "never"
    AT_ONCE = "at once"
    """Once, on a fresh connection; it counts as no attempt."""
    ONCE = "once"
    BACKOFF = "backoff"
    WAIT = "wait"
    """As the server asks, where that is short; otherwise others go first."""
    LAST = "last"
    """Only when no other target is left."""


class Next(enum.Enum):
    """May the next target be tried?"""

    NEVER = "never"
    YES = "yes"
    LARGER_WINDOW = "larger window"
    BY_POLICY = "by policy"


class Blame(enum.Enum):
    """Whose breaker counts the failure."""

    NOBODY = "nobody"
    TARGET = "target"
    PROVIDER = "provider"
    KEY = "key"


class Cools(enum.Enum):
    """What is left alone for a while, by every call."""

    NOTHING = "nothing"
    TARGET = "target"
    KEY = "key"


@attrs.frozen
class Action:
    """One row of the table."""

    same: Same
    next: Next
    blame: Blame = Blame.NOBODY
    cools: Cools = Cools.NOTHING
    loud: bool = False
    """Someone must act (a key, a model name): logged as an error even where another target answers."""
    billed: bool = True
    """False where the exchange certainly cost nothing: it was not sent, or it was refused."""


_TIMEOUT = Action(Same.LAST, Next.YES, Blame.TARGET)
_PROVIDER_FAILED = Action(Same.BACKOFF, Next.YES, Blame.TARGET)

ACTIONS: Mapping[str, Action] = {
    "rate_limited": Action(Same.WAIT, Next.YES, cools=Cools.TARGET, billed=False),
    "quota_exhausted": Action(Same.NEVER, Next.YES, cools=Cools.KEY, billed=False),
    "overloaded": _PROVIDER_FAILED,
    "server_error": _PROVIDER_FAILED,
    "provider_error": _PROVIDER_FAILED,
    "connect": Action(Same.BACKOFF, Next.YES, Blame.PROVIDER, billed=False),
    "connect_timeout": Action(Same.LAST, Next.YES, Blame.PROVIDER, billed=False),
    "connection_lost": Action(Same.BACKOFF, Next.YES, Blame.PROVIDER),
    "transport": Action(Same.BACKOFF, Next.YES, Blame.PROVIDER),
    # That nothing was read is likely, not certain: it costs its bound until somebody says otherwise.
    "reused_connection_closed": Action(Same.AT_ONCE, Next.YES),
    "timeout": _TIMEOUT,
    "first_token_timeout": _TIMEOUT,
    "idle_timeout": _TIMEOUT,
    "too_slow": _TIMEOUT,
    "total_timeout": _TIMEOUT,
    "malformed": Action(Same.ONCE, Next.YES, Blame.TARGET),
    "truncated": Action(Same.ONCE, Next.YES, Blame.TARGET),
    # What more there is to have is not paid for.
    "budget_cut": Action(Same.NEVER, Next.NEVER),
    "context_length": Action(Same.NEVER, Next.LARGER_WINDOW, billed=False),
    "content_filtered": Action(Same.NEVER, Next.BY_POLICY),
    "refused": Action(Same.NEVER, Next.BY_POLICY),
    "authentication": Action(Same.NEVER, Next.YES, Blame.KEY, loud=True, billed=False),
    "permission_denied": Action(Same.NEVER, Next.YES, Blame.KEY, loud=True, billed=False),
    "model_not_found": Action(Same.NEVER, Next.YES, loud=True, billed=False),
    "invalid_request": Action(Same.NEVER, Next.NEVER, billed=False),
    "unsendable": Action(Same.NEVER, Next.YES, billed=False),
    "unsupported": Action(Same.NEVER, Next.YES, billed=False),
    "parameter_demanded": Action(Same.NEVER, Next.NEVER, billed=False),
    # The target is well, and what is done about it is not the cascade's to say.
    "output_invalid": Action(Same.NEVER, Next.NEVER),
    "codec": Action(Same.NEVER, Next.YES, loud=True),
}
"""Every kind of error an attempt can end in. Kinds that end the call itself (its deadline, its budget) are not here."""


class RetrySettings(Struct, frozen=True):
    """Seconds. Base and cap as the OpenAI and Anthropic SDKs have them; full jitter as AWS measured it to be best."""

    backoff_base: float = 0.5
    backoff_cap: float = 8.0
    max_wait: float = 5.0
    """The longest wait for one target while another could answer."""


DEFAULTS = RetrySettings()


def backoff(failures: int, settings: RetrySettings, jitter: float) -> float:
    """Seconds to wait after the n-th failure (from 1): full jitter, `jitter` in [0, 1]."""
    return jitter * min(settings.backoff_cap, settings.backoff_base * 2.0 ** (failures - 1))


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


@attrs.define
class _Progress:
    """How far the call has come at one stage."""

    failures: int = 0
    not_before: float = -math.inf
    spent: bool = False
    last_resort: bool = False
    """It timed out: it waits until no other target is left."""
    patient: bool = False
    """A rate limit: what everyone knows of it is what this call waits for."""
    second_chance: bool = True
    """A malformed answer may be asked for once more."""
    fresh_connection: bool = True
    """A reused connection that the server had closed is replaced once."""
    doubtful: bool = False
    """That has just been done: if the fresh one fails as well, it was no idle connection that had been closed."""


class Cascade:
    """Walks the stages of one call. It owns every retry: nothing below it tries again.

    Laws: no stage is tried more often than its attempts (and once more where a reused connection was dead), whether
    they fail or lose to another that is faster; no step is planned that begins after the deadline; a stage that may
    never be tried again is never returned; one whose target or provider has failed this call as often as one call may
    have it fail is not returned while another can be tried at once; the answer depends on the arguments alone.
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
        self._progress = [_Progress() for _ in self._stages]
        self._blamed: Counter[tuple[Blame, str]] = Counter()
        """Failures of this call that breakers count, by target and by provider: several stages may share either."""
        self._staying: int | None = None
        self._final = False

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
        if any(other <= at and self._strain(stage) < strain for stage, other in ready.items()):
            return None
        if at <= now:
            return Try(self._staying)
        if at - now <= self._settings.max_wait and at < self._deadline:
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
        call's failures, or 2 where it kept the call waiting for nothing.

        One failure more than its share might be the one that a breaker opens at, and does not as long as no other call
        has failed there: so this call asks others first, and leaves the last word to the next.
        """
        if self._progress[stage].last_resort:
            return 2
        scopes, blamed = self._stages[stage], self._blamed
        return int(
            blamed[Blame.TARGET, scopes.target] >= scopes.target_share
            or blamed[Blame.PROVIDER, scopes.provider] >= scopes.provider_share
        )

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
        self._staying = None
        if action.same is Same.AT_ONCE:
            if progress.fresh_connection:
                progress.fresh_connection, progress.doubtful = False, True
                self._staying = stage
                return False
            action = ACTIONS["connection_lost"]
        progress.failures += 1
        self._count_blame(stage, action.blame)
        if progress.failures >= self._stages[stage].attempts:
            progress.spent = True
        wait = max(backoff(progress.failures, self._settings, jitter), retry_after or 0.0)
        progress.not_before = max(progress.not_before, now + wait)
        progress.patient = action.same is Same.WAIT
        self._judge_same(stage, action.same, forbidden=should_retry is False)
        self._judge_next(stage, action.next)
        return True

    def _count_blame(self, stage: int, blame: Blame) -> None:
        scopes, progress = self._stages[stage], self._progress[stage]
        times, progress.doubtful = 2 if progress.doubtful else 1, False
        if blame in {Blame.TARGET, Blame.PROVIDER}:
            self._blamed[Blame.TARGET, scopes.target] += times
        if blame is Blame.PROVIDER:
            self._blamed[Blame.PROVIDER, scopes.provider] += times

    def overtaken(self, stage: int) -> None:
        """An attempt at `stage` was cut off, silent so far, for another that was faster: as a timeout, but no error."""
        self.lost(stage)
        self._progress[stage].last_resort = True
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
        return any(not progress.spent for other, progress in enumerate(self._progress) if other != stage)

    def left(self) -> list[int]:
        """Stages that may still be tried, now or later."""
        return [stage for stage, progress in enumerate(self._progress) if not progress.spent]

    def give_up(self, stage: int) -> None:
        """The stage cannot be tried at all (its price is unknown, its codec cannot say the request)."""
        self._progress[stage].spent = True

    def _judge_same(self, stage: int, same: Same, *, forbidden: bool) -> None:
        progress = self._progress[stage]
        match same:
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
                progress.last_resort = True

    def _judge_next(self, stage: int, after: Next) -> None:
        match after:
            case Next.YES:
                pass
            case Next.NEVER:
                self._final = True
            case Next.BY_POLICY:
                self._final = not self._next_on_content_filter
            case Next.LARGER_WINDOW:
                self._spend_smaller_windows(self._stages[stage].context_window)

    def _spend_smaller_windows(self, window: int | None) -> None:
        for other, progress in zip(self._stages, self._progress, strict=True):
            larger = window is not None and other.context_window is not None and other.context_window > window
            progress.spent = progress.spent or not larger

    def _ready_times(self, cooling: Mapping[int, float], opened: Mapping[int, float]) -> dict[int, float]:
        return {
            stage: max(progress.not_before, cooling.get(stage, -math.inf), opened.get(stage, -math.inf))
            for stage, progress in enumerate(self._progress)
            if not progress.spent
        }
