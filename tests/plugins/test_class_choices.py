"""Unions of several classes, and enums of mixed values: the class that is meant is built, or the type is refused."""

from __future__ import annotations

import dataclasses
import enum
import itertools
import sys
import types
import typing
from collections.abc import Callable, Sequence
from types import GenericAlias
from typing import Annotated, Any, Generic, Literal, NotRequired, TypeAlias, TypedDict, TypeVar, Union, cast

import attrs
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import penstock
from penstock.errors import OutputInvalidError, UnsendableRequestError
from penstock.policy.json_values import is_object
from penstock.testing import AnsweredKernel
from penstock_plugins.validators.cattrs import CattrsValidator
from penstock_plugins.validators.msgspec import MsgspecValidator


@dataclasses.dataclass
class Text:
    """Some words."""

    text: str


@dataclasses.dataclass
class Link:
    url: str
    inner: Text | Link | None = None


@attrs.define
class Cat:
    lives: int
    kind: Literal["cat"] = "cat"


@attrs.define
class Dog:
    lives: int
    friends: list[Cat | Dog] = attrs.Factory(list["Cat | Dog"])
    kind: Literal["dog"] = "dog"


class Point(msgspec.Struct):
    x: int


class Wide(msgspec.Struct):
    x: int
    y: int


class Card(TypedDict):
    way: Literal["card"]
    number: str


class Cash(TypedDict):
    way: Literal["cash"]
    number: NotRequired[int]


class Circle(msgspec.Struct):
    radius: float


class Square(msgspec.Struct):
    side: float


class Mixed(enum.Enum):
    ONE = 1
    TWO = "two"
    HALF = 0.5
    NO = None


class Ratio(enum.Enum):
    HALF = 0.5
    WHOLE = 1.0


T = TypeVar("T")


@attrs.define
class Box(Generic[T]):
    held: T


@dataclasses.dataclass
class Page:
    parts: list[Text | Link]
    pets: dict[str, Cat | Dog]
    paid: Annotated[list[Card | Cash], msgspec.Meta(min_length=1)]
    pair: tuple[Text | Link, int]
    mixed: Mixed
    shape: Circle | Square | None = None


PAGE = (
    '{"parts": [{"text": "a"}, {"url": "u", "inner": {"text": "b"}}], "pets": {"x": {"lives": 1, "kind": "dog"}},'
    ' "paid": [{"way": "cash"}], "pair": [{"url": "u"}, 3], "mixed": "two", "shape": {"side": 2}}'
)


async def extract(kernel: penstock.Kernel, kind: Any) -> Any:
    return (await kernel.extract(kind, "q", max_repairs=0)).value


@pytest.mark.parametrize(
    ("kind", "answer", "value"),
    [
        (Text | Link, '{"text": "a"}', Text("a")),
        (Text | Link, '{"url": "a"}', Link("a")),
        (Text | Link, '{"url": "a", "inner": {"url": "b", "inner": null}}', Link("a", Link("b"))),
        (list[Text | Link], '[{"url": "a"}, {"text": "b"}]', [Link("a"), Text("b")]),
        (Cat | Dog, '{"lives": 9, "kind": "dog"}', Dog(9)),
        (Cat | Dog, '{"lives": 9, "kind": "dog", "friends": [{"lives": 1, "kind": "cat"}]}', Dog(9, [Cat(1)])),
        (list[Cat | Dog] | None, '[{"lives": 9, "kind": "cat"}]', [Cat(9)]),
        (list[Cat | Dog] | None, "null", None),
        (Card | Cash, '{"way": "cash"}', {"way": "cash"}),
        (Card | Cash, '{"way": "card", "number": "1"}', {"way": "card", "number": "1"}),
        (Circle | Square, '{"side": 1}', Square(1)),
        (Circle | Text | Cat | None, '{"text": "a"}', Text("a")),
        (Text | str | Link, '"a"', "a"),
        (Box[Text | Link], '{"held": {"url": "a"}}', Box(Link("a"))),
        (dict[int, Text | Link], '{"1": {"url": "a"}}', {1: Link("a")}),
        (Mixed, '"two"', Mixed.TWO),
        (Mixed, "two", Mixed.TWO),
        (Mixed, "1.0", Mixed.ONE),
        (Mixed, "null", Mixed.NO),
        (Ratio, "1", Ratio.WHOLE),
        (list[Mixed | Text], '[0.5, {"text": "a"}]', [Mixed.HALF, Text("a")]),
        (
            Page,
            PAGE,
            Page(
                [Text("a"), Link("u", Text("b"))],
                {"x": Dog(1)},
                [{"way": "cash"}],
                (Link("u"), 3),
                Mixed.TWO,
                Square(2),
            ),
        ),
    ],
    ids=str,
)
def test_the_class_that_is_meant_is_built(kind: Any, answer: str, value: Any) -> None:
    assert AnsweredKernel([answer]).run(extract, kind) == value


def test_a_strict_mode_is_told_each_class_whole() -> None:
    kernel = AnsweredKernel(['{"value": {"url": "a", "inner": null}}'])
    assert kernel.run(extract, Text | Link) == Link("a")
    sent = str(msgspec.to_builtins((kernel.requests[0].output, kernel.requests[0].tools)))
    assert "Some words." in sent
    assert "'required': ['text']" in sent


@pytest.mark.parametrize(
    ("kind", "answer", "paths"),
    [
        (Text | Link, '{"text": "a", "url": "b"}', ("$",)),  # which of the two?
        (Cat | Dog, '{"lives": 9}', ("$",)),
        (list[Cat | Dog], '[{"lives": 9, "kind": "cow"}]', ("$[0].kind",)),
        (list[Cat | Dog], '[{"lives": 9}]', ("$[0]",)),
        (Cat | Dog, '{"lives": "9", "kind": "dog"}', ("$.lives",)),
        (Point | Wide, '{"x": 1, "y": "no"}', ("$.y",)),  # not a Point, with y lost
        (list[Point | Wide], '[{"x": 1, "y": null}]', ("$[0]",)),
        (Mixed, "true", ("$",)),
        (Mixed, "2", ("$",)),
        (Page, PAGE.replace('[{"way": "cash"}]', "[]"), ("$.paid",)),
    ],
    ids=str,
)
def test_what_is_none_of_the_classes_or_may_be_several_is_no_value(kind: Any, answer: str, paths: Any) -> None:
    with pytest.raises(OutputInvalidError) as caught:
        AnsweredKernel([answer]).run(extract, kind)
    assert caught.value.paths == paths


@dataclasses.dataclass
class Same:
    text: str
    more: int = 0


@attrs.define
class AlsoSame:
    text: str


class Inside(msgspec.Struct):
    part: Text | Link


class Odd(enum.Enum):
    PAIR = (1, 2)
    ONE = 1


@dataclasses.dataclass
class Given:
    seed: dataclasses.InitVar[int]
    part: Text | Link | None = None


FIRST = msgspec.defstruct("Twice", [("a", int)], module="m")
SECOND = msgspec.defstruct("Twice", [("b", int)], module="m")


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        (Text | Same, 'nothing tells Text from Same: .*Literal of its own .kind: Literal."a".'),
        (list[Text | AlsoSame], "nothing tells Text from AlsoSame"),
        (Text | Link | dict[str, int], "more than one dict-like type"),
        (list[Text] | list[Link] | Text | Link, "more than one array-like"),
        (Inside, "an attrs class or a dataclass may hold it"),
        (Odd, "Odd.PAIR is no word or number of its own"),
        (Mixed | int, "more than one int-like"),
        (Mixed | str, "more than one str-like type"),
        (Given, "InitVar"),
        (GenericAlias(tuple, (FIRST, SECOND)), "two types are named m.Twice"),
        (GenericAlias(tuple, (FIRST, SECOND, Text | Link)), "two types are named Twice"),
    ],
    ids=str,
)
def test_what_nothing_tells_apart_is_refused_before_the_call(kind: Any, says: str) -> None:
    kernel = AnsweredKernel(["{}"])
    with pytest.raises(UnsendableRequestError, match=says):
        kernel.run(extract, kind)
    assert not kernel.requests


NUMBERS = itertools.count()
NAMES = ("a", "b", "c", "d")
Fields: TypeAlias = Sequence[tuple[str, bool]]
"""The names of a class's fields, and whether they must be there. All are of integers."""


def _dataclass(name: str, fields: Fields, tag: str | None) -> Any:
    listed: list[Any] = [
        (each, int) if needed else (each, int, dataclasses.field(default=0)) for each, needed in fields
    ]
    if tag is not None:
        listed.append(("tag", Literal[tag], dataclasses.field(default=tag)))
    return dataclasses.make_dataclass(name, listed, kw_only=True)


def _attrs(name: str, fields: Fields, tag: str | None) -> Any:
    listed: dict[str, Any] = {
        each: attrs.field(type=int, default=attrs.NOTHING if needed else 0) for each, needed in fields
    }
    if tag is not None:
        listed["tag"] = attrs.field(type=cast("Any", Literal[tag]), default=tag)
    return attrs.make_class(name, listed, kw_only=True)


def _typed_dict(name: str, fields: Fields, tag: str | None) -> Any:
    listed: dict[str, Any] = {each: int if needed else NotRequired[int] for each, needed in fields}
    if tag is not None:
        listed["tag"] = Literal[tag]
    make: Callable[[str, dict[str, Any]], Any] = cast("Any", TypedDict)
    return make(name, listed)


MAKERS = (_dataclass, _attrs, _typed_dict)


@dataclasses.dataclass
class Made:
    kind: Any
    fields: Fields
    tag: str | None

    def name(self) -> str:
        return str(self.kind.__name__)

    def needed(self) -> set[str]:
        tag = {"tag"} if self.tag is not None and typing.is_typeddict(self.kind) else set[str]()
        return {name for name, required in self.fields if required} | tag

    def takes(self, value: dict[str, Any]) -> bool:
        return self.needed() <= value.keys() and (self.tag is None or value.get("tag", self.tag) == self.tag)

    def named(self) -> set[str]:
        return {name for name, _ in self.fields} | ({"tag"} if self.tag is not None else set[str]())

    def unnamed(self, value: dict[str, Any]) -> int:
        return len(value.keys() - self.named())


@st.composite
def unions(draw: st.DrawFn) -> Sequence[Made]:
    made: list[Made] = []
    for at in range(draw(st.integers(2, 4))):
        names = draw(st.lists(st.sampled_from(NAMES), unique=True))
        fields = [(name, draw(st.booleans())) for name in names]
        tag = f"t{at}" if draw(st.booleans()) else None
        kind = draw(st.sampled_from(MAKERS))(f"Made{next(NUMBERS)}", fields, tag)
        made.append(Made(kind, fields, tag))
    return made


def apart(one: Made, other: Made) -> bool:
    if one.tag is not None and other.tag is not None:
        return True
    return bool(one.needed() - other.named() or other.needed() - one.named())


@given(union=unions(), data=st.data())
def test_the_nearest_class_is_built_and_never_one_of_several(union: Sequence[Made], data: st.DataObject) -> None:
    kinds: Any = Union[tuple(each.kind for each in union)]  # noqa: UP007 - it is made of a tuple
    pairs = list(itertools.combinations(union, 2))
    if any(not apart(one, other) for one, other in pairs):
        with pytest.raises(TypeError, match="nothing tells"):
            CattrsValidator(list[kinds])
        return
    validator = CattrsValidator(list[kinds])
    for _ in range(8):
        value: dict[str, Any] = data.draw(st.dictionaries(st.sampled_from(NAMES), st.integers(0, 3)))
        tag = data.draw(st.sampled_from([None, *(each.tag for each in union)]))
        if tag is not None:
            value["tag"] = tag
        fitting = [each for each in union if each.takes(value)]
        fewest = min((each.unnamed(value) for each in fitting), default=0)
        nearest = [each for each in fitting if each.unnamed(value) == fewest]
        try:
            (made,) = validator.check([value])
        except ValueError:
            assert len(nearest) != 1
            continue
        (meant,) = nearest
        assert isinstance(made, dict if typing.is_typeddict(meant.kind) else meant.kind)
        held: dict[str, Any] = made if is_object(made) else {name: getattr(made, name) for name, _ in meant.fields}
        assert all(held[name] == value.get(name, 0) for name, needed in meant.fields if needed or name in value)


FOREST = """
import typing
import attrs

@attrs.define
class Tree:
    size: int
    below: list["Tree"] = attrs.Factory(list)
    beside: typing.Optional["Tree"] = None
"""


def test_an_attrs_class_may_name_itself_within_another_type(monkeypatch: pytest.MonkeyPatch) -> None:
    forest = types.ModuleType("forest")
    monkeypatch.setitem(sys.modules, "forest", forest)
    exec(compile(FOREST, "forest", "exec", dont_inherit=True), forest.__dict__)
    made = AnsweredKernel(['{"size": 1, "below": [{"size": 2}], "beside": {"size": 3}}']).run(extract, forest.Tree)
    assert made == forest.Tree(1, [forest.Tree(2)], forest.Tree(3))


def test_msgspec_by_itself_says_what_it_cannot_build() -> None:
    with pytest.raises(TypeError, match="more than one dataclass"):
        MsgspecValidator(Text | Link)
