"""Answers that are no values: what is asked next is of one size, and the error in which it ends says exactly why."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest
from trio.testing import wait_all_tasks_blocked

import penstock
from penstock import Message
from penstock._events import BudgetOverrun
from penstock.abc import InvalidValueError
from penstock.errors import BudgetExceededError, ModelNotFoundError, OutputInvalidError
from penstock.policy.json_values import Flaw
from penstock.testing import AnsweredKernel
from penstock.types import Completion, Usage

TARGET: dict[str, Any] = {
    "providers": {"openai": {}},
    "targets": {"m": {"provider": "openai", "model": "gpt-4o", "price": {"input": 1, "output": 1}}},
    "routes": {"default": {"cascade": [{"target": "m", "attempts": 1}]}},
}


class Trip(msgspec.Struct):
    city: str
    days: int = 1


class Closed(msgspec.Struct, forbid_unknown_fields=True):
    city: str


WRONG = '{"city": "Rome", "days": "three"}'
GOOD = '{"city": "Rome", "days": 3}'


def answered(text: str, *, finish: str = "stop", output_tokens: int = 1_000) -> Completion:
    usage = Usage(input_tokens=1_000, output_tokens=output_tokens)
    return Completion(message=Message.assistant(text), finish_reason=finish, usage=usage)


async def extract(kernel: penstock.Kernel, kind: Any, /, **words: Any) -> penstock.Extracted[Any]:
    return await kernel.extract(kind, "Plan a trip.", **words)


def invalid(kernel: AnsweredKernel, kind: Any, **words: Any) -> OutputInvalidError:
    with pytest.raises(OutputInvalidError) as caught:
        kernel.run(lambda each: extract(each, kind, **words))
    return caught.value


@pytest.mark.parametrize(
    "limit",
    [{"per": "day", "tokens": 4_500}, {"per": "day", "usd": 0.0045}, {"per": "request", "input_tokens": 200}],
    ids=["tokens", "money", "one request"],
)
def test_a_repair_that_does_not_fit_the_budget_ends_in_what_is_wrong_with_the_answer(limit: dict[str, Any]) -> None:
    long = WRONG[:-1] + f', "note": "{"x" * 3_000}"}}'
    kernel = AnsweredKernel([answered(long)], config=TARGET | {"budget": {"limits": [limit]}})
    error = invalid(kernel, Trip, max_tokens=1_000)
    assert [attempt.outcome for attempt in error.attempts] == ["output_invalid"]
    assert error.paths == ("$.days",)
    assert error.last_output == long
    assert error.cost == Decimal("0.002")
    assert "a repair did not fit the budget: the root account lacks " in str(error)
    assert "calls in flight" not in str(error)
    assert isinstance(error.__cause__, BudgetExceededError)


def test_what_a_call_holds_itself_is_not_told_as_held_by_others() -> None:
    config = TARGET | {"budget": {"limits": [{"per": "day", "tokens": 4_000}]}}
    error = invalid(AnsweredKernel([answered(WRONG)], config=config), Trip, max_tokens=200)
    assert "calls in flight" not in str(error)
    assert "is held by calls in flight, this one among them" in str(error.__cause__)


def test_a_streamed_repair_that_does_not_fit_the_budget_ends_in_the_same() -> None:
    async def grow(kernel: penstock.Kernel) -> None:
        async with kernel.stream_extract(Trip, "Plan a trip.", max_tokens=1_000) as stream:
            async for _ in stream:
                pass

    kernel = AnsweredKernel(
        [answered(WRONG)], config=TARGET | {"budget": {"limits": [{"per": "day", "tokens": 4_500}]}}
    )
    with pytest.raises(OutputInvalidError, match="did not fit the budget") as caught:
        kernel.run(grow)
    assert caught.value.last_output == WRONG


def test_what_the_next_target_would_cost_too_much_for_ends_in_what_is_wrong_with_the_answer() -> None:
    two = TARGET["targets"] | {"dear": {"provider": "openai", "model": "gpt-4o", "price": {"input": 1, "output": 1}}}
    cascade = {"cascade": [{"target": "m", "attempts": 1}, {"target": "dear", "attempts": 1}]}
    config = {**TARGET, "targets": two, "routes": {"default": cascade}}
    config |= {"budget": {"limits": [{"per": "day", "tokens": 7_500}]}}
    error = invalid(AnsweredKernel([answered(WRONG), answered(WRONG)], config=config), Trip, max_tokens=1_000)
    assert [attempt.target for attempt in error.attempts] == ["m", "m"]
    assert "did not fit the budget" in str(error)


CUT = '{"city": "Ro'
"""An answer that reached its `max_tokens`."""


def test_more_room_for_a_cut_answer_that_the_budget_has_no_room_for_is_not_given() -> None:
    config = TARGET | {"budget": {"limits": [{"per": "day", "tokens": 20_000}]}}
    cut = answered(CUT, finish="length", output_tokens=8_000)
    kernel = AnsweredKernel([cut, answered(GOOD, output_tokens=16_000)], config=config)
    error = invalid(kernel, Trip, max_tokens=8_000)
    assert [request.max_tokens for request in kernel.requests] == [8_000]
    assert "a repair did not fit the budget: the root account lacks " in str(error)


@pytest.mark.parametrize(("streamed", "room"), [(False, 2_000), (True, 20)], ids=["whole", "streamed"])
def test_more_room_for_a_cut_answer_is_held_before_it_is_given(streamed: bool, room: int) -> None:  # noqa: FBT001 - a parameter of the test
    long = GOOD[:-1] + f', "note": "{"x" * 500}"}}'
    kernel = AnsweredKernel(
        [answered(CUT, finish="length", output_tokens=room), answered(long, output_tokens=2 * room)],
        config=TARGET | {"budget": {"limits": [{"per": "day", "tokens": 20_000}]}},
    )

    async def asked(each: penstock.Kernel) -> tuple[Any, list[penstock.Event]]:
        with each.events() as events:
            if streamed:
                async with each.stream_extract(Trip, "Plan a trip.", max_tokens=room) as stream:
                    async for _ in stream:
                        pass
                value = stream.value
            else:
                value = (await extract(each, Trip, max_tokens=room)).value
            await wait_all_tasks_blocked()  # until what the call owed is booked
            return value, events.take()

    value, events = kernel.run(asked)
    assert value == Trip("Rome", 3)
    assert [request.max_tokens for request in kernel.requests] == [room, 2 * room]
    assert not [event for event in events if isinstance(event, BudgetOverrun)]


def with_targets(
    limit: dict[str, Any], degrade: dict[str, Any] | None = None, **targets: dict[str, Any]
) -> dict[str, Any]:
    """A cascade of these, each tried once, under one limit."""
    budget: dict[str, Any] = {"limits": [limit]} | ({"degrade": degrade} if degrade else {})
    return {
        "providers": {"openai": {}},
        "targets": {name: {"provider": "openai", "model": "gpt-4o", **more} for name, more in targets.items()},
        "routes": {
            "default": {"cascade": [{"target": name, "attempts": 1} for name in targets]},
            "cheap": {"cascade": ["cheap"]},
        },
        "budget": budget,
    }


def test_targets_that_were_left_out_as_too_dear_stay_out_whatever_the_request_becomes() -> None:
    dear = {"price": {"input": 100, "output": 100}}
    degrade = {"route": "cheap", "at": 1.0}
    config = with_targets(
        {"per": "day", "usd": 0.05}, degrade, dear=dear, dear2=dear, cheap={"price": {"input": 0.1, "output": 0.1}}
    )
    kernel = AnsweredKernel([answered(GOOD)], config=config)
    found = kernel.run(lambda each: extract(each, Trip, max_tokens=2_000))
    assert found.value == Trip("Rome", 3)
    assert [attempt.target for attempt in found.response.attempts] == ["cheap"]


def test_a_value_falls_back_where_an_answer_does_with_all_the_room_that_a_limit_leaves() -> None:
    config = with_targets(
        {"per": "day", "usd": 0.08},
        cheap={"price": {"input": 0.1, "output": 0.1}, "default_max_tokens": 1_000},
        big={"price": {"input": 10, "output": 10}},
    )
    gone = ModelNotFoundError("no such model", status=404)
    kernel = AnsweredKernel([gone, answered(GOOD, output_tokens=10)], config=config)
    found = kernel.run(lambda each: extract(each, Trip))
    assert [attempt.target for attempt in found.response.attempts] == ["cheap", "big"]


def sizes(kernel: AnsweredKernel) -> list[int]:
    return [len(msgspec.json.encode(request)) for request in kernel.requests]


TABLE: dict[str, Any] = {
    "type": "array",
    "items": {
        "type": "object",
        "properties": {"team": {"type": "string"}, "points": {"type": "integer"}},
        "required": ["team", "points"],
    },
}
ROW = '{"team": "A", "points": 3}'


@pytest.mark.parametrize(
    "answer",
    [
        f"[{ROW}, ...]",
        f"[{ROW}, /* 17 more teams omitted */]",
        f"[{ROW} (and 3 more)]",
        f"[{ROW}, etc.]",
        '[{"team": "A", "points": TBD}]',
        '[{"team": "A", "points": ?}]',
        '[{"team": "A", "points": }]',
        '[{"team": "A" "points"}]',
        r'[{"team": "C:\dir\new"}]',
        rf'[{ROW}, {{"team": "C:\dir\new", "points": TBD}}]',
        r'I will not list them all: [{"team": "C:\dir\new", "points": 3}]',
        r'[{"team": "C:\dir\new, and 17 more", "points": 3}]',
        "Sure! Please send me the document { or link [here].",
        "[" + ", ".join([ROW] * 900) + r', {"team": "C:\dir\new", "points": 3}]',
    ],
    ids=lambda answer: answer[:60],
)
def test_what_was_asked_is_asked_again_where_the_answer_does_not_hold_all_of_it(answer: str) -> None:
    kernel = AnsweredKernel([answer] * 3 + [f"[{ROW}]"])
    kernel.run(lambda each: extract(each, TABLE, max_repairs=3))
    assert all(request.messages[0].text == "Plan a trip." for request in kernel.requests)
    assert len(set(sizes(kernel)[1:])) == 1


def test_what_a_validator_says_does_not_make_repairs_longer() -> None:
    def wordy(value: Trip) -> None:
        raise ValueError(f"{value.city} is wrong: " + "z" * 300_000)

    kernel = AnsweredKernel([GOOD] * 3)
    error = invalid(kernel, Trip, validators=[wordy])
    assert max(sizes(kernel)) < 4_000
    assert "Rome is wrong" in kernel.requests[1].messages[-1].text
    assert len(str(error)) < 500


def test_names_that_the_model_makes_up_do_not_make_repairs_or_errors_longer() -> None:
    made_up = ", ".join(f'"{chr(97 + at) * 20_000}": 1' for at in range(15))
    kernel = AnsweredKernel([f'{{"city": "Rome", {made_up}}}'] * 3)
    error = invalid(kernel, Closed)
    assert max(sizes(kernel)) < 25_000
    assert len(str(error)) < 500


def test_a_validator_that_finds_fault_with_everything_does_not_make_repairs_longer() -> None:
    def many(_: Trip) -> None:
        raise InvalidValueError(flaws=[Flaw(f"$.x[{at}]", "no") for at in range(5_000)])

    kernel = AnsweredKernel([GOOD] * 2)
    error = invalid(kernel, Trip, validators=[many], max_repairs=1)
    assert max(sizes(kernel)) < 4_000
    assert len(error.paths) == 20


@pytest.mark.parametrize(
    ("kind", "answer"),
    [
        (dict[str, int], '{"john@example.com": "x"}'),
        (Closed, '{"city": "Rome", "john@example.com": 1}'),
        ({"type": "object", "properties": {"a": {"type": "object"}}, "additionalProperties": False}, '{"john": 1}'),
        ({"additionalProperties": {"type": "integer"}, "type": "object"}, '{"it is \\"john\\"": "x"}'),
    ],
    ids=str,
)
def test_names_of_properties_that_are_the_models_own_stand_in_the_errors_data_and_not_in_its_words(
    kind: Any, answer: str
) -> None:
    error = invalid(AnsweredKernel([answer]), kind, max_repairs=0)
    assert "john" not in str(error)
    assert "(at $[...])" in str(error)
    assert any("john" in path for path in error.paths) or kind == dict[str, int]


@pytest.mark.parametrize("told", [7, 0, 400])
def test_a_cut_answer_gets_more_room_than_it_took_however_little_usage_says_it_took(told: int) -> None:
    cut = '{"city": "' + "Roma " * 200
    kernel = AnsweredKernel([answered(cut, finish="length", output_tokens=told), GOOD])
    kernel.run(lambda each: extract(each, Trip))
    assert kernel.requests[0].max_tokens is None
    assert kernel.requests[1].max_tokens is not None
    assert kernel.requests[1].max_tokens >= max(len(cut), 2 * told)


@pytest.mark.parametrize("wrong", [WRONG, r'{"city": "C:\dir\new", "days": 3}', "", '{"city": "Rome", "days": TBD}'])
def test_what_was_given_more_room_is_not_asked_again_in_less(wrong: str) -> None:
    cut = answered('{"city": "Ro', finish="length")
    kernel = AnsweredKernel([cut, answered(wrong), cut, GOOD])
    kernel.run(lambda each: extract(each, Trip, max_tokens=80, max_repairs=3))
    assert [request.max_tokens for request in kernel.requests] == [80, 160, 160, 320]


def test_another_target_is_asked_in_the_room_that_was_asked_for() -> None:
    two = TARGET["targets"] | {"other": {"provider": "openai", "model": "gpt-4o-mini"}}
    cascade = {"cascade": [{"target": "m", "attempts": 1}, {"target": "other", "attempts": 1}]}
    config = {**TARGET, "targets": two, "routes": {"default": cascade}}
    kernel = AnsweredKernel([answered('{"city": "Ro', finish="length"), answered(WRONG), GOOD], config=config)
    kernel.run(lambda each: extract(each, Trip, max_tokens=80))
    assert [(asked.target, asked.request.max_tokens) for asked in kernel.asked] == [
        ("m", 80),
        ("m", 160),
        ("other", 80),
    ]


def test_an_answer_of_any_digits_is_judged_and_ends_in_no_foreign_error() -> None:
    money = {"type": "object", "properties": {"e": {"type": "number", "multipleOf": 0.01}}, "required": ["e"]}
    found = AnsweredKernel([f'{{"e": {"9" * 400}}}']).run(lambda each: extract(each, money))
    assert found.value == {"e": int("9" * 400)}
