"""Results that were added up away from the breaker say the same as one by one."""

from __future__ import annotations

import math
import pickle
from collections.abc import Sequence

import attrs
from hypothesis import example, given
from hypothesis import strategies as st

from penstock.policy.breaker import Breakers, BreakerSettings, BreakerState, Counts, Tally, Verdict
from penstock.policy.tally import MAX_FAILURES, MAX_SECONDS, Row


@attrs.frozen
class Result:
    verdict: Verdict
    at: float
    call: str | None
    retry_after: float | None


results = st.lists(
    st.builds(
        Result,
        st.sampled_from(Verdict),
        st.integers(0, 400).map(lambda tenths: tenths / 10),
        st.sampled_from([None, "a", "b"]),
        st.sampled_from([None, 1.0, 50.0]),
    ),
    max_size=40,
).map(lambda some: sorted(some, key=lambda result: result.at))


def tally_of(some: Sequence[Result]) -> Tally:
    tally = Tally()
    for one in some:
        tally.add(one.verdict, one.at, call=one.call, retry_after=one.retry_after)
    return tally


TWO_IN_A_SECOND = [Result(Verdict.FAILED, 1.0, "a", None), Result(Verdict.FAILED, 1.5, "b", None)]


@example(TWO_IN_A_SECOND, [1], 2.0, 10.0, 5.0)
@given(results, st.lists(st.integers(0, 40), max_size=3), st.floats(0, 60), st.floats(1, 40), st.floats(0.1, 20))
def test_merging_tallies_equals_adding_their_results(
    some: list[Result], cuts: list[int], now: float, window: float, max_gap: float
) -> None:
    merged, start = Tally(), 0
    for cut in [*sorted(cuts), len(some)]:
        merged.merge(tally_of(some[start:cut]))
        start = max(start, cut)
    whole = tally_of(some)
    assert merged.counts(now, window) == whole.counts(now, window)
    assert merged.row(max_gap) == whole.row(max_gap)
    assert merged.failing_calls(now, window) == whole.failing_calls(now, window)
    assert merged.not_before == whole.not_before
    assert (merged.answered, merged.failed, merged.slow) == (whole.answered, whole.failed, whole.slow)


@given(results, st.floats(0, 60), st.floats(1, 40))
def test_counts_are_those_of_the_window_to_the_second(some: list[Result], now: float, window: float) -> None:
    counts = tally_of(some).counts(now, window)
    counted_as = {
        Verdict.OK: counts.ok,
        Verdict.FAILED: counts.failed - counts.timed_out,
        Verdict.TIMED_OUT: counts.timed_out,
        Verdict.SLOW: counts.slow,
    }
    assert sum(counted_as.values()) == counts.total
    for verdict, counted in counted_as.items():
        ats = [one.at for one in some if one.verdict is verdict]
        assert sum(at > now - window for at in ats) <= counted <= sum(at > now - window - 1 for at in ats)


@given(results)
def test_the_row_is_what_failed_since_the_last_answer(some: list[Result]) -> None:
    telling = [one for one in some if one.verdict not in (Verdict.NEUTRAL, Verdict.OVERTAKEN)]
    since = telling
    for at, one in enumerate(telling):
        if one.verdict not in (Verdict.FAILED, Verdict.TIMED_OUT):
            since = telling[at + 1 :]
    since = since[-MAX_FAILURES:]
    unnamed = sum(one.call is None for one in since)
    timed_out = sum(one.verdict is Verdict.TIMED_OUT for one in since)
    assert tally_of(some).row(1e9) == Row(
        len(since), unnamed + len({one.call for one in since} - {None}), timed_out=timed_out
    )


def test_a_tally_is_bounded_whatever_is_added() -> None:
    tally = Tally()
    for number in range(10_000):
        tally.add(Verdict.FAILED, number / 3, call=f"call-{number}")
    assert tally.counts(10_000.0, math.inf).total <= 3 * MAX_SECONDS
    assert tally.row(1e9) == Row(MAX_FAILURES, MAX_FAILURES, timed_out=0)
    assert len(pickle.dumps(tally)) < 16_384


def test_a_tally_of_failures_opens_a_closed_breaker_at_once() -> None:
    breakers = Breakers(lambda _scope: BreakerSettings())
    tally = Tally()
    for at in range(5):
        tally.add(Verdict.FAILED, float(at), retry_after=30.0 if at == 2 else None)
    breakers.record_tally("target:a", tally, 4.0, jitter=0.0)
    health = breakers.snapshot()["target:a"]
    assert (health.state, health.open_until) == (BreakerState.OPEN, 32.0)


def test_a_tally_that_ends_in_an_answer_is_no_row_of_failures() -> None:
    breakers = Breakers(lambda _scope: BreakerSettings())
    tally = Tally()
    for verdict in [Verdict.FAILED] * 6 + [Verdict.OK]:
        tally.add(verdict, 1.0)
    breakers.record_tally("target:a", tally, 1.0, jitter=0.0)
    assert breakers.snapshot() == {}
    assert breakers.counts("target:a", 1.0) == Counts(ok=1, failed=6)


def test_an_empty_tally_is_nothing() -> None:
    breakers = Breakers(lambda _scope: BreakerSettings())
    tally = Tally()
    tally.add(Verdict.NEUTRAL, 1.0)
    breakers.record_tally("target:a", tally, 1.0, jitter=0.0)
    assert (breakers.version, breakers.counts("target:a", 1.0)) == (0, Counts())
