"""Every type that a validator knows is built by all of its own rules, from plain JSON, or is refused before a call."""

from __future__ import annotations

import enum
import json
import logging
import re
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Annotated, Any, Literal, NamedTuple, NotRequired, TypedDict, TypeVar
from uuid import UUID

import attrs
import msgspec
import pydantic
import pydantic.dataclasses
import pytest

import penstock
from penstock.abc import Validator
from penstock.errors import OutputInvalidError, UnsendableRequestError
from penstock.testing import AnsweredKernel
from penstock_plugins.validators.jsonschema import SchemaValidator
from penstock_plugins.validators.msgspec import MsgspecValidator
from penstock_plugins.validators.regex import Regex


async def extract(kernel: penstock.Kernel, kind: Any, /, **words: Any) -> penstock.Extracted[Any]:
    return await kernel.extract(kind, "q", max_repairs=0, **words)


def made(kind: Any, answer: str, /, **words: Any) -> Any:
    return AnsweredKernel([answer]).run(lambda kernel: extract(kernel, kind, **words)).value


def refused(kind: Any, answer: str, /, **words: Any) -> OutputInvalidError:
    with pytest.raises(OutputInvalidError) as caught:
        made(kind, answer, **words)
    return caught.value


class Color(enum.Enum):
    RED = "red"


class Size(enum.IntEnum):
    SMALL = 1


@attrs.define
class Inner:
    at: datetime


@attrs.define
class Everything:
    when: datetime
    day: date
    id: UUID
    price: Decimal
    either: int | str
    perhaps: Decimal | None
    raw: bytes
    color: Color
    names: dict[int, str]
    pair: tuple[int, Color]
    inner: Inner | None
    inners: list[Inner]
    by_size: dict[Size, Inner]
    inner_or_text: Inner | str
    inner_or_many: Inner | list[Inner] | None = None


def test_an_attrs_class_may_hold_whatever_a_struct_may() -> None:
    then, inner = datetime(2020, 1, 1, tzinfo=UTC), '{"at": "2020-01-01T00:00:00Z"}'
    answer = (
        '{"when": "2020-01-01T00:00:00Z", "day": "2020-01-02", "id": "00000000-0000-0000-0000-000000000001",'
        ' "price": "1.10", "either": "x", "perhaps": "2.5", "raw": "aGk=", "color": "red", "names": {"1": "a"},'
        f' "pair": [1, "red"], "inner": {inner}, "inners": [{inner}], "by_size": {{"1": {inner}}},'
        f' "inner_or_text": {inner}, "inner_or_many": [{inner}]}}'
    )
    assert made(Everything, answer) == Everything(
        when=then,
        day=date(2020, 1, 2),
        id=UUID(int=1),
        price=Decimal("1.10"),
        either="x",
        perhaps=Decimal("2.5"),
        raw=b"hi",
        color=Color.RED,
        names={1: "a"},
        pair=(1, Color.RED),
        inner=Inner(then),
        inners=[Inner(then)],
        by_size={Size.SMALL: Inner(then)},
        inner_or_text=Inner(then),
        inner_or_many=[Inner(then)],
    )


def test_an_attrs_class_tells_where_a_date_is_none() -> None:
    assert refused(list[Inner], '[{"at": "2020-01-01T00:00:00Z"}, {"at": "soon"}]').paths == ("$[1].at",)


@attrs.define
class Many:
    listed: tuple[Inner, ...]
    named: dict[str, Inner]
    held: list[list[Inner]]


def test_behind_the_first_flaws_no_more_items_are_built() -> None:
    @attrs.define
    class Broken:
        name: str

        def __attrs_post_init__(self) -> None:
            built.append(self)
            raise ValueError("is broken")

    built: list[Broken] = []
    many = json.dumps([{"name": "x"}] * 5_000)
    for kind, answer, path in (
        (list[Broken], many, "$[0]"),
        (dict[str, list[Broken]], f'{{"a": {many}, "b": {many}}}', "$['a'][0]"),
    ):
        built.clear()
        error = refused(kind, answer)
        assert len(built) == len(error.paths) == 20
        assert error.paths[0] == path


def test_items_that_are_no_list_in_python_keep_their_places() -> None:
    good, bad = '{"at": "2020-01-01T00:00:00Z"}', '{"at": "soon"}'
    then = Inner(datetime(2020, 1, 1, tzinfo=UTC))
    value = made(Many, f'{{"listed": [{good}], "named": {{"x": {good}}}, "held": [[], [{good}]]}}')
    assert value == Many((then,), {"x": then}, [[], [then]])
    error = refused(Many, f'{{"listed": [{good}, {bad}], "named": {{"x": {bad}}}, "held": [[{good}, {bad}]]}}')
    assert error.paths == ("$.listed[1].at", "$.named['x'].at", "$.held[0][1].at")


@attrs.define
class City:
    name: str


def test_properties_that_an_attrs_class_does_not_name_are_left_out_as_for_other_classes() -> None:
    assert made(City, '{"name": "Rome", "days": 3}') == City("Rome")


class Strict(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(strict=True)
    at: datetime
    color: Color
    many: tuple[int, ...]


class Plain(pydantic.BaseModel):
    a: int


@pydantic.dataclasses.dataclass
class Ruled:
    a: Annotated[int, pydantic.Field(gt=0)]
    b: str = "x"

    @pydantic.field_validator("b")
    @classmethod
    def is_good(cls, value: str) -> str:
        if value == "bad":
            raise ValueError("is bad")
        return value


@pydantic.dataclasses.dataclass
class Judged:
    b: str = "x"

    @pydantic.field_validator("b")
    @classmethod
    def is_good(cls, value: str) -> str:
        return Ruled.is_good(value)


@dataclass
class HoldsRuled:
    ruled: Ruled


@dataclass
class HoldsPlain:
    plain: Plain


class DictOfPlain(TypedDict):
    plain: Plain
    more: NotRequired[int]


def test_a_strict_model_takes_from_json_what_json_has_no_types_for() -> None:
    value = made(Strict, '{"at": "2020-01-01T00:00:00", "color": "red", "many": [1, 2]}')
    assert value == Strict(at=datetime(2020, 1, 1), color=Color.RED, many=(1, 2))  # noqa: DTZ001 - as it was written
    assert refused(Strict, '{"at": "2020-01-01T00:00:00", "color": "red", "many": ["1"]}').paths == ("$.many[0]",)


@pytest.mark.parametrize(
    ("kind", "answer", "paths"),
    [
        (Ruled, '{"a": -5}', ("$.a",)),
        (Ruled, '{"a": 5, "b": "bad"}', ("$.b",)),
        (Judged, '{"b": "bad"}', ("$.b",)),
        (list[Ruled], '[{"a": 5, "b": "bad"}]', ("$[0].b",)),
        (HoldsRuled, '{"ruled": {"a": 5, "b": "bad"}}', ("$.ruled.b",)),
        (Ruled | None, '{"a": -5}', ("$.a",)),
    ],
)
def test_a_dataclass_of_pydantics_is_built_by_its_rules_wherever_it_stands(
    kind: Any, answer: str, paths: tuple[str, ...]
) -> None:
    error = refused(kind, answer)
    assert error.paths[0].endswith(paths[0][-2:])


def test_dataclasses_and_typed_dicts_may_hold_models() -> None:
    assert made(HoldsPlain, '{"plain": {"a": 1}}') == HoldsPlain(Plain(a=1))
    assert made(DictOfPlain, '{"plain": {"a": 1}}') == {"plain": Plain(a=1)}
    assert refused(DictOfPlain, '{"more": 1}').paths == ("$.plain",)


class StructOfRuled(msgspec.Struct):
    ruled: Ruled


@attrs.define
class AttrsOfRuled:
    ruled: Ruled


@pytest.mark.parametrize("kind", [StructOfRuled, list[StructOfRuled], AttrsOfRuled, StructOfRuled | Plain])
def test_a_mixture_that_no_library_builds_whole_is_refused_before_the_call(kind: Any) -> None:
    kernel = AnsweredKernel(['{"ruled": {"a": -5}}'])
    with pytest.raises(UnsendableRequestError, match="pydantic's"):
        kernel.run(lambda each: extract(each, kind))
    assert not kernel.requests


class Empty(enum.Enum):
    pass


class Point(NamedTuple):
    x: int


Some = TypeVar("Some")


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        (dict[tuple[int, int], str], "no name of a property"),
        (list[dict[Point, int]], "no name of a property"),
        (enum.Enum, "lists no values"),
        (Empty, "lists no values"),
        (list[Empty], "lists no values"),
        (Some, "stands for another type"),
    ],
    ids=str,
)
def test_a_type_that_no_answer_can_have_a_value_of_is_refused_before_the_call(kind: Any, says: str) -> None:
    kernel = AnsweredKernel(["{}"])
    with pytest.raises(UnsendableRequestError, match=says):
        kernel.run(lambda each: extract(each, kind))
    assert not kernel.requests


def test_the_validator_of_structs_does_not_build_what_has_rules_of_pydantics() -> None:
    with pytest.raises(TypeError, match="pydantic's"):
        MsgspecValidator(Ruled)


@pytest.mark.parametrize(
    ("kind", "answer", "value"),
    [
        (dict[int, Plain], '{"1": {"a": 1}}', {1: Plain(a=1)}),
        (dict[int, int], '{"1": 2}', {1: 2}),
        (dict[Size, int], '{"1": 2}', {Size.SMALL: 2}),
        (dict[date, float], '{"2020-01-01": 1.5}', {date(2020, 1, 1): 1.5}),
        (dict[int, City], '{"1": {"name": "Rome"}}', {1: City("Rome")}),
    ],
    ids=str,
)
def test_keys_may_be_what_json_writes_as_strings(kind: Any, answer: str, value: Any) -> None:
    assert made(kind, answer) == value


class Money(msgspec.Struct):
    currency: str


class ModelMoney(pydantic.BaseModel):
    currency: str


@attrs.define
class AttrsMoney:
    currency: str


class DictMoney(TypedDict):
    currency: str


EUROS = '{"currency": "EUR"}'
LONG_ENOUGH = {"type": "object", "properties": {"currency": {"minLength": 3}}}


@pytest.mark.parametrize("kind", [Money, ModelMoney, AttrsMoney, DictMoney, {"type": "object"}], ids=str)
@pytest.mark.parametrize(
    "behind",
    [Regex("[A-Z]{3}", path="$.currency"), SchemaValidator(LONG_ENOUGH), MsgspecValidator(dict[str, str])],
    ids=lambda each: type(each).__name__,
)
def test_validators_of_json_stand_behind_every_type(kind: Any, behind: Validator) -> None:
    made(kind, EUROS, validators=[behind])
    if not isinstance(behind, MsgspecValidator):
        assert made(kind, EUROS, validators=[behind]) == made(kind, EUROS)
        refused(kind, '{"currency": "e"}', validators=[behind])


def test_what_a_function_has_changed_is_checked_as_json_by_those_behind_it() -> None:
    def lower(value: ModelMoney) -> ModelMoney:
        return ModelMoney(currency=value.currency.lower())

    refused(ModelMoney, EUROS, validators=[lower, Regex("[A-Z]{3}", path="$.currency")])
    made(ModelMoney, EUROS, validators=[Regex("[A-Z]{3}", path="$.currency"), lower, Regex("eur", path="$.currency")])


async def asynchronous(value: object) -> None:
    del value


class Asynchronous:
    async def __call__(self, value: object) -> None:
        del value


class AsynchronousValidator(Validator):
    async def check(self, value: Any) -> Any:
        return value


@pytest.mark.parametrize(
    "check", [asynchronous, Asynchronous(), AsynchronousValidator()], ids=["function", "object", "validator"]
)
def test_a_check_that_has_to_be_awaited_is_refused_before_the_call(check: Any) -> None:
    kernel = AnsweredKernel([EUROS])
    with pytest.raises(UnsendableRequestError, match="is async"):
        kernel.run(lambda each: extract(each, Money, validators=[check]))
    assert not kernel.requests


def test_a_check_that_turns_out_to_be_asynchronous_gives_no_value() -> None:
    def hidden(value: Money) -> object:
        return asynchronous(value)

    refused(Money, EUROS, validators=[hidden])


def test_what_a_broken_check_says_is_not_logged_for_it_may_quote_the_answer(caplog: pytest.LogCaptureFixture) -> None:
    def converts(value: Money) -> None:
        int(value.currency)

    def looks_up(value: Money) -> None:
        {"EUR": 1}[value.currency]

    def broken(value: Money) -> None:
        raise RuntimeError(f"cannot make head or tail of {value.currency}")

    with caplog.at_level(logging.DEBUG):
        for each in (converts, looks_up, broken):
            error = refused(Money, '{"currency": "SECRET"}', validators=[each])
            assert "SECRET" not in str(error)
    assert "the validator broken broke: RuntimeError in " in caplog.text
    assert "SECRET" not in caplog.text


def test_a_check_whose_error_cannot_say_what_it_is_says_no() -> None:
    class SpeechlessError(ValueError):
        def __str__(self) -> str:
            raise RuntimeError("nor this")

    def check(_: Money) -> None:
        raise SpeechlessError

    assert refused(Money, EUROS, validators=[check]).paths == ("$",)


@pytest.mark.parametrize(
    ("pattern", "answer"),
    [
        (re.compile("yes|no", re.IGNORECASE), '"YES"'),
        (re.compile("a.b", re.DOTALL), '"a\\nb"'),
        (re.compile("yes | no", re.VERBOSE), '"yes"'),
    ],
    ids=str,
)
def test_a_pattern_as_a_type_keeps_its_flags(pattern: re.Pattern[str], answer: str) -> None:
    assert made(pattern, answer) == msgspec.json.decode(answer)
    refused(pattern, '"maybe"')


def test_a_pattern_as_a_type_is_told_to_the_model() -> None:
    kernel = AnsweredKernel(['"EUR"'])
    kernel.run(lambda each: extract(each, re.compile("[A-Z]{3}", re.IGNORECASE)))
    (request,) = kernel.requests
    assert request.output is not None
    assert "[A-Z]{3}" in str(request.output.schema)
    assert "ignoring case" in str(request.output.schema)


def test_a_pattern_of_bytes_is_no_type() -> None:
    with pytest.raises(UnsendableRequestError, match="matches bytes"):
        made(re.compile(b"a"), '"a"')


def test_validators_are_given_in_a_list() -> None:
    checks: Any = asynchronous
    with pytest.raises(UnsendableRequestError, match="give a list of them"):
        made(Money, EUROS, validators=checks)


Digit: Any = Literal[1, 2]


class BrokenValidatorModel(pydantic.BaseModel):
    currency: str

    @pydantic.field_validator("currency")
    @classmethod
    def broken(cls, value: str) -> str:
        raise KeyError(value)


def test_a_model_whose_own_check_breaks_gives_no_value() -> None:
    refused(BrokenValidatorModel, EUROS)


def test_the_parts_of_a_type_are_found_through_aliases_and_to_any_depth() -> None:
    refused(dict[str, list[HoldsRuled | None]], '{"k": [null, {"ruled": {"a": -1}}]}')
    assert made(Digit, "1") == 1
