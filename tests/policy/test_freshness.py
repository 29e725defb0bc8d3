"""What the age of an answer allows: rule by rule, and against a table of the moments at which it changes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.policy.entries import Entry
from penstock.policy.freshness import SKEW, Age, Freshness, lasting, without_skew

ORDER = [Age.FRESH, Age.REVALIDATE, Age.IF_ERROR, Age.GONE]


@pytest.mark.parametrize(("jitter", "seconds"), [(0.0, 90.0), (0.5, 100.0), (1.0, 110.0)])
def test_times_to_live_differ_by_a_tenth_at_most(jitter: float, seconds: float) -> None:
    assert lasting(100.0, jitter) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("now", "age"),
    [
        (99.9, Age.GONE),  # the clock was set back: its age is unknown
        (100.0, Age.FRESH),
        (199.9, Age.FRESH),
        (200.0, Age.REVALIDATE),
        (209.9, Age.REVALIDATE),
        (210.0, Age.IF_ERROR),
        (229.9, Age.IF_ERROR),
        (230.0, Age.GONE),
    ],
)
def test_an_answer_stored_at_100_and_fresh_until_200(now: float, age: Age) -> None:
    freshness = Freshness(stale_while_revalidate=10.0, stale_if_error=30.0)
    assert freshness.age(100.0, 200.0, now) is age
    assert freshness.kept == 30.0


def test_without_windows_it_is_fresh_or_gone() -> None:
    assert Freshness().age(100.0, 200.0, 199.9) is Age.FRESH
    assert Freshness().age(100.0, 200.0, 200.0) is Age.GONE


@pytest.mark.parametrize(("max_age", "age"), [(50.0, Age.FRESH), (49.9, Age.GONE), (0.0, Age.GONE)])
def test_one_older_than_the_call_wants_is_good_for_nothing(max_age: float, age: Age) -> None:
    assert Freshness(10.0, 30.0).age(100.0, 200.0, 150.0, max_age=max_age) is age


@given(
    revalidate=st.floats(0, 100),
    error=st.floats(0, 100),
    moments=st.lists(st.floats(0, 400), min_size=2, max_size=8),
)
def test_with_time_it_only_grows_older(revalidate: float, error: float, moments: list[float]) -> None:
    freshness = Freshness(revalidate, error)
    ages = [ORDER.index(freshness.age(0.0, 100.0, now)) for now in sorted(moments)]
    assert ages == sorted(ages)


def test_an_answer_of_a_machine_whose_clock_is_ahead_counts_as_given_just_now() -> None:
    entry = Entry(b"x", 103.0, 203.0, b"parts")
    assert without_skew(entry, 100.0) == Entry(b"x", 100.0, 200.0, b"parts")
    assert without_skew(entry, 103.0) is entry
    assert without_skew(entry, 150.0) is entry


def test_one_of_the_far_future_is_not_believed() -> None:
    entry = Entry(b"x", 100.0 + SKEW + 1, 500.0)
    assert without_skew(entry, 100.0) is entry
    assert Freshness(10.0, 10.0).age(entry.stored_at, entry.fresh_until, 100.0) is Age.GONE
