"""The rules of a breaker, one by one. Their interplay is tested by the machine in `test_breaker_machine`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import attrs
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from penstock.policy import breaker as breaker_module
from penstock.policy.breaker import (
    Admitted,
    BreakerChanged,
    Breakers,
    BreakerSettings,
    BreakerState,
    Counts,
    Denied,
    ScopeHealth,
    ScopeState,
    Verdict,
    eased,
)

A, B, KEY = "target:a", "provider:p", "key:p/0"
OK, FAILED, SLOW, NEUTRAL = Verdict.OK, Verdict.FAILED, Verdict.SLOW, Verdict.NEUTRAL
TIMED_OUT = Verdict.TIMED_OUT


def make_breakers(settings: BreakerSettings | None = None) -> Breakers:
    made = settings or BreakerSettings()
    return Breakers(lambda _scope: made)


def record_all(breakers: Breakers, verdicts: Iterable[Verdict], *, start: float = 0.0, step: float = 1.0) -> float:
    """Results for A, `step` seconds apart, each of a call of its own; returns the time of the last."""
    at = start
    for number, verdict in enumerate(verdicts):
        at = start + number * step
        breakers.record(A, verdict, at, jitter=1.0)
    return at


def make_open(scope: str = A, *, at: float = 0.0, jitter: float = 1.0) -> Breakers:
    """Breakers of which `scope` opened at `at`, for 5 s where `jitter` is 1."""
    breakers = make_breakers()
    for _ in range(5):
        breakers.record(scope, FAILED, at, jitter=jitter)
    assert state_of(breakers, scope) is BreakerState.OPEN
    return breakers


def state_of(breakers: Breakers, scope: str = A) -> BreakerState:
    health = breakers.snapshot().get(scope)
    return BreakerState.CLOSED if health is None else health.state


def health_of(breakers: Breakers, scope: str = A) -> ScopeHealth:
    return breakers.snapshot()[scope]


def probe(breakers: Breakers, permit: str, verdict: Verdict, now: float, *, jitter: float = 1.0) -> None:
    answer = breakers.admit(permit, [A], now, lease=60)
    assert isinstance(answer, Admitted)
    assert answer.probe
    breakers.settle(permit, verdict, now, jitter=jitter)


def close_by_answers(breakers: Breakers, now: float) -> None:
    for number in range(7):
        probe(breakers, f"closing-{number}", OK, now)
    assert state_of(breakers) is BreakerState.CLOSED


def test_five_failures_in_a_row_open() -> None:
    breakers = make_breakers()
    record_all(breakers, [FAILED] * 4)
    assert state_of(breakers) is BreakerState.CLOSED
    breakers.record(A, FAILED, 4.0, jitter=1.0)
    assert health_of(breakers) == ScopeHealth(BreakerState.OPEN, 9.0, 0, "failures_in_a_row")


def test_failures_of_one_call_alone_open_nothing_however_many() -> None:
    breakers = make_breakers()
    for _ in range(20):
        breakers.record(A, FAILED, 0.0, jitter=1.0, call="poisoned")
    assert state_of(breakers) is BreakerState.CLOSED
    breakers.record(A, FAILED, 0.0, jitter=1.0, call="another")
    assert state_of(breakers) is BreakerState.OPEN


@pytest.mark.parametrize("in_a_row", range(1, 12))
@pytest.mark.parametrize("min_calls", range(1, 7))
@pytest.mark.parametrize("attempts", [1, 2, 3, 7, 30])
def test_no_more_than_the_failures_in_a_row_are_needed_where_each_call_keeps_to_its_share(
    in_a_row: int, min_calls: int, attempts: int
) -> None:
    settings = BreakerSettings(failures_in_a_row=in_a_row, min_calls_in_a_row=min_calls, window_calls=1_000)
    breakers, failures = make_breakers(settings), 0
    for call in range(in_a_row):
        for _ in range(int(min(attempts, settings.share_of_a_call))):
            breakers.record(A, FAILED, call * 5.0, jitter=1.0, call=f"call {call}")
            failures += 1
            if state_of(breakers) is BreakerState.OPEN:
                assert failures == in_a_row
                assert call > 0 or settings.calls_in_a_row == 1, "what one call adds alone opens nothing"
                return
    pytest.fail("it never opened")


def test_one_failure_opens_where_one_is_set() -> None:
    breakers = make_breakers(BreakerSettings(failures_in_a_row=1))
    record_all(breakers, [FAILED])
    assert state_of(breakers) is BreakerState.OPEN


def test_a_first_time_that_is_set_longer_than_the_cap_is_kept() -> None:
    breakers = make_breakers(BreakerSettings(open_for=40.0))
    record_all(breakers, [FAILED] * 5, step=0.0)
    assert health_of(breakers).open_until == 40.0
    probe(breakers, "fails", FAILED, 40.0)
    assert health_of(breakers).open_until == 80.0


@pytest.mark.parametrize("answer", [OK, SLOW])
def test_an_answer_ends_a_row_of_failures(answer: Verdict) -> None:
    breakers = make_breakers(BreakerSettings(window_calls=100))
    record_all(breakers, [FAILED, FAILED, FAILED, FAILED, answer, FAILED, FAILED, FAILED, FAILED])
    assert state_of(breakers) is BreakerState.CLOSED


def test_failures_more_than_the_gap_apart_are_not_in_a_row() -> None:
    breakers = make_breakers()
    last = record_all(breakers, [FAILED] * 4)
    breakers.record(A, FAILED, last + 300.5, jitter=1.0)
    assert state_of(breakers) is BreakerState.CLOSED
    patient = make_breakers()
    record_all(patient, [FAILED] * 5, step=300.0)
    assert state_of(patient) is BreakerState.OPEN


def test_half_of_eight_results_within_the_window_open() -> None:
    breakers = make_breakers()
    record_all(breakers, [FAILED, OK, FAILED, OK, FAILED, OK, OK])
    assert state_of(breakers) is BreakerState.CLOSED
    breakers.record(A, FAILED, 7.0, jitter=1.0)
    assert health_of(breakers).cause == "failure_ratio"


def test_results_older_than_the_window_do_not_count() -> None:
    breakers = make_breakers()
    record_all(breakers, [FAILED, OK, FAILED, OK, FAILED, OK, OK], step=0.1)
    breakers.record(A, FAILED, 32.0, jitter=1.0)
    assert state_of(breakers) is BreakerState.CLOSED


def test_an_answer_never_opens_a_breaker() -> None:
    breakers = make_breakers()
    record_all(breakers, [FAILED, FAILED, FAILED, FAILED, OK, OK, OK, OK])
    assert state_of(breakers) is BreakerState.CLOSED


def test_half_slow_first_tokens_open() -> None:
    breakers = make_breakers()
    record_all(breakers, [SLOW, OK, SLOW, OK, SLOW, OK, OK])
    assert state_of(breakers) is BreakerState.CLOSED
    breakers.record(A, SLOW, 7.0, jitter=1.0)
    assert health_of(breakers).cause == "slow_ratio"


def test_what_says_nothing_about_health_counts_nowhere() -> None:
    breakers = make_breakers()
    record_all(breakers, [NEUTRAL] * 50)
    assert state_of(breakers) is BreakerState.CLOSED
    record_all(breakers, [FAILED, NEUTRAL, FAILED, NEUTRAL, FAILED, NEUTRAL, FAILED, NEUTRAL, FAILED])
    assert health_of(breakers).cause == "failures_in_a_row"
    assert breakers.counts(A, 9.0).total == 5


def test_each_opening_without_health_between_lasts_twice_as_long_up_to_the_cap() -> None:
    breakers = make_open(at=0.0)
    now, lasted = 0.0, [5.0]
    for number in range(4):
        now += lasted[-1]
        probe(breakers, f"p{number}", FAILED, now)
        lasted.append(health_of(breakers).open_until - now)
    assert lasted == [5.0, 10.0, 15.0, 15.0, 15.0]


def test_closing_by_answers_makes_the_next_opening_short_again() -> None:
    breakers = make_open()
    probe(breakers, "fails", FAILED, 5.0)
    close_by_answers(breakers, 15.0)
    record_all(breakers, [FAILED] * 5, start=20.0, step=0.0)
    assert health_of(breakers).open_until == 25.0


@pytest.mark.parametrize(("jitter", "lasts"), [(0.0, 4.0), (0.5, 4.5), (1.0, 5.0)])
def test_jitter_shortens_the_time_by_a_fifth_at_most(jitter: float, lasts: float) -> None:
    assert health_of(make_open(jitter=jitter)).open_until == pytest.approx(lasts)


@given(
    jitters=st.lists(st.floats(0, 1), min_size=5, max_size=5), late=st.lists(st.floats(0, 20), min_size=5, max_size=5)
)
@example(jitters=[0.0] * 5, late=[0.0] * 5)
@example(jitters=[0.0, 1.0, 0.5, 0.0, 1.0], late=[0.0] * 5)
def test_what_jitter_takes_does_not_add_up_in_the_first_minute(jitters: list[float], late: list[float]) -> None:
    breakers, now, full = make_open(jitter=jitters[0]), 0.0, 0.0
    for nth, (time, takes, waits) in enumerate(zip([5, 10, 15, 15, 15], [*jitters[1:], 1.0], late, strict=True)):
        full, until = full + time, health_of(breakers).open_until
        assert until >= full - 0.2 * time - 1e-9, nth
        assert 0.8 * time - 1e-9 <= until - now <= min(1.1 * time, 15.0) + 1e-9
        now = until + waits
        probe(breakers, f"probe {nth}", FAILED, now, jitter=takes)


def test_it_is_made_up_for_at_once() -> None:
    breakers, times = make_open(jitter=0.0), [4.0]
    for jitter in (1.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0):
        now = health_of(breakers).open_until
        probe(breakers, f"at {now}", FAILED, now, jitter=jitter)
        times.append(health_of(breakers).open_until - now)
    assert times == pytest.approx([4.0, 11.0, 12.0, 15.0, 15.0, 12.0, 12.0, 15.0])


def test_what_a_server_asked_for_beyond_it_makes_up_for_what_jitter_took() -> None:
    breakers = make_open(jitter=0.0)
    breakers.record(A, FAILED, 1.0, jitter=0.0, retry_after=3.5)
    assert health_of(breakers).open_until == 4.5
    probe(breakers, "half made up", FAILED, 4.5, jitter=1.0)
    assert health_of(breakers).open_until - 4.5 == pytest.approx(10.5)


def test_it_stays_open_at_least_as_long_as_the_server_asked() -> None:
    breakers = make_breakers()
    record_all(breakers, [FAILED] * 3)
    breakers.record(A, FAILED, 3.0, jitter=0.0, retry_after=60.0)
    breakers.record(A, FAILED, 4.0, jitter=0.0, retry_after=1.0)
    assert health_of(breakers).open_until == 63.0


def test_an_answer_takes_back_what_the_server_asked_before() -> None:
    breakers = make_breakers()
    breakers.record(A, FAILED, 0.0, jitter=1.0, retry_after=600.0)
    record_all(breakers, [OK, FAILED, FAILED, FAILED, FAILED, FAILED], start=1.0)
    assert health_of(breakers).open_until == 11.0


@pytest.mark.parametrize("hint", [math.nan, math.inf, -5.0])
def test_a_hint_that_makes_no_sense_is_no_hint(hint: float) -> None:
    breakers = make_open()
    assert breakers.admit("p", [A], 5.0, lease=60) == Admitted(probe=True)
    breakers.settle("p", FAILED, 5.0, jitter=1.0, hint=hint)
    assert health_of(breakers).open_until == 15.0


@pytest.mark.parametrize("hint", [315_360_000.0, 1_767_225_600.0], ids=["ten years", "a moment for a duration"])
def test_nobody_is_left_alone_for_more_than_a_day_at_a_servers_word(hint: float) -> None:
    breakers = make_breakers()
    breakers.open_key(KEY, 0.0, jitter=0.0, hint=hint)
    assert breakers.snapshot()[KEY].open_until == 86_400.0


def test_a_longer_hint_extends_an_open_breaker_and_a_shorter_one_does_not_shorten_it() -> None:
    breakers = make_open()
    breakers.record(A, FAILED, 1.0, jitter=1.0, retry_after=60.0)
    assert health_of(breakers).open_until == 61.0
    breakers.record(A, FAILED, 2.0, jitter=1.0, retry_after=3.0)
    breakers.record(A, FAILED, 2.0, jitter=1.0)
    assert health_of(breakers).open_until == 61.0


@pytest.mark.parametrize("verdict", [OK, FAILED, SLOW, TIMED_OUT])
def test_late_results_are_counted_but_do_not_move_it(verdict: Verdict) -> None:
    breakers = make_open()
    before = breakers.counts(A, 1.0).total
    for _ in range(20):
        breakers.record(A, verdict, 1.0, jitter=1.0)
    assert health_of(breakers) == ScopeHealth(BreakerState.OPEN, 5.0, 0, "failures_in_a_row")
    assert breakers.counts(A, 1.0).total == before + 20
    assert breakers.admit("p", [A], 5.0, lease=60) == Admitted(probe=True)
    for _ in range(20):
        breakers.record(A, verdict, 5.0, jitter=1.0)
    assert health_of(breakers).state is BreakerState.HALF_OPEN


def test_while_open_nobody_passes_and_everyone_is_told_when() -> None:
    breakers = make_open()
    assert breakers.admit("p", [A], 4.999, lease=60) == Denied(A, "open", 5.0)
    assert state_of(breakers) is BreakerState.OPEN
    assert breakers.admit("p", [A], 5.0, lease=60) == Admitted(probe=True)
    assert state_of(breakers) is BreakerState.HALF_OPEN


def test_probes_grow_from_one_to_two_to_four_and_then_it_closes() -> None:
    breakers = make_open()
    for stage, permits in enumerate([1, 2, 4]):
        ids = [f"{stage}-{number}" for number in range(permits)]
        assert all(breakers.admit(id, [A], 6.0, lease=60) == Admitted(probe=True) for id in ids)
        assert breakers.admit("one too many", [A], 6.0, lease=60) == Denied(A, "probing", 66.0)
        for id in ids:
            assert state_of(breakers) is BreakerState.HALF_OPEN
            breakers.settle(id, OK, 7.0, jitter=1.0)
    assert state_of(breakers) is BreakerState.CLOSED
    assert breakers.admit("anyone", [A], 8.0, lease=60) == Admitted(probe=False)


def test_a_failed_probe_opens_again_and_the_others_of_its_time_are_ignored() -> None:
    breakers = make_open()
    probe(breakers, "first", OK, 5.0)
    assert breakers.admit("fails", [A], 5.0, lease=60) == Admitted(probe=True)
    assert breakers.admit("late", [A], 5.0, lease=60) == Admitted(probe=True)
    breakers.settle("fails", FAILED, 6.0, jitter=1.0)
    assert health_of(breakers).open_until == 16.0
    breakers.settle("late", FAILED, 7.0, jitter=1.0)
    assert health_of(breakers).open_until == 16.0
    assert breakers.admit("next period", [A], 16.0, lease=60) == Admitted(probe=True)
    breakers.settle("late", OK, 17.0, jitter=1.0)
    assert health_of(breakers).permits_left == 0


def test_a_probe_that_says_nothing_gives_its_permit_back_and_cannot_wedge() -> None:
    breakers = make_open()
    for number in range(100):
        probe(breakers, f"p{number}", NEUTRAL, 5.0)
    assert health_of(breakers).permits_left == 1
    close_by_answers(breakers, 5.0)


def test_a_permit_whose_holder_is_lost_comes_back_with_its_lease() -> None:
    breakers = make_open()
    assert breakers.admit("lost", [A], 5.0, lease=20) == Admitted(probe=True)
    assert breakers.next_expiry == 25.0
    assert breakers.admit("p", [A], 24.9, lease=20) == Denied(A, "probing", 25.0)
    breakers.expire(25.0)
    assert breakers.next_expiry is None
    assert health_of(breakers).permits_left == 1
    close_by_answers(breakers, 25.0)


@pytest.mark.parametrize(
    ("verdict", "state"),
    [(OK, BreakerState.HALF_OPEN), (NEUTRAL, BreakerState.HALF_OPEN), (FAILED, BreakerState.OPEN)],
)
def test_a_probe_that_outlasts_its_lease_is_believed_all_the_same(verdict: Verdict, state: BreakerState) -> None:
    breakers = make_open()
    assert breakers.admit("slow", [A], 5.0, lease=20) == Admitted(probe=True)
    breakers.expire(25.0)
    breakers.settle("slow", verdict, 30.0, jitter=1.0)
    assert state_of(breakers) is state
    if verdict is OK:
        assert health_of(breakers).permits_left == 2


def test_probes_that_all_outlast_their_leases_still_close_it() -> None:
    breakers = make_open()
    now = 5.0
    for number in range(7):
        assert breakers.admit(f"p{number}", [A], now, lease=10) == Admitted(probe=True)
        now += 15.0
        breakers.settle(f"p{number}", OK, now, jitter=1.0)
    assert state_of(breakers) is BreakerState.CLOSED


def test_a_slow_probe_fails_only_where_slowness_or_timeouts_opened() -> None:
    breakers = make_open()
    probe(breakers, "slow", SLOW, 5.0)
    assert state_of(breakers) is BreakerState.HALF_OPEN
    slow = make_breakers()
    record_all(slow, [SLOW] * 8, step=0.0)
    probe(slow, "slow", SLOW, 5.0)
    assert health_of(slow) == ScopeHealth(BreakerState.OPEN, 15.0, 0, "slow_ratio", silent=True)
    mute = make_breakers()
    record_all(mute, [TIMED_OUT] * 5, step=0.0)
    probe(mute, "slow", SLOW, 5.0)
    assert health_of(mute) == ScopeHealth(BreakerState.OPEN, 15.0, 0, "failures_in_a_row", silent=True)


@pytest.mark.parametrize(
    ("verdicts", "silent"),
    [
        ([TIMED_OUT] * 5, True),
        ([FAILED, FAILED, TIMED_OUT, TIMED_OUT, TIMED_OUT], True),
        ([TIMED_OUT, TIMED_OUT, FAILED, FAILED, FAILED], False),
        # The row decides where a row opened it: what timed out before the last answer is no part of it.
        ([TIMED_OUT, TIMED_OUT, OK, TIMED_OUT, TIMED_OUT, FAILED, FAILED, FAILED], False),
        ([TIMED_OUT, TIMED_OUT, OK, OK, OK, FAILED, OK, FAILED], True),
        ([TIMED_OUT, OK, OK, OK, FAILED, FAILED, OK, FAILED], False),
        ([SLOW, OK, SLOW, OK, SLOW, OK, OK, SLOW], True),
    ],
)
def test_what_timeouts_or_slowness_opened_is_silent_and_its_probes_say_so(
    verdicts: list[Verdict], *, silent: bool
) -> None:
    breakers = make_breakers()
    now = record_all(breakers, verdicts, step=0.5)
    assert state_of(breakers) is BreakerState.OPEN
    assert health_of(breakers).silent is silent
    assert breakers.admit("p", [A, B], now + 5.0, lease=60) == Admitted(probe=True, silent=silent)
    assert breakers.admit("elsewhere", [B], now + 5.0, lease=60) == Admitted(probe=False, silent=False)


def test_timeouts_count_as_failures() -> None:
    breakers = make_breakers()
    record_all(breakers, [FAILED, TIMED_OUT, FAILED, TIMED_OUT])
    assert breakers.counts(A, 4.0) == Counts(failed=4, timed_out=2)
    assert state_of(breakers) is BreakerState.CLOSED
    breakers.record(A, TIMED_OUT, 4.0, jitter=1.0)
    assert health_of(breakers).cause == "failures_in_a_row"


def test_a_probe_that_times_out_makes_it_silent_until_it_closes() -> None:
    breakers = make_open()
    probe(breakers, "fails", FAILED, 5.0)
    assert not health_of(breakers).silent
    probe(breakers, "times out", TIMED_OUT, 15.0)
    assert health_of(breakers).silent
    probe(breakers, "fails again", FAILED, 30.0)
    assert health_of(breakers).silent, "it was silent a moment ago: the next caller should not wait for it alone"
    close_by_answers(breakers, 45.0)
    record_all(breakers, [FAILED] * 5, start=46.0, step=0.0)
    assert not health_of(breakers).silent


def test_a_refused_key_and_a_breaker_opened_by_hand_are_not_silent() -> None:
    breakers = make_breakers()
    record_all(breakers, [TIMED_OUT] * 5)
    breakers.open_key(A, 5.0, jitter=1.0)
    assert not health_of(breakers).silent
    by_hand = make_breakers()
    record_all(by_hand, [TIMED_OUT] * 5)
    by_hand.isolate(A, 5.0)
    assert not health_of(by_hand).silent


def test_results_of_attempts_that_began_before_it_closed_move_it_no_more() -> None:
    breakers = make_open(at=10.0)
    close_by_answers(breakers, 15.0)
    for number in range(20):
        breakers.record(A, TIMED_OUT, 40.0, jitter=1.0, began=14.9 if number % 2 else 3.0)
    assert (state_of(breakers), breakers.counts(A, 40.0)) == (BreakerState.CLOSED, Counts())
    for _ in range(5):
        breakers.record(A, TIMED_OUT, 45.0, jitter=1.0, began=15.0)
    assert state_of(breakers) is BreakerState.OPEN


def test_a_late_answer_of_before_does_not_end_a_row_of_now() -> None:
    breakers = make_open(at=10.0)
    breakers.close(A, 12.0)
    for _ in range(4):
        breakers.record(A, FAILED, 13.0, jitter=1.0, began=12.5)
    breakers.record(A, OK, 13.0, jitter=1.0, began=9.0)
    breakers.record(A, FAILED, 13.0, jitter=1.0, began=12.5)
    assert health_of(breakers).open_until == 23.0, "it was closed by hand, without proof: open for twice as long"


def test_the_states_are_of_every_scope_that_was_touched_or_is_asked_for() -> None:
    breakers = make_open(at=1.0)
    breakers.record(B, OK, 1.5, jitter=1.0)
    breakers.isolate(KEY, 2.0)
    closed = ScopeState(BreakerState.CLOSED, None, 0.0, 0, silent=False, counts=Counts())
    assert breakers.states(["target:new"], 2.0) == {
        "target:new": closed,
        A: ScopeState(BreakerState.OPEN, "failures_in_a_row", 4.0, 0, silent=False, counts=Counts(failed=5)),
        B: attrs.evolve(closed, counts=Counts(ok=1)),
        KEY: ScopeState(BreakerState.ISOLATED, "by_hand", math.inf, 0, silent=False, counts=Counts()),
    }
    probe(breakers, "p", OK, 7.0)
    assert breakers.states([], 7.0)[A].permits_left == 2
    assert breakers.states([], 7.0)[A].wait == 0.0


def test_what_lets_more_pass_is_what_closed_and_what_got_a_permit_back() -> None:
    breakers = make_open()
    opened = breakers.snapshot()
    assert breakers.admit("p", [A], 5.0, lease=60) == Admitted(probe=True)
    taken = breakers.snapshot()
    assert eased(opened, taken) == {}
    breakers.settle("p", OK, 6.0, jitter=1.0)
    assert eased(taken, breakers.snapshot()) == {A: 2}
    breakers.isolate(A, 7.0)
    isolated = breakers.snapshot()
    assert eased(taken, isolated) == {}
    breakers.close(A, 8.0)
    assert eased(isolated, breakers.snapshot()) == {A: math.inf}
    assert eased(breakers.snapshot(), isolated) == {}


def test_an_admission_takes_all_its_permits_or_none() -> None:
    breakers = make_open(A)
    for _ in range(5):
        breakers.record(B, FAILED, 3.0, jitter=1.0)
    before = breakers.snapshot()
    assert breakers.admit("denied", [KEY, A, B], 6.0, lease=60) == Denied(B, "open", 8.0)
    assert breakers.snapshot() == before
    assert breakers.admit("p", [KEY, A, B], 8.0, lease=60) == Admitted(probe=True)
    assert breakers.admit("q", [B], 8.0, lease=60) == Denied(B, "probing", 68.0)
    breakers.settle("p", OK, 9.0, jitter=1.0)
    assert [health_of(breakers, scope).permits_left for scope in (A, B)] == [2, 2]


def test_a_denial_names_the_scope_that_lasts_longest() -> None:
    breakers = make_open(A)
    for _ in range(5):
        breakers.record(B, FAILED, 3.0, jitter=1.0)
    assert breakers.admit("p", [B, A], 4.0, lease=60) == Denied(B, "open", 8.0)
    assert breakers.admit("p", [A, B], 4.0, lease=60) == Denied(B, "open", 8.0)


def test_asking_and_settling_twice_is_asking_and_settling_once() -> None:
    breakers = make_open()
    assert breakers.admit("p", [A, A], 5.0, lease=60) == Admitted(probe=True)
    assert breakers.admit("p", [A], 5.0, lease=60) == Admitted(probe=True)
    breakers.settle("p", OK, 6.0, jitter=1.0)
    for _ in range(10):
        breakers.settle("p", FAILED, 6.0, jitter=1.0)
        breakers.settle("p", OK, 6.0, jitter=1.0)
    assert health_of(breakers).permits_left == 2


def test_a_permit_that_was_asked_again_after_its_lease_counts_once() -> None:
    breakers = make_open()
    assert breakers.admit("p", [A], 5.0, lease=10) == Admitted(probe=True)
    assert breakers.admit("p", [A], 20.0, lease=10) == Admitted(probe=True)
    breakers.settle("p", OK, 21.0, jitter=1.0)
    breakers.settle("p", OK, 21.0, jitter=1.0)
    assert health_of(breakers).permits_left == 2


def test_a_result_can_be_told_scope_by_scope() -> None:
    breakers = make_open(A)
    for _ in range(5):
        breakers.record(B, FAILED, 0.0, jitter=1.0)
    assert breakers.admit("p", [A, B], 5.0, lease=60) == Admitted(probe=True)
    breakers.settle("p", {A: FAILED}, 5.0, jitter=1.0)
    assert state_of(breakers, A) is BreakerState.OPEN
    assert health_of(breakers, B).permits_left == 1


def test_settling_does_not_count_for_scopes_that_were_closed() -> None:
    breakers = make_open(A)
    assert breakers.admit("p", [A, B], 5.0, lease=60) == Admitted(probe=True)
    breakers.settle("p", OK, 5.0, jitter=1.0)
    assert breakers.counts(B, 5.0).total == 0


def test_isolation_lasts_until_it_is_closed_by_hand() -> None:
    breakers = make_breakers()
    breakers.isolate(A, 1.0)
    record_all(breakers, [OK] * 20)
    breakers.open_key(A, 2.0, jitter=1.0)
    assert breakers.admit("p", [A], 1e9, lease=60) == Denied(A, "isolated", math.inf)
    breakers.close(A, 1e9)
    assert breakers.admit("p", [A], 1e9, lease=60) == Admitted(probe=False)


def test_closing_by_hand_forgets_the_failures_but_is_no_proof_of_health() -> None:
    breakers = make_open()
    breakers.close(A, 1.0)
    record_all(breakers, [FAILED] * 4, start=2.0, step=0.0)
    assert state_of(breakers) is BreakerState.CLOSED
    breakers.record(A, FAILED, 2.0, jitter=1.0)
    assert health_of(breakers).open_until == 12.0
    breakers.close(A, 13.0)
    record_all(breakers, [OK, FAILED, FAILED, FAILED, FAILED, FAILED], start=14.0, step=0.0)
    assert health_of(breakers).open_until == 19.0


def test_a_refused_key_opens_at_once_for_a_minute_doubling_to_a_quarter_of_an_hour() -> None:
    breakers = make_breakers()
    breakers.open_key(KEY, 0.0, jitter=1.0)
    now, lasted = 0.0, [60.0]
    for number in range(5):
        now = health_of(breakers, KEY).open_until
        assert breakers.admit(f"p{number}", [KEY], now, lease=60) == Admitted(probe=True)
        breakers.settle(f"p{number}", FAILED, now, jitter=1.0)
        breakers.open_key(KEY, now, jitter=1.0)
        lasted.append(health_of(breakers, KEY).open_until - now)
    assert lasted == [60.0, 120.0, 240.0, 480.0, 900.0, 900.0]
    assert health_of(breakers, KEY).cause == "key_refused"


def test_calls_refused_together_for_their_key_do_not_double_its_time() -> None:
    breakers = make_breakers()
    for number in range(50):
        breakers.open_key(KEY, number / 100, jitter=1.0)
    assert health_of(breakers, KEY).open_until == pytest.approx(60.49)


def test_a_refused_key_waits_as_long_as_the_server_asks() -> None:
    breakers = make_breakers()
    breakers.open_key(KEY, 0.0, jitter=0.0, hint=3600.0)
    breakers.open_key(KEY, 1.0, jitter=0.0, hint=5.0)
    assert health_of(breakers, KEY).open_until == 3600.0


def test_every_move_is_told_once_with_its_reason() -> None:
    breakers = make_open(at=2.0)
    probe(breakers, "fails", FAILED, 7.0)
    close_by_answers(breakers, 17.0)
    breakers.isolate(A, 18.0)
    breakers.isolate(A, 18.5)
    breakers.close(A, 19.0)
    breakers.close(A, 19.5)
    closed, opened, half = BreakerState.CLOSED, BreakerState.OPEN, BreakerState.HALF_OPEN
    assert breakers.take_events() == [
        BreakerChanged(A, closed, opened, "failures_in_a_row", 2.0),
        BreakerChanged(A, opened, half, "time_over", 7.0),
        BreakerChanged(A, half, opened, "probe_failed", 7.0),
        BreakerChanged(A, opened, half, "time_over", 17.0),
        BreakerChanged(A, half, closed, "probes_answered", 17.0),
        BreakerChanged(A, closed, BreakerState.ISOLATED, "by_hand", 18.0),
        BreakerChanged(A, BreakerState.ISOLATED, closed, "by_hand", 19.0),
    ]
    assert breakers.take_events() == []


def test_results_of_healthy_scopes_do_not_move_the_version() -> None:
    breakers = make_breakers()
    record_all(breakers, [OK, FAILED, OK, SLOW] * 10)
    assert (breakers.version, dict(breakers.snapshot())) == (0, {})


def test_a_snapshot_in_hand_never_changes() -> None:
    breakers = make_open()
    held = breakers.snapshot()
    copied = dict(held)
    breakers.close(A, 1.0)
    assert dict(held) == copied
    assert breakers.snapshot() != held


@pytest.mark.slow
def test_scopes_named_by_requests_do_not_fill_the_memory() -> None:
    breakers = make_open()
    for number in range(breaker_module.MAX_SCOPES + 100):
        breakers.record(f"target:made-up-{number}", FAILED, 0.0, jitter=1.0)
    kept = [breakers.counts(f"target:made-up-{number}", 0.0).total for number in range(breaker_module.MAX_SCOPES + 100)]
    assert sum(kept) == breaker_module.MAX_SCOPES - 1
    assert kept[-1] == 1
    assert state_of(breakers) is BreakerState.OPEN


def test_breakers_that_nobody_probes_any_more_do_not_fill_the_memory_either(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(breaker_module, "MAX_SCOPES", 200)
    breakers = make_breakers(BreakerSettings(failures_in_a_row=1))
    breakers.isolate(KEY, 0.0)
    for number in range(breaker_module.MAX_SCOPES + 5):
        breakers.record(f"target:made-up-{number}", FAILED, 1.0, jitter=1.0)
        if number == 100:
            breakers.take_events()
    assert len(breakers.snapshot()) == breaker_module.MAX_SCOPES
    assert state_of(breakers, KEY) is BreakerState.ISOLATED
    states = [state_of(breakers, f"target:made-up-{number}").value for number in (0, 5, 6)]
    assert states == ["closed", "closed", "open"]
    told = [event for event in breakers.take_events() if event.reason == "forgotten"]
    assert [event.scope for event in told] == [f"target:made-up-{number}" for number in range(6)]


def test_events_that_nobody_takes_do_not_fill_the_memory() -> None:
    breakers = make_breakers()
    for number in range(breaker_module.MAX_EVENTS + 100):
        breakers.isolate(A, float(number))
        breakers.close(A, float(number))
    assert len(breakers.take_events()) == breaker_module.MAX_EVENTS


@pytest.mark.parametrize(
    "make",
    [
        lambda: BreakerSettings(failures_in_a_row=0),
        lambda: BreakerSettings(failures_in_a_row=33),
        lambda: BreakerSettings(window=500.0),
        lambda: BreakerSettings(open_for=0.0),
        lambda: BreakerSettings(failure_ratio=1.5),
    ],
)
def test_settings_that_cannot_work_are_refused(make: Callable[[], BreakerSettings]) -> None:
    with pytest.raises(ValueError, match="must be"):
        make()
