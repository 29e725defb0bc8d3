"""Schemas in the words of a native mode: what fits before can be said after, and comes back as it was."""

from __future__ import annotations

from typing import Any

import jsonschema  # type: ignore[import-untyped] # it brings no types
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.policy.json_schema import SchemaCheck, SchemaError
from penstock.policy.schema_shaping import Shaped, Unshapeable, shape_schema, unshaped
from penstock.types import SchemaLimits

STRICT = SchemaLimits(all_required=True, deepest=5)
CLOSED = SchemaLimits(recursion=False, most_optional=1, most_unions=1)

SCALARS = st.none() | st.booleans() | st.integers(-5, 5) | st.text("abc", max_size=3) | st.floats(-3, 3, width=16)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=6,
)


LEAVES: list[dict[str, Any]] = [
    {"type": "string", "minLength": 1},
    {"type": "integer", "maximum": 3},
    {"type": "number", "exclusiveMinimum": 0},
    {"type": ["boolean", "null"]},
    {"enum": ["a", 1, None]},
    {"const": 2},
    {"type": "string", "pattern": "^a"},
]


@st.composite
def schemas(draw: st.DrawFn, depth: int = 2) -> dict[str, Any]:
    kind = draw(st.sampled_from(["leaf", "array", "object", "anyOf", "oneOf", "not"])) if depth else "leaf"
    match kind:
        case "array":
            return {"type": "array", "items": draw(schemas(depth - 1)), "maxItems": draw(st.integers(0, 3))}
        case "object":
            properties = draw(st.dictionaries(st.sampled_from("abc"), schemas(depth - 1), max_size=3))
            required = draw(st.sets(st.sampled_from("abc"))) & properties.keys()
            extra = draw(st.booleans())
            return {
                "type": "object",
                "properties": properties,
                "required": sorted(required),
                "additionalProperties": extra,
            }
        case "anyOf" | "oneOf":
            return {kind: draw(st.lists(schemas(depth - 1), min_size=1, max_size=2))}
        case "not":
            return {"not": draw(schemas(depth - 1))}
        case _:
            return draw(st.sampled_from(LEAVES))


@given(schemas(), VALUES)
@settings(max_examples=400, deadline=None)
def test_values_are_judged_as_the_reference_validator_judges_them(schema: dict[str, Any], value: Any) -> None:
    theirs = bool(jsonschema.Draft202012Validator(schema).is_valid(value))  # pyright: ignore[reportUnknownMemberType] - it brings no types
    assert SchemaCheck(schema).fits(value) == theirs


OBJECT = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}, "note": {"type": ["string", "null"]}},
    "required": ["city"],
}


def test_what_may_be_missing_is_asked_for_as_null_and_taken_back() -> None:
    shaped = shape_schema(OBJECT, STRICT)
    assert isinstance(shaped, Shaped)
    assert shaped.schema["required"] == ["city", "days", "note"]
    assert shaped.schema["additionalProperties"] is False
    told = {"city": "Rome", "days": None, "note": None}
    assert SchemaCheck(shaped.schema).fits(told)
    assert unshaped(told, OBJECT, shaped) == {"city": "Rome", "note": None}


@pytest.mark.parametrize("inner", [{"type": "array", "items": {"type": "integer"}}, {"enum": ["a", "b"]}])
def test_what_is_no_object_is_wrapped_in_one_and_taken_out(inner: dict[str, Any]) -> None:
    shaped = shape_schema(inner, STRICT)
    assert isinstance(shaped, Shaped)
    assert shaped.schema["properties"] == {"value": inner}
    assert unshaped({"value": "a"}, inner, shaped) == "a"


TREE = {
    "$ref": "#/$defs/Node",
    "$defs": {
        "Node": {
            "type": "object",
            "properties": {"below": {"type": "array", "items": {"$ref": "#/$defs/Node"}}},
            "required": ["below"],
        }
    },
}


def test_what_a_mode_cannot_say_is_told_so_that_another_way_is_taken() -> None:
    assert isinstance(shape_schema(TREE, STRICT), Shaped)
    assert shape_schema(TREE, CLOSED) == Unshapeable("it refers to itself")
    assert isinstance(shape_schema({"type": "object", "additionalProperties": {"type": "string"}}, STRICT), Unshapeable)
    assert shape_schema(OBJECT, CLOSED) == Unshapeable("it has 2 properties that may be missing, and 1 are allowed")


def test_a_tree_is_checked_to_its_leaves() -> None:
    check = SchemaCheck(TREE)
    assert check.fits({"below": [{"below": []}]})
    assert [flaw.path for flaw in check.flaws({"below": [{"below": [{}]}]})] == ["$.below[0].below[0].below"]


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "strin"},
        {"$ref": "#/nowhere"},
        {"$ref": "https://example.com"},
        {"pattern": "("},
        {"unevaluatedItems": False},
    ],
    ids=str,
)
def test_a_schema_that_is_wrong_or_not_understood_says_so(schema: dict[str, Any]) -> None:
    with pytest.raises(SchemaError):
        SchemaCheck(schema)
