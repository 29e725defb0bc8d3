"""Whole numbers written as 3.0 become what the schema asks for, and nothing else becomes anything."""

from __future__ import annotations

import enum
import itertools
from types import GenericAlias
from typing import Annotated, Any, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.policy.json_schema import SchemaCheck
from penstock.policy.json_values import is_object
from penstock.policy.whole_numbers import WholeNumbers


class Size(enum.IntEnum):
    SMALL = 1
    LARGE = 2


WHOLE = st.integers(-(10**6), 10**6)
LEAVES: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (int, WHOLE),
    (Annotated[int, msgspec.Meta(ge=0)], st.integers(0, 99)),
    (Size, st.sampled_from(Size)),
    (Literal[1, 7, "seven"], st.sampled_from([1, 7, "seven"])),
    (int | None, WHOLE | st.none()),
    (int | str | bool, WHOLE | st.just("1.0") | st.booleans()),
    (float, st.floats(-(10**6), 10**6)),
    (int | float, st.floats(-(10**6), 10**6).filter(lambda each: not each.is_integer())),
    (str, st.sampled_from(["", "1.0"])),
]
NUMBERS = itertools.count()


@st.composite
def kinds(draw: st.DrawFn, depth: int = 3) -> tuple[Any, st.SearchStrategy[Any]]:
    """A type, and its values."""
    shape = draw(st.integers(0, 6)) if depth else 0
    if shape < 2:
        leaf: tuple[Any, st.SearchStrategy[Any]] = draw(st.sampled_from(LEAVES))
        return leaf
    kind, values = draw(kinds(depth - 1))
    match shape:
        case 2:
            return GenericAlias(list, (kind,)), st.lists(values, max_size=3)
        case 3:
            return GenericAlias(dict, (str, kind)), st.dictionaries(st.sampled_from("ab"), values)
        case 4:
            other, others = draw(kinds(depth - 1))
            return GenericAlias(tuple, (kind, other)), st.tuples(values, others)
        case 5:
            made: Any = msgspec.defstruct(f"One{next(NUMBERS)}", [("a", kind), ("b", int, 0)], tag=True)
            return made, st.builds(made, values, WHOLE)
        case _:
            other, others = draw(kinds(depth - 1))
            left: Any = msgspec.defstruct(f"Left{next(NUMBERS)}", [("held", kind)], tag=True)
            right: Any = msgspec.defstruct(f"Right{next(NUMBERS)}", [("held", other)], tag=True)
            return left | right | int, st.builds(left, values) | st.builds(right, others) | WHOLE


def as_floats(value: Any) -> Any:
    """Each integer, as a model may write it."""
    match value:
        case bool() | str() | None:
            return value
        case int() | float():
            return float(value)
        case _ if is_object(value):
            return {name: as_floats(held) for name, held in value.items()}
        case _:
            return [as_floats(each) for each in value]


@given(data=st.data())
def test_any_value_whose_integers_are_written_as_floats_is_built_as_it_was_meant(data: st.DataObject) -> None:
    kind, values = data.draw(kinds())
    meant = data.draw(values)
    written = as_floats(msgspec.to_builtins(meant))
    check = SchemaCheck(msgspec.json.schema(kind))
    assert check.fits(written)
    before = repr(written)
    made = msgspec.convert(WholeNumbers(check).of(written), kind)
    assert repr(made) == repr(meant)  # 1 and 1.0 are the same to `==`
    assert repr(written) == before


@given(data=st.data())
def test_a_value_in_which_nothing_changes_is_returned_itself(data: st.DataObject) -> None:
    kind, values = data.draw(kinds())
    plain = msgspec.json.decode(msgspec.json.encode(data.draw(values)))
    assert WholeNumbers(SchemaCheck(msgspec.json.schema(kind))).of(plain) is plain


@pytest.mark.parametrize(
    ("schema", "value", "made"),
    [
        ({}, 1.0, "1.0"),
        ({"type": "number"}, 1.0, "1.0"),
        ({"type": ["integer", "number"]}, 1.0, "1.0"),
        ({"anyOf": [{"type": "integer"}, {"type": "number"}]}, 1.0, "1.0"),
        ({"anyOf": [{"type": "integer", "minimum": 5}, {"type": "number"}]}, 7.0, "7.0"),
        ({"anyOf": [{"type": "integer"}, {"type": "number", "minimum": 5}]}, 1.0, "1"),
        ({"oneOf": [{"type": "string"}, {"type": "integer"}]}, 1.0, "1"),
        ({"allOf": [{"type": "number"}, {"type": "integer"}]}, 1.0, "1"),
        ({"const": 1}, 1.0, "1"),
        ({"enum": [1.5, 2]}, 2.0, "2"),
        ({"type": "integer"}, 1e22, "10000000000000000000000"),
        ({"prefixItems": [{"type": "integer"}], "items": {"type": "number"}}, [1.0, 1.0], "[1, 1.0]"),
        ({"items": [{"type": "integer"}]}, [1.0, 1.0], "[1, 1.0]"),
        ({"additionalProperties": {"type": "integer"}}, {"a": 1.0}, "{'a': 1}"),
        (
            {"patternProperties": {"^n": {"type": "number"}}, "additionalProperties": {"type": "integer"}},
            {"n": 1.0},
            "{'n': 1.0}",
        ),
    ],
    ids=str,
)
def test_what_the_schema_lets_be_any_number_stays_as_it_was_written(schema: Any, value: Any, made: str) -> None:
    assert repr(WholeNumbers(SchemaCheck(schema)).of(value)) == made
