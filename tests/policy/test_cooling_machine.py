"""Cool-downs and the way back from them under every order of events, beside a model that tells the story of each scope.

The model knows between which two moments a cool-down must end: jitter and doubling are the core's own.
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from penstock.policy.cooling import Admitted, CoolDown, CoolDowns, CoolReason, PermitVerdict

SCOPES = ("target:a", "target:b", "key:p/0")
scopes = st.sampled_from(SCOPES)
some_scopes = st.lists(scopes, min_size=1, max_size=3, unique=True)
verdicts: st.SearchStrategy[PermitVerdict] = st.sampled_from(["answered", "answered", "answered", "limited", "nothing"])
hints = st.none() | st.sampled_from([0.0, 0.006, 2.0, 60.0, 4_000.0, 315_360_000.0])
A_DAY = 86_400.0
NEEDED = (1, 2, 4)


@attrs.define
class Story:
    """One scope since it last cooled: who was let in, and what of them answered."""

    earliest: float
    latest: float
    rises: int
    """How often it cooled without having come back."""
    steps: int = 0
    """Stages that were answered whole."""
    answers: int = 0
    out: dict[str, float] = attrs.Factory(dict[str, float])
    late: set[str] = attrs.Factory(set[str])

    def pass_time(self, now: float) -> None:
        for permit in [permit for permit, end in self.out.items() if end <= now]:
            del self.out[permit]
            self.late.add(permit)

    def room(self) -> int:
        return max(0, NEEDED[self.steps] - self.answers - len(self.out))

    def back(self, permit: str) -> bool:
        known = permit in self.out or permit in self.late
        self.out.pop(permit, None)
        self.late.discard(permit)
        return known

    def answer(self) -> None:
        self.answers += 1
        if self.answers == NEEDED[self.steps]:
            self.steps, self.answers = self.steps + 1, 0


class CoolDownsMachine(RuleBasedStateMachine):
    permits = Bundle("permits")

    def __init__(self) -> None:
        super().__init__()
        self.cool_downs = CoolDowns()
        self.now = 0.0
        self.minted = 0
        self.story: dict[str, Story] = {}
        self.shown: Mapping[str, CoolDown] = {}
        self.version = 0

    @initialize(scope=scopes, hint=hints)
    def start_with_a_limit(self, scope: str, hint: float | None) -> None:
        self.a_limit_is_met(scope, hint, 0.5, empty=False)

    @rule(seconds=st.floats(0.0, 100.0))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        for story in self.story.values():
            story.pass_time(self.now)

    @rule(scope=scopes)
    def a_cool_down_ends(self, scope: str) -> None:
        shown = self.cool_downs.shown().get(scope)
        if shown is not None and shown.until > self.now:
            self.time_passes(shown.until - self.now)

    @rule(scope=scopes, hint=hints, jitter=st.floats(0.0, 1.0), empty=st.booleans())
    def a_limit_is_met(self, scope: str, hint: float | None, jitter: float, empty: bool) -> None:  # noqa: FBT001 - drawn
        reason: CoolReason = "quota_exhausted" if empty else "rate_limited"
        before, story = self.cool_downs.shown().get(scope), self.story.get(scope)
        lasts = before is not None and self.now < before.until
        rises = 1 if story is None else story.rises + (not lasts)
        told = self.cool_downs.cool(scope, reason, now=self.now, jitter=jitter, retry_after=hint)
        hint = None if hint is None else min(hint, A_DAY)  # nobody is left alone for ten years at a server's word
        span = min(3_600.0, 300.0 * 2 ** (rises - 1)) if empty else min(30.0, 2.0 ** (rises - 1))
        least, most = (max(span, hint or 0.0), max(span * 1.1, hint or 0.0)) if empty else (span / 2, span)
        if hint is not None and not empty:
            least = most = hint
        earliest, latest = self.now + least, self.now + most
        if lasts and story is not None and before is not None:
            assert (told is None) == (self.cool_downs.shown()[scope] == before)
            if told is None:
                assert earliest <= before.until, "it would have been longer"
                return
            earliest, latest = max(earliest, story.earliest), max(latest, story.latest)
        assert told is not None
        self.story[scope] = Story(earliest, latest, rises)

    @rule(target=permits, asked=some_scopes, lease=st.sampled_from([2.0, 30.0, 700.0]))
    def someone_asks(self, asked: list[str], lease: float) -> str:
        self.minted += 1
        return self.ask(f"permit {self.minted}", asked, lease)

    @rule(permit=permits, asked=some_scopes)
    def someone_asks_again(self, permit: str, asked: list[str]) -> None:
        self.ask(permit, asked, 30.0)

    @rule(asked=some_scopes)
    def a_hundred_ask_at_once(self, asked: list[str]) -> None:
        before = {scope: self.story[scope].room() for scope in asked if scope in self.story}
        let_in = 0
        for _ in range(100):
            self.minted += 1
            answer = self.cool_downs.admit(f"permit {self.minted}", asked, self.now, lease=30.0)
            if isinstance(answer, Admitted):
                let_in += 1
                for scope in before:
                    self.story[scope].out[f"permit {self.minted}"] = self.now + 30.0
            self.a_cool_down_is_never_shortened_and_the_version_moves_exactly_with_what_is_shown()
        assert let_in <= min(before.values(), default=100), "a stampede"
        if not before:
            assert let_in == 100

    def ask(self, permit: str, asked: list[str], lease: float) -> str:
        cold = {scope: self.story[scope] for scope in asked if scope in self.story}
        shown = self.cool_downs.shown()
        no = [
            scope
            for scope, story in cold.items()
            if self.now < shown[scope].until or not (permit in story.out or story.room())
        ]
        answer = self.cool_downs.admit(permit, asked, self.now, lease=lease)
        if not no:
            assert answer == Admitted(thawing=bool(cold))
            for story in cold.values():
                story.late.discard(permit)
                story.out.setdefault(permit, self.now + lease)
            return permit
        assert not isinstance(answer, Admitted)
        assert answer.scope in no
        assert answer.retry_at > self.now
        if answer.reason == "cooling":
            assert answer.retry_at == shown[answer.scope].until
        else:
            assert answer.retry_at == min(self.story[answer.scope].out.values())
        return permit

    @rule(permit=consumes(permits), verdict=verdicts)
    def a_permit_comes_back(self, permit: str, verdict: PermitVerdict) -> None:
        self.give_back(permit, verdict)

    @rule(permit=permits, hint=hints, back=st.booleans())
    def a_probe_meets_the_limit_again(self, permit: str, hint: float | None, back: bool) -> None:  # noqa: FBT001 - drawn
        for scope in [scope for scope, story in self.story.items() if permit in story.out]:
            self.a_limit_is_met(scope, hint, 1.0, empty=False)
            self.a_cool_down_ends(scope)
        if back:
            self.give_back(permit, "limited")

    @rule(permit=permits, verdict=verdicts)
    def a_permit_comes_back_and_may_come_again(self, permit: str, verdict: PermitVerdict) -> None:
        self.give_back(permit, verdict)

    def give_back(self, permit: str, verdict: PermitVerdict) -> None:
        self.cool_downs.give_back(permit, verdict, self.now)
        for scope, story in list(self.story.items()):
            if not story.back(permit):
                continue
            if verdict == "limited":
                story.steps = story.answers = 0
            elif verdict == "answered":
                story.answer()
                if story.steps == len(NEEDED):
                    del self.story[scope]

    @rule(verdict=verdicts, scope=scopes)
    def an_attempt_without_a_permit_ends(self, verdict: PermitVerdict, scope: str) -> None:
        self.cool_downs.expire(self.now)
        before = self.cool_downs.shown()
        self.cool_downs.give_back(f"never admitted to {scope}", verdict, self.now)
        assert self.cool_downs.shown() == before

    @rule()
    def leases_that_ended_are_taken_back(self) -> None:
        ends = [end for story in self.story.values() for end in story.out.values()]
        self.cool_downs.expire(self.now)
        assert self.cool_downs.next_expiry == min(ends, default=None)
        for scope, cool in self.cool_downs.shown().items():
            assert cool.permits_left == self.story[scope].room()

    @invariant()
    def nobody_is_shown_a_permit_that_is_out(self) -> None:
        for scope, cool in self.cool_downs.shown().items():
            assert cool.permits_left <= self.story[scope].room()

    @invariant()
    def what_cools_or_thaws_is_what_did_not_come_back(self) -> None:
        shown = self.cool_downs.shown()
        assert set(shown) == set(self.story)
        for scope, cool in shown.items():
            assert self.story[scope].earliest <= cool.until <= self.story[scope].latest

    @invariant()
    def a_cool_down_is_never_shortened_and_the_version_moves_exactly_with_what_is_shown(self) -> None:
        shown = self.cool_downs.shown()
        for scope, cool in self.shown.items():
            if scope in shown and cool.until > self.now:
                assert shown[scope].until >= cool.until
        assert (self.cool_downs.version != self.version) == (shown != self.shown)
        self.version, self.shown = self.cool_downs.version, shown

    def teardown(self) -> None:
        """Whatever happened, everyone passes once the servers answer: nothing wedges."""
        self.now += 1e6
        for number in range(7 * len(SCOPES)):
            cold = list(self.cool_downs.shown())
            if not cold:
                break
            assert self.cool_downs.admit(f"rescue {number}", cold, self.now, lease=30.0) == Admitted(thawing=True)
            self.cool_downs.give_back(f"rescue {number}", "answered", self.now)
        assert self.cool_downs.shown() == {}


TestCoolDowns = CoolDownsMachine.TestCase
