"""The clocks of a stream, as plain calls, and against a model that keeps the whole story in the provider's own time."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from penstock.errors import AttemptTimeoutError, FirstTokenTimeoutError, IdleTimeoutError, TotalTimeoutError
from penstock.policy.stream_watch import Phases, StreamWatch

PHASES = Phases(first_token=20.0, idle=15.0, total=300.0)


def test_before_anything_came_the_first_token_is_waited_for() -> None:
    watch = StreamWatch(PHASES, 100.0)
    assert watch.deadline() == 120.0
    assert isinstance(watch.error("t"), FirstTokenTimeoutError)


def test_pings_keep_a_stream_from_being_idle_and_never_stand_in_for_the_first_token() -> None:
    watch = StreamWatch(Phases(first_token=20.0, idle=25.0, total=300.0), 0.0)
    for now in range(1, 20):
        watch.heard(float(now))
        assert watch.deadline() == 20.0
    assert isinstance(watch.error("t"), FirstTokenTimeoutError)


def test_a_silence_between_two_pings_is_idle_even_before_the_first_token() -> None:
    watch = StreamWatch(Phases(first_token=60.0, idle=15.0, total=300.0), 0.0)
    watch.heard(1.0)
    assert watch.deadline() == 16.0
    assert isinstance(watch.error("t"), IdleTimeoutError)


def test_after_the_first_token_only_idle_and_total_are_left() -> None:
    watch = StreamWatch(PHASES, 0.0)
    watch.token(19.0)
    assert watch.deadline() == 34.0
    assert isinstance(watch.error("t"), IdleTimeoutError)
    for now in range(20, 300):
        watch.heard(float(now))
    assert watch.deadline() == 300.0
    assert isinstance(watch.error("t"), TotalTimeoutError)


def test_the_consumers_time_is_given_back_to_every_clock() -> None:
    watch = StreamWatch(PHASES, 0.0)
    watch.token(1.0)
    watch.heard(1.0)
    watch.pause(1_000.0)
    assert watch.deadline() == 1_016.0
    for now in range(1_002, 1_301):
        watch.heard(float(now))
        assert watch.deadline() == min(now + 15.0, 1_300.0)
    watch.pause(0.5)
    assert watch.deadline() == 1_300.5


def test_the_timeout_that_fires_is_named_with_its_target_its_seconds_and_its_setting() -> None:
    watch = StreamWatch(PHASES, 0.0)
    assert str(watch.error("mine")) == "mine sent no token within 20 s (first_token)"
    watch.token(1.0)
    assert str(watch.error("mine")) == "mine fell silent for 15 s (idle)"
    short = StreamWatch(Phases(first_token=20.0, idle=15.0, total=2.5), 0.0)
    assert str(short.error("mine")) == "mine was not done within 2.5 s (total)"


@pytest.mark.parametrize("slow", [False, True])
def test_equal_times_are_all_the_same_to_the_deadline(slow: bool) -> None:  # noqa: FBT001 - a parameter of the test
    watch = StreamWatch(Phases(first_token=5.0, idle=5.0, total=5.0), 10.0)
    if slow:
        watch.heard(10.0)
    assert watch.deadline() == 15.0


SECONDS = st.integers(0, 40).map(float)


class Stream(RuleBasedStateMachine):
    """The model counts in the provider's time, which stands still while the consumer is at work."""

    @initialize(
        started=SECONDS,
        first=st.integers(1, 60).map(float),
        idle=st.integers(1, 60).map(float),
        total=st.integers(1, 200).map(float),
    )
    def start(self, started: float, first: float, idle: float, total: float) -> None:
        self.phases = Phases(first_token=first, idle=idle, total=total)
        self.watch = StreamWatch(self.phases, started)
        self.began = started
        self.now = started
        self.at_work = 0.0
        self.heard: list[float] = []
        self.tokens: list[float] = []

    def elapsed(self) -> float:
        """Of the provider's time."""
        return self.now - self.began - self.at_work

    @rule(after=SECONDS)
    def bytes_come(self, after: float) -> None:
        self.now += after
        self.watch.heard(self.now)
        self.heard.append(self.elapsed())

    @rule(after=SECONDS)
    def a_token_comes(self, after: float) -> None:
        self.now += after
        self.watch.token(self.now)
        self.watch.heard(self.now)
        self.heard.append(self.elapsed())
        self.tokens.append(self.elapsed())

    @rule(seconds=SECONDS)
    def the_consumer_is_at_work(self, seconds: float) -> None:
        self.now += seconds
        self.at_work += seconds
        self.watch.pause(seconds)

    @invariant()
    def the_deadline_is_where_the_first_of_the_clocks_runs_out(self) -> None:
        clocks: dict[type[AttemptTimeoutError], float] = {TotalTimeoutError: self.phases.total}
        if not self.tokens:
            clocks[FirstTokenTimeoutError] = self.phases.first_token
        if self.heard:
            clocks[IdleTimeoutError] = self.heard[-1] + self.phases.idle
        soonest = min(clocks.values())
        assert self.watch.deadline() == pytest.approx(self.began + self.at_work + soonest)
        assert clocks[type(self.watch.error("t"))] == pytest.approx(soonest)


TestStream = Stream.TestCase
