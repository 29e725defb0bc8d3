"""The breaker of a store: rule by rule, and a machine beside a model that keeps a diary of what was told."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from penstock.policy.store_health import Admission, StoreHealth, StoreHealthSettings

SETTINGS = StoreHealthSettings(failures_in_a_row=3, first_pause=1.0, longest_pause=4.0, lease=5.0)


def admitted(health: StoreHealth, now: float) -> Admission:
    admission = health.admit(now)
    assert admission is not None
    return admission


def opened(now: float = 0.0) -> StoreHealth:
    """A breaker that has just opened."""
    health = StoreHealth(SETTINGS)
    assert [health.failed(admitted(health, now), now) for _ in range(3)] == [False, False, True]
    return health


def test_a_few_failures_in_a_row_open_it_and_a_success_between_them_does_not() -> None:
    health = StoreHealth(SETTINGS)
    for _ in range(5):
        health.failed(admitted(health, 0.0), 0.0)
        health.failed(admitted(health, 0.0), 0.0)
        assert not health.succeeded(admitted(health, 0.0))
    assert health.is_closed
    assert not opened().is_closed


def test_while_it_is_open_nobody_is_admitted_and_then_one() -> None:
    health = opened()
    assert health.admit(0.9) is None
    assert admitted(health, 1.0).probe
    assert health.admit(1.0) is None


def test_a_probe_that_succeeds_closes_it() -> None:
    health = opened()
    assert health.succeeded(admitted(health, 1.0))
    assert health.is_closed
    assert not admitted(health, 1.0).probe


def test_each_probe_that_fails_doubles_the_pause_up_to_the_longest() -> None:
    health, now = opened(), 0.0
    for pause in (1.0, 2.0, 4.0, 4.0):
        assert health.admit(now + pause - 0.1) is None
        now += pause
        assert health.failed(admitted(health, now), now)
    assert health.succeeded(admitted(health, now + 4.0))
    health.failed(admitted(health, now), now)
    assert health.is_closed, "it begins anew"


def test_a_probe_whose_caller_left_lets_the_next_one_try() -> None:
    health = opened()
    health.gave_up(admitted(health, 1.0))
    assert admitted(health, 1.0).probe


def test_a_probe_that_never_reports_wedges_nobody() -> None:
    health = opened()
    lost = admitted(health, 1.0)
    assert health.admit(5.9) is None
    assert health.succeeded(admitted(health, 6.0))
    assert not health.failed(lost, 6.0), "of a period that is over"
    assert health.is_closed


def test_late_reports_of_before_change_nothing() -> None:
    health = StoreHealth(SETTINGS)
    late = [admitted(health, 0.0) for _ in range(5)]
    for admission in late[:3]:
        health.failed(admission, 0.0)
    assert not health.failed(late[3], 0.5)
    assert not health.succeeded(late[4])
    assert not health.is_closed
    assert admitted(health, 1.0).probe


class StoreHealthMachine(RuleBasedStateMachine):
    """The model: what each admission saw, and what was reported since the last turn."""

    admissions = Bundle("admissions")

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.health = StoreHealth(SETTINGS)
        self.is_open = False
        self.in_a_row = 0
        self.pauses = 0
        self.opened_at = 0.0
        self.turns = 0
        self.probes: dict[int, float] = {}
        """Probes of this turn under way: when each began."""
        self.known: dict[int, tuple[Admission, int]] = {}
        """By number: an admission and the turn in which it was given."""

    def pause(self) -> float:
        return min(4.0, 2.0 ** (self.pauses - 1))

    def turn(self) -> None:
        self.turns += 1
        self.in_a_row = 0
        self.probes.clear()

    @rule(step=st.sampled_from([0.0, 0.25, 1.0, 3.0, 6.0]))
    def wait(self, step: float) -> None:
        self.now += step

    @rule(target=admissions)
    def admit(self) -> int:
        admission = self.health.admit(self.now)
        if not self.is_open:
            assert admission is not None
            assert not admission.probe
        else:
            busy = any(self.now < began + 5.0 for began in self.probes.values())
            assert (admission is not None) == (self.now >= self.opened_at + self.pause() and not busy)
        number = len(self.known)
        if admission is not None:
            assert admission.probe == self.is_open
            self.known[number] = (admission, self.turns)
            if admission.probe:
                self.probes[number] = self.now
        else:
            self.known[number] = (Admission(-1, probe=False), -1)
        return number

    @rule(number=consumes(admissions))
    def succeed(self, number: int) -> None:
        admission, turn = self.known[number]
        closes = turn == self.turns and self.is_open
        assert self.health.succeeded(admission) == closes
        if turn == self.turns:
            self.in_a_row = 0
        if closes:
            self.is_open = False
            self.pauses = 0
            self.turn()

    @rule(number=consumes(admissions))
    def fail(self, number: int) -> None:
        admission, turn = self.known[number]
        if turn == self.turns:
            self.in_a_row += 1
        opens = turn == self.turns and (self.is_open or self.in_a_row == 3)
        assert self.health.failed(admission, self.now) == opens
        if opens:
            self.is_open = True
            self.pauses += 1
            self.opened_at = self.now
            self.turn()

    @rule(number=consumes(admissions))
    def give_up(self, number: int) -> None:
        admission, turn = self.known[number]
        self.health.gave_up(admission)
        if turn == self.turns and admission.probe:
            # Whoever holds the one permit gives it back; one whose lease had ended gives back that of its heir.
            self.probes.clear()

    @invariant()
    def it_says_what_it_is(self) -> None:
        assert self.health.is_closed != self.is_open


TestStoreHealthMachine = StoreHealthMachine.TestCase
