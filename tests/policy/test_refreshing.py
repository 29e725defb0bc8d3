"""Which answers are fetched anew at once: rule by rule, and a machine beside a model of plain sets."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from penstock.policy.refreshing import MOST_PAUSES, Refreshing

KEYS = ("a", "b", "c", "d")


def test_a_key_is_refreshed_by_one_at_a_time() -> None:
    core = Refreshing(most=8, pause=5.0)
    assert core.may_begin("a", 0.0)
    assert not core.may_begin("a", 0.0)
    core.ended("a", 1.0, failed=False)
    assert core.may_begin("a", 1.0)


def test_never_more_than_so_many_at_once() -> None:
    core = Refreshing(most=2, pause=5.0)
    assert [core.may_begin(key, 0.0) for key in "abc"] == [True, True, False]
    core.ended("a", 0.0, failed=False)
    assert core.may_begin("c", 0.0)


def test_one_that_failed_is_left_alone_for_a_while() -> None:
    core = Refreshing(most=8, pause=5.0)
    assert core.may_begin("a", 0.0)
    core.ended("a", 1.0, failed=True)
    assert not core.may_begin("a", 5.9)
    assert core.may_begin("b", 5.9)
    assert core.may_begin("a", 6.0)


def test_a_failing_world_does_not_fill_the_memory() -> None:
    core = Refreshing(most=8, pause=1e9)
    for number in range(MOST_PAUSES + 10):
        assert core.may_begin(str(number), 0.0)
        core.ended(str(number), 0.0, failed=True)
    assert [core.may_begin(str(number), 1.0) for number in (0, 9, 10, 11)] == [True, True, False, False]


class RefreshingMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.core = Refreshing(most=2, pause=5.0)
        self.running: list[str] = []
        self.failed_at: dict[str, float] = {}

    @rule(step=st.sampled_from([0.0, 1.0, 4.9, 5.0]))
    def wait(self, step: float) -> None:
        self.now += step

    @rule(key=st.sampled_from(KEYS))
    def begin(self, key: str) -> None:
        resting = key in self.failed_at and self.now < self.failed_at[key] + 5.0
        expected = key not in self.running and len(self.running) < 2 and not resting
        assert self.core.may_begin(key, self.now) == expected
        if expected:
            self.running.append(key)
            self.failed_at.pop(key, None)

    @rule(place=st.integers(0, 1), failed=st.booleans())
    def end(self, place: int, failed: bool) -> None:  # noqa: FBT001 - drawn by Hypothesis
        if place >= len(self.running):
            return
        key = self.running.pop(place)
        self.core.ended(key, self.now, failed=failed)
        if failed:
            self.failed_at[key] = self.now

    @invariant()
    def as_many_run_as_were_begun(self) -> None:
        assert self.core.running == len(self.running) <= 2


TestRefreshingMachine = RefreshingMachine.TestCase
