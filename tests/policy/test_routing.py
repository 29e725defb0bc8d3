"""Cool-downs, as plain calls and against a model of every refusal. What is learned of usage is in `test_learning`."""

from __future__ import annotations

from typing import Literal

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from penstock.policy.routing import CoolDown, CoolSettings, Routing, key_scope, target_scope

TARGET = "target:t"
Reason = Literal["rate_limited", "quota_exhausted"]


def seconds(
    routing: Routing, now: float, *, jitter: float = 1.0, hint: float | None = None, reason: Reason = "rate_limited"
) -> float:
    """How long it cools from now on, after one more refusal."""
    routing.cool(TARGET, reason, now=now, jitter=jitter, retry_after=hint)
    return routing.cooling()[TARGET].until - now


def test_the_names_of_scopes_say_what_they_are_of() -> None:
    assert target_scope("openai/gpt-4o") == "target:openai/gpt-4o"
    assert key_scope("openai") == "key:openai/0"
    assert key_scope("openai", 2) == "key:openai/2"


def test_without_a_hint_a_rate_limit_cools_a_second_doubling_to_thirty() -> None:
    routing = Routing()
    now, seen = 0.0, list[float]()
    for _ in range(8):
        seen.append(seconds(routing, now))
        now += seen[-1]
    assert seen == pytest.approx([1, 2, 4, 8, 16, 30, 30, 30])


def test_an_empty_account_cools_five_minutes_doubling_to_an_hour() -> None:
    routing = Routing()
    now, seen = 0.0, list[float]()
    for _ in range(6):
        seen.append(seconds(routing, now, jitter=0.0, reason="quota_exhausted"))
        now += seen[-1]
    assert seen == pytest.approx([300, 600, 1200, 2400, 3600, 3600])


@pytest.mark.parametrize(("jitter", "least"), [(0.0, 0.5), (0.5, 0.75), (1.0, 1.0)])
def test_jitter_takes_off_up_to_half(jitter: float, least: float) -> None:
    assert seconds(Routing(), 0.0, jitter=jitter) == pytest.approx(least)


def test_a_hint_is_taken_at_its_word() -> None:
    assert seconds(Routing(), 7.0, jitter=0.0, hint=42.0) == pytest.approx(42)


def test_calls_under_way_together_that_meet_one_limit_count_once() -> None:
    routing = Routing()
    for late in (0.0, 0.1, 0.2, 0.3):
        routing.cool(TARGET, "rate_limited", now=late, jitter=0.0)
    assert routing.cooling()[TARGET].until <= 0.3 + 0.5
    assert seconds(routing, 10.0) == pytest.approx(2), "the second in a row, not the fifth"


def test_an_answer_after_its_end_makes_the_next_one_small_again() -> None:
    routing = Routing()
    for now in (0.0, 10.0, 20.0):
        seconds(routing, now)
    routing.answered(TARGET, 21.0)
    assert TARGET in routing.cooling(), "an answer that was under way ends nothing"
    routing.answered(TARGET, 100.0)
    assert TARGET not in routing.cooling()
    assert seconds(routing, 101.0) == pytest.approx(1)


def test_what_is_new_or_longer_is_told_and_nothing_else() -> None:
    routing = Routing()
    assert routing.cool(TARGET, "rate_limited", now=0.0, jitter=0.0, retry_after=9.0) == CoolDown(
        TARGET, 9.0, "rate_limited"
    )
    assert routing.cool(TARGET, "rate_limited", now=1.0, jitter=0.0, retry_after=8.0) is None
    longer = routing.cool(TARGET, "rate_limited", now=1.0, jitter=0.0, retry_after=8.5)
    assert longer == CoolDown(TARGET, 9.5, "rate_limited")


def test_settings_of_its_own() -> None:
    routing = Routing(CoolSettings(rate_base=3.0, rate_cap=4.0))
    assert seconds(routing, 0.0) == pytest.approx(3)
    assert seconds(routing, 100.0) == pytest.approx(4)


SCOPES = st.sampled_from(["target:a", "target:b", "key:p/0"])


class Refusals(RuleBasedStateMachine):
    """The model knows between which two moments each cool-down must end: jitter and doubling are the core's own."""

    def __init__(self) -> None:
        super().__init__()
        self.routing = Routing()
        self.now = 0.0
        self.not_before: dict[str, float] = {}
        self.at_most: dict[str, float] = {}
        self.shown = self.routing.cooling()
        self.version = self.routing.version

    @rule(seconds=st.floats(0.0, 100.0))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(scope=SCOPES, hint=st.none() | st.floats(0.0, 200.0), jitter=st.floats(0.0, 1.0), empty=st.booleans())
    def a_server_refuses(self, scope: str, hint: float | None, jitter: float, empty: bool) -> None:  # noqa: FBT001
        reason: Reason = "quota_exhausted" if empty else "rate_limited"
        self.routing.cool(scope, reason, now=self.now, jitter=jitter, retry_after=hint)
        least = max(300.0, hint or 0.0) if empty else (0.5 if hint is None else hint)
        most = max(3_960.0, hint or 0.0) if empty else (30.0 if hint is None else hint)
        self.not_before[scope] = max(self.not_before.get(scope, 0.0), self.now + least)
        self.at_most[scope] = max(self.at_most.get(scope, 0.0), self.now + most)

    @rule(scope=SCOPES)
    def a_target_answers(self, scope: str) -> None:
        before = self.routing.cooling()
        self.routing.answered(scope, self.now)
        gone = scope in before and scope not in self.routing.cooling()
        if scope in self.not_before:
            assert gone or self.at_most[scope] > self.now, "what is over is forgotten by an answer"
            assert not gone or self.not_before[scope] <= self.now, "what still holds is not"
        if gone:
            del self.not_before[scope], self.at_most[scope]

    @invariant()
    def every_cool_down_lasts_as_long_as_was_asked_and_no_longer_than_it_may(self) -> None:
        cooling = self.routing.cooling()
        assert set(cooling) == set(self.not_before)
        for scope, cool in cooling.items():
            assert self.not_before[scope] <= cool.until <= self.at_most[scope]

    @invariant()
    def a_cool_down_is_never_shortened_and_the_version_moves_exactly_with_what_is_seen(self) -> None:
        cooling = self.routing.cooling()
        assert all(cooling[scope].until >= cool.until for scope, cool in self.shown.items() if scope in cooling)
        assert (self.routing.version != self.version) == (cooling != self.shown)
        self.version, self.shown = self.routing.version, cooling


TestRefusals = Refusals.TestCase
