"""The cascade, driven as plain calls, and against a model that keeps its own list of what happened."""

from __future__ import annotations

import math

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from penstock import errors
from penstock.policy.retry import ACTIONS, Blame, Cascade, Cools, RetrySettings, Stage, Step, Stop, Try, Wait, backoff

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


@pytest.mark.parametrize(
    "kind", ["quota_exhausted", "quota_short", "authentication", "permission_denied", "model_not_found"]
)
def test_what_a_retry_cannot_cure_goes_to_the_next_target_at_once(kind: str) -> None:
    walk = cascade(*TWO)
    fail(walk, 0, kind)
    assert walk.next(0.0) == Try(1)


@pytest.mark.parametrize("kind", ["malformed", "generation_failed"])
def test_a_malformed_answer_is_asked_for_once_more(kind: str) -> None:
    walk = cascade(*TWO)
    fail(walk, 0, kind)
    assert walk.next(0.0) == Try(0)
    fail(walk, 0, kind)
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


def test_who_may_try_again_at_once_does_so_after_those_that_kept_nobody_waiting() -> None:
    walk = cascade(Stage("a", 2), Stage("b", 1), Stage("c", 3), deadline=1.0)
    walk.overtaken(2)
    assert walk.next(0.0, {0: 1.0, 1: 1.0}) == Try(2)
    assert not walk.failed(2, "reused_connection_closed", now=0.0, jitter=1.0)
    assert walk.next(0.0, {0: 1.0, 1: 1.0}) == Try(2), "nobody else can go"
    assert walk.next(0.0, {0: 0.0, 1: 1.0}) == Try(0)


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
    assert followed(walk, kind) == [(0.0, 0)] * 4 + [(0.0, 1)] * 2 + [(15.0, 0), (75.0, 0), (135.0, 0)]


def followed(walk: Cascade, kind: str) -> list[tuple[float, int]]:
    """When which stage is tried, where all fail in that way at once and nobody asks for a back-off."""
    seen: list[tuple[float, int]] = []
    now = 0.0
    while not isinstance(step := walk.next(now), Stop):
        if isinstance(step, Wait):
            now = step.until
            continue
        seen.append((now, step.stage))
        fail(walk, step.stage, kind, now=now)
    assert step == Stop("spent")
    return seen


def test_where_nobody_else_is_left_it_rests_and_then_comes_back_once_in_a_minute() -> None:
    seen = followed(cascade(spread("a", 10)), "server_error")
    assert [at for at, _ in seen] == [0, 0, 0, 0, 15, 75, 135, 195, 255, 315]
    assert followed(cascade(spread("a", 4)), "server_error") == [(0.0, 0)] * 4
    assert followed(cascade(spread("a", 6, math.inf)), "server_error") == [(0.0, 0)] * 6


def test_it_rests_as_long_for_another_model_of_a_provider_that_failed_it() -> None:
    walk = cascade(spread("a", 4), spread("b", 2))
    for _ in range(4):
        fail(walk, 0, "connect")
    assert walk.next(0.0) == Wait(15.0, 1)
    walk = cascade(spread("a", 4), spread("b", 2))
    for _ in range(4):
        fail(walk, 0, "server_error")
    assert walk.next(0.0) == Try(1), "that was the model's own fault"


def test_a_rest_that_the_deadline_cuts_short_is_not_begun() -> None:
    walk = cascade(spread("a", 7), deadline=10.0)
    for _ in range(4):
        fail(walk, 0, "server_error")
    assert walk.next(0.0) == Stop("no_time", 15.0)


def test_once_others_know_better_nobody_rests() -> None:
    walk = cascade(spread("a", 7), spread("b", 7, provider="q"))
    for _ in range(4):
        fail(walk, 0, "connect")
    walk.give_up(1)
    assert walk.next(0.0) == Wait(15.0, 0)
    walk.known_better(0)
    assert walk.next(0.0) == Try(0)
    fail(walk, 0, "connect", jitter=0.5)
    assert walk.next(0.0) == Wait(4.0, 0), "and what it had seen before counts no more"


def test_another_target_that_can_go_before_the_rest_is_over_is_waited_for() -> None:
    walk = cascade(spread("a", 7), Stage("b", 2, None, "q"))
    for _ in range(4):
        fail(walk, 0, "server_error")
    assert walk.next(0.0, {1: 3.0}) == Wait(3.0, 1)
    assert walk.next(0.0, {1: 20.0}) == Wait(15.0, 0)
    assert walk.next(15.0, {1: 20.0}) == Try(0)
    assert walk.next(15.0, opened={1: math.inf}) == Try(0)


@pytest.mark.parametrize("kind", ["invalid_request", "content_filtered", "refused", "context_length"])
def test_what_is_final_for_a_target_that_was_asked_out_of_its_turn_ends_nothing_but_its_own(kind: str) -> None:
    walk = cascade(spread("a", 7), Stage("b", 2, None, "q"), Stage("c", 1, None, "r"))
    for _ in range(4):
        fail(walk, 0, "server_error")
    assert walk.next(0.0) == Try(1)
    fail(walk, 1, kind)
    assert walk.left() == ([0] if kind == "context_length" else [0, 2])
    fail(walk, 2, "model_not_found")
    assert walk.next(0.0) == Wait(15.0, 0)
    fail(walk, 0, kind, now=15.0)
    assert walk.next(15.0) == Stop("spent" if kind == "context_length" else "final")


@pytest.mark.parametrize("kind", ["invalid_request", "content_filtered", "refused"])
def test_it_ends_the_call_where_the_one_before_has_had_all_its_attempts_or_kept_it_waiting(kind: str) -> None:
    walk = cascade(spread("a", 4), Stage("b", 2, None, "q"))
    for _ in range(4):
        fail(walk, 0, "server_error")
    fail(walk, 1, kind)
    assert walk.next(0.0) == Stop("final")
    walk = cascade(spread("a", 7, 1), Stage("b", 2, None, "q"))
    fail(walk, 0, "total_timeout")
    fail(walk, 1, kind)
    assert walk.next(0.0) == Stop("final")


SAME_PROVIDER = (Stage("a", 2, None, "p"), Stage("b", 2, None, "p"), Stage("c", 2, None, "q"))


@pytest.mark.parametrize("kind", sorted(TIMED_OUT))
def test_another_model_of_a_provider_that_was_silent_is_asked_after_other_providers(kind: str) -> None:
    walk = cascade(*SAME_PROVIDER)
    fail(walk, 0, kind)
    assert walk.next(0.0) == Try(2)
    fail(walk, 2, "model_not_found")
    assert walk.next(0.0) == Try(1), "before the one that was silent itself"
    fail(walk, 1, kind)
    fail(walk, 1, kind)
    assert walk.next(1.0) == Try(0)


def test_a_provider_that_cannot_be_reached_in_time_is_waited_for_by_nobody_who_can_go_elsewhere() -> None:
    walk = cascade(*SAME_PROVIDER)
    fail(walk, 0, "connect_timeout")
    assert walk.next(0.0, {2: 60.0}) == Wait(60.0, 2), "for any of its models"
    assert walk.next(0.0, {2: 700.0}) == Try(1), "later than the call's time nobody is waited for"
    walk = cascade(*SAME_PROVIDER)
    fail(walk, 0, "first_token_timeout")
    assert walk.next(0.0, {2: 60.0}) == Try(1), "of another model its silence says less"


def test_two_stages_of_one_target_are_silent_together() -> None:
    walk = cascade(Stage("a", 1, None, "p"), Stage("a", 1, None, "p"), Stage("b", 1, None, "p"))
    fail(walk, 0, "first_token_timeout")
    assert walk.next(0.0) == Try(2)


def test_other_providers_are_asked_in_their_order_before_the_other_models_of_the_silent_one() -> None:
    walk = cascade(*[Stage(name, 1, None, provider) for name, provider in ("ap", "bp", "cq", "dr")])
    seen = [0]
    fail(walk, 0, "connect_timeout")
    while isinstance(step := walk.next(0.0), Try):
        seen.append(step.stage)
        fail(walk, step.stage, "model_not_found")
    assert seen == [0, 2, 3, 1]


def test_who_could_follow_is_another_target_that_can_go_in_time_and_was_not_silent() -> None:
    walk = cascade(Stage("a", 2), Stage("a", 2), Stage("b", 2), Stage("c", 2))
    assert walk.could_follow(0, blocked={})
    assert walk.could_follow(0, blocked={2: 599.0, 3: math.inf})
    assert not walk.could_follow(0, blocked={2: 600.0, 3: math.inf}), "the other stage of its own is none"
    assert not walk.could_follow(0, 2, blocked={3: math.inf}), "nor is one that is under way beside it"
    fail(walk, 2, "first_token_timeout")
    assert not walk.could_follow(0, blocked={3: math.inf}), "for one that was silent nobody has to hurry"


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


@pytest.mark.parametrize("failures", [1_025, 10**6])
def test_backoff_stays_at_its_cap_however_often_a_call_fails(failures: int) -> None:
    assert backoff(failures, RetrySettings(), 1.0) == RetrySettings().backoff_cap


def test_only_what_certainly_was_not_billed_is_free() -> None:
    free = {kind for kind, action in ACTIONS.items() if not action.billed}
    assert {"rate_limited", "connect", "authentication", "invalid_request"} <= free
    assert not free & {"server_error", "overloaded", "truncated", "idle_timeout", "connection_lost", "malformed"}


def test_what_the_request_is_to_blame_for_never_counts_against_a_target() -> None:
    for kind in ("invalid_request", "context_length", "content_filtered", "refused", "unsendable", "rate_limited"):
        assert ACTIONS[kind].blame is Blame.NOBODY
    for kind in ("quota_short", "generation_failed"):
        assert (ACTIONS[kind].blame, ACTIONS[kind].cools) == (Blame.NOBODY, Cools.NOTHING)


# The machine. Its model is the list of failures, judged by its own reading of the design.

GOES_NOWHERE = {"invalid_request", "content_filtered", "refused", "budget_cut"}
NOT_HERE_AGAIN = {
    "quota_exhausted",
    "quota_short",
    "authentication",
    "permission_denied",
    "model_not_found",
    "unsendable",
    "codec",
}
ONCE_MORE = {"malformed", "generation_failed"}
AGAIN = {"server_error", "overloaded", "connect", "connection_lost", "rate_limited"}
COUNTED = TIMED_OUT | {"server_error", "overloaded", "connect", "connection_lost", "malformed"}
OF_THE_PROVIDER = {"connect", "connection_lost", "connect_timeout"}
KINDS = sorted(GOES_NOWHERE | NOT_HERE_AGAIN | TIMED_OUT | AGAIN | ONCE_MORE | {"context_length"})


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
        self.failed_at: dict[int, float] = {}
        self.hung_up: list[int] = []
        self.failed_then: dict[int, int] = {}
        self.blamed: list[tuple[float, int, str]] = []
        """Failures that breakers count, with their times: twice those that follow a dead kept connection."""
        self.forgotten: dict[str, int] = {}
        """How many of them count no more, by target and by provider."""
        self.over = False
        self.too_long: list[tuple[int | None, set[int]]] = []
        """Windows that were too small, and the stages that this says nothing of."""
        self.unavailable: dict[int, float] = {}
        self.step: Step = self.walk.next(self.now)

    def may_try(self, stage: int) -> bool:
        mine = [kind for at, kind in self.failures if at == stage]
        if self.over or any(kind in GOES_NOWHERE | NOT_HERE_AGAIN | {"context_length"} for kind in mine):
            return False
        if len(mine) >= self.stages[stage].attempts or sum(kind in ONCE_MORE for kind in mine) > 1:
            return False
        window = self.stages[stage].context_window
        too_small = [small for small, spared in self.too_long if stage not in spared]
        return all(small is not None and window is not None and window > small for small in too_small)

    def passed_over(self, stage: int) -> set[int]:
        """Those before it that would have been asked in its place, had they not failed this call so often."""
        before = {at for at in range(stage) if self.may_try(at) and self.had_its_share(at)}
        return before - self.kept_it_waiting()

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
        self.failed_at[stage] = self.now
        if kind in GOES_NOWHERE:
            self.over = not self.passed_over(stage)
        if kind == "context_length":
            self.too_long.append((self.stages[stage].context_window, self.passed_over(stage)))
        again = stage in self.hung_up and not any(at == stage for at, _ in self.failures[self.failed_then[stage] :])
        self.failures.append((stage, kind))
        if kind in COUNTED:
            self.blamed += [(self.now, stage, kind)] * (2 if again else 1)
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

    @rule(stage=st.integers(0, 3))
    def others_find_out_how_it_is(self, stage: int) -> None:
        if stage < len(self.stages):
            self.walk.known_better(stage)
            for of_provider in (False, True):
                self.forgotten[self.scope_of(stage, of_provider=of_provider)] = len(self.blamed)
            self.step = self.walk.next(self.now, self.unavailable)

    @precondition(lambda self: isinstance(self.step, Wait))
    @rule()
    def the_wait_is_over(self) -> None:
        assert isinstance(self.step, Wait)
        self.now = self.step.until
        self.step = self.walk.next(self.now, self.unavailable)

    @precondition(lambda self: isinstance(self.step, Wait))
    @rule(seconds=st.floats(0.1, 5.0), times=st.integers(1, 6))
    def the_wait_is_over_but_others_are_let_go_first(self, seconds: float, times: int) -> None:
        for _ in range(times):
            if isinstance(self.step, Wait):
                self.unavailable[self.step.stage] = self.step.until + seconds
                self.the_wait_is_over()
                self.no_target_is_waited_for_beyond_five_seconds_while_another_could_answer()

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
                assert self.now >= self.rests_until(stage)
            case Wait(until=until, stage=stage):
                assert self.may_try(stage)
                assert self.now < until < self.deadline
            case Stop(reason="no_time"):
                assert any(self.may_try(stage) for stage in range(len(self.stages)))
            case Stop():
                assert not any(self.may_try(stage) for stage in range(len(self.stages)))

    @invariant()
    def no_target_is_waited_for_beyond_five_seconds_while_another_could_answer(self) -> None:
        if not isinstance(self.step, Wait):
            return
        others = set(range(len(self.stages))) - {self.step.stage} - self.kept_it_waiting()
        if any(self.may_try(at) and self.ready_at(at) <= self.now for at in others):
            assert self.step.until <= self.failed_at[self.step.stage] + 5.02

    def ready_at(self, stage: int) -> float:
        return max(self.rested.get(stage, 0.0), self.unavailable.get(stage, 0.0), self.rests_until(stage))

    @invariant()
    def a_target_that_timed_out_comes_last(self) -> None:
        if not isinstance(self.step, Try) or not self.failures or self.failures[-1][0] == self.step.stage:
            return
        timed_out = self.kept_it_waiting()
        if self.step.stage not in timed_out:
            return
        others = [at for at in range(len(self.stages)) if at not in timed_out and self.may_try(at)]
        assert all(self.ready_at(at) > self.now for at in others), "another target could have gone now"

    def kept_it_waiting(self) -> set[int]:
        """Those that did, whatever stage has them, and whoever cannot be reached for the same reason."""
        late = {self.stages[at].target for at, kind in self.failures if kind in TIMED_OUT}
        out_of_reach = {self.stages[at].provider for at, kind in self.failures if kind == "connect_timeout"}
        overtaken = {at for at, kind in self.failures if kind == "overtaken"}
        return overtaken | {
            at for at, stage in enumerate(self.stages) if stage.target in late or stage.provider in out_of_reach
        }

    def beside_a_silent_one(self, stage: int) -> bool:
        """Of the same provider as one that timed out."""
        return self.stages[stage].provider in {
            self.stages[at].provider for at, kind in self.failures if kind in TIMED_OUT
        }

    @invariant()
    def after_a_silence_other_providers_are_asked_first(self) -> None:
        if not isinstance(self.step, Try) or not self.beside_a_silent_one(self.step.stage):
            return
        for at in range(len(self.stages)):
            if self.may_try(at) and not self.beside_a_silent_one(at) and at not in self.kept_it_waiting():
                assert self.ready_at(at) > self.now, "another provider could have been asked now"

    def scope_of(self, stage: int, *, of_provider: bool) -> str:
        return self.stages[stage].provider if of_provider else self.stages[stage].target

    def times_of_failures(self, stage: int, *, of_provider: bool) -> list[float]:
        """When its provider, or its target, failed this call in a way that breakers count; but what is forgotten."""
        scope = self.scope_of(stage, of_provider=of_provider)
        counts = OF_THE_PROVIDER if of_provider else COUNTED
        known = self.blamed[self.forgotten.get(scope, 0) :]
        return [
            then for then, at, kind in known if kind in counts and self.scope_of(at, of_provider=of_provider) == scope
        ]

    def had_its_share(self, stage: int) -> bool:
        return any(
            len(self.times_of_failures(stage, of_provider=bool(of_provider))) >= share
            for of_provider, share in enumerate(self.shares)
        )

    def rests_until(self, stage: int) -> float:
        """A quarter of a minute after the failure that was the last of a share, a minute after each beyond it."""
        until = 0.0
        for of_provider, share in enumerate(self.shares):
            times = self.times_of_failures(stage, of_provider=bool(of_provider))
            for number, then in enumerate(times, 1):
                if number >= share:
                    until = max(until, then + (15.0 if number == share else 60.0))
        return until

    @invariant()
    def whoever_failed_as_often_as_one_call_should_lets_others_go_first(self) -> None:
        if not isinstance(self.step, Try) or not self.had_its_share(self.step.stage):
            return
        for at in range(len(self.stages)):
            free = not self.had_its_share(at) and not self.beside_a_silent_one(at)
            if self.may_try(at) and free and at not in self.kept_it_waiting():
                assert self.ready_at(at) > self.now, "another target could have gone now"


TestWalk = Walk.TestCase
