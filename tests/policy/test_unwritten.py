"""What a second level may not have: rule by rule, and a machine beside a store that fails as it likes."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from penstock.policy.unwritten import Unwritten

KEYS = ("a", "b", "c")


def test_what_is_older_than_an_answer_that_was_not_written_is_superseded() -> None:
    unwritten = Unwritten()
    unwritten.put("k", 20.0)
    assert unwritten.is_superseded("k", 10.0)
    assert not unwritten.is_superseded("k", 20.0)
    assert not unwritten.is_superseded("other", 10.0)
    unwritten.written("k", 20.0)
    assert not unwritten.is_superseded("k", 10.0), "whoever put that there knows better"


def test_an_older_answer_that_was_written_says_nothing_of_the_newer_one() -> None:
    unwritten = Unwritten()
    unwritten.put("k", 20.0)
    unwritten.written("k", 10.0)
    assert unwritten.is_superseded("k", 10.0)


def test_where_more_is_unwritten_than_can_be_remembered_what_is_older_is_not_believed() -> None:
    unwritten = Unwritten(most=2)
    for number, key in enumerate(("a", "b", "c")):
        unwritten.put(key, 10.0 + number)
    assert unwritten.is_superseded("a", 9.0)
    assert unwritten.is_superseded("never put", 9.0)
    assert not unwritten.is_superseded("never put", 10.0)


class UnwrittenMachine(RuleBasedStateMachine):
    """The model: a store, and all that was ever put."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.unwritten = Unwritten(most=2)
        self.put_at: dict[str, float] = {}
        self.store: dict[str, float] = {}

    @rule(key=st.sampled_from(KEYS), is_written=st.booleans())
    def put(self, key: str, *, is_written: bool) -> None:
        self.now += 1
        self.put_at[key] = self.now
        self.unwritten.put(key, self.now)
        if is_written:
            self.store[key] = self.now
            self.unwritten.written(key, self.now)

    @rule(key=st.sampled_from(KEYS))
    def written_after_all(self, key: str) -> None:
        if key in self.put_at:
            self.store[key] = self.put_at[key]
            self.unwritten.written(key, self.put_at[key])

    @rule(key=st.sampled_from(KEYS))
    def read(self, key: str) -> None:
        found = self.store.get(key)
        if found is not None and not self.unwritten.is_superseded(key, found):
            assert found == self.put_at[key]

    @rule(key=st.sampled_from(KEYS))
    def what_was_put_last_is_never_refused_for_its_own_sake(self, key: str) -> None:
        newest = max(self.put_at.values(), default=0.0)
        assert not self.unwritten.is_superseded(key, newest)


TestUnwrittenMachine = UnwrittenMachine.TestCase
