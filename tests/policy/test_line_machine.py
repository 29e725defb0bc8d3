"""The line under every order of events, beside a model that keeps names in a list and counts who looks when."""

from __future__ import annotations

import math

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from penstock.policy.line import ABREAST, PACE, Line, Place

SCOPES = ("target:a", "target:b", "key:p/0")
some_scopes = st.lists(st.sampled_from(SCOPES), min_size=1, max_size=3, unique=True)
EPSILON = 1e-9


class LineMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.line = Line()
        self.now = 0.0
        self.waiting: list[tuple[Place, list[str], float]] = []
        """In the order of coming: place, scopes, the moment that it waits for."""
        self.turns: dict[Place, str] = {}
        self.told: dict[Place, float] = {}
        """When each was last told to look."""
        self.given: list[float] = []
        """The moments of all turns that were ever given."""

    @rule(seconds=st.sampled_from([0.0, 0.004, 0.012, 0.3, 5.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(scopes=some_scopes, after=st.sampled_from([0.0, 0.25, 5.0]), many=st.sampled_from([1, 2, 9]))
    def some_come(self, scopes: list[str], after: float, many: int) -> None:
        for _ in range(many):
            until = self.now + after
            place = self.line.join(scopes, until)
            before = sum(moment == until for _, _, moment in self.waiting)
            assert place.at >= until
            if not before:
                assert place.at == until, "the first of them is not kept waiting"
            self.waiting.append((place, scopes, until))
            self.told[place] = place.at

    @rule(scope=st.sampled_from(SCOPES), many=st.sampled_from([1, 2, 4, math.inf]))
    def more_may_pass(self, scope: str, many: float) -> None:
        able = [place for place, scopes, _ in self.waiting if scope in scopes and place not in self.turns]
        first = able if many == math.inf else able[: int(many)]
        assert self.line.ease(scope, many, self.now) == first
        self.these_have_a_turn(first, scope)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def one_looks(self, data: st.DataObject) -> None:
        place = min((place for place, _, _ in self.waiting), key=lambda place: place.at)
        self.now = max(self.now, place.at)
        assert self.line.leave(place, self.now, looks=True) == []
        self.gone(place)
        del data

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def one_waits_no_longer(self, data: st.DataObject) -> None:
        place = data.draw(st.sampled_from([place for place, _, _ in self.waiting]))
        turn = self.turns.get(place)
        self.gone(place)
        able = [other for other, scopes, _ in self.waiting if turn in scopes and other not in self.turns]
        first = able[:1] if turn is not None else []
        assert self.line.leave(place, self.now, looks=False) == first
        self.these_have_a_turn(first, turn or "")

    def gone(self, place: Place) -> None:
        self.waiting = [one for one in self.waiting if one[0] is not place]
        self.turns.pop(place, None)

    def these_have_a_turn(self, places: list[Place], scope: str) -> None:
        for place in places:
            assert place.turn == scope
            assert place.at <= self.told[place], "it was told to look sooner"
            self.turns[place] = scope
            if place.at < self.told[place]:
                self.given.append(place.at)
            self.told[place] = place.at

    @invariant()
    def no_moment_moves_unless_it_was_told(self) -> None:
        assert all(place.at == self.told[place] for place, _, _ in self.waiting)
        assert len(self.line) == len(self.waiting)

    @invariant()
    def no_more_look_together_than_may(self) -> None:
        given = sorted(self.given)
        for first, fifth in zip(given, given[ABREAST:], strict=False):
            assert fifth - first >= PACE - EPSILON, "a herd that was woken"
        for moment in {until for _, _, until in self.waiting}:
            looks = sorted(place.at for place, _, until in self.waiting if until == moment and place not in self.turns)
            for first, fifth in zip(looks, looks[ABREAST:], strict=False):
                assert fifth - first >= PACE - EPSILON, "a herd that waited for one moment"


TestLine = LineMachine.TestCase
