"""Plain schemas: what fits them is known without their rules, and never otherwise than by them."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.policy.json_schema import WITH_RULES, SchemaCheck
from penstock.policy.schema_plain import surely_fits
from penstock.policy.schema_rules import Findings

WORDS = st.sampled_from(["a", "b", "cc", ""])
SCALARS = st.none() | st.booleans() | st.integers(-2, 2) | WORDS | st.sampled_from([0.0, 1.0, 1.5, -2.0])
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)
KINDS = st.sampled_from(["null", "boolean", "integer", "number", "string", "array", "object"])
LISTED = st.lists(WORDS | SCALARS, min_size=1, max_size=3)


def objects(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {},
        optional={
            "type": st.just("object"),
            "properties": st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
            "required": st.lists(st.sampled_from("abc"), max_size=2),
            "additionalProperties": st.booleans() | inner,
            "maxProperties": st.integers(0, 3),
        },
    )


def lists(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {},
        optional={"type": st.just("array"), "items": inner, "minItems": st.integers(0, 2), "contains": inner},
    )


LEAVES = st.fixed_dictionaries(
    {},
    optional={
        "type": KINDS | st.lists(KINDS, min_size=1, max_size=2),
        "nullable": st.booleans(),
        "title": st.just("T"),
        "enum": LISTED,
        "const": WORDS | SCALARS | st.lists(WORDS, max_size=2),
        "minimum": st.integers(-1, 1),
        "maxLength": st.integers(0, 2),
    },
)
ONE_KIND: st.SearchStrategy[dict[str, Any]] = KINDS.map(lambda kind: {"type": kind})
REFERENCE: dict[str, Any] = {"$ref": "#/$defs/d"}
SCHEMAS: st.SearchStrategy[Any] = st.recursive(
    st.just(REFERENCE) | ONE_KIND | LEAVES | st.booleans(),
    lambda inner: (
        objects(inner) | lists(inner) | st.lists(inner, min_size=1, max_size=3).map(lambda each: {"anyOf": each})
    ),
    max_leaves=8,
)


@given(SCHEMAS, LEAVES, VALUES)
@settings(max_examples=1_500, deadline=None)
def test_what_surely_fits_fits_by_the_rules_and_what_is_decided_is_decided_as_by_them(
    schema: Any, shared: dict[str, Any], value: Any
) -> None:
    root = {**(schema if isinstance(schema, dict) else {"allOf": [schema]}), "$defs": {"d": shared}}
    check, found = SchemaCheck(root), Findings(1)
    check.compile_at(root, "#")(value, None, found)
    surely = surely_fits(root, root, WITH_RULES)
    assert surely is None or not surely(value) or not found
    decides = surely_fits(root, root, WITH_RULES, exactly=True)
    assert decides is None or decides(value) == (not found)
    assert check.fits(value) == (not found) == (not check.flaws(value))


class Guest(msgspec.Struct):
    name: str
    age: int | None = None
    diet: Literal["none", "vegan"] = "none"


class Visit(msgspec.Struct, forbid_unknown_fields=True):
    city: str
    days: int
    price: float
    guests: list[Guest]
    notes: dict[str, str]


@pytest.mark.parametrize(
    "value",
    [
        {"city": "Rome", "days": 3, "price": 1, "guests": [], "notes": {}},
        {"city": "Rome", "days": 3, "price": 1.5, "guests": [{"name": "Ada", "age": None}], "notes": {"a": "b"}},
        {"city": "Rome", "days": 3, "price": 1.5, "guests": [{"name": "Ada", "diet": "vegan"}], "notes": {}},
    ],
)
def test_of_a_type_with_fields_it_is_known_without_its_rules_what_fits(value: dict[str, Any]) -> None:
    schema = msgspec.json.schema(Visit)
    surely = surely_fits(schema, schema, WITH_RULES)
    assert surely is not None
    assert surely(value)


WRONG: list[tuple[str, dict[str, Any]]] = [
    ("$.days", {"days": "3"}),
    ("$.days", {"days": True}),
    ("$.more", {"more": 1}),
    ("$.guests[0].diet", {"guests": [{"name": "Ada", "diet": "all"}]}),
    ("$.guests[0].name", {"guests": [{}]}),
    ("$.notes.a", {"notes": {"a": 1}}),
]


@pytest.mark.parametrize(("path", "wrong"), WRONG)
def test_what_does_not_fit_is_told_by_the_rules(path: str, wrong: dict[str, Any]) -> None:
    right: dict[str, Any] = {"city": "Rome", "days": 3, "price": 1, "guests": [], "notes": {}}
    assert [flaw.path for flaw in SchemaCheck(msgspec.json.schema(Visit)).flaws(right | wrong)] == [path]


def test_a_schema_that_refers_to_itself_is_left_to_its_rules() -> None:
    schema: dict[str, Any] = {"type": "object", "properties": {"below": {"$ref": "#"}}}
    assert surely_fits(schema, schema, WITH_RULES) is None
    assert SchemaCheck(schema).fits({"below": {"below": {}}})
    assert not SchemaCheck(schema).fits({"below": {"below": 1}})


def test_choices_that_would_be_written_out_for_ever_are_left_to_the_rules() -> None:
    definitions: dict[str, Any] = {f"d{at}": {"anyOf": [{"$ref": f"#/$defs/d{at + 1}"}] * 2} for at in range(30)}
    schema = {"$ref": "#/$defs/d0", "$defs": {**definitions, "d30": {"type": "integer"}}}
    assert surely_fits(schema, schema, WITH_RULES) is None


@pytest.mark.parametrize(
    ("schema", "value", "fits"),
    [
        ({"const": ["a", "b"]}, "a", False),
        ({"const": ["a", "b"]}, ["a", "b"], True),
        ({"enum": [["a"], "b"]}, "a", False),
        ({"enum": ["a", 1, None]}, 1.0, True),
        ({"type": "integer"}, 3.0, True),
        ({"type": "integer"}, True, False),
        ({"type": ["integer", "string"], "nullable": True}, None, True),
        ({"properties": {"a": {"type": "string"}}, "required": ["a"]}, [], True),
        ({"items": {"type": "string"}}, {"a": 1}, True),
    ],
)
def test_what_only_looks_plain_is_judged_as_the_standard_says(
    schema: dict[str, Any], value: Any, *, fits: bool
) -> None:
    assert SchemaCheck(schema).fits(value) is fits
    assert SchemaCheck({"contains": schema}).fits([value]) is fits
