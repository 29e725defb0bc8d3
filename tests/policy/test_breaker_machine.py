"""Breakers under every order of events, beside a model that keeps the raw history and judges it from scratch."""

from __future__ import annotations

import math
from collections.abc import Mapping

import attrs
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from penstock.policy.breaker import Admitted, Breakers, BreakerSettings, BreakerState, Tally, Verdict
from penstock.policy.retry import AllOpen, Cascade, Stage, Step, Stop, Try, Wait

SCOPES: tuple[str, ...] = ("target:a", "provider:p", "key:p/0")
SETTINGS = BreakerSettings(failures_in_a_row=3, max_gap=20.0, window=6.0, window_calls=4, open_for=5.0, open_cap=15.0)
STAGES = (1, 2, 4)
FAILURES = (Verdict.FAILED, Verdict.TIMED_OUT)
UNTELLING = (Verdict.NEUTRAL, Verdict.OVERTAKEN)
POLICIES: tuple[AllOpen, ...] = ("soonest", "fail", "ignore")

verdicts = st.sampled_from(Verdict)
bad_news = st.one_of(
    st.lists(st.sampled_from([Verdict.FAILED, Verdict.TIMED_OUT]), min_size=3, max_size=3),
    st.lists(st.sampled_from([Verdict.OK, Verdict.FAILED, Verdict.TIMED_OUT, Verdict.SLOW]), min_size=4, max_size=7),
)
jitters = st.sampled_from([0.0, 0.5, 1.0])
hints = st.sampled_from([None, None, None, 0.5, 30.0])
calls = st.sampled_from([None, None, "one", "two"])
some_scopes = st.lists(st.sampled_from(SCOPES), min_size=1, max_size=3, unique=True)
steps = st.sampled_from([0.25, 1.0, 3.0, 5.0, 11.0, 25.0, 901.0])


@attrs.frozen
class Result:
    verdict: Verdict
    at: float
    call: str | None = None
    retry_after: float | None = None


@attrs.define
class ModelScope:
    """One scope as a story: what happened since it last closed, and by what it is blocked."""

    state: str = "closed"
    history: list[Result] = attrs.Factory(list[Result])
    not_before: float = -math.inf
    in_full: float = -math.inf
    """When it may be probed had jitter taken nothing: of this time, and of those before it that are made up for."""
    closed_at: float = -math.inf
    times_opened: int = 0
    for_key: bool = False
    mute: bool = False
    """Opened by waiting in vain, or a probe waited in vain since."""
    outrun: int = 0
    """Probes, since it was last closed, that others were faster than although they had a start."""
    stage: int = 0
    good: int = 0
    leased: dict[str, float] = attrs.Factory(dict[str, float])
    outlasted: set[str] = attrs.Factory(set[str])

    def open(self, now: float, jitter: float, hint: float | None) -> None:
        self.times_opened += 1
        self.state = "open"
        behind = self.in_full > self.not_before and self.times_opened <= 5
        self.extend(now, jitter, hint, self.in_full - self.not_before if behind else 0.0)

    def extend(self, now: float, jitter: float, hint: float | None, behind: float = 0.0) -> None:
        span, cap = (60.0, 900.0) if self.for_key else (5.0, 15.0)
        for _ in range(self.times_opened - 1):
            span = min(span * 2, cap)
        lasts = span * (1 - 0.2 * (1 - jitter)) + behind
        assert 0.8 * span <= lasts <= 1.1 * span or span == cap
        moments = [self.not_before, now + min(lasts, cap)]
        if hint is not None:
            moments.append(now + hint)
        self.not_before = max(moments)
        self.in_full = now + span + behind

    def hear(self, news: list[Result], now: float, jitter: float, *, began: float = math.inf) -> None:
        news = [one for one in news if one.verdict not in UNTELLING]
        if self.state == "closed" and began < self.closed_at:
            return
        self.history += news
        since = last_failures(news)
        asked = [one.at + one.retry_after for one in since if one.retry_after is not None]
        if self.state == "open":
            self.not_before = max([self.not_before, *asked])
        if self.state != "closed":
            return
        if since != news:
            self.times_opened = 0
        blamed = self.failures_that_open(news, now)
        if blamed or self.is_slow(news, now):
            timeouts = [one for one in blamed if one.verdict is Verdict.TIMED_OUT]
            self.mute = len(timeouts) >= len(blamed) - len(timeouts)
            self.for_key = False
            asked = [one.at + one.retry_after for one in last_failures(self.history) if one.retry_after is not None]
            self.open(now, jitter, max(asked, default=now) - now)

    def failures_that_open(self, news: list[Result], now: float) -> list[Result]:
        if not any(one.verdict in FAILURES for one in news):
            return []
        row = last_failures(self.history)[-32:]  # as many as are remembered one by one
        for at in range(len(row) - 1, 0, -1):
            if row[at].at - row[at - 1].at > SETTINGS.max_gap:
                row = row[at:]
                break
        recent = self.recent(now)
        failed = [one for one in recent if one.verdict in FAILURES]
        too_many = len(recent) >= SETTINGS.window_calls and len(failed) * 2 >= len(recent)
        if len(row) >= SETTINGS.failures_in_a_row and of_several_calls(row):
            return row
        return failed if too_many and of_several_calls(failed) else []

    def is_slow(self, news: list[Result], now: float) -> bool:
        recent = self.recent(now)
        slow = [one for one in recent if one.verdict is Verdict.SLOW]
        heard = any(one.verdict is Verdict.SLOW for one in news)
        return heard and len(recent) >= SETTINGS.window_calls and len(slow) * 2 >= len(recent)

    def recent(self, now: float) -> list[Result]:
        return [one for one in self.history if math.floor(one.at) > now - SETTINGS.window - 1]

    def pass_time(self, now: float) -> None:
        for permit in [permit for permit, end in self.leased.items() if end <= now]:
            del self.leased[permit]
            self.outlasted.add(permit)

    def room(self, permit: str, now: float) -> bool:
        match self.state:
            case "open":
                return now >= self.not_before
            case "half_open":
                return permit in self.leased or self.free > 0
            case _:
                return self.state == "closed"

    @property
    def free(self) -> int:
        return max(0, STAGES[self.stage] - self.good - len(self.leased))

    def lease(self, permit: str, end: float) -> None:
        if self.state == "closed":
            return
        if self.state == "open":
            self.begin("half_open")
        self.outlasted.discard(permit)
        self.leased.setdefault(permit, end)

    def begin(self, state: str) -> None:
        self.state, self.stage, self.good = state, 0, 0
        self.leased, self.outlasted = {}, set()

    def settle(self, permit: str, verdict: Verdict, now: float, jitter: float, hint: float | None) -> None:
        if permit in self.leased:
            del self.leased[permit]
        elif permit in self.outlasted:
            self.outlasted.remove(permit)
        else:
            return
        if verdict in FAILURES or (verdict in (Verdict.SLOW, Verdict.OVERTAKEN) and self.mute):
            self.outrun += verdict is Verdict.OVERTAKEN
            self.mute = self.mute or verdict is Verdict.TIMED_OUT
            self.begin("open")
            self.open(now, jitter, hint)
        elif verdict not in UNTELLING:
            self.good += 1
            if self.good == STAGES[self.stage]:
                self.stage, self.good = self.stage + 1, 0
            if self.stage == len(STAGES):
                self.close(now)
                self.times_opened = 0

    def close(self, now: float) -> None:
        self.begin("closed")
        self.history = []
        self.not_before = self.in_full = -math.inf
        self.closed_at = now
        self.mute = self.for_key = False
        self.outrun = 0


def last_failures(history: list[Result]) -> list[Result]:
    answers = [at for at, one in enumerate(history) if one.verdict not in FAILURES]
    return history[answers[-1] + 1 :] if answers else history


def of_several_calls(failures: list[Result]) -> bool:
    return len({one.call or f"unnamed {at}" for at, one in enumerate(failures)}) >= 2


class BreakersMachine(RuleBasedStateMachine):
    permits = Bundle("permits")

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.minted = 0
        self.breakers = Breakers(lambda _scope: SETTINGS)
        self.model = {scope: ModelScope() for scope in SCOPES}
        self.events_say = dict.fromkeys(SCOPES, BreakerState.CLOSED)
        self.seen: tuple[int, Mapping[str, object]] = (0, {})

    @initialize(trouble=st.lists(bad_news, min_size=1, max_size=3), jitter=jitters)
    def start_with_trouble(self, trouble: list[list[Verdict]], jitter: float) -> None:
        # Else most runs would spend their steps on getting there.
        for scope, verdicts_of_it in zip(SCOPES, trouble, strict=False):
            for verdict in verdicts_of_it:
                self.record(scope, verdict, jitter, None, None)

    @rule(scope=st.sampled_from(SCOPES), news=bad_news, lasted=st.sampled_from([0.0, 3.0, 30.0]))
    def trouble_again(self, scope: str, news: list[Verdict], lasted: float) -> None:
        for verdict in news:
            self.record(scope, verdict, 1.0, None, None, lasted=lasted)

    @rule(scope=st.sampled_from(SCOPES))
    def recover(self, scope: str) -> None:
        self.wait_until_it_may_be_probed(scope)
        for _ in range(sum(STAGES)):
            if self.model[scope].state != "closed":
                self.probe(scope, Verdict.OK)

    @rule(scope=st.sampled_from(SCOPES), verdict=verdicts)
    def probe_once(self, scope: str, verdict: Verdict) -> None:
        self.wait_until_it_may_be_probed(scope)
        self.probe(scope, verdict)

    def probe(self, scope: str, verdict: Verdict) -> None:
        if self.model[scope].room("new", self.now):
            permit = self.ask(self.mint(), [scope], 30.0)
            # Taken and given back it looks as before, and moved twice.
            self.the_version_moves_exactly_with_the_snapshot()
            self.settle(permit, verdict, 1.0, None)
            self.the_version_moves_exactly_with_the_snapshot()

    @rule(step=steps)
    def wait(self, step: float) -> None:
        self.now += step
        self.breakers.expire(self.now)
        for scope in self.model.values():
            scope.pass_time(self.now)

    @rule(scope=st.sampled_from(SCOPES))
    def wait_until_it_may_be_probed(self, scope: str) -> None:
        if math.isfinite(self.model[scope].not_before):
            self.wait(max(0.0, self.model[scope].not_before - self.now))

    @rule(
        scope=st.sampled_from(SCOPES),
        verdict=verdicts,
        jitter=jitters,
        hint=hints,
        call=calls,
        lasted=st.sampled_from([0.0, 0.0, 3.0, 30.0]),
    )
    def record(
        self, scope: str, verdict: Verdict, jitter: float, hint: float | None, call: str | None, *, lasted: float = 0.0
    ) -> None:
        began = self.now - lasted
        self.breakers.record(scope, verdict, self.now, jitter=jitter, retry_after=hint, call=call, began=began)
        self.model[scope].hear([Result(verdict, self.now, call, hint)], self.now, jitter, began=began)

    @rule(scope=st.sampled_from(SCOPES), said=st.lists(st.tuples(verdicts, calls, hints), max_size=8), jitter=jitters)
    def record_many(self, scope: str, said: list[tuple[Verdict, str | None, float | None]], jitter: float) -> None:
        tally = Tally()
        for verdict, call, hint in said:
            tally.add(verdict, self.now, call=call, retry_after=hint)
        self.breakers.record_tally(scope, tally, self.now, jitter=jitter)
        news = [Result(verdict, self.now, call, hint) for verdict, call, hint in said]
        self.model[scope].hear(news, self.now, jitter)

    @rule(target=permits, scopes=some_scopes, lease=st.sampled_from([2.0, 30.0, 2000.0]))
    def admit(self, scopes: list[str], lease: float) -> str:
        return self.ask(self.mint(), scopes, lease)

    @rule(permit=permits, scopes=some_scopes)
    def ask_again(self, permit: str, scopes: list[str]) -> None:
        self.ask(permit, scopes, 30.0)

    def mint(self) -> str:
        self.minted += 1
        return f"permit-{self.minted}"

    def ask(self, permit: str, scopes: list[str], lease: float) -> str:
        asked = [self.model[scope] for scope in scopes]
        blocked = [scope for scope in scopes if not self.model[scope].room(permit, self.now)]
        probes = any(scope.state != "closed" for scope in asked)
        answer = self.breakers.admit(permit, scopes, self.now, lease=lease)
        if not blocked:
            silent, outrun = any(scope.mute for scope in asked), max(scope.outrun for scope in asked)
            assert answer == Admitted(probe=probes, silent=silent, overtaken=outrun)
            for scope in asked:
                scope.lease(permit, self.now + lease)
            return permit
        assert not isinstance(answer, Admitted)
        assert answer.scope in blocked
        assert answer.retry_at > self.now
        assert (answer.retry_at == math.inf) == any(self.model[scope].state == "isolated" for scope in scopes)
        return permit

    @rule(permit=consumes(permits), verdict=verdicts, jitter=jitters, hint=hints)
    def settle(self, permit: str, verdict: Verdict, jitter: float, hint: float | None) -> None:
        self.breakers.settle(permit, verdict, self.now, jitter=jitter, hint=hint)
        for scope in self.model.values():
            scope.settle(permit, verdict, self.now, jitter, hint)

    @rule(permit=permits, said=st.dictionaries(st.sampled_from(SCOPES), verdicts), jitter=jitters)
    def settle_by_scope_and_maybe_again(self, permit: str, said: dict[str, Verdict], jitter: float) -> None:
        self.breakers.settle(permit, said, self.now, jitter=jitter)
        for name, scope in self.model.items():
            scope.settle(permit, said.get(name, Verdict.NEUTRAL), self.now, jitter, None)

    @rule(target=permits, scope=st.sampled_from(SCOPES))
    def probe_with_all_there_is(self, scope: str) -> object:
        held: list[str] = []
        while self.model[scope].state != "closed" and self.model[scope].room("new", self.now):
            held.append(self.ask(self.mint(), [scope], 30.0))
        return multiple(*held)

    @rule(verdict=verdicts)
    def settle_what_nobody_knows(self, verdict: Verdict) -> None:
        self.breakers.settle("never admitted", verdict, self.now, jitter=0.0)

    @rule(scope=st.sampled_from(SCOPES), jitter=jitters, hint=hints)
    def refuse_key(self, scope: str, jitter: float, hint: float | None) -> None:
        self.breakers.open_key(scope, self.now, jitter=jitter, hint=hint)
        model = self.model[scope]
        if model.state == "isolated":
            return
        model.for_key, model.mute = True, False
        if model.state == "open":
            model.extend(self.now, jitter, hint)
            return
        model.begin("open")
        model.open(self.now, jitter, hint)

    @rule(scope=st.sampled_from(SCOPES))
    def isolate(self, scope: str) -> None:
        self.breakers.isolate(scope, self.now)
        self.model[scope].begin("isolated")
        self.model[scope].not_before = math.inf
        self.model[scope].mute = False

    @rule(scope=st.sampled_from(SCOPES))
    def close(self, scope: str) -> None:
        self.breakers.close(scope, self.now)
        if self.model[scope].state != "closed":
            self.model[scope].close(self.now)

    @rule(policy=st.sampled_from(POLICIES), cooling=st.dictionaries(st.sampled_from(range(3)), steps), time=steps)
    def a_call_comes(self, policy: AllOpen, cooling: dict[int, float], time: float) -> None:
        shown = self.breakers.snapshot()
        blocked = (BreakerState.OPEN, BreakerState.ISOLATED)
        opened = {
            stage: shown[scope].open_until
            for stage, scope in enumerate(SCOPES)
            if scope in shown and shown[scope].state in blocked
        }
        cools = {stage: self.now + seconds for stage, seconds in cooling.items()}
        walk = Cascade([Stage(scope) for scope in SCOPES], deadline=self.now + time, all_open=policy)
        assert walk.next(self.now, cools, opened=opened) == self.right_step(policy, cools, self.now + time)

    def right_step(self, policy: AllOpen, cools: dict[int, float], deadline: float) -> Step:
        """What a new call does, by the story: go where one may go, else by the policy."""
        closed_until = {
            at: scope.not_before if scope.state in ("open", "isolated") else -math.inf
            for at, scope in enumerate(self.model.values())
        }
        all_open = all(until > self.now for until in closed_until.values())
        by_hand = [at for at, until in closed_until.items() if until == math.inf]
        ready = {at: max(until, cools.get(at, -math.inf)) for at, until in closed_until.items()}
        ignoring = all_open and policy == "ignore" and len(by_hand) < len(ready)
        if all_open and policy != "soonest" and not ignoring:
            return Stop("all_open", min(ready.values()))
        if ignoring:
            ready = {at: math.inf if at in by_hand else cools.get(at, -math.inf) for at in ready}
        free = [at for at, until in ready.items() if until <= self.now]
        if free:
            return Try(free[0], ignoring=ignoring)
        first = min(ready, key=lambda at: ready[at])
        return Wait(ready[first], first) if ready[first] < deadline else Stop("no_time", ready[first])

    @invariant()
    def what_is_shown_is_what_the_story_says(self) -> None:
        shown = self.breakers.snapshot()
        assert set(shown) == {name for name, scope in self.model.items() if scope.state != "closed"}
        for name, health in shown.items():
            story = self.model[name]
            assert health.state.value == story.state
            assert health.open_until == story.not_before
            assert health.silent == story.mute
            assert health.permits_left == (story.free if story.state == "half_open" else 0)

    @invariant()
    def the_next_expiry_is_the_first_lease_to_end(self) -> None:
        ends = [end for scope in self.model.values() for end in scope.leased.values()]
        assert self.breakers.next_expiry == min(ends, default=None)

    @invariant()
    def events_tell_every_move_in_order(self) -> None:
        for event in self.breakers.take_events():
            assert event.before is self.events_say[event.scope]
            assert event.after is not event.before
            assert event.at == self.now
            self.events_say[event.scope] = event.after
        assert {name: state.value for name, state in self.events_say.items()} == {
            name: scope.state for name, scope in self.model.items()
        }

    @invariant()
    def the_version_moves_exactly_with_the_snapshot(self) -> None:
        version, shown = self.seen
        assert (self.breakers.version == version) == (dict(self.breakers.snapshot()) == shown)
        self.seen = self.breakers.version, dict(self.breakers.snapshot())

    def teardown(self) -> None:
        """Whatever happened, what is not isolated closes once its target answers: nothing wedges."""
        self.now += 1e6
        for number in range(7 * len(SCOPES)):
            waiting = [name for name, scope in self.breakers.snapshot().items() if scope.open_until < math.inf]
            if not waiting:
                break
            permit = f"rescue-{number}"
            answer = self.breakers.admit(permit, waiting, self.now, lease=30)
            assert isinstance(answer, Admitted)
            assert answer.probe
            self.breakers.settle(permit, Verdict.OK, self.now, jitter=0.0)
        assert all(health.state is BreakerState.ISOLATED for health in self.breakers.snapshot().values())


TestBreakersMachine = BreakersMachine.TestCase
