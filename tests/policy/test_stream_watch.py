"""The clocks of a stream, as plain calls, and against a model that keeps the whole story in the provider's own time."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from penstock.errors import (
    AttemptTimeoutError,
    FirstTokenTimeoutError,
    IdleTimeoutError,
    TooSlowError,
    TotalTimeoutError,
)
from penstock.policy.stream_watch import THROUGHPUT_PERIOD, Phases, StreamWatch

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


SLOWEST = Phases(first_token=20.0, idle=15.0, total=300.0, min_throughput=5.0)
"""Fifty bytes in every period of ten seconds."""


def test_a_stream_that_brings_too_little_in_a_period_is_too_slow() -> None:
    watch = StreamWatch(SLOWEST, 0.0)
    watch.token(1.0)
    watch.brought(1.0, 9)
    for now in range(2, 11):
        watch.heard(float(now))
        watch.brought(float(now), 4)
    assert watch.deadline() == 11.0
    assert isinstance(watch.error("t"), TooSlowError)
    assert str(watch.error("mine")) == "mine sent less than 5 bytes a second over 10 s (min_throughput)"
    watch.brought(10.5, 5)
    assert watch.deadline() == 20.5, "the period was fulfilled in its last moment, and the next began"


def test_before_the_first_token_there_is_no_pace() -> None:
    watch = StreamWatch(SLOWEST, 0.0)
    for now in range(1, 19):
        watch.heard(float(now))
        watch.brought(float(now), 0)
    assert watch.deadline() == 20.0
    assert isinstance(watch.error("t"), FirstTokenTimeoutError)


def test_what_a_period_brought_too_much_is_not_saved_up_for_the_next() -> None:
    watch = StreamWatch(SLOWEST, 0.0)
    watch.token(1.0)
    watch.brought(1.0, 10_000)
    assert watch.deadline() == 11.0
    watch.heard(10.0)
    watch.brought(10.0, 49)
    assert watch.deadline() == 11.0


def test_the_pace_waits_while_the_consumer_is_at_work() -> None:
    watch = StreamWatch(SLOWEST, 0.0)
    watch.token(1.0)
    watch.pause(100.0)
    assert watch.deadline() == 111.0
    assert isinstance(watch.error("t"), TooSlowError)


def test_an_answer_in_one_piece_knows_only_its_total_time() -> None:
    watch = StreamWatch(SLOWEST, 3.0)
    watch.heard(4.0)
    watch.in_one_piece()
    assert watch.deadline() == 303.0
    assert isinstance(watch.error("t"), TotalTimeoutError)


SECONDS = st.integers(0, 40).map(float)


class Stream(RuleBasedStateMachine):
    """The model counts in the provider's time, which stands still while the consumer is at work."""

    @initialize(
        started=SECONDS,
        first=st.integers(1, 60).map(float),
        idle=st.integers(1, 60).map(float),
        total=st.integers(1, 200).map(float),
        slowest=st.none() | st.integers(1, 9).map(float),
    )
    def start(self, started: float, first: float, idle: float, total: float, slowest: float | None) -> None:
        self.phases = Phases(first_token=first, idle=idle, total=total, min_throughput=slowest)
        self.watch = StreamWatch(self.phases, started)
        self.began = started
        self.now = started
        self.at_work = 0.0
        self.heard: list[float] = []
        self.tokens: list[float] = []
        self.came: list[tuple[float, int]] = []
        """When so many bytes of the answer came."""

    def elapsed(self) -> float:
        """Of the provider's time."""
        return self.now - self.began - self.at_work

    def period(self, slowest: float) -> float:
        """When the period began that is not fulfilled yet: by the whole story, from the first token on."""
        began, missing = self.tokens[0], slowest * THROUGHPUT_PERIOD
        for at, size in self.came:
            missing -= size
            if missing <= 0:
                began, missing = at, slowest * THROUGHPUT_PERIOD
        return began

    @rule(after=SECONDS)
    def bytes_come_that_are_no_part_of_the_answer(self, after: float) -> None:
        self.now += after
        self.watch.heard(self.now)
        self.watch.brought(self.now, 0)
        self.heard.append(self.elapsed())

    @rule(after=SECONDS, size=st.integers(1, 60))
    def some_of_the_answer_comes(self, after: float, size: int) -> None:
        self.now += after
        if not self.tokens:
            self.watch.token(self.now)
        self.watch.heard(self.now)
        self.watch.brought(self.now, size)
        self.heard.append(self.elapsed())
        self.tokens.append(self.elapsed())
        self.came.append((self.elapsed(), size))

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
        if self.tokens and self.phases.min_throughput is not None:
            clocks[TooSlowError] = self.period(self.phases.min_throughput) + THROUGHPUT_PERIOD
        soonest = min(clocks.values())
        assert self.watch.deadline() == pytest.approx(self.began + self.at_work + soonest)
        assert clocks[type(self.watch.error("t"))] == pytest.approx(soonest)


TestStream = Stream.TestCase
