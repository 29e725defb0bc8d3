"""Unions of several classes, and enums of mixed values: the class that is meant is built, or the type is refused."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
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


class Color(enum.Enum):
    RED = "red"
    NONE = "none"


class Size(enum.Enum):
    SMALL = "s"
    NONE = "none"
    ONE = 1


class Yes(msgspec.Struct):
    say: Literal["yes"]


class No(msgspec.Struct):
    say: Literal["no"]
    why: str = ""


T = TypeVar("T")


class Crate(msgspec.Struct, Generic[T]):
    held: T


class Inside(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """A part."""

    one_part: Text | Link
    pets: list[Cat | Dog] = msgspec.field(default_factory=list["Cat | Dog"])
    paid: Card | Cash | None = None
    said: Yes | No | msgspec.UnsetType = msgspec.UNSET
    when: Annotated[dt.date, msgspec.Meta(description="or a word")] | str = ""
    size: Color | Size | None = None
    worth: int = 0

    def __post_init__(self) -> None:
        if self.worth < 0:
            raise ValueError("worth less than nothing")


class Branch(msgspec.Struct, tag="branch"):
    below: list[Branch | Leaf]


class Leaf(msgspec.Struct, tag="leaf"):
    color: Color | str


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


INSIDE = (
    '{"onePart": {"text": "a"}, "pets": [{"lives": 1, "kind": "dog"}], "paid": {"way": "cash"},'
    ' "said": {"say": "no"}, "when": "2024-02-03", "size": "s", "worth": 2}'
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
        (Inside, '{"onePart": {"url": "a"}}', Inside(Link("a"))),
        (
            Inside,
            INSIDE,
            Inside(Text("a"), [Dog(1)], {"way": "cash"}, No("no"), dt.date(2024, 2, 3), Size.SMALL, 2),
        ),
        (list[Inside], '[{"onePart": {"text": "a"}, "when": "soon"}]', [Inside(Text("a"), when="soon")]),
        (Crate[Text | Link], '{"held": {"url": "a"}}', Crate(Link("a"))),
        (
            Branch | Leaf,
            '{"type": "branch", "below": [{"type": "leaf", "color": "red"}, {"type": "leaf", "color": "dark"}]}',
            Branch([Leaf(Color.RED), Leaf("dark")]),
        ),
        (Text | Link | int | float, "1", 1),
        (Text | Link | int | float, "1.5", 1.5),
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
        (Color | Size, '"none"', ("$",)),  # which of the two?
        (Color | Size, '"blue"', ("$",)),
        (Literal[Color.RED], '"none"', ("$",)),
        (dt.date | dt.time, '"soon"', ("$",)),
        (Inside, '{"onePart": {"text": "a"}, "pets": [{"lives": 1}]}', ("$.pets[0]",)),
        (Inside, '{"onePart": {"text": "a"}, "worth": -1}', ("$",)),
        (Inside, '{"onePart": {"text": "a"}, "more": 1}', ("$.more",)),
        (Branch | Leaf, '{"type": "leaf", "below": []}', ("$.color",)),
        (Page, PAGE.replace('[{"way": "cash"}]', "[]"), ("$.paid",)),
    ],
    ids=str,
)
def test_what_is_none_of_the_classes_or_may_be_several_is_no_value(kind: Any, answer: str, paths: Any) -> None:
    with pytest.raises(OutputInvalidError) as caught:
        AnsweredKernel([answer]).run(extract, kind)
    assert caught.value.paths == paths


@pytest.mark.parametrize(
    ("kind", "answers"),
    [
        (Color | Size, {"red": Color.RED, "s": Size.SMALL, 1: Size.ONE}),
        (str | Color, {"red": Color.RED, "blue": "blue"}),
        (int | Size, {1: Size.ONE, 2: 2, "s": Size.SMALL}),
        (float | Ratio, {0.5: Ratio.HALF, 1: Ratio.WHOLE, 2.5: 2.5}),
        (Color | Literal["red", "x"], {"red": "red", "x": "x", "none": Color.NONE}),
        (Color | Literal[Size.NONE, "red"] | None, {"none": Size.NONE, "red": "red", None: None}),
        (Literal[Color.RED, "x", 3], {"red": Color.RED, "x": "x", 3: 3}),
        (str | dt.date, {"2024-02-03": dt.date(2024, 2, 3), "2024-02-30": "2024-02-30", "May": "May"}),
        (str | decimal.Decimal | None, {"1.50": decimal.Decimal("1.50"), "1,50": "1,50", None: None}),
        (
            dt.time | dt.date | Literal["now"],
            {"2024-02-03": dt.date(2024, 2, 3), "10:00:00": dt.time(10), "now": "now"},
        ),
    ],
    ids=str,
)
def test_a_word_or_number_is_of_the_narrowest_type_that_has_it(kind: Any, answers: dict[Any, Any]) -> None:
    validator = CattrsValidator(list[kind])
    made = validator.check(list(answers))
    assert [(type(each), each) for each in made] == [(type(each), each) for each in answers.values()]


def test_a_word_of_two_enums_is_neithers() -> None:
    with pytest.raises(ValueError, match="fits Color and Size, and nothing in it says which is meant"):
        CattrsValidator(Color | Size).check("none")
    with pytest.raises(ValueError, match="is none of date and time"):
        CattrsValidator(dt.date | dt.time).check("soon")


def test_a_struct_is_told_as_msgspec_tells_it() -> None:
    schema = CattrsValidator(Inside).schema["$defs"]["Inside"]
    assert schema["description"] == "A part."
    assert schema["required"] == ["onePart"]
    assert schema["additionalProperties"] is False
    assert schema["properties"]["when"]["anyOf"][0]["description"] == "or a word"
    assert CattrsValidator(Leaf).schema["$defs"]["Leaf"]["properties"]["type"] == {"enum": ["leaf"]}


def test_what_a_struct_says_of_its_values_is_told() -> None:
    with pytest.raises(ValueError, match="worth less than nothing"):
        CattrsValidator(Inside).check({"onePart": {"text": "a"}, "worth": -1})


@dataclasses.dataclass
class Same:
    text: str
    more: int = 0


@attrs.define
class AlsoSame:
    text: str


class InAList(msgspec.Struct, array_like=True):
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
        (InAList, "an attrs class or a dataclass may hold it"),
        (Odd, "Odd.PAIR is no word or number of its own"),
        (bytes | dt.date, "most words can be read as bytes too"),
        (Color | str | bytes, "more than one str-like|read as bytes"),
        (Literal[Color.RED, "red"], "red is no word or number of its own"),
        (Color | Size | dict[str, int] | dict[str, str], "more than one dict type"),
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
