"""Of a union of pydantic's classes none is built that has no name for what is wrong with the value."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import pydantic
import pytest
from typing_extensions import TypedDict

import penstock
from penstock.errors import OutputInvalidError
from penstock.testing import AnsweredKernel


class Base(pydantic.BaseModel):
    x: int


class Wide(pydantic.BaseModel):
    x: int
    y: int


class Named(pydantic.BaseModel):
    x: int
    long_name: int = pydantic.Field(0, alias="longName")


class Holder(pydantic.BaseModel):
    u: Base | Wide
    also: list[Base | Named | None] = []


class Cat(pydantic.BaseModel):
    kind: Literal["cat"]
    x: int


class Dog(pydantic.BaseModel):
    kind: Literal["dog"]
    x: int
    y: int = 0


class Loose(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow")
    x: int


class Ordered(pydantic.BaseModel):
    u: Base | Wide = pydantic.Field(union_mode="left_to_right")


class Narrow(TypedDict):
    x: int


class Broad(TypedDict):
    x: int
    y: pydantic.PositiveInt


@dataclasses.dataclass
class DataNarrow:
    x: int


@dataclasses.dataclass
class DataBroad:
    x: int
    y: pydantic.PositiveInt


class Root(pydantic.RootModel[Base | Wide]):
    pass


class Rows(pydantic.RootModel[list[Base | Wide]]):
    pass


class Pair(pydantic.BaseModel):
    u: tuple[Base | Wide, int]
    root: Root | None = None


class Chosen(pydantic.BaseModel):
    x: int
    y: int = pydantic.Field(validation_alias=pydantic.AliasChoices("why", "wy"))


class ByName(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(populate_by_name=True)
    x: int
    y: int = pydantic.Field(alias="why")


def extracted(kind: Any, answer: str) -> Any:
    async def extract(kernel: penstock.Kernel) -> Any:
        return (await kernel.extract(kind, "?", max_repairs=0)).value

    return AnsweredKernel([answer]).run(extract)


@pytest.mark.parametrize(
    ("kind", "answer", "paths"),
    [
        (Base | Wide, '{"x": 1, "y": "no"}', ("$.y",)),
        (Wide | Base, '{"x": 1, "y": null}', ("$.y",)),
        (Base | Wide | int, '{"x": 1, "y": "no"}', ("$.y",)),
        (Base | Wide | None, '{"x": 1, "y": 1.5}', ("$.y",)),
        (list[Base | Wide], '[{"x": 1}, {"x": 1, "y": "no"}]', ("$[1].y",)),
        (Holder, '{"u": {"x": 1, "y": "no"}}', ("$.u.y",)),
        (Holder, '{"u": {"x": 1}, "also": [null, {"x": 1, "longName": "no"}]}', ("$.also[1].longName",)),
        (dict[str, Base | Wide], '{"a": {"x": 1, "y": "no"}}', ("$.a.y",)),
        (Narrow | Broad, '{"x": 1, "y": -1}', ("$.y",)),
        (DataNarrow | DataBroad, '{"x": 1, "y": -1}', ("$.y",)),
        (tuple[Base | Wide, int], '[{"x": 1, "y": "no"}, 1]', ("$[0].y",)),
        (tuple[int, Base | Wide], '[1, {"x": 1, "y": "no"}]', ("$[1].y",)),
        (tuple[Base | Wide, ...], '[{"x": 1}, {"x": 1, "y": "no"}]', ("$[1].y",)),
        (Pair, '{"u": [{"x": 1, "y": "no"}, 1]}', ("$.u[0].y",)),
        (Pair, '{"u": [{"x": 1}, 1], "root": {"x": 1, "y": "no"}}', ("$.root.y",)),
        (Root, '{"x": 1, "y": "no"}', ("$.y",)),
        (Rows, '[{"x": 1}, {"x": 1, "y": "no"}]', ("$[1].y",)),
        (list[Root], '[{"x": 1, "y": "no"}]', ("$[0].y",)),
        (Base | Chosen, '{"x": 1, "wy": "no"}', ("$.why",)),
        (Base | Chosen, '{"x": 1, "why": "no"}', ("$.why",)),
        (Base | ByName, '{"x": 1, "y": "no"}', ("$.why",)),
    ],
    ids=str,
)
def test_what_is_wrong_with_the_class_that_is_meant_is_not_lost_in_another(kind: Any, answer: str, paths: Any) -> None:
    with pytest.raises(OutputInvalidError) as caught:
        extracted(kind, answer)
    assert caught.value.paths == paths


@pytest.mark.parametrize(
    ("kind", "answer", "value"),
    [
        (Base | Wide, '{"x": 1}', Base(x=1)),
        (Base | Wide, '{"x": 1, "y": 2}', Wide(x=1, y=2)),
        (Base | Wide, '{"x": 1, "y": "2"}', Wide(x=1, y=2)),
        (Base | Wide, '{"x": 1, "z": "no"}', Base(x=1)),
        (dict[str, Base | Wide], '{"a": {"x": 1}}', {"a": Base(x=1)}),
        (Loose | Wide, '{"x": 1, "y": "no"}', Loose.model_validate({"x": 1, "y": "no"})),
        (Cat | Dog, '{"kind": "cat", "x": 1, "y": "no"}', Cat(kind="cat", x=1)),
        (Ordered, '{"u": {"x": 1, "y": 2}}', Ordered(u=Base(x=1))),
        (
            Holder,
            '{"u": {"x": 1}, "also": [{"x": 1, "longName": 3}]}',
            Holder.model_validate({"u": {"x": 1}, "also": [{"x": 1, "longName": 3}]}),
        ),
        (Narrow | Broad, '{"x": 1, "y": 1}', {"x": 1, "y": 1}),
        (DataNarrow | DataBroad, '{"x": 1, "y": 1}', DataBroad(1, 1)),
        (tuple[Base | Wide, int], '[{"x": 1, "z": "no"}, 1]', (Base(x=1), 1)),
        (Root, '{"x": 1, "y": 2}', Root(Wide(x=1, y=2))),
        (Rows, '[{"x": 1, "z": 2}]', Rows([Base(x=1)])),
        (Base | Chosen, '{"x": 1, "wy": 2}', Chosen.model_validate({"x": 1, "wy": 2})),
        (Base | ByName, '{"x": 1, "y": 2}', ByName.model_validate({"x": 1, "y": 2})),
    ],
    ids=str,
)
def test_whatever_pydantic_chooses_without_a_loss_is_taken(kind: Any, answer: str, value: Any) -> None:
    assert extracted(kind, answer) == value
