"""What follows invalid answers, against a model of its own; and that what is asked then is of constant size."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from penstock.policy.repairing import LONGEST_QUOTED, Fault, GiveUp, MoreRoom, Next, Reask, Repairs, reasked
from penstock.types import ChatRequest

MOST = 4
ALLOWED = 2
FAULTS = st.sampled_from([Fault("damaged", "broken", "{"), Fault("misfit", "wrong", "{}"), Fault("empty", "empty")])


class RepairsMachine(RuleBasedStateMachine):
    """The model: how many steps went on, and what each target gave since it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.repairs = Repairs(MOST, ALLOWED)
        self.went_on = 0
        self.invalid = {"a": 0, "b": 0}
        self.over = False

    @precondition(lambda self: self.over)
    @rule()
    def another_call_begins(self) -> None:
        self.repairs, self.went_on, self.invalid, self.over = Repairs(MOST, ALLOWED), 0, {"a": 0, "b": 0}, False

    @precondition(lambda self: not self.over)
    @rule(name=st.sampled_from("ab"), fault=FAULTS, others_left=st.booleans())
    def answer_is_invalid(self, name: str, fault: Fault, others_left: bool) -> None:  # noqa: FBT001
        step = self.repairs.step(name, fault, others_left=others_left)
        if self.went_on == MOST:
            self.over = True
            assert isinstance(step, GiveUp)
            return
        self.went_on += 1
        self.invalid[name] += 1
        if others_left and self.invalid[name] >= ALLOWED:
            assert isinstance(step, Next)
        else:
            assert isinstance(step, Reask)

    @precondition(lambda self: not self.over)
    @rule(limit=st.none() | st.integers(1, 100), most=st.none() | st.integers(1, 100), others_left=st.booleans())
    def answer_is_cut(self, limit: int | None, most: int | None, others_left: bool) -> None:  # noqa: FBT001
        fault = Fault("length", "cut", "{")
        step = self.repairs.step("a", fault, others_left=others_left, limit=limit, most_output=most)
        if self.went_on == MOST:
            self.over = True
            assert isinstance(step, GiveUp)
            return
        self.invalid["a"] += 1
        room = None if limit is None else min(limit * 2, most or limit * 2)
        if room is not None and limit is not None and room > limit:
            assert step == MoreRoom(room)
        elif others_left:
            assert isinstance(step, Next)
        else:
            self.over = True
            assert isinstance(step, GiveUp)
            return
        self.went_on += 1


TestRepairsMachine = RepairsMachine.TestCase


def test_what_is_asked_again_is_of_constant_size_however_long_the_output() -> None:
    request = ChatRequest("question")
    sizes = {
        len(reasked(request, Fault("misfit", "wrong", "x" * size), {}).messages[-1].text) // 1_000
        for size in (20_000, 200_000, 2_000_000)
    }
    assert sizes == {12}


def test_what_was_asked_is_left_out_only_where_all_that_it_asks_for_is_quoted_in_full() -> None:
    request = ChatRequest("question")

    def asks(fault: Fault) -> bool:
        return "question" in [message.text for message in reasked(request, fault, {}).messages]

    assert not asks(Fault("damaged", "wrong", "x" * LONGEST_QUOTED, says_all=True))
    assert asks(Fault("damaged", "wrong", "x" * (LONGEST_QUOTED + 1), says_all=True))
    assert asks(Fault("damaged", "wrong", "x"))
