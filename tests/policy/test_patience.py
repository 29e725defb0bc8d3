"""How long probes are waited for: mostly short, and long enough in the end for whatever a healthy target takes."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.policy.patience import patience

usuals = st.none() | st.floats(0.01, 60)


def row(count: int, usual: float | None, *, limit: float = 1e9, left: float = math.inf) -> list[float]:
    return [patience(usual, overtaken, limit=limit, left=left) for overtaken in range(count)]


def test_every_other_probe_is_short_and_those_between_grow() -> None:
    assert row(8, None) == [2, 4, 2, 8, 2, 4, 2, 16]
    assert row(8, 0.5) == [0.5, 1, 0.5, 2, 0.5, 1, 0.5, 4]


def test_a_target_that_usually_takes_long_has_its_usual_time_at_the_second_probe() -> None:
    assert row(4, 10.0) == [2, 10, 2, 20]


def test_half_of_the_limit_is_the_most_and_half_of_the_calls_own_time_is_kept_for_the_hedge() -> None:
    assert row(8, None, limit=10.0) == [2, 4, 2, 5, 2, 4, 2, 5]
    assert row(4, None, left=3.0) == [1.5, 1.5, 1.5, 1.5]


@given(usuals, st.integers(0, 1_000).filter(lambda overtaken: overtaken % 2 == 0))
def test_the_first_probe_and_every_other_after_it_waits_two_seconds_at_most(
    usual: float | None, overtaken: int
) -> None:
    assert patience(usual, overtaken, limit=1e9, left=math.inf) <= 2.0


@given(usuals, st.floats(2.0, 300.0))
def test_whatever_time_a_healthy_target_needs_some_probe_soon_has_it(usual: float | None, needed: float) -> None:
    shortest = min(2.0, usual or 2.0)
    waits = row(2 * math.ceil(needed / shortest) + 2, usual, limit=2 * needed)
    assert max(waits) == pytest.approx(needed)


@given(usuals, st.integers(1, 10))
def test_a_target_that_stays_silent_costs_its_callers_little_on_average(usual: float | None, doublings: int) -> None:
    probes = 2**doublings
    shortest, long = min(2.0, usual or 2.0), max(usual or 0.0, 2 * min(2.0, usual or 2.0))
    assert sum(row(probes, usual)) <= probes * (shortest / 2 + long * (doublings + 1) / 4) * 1.001


@pytest.mark.parametrize("left", [0.0, -1.0])
def test_a_call_whose_time_is_up_waits_for_nothing_more(left: float) -> None:
    assert patience(None, 0, limit=30.0, left=left) == 0
