"""Values out of answers: built, checked, mended, asked for again, under one hold; and where they are none."""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal, TypedDict

import attrs
import msgspec
import pydantic
import pytest
import trio

import penstock
import penstock.abc
from penstock import ChatRequest, Message, Tool, ToolCall
from penstock.errors import (
    ContentFilteredError,
    InvalidRequestError,
    OutputInvalidError,
    RefusedError,
    ServerError,
    UnsendableRequestError,
)
from penstock.testing import AnsweredKernel
from penstock.types import Completion, Part, Usage
from penstock_plugins.validators.regex import Regex

TWO_TARGETS: dict[str, Any] = {
    "providers": {"openai": {}, "anthropic": {}},
    "routes": {"default": {"cascade": ["openai/gpt-4o", "anthropic/claude-3-haiku-20240307"]}},
}
ONE_OPENAI: dict[str, Any] = {"providers": {"openai": {}}, "routes": {"default": {"cascade": ["openai/gpt-4o"]}}}
ONE_OLD_CLAUDE: dict[str, Any] = {
    "providers": {"anthropic": {}},
    "routes": {"default": {"cascade": ["anthropic/claude-3-haiku-20240307"]}},
}


class Trip(msgspec.Struct):
    city: str
    days: int
    note: str | None = None


GOOD = '{"city": "Rome", "days": 3}'
WRONG = '{"city": "Rome", "days": "three"}'


@attrs.define
class AttrsTrip:
    city: str
    days: int


@dataclass
class DataTrip:
    city: str
    days: int


class DictTrip(TypedDict):
    city: str
    days: int


class ModelTrip(pydantic.BaseModel):
    city: str
    days: int


class Mood(enum.Enum):
    GOOD = "good"
    BAD = "bad"


SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city", "days"],
}


async def extract(kernel: penstock.Kernel, kind: Any, /, **words: Any) -> penstock.Extracted[Any]:
    return await kernel.extract(kind, "Plan a trip.", **words)


def ended(text: str, finish_reason: str) -> Completion:
    return Completion(
        message=Message.assistant(text), finish_reason=finish_reason, usage=Usage(input_tokens=10, output_tokens=100)
    )


@pytest.mark.parametrize(
    ("kind", "answer", "value"),
    [
        (Trip, GOOD, Trip("Rome", 3)),
        (AttrsTrip, GOOD, AttrsTrip("Rome", 3)),
        (DataTrip, GOOD, DataTrip("Rome", 3)),
        (DictTrip, GOOD, {"city": "Rome", "days": 3}),
        (ModelTrip, GOOD, ModelTrip(city="Rome", days=3)),
        (SCHEMA, GOOD, {"city": "Rome", "days": 3}),
        (list[Trip], f"[{GOOD}]", [Trip("Rome", 3)]),
        (list[ModelTrip], f"[{GOOD}]", [ModelTrip(city="Rome", days=3)]),
        (Trip | int, "5", 5),
        (Mood, '"good"', Mood.GOOD),
        (Mood, "good", Mood.GOOD),
        (Literal["yes", "no"], "yes", "yes"),
        (penstock.Output[Literal["yes", "no"]], '{"value": "no"}', "no"),
        (dict[str, int], '{"a": 1}', {"a": 1}),
        (bool, "true", True),
    ],
    ids=str,
)
def test_an_answer_becomes_a_value_of_the_type_without_a_second_call(kind: Any, answer: str, value: Any) -> None:
    kernel = AnsweredKernel([answer])
    extracted = kernel.run(extract, kind)
    assert extracted.value == value
    assert len(extracted.response.attempts) == 1
    assert extracted.response.value == value


class Level(enum.IntEnum):
    LOW = 1


class Strict(pydantic.BaseModel, strict=True):
    city: str
    days: int


@pytest.mark.parametrize(
    ("kind", "answer", "value"),
    [
        (int, "3.0", 3),
        (int, '{"value": 3.0}', 3),
        (Level, "1.0", Level.LOW),
        (Literal[1, 2], "2.0", 2),
        (int | str, "3.0", 3),
        (list[int], "[1.0, 2]", [1, 2]),
        (dict[str, int], '{"a": 1.0}', {"a": 1}),
        (Trip, '{"city": "Rome", "days": 3.0}', Trip("Rome", 3)),
        (list[Trip], '[{"city": "Rome", "days": 3.0}]', [Trip("Rome", 3)]),
        (AttrsTrip, '{"city": "Rome", "days": 3.0}', AttrsTrip("Rome", 3)),
        (DataTrip, '{"city": "Rome", "days": 3e0}', DataTrip("Rome", 3)),
        (DictTrip, '{"city": "Rome", "days": 3.0}', {"city": "Rome", "days": 3}),
        (ModelTrip, '{"city": "Rome", "days": 3.0}', ModelTrip(city="Rome", days=3)),
        (Strict, '{"city": "Rome", "days": 3.0}', Strict(city="Rome", days=3)),
        (SCHEMA, '{"city": "Rome", "days": 3.0}', {"city": "Rome", "days": 3}),
    ],
    ids=str,
)
def test_an_integer_written_as_a_number_of_no_fraction_is_one(kind: Any, answer: str, value: Any) -> None:
    extracted = AnsweredKernel([answer]).run(extract, kind)
    assert repr(extracted.value) == repr(value)
    assert len(extracted.response.attempts) == 1
    fraction = re.sub(r"(\d)[.e]0", r"\1.5", answer)
    with pytest.raises(OutputInvalidError):
        AnsweredKernel([fraction]).run(lambda kernel: extract(kernel, kind, max_repairs=0))


def test_what_surrounds_the_json_and_damages_it_costs_no_call() -> None:
    kernel = AnsweredKernel(["Sure!\n```json\n{'city': 'Rome', 'days': 3,}\n```\nAnything else?"])
    assert kernel.run(extract, Trip).value == Trip("Rome", 3)


def test_an_invalid_answer_is_asked_for_again_with_schema_output_and_paths() -> None:
    kernel = AnsweredKernel([WRONG, GOOD])
    extracted = kernel.run(extract, Trip)
    assert extracted.value == Trip("Rome", 3)
    assert [attempt.outcome for attempt in extracted.response.attempts] == ["output_invalid", "ok"]
    says = kernel.requests[1].messages[-1].text
    assert "$.days: must be integer, and is string" in says
    assert WRONG in says
    assert '"required":["city","days"]' in says


def test_the_usage_and_cost_of_all_attempts_are_told() -> None:
    usage = Usage(input_tokens=10, output_tokens=5)
    answers = [Completion(message=Message.assistant(text), finish_reason="stop", usage=usage) for text in (WRONG, GOOD)]
    config = ONE_OPENAI | {
        "targets": {"m": {"provider": "openai", "model": "gpt-4o", "price": {"input": 1, "output": 1}}}
    }
    config = config | {"routes": {"default": {"cascade": ["m"]}}}
    response = AnsweredKernel(answers, config=config).run(extract, Trip).response
    assert response.usage.total_tokens == 30
    assert response.cost == Decimal("0.00003")


def test_the_question_of_a_repair_does_not_grow() -> None:
    kernel = AnsweredKernel([WRONG] * 5 + [GOOD])
    kernel.run(lambda k: extract(k, Trip, max_repairs=5))
    sizes = {len(request.messages) for request in kernel.requests[1:]}
    assert sizes == {2}


def test_only_the_notation_is_sent_again_where_only_the_notation_is_wrong() -> None:
    kernel = AnsweredKernel([r'{"city": "Rome\Trastevere\nord", "days": 3}', GOOD])
    assert kernel.run(extract, Trip).value == Trip("Rome", 3)
    assert [message.text for message in kernel.requests[1].messages if "Plan a trip" in message.text] == []


def test_after_two_invalid_answers_the_next_target_is_asked_from_the_start() -> None:
    kernel = AnsweredKernel([WRONG, WRONG, GOOD], config=TWO_TARGETS)
    extracted = kernel.run(extract, Trip)
    assert [asked.target for asked in kernel.asked] == [
        "openai/gpt-4o",
        "openai/gpt-4o",
        "anthropic/claude-3-haiku-20240307",
    ]
    assert extracted.response.target == "anthropic/claude-3-haiku-20240307"
    assert kernel.requests[2].messages == (Message.user("Plan a trip."),)


def test_where_repairs_are_used_up_the_error_tells_paths_output_attempts_and_no_word_of_the_model() -> None:
    kernel = AnsweredKernel([WRONG, WRONG, WRONG])
    with pytest.raises(OutputInvalidError) as caught:
        kernel.run(extract, Trip)
    assert caught.value.paths == ("$.days",)
    assert caught.value.last_output == WRONG
    assert [attempt.outcome for attempt in caught.value.attempts] == ["output_invalid"] * 3
    assert caught.value.usage is not None
    assert "three" not in str(caught.value)


def test_without_repairs_there_is_no_second_call() -> None:
    kernel = AnsweredKernel([WRONG])
    with pytest.raises(OutputInvalidError):
        kernel.run(lambda k: extract(k, Trip, max_repairs=0))


@pytest.mark.parametrize(("reason", "error"), [("refusal", RefusedError), ("content_filter", ContentFilteredError)])
def test_refusals_and_filters_are_not_repaired(reason: str, error: type[Exception]) -> None:
    kernel = AnsweredKernel([ended("", reason)])
    with pytest.raises(error):
        kernel.run(extract, Trip)


def test_an_answer_cut_by_its_limit_gets_more_room_and_is_not_taken_for_whole() -> None:
    kernel = AnsweredKernel([ended('{"days": 3, "city": "Rome"', "length"), GOOD])
    extracted = kernel.run(lambda k: extract(k, Trip, max_tokens=100))
    assert extracted.value == Trip("Rome", 3)
    assert [request.max_tokens for request in kernel.requests] == [100, 200]
    assert kernel.requests[1].messages == kernel.requests[0].messages


def test_an_answer_whose_value_was_whole_before_its_limit_is_taken() -> None:
    kernel = AnsweredKernel([ended(f"{GOOD} And I hope th", "length")])
    assert kernel.run(extract, Trip).value == Trip("Rome", 3)


@pytest.mark.parametrize("config", [ONE_OLD_CLAUDE, ONE_OPENAI])
@pytest.mark.parametrize(
    ("kind", "cut", "whole", "value"),
    [
        (int, "12", "1250", 1250),
        (int, "-1\n", "-12", -12),
        (float, "1.5", "1.52", 1.52),
        (Decimal, "12.5", '"12.55"', Decimal("12.55")),
        (Decimal, "12.", '"12.55"', Decimal("12.55")),
        (Literal["warn", "warning"], "warn", "warning", "warning"),
        (Literal[1, 10], "1", "10", 10),
        (int | None, "12", "1250", 1250),
    ],
)
def test_a_number_or_a_word_alone_that_its_limit_may_have_cut_is_not_taken(
    config: dict[str, Any], kind: Any, cut: str, whole: str, value: Any
) -> None:
    kernel = AnsweredKernel([ended(cut, "length"), whole], config=config)
    extracted = kernel.run(lambda k: extract(k, kind, max_tokens=1))
    assert extracted.value == value
    assert [request.max_tokens for request in kernel.requests] == [1, 2]


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (Literal["warn", "error"], "warn", "warn"),
        (Literal["warn", "warning"], "warning", "warning"),
        (Literal["warn", "warning"], '"warn"', "warn"),
        (Literal[1, 2], "1", 1),
        (bool, "true", True),
        (int | None, "null", None),
        (int, '{"value": 12}', 12),
        (int, "**12**", 12),
    ],
)
def test_a_choice_that_its_limit_ended_is_taken_where_it_cannot_be_another(kind: Any, text: str, value: Any) -> None:
    kernel = AnsweredKernel([ended(text, "length")], config=ONE_OLD_CLAUDE)
    assert kernel.run(lambda k: extract(k, kind, max_tokens=1)).value == value


DRAFT = '{"city": "Rom", "days": 2}'


@pytest.mark.parametrize(
    "cut",
    [
        f"Draft: {DRAFT}\n\nFinal:",
        f"Draft: {DRAFT}\n\n**Final:**\n",
        f"Draft: {DRAFT}\nFinal\uff1a\n\n",
        f"Draft:\n```json\n{DRAFT}\n```\nFinal:\n```json",
        f"Draft:\n```json\n{DRAFT}\n```\nFinal:\n```\n",
        f"Draft:\n```json\n{DRAFT}\n```\nThis is final\n\n~~~json\n",
        f"Draft: {DRAFT}\nFinal: {{",
    ],
)
def test_a_draft_is_not_taken_where_its_limit_cut_the_announcement_of_another(cut: str) -> None:
    kernel = AnsweredKernel([ended(cut, "length"), GOOD])
    assert kernel.run(lambda k: extract(k, Trip, max_tokens=50)).value == Trip("Rome", 3)
    assert [request.max_tokens for request in kernel.requests] == [50, 100]


@pytest.mark.parametrize("around", ["%s\n```", "```json\n%s\n```\n", "%s\n\n*", "%s I think that", "%s\n\nNote: it"])
def test_a_whole_answer_is_taken_where_its_limit_cut_what_is_said_behind_it(around: str) -> None:
    kernel = AnsweredKernel([ended(around % GOOD, "length")])
    assert kernel.run(extract, Trip).value == Trip("Rome", 3)


def test_an_empty_answer_is_asked_for_again_as_it_was() -> None:
    kernel = AnsweredKernel([ended("  ", "stop"), GOOD])
    assert kernel.run(extract, Trip).value == Trip("Rome", 3)
    assert kernel.requests[0] == kernel.requests[1]


def test_failures_of_providers_are_met_as_in_any_call() -> None:
    kernel = AnsweredKernel([ServerError("down"), WRONG, GOOD])
    extracted = kernel.run(extract, Trip)
    outcomes = [attempt.outcome for attempt in extracted.response.attempts]
    assert outcomes == ["server_error", "output_invalid", "ok"]


def test_a_strict_mode_is_asked_with_all_properties_and_its_nulls_are_taken_back() -> None:
    class Short(msgspec.Struct):
        city: str
        days: int = 1

    kernel = AnsweredKernel(['{"city": "Rome", "days": null}'], config=ONE_OPENAI)
    assert kernel.run(extract, Short).value == Short("Rome", 1)
    output = kernel.requests[0].output
    assert output is not None
    sent = output.schema
    assert sent["required"] == ["city", "days"]
    assert sent["additionalProperties"] is False
    assert sent["properties"]["days"]["type"] == ["integer", "null"]


def test_a_model_without_a_schema_mode_is_asked_by_a_tool() -> None:
    kernel = AnsweredKernel([ToolCall("1", "Trip", {"city": "Rome", "days": 3})], config=ONE_OLD_CLAUDE)
    assert kernel.run(extract, Trip).value == Trip("Rome", 3)
    request = kernel.requests[0]
    assert request.output is None
    assert [tool.name for tool in request.tools] == ["Trip"]
    assert request.tool_choice == "Trip"


def test_beside_tools_of_the_caller_it_is_asked_in_words() -> None:
    kernel = AnsweredKernel([GOOD], config=ONE_OLD_CLAUDE)
    assert kernel.run(lambda k: extract(k, Trip, tools=[Tool("clock")])).value == Trip("Rome", 3)
    system = kernel.requests[0].system
    assert isinstance(system, str)
    assert '"title":"Trip"' in system


THINKER: dict[str, Any] = {
    "providers": {"deepseek": {}},
    "routes": {"default": {"cascade": [{"target": "deepseek/deepseek-chat", "attempts": 1}]}},
}
"""It has no schema mode but one for objects, and while it thinks no tool can be demanded of it."""


def test_words_go_with_the_wish_for_an_object_where_the_target_takes_it() -> None:
    kernel = AnsweredKernel([GOOD, f"[{GOOD}]", GOOD], config=THINKER)

    async def plan(kernel: penstock.Kernel) -> list[Any]:
        kinds: list[tuple[Any, list[Tool]]] = [(Trip, []), (list[Trip], []), (Trip, [Tool("clock")])]
        return [(await extract(kernel, kind, thinking="low", tools=tools)).value for kind, tools in kinds]

    assert kernel.run(plan) == [Trip("Rome", 3), [Trip("Rome", 3)], Trip("Rome", 3)]
    # A list is no object, and who may say nothing but an object calls no tools.
    assert [request.output and request.output.schema for request in kernel.requests] == [{}, None, None]
    assert all('"title":"Trip"' in str(request.system) for request in kernel.requests)


def test_a_wish_for_an_object_that_is_refused_is_left_out() -> None:
    kernel = AnsweredKernel([InvalidRequestError("no response_format here"), GOOD], config=THINKER)
    assert kernel.run(lambda k: extract(k, Trip, thinking="low")).value == Trip("Rome", 3)
    assert [request.output is None for request in kernel.requests] == [False, True]


def test_a_request_may_wish_for_some_object_where_its_target_has_a_mode_for_that() -> None:
    async def ask(kernel: penstock.Kernel) -> str:
        return (await kernel.complete(ChatRequest("Plan a trip.", output={}))).text

    assert AnsweredKernel([GOOD], config=THINKER).run(ask) == GOOD
    with pytest.raises(UnsendableRequestError, match="an output schema"):
        AnsweredKernel([], config=ONE_OLD_CLAUDE).run(ask)


def test_a_schema_that_the_target_refuses_is_asked_for_in_another_way() -> None:
    kernel = AnsweredKernel(
        [InvalidRequestError("Invalid schema for response_format"), ToolCall("1", "Trip", {"city": "Rome", "days": 3})],
        config=ONE_OPENAI,
    )
    assert kernel.run(extract, Trip).value == Trip("Rome", 3)


def test_a_schema_beyond_the_mode_is_asked_for_in_another_way() -> None:
    kernel = AnsweredKernel([ToolCall("1", "output", {"a": 1})], config=ONE_OPENAI)
    assert kernel.run(extract, dict[str, int]).value == {"a": 1}
    assert kernel.requests[0].output is None


def test_what_no_native_mode_checks_is_checked_here() -> None:
    kernel = AnsweredKernel(['{"city": "Rome", "days": 300}', GOOD])
    limited = {**SCHEMA, "properties": {"city": {"type": "string"}, "days": {"type": "integer", "maximum": 30}}}
    assert kernel.run(extract, limited).value == {"city": "Rome", "days": 3}


def test_validators_stand_behind_the_type_in_order() -> None:
    def in_italy(trip: Trip) -> None:
        if trip.city == "Paris":
            raise ValueError("only in Italy")

    def longer(trip: Trip) -> Trip:
        return Trip(trip.city, trip.days + 1)

    kernel = AnsweredKernel(['{"city": "Paris", "days": 3}', '{"city": "rome", "days": 3}', GOOD])
    extracted = kernel.run(
        lambda k: extract(k, Trip, validators=[in_italy, Regex("[A-Z][a-z]+", path="$.city"), longer])
    )
    assert extracted.value == Trip("Rome", 4)
    assert "only in Italy" in kernel.requests[1].messages[-1].text
    assert "$.city: must match" in kernel.requests[2].messages[-1].text


def is_short(trip: Trip) -> bool:
    return trip.days < 5


def turned(flag: bool) -> bool:  # noqa: FBT001 - as it is called
    return not flag


def same(value: object) -> object:
    return value


def is_small(number: int) -> bool:
    return number < 9


class Doubt(penstock.abc.Validator):
    def check(self, value: Any) -> Any:
        return value.days < 5


def test_a_function_that_answers_with_a_bool_has_checked_the_value() -> None:
    long = '{"city": "Rome", "days": 9}'
    extracted = AnsweredKernel([long, GOOD]).run(extract, Trip, validators=[is_short])
    assert extracted.value == Trip("Rome", 3)
    assert [attempt.outcome for attempt in extracted.response.attempts] == ["output_invalid", "ok"]
    with pytest.raises(OutputInvalidError) as caught:
        AnsweredKernel([long]).run(extract, Trip, validators=[is_short], max_repairs=0)
    assert caught.value.paths == ("$",)


@pytest.mark.parametrize(
    ("kind", "answer", "check", "value"),
    [
        (bool, "true", turned, False),
        (bool | int, "false", turned, True),
        (int, "0", same, 0),
        (int, "5", is_small, 5),
        (Trip, GOOD, Doubt(), True),
        (list[int], "[]", same, []),
    ],
)
def test_a_bool_is_a_value_where_one_is_given_and_of_a_validator(
    kind: Any, answer: str, check: Any, value: Any
) -> None:
    made = AnsweredKernel([answer]).run(extract, kind, validators=[check]).value
    assert (type(made), made) == (type(value), value)


def test_plugins_stand_in_a_chain_under_their_names() -> None:
    """They go by what is named with them, and see plain data; what only checks keeps what the type has built."""

    def as_pydantic_made_it(trip: object) -> None:
        assert isinstance(trip, ModelTrip)

    chain: list[Any] = [
        ("jsonschema", {"properties": {"days": {"maximum": 10}}}),
        ("pydantic", ModelTrip),
        as_pydantic_made_it,
        ("jsonschema", {"properties": {"city": {"pattern": "^R"}}}),
        ("cattrs", AttrsTrip),
    ]
    kernel = AnsweredKernel(['{"city": "Rome", "days": 30}', '{"city": "Paris", "days": 3}', GOOD])
    assert kernel.run(lambda k: extract(k, DataTrip, validators=chain)).value == AttrsTrip("Rome", 3)
    assert "$.days: must be at most 10" in kernel.requests[1].messages[-1].text
    assert "$.city: must match ^R" in kernel.requests[2].messages[-1].text


def test_a_chain_that_only_checks_keeps_the_value_of_the_type() -> None:
    chain = ["msgspec", ("jsonschema", SCHEMA), ("regex", re.compile("ignored where no text stands"))]
    assert AnsweredKernel([GOOD]).run(lambda k: extract(k, Trip, validators=chain)).value == Trip("Rome", 3)


def test_a_validator_of_the_programs_own_is_named_like_any_other() -> None:
    class NotTo(penstock.abc.Validator):
        def __init__(self, kind: Any) -> None:
            self._kind = kind

        def check(self, value: Any) -> Any:
            if value["city"] == "Paris":
                raise ValueError(f"{self._kind.__name__}: not to Paris")
            return value

    def make(kind: Any) -> penstock.abc.Validator | None:
        return NotTo(kind) if kind is Trip else None

    plugin = penstock.hookspecs.ValidatorSpec("travel", make)
    kernel = AnsweredKernel(['{"city": "Paris", "days": 3}', GOOD], config=ONE_OPENAI, plugins=[plugin])

    async def plan(kernel: penstock.Kernel) -> Any:
        output = penstock.OutputSchema(kind=DataTrip, validators=[("travel", Trip)])
        return (await kernel.complete(ChatRequest("Plan a trip.", output=output))).value

    assert kernel.run(plan) == DataTrip("Rome", 3)
    assert "Trip: not to Paris" in kernel.requests[1].messages[-1].text


def test_validators_behind_a_schema_alone_make_complete_check_it() -> None:
    output = penstock.OutputSchema(SCHEMA, validators=[("jsonschema", {"properties": {"days": {"maximum": 10}}})])
    kernel = AnsweredKernel(['{"city": "Rome", "days": 30}', GOOD])

    async def plan(kernel: penstock.Kernel) -> Any:
        return (await kernel.complete(ChatRequest("Plan a trip.", output=output))).value

    assert kernel.run(plan) == {"city": "Rome", "days": 3}


@pytest.mark.parametrize(
    ("validators", "says"),
    [
        (["regx"], "no validator plugin is named 'regx'; did you mean 'regex'?"),
        (["regex"], "regex can check nothing by Trip; name what it is to go by: ('regex', ...)"),
        ([("jsonschema", {"type": "strin"})], "'strin' is no type"),
        ([("msgspec", lambda: 1)], "cannot be asked for"),
        ([3], "int given; give a Validator, a function, the name of a plugin"),
        ("regex", "str given; give a list of them"),
        (3, "int given; give a list of them"),
    ],
    ids=str,
)
def test_a_chain_that_cannot_be_is_said_before_anything_is_sent(validators: Any, says: str) -> None:
    with pytest.raises(UnsendableRequestError, match=re.escape(says)):
        AnsweredKernel([]).run(lambda k: extract(k, Trip, validators=validators))


def test_a_validator_that_breaks_is_a_no(caplog: pytest.LogCaptureFixture) -> None:
    def broken(trip: Trip) -> None:
        raise KeyError(trip.city)

    kernel = AnsweredKernel([GOOD])
    with pytest.raises(OutputInvalidError):
        kernel.run(lambda k: extract(k, Trip, validators=[broken], max_repairs=0))
    assert "the validator broken broke" in caplog.text


def test_a_type_on_the_request_makes_complete_check_its_answer() -> None:
    async def ask(kernel: penstock.Kernel) -> penstock.ChatResponse:
        return await kernel.complete(ChatRequest("Plan a trip.", output=Trip))

    assert AnsweredKernel([WRONG, GOOD]).run(ask).value == Trip("Rome", 3)


def test_only_answers_that_were_valid_are_stored() -> None:
    async def twice(kernel: penstock.Kernel) -> list[str]:
        first = await kernel.extract(Trip, "Plan a trip.", temperature=0)
        second = await kernel.extract(Trip, "Plan a trip.", temperature=0)
        third = await kernel.extract(Trip, "Plan a trip.", temperature=0)
        assert first.value == second.value == third.value
        return [each.response.cache for each in (first, second, third)]

    config: dict[str, Any] = {
        "providers": {"test": {}},
        "routes": {"default": {"cascade": ["openai/gpt-4o"]}},
        "cache": {"store": "memory"},
    }
    config["providers"] = {"openai": {}}
    kernel = AnsweredKernel([WRONG, GOOD, GOOD], config=config)
    assert kernel.run(twice) == ["miss", "miss", "hit"]


def test_a_stored_answer_that_nobody_checked_is_no_value() -> None:
    strict = {**SCHEMA, "additionalProperties": False}

    async def twice(kernel: penstock.Kernel) -> penstock.Extracted[Any]:
        await kernel.complete(ChatRequest("Plan a trip.", output=strict, temperature=0))
        return await kernel.extract(strict, "Plan a trip.", temperature=0)

    config = ONE_OPENAI | {"cache": {"store": "memory"}}
    assert AnsweredKernel([WRONG, GOOD], config=config).run(twice).value == {"city": "Rome", "days": 3}


def test_what_cannot_be_asked_for_is_said_before_anything_is_sent() -> None:
    for kind, says in ((lambda: 1, "cannot be asked for"), ({"type": "strin"}, "'strin' is no type")):
        with pytest.raises(UnsendableRequestError, match=re.escape(says)):
            AnsweredKernel([]).run(extract, kind)


def test_a_value_grows_while_it_streams_and_is_checked_when_it_is_whole() -> None:
    async def grow(kernel: penstock.Kernel) -> tuple[list[Any], Trip, int]:
        seen: list[Any] = []
        async with kernel.stream_extract(Trip, "Plan a trip.") as stream:
            seen.extend([dict(part) async for part in stream])
        return seen, stream.value, len(stream.response.attempts)

    seen, value, attempts = AnsweredKernel([GOOD]).run(grow)
    assert value == Trip("Rome", 3)
    assert attempts == 1
    assert seen[-1] == {"city": "Rome", "days": 3}


def test_a_stream_that_was_not_valid_begins_anew() -> None:
    async def grow(kernel: penstock.Kernel) -> tuple[list[Any], Trip]:
        seen: list[Any] = []
        async with kernel.stream_extract(Trip, "Plan a trip.") as stream:
            seen.extend([part async for part in stream])
        return seen, stream.value

    seen, value = AnsweredKernel([WRONG, GOOD]).run(grow)
    assert value == Trip("Rome", 3)
    assert seen[0] == {"city": "Rome", "days": "three"}
    assert seen[-1] == {"city": "Rome", "days": 3}


def test_a_stream_whose_value_is_never_valid_ends_in_the_error() -> None:
    async def grow(kernel: penstock.Kernel) -> None:
        async with kernel.stream_extract(Trip, "Plan a trip.", max_repairs=1) as stream:
            async for _ in stream:
                await trio.lowlevel.checkpoint()

    with pytest.raises(OutputInvalidError):
        AnsweredKernel([WRONG, WRONG]).run(grow)


def test_what_grows_is_the_value_and_not_what_is_said_or_called_beside_it() -> None:
    async def grow(kernel: penstock.Kernel, tools: list[Tool]) -> list[Any]:
        seen: list[Any] = []
        async with kernel.stream_extract(Trip, "Plan a trip.", tools=tools) as stream:
            seen.extend([dict(part) async for part in stream])
        return seen

    beside: list[Part] = [penstock.Text('{"thought": 1}'), ToolCall("1", "Trip", {"city": "Rome", "days": 3})]
    assert AnsweredKernel([beside], config=ONE_OLD_CLAUDE).run(grow, [])[-1] == {"city": "Rome", "days": 3}
    callers: list[Part] = [ToolCall("1", "clock", {"zone": "CET"})]
    assert AnsweredKernel([callers], config=ONE_OLD_CLAUDE).run(grow, [Tool("clock")]) == []


@pytest.mark.parametrize(("reason", "error"), [("refusal", RefusedError), ("content_filter", ContentFilteredError)])
def test_a_stream_that_was_refused_in_the_middle_says_so_as_a_whole_answer_does(
    reason: str, error: type[Exception]
) -> None:
    async def grow(kernel: penstock.Kernel) -> None:
        async with kernel.stream_extract(Trip, "Plan a trip.") as stream:
            async for _ in stream:
                await trio.lowlevel.checkpoint()

    with pytest.raises(error) as caught:
        AnsweredKernel([ended('{"city": "Ro', reason)]).run(grow)
    assert isinstance(caught.value, penstock.CallError)
    assert len(caught.value.attempts) == 1
