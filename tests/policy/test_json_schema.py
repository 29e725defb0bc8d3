"""JSON Schema, checked: what is wrong in a schema is told before a call, and no value is too much for a check."""

from __future__ import annotations

import math
from typing import Any, Literal

import msgspec
import pytest

from penstock.policy.json_schema import SchemaCheck, SchemaError
from penstock.policy.schema_rules import SIMPLE


def lists_of_lists(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "integer"}
    for _ in range(depth):
        schema = {"type": "array", "items": schema}
    return schema


LONG_WAY: dict[str, Any] = {
    "$ref": "#/$defs/a0",
    "$defs": {f"a{at}": {"items": {"$ref": f"#/$defs/a{at + 1}"}} for at in range(2_000)} | {"a2000": {}},
}


@pytest.mark.parametrize(
    ("schema", "says"),
    [
        ({"multipleOf": 0}, "#/multipleOf: must be a number above 0"),
        ({"multipleOf": "2"}, "#/multipleOf: must be a number above 0"),
        ({"minimum": math.nan}, "#/minimum: must be a number"),
        ({"contains": {}, "minContains": "1"}, "#/contains: its minContains or maxContains must be a whole number"),
        ({"minLength": -1}, "#/minLength: must be a whole number, 0 or more"),
        ({"type": []}, "#/type: must name a type"),
        ({"type": None}, "#/type: must be a list of strings"),
        ({"required": "a"}, "#/required: must be a list of strings"),
        ({"required": [1]}, "#/required: must be a list of strings"),
        ({"dependentRequired": {"a": "b"}}, "#/dependentRequired: must be a list of strings"),
        ({"dependencies": {"a": [1]}}, "#/dependencies: must be a list of strings"),
        ({"anyOf": {}}, "#/anyOf: must be a list"),
        ({"anyOf": []}, "#/anyOf: must hold a schema"),
        ({"oneOf": "x"}, "#/oneOf: must be a list"),
        ({"allOf": 5}, "#/allOf: must be a list"),
        ({"prefixItems": 5}, "#/prefixItems: must be a list"),
        ({"items": {}, "prefixItems": 5}, "must be a list"),
        ({"pattern": 5}, "#/pattern: must be a string"),
        ({"pattern": "a{99999999999}"}, "#/pattern: "),
        ({"uniqueItems": "yes"}, "#/uniqueItems: must be true or false"),
        ({"properties": {1: {}}}, "#/properties: must be an object"),
        (lists_of_lists(3_000), "it is nested deeper than 100 levels"),
        (LONG_WAY, "its references lead too deep"),
    ],
    ids=lambda each: each if isinstance(each, str) else None,
)
def test_a_broken_schema_is_refused_before_anything_is_paid(schema: dict[Any, Any], says: str) -> None:
    with pytest.raises(SchemaError) as caught:
        SchemaCheck(schema)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("value", "of", "fits"),
    [
        (0.3, 0.1, True),
        (19.99, 0.01, True),
        (0.125, 0.1, False),
        (1e-10, 1, False),
        (1e308, 0.01, True),
        (int("9" * 400), 0.01, True),
        (int("9" * 400), 10, False),
        (math.inf, 0.5, False),
        (math.nan, 1, False),
    ],
    ids=lambda each: str(each)[:12],
)
def test_a_multiple_is_one_as_the_numbers_are_written(value: float, of: float, *, fits: bool) -> None:
    assert SchemaCheck({"multipleOf": of}).fits(value) is fits


@pytest.mark.parametrize(
    ("pattern", "text", "fits"),
    [
        ("^[a-z]+$", "abc", True),
        ("^[a-z]+$", "abc\n", False),
        ("^a$|^b$", "b\n", False),
        (r"^\$5$", "$5", True),
        ("^[$]$", "$", True),
        (r"^[\]$]$", "$", True),
        ("^[]$]$", "$", True),
    ],
)
def test_a_patterns_end_is_the_end_of_the_string(pattern: str, text: str, *, fits: bool) -> None:
    assert SchemaCheck({"pattern": pattern}).fits(text) is fits
    assert SchemaCheck({"patternProperties": {pattern: False}}).fits({text: 1}) is not fits


class Add(msgspec.Struct, tag="add"):
    left: Add | Mul | Num
    right: Add | Mul | Num


class Mul(msgspec.Struct, tag="mul"):
    left: Add | Mul | Num
    right: Add | Mul | Num


class Num(msgspec.Struct, tag="num"):
    of: int


class Counted:
    """How many steps a check takes, by the schemas whose type is asked for."""

    def __init__(self, schema: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
        self.steps = 0
        make = SIMPLE["type"]

        def counting(asked: Any, stated: Any) -> Any:
            rule = make(asked, stated)

            def check(value: Any, path: Any, found: Any) -> None:
                self.steps += 1
                rule(value, path, found)

            return check

        monkeypatch.setitem(SIMPLE, "type", counting)
        self.check = SchemaCheck(schema)

    def of(self, value: Any) -> int:
        before = self.steps
        self.check.flaws(value)
        return self.steps - before


UNTAGGED: dict[str, Any] = {
    "$ref": "#/$defs/n",
    "$defs": {
        "n": {
            "anyOf": [
                {"type": "object", "properties": {"l": {"$ref": "#/$defs/n"}, "x": {"type": "integer"}}},
                {"type": "object", "properties": {"l": {"$ref": "#/$defs/n"}, "x": {"type": "boolean"}}},
                {"type": "null"},
            ]
        }
    },
}
ALL: dict[str, Any] = {
    "$ref": "#/$defs/n",
    "$defs": {
        "n": {"type": "object", "properties": {"l": {"allOf": [{"$ref": "#/$defs/n"}, {"$ref": "#/$defs/n"}]}}},
    },
}
ONE: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(UNTAGGED).replace(b"anyOf", b"oneOf"))


def tree(depth: int, leaf: dict[str, Any], **around: Any) -> dict[str, Any]:
    for _ in range(depth):
        leaf = {**around, "left": leaf, "right": {"type": "num", "of": 2}}
    return leaf


def chain(depth: int, leaf: Any) -> Any:
    for _ in range(depth):
        leaf = {"l": leaf, "x": 1.5}
    return leaf


@pytest.mark.parametrize(
    ("schema", "small", "large"),
    [
        (
            msgspec.json.schema(Add | Mul | Num),
            tree(6, {"type": "num", "of": 1}, type="mul"),
            tree(18, {"type": "num", "of": 1}, type="mul"),
        ),
        (
            msgspec.json.schema(Add | Mul | Num),
            tree(6, {"type": "num", "of": "1"}, type="mul"),
            tree(18, {"type": "num", "of": "1"}, type="mul"),
        ),
        (msgspec.json.schema(Add | Mul | Num), tree(6, {"type": "div"}, type="div"), tree(18, {}, type="div")),
        (UNTAGGED, chain(6, None), chain(16, None)),
        (ONE, chain(6, None), chain(16, None)),
        (ALL, chain(6, {}), chain(16, {})),
    ],
    ids=["tagged and valid", "tagged and invalid", "wrong tags", "untagged", "one of", "all of"],
)
def test_choices_within_choices_cost_what_they_hold_and_not_twice_as_much_at_each_level(
    schema: dict[str, Any], small: Any, large: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = Counted(schema, monkeypatch)
    assert counted.of(large) <= 3 * counted.of(small) + 50


KEYED = {"type": "object", "additionalProperties": {"type": "string"}}
LISTED = {"type": "array", "items": {"type": "string"}}
MISFITS: dict[str, tuple[dict[str, Any], Any]] = {
    "items": (LISTED, [1] * 5_000),
    "first items": ({"prefixItems": [{"type": "string"}] * 5_000}, [1] * 5_000),
    "properties": (
        {"properties": {f"k{at}": {"type": "string"} for at in range(5_000)}},
        {f"k{at}": 1 for at in range(5_000)},
    ),
    "other properties": (KEYED, {f"k{at}": 1 for at in range(5_000)}),
    "names": ({"propertyNames": {"type": "integer"}}, {f"k{at}": 1 for at in range(5_000)}),
    "patterns": ({"patternProperties": {"k": {"type": "string"}}}, {f"k{at}": 1 for at in range(5_000)}),
    "a reference": ({"$ref": "#/$defs/l", "$defs": {"l": LISTED}}, [1] * 5_000),
    "any of many": ({"anyOf": [LISTED | {"title": str(at)} for at in range(10)]}, [1] * 5_000),
    "one of many": ({"oneOf": [LISTED | {"title": str(at)} for at in range(10)]}, [1] * 5_000),
    "lists in lists": ({"type": "array", "items": LISTED}, [[1] * 100] * 50),
}


@pytest.mark.parametrize(("schema", "value"), MISFITS.values(), ids=MISFITS)
def test_behind_the_first_flaws_nothing_is_looked_at(
    schema: dict[str, Any], value: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = Counted(schema, monkeypatch)
    assert counted.of(value) <= 700  # ten choices, twice asked, twenty flaws
    assert len(counted.check.flaws(value)) == 20
    assert all(flaw.path != "$" for flaw in counted.check.flaws(value))
    before = counted.steps
    assert not counted.check.fits(value)
    assert counted.steps - before <= 40


def test_choices_within_choices_are_made_ready_once() -> None:
    schema: dict[str, Any] = {"type": "integer"}
    for _ in range(30):
        schema = {"oneOf": [schema, {"type": "null"}]}
    assert SchemaCheck(schema).fits(1)


@pytest.mark.parametrize("keyword", ["anyOf", "oneOf"])
def test_the_flaws_of_a_tagged_choice_are_of_the_one_that_is_meant(keyword: Literal["anyOf", "oneOf"]) -> None:
    def tagged(tag: str, **more: Any) -> dict[str, Any]:
        return {"type": "object", "properties": {"kind": {"const": tag}, **more}, "required": ["kind", *more]}

    schema: dict[str, Any] = {
        keyword: [tagged("a"), tagged("b", x={"type": "integer"}, y={"type": "integer"}, z={"type": "integer"})]
    }
    flaws = SchemaCheck(schema).flaws({"kind": "b", "x": "1", "y": "2", "z": "3"})
    assert [flaw.path for flaw in flaws] == ["$.x", "$.y", "$.z"]


def test_the_same_part_in_two_places_is_told_in_both() -> None:
    schema = {"type": "array", "items": {"$ref": "#/$defs/n"}, "$defs": {"n": {"type": "integer"}}}
    assert [flaw.path for flaw in SchemaCheck(schema).flaws(["a", "a"])] == ["$[0]", "$[1]"]


COMPARED: list[tuple[Any, list[Any], list[Any]]] = [
    (1, [1, 1.0], [True, "1", [1]]),
    (True, [True], [1, "true"]),
    (None, [None], [False, 0, ""]),
    ([1, {"a": [True]}], [[1.0, {"a": [True]}]], [[1, {"a": [1]}], [1], [1, {"a": [True]}, 2], {"a": 1}]),
    ({"a": 1, "b": []}, [{"b": [], "a": 1}], [{"a": 1}, {"a": 1, "b": {}}, {"a": 1, "b": [], "c": 1}, []]),
]


@pytest.mark.parametrize(("asked", "same", "other"), COMPARED)
def test_what_is_listed_is_compared_as_json(asked: Any, same: list[Any], other: list[Any]) -> None:
    for schema in ({"const": asked}, {"enum": ["x", asked]}):
        check = SchemaCheck(schema)
        assert all(check.fits(each) for each in same)
        assert not any(check.fits(each) for each in other)
