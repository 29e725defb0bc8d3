"""The worst case of a call, held to the cascade itself: however it is driven, it never comes to more.

What the cascade comes to is counted here by hand, attempt by attempt and wait by wait.
"""

from __future__ import annotations

import math

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from penstock.policy.holds import Amount
from penstock.policy.repairing import Fault, GiveUp, MoreRoom, Next, Reask, Repairs, more_room
from penstock.policy.retry import ACTIONS, Cascade, RetrySettings, Stage, Stop, Try, Wait
from penstock.policy.worst_case import StageCase, WorstCase, worst_case

BACK_OFFS = (0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0)
"""Seconds after the first, second, third failure: the longest of each."""
WORST = ("reused_connection_closed", "server_error", "rate_limited", "total_timeout")
"""Kinds that let a call go on for as long as it may: drawn more often than the others."""
EPSILON = 1e-6
AMOUNT = Amount(100, 7)


def case(
    allowed: int, longest: float = 10.0, dearest: Amount | None = AMOUNT, *, share: float = math.inf, provider: str = ""
) -> StageCase:
    return StageCase(allowed=allowed, longest=longest, dearest=dearest, share=share, provider=provider)


def driven(cases: list[StageCase], kinds: list[str], *, hint: float | None = None) -> tuple[int, float]:
    """Attempts and seconds of a walk whose attempts all take their longest, and fail in these ways in turn."""
    stages = [
        Stage(str(at), each.allowed, None, each.provider, each.share, each.share) for at, each in enumerate(cases)
    ]
    walk = Cascade(stages, deadline=math.inf)
    attempts, now = 0, 0.0
    while not isinstance(step := walk.next(now), Stop):
        if isinstance(step, Wait):
            now = step.until
            continue
        now += cases[step.stage].longest
        kind = kinds[attempts % len(kinds)]
        walk.failed(step.stage, kind, now=now, jitter=1.0, retry_after=hint)
        attempts += 1
    return attempts, now


def test_the_bound_is_reached_where_everything_goes_as_wrong_as_it_can() -> None:
    cases = [case(3)]
    attempts, seconds = driven(cases, ["reused_connection_closed", "server_error"])
    worst = worst_case(cases)
    assert attempts == worst.attempts == 4
    assert seconds == worst.trying == 4 * 10 + 0.5 + 1.0


def test_the_rests_of_a_call_that_fails_too_often_are_part_of_it() -> None:
    alone = [case(10, share=4)]
    _, seconds = driven(alone, ["server_error"])
    assert seconds == 10 * 10 + 0.5 + 1.0 + 2.0 + 15 + 5 * 60
    assert seconds <= worst_case(alone).trying
    together = [case(4, share=4, provider="p"), case(4, share=4, provider="p")]
    _, seconds = driven(together, ["reused_connection_closed", *["connect"] * 4])
    assert 200 < seconds <= worst_case(together).trying
    assert worst_case([case(3, share=4)]).trying == 4 * 10 + 0.5 + 1.0, "a kept connection alone makes nobody rest"


def test_what_servers_ask_for_takes_the_place_of_the_back_off() -> None:
    cases = [case(3)]
    _, seconds = driven(cases, ["reused_connection_closed", "rate_limited"], hint=60.0)
    assert seconds == worst_case(cases, longest_hint=60.0, elsewhere=0.0).seconds == 4 * 10 + 2 * 60


def test_nothing_bounds_a_hint_but_the_deadline() -> None:
    assert worst_case([case(2)], elsewhere=0.0).seconds == math.inf
    assert worst_case([case(2)], elsewhere=0.0, deadline=30.0).seconds == 30.0
    assert worst_case([case(1)], elsewhere=0.0).seconds == 20.0, "nothing is tried again: nobody is waited for"
    assert worst_case([case(1)], deadline=600.0).seconds == 600.0, "others may make it wait all the same"


def test_a_deadline_bounds_the_trying_too() -> None:
    assert worst_case([case(3)], deadline=25.0).trying == 25.0


def test_a_stage_that_may_not_be_tried_comes_to_nothing() -> None:
    worst = worst_case([case(0, dearest=None), case(1)])
    assert worst.attempts == 2
    assert worst.total == Amount(200, 14)
    assert worst.dearest == Amount(100, 7)


def test_one_attempt_without_a_bound_leaves_the_whole_without_one() -> None:
    worst = worst_case([case(1, dearest=None), case(1)])
    assert worst.total is None
    assert worst.dearest is None


def test_the_dearest_attempt_is_the_dearest_in_each_unit() -> None:
    worst = worst_case([case(1, dearest=Amount(10, 900)), case(1, dearest=Amount(70, 1))])
    assert worst.dearest == Amount(70, 900)


@given(st.lists(st.tuples(st.integers(1, 6), st.integers(0, 10**6), st.integers(0, 10**12)), min_size=1, max_size=5))
def test_all_attempts_together_cost_no_more_than_the_total(stages: list[tuple[int, int, int]]) -> None:
    cases = [case(allowed, dearest=Amount(tokens, nano)) for allowed, tokens, nano in stages]
    by_hand = Amount()
    for allowed, tokens, nano in stages:
        for _ in range(allowed + 1):
            by_hand += Amount(tokens, nano)
    assert worst_case(cases).total == by_hand


@attrs.define
class _Walked:
    """What a walk came to."""

    attempts: list[int]
    seconds: float = 0.0
    backing_off: float = 0.0
    elsewhere: float = 0.0
    hinted: bool = False


class Walk(RuleBasedStateMachine):
    """A cascade driven by errors, hints and blocks of every kind, beside counts that are kept here."""

    @initialize(
        allowed=st.lists(st.integers(1, 5), min_size=1, max_size=4),
        longest=st.sampled_from([0.0, 1.0, 30.0, 600.0]),
        longest_hint=st.sampled_from([0.0, 5.0, 60.0]),
        deadline=st.sampled_from([math.inf, 20.0, 600.0]),
        share=st.sampled_from([math.inf, 1.0, 2.0, 4.0]),
        providers=st.sampled_from(["pppp", "pqpq", "pqrs"]),
        on_filter=st.booleans(),
    )
    def begin(
        self,
        allowed: list[int],
        longest: float,
        longest_hint: float,
        deadline: float,
        *,
        share: float,
        providers: str,
        on_filter: bool,
    ) -> None:
        self.longest, self.longest_hint, self.deadline = longest, longest_hint, deadline
        self.share = share
        self.cases = [
            case(each, longest, share=share, provider=of) for each, of in zip(allowed, providers, strict=False)
        ]
        stages = [Stage(str(at), each, 1000 * at, providers[at], share, share) for at, each in enumerate(allowed)]
        self.walk = Cascade(stages, deadline=deadline, next_on_content_filter=on_filter)
        self.walked = _Walked([0] * len(allowed))
        self.blocked: dict[int, float] = {}
        self.now = 0.0
        self.over = False

    def pass_time(self, seconds: float) -> None:
        """The scope of the call ends it at its deadline, wherever it is."""
        self.now = min(self.now + seconds, self.deadline)
        self.over = self.over or self.now >= self.deadline

    @rule(stage=st.integers(0, 3), seconds=st.floats(0.0, 40.0))
    def block(self, stage: int, seconds: float) -> None:
        """A circuit opens, or a target cools because of others."""
        self.blocked[stage % len(self.cases)] = self.now + seconds
        self.walked.elsewhere += seconds

    @rule(
        kind=st.sampled_from(WORST) | st.sampled_from(sorted(ACTIONS)),
        share=st.just(1.0) | st.floats(0.0, 1.0),
        jitter=st.just(1.0) | st.floats(0.0, 1.0),
        hint=st.sampled_from([None, 1.0]) | st.floats(0.0, 1.0),
    )
    def go_on(self, kind: str, share: float, jitter: float, hint: float | None) -> None:
        """The next attempt, with the waits before it; nothing once the call is over."""
        if self.over:
            return
        while isinstance(step := self.walk.next(self.now, self.blocked), Wait):
            self.walked.backing_off += step.until - self.now
            self.pass_time(step.until - self.now)
            if self.over:
                return
        if isinstance(step, Stop):
            self.over = True
            return
        assert isinstance(step, Try)
        self.walked.attempts[step.stage] += 1
        self.pass_time(share * self.longest)
        if not self.over:
            wanted = None if hint is None else hint * self.longest_hint
            self.walked.hinted = self.walked.hinted or bool(wanted)
            self.walk.failed(step.stage, kind, now=self.now, jitter=jitter, retry_after=wanted)

    def worst(self) -> WorstCase:
        return worst_case(
            self.cases, deadline=self.deadline, longest_hint=self.longest_hint, elsewhere=self.walked.elsewhere
        )

    @invariant()
    def no_more_attempts(self) -> None:
        if not hasattr(self, "cases"):
            return
        assert sum(self.walked.attempts) <= self.worst().attempts
        for made, each in zip(self.walked.attempts, self.cases, strict=True):
            assert made <= each.attempts

    @invariant()
    def no_more_seconds(self) -> None:
        if not hasattr(self, "cases"):
            return
        worst = self.worst()
        assert self.now <= worst.seconds + EPSILON
        if not (self.walked.hinted or self.walked.elsewhere):
            assert self.now <= worst.trying + EPSILON
            most = sum(sum(BACK_OFFS[: each.allowed - 1]) for each in self.cases)
            assert self.walked.backing_off <= most + self.longest_rests() + EPSILON

    def longest_rests(self) -> float:
        """Each failure of a provider but its last may bring a rest, as soon as they have all had their share of it."""
        rests = 0.0
        for provider in {each.provider for each in self.cases}:
            own = [each.allowed for each in self.cases if each.provider == provider]
            counted = [number + len(own) for number in range(1, sum(own))]
            rests += 60.0 * sum(number > self.share for number in counted) + 15.0 * counted.count(
                int(min(self.share, 99))
            )
        return rests


TestWalk = Walk.TestCase


BASE, QUOTED = 100, 40
"""Tokens of an answer at first, and what one more reads where an answer is quoted to be mended."""


def rooms(repairs: int, most: int | None) -> list[Amount]:
    """The dearest attempt after each repair: asked with twice as much each time, and with something to mend."""
    amounts, room = list[Amount](), BASE
    for _ in range(repairs):
        room = more_room(room, most)
        amounts.append(Amount(room + QUOTED, 0))
    return amounts


@given(
    allowed=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    most=st.sampled_from([None, 150, 400, 10_000]),
    repairs=st.integers(0, 5),
    ends=st.lists(st.sampled_from(("cut", "misfit", *WORST)), min_size=1, max_size=40),
)
def test_a_call_whose_answers_are_repaired_stays_within_its_bounds(
    allowed: list[int], most: int | None, repairs: int, ends: list[str]
) -> None:
    after = rooms(repairs, most)
    cases = [attrs.evolve(case(each, dearest=Amount(BASE, 0)), mended=after) for each in allowed]
    walk = Cascade([Stage(str(at), each) for at, each in enumerate(allowed)], deadline=math.inf)
    repairing = Repairs(repairs)
    made, spent, now, room, quoted = [0] * len(allowed), 0, 0.0, BASE, 0
    while not isinstance(step := walk.next(now), Stop):
        if isinstance(step, Wait):
            now = step.until
            continue
        end = ends[sum(made) % len(ends)]
        made[step.stage] += 1
        now += 10.0
        spent += room + quoted
        if end not in {"cut", "misfit"}:
            walk.failed(step.stage, end, now=now, jitter=1.0)
            continue
        fault = Fault("length" if end == "cut" else "misfit", end)
        match repairing.step(
            str(step.stage), fault, others_left=walk.others_left(step.stage), limit=room, most_output=most
        ):
            case MoreRoom(max_tokens=room):
                pass
            case GiveUp():
                break
            case Next():
                walk.give_up(step.stage)
                room, quoted = BASE, 0
            case Reask():
                quoted = QUOTED
    worst = worst_case(cases, repairs=repairs)
    assert sum(made) <= worst.attempts
    assert all(times <= each.attempts + repairs for times, each in zip(made, cases, strict=True))
    assert now <= worst.trying + EPSILON
    assert worst.total is not None
    assert spent <= worst.total.tokens


def test_no_repair_costs_what_only_a_later_one_may() -> None:
    alone = attrs.evolve(case(1, dearest=Amount(10, 1)), mended=(Amount(20, 2), Amount(40, 4)), refused_ways=1)
    # Three that may come last: as allowed, on a fresh connection, refused. Before each repair one that may not.
    assert worst_case([alone], repairs=2).total == Amount(10 + 20 + 3 * 40, 1 + 2 + 3 * 4)
    assert worst_case([alone], repairs=2).attempts == 5
    assert worst_case([alone], repairs=10**9).total == Amount(10 + 20 + (10**9 + 1) * 40, 3 + (10**9 + 1) * 4)
    assert worst_case([alone], repairs=2).dearest == Amount(40, 4)
    assert worst_case([case(0)], repairs=2).attempts == 0


def test_a_repair_without_a_bound_leaves_the_whole_without_one() -> None:
    worst = worst_case([attrs.evolve(case(1), mended=(None,))], repairs=1)
    assert worst.total is None
    assert worst.dearest is None


def test_settings_of_the_waits_are_the_cascades_own() -> None:
    quick = RetrySettings(backoff_base=0.1, backoff_cap=0.2)
    assert worst_case([case(4, 0.0)], settings=quick).trying == pytest.approx(0.1 + 0.2 + 0.2)
