"""Why a call makes the attempt that it makes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from penstock.telemetry._names import DENIED, FALLBACK, REPAIR, RETRY
from penstock.telemetry._story import ATTEMPT_FAILED, Story


def nothing(_: str) -> None:
    """Nobody knows of anything."""


def test_the_first_attempt_at_the_first_target_needs_no_reason() -> None:
    step = Story("a").begins("a", 1, hedge=False, known=nothing)
    assert (step.reason, step.event) == ("first", None)


def test_a_first_attempt_elsewhere_is_a_fallback_for_what_is_known_of_the_first_target() -> None:
    step = Story("a").begins("b", 1, hedge=False, known=lambda target: f"{target} is open")
    assert (step.reason, step.event) == ("fallback", FALLBACK)
    assert step.attributes == {"from": "a", "to": "b", "reason": "a is open", "attempt": 1}


def test_what_happened_in_the_call_goes_before_what_is_known() -> None:
    story = Story("a")
    story.heard(DENIED, {"target": "a", "reason": "probing"})
    assert story.begins("b", 1, hedge=False, known=lambda _: "stale news").attributes["reason"] == "probing"


def test_another_attempt_at_the_same_target_is_a_retry_for_the_last_failure() -> None:
    story = Story("a")
    story.begins("a", 1, hedge=False, known=nothing)
    story.heard(ATTEMPT_FAILED, {"target": "a", "kind": "overloaded"})
    story.heard("commit", {"kind": "nothing that stands in the way"})
    step = story.begins("a", 2, hedge=False, known=nothing)
    assert (step.reason, step.event, step.attributes["reason"]) == ("retry", RETRY, "overloaded")


def test_the_attempt_that_mends_an_answer_is_a_repair_and_the_next_one_is_not() -> None:
    story = Story("a")
    story.begins("a", 1, hedge=False, known=nothing)
    story.heard(REPAIR, {"target": "a", "reason": "misfit", "step": "reask"})
    step = story.begins("a", 2, hedge=False, known=nothing)
    assert (step.reason, step.event) == ("repair", None)
    story.heard(ATTEMPT_FAILED, {"target": "a", "kind": "overloaded"})
    assert story.begins("a", 3, hedge=False, known=nothing).reason == "retry"


def test_an_answer_that_is_mended_elsewhere_is_a_fallback_for_being_invalid() -> None:
    story = Story("a")
    story.begins("a", 1, hedge=False, known=nothing)
    story.heard(REPAIR, {"target": "a", "reason": "misfit", "step": "next"})
    step = story.begins("b", 2, hedge=False, known=nothing)
    assert (step.reason, step.event, step.attributes["reason"]) == ("fallback", FALLBACK, "output_invalid")
    assert story.begins("b", 3, hedge=False, known=nothing).reason == "retry"


def test_a_hedge_is_neither_and_changes_nothing() -> None:
    story = Story("a")
    story.begins("a", 1, hedge=False, known=nothing)
    assert story.begins("b", 2, hedge=True, known=nothing).event is None
    assert story.begins("a", 3, hedge=False, known=nothing).reason == "retry"


@given(st.lists(st.sampled_from("abc"), min_size=1))
def test_every_attempt_is_the_first_a_retry_or_a_fallback_by_where_the_one_before_it_went(targets: list[str]) -> None:
    story = Story("a")
    for number, (before, target) in enumerate(zip(["a", *targets], targets, strict=False), 1):
        step = story.begins(target, number, hedge=False, known=nothing)
        expected = "fallback" if target != before else "first" if number == 1 else "retry"
        assert step.reason == expected
        assert story.fell_back == (target != "a")
