"""Schemas in the words of a native mode: what fits before can be said after, and comes back as it was."""

from __future__ import annotations

from typing import Annotated, Any

import jsonschema  # type: ignore[import-untyped] # it brings no types
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Meta, Struct

from penstock.policy.json_schema import SchemaCheck, SchemaError
from penstock.policy.json_values import is_array, is_object
from penstock.policy.schema_shaping import Shaped, Unshapeable, shape_schema, unshaped
from penstock.types import SchemaLimits
from penstock_providers.anthropic_messages._models import SCHEMAS as OF_ANTHROPIC
from penstock_providers.openai_chat._models import STRICT as OF_OPENAI

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
    assert unshaped(told, SchemaCheck(OBJECT), shaped) == {"city": "Rome", "note": None}


@pytest.mark.parametrize("inner", [{"type": "array", "items": {"type": "integer"}}, {"enum": ["a", "b"]}])
def test_what_is_no_object_is_wrapped_in_one_and_taken_out(inner: dict[str, Any]) -> None:
    shaped = shape_schema(inner, STRICT)
    assert isinstance(shaped, Shaped)
    assert shaped.schema["properties"] == {"value": inner}
    assert unshaped({"value": "a"}, SchemaCheck(inner), shaped) == "a"


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


class Street(Struct):
    name: str


class House(Struct):
    front: Annotated[Street, Meta(description="Where the door is.")]
    back: Annotated[Street, Meta(description="Where the garden is.")] | None = None


class Family(Struct):
    name: str
    children: list[Annotated[Family, Meta(description="Of the next generation.")]] = []


def lone(schema: Any) -> bool:
    """True where nothing stands beside any reference."""
    if is_object(schema):
        return ("$ref" not in schema or len(schema) == 1) and all(map(lone, schema.values()))
    return all(map(lone, schema)) if is_array(schema) else True


@pytest.mark.parametrize("kind", [House, Family])
def test_what_is_described_beside_a_reference_is_written_out_where_nothing_may_stand_there(kind: Any) -> None:
    schema = msgspec.json.schema(kind)
    assert not lone(schema)
    shaped = shape_schema(schema, OF_OPENAI)
    assert isinstance(shaped, Shaped)
    assert lone(shaped.schema)
    SchemaCheck(shaped.schema)
    assert "the door" in str(shaped.schema) or "next generation" in str(shaped.schema)


def test_references_with_descriptions_do_not_multiply_without_end() -> None:
    described = {"$ref": "#/$defs/a0", "description": "d"}
    definitions: dict[str, Any] = {
        f"a{at}": {
            "type": "object",
            "properties": {side: {"$ref": f"#/$defs/a{at + 1}", "description": side} for side in ("left", "right")},
        }
        for at in range(9)
    }
    definitions["a9"] = {"type": "object", "properties": {"x": {"type": "integer"}}}
    schema = {"type": "object", "properties": {"root": described}, "$defs": definitions}
    shaped = shape_schema(schema, OF_OPENAI)
    assert isinstance(shaped, Shaped)
    assert lone(shaped.schema)
    assert len(str(shaped.schema)) < 100_000


def holding(part: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {"a": part}, "required": ["a"], **more}


TEXT = {"type": "string"}


@pytest.mark.parametrize("limits", [OF_OPENAI, OF_ANTHROPIC], ids=["openai", "anthropic"])
@pytest.mark.parametrize(
    "schema",
    [
        holding({"allOf": [TEXT, {"minLength": 2}]}),
        holding({"not": {"type": "null"}}),
        holding({"type": "string", "if": {"minLength": 1}, "then": {"pattern": "^a"}}),
        holding(TEXT, dependentRequired={"a": ["b"]}),
        holding(TEXT, dependentSchemas={"a": {"required": ["b"]}}),
        holding({"type": "array", "prefixItems": [TEXT, {"type": "integer"}], "items": False}),
        holding({"type": "array", "items": [TEXT]}),
        holding({"type": "object", "patternProperties": {"^x": TEXT}, "additionalProperties": False}),
        holding({"$ref": "#/$defs/A", "properties": {"b": TEXT}}, **{"$defs": {"A": holding(TEXT)}}),
        {"$ref": "#/$defs/A", "properties": {"b": TEXT}, "$defs": {"A": holding(TEXT)}},
    ],
    ids=str,
)
def test_what_vendors_are_known_to_refuse_is_asked_for_in_another_way(
    schema: dict[str, Any], limits: SchemaLimits
) -> None:
    assert isinstance(shape_schema(schema, limits), Unshapeable)


@pytest.mark.parametrize("part", [{"type": "array"}, {"enum": ["a", {"b": 1}]}, {"minimum": 3}], ids=str)
def test_a_part_without_a_type_is_not_sent_where_each_has_to_name_one(part: dict[str, Any]) -> None:
    assert isinstance(shape_schema(holding(part), OF_OPENAI), Unshapeable)


@pytest.mark.parametrize(
    ("part", "sent"),
    [
        ({"enum": ["a", "b"]}, {"enum": ["a", "b"], "type": "string"}),
        ({"const": 1}, {"const": 1, "type": "integer"}),
        ({"enum": ["a", None]}, {"enum": ["a", None], "type": ["string", "null"]}),
        ({"type": "string", "format": "decimal"}, TEXT),
        ({"type": "string", "format": "date"}, {"type": "string", "format": "date"}),
        ({"type": "string", "contentEncoding": "base64"}, TEXT),
        ({"type": "string", "nullable": True}, {"type": ["string", "null"]}),
        ({"oneOf": [TEXT, {"type": "null"}], "discriminator": {}}, {"anyOf": [TEXT, {"type": "null"}]}),
        ({"allOf": [TEXT], "description": "d"}, {"type": "string", "description": "d"}),
        ({"type": "array", "items": TEXT, "contains": TEXT, "uniqueItems": True}, {"type": "array", "items": TEXT}),
    ],
    ids=str,
)
def test_a_part_is_said_in_the_words_that_the_strict_mode_takes(part: dict[str, Any], sent: dict[str, Any]) -> None:
    shaped = shape_schema(holding(part), OF_OPENAI)
    assert isinstance(shaped, Shaped)
    assert shaped.schema["properties"]["a"] == sent


@st.composite
def unions(draw: st.DrawFn, depth: int = 2) -> tuple[dict[str, Any], Any, Any]:
    """A schema of choices, told apart by a tag or not; a value of it; and the same with nulls in place of nothing."""
    leaves: list[tuple[dict[str, Any], Any]] = [(TEXT, "s"), ({"type": "integer"}, 1), ({"type": "boolean"}, True)]
    tagged = draw(st.booleans())
    inner = draw(unions(depth - 1)) if depth and draw(st.booleans()) else None
    if inner is not None:
        leaves.append((inner[0], inner))
    choices: list[dict[str, Any]] = []
    made: list[tuple[Any, Any]] = []
    for at in range(draw(st.integers(1, 3))):
        fields = draw(st.lists(st.sampled_from(leaves), min_size=1, max_size=3))
        needed = [f"n{at}"] if not tagged else ["kind"]
        properties: dict[str, Any] = {needed[0]: {"enum": [f"t{at}"]} if tagged else TEXT}
        value: Any = {needed[0]: f"t{at}"}
        told: Any = dict(value)
        for place, (part, held) in enumerate(fields):
            name = f"f{place}"
            properties[name] = part
            if isinstance(held, tuple):
                value[name], told[name] = held[1], held[2]
                needed.append(name)
            elif draw(st.booleans()):
                value[name] = told[name] = held
            else:
                told[name] = None
        choices.append({"type": "object", "properties": properties, "required": needed})
        made.append((value, told))
    value, told = draw(st.sampled_from(made))
    schema: dict[str, Any] = {draw(st.sampled_from(["anyOf", "oneOf"])): choices}
    if draw(st.booleans()):
        return {"type": "array", "items": schema}, [value], [told]
    return schema, value, told


@given(unions())
@settings(max_examples=300, deadline=None)
def test_the_nulls_of_a_choice_are_taken_back_by_that_choice(case: tuple[dict[str, Any], Any, Any]) -> None:
    schema, value, told = case
    check = SchemaCheck(schema)
    assert check.fits(value)
    shaped = shape_schema(schema, OF_OPENAI)
    assert isinstance(shaped, Shaped)
    sent = {"value": told} if shaped.wrapped else told
    assert SchemaCheck(shaped.schema).fits(sent)
    assert unshaped(sent, check, shaped) == value
