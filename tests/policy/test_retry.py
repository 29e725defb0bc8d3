"""The cascade, driven as plain calls, and against a model that keeps its own list of what happened."""

from __future__ import annotations

import math

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from penstock import errors
from penstock.policy.retry import ACTIONS, Blame, Cascade, RetrySettings, Stage, Step, Stop, Try, Wait, backoff

TWO = (Stage("a", 3), Stage("b", 2))


def cascade(*stages: Stage, deadline: float = 600.0, on_filter: bool = False) -> Cascade:
    return Cascade(stages, deadline=deadline, next_on_content_filter=on_filter)


def fail(
    walk: Cascade, stage: int, kind: str, *, now: float = 0.0, hint: float | None = None, jitter: float = 0.0
) -> None:
    walk.failed(stage, kind, now=now, jitter=jitter, retry_after=hint)


def test_every_error_that_an_attempt_can_end_in_has_a_row() -> None:
    ends_the_call = {"error", "rejected", "budget_exceeded", "circuit_open", "overloaded_locally", "no_route"}
    ends_the_call |= {"exhausted", "deadline_exceeded", "ledger_unavailable"}
    kinds = {kind.kind for name in errors.__all__ if issubclass(kind := getattr(errors, name), errors.CallError)}
    assert kinds - ends_the_call <= set(ACTIONS)


def test_a_server_error_is_tried_again_on_the_same_target_until_its_attempts_are_spent() -> None:
    walk = cascade(*TWO)
    seen: list[int] = []
    for _ in range(3):
        step = walk.next(0.0)
        assert isinstance(step, Try)
        seen.append(step.stage)
        fail(walk, step.stage, "server_error")
    assert seen == [0, 0, 0]
    assert walk.next(0.0) == Try(1)


def test_a_short_rate_limit_is_waited_for_and_a_long_one_goes_to_the_next_target_at_once() -> None:
    walk = cascade(*TWO)
    fail(walk, 0, "rate_limited", hint=2.0)
    assert walk.next(0.0) == Wait(2.0, 0)
    assert walk.next(2.0) == Try(0)
    fail(walk, 0, "rate_limited", now=2.0, hint=60.0)
    assert walk.next(2.0) == Try(1)


def test_a_long_rate_limit_is_waited_for_where_no_other_target_is_left() -> None:
    walk = cascade(Stage("a", 2))
    fail(walk, 0, "rate_limited", hint=60.0)
    assert walk.next(0.0) == Wait(60.0, 0)


def test_a_hint_beyond_the_deadline_ends_the_call_at_once() -> None:
    walk = cascade(Stage("a", 2), deadline=10.0)
    fail(walk, 0, "rate_limited", hint=60.0)
    assert walk.next(0.0) == Stop("no_time", 60.0)


TIMED_OUT = {"connect_timeout", "first_token_timeout", "idle_timeout", "too_slow", "total_timeout"}


@pytest.mark.parametrize("kind", sorted(TIMED_OUT))
def test_a_target_that_timed_out_is_not_tried_again_while_another_is_left(kind: str) -> None:
    walk = cascade(*TWO)
    fail(walk, 0, kind)
    assert walk.next(0.0) == Try(1)
    fail(walk, 1, "server_error")
    assert walk.next(0.0) == Try(1)
    fail(walk, 1, "server_error")
    assert walk.next(0.0) == Try(0)


@pytest.mark.parametrize("kind", ["invalid_request", "content_filtered", "refused", "budget_cut"])
def test_what_no_other_target_would_cure_is_final(kind: str) -> None:
    walk = cascade(*TWO)
    fail(walk, 0, kind)
    assert walk.next(0.0) == Stop("final")


def test_a_content_filter_goes_on_where_the_route_says_so() -> None:
    walk = cascade(*TWO, on_filter=True)
    fail(walk, 0, "content_filtered")
    assert walk.next(0.0) == Try(1)


def test_a_prompt_that_is_too_long_goes_only_to_a_larger_window() -> None:
    walk = cascade(Stage("a", 3, 8_000), Stage("b", 3, 8_000), Stage("c", 3, None), Stage("d", 3, 200_000))
    fail(walk, 0, "context_length")
    assert walk.next(0.0) == Try(3)


@pytest.mark.parametrize("kind", ["quota_exhausted", "authentication", "permission_denied", "model_not_found"])
def test_what_a_retry_cannot_cure_goes_to_the_next_target_at_once(kind: str) -> None:
    walk = cascade(*TWO)
    fail(walk, 0, kind)
    assert walk.next(0.0) == Try(1)


def test_a_malformed_answer_is_asked_for_once_more() -> None:
    walk = cascade(*TWO)
    fail(walk, 0, "malformed")
    assert walk.next(0.0) == Try(0)
    fail(walk, 0, "malformed")
    assert walk.next(0.0) == Try(1)


def test_a_dead_reused_connection_is_replaced_once_and_costs_no_attempt() -> None:
    walk = cascade(Stage("a", 1))
    fail(walk, 0, "reused_connection_closed")
    assert walk.next(0.0) == Try(0)
    fail(walk, 0, "reused_connection_closed")
    assert walk.next(0.0) == Stop("spent")


def test_an_attempt_that_lost_to_a_faster_one_is_one_of_those_allowed_and_nothing_against_its_target() -> None:
    walk = cascade(Stage("a", 2), Stage("b", 2))
    walk.lost(0)
    assert walk.next(0.0) == Try(0)
    walk.lost(0)
    assert walk.next(0.0) == Try(1)
    walk.overtaken(1)
    assert walk.next(0.0) == Try(1)
    walk.lost(1)
    assert walk.next(0.0) == Stop("spent")


def test_a_target_that_was_overtaken_does_not_keep_the_turn_that_it_had() -> None:
    walk = cascade(*TWO)
    fail(walk, 0, "reused_connection_closed")
    assert walk.next(0.0) == Try(0)
    walk.overtaken(0)
    assert walk.next(0.0) == Try(1)


def test_a_server_that_forbids_retries_is_left_at_once() -> None:
    walk = cascade(*TWO)
    walk.failed(0, "server_error", now=0.0, jitter=0.0, should_retry=False)
    assert walk.next(0.0) == Try(1)


def spread(target: str, attempts: int, share: float = 4, provider: str = "p") -> Stage:
    return Stage(target, attempts, None, provider, share, share)


@pytest.mark.parametrize("kind", ["server_error", "overloaded", "connect", "connection_lost"])
def test_a_call_that_failed_as_often_as_one_call_should_goes_to_others_first_and_then_comes_back(kind: str) -> None:
    walk = cascade(spread("a", 7), Stage("b", 2, None, "q"))
    seen: list[int] = []
    while isinstance(step := walk.next(0.0), Try):
        seen.append(step.stage)
        fail(walk, step.stage, kind)
    assert seen == [0, 0, 0, 0, 1, 1, 0, 0, 0]
    assert step == Stop("spent")


def test_nobody_waits_for_another_target_because_of_that() -> None:
    walk = cascade(spread("a", 7), Stage("b", 2, None, "q"))
    for _ in range(4):
        fail(walk, 0, "server_error")
    assert walk.next(0.0, {1: 3.0}) == Try(0)
    fail(walk, 0, "server_error", jitter=0.5)
    assert walk.next(0.0, {1: 3.0}) == Wait(3.0, 1)
    assert walk.next(0.0, {1: 9.0}) == Wait(4.0, 0)
    assert walk.next(0.0, opened={1: math.inf}) == Wait(4.0, 0)


def test_stages_of_one_target_have_one_share_between_them_and_those_of_one_provider_where_it_is_the_provider() -> None:
    walk = cascade(spread("a", 3), spread("a", 3), spread("b", 3), Stage("c", 1, None, "q"))
    for _ in range(3):
        fail(walk, 0, "server_error")
    fail(walk, 1, "server_error")
    assert walk.next(0.0) == Try(2)
    fail(walk, 2, "connect")
    assert walk.next(0.0) == Try(2), "of its provider there was but one failure so far"
    walk = cascade(spread("a", 3), spread("b", 3), Stage("c", 1, None, "q"))
    for stage in (0, 0, 0, 1):
        assert walk.next(0.0) == Try(stage)
        fail(walk, stage, "connect")
    assert walk.next(0.0) == Try(2)


def test_what_no_breaker_counts_is_no_part_of_that_share() -> None:
    walk = cascade(spread("a", 9), Stage("b", 1, None, "q"))
    for _ in range(8):
        fail(walk, 0, "rate_limited")
        assert walk.next(0.0) == Try(0)


def test_a_kept_connection_that_had_been_closed_is_part_of_it_where_the_fresh_one_fails_too() -> None:
    walk = cascade(spread("a", 9), Stage("b", 1, None, "q"))
    for kind in ("reused_connection_closed", "connection_lost", "connection_lost", "connection_lost"):
        assert walk.next(0.0) == Try(0)
        fail(walk, 0, kind)
    assert walk.next(0.0) == Try(1)


def test_where_every_target_is_unavailable_the_first_to_come_back_is_waited_for() -> None:
    walk = cascade(*TWO)
    assert walk.next(0.0, {0: 9.0, 1: 4.0}) == Wait(4.0, 1)
    assert walk.next(4.0, {0: 9.0}) == Try(1)


def test_backoff_doubles_to_its_cap_and_jitter_spreads_it_from_zero() -> None:
    settings = RetrySettings()
    assert [backoff(n, settings, 1.0) for n in (1, 2, 3, 4, 5, 6)] == [0.5, 1.0, 2.0, 4.0, 8.0, 8.0]
    assert backoff(4, settings, 0.0) == 0.0


def test_only_what_certainly_was_not_billed_is_free() -> None:
    free = {kind for kind, action in ACTIONS.items() if not action.billed}
    assert {"rate_limited", "connect", "authentication", "invalid_request"} <= free
    assert not free & {"server_error", "overloaded", "truncated", "idle_timeout", "connection_lost", "malformed"}


def test_what_the_request_is_to_blame_for_never_counts_against_a_target() -> None:
    for kind in ("invalid_request", "context_length", "content_filtered", "refused", "unsendable", "rate_limited"):
        assert ACTIONS[kind].blame is Blame.NOBODY


# The machine. Its model is the list of failures, judged by its own reading of the design.

GOES_NOWHERE = {"invalid_request", "content_filtered", "refused", "budget_cut"}
NOT_HERE_AGAIN = {"quota_exhausted", "authentication", "permission_denied", "model_not_found", "unsendable", "codec"}
AGAIN = {"server_error", "overloaded", "connect", "connection_lost", "rate_limited"}
COUNTED = TIMED_OUT | {"server_error", "overloaded", "connect", "connection_lost", "malformed"}
OF_THE_PROVIDER = {"connect", "connection_lost", "connect_timeout"}
KINDS = sorted(GOES_NOWHERE | NOT_HERE_AGAIN | TIMED_OUT | AGAIN | {"malformed", "context_length"})


class Walk(RuleBasedStateMachine):
    """Follows whatever the cascade says, fails whatever it tries."""

    @initialize(
        attempts=st.lists(st.integers(1, 6), min_size=1, max_size=4),
        windows=st.lists(st.sampled_from([None, 8_000, 128_000]), min_size=4, max_size=4),
        names=st.lists(st.sampled_from(["p/a", "p/b", "q/c", "q/d"]), min_size=4, max_size=4),
        shares=st.tuples(*[st.sampled_from([1.0, 2.0, 3.0, math.inf])] * 2),
        deadline=st.floats(1.0, 100.0),
    )
    def start(
        self,
        attempts: list[int],
        windows: list[int | None],
        names: list[str],
        shares: tuple[float, float],
        deadline: float,
    ) -> None:
        self.shares = shares
        self.stages = [Stage(names[n], tries, windows[n], names[n][0], *shares) for n, tries in enumerate(attempts)]
        self.deadline = deadline
        self.walk = Cascade(self.stages, deadline=deadline)
        self.now = 0.0
        self.failures: list[tuple[int, str]] = []
        self.not_before: dict[int, float] = {}
        self.rested: dict[int, float] = {}
        self.hung_up: list[int] = []
        self.failed_then: dict[int, int] = {}
        self.doubled: list[tuple[int, str]] = []
        self.unavailable: dict[int, float] = {}
        self.step: Step = self.walk.next(self.now)

    def may_try(self, stage: int) -> bool:
        mine = [kind for at, kind in self.failures if at == stage]
        if any(kind in GOES_NOWHERE for _, kind in self.failures) or any(kind in NOT_HERE_AGAIN for kind in mine):
            return False
        if len(mine) >= self.stages[stage].attempts or mine.count("malformed") > 1:
            return False
        window = self.stages[stage].context_window
        too_long = [self.stages[at].context_window for at, kind in self.failures if kind == "context_length"]
        return all(small is not None and window is not None and window > small for small in too_long)

    @precondition(lambda self: isinstance(self.step, Try))
    @rule(
        kind=st.sampled_from([*KINDS, *sorted(AGAIN) * 4]),
        hint=st.one_of(st.none(), st.floats(0.0, 30.0)),
        jitter=st.floats(0.0, 1.0),
    )
    def the_attempt_fails(self, kind: str, hint: float | None, jitter: float) -> None:
        assert isinstance(self.step, Try)
        stage = self.step.stage
        self.walk.failed(stage, kind, now=self.now, jitter=jitter, retry_after=hint)
        self.failures.append((stage, kind))
        if stage in self.hung_up and not any(at == stage for at, _ in self.failures[self.failed_then[stage] : -1]):
            self.doubled.append((stage, kind))
        self.not_before[stage] = max(self.not_before.get(stage, 0.0), self.now + (hint or 0.0))
        tries = sum(at == stage for at, _ in self.failures)
        pause = max(hint or 0.0, jitter * min(8.0, 2.0 ** (tries - 2)))
        self.rested[stage] = max(self.rested.get(stage, 0.0), self.now + pause)
        self.step = self.walk.next(self.now, self.unavailable)

    @precondition(lambda self: isinstance(self.step, Try))
    @rule()
    def a_kept_connection_had_been_closed(self) -> None:
        assert isinstance(self.step, Try)
        stage = self.step.stage
        if stage not in self.hung_up:
            assert not self.walk.failed(stage, "reused_connection_closed", now=self.now, jitter=1.0)
            self.hung_up.append(stage)
            self.failed_then[stage] = len(self.failures)
            self.step = self.walk.next(self.now, self.unavailable)

    @rule(stage=st.integers(0, 3), silent=st.booleans())
    def an_attempt_loses_to_a_faster_one(self, stage: int, silent: bool) -> None:  # noqa: FBT001 - drawn
        if stage < len(self.stages) and self.may_try(stage):
            (self.walk.overtaken if silent else self.walk.lost)(stage)
            self.failures.append((stage, "overtaken" if silent else "lost"))
            self.step = self.walk.next(self.now, self.unavailable)

    @precondition(lambda self: isinstance(self.step, Wait))
    @rule()
    def the_wait_is_over(self) -> None:
        assert isinstance(self.step, Wait)
        self.now = self.step.until
        self.step = self.walk.next(self.now, self.unavailable)

    @rule(stage=st.integers(0, 3), seconds=st.floats(0.0, 20.0))
    def a_target_becomes_unavailable(self, stage: int, seconds: float) -> None:
        if stage < len(self.stages):
            self.unavailable[stage] = self.now + seconds
            self.step = self.walk.next(self.now, self.unavailable)

    @invariant()
    def only_what_may_be_tried_is_tried_and_only_when_it_is_time(self) -> None:
        match self.step:
            case Try(stage=stage):
                assert self.may_try(stage)
                assert self.now >= self.not_before.get(stage, 0.0)
                assert self.now >= self.unavailable.get(stage, 0.0)
            case Wait(until=until, stage=stage):
                assert self.may_try(stage)
                assert self.now < until < self.deadline
            case Stop(reason="no_time"):
                assert any(self.may_try(stage) for stage in range(len(self.stages)))
            case Stop():
                assert not any(self.may_try(stage) for stage in range(len(self.stages)))

    @invariant()
    def a_target_that_timed_out_comes_last(self) -> None:
        if not isinstance(self.step, Try) or not self.failures or self.failures[-1][0] == self.step.stage:
            return
        timed_out = self.kept_it_waiting()
        if self.step.stage not in timed_out:
            return
        others = [at for at in range(len(self.stages)) if at not in timed_out and self.may_try(at)]
        ready = {at: max(self.rested.get(at, 0.0), self.unavailable.get(at, 0.0)) for at in others}
        assert all(at > self.now for at in ready.values()), "another target could have gone now"
        assert math.inf not in ready.values()

    def kept_it_waiting(self) -> set[int]:
        return {at for at, kind in self.failures if kind in TIMED_OUT | {"overtaken"}}

    def had_its_share(self, stage: int) -> bool:
        of_target, of_provider = self.shares
        counted = [(self.stages[at], kind) for at, kind in [*self.failures, *self.doubled] if kind in COUNTED]
        mine = self.stages[stage]
        against_target = sum(other.target == mine.target for other, _ in counted)
        against_provider = sum(other.provider == mine.provider and kind in OF_THE_PROVIDER for other, kind in counted)
        return against_target >= of_target or against_provider >= of_provider

    @invariant()
    def whoever_failed_as_often_as_one_call_should_lets_others_go_first(self) -> None:
        if not isinstance(self.step, Try) or not self.had_its_share(self.step.stage):
            return
        for at in range(len(self.stages)):
            if self.may_try(at) and not self.had_its_share(at) and at not in self.kept_it_waiting():
                ready = max(self.rested.get(at, 0.0), self.unavailable.get(at, 0.0))
                assert ready > self.now, "another target could have gone now"


TestWalk = Walk.TestCase
