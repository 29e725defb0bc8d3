"""Pydantic's rules and those of annotated_types are asked wherever they stand, and sent, or refused before the call."""

from __future__ import annotations

import dataclasses
from datetime import datetime
from typing import Annotated, Any, Generic, NamedTuple, TypedDict, TypeVar

import annotated_types
import attrs
import msgspec
import pydantic
import pydantic.dataclasses
import pytest

import penstock
from penstock.errors import OutputInvalidError, UnsendableRequestError
from penstock.testing import AnsweredKernel
from penstock_plugins.validators.msgspec import MsgspecValidator

ABOVE_0 = Annotated[int, pydantic.Field(gt=0)]
T = TypeVar("T")


@dataclasses.dataclass
class DataRule:
    a: ABOVE_0


@dataclasses.dataclass
class DataDefault:
    a: int = pydantic.Field(gt=0)


@dataclasses.dataclass
class DataOfOthers(Generic[T]):
    a: list[T]


@dataclasses.dataclass
class DataPlain:
    a: Annotated[int, annotated_types.Gt(0)]


class DictRule(TypedDict):
    a: ABOVE_0


class TupleRule(NamedTuple):
    a: ABOVE_0


@attrs.define
class AttrsRule:
    a: ABOVE_0


@attrs.define
class AttrsDefault:
    a: int = pydantic.Field(gt=0)


class StructRule(msgspec.Struct):
    a: Annotated[int, annotated_types.Gt(0)]


class StructDefault(msgspec.Struct):
    a: int = pydantic.Field(gt=0)


class MetaInModel(pydantic.BaseModel):
    a: Annotated[int, msgspec.Meta(gt=0)]


async def extract(kernel: penstock.Kernel, kind: Any) -> Any:
    return (await kernel.extract(kind, "q", max_repairs=0)).value


def sent_in(request: penstock.ChatRequest) -> str:
    return str(msgspec.to_builtins((request.output, request.tools)))


def upper(text: str) -> str:
    return text.upper()


def no_x(text: str) -> str:
    if "x" in text:
        raise ValueError("no x")
    return text


@pytest.mark.parametrize(
    ("kind", "good", "bad", "sent"),
    [
        (ABOVE_0, "5", "-5", "'exclusiveMinimum': 0"),
        (pydantic.PositiveInt, "5", "-5", "'exclusiveMinimum': 0"),
        (pydantic.conint(gt=0), "5", "-5", "'exclusiveMinimum': 0"),
        (pydantic.constr(pattern="^a$"), '"a"', '"b"', "'pattern': '^a$'"),
        (Annotated[int, annotated_types.Interval(ge=1, le=9)], "5", "10", "'maximum': 9"),
        (list[pydantic.PositiveInt], "[5]", "[-5]", "'exclusiveMinimum': 0"),
        (pydantic.conlist(int, min_length=2), "[5, 5]", "[5]", "'minItems': 2"),
        (Annotated[list[int], annotated_types.Len(2, 3)], "[5, 5]", "[5]", "'minItems': 2"),
        (dict[str, ABOVE_0], '{"a": 5}', '{"a": -5}', "'exclusiveMinimum': 0"),
        (ABOVE_0 | None, "5", "-5", "'exclusiveMinimum': 0"),
        (pydantic.HttpUrl, '"http://a.b/"', '"nope"', "'format': 'uri'"),
        (Annotated[str, annotated_types.Predicate(str.islower)], '"a"', '"A"', "'string'"),
        (Annotated[str, pydantic.AfterValidator(no_x)], '"a"', '"x"', "'string'"),
        (DataRule, '{"a": 5}', '{"a": -5}', "'exclusiveMinimum': 0"),
        (DataDefault, '{"a": 5}', '{"a": -5}', "'exclusiveMinimum': 0"),
        (DataPlain, '{"a": 5}', '{"a": -5}', "'exclusiveMinimum': 0"),
        (DataOfOthers[pydantic.PositiveInt], '{"a": [5]}', '{"a": [-5]}', "'exclusiveMinimum': 0"),
        (DictRule, '{"a": 5}', '{"a": -5}', "'exclusiveMinimum': 0"),
        (list[DictRule], '[{"a": 5}]', '[{"a": -5}]', "'exclusiveMinimum': 0"),
        (dict[str, tuple[DictRule, ...]] | None, '{"k": [{"a": 5}]}', '{"k": [{"a": -5}]}', "'exclusiveMinimum': 0"),
        (TupleRule, "[5]", "[-5]", "'exclusiveMinimum': 0"),
    ],
    ids=str,
)
def test_a_rule_of_pydantics_is_asked_and_sent_wherever_it_stands(kind: Any, good: str, bad: str, sent: str) -> None:
    kernel = AnsweredKernel([good, bad])

    async def both(each: penstock.Kernel) -> None:
        await extract(each, kind)
        with pytest.raises(OutputInvalidError):
            await extract(each, kind)

    kernel.run(both)
    assert sent in sent_in(kernel.requests[0])


def test_what_a_rule_makes_of_a_value_is_the_value() -> None:
    assert AnsweredKernel(['"a"']).run(extract, Annotated[str, pydantic.AfterValidator(upper)]) == "A"
    assert AnsweredKernel(['{"a": 5}']).run(extract, DataRule) == DataRule(5)


class Pathed(pydantic.BaseModel):
    a: int = pydantic.Field(validation_alias=pydantic.AliasPath("outer", "a"))


class PathedTwice(pydantic.BaseModel):
    a: int = pydantic.Field(
        validation_alias=pydantic.AliasChoices(pydantic.AliasPath("o", "a"), pydantic.AliasPath("p", 0))
    )


class Generated(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(
        alias_generator=pydantic.AliasGenerator(validation_alias=lambda name: pydantic.AliasPath("outer", name))
    )
    a: int


@pydantic.dataclasses.dataclass
class PathedData:
    a: int = pydantic.Field(validation_alias=pydantic.AliasPath("outer", "a"))


class PathedDict(TypedDict):
    a: Annotated[int, pydantic.Field(validation_alias=pydantic.AliasPath("outer", "a"))]


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        (AttrsRule, "FieldInfo is a rule of pydantic's.*msgspec.Meta"),
        (AttrsDefault, "FieldInfo is a rule of pydantic's.*msgspec.Meta"),
        (list[AttrsRule], "FieldInfo is a rule of pydantic's.*msgspec.Meta"),
        (StructRule, "StructRule is a msgspec Struct and Gt is a rule of annotated_types.*msgspec.Meta says the same"),
        (StructDefault, "FieldInfo is a rule of pydantic's.*msgspec.Meta says the same"),
        (StructRule | None, "Gt is a rule of annotated_types"),
        (MetaInModel, "does not ask a msgspec.Meta"),
        (Annotated[datetime, annotated_types.Timezone(None)], "Timezone is a rule .* does not ask"),
        (Pathed, r"Pathed.a is read from AliasPath\(path=\['outer', 'a'\]\), which its schema cannot say"),
        (list[Pathed], "Pathed.a is read from"),
        (PathedTwice, "PathedTwice.a is read from"),
        (Generated, "Generated.a is read from"),
        (PathedData, "PathedData.a is read from"),
        (PathedDict, "a field is read from"),
    ],
    ids=str,
)
def test_what_would_not_be_asked_or_cannot_be_said_is_refused_before_the_call(kind: Any, says: str) -> None:
    kernel = AnsweredKernel(['{"a": -5}'])
    with pytest.raises(UnsendableRequestError, match=says):
        kernel.run(extract, kind)
    assert not kernel.requests


def test_msgspec_by_itself_drops_no_rule_of_others() -> None:
    with pytest.raises(TypeError, match="Gt is a rule of annotated_types"):
        MsgspecValidator(list[Annotated[int, annotated_types.Gt(0)]])
    MsgspecValidator(Annotated[int, annotated_types.Unit("m")])


class Chosen(pydantic.BaseModel):
    a: int = pydantic.Field(validation_alias=pydantic.AliasChoices(pydantic.AliasPath("o", "a"), "first", "second"))
    b: int = pydantic.Field(1, validation_alias=pydantic.AliasPath("only"))


class ByName(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(populate_by_name=True)
    a: int = pydantic.Field(validation_alias=pydantic.AliasPath("outer", "a"))


def test_of_several_names_the_first_is_asked_for() -> None:
    kernel = AnsweredKernel(['{"first": 5, "only": 6}'])
    value = kernel.run(extract, Chosen)
    assert (value.a, value.b) == (5, 6)
    assert "'first'" in sent_in(kernel.requests[0])
    assert AnsweredKernel(['{"a": 5}']).run(extract, ByName).a == 5
