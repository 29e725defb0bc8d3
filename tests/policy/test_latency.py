"""First-token percentiles: against a plain sort of the last hundred, and when a change of them is told."""

from __future__ import annotations

import math
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.policy.latency import FirstTokens
from penstock.policy.routing import Learned, Routing

times = st.floats(0.0, 600.0)


def fed(seconds: list[float]) -> FirstTokens:
    first_tokens = FirstTokens()
    for one in seconds:
        first_tokens.add("t", one)
    return first_tokens


@given(st.lists(times, max_size=350))
def test_the_percentile_is_that_of_the_last_hundred_times(seconds: list[float]) -> None:
    last = sorted(seconds[-100:])
    p95 = fed(seconds).p95("t")
    if len(last) < 5:
        assert p95 is None
        return
    assert p95 in last
    # Of a hundred, ninety-five were no slower, and no faster time has as many.
    assert sum(one <= p95 for one in last) * 100 >= 95 * len(last)
    assert sum(one < p95 for one in last) * 100 < 95 * len(last)


@pytest.mark.slow
@given(st.lists(times, min_size=5, max_size=250), st.lists(times, min_size=100, max_size=100))
def test_what_came_before_the_last_hundred_is_forgotten(old: list[float], new: list[float]) -> None:
    assert fed(old + new).p95("t") == fed(new).p95("t")


@given(st.lists(times, min_size=5, max_size=100), st.randoms(use_true_random=False))
def test_the_order_of_the_times_does_not_matter(seconds: list[float], random: Random) -> None:
    shuffled = list(seconds)
    random.shuffle(shuffled)
    assert fed(shuffled).p95("t") == fed(seconds).p95("t")


def test_one_slow_answer_in_twenty_does_not_move_it_and_two_do() -> None:
    assert fed([1.0] * 19 + [60.0]).p95("t") == 1.0
    assert fed([1.0] * 18 + [60.0] * 2).p95("t") == 60.0


def test_targets_are_kept_apart() -> None:
    first_tokens = fed([1.0] * 5)
    for _ in range(5):
        first_tokens.add("other", 9.0)
    assert (first_tokens.p95("t"), first_tokens.p95("other"), first_tokens.p95("unseen")) == (1.0, 9.0, None)


@pytest.mark.parametrize("junk", [-1.0, math.nan, math.inf])
def test_what_is_no_time_is_left_out(junk: float) -> None:
    assert fed([junk] * 10 + [1.0] * 4).p95("t") is None


def test_names_from_callers_do_not_grow_without_end() -> None:
    first_tokens = fed([1.0] * 5)
    for number in range(2_000):
        first_tokens.add(f"t{number}", 1.0)
    assert len(first_tokens._times) == 1_024  # pyright: ignore[reportPrivateUsage]
    assert first_tokens.p95("t") is None


def test_routing_tells_the_percentile_from_five_times_on() -> None:
    routing = Routing()
    routing.first_tokens("t", [1.0] * 4)
    assert routing.version == 0
    routing.first_tokens("t", [1.0])
    assert routing.learned() == {"t": Learned(first_token_p95=1.0)}


def test_routing_tells_a_change_of_more_than_a_fifth_and_no_smaller_one() -> None:
    routing = Routing()
    routing.first_tokens("t", [1.0] * 100)
    version = routing.version
    routing.first_tokens("t", [1.19] * 100)
    routing.first_tokens("t", [0.81] * 100)
    assert routing.version == version
    assert routing.learned()["t"].first_token_p95 == 1.0
    routing.first_tokens("t", [1.21] * 100)
    assert routing.version == version + 1
    assert routing.learned()["t"].first_token_p95 == 1.21


@given(st.lists(st.lists(times, min_size=1, max_size=20), max_size=20))
def test_what_is_told_is_never_off_by_more_than_a_fifth(lots: list[list[float]]) -> None:
    routing, seen = Routing(), list[float]()
    for lot in lots:
        routing.first_tokens("t", lot)
        seen += lot
        true, told = fed(seen).p95("t"), routing.learned().get("t", Learned()).first_token_p95
        assert (true is None) == (told is None)
        assert true is None or told is None or abs(true - told) <= told / 5


def test_what_was_learned_of_usage_and_of_first_tokens_stand_side_by_side() -> None:
    routing = Routing()
    routing.used("t", text_bytes=0, input_tokens=0, excess=7)
    routing.first_tokens("t", [2.0] * 5)
    routing.used("t", text_bytes=0, input_tokens=0, excess=9)
    assert routing.learned()["t"] == Learned(extra_allowance=9, first_token_p95=2.0)
