"""Flights: rule by rule, and a machine beside a model that keeps one list of who waits for what."""

from __future__ import annotations

import attrs
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from penstock.errors import CallError, InvalidRequestError
from penstock.policy.coalesce import (
    Deliver,
    Directive,
    Fail,
    Failed,
    Flights,
    FlightsStatistics,
    Follow,
    Gone,
    GoneReason,
    Landed,
    Lead,
    Outcome,
    Pass,
    Promote,
    Release,
)


def look(flights: Flights[str], call: str, *, deadline: float = 100.0, may_lead: bool = True, key: str = "k") -> object:
    return flights.lookup(call, key, now=0.0, deadline=deadline, may_lead=may_lead)


def make_flight(**deadlines: float) -> Flights[str]:
    """A flight led by `leader`, with followers by their deadlines."""
    flights = Flights[str]()
    assert look(flights, "leader") == Lead()
    for call, deadline in deadlines.items():
        assert look(flights, call, deadline=deadline) == Follow()
    return flights


def test_one_leads_and_the_others_get_its_answer() -> None:
    flights = make_flight(a=10, b=20)
    answer = Deliver("answer")
    assert flights.finish("leader", Landed("answer"), 1.0) == (Directive("a", answer), Directive("b", answer))
    assert look(flights, "next") == Lead()


def test_an_error_that_all_would_get_is_shared() -> None:
    flights = make_flight(a=10)
    error = InvalidRequestError()
    assert flights.finish("leader", Failed(error), 1.0) == (Directive("a", Fail(error)),)
    assert flights.statistics().flights == 0


def test_when_the_leader_is_gone_exactly_one_is_promoted_the_one_with_most_time_left() -> None:
    flights = make_flight(a=10, b=30, c=20)
    assert flights.finish("leader", Gone("target_failed"), 1.0) == (Directive("b", Promote("target_failed")),)
    assert look(flights, "d") == Follow()
    assert {one.call_id for one in flights.finish("b", Landed("answer"), 2.0)} == {"a", "c", "d"}


def test_among_equals_the_one_that_waited_longest_is_promoted() -> None:
    flights = make_flight(z=10, a=10)
    assert flights.leave("leader", 1.0) == (Directive("z", Promote("cancelled")),)


def test_leaders_that_vanish_one_after_the_other_leave_nobody_behind() -> None:
    flights = make_flight(a=10, b=30, c=20)
    leader, order = "leader", list[str]()
    while directives := flights.leave(leader, 1.0):
        ((leader, _),) = [(one.call_id, one.action) for one in directives]
        order.append(leader)
    assert order == ["b", "c", "a"]
    assert flights.statistics().flights == 0


def test_when_the_leaders_answer_is_none_to_store_all_go_at_once() -> None:
    flights = make_flight(a=10, b=30)
    assert flights.finish("leader", Gone("uncacheable"), 1.0) == (
        Directive("a", Release("uncacheable")),
        Directive("b", Release("uncacheable")),
    )
    assert look(flights, "next") == Lead()


def test_one_whose_time_is_up_is_not_promoted() -> None:
    flights = make_flight(late=5, later=4, stream=50)
    assert flights.leave("stream", 6.0) == ()
    assert flights.leave("leader", 6.0) == (
        Directive("late", Release("cancelled")),
        Directive("later", Release("cancelled")),
    )
    assert look(flights, "next") == Lead()


def test_a_stream_follows_but_never_leads() -> None:
    flights = Flights[str]()
    assert look(flights, "stream", may_lead=False) == Pass()
    assert look(flights, "leader") == Lead()
    assert look(flights, "stream", may_lead=False, deadline=1000.0) == Follow()
    assert look(flights, "short", deadline=5.0) == Follow()
    assert flights.leave("leader", 1.0) == (Directive("short", Promote("cancelled")),)
    assert flights.leave("short", 2.0) == (Directive("stream", Release("cancelled")),)


def test_followers_that_leave_disturb_nobody() -> None:
    flights = make_flight(a=10, b=20)
    assert flights.leave("b", 1.0) == ()
    assert flights.finish("leader", Landed("answer"), 2.0) == (Directive("a", Deliver("answer")),)


def test_a_follower_cannot_end_the_flight() -> None:
    flights = make_flight(a=10, b=20)
    assert flights.finish("a", Landed("not mine to give"), 1.0) == ()
    assert flights.finish("leader", Landed("answer"), 2.0) == (Directive("b", Deliver("answer")),)


def test_a_call_holds_one_flight_and_keeps_its_role_in_it() -> None:
    flights = make_flight(a=10)
    assert look(flights, "leader", key="other") == Pass()
    assert look(flights, "a", key="other") == Pass()
    assert look(flights, "leader") == Lead()
    assert look(flights, "a") == Follow()
    assert flights.statistics().followers == 1


def test_who_has_no_time_does_not_join() -> None:
    flights = make_flight()
    assert look(flights, "late", deadline=0.0) == Pass()
    assert look(flights, "late", deadline=0.0, key="other") == Pass()


def test_ending_twice_is_ending_once_and_unknown_calls_are_ignored() -> None:
    flights = make_flight(a=10)
    assert len(flights.finish("leader", Landed("answer"), 1.0)) == 1
    assert flights.finish("leader", Landed("again"), 1.0) == ()
    assert flights.leave("leader", 1.0) == ()
    assert flights.leave("a", 1.0) == ()
    assert flights.finish("nobody", Gone("refused"), 1.0) == ()


def test_statistics_count_what_became_of_followers() -> None:
    flights = make_flight(a=10, b=20)
    flights.leave("leader", 1.0)
    flights.finish("b", Landed("answer"), 1.0)
    assert flights.statistics() == FlightsStatistics(
        flights=0, followers=0, led=1, followed=2, promoted=1, delivered=1, failed=0, released=0
    )


KEYS = ("k", "l")
TIMES = (-1.0, 0.0, 1.0, 5.0, 9.0, 30.0)
CALLS = tuple(f"call-{number}" for number in range(9))
reasons = st.sampled_from(["cancelled", "deadline", "target_failed", "refused", "not_shareable", "uncacheable"])


@attrs.frozen
class Waiting:
    """A row of the model's one list: who awaits which key, as what."""

    call: str
    key: str
    leads: bool
    deadline: float
    may_lead: bool


class FlightsMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.flights = Flights[int]()
        self.waiting: list[Waiting] = []
        self.joined = 0
        self.told = 0
        self.left = 0

    @initialize(key=st.sampled_from(KEYS), times=st.permutations([9.0, 30.0, 300.0, 301.0, 301.0]))
    def start_with_a_flight(self, key: str, times: list[float]) -> None:
        # Else most runs would spend their steps on getting calls together.
        for call, time in zip(CALLS[:5], times, strict=True):
            self.lookup(call, key, time, may_lead=True)

    @rule(key=st.sampled_from(KEYS), reason=reasons)
    def leader_vanishes(self, key: str, reason: GoneReason) -> None:
        for row in [row for row in self.waiting if row.key == key and row.leads]:
            self.vanish(row.call, reason, silently=False)

    @rule(step=st.sampled_from([0.5, 0.5, 4.0, 20.0]))
    def wait(self, step: float) -> None:
        self.now += step

    @rule(
        call=st.sampled_from(CALLS),
        key=st.sampled_from(KEYS),
        time=st.sampled_from(TIMES),
        may_lead=st.sampled_from([True, True, False]),
    )
    def lookup(self, call: str, key: str, time: float, *, may_lead: bool) -> None:
        role = self.flights.lookup(call, key, now=self.now, deadline=self.now + time, may_lead=may_lead)
        mine = [row for row in self.waiting if row.call == call]
        led = any(row.key == key for row in self.waiting)
        if mine:
            assert role == (Pass() if mine[0].key != key else Lead() if mine[0].leads else Follow())
        elif time <= 0 or not (led or may_lead):
            assert role == Pass()
        else:
            assert role == (Follow() if led else Lead())
            self.waiting.append(Waiting(call, key, not led, self.now + time, may_lead))
            self.joined += led

    @rule(call=st.sampled_from(CALLS), value=st.integers())
    def land(self, call: str, value: int) -> None:
        self.shared(call, Landed(value), Deliver(value))

    @rule(call=st.sampled_from(CALLS))
    def fail(self, call: str) -> None:
        error = CallError()
        self.shared(call, Failed(error), Fail(error))

    def shared(self, call: str, outcome: Outcome[int], action: Deliver[int] | Fail) -> None:
        directives = self.flights.finish(call, outcome, self.now)
        followers = self.followers_after(call)
        assert directives == tuple(Directive[int](row.call, action) for row in followers)
        self.tell_all(followers)

    @rule(call=st.sampled_from(CALLS), reason=reasons, silently=st.booleans())
    def vanish(self, call: str, reason: GoneReason, *, silently: bool) -> None:
        reason = "cancelled" if silently else reason
        directives = (
            self.flights.leave(call, self.now) if silently else self.flights.finish(call, Gone(reason), self.now)
        )
        followers = self.followers_after(call)
        able = [row for row in followers if row.may_lead and row.deadline > self.now]
        if not able or reason == "uncacheable":
            assert directives == tuple(Directive[int](row.call, Release(reason)) for row in followers)
            self.tell_all(followers)
            return
        (directive,) = directives
        (heir,) = [row for row in able if row.call == directive.call_id]
        assert directive.action == Promote(reason)
        assert heir.deadline == max(row.deadline for row in able)
        self.told += 1
        self.waiting = [attrs.evolve(row, leads=row.leads or row is heir) for row in self.waiting]

    def followers_after(self, call: str) -> list[Waiting]:
        """Takes the call out; whom it leaves without a leader."""
        gone = [row for row in self.waiting if row.call == call]
        self.waiting = [row for row in self.waiting if row.call != call]
        self.left += sum(not row.leads for row in gone)
        return [row for row in self.waiting if gone and gone[0].leads and row.key == gone[0].key]

    def tell_all(self, followers: list[Waiting]) -> None:
        self.told += len(followers)
        self.waiting = [row for row in self.waiting if row not in followers]

    @invariant()
    def every_flight_has_one_leader(self) -> None:
        for key in KEYS:
            leaders = [row.leads for row in self.waiting if row.key == key]
            assert sum(leaders) == (1 if leaders else 0)

    @invariant()
    def statistics_agree_and_every_follower_is_told_once_or_left_or_waits(self) -> None:
        statistics = self.flights.statistics()
        followers = sum(not row.leads for row in self.waiting)
        assert (statistics.flights, statistics.followers) == (len(self.waiting) - followers, followers)
        assert statistics.followed == self.joined == self.told + self.left + followers
        told = statistics.promoted + statistics.delivered + statistics.failed + statistics.released
        assert told == self.told

    def teardown(self) -> None:
        for call in CALLS:
            self.flights.leave(call, self.now)
        assert (self.flights.statistics().flights, self.flights.statistics().followers) == (0, 0)


TestFlightsMachine = FlightsMachine.TestCase
