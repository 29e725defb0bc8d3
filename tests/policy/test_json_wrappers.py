"""What fits is not always the value: calls of tools, and envelopes that have a name in common with the type."""

from __future__ import annotations

import json
from typing import Any

import pytest

from penstock.policy.json_finding import Found, NotFound, find_json

PRODUCT = {
    "title": "Product",
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "price": {"anyOf": [{"type": "number"}, {"type": "null"}]},
        "description": {"type": "string"},
    },
    "required": ["name"],
}
OPEN = {**PRODUCT, "additionalProperties": True}
REFERRED = {"$ref": "#/$defs/Product", "$defs": {"Product": PRODUCT}}
UNION = {"anyOf": [{"type": "integer"}, {"$ref": "#/$defs/Product"}], "$defs": REFERRED["$defs"]}
ALL_OPTIONAL = {"type": "object", "properties": PRODUCT["properties"]}
PRODUCTS = {"type": "array", "items": PRODUCT}
STATUS = {
    "type": "object",
    "properties": {"status": {"type": "string"}, "message": {"type": "string"}},
    "required": ["status"],
}
TICKET = {
    "type": "object",
    "properties": {"id": {"type": "integer"}, "title": {"type": "string"}, "status": {"type": "string"}},
    "required": ["id"],
}
TEA = {"name": "Tea", "price": 3.5}
WRITTEN = json.dumps(TEA)


def call(name: str = "Product", **arguments: Any) -> dict[str, Any]:
    return {"name": name, "arguments": arguments or TEA}


CALLS: list[Any] = [
    call(),
    {**call(), "arguments": WRITTEN},
    {"name": "Product", "parameters": TEA},
    {"type": "tool_use", "id": "toolu_1", "name": "Product", "input": TEA},
    {"id": "call_1", "type": "function", "function": {"name": "Product", "arguments": WRITTEN}},
    {"type": "function", "name": "Product", "parameters": TEA},
    {"tool_calls": [call()], "role": "assistant", "content": None},
    {"recipient_name": "functions.Product", "parameters": TEA},
    {"tool": "Product", "tool_input": TEA},
    {"name": "Product", "arguments": call()},
]
SURROUNDED = ["%s", "```json\n%s\n```", "<tool_call>\n%s\n</tool_call>", "[TOOL_CALLS][%s]", "I call the tool:\n%s"]


@pytest.mark.parametrize("told", SURROUNDED)
@pytest.mark.parametrize("schema", [PRODUCT, OPEN, REFERRED, UNION, ALL_OPTIONAL, {**PRODUCT, "required": []}])
@pytest.mark.parametrize("made", CALLS, ids=json.dumps)
def test_the_call_of_the_tool_that_was_offered_holds_the_value(made: Any, schema: dict[str, Any], told: str) -> None:
    answer = find_json(told.replace("%s", json.dumps(made)), schema, tool="Product")
    assert isinstance(answer, Found), answer
    assert answer.value == TEA


BESIDE: list[dict[str, Any]] = [
    {"thought": "I should answer."},
    {"reasoning": "It says so.", "confidence": 0.9},
    {"status": "ok", "error": None},
    {"success": True, "result": None},
    {"version": "1.0", "timestamp": 1700000000},
]


@pytest.mark.parametrize("told", SURROUNDED[:3])
@pytest.mark.parametrize("schema", [PRODUCT, OPEN, REFERRED, UNION, {**PRODUCT, "required": ["name", "price"]}])
@pytest.mark.parametrize("beside", BESIDE, ids=json.dumps)
@pytest.mark.parametrize("made", CALLS[:4], ids=json.dumps)
def test_the_call_holds_the_value_as_well_where_something_is_said_beside_it(
    made: Any, beside: dict[str, Any], schema: dict[str, Any], told: str
) -> None:
    for each in ({**made, **beside}, {**beside, **made}):
        answer = find_json(told.replace("%s", json.dumps(each)), schema, tool="Product")
        assert isinstance(answer, Found), answer
        assert answer.value == TEA


@pytest.mark.parametrize("told", SURROUNDED[:2])
@pytest.mark.parametrize(
    "made",
    [
        {**call(), "error": "The price is not known."},
        {**call(), "status": "failed"},
        {**call(), "price": 2.5},
        {**call(), "examples": [TEA]},
        {**call("search"), "thought": "I look for it."},
        {"name": "search", "parameters": TEA, "confidence": 0.9},
        {"name": "x", "function": call(), "thought": "I call it."},
        {"name": "Product", "fields": TEA},
        {"name": "Product", "attributes": TEA, "version": 2},
        {"name": "product", "content": {"data": [TEA]}},
        {"name": "Product", "extracted_data": WRITTEN},
        {"name": "Product", "properties": TEA, "required": ["name"]},
        {"name": "Product", "description": "A product.", "required": ["name"]},
        {"name": "Tea", "properties": {"name": {"type": "string"}, "price": {"$ref": "#/$defs/Price"}}},
    ],
    ids=json.dumps,
)
def test_an_object_under_the_name_of_the_type_is_not_the_value(made: Any, told: str) -> None:
    answer = find_json(told.replace("%s", json.dumps(made)), PRODUCT, tool="Product")
    assert isinstance(answer, NotFound), answer
    assert answer.flaws


def test_a_call_with_more_beside_it_than_anyone_says_is_none() -> None:
    told = {**call(), **{f"note_{n}": "x" for n in range(100)}}
    assert isinstance(find_json(json.dumps(told), PRODUCT, tool="Product"), NotFound)


STEP = {
    "title": "Step",
    "type": "object",
    "properties": {"name": {"type": "string"}, "arguments": {"type": "object"}},
    "required": ["name", "arguments"],
}
SEARCH = {"name": "search", "arguments": {"query": "tea"}}


TEXT = {
    "title": "Text",
    "type": "object",
    "properties": {"text": {"type": "string"}, "type": {"type": "string"}},
    "required": ["text"],
}


@pytest.mark.parametrize(
    "made",
    [
        {"type": "function", "function": {"name": "Text", "arguments": {"text": "hi"}}},
        {"type": "function", "function": {"name": "Text", "arguments": '{"text": "hi"}'}, "id": "call_1"},
        {"type": "function", "name": "Text", "parameters": {"text": "hi"}},
    ],
    ids=json.dumps,
)
def test_the_call_may_have_a_name_in_common_with_a_type_that_it_does_not_fit(made: Any) -> None:
    answer = find_json(json.dumps(made), TEXT, tool="Text")
    assert isinstance(answer, Found), answer
    assert answer.value == {"text": "hi"}


@pytest.mark.parametrize("told", SURROUNDED[:3])
@pytest.mark.parametrize("schema", [STEP, {**STEP, "additionalProperties": True}])
def test_a_type_that_is_like_a_call_is_given_by_the_call_of_the_tool_and_stands_for_itself_else(
    schema: dict[str, Any], told: str
) -> None:
    def value(made: Any) -> Any:
        answer = find_json(told.replace("%s", json.dumps(made)), schema, tool="Step")
        assert isinstance(answer, Found), answer
        return answer.value

    for given in ({"name": "Step", "arguments": SEARCH}, {"name": "Step", "arguments": json.dumps(SEARCH)}):
        assert value(given) == SEARCH
    assert value({"id": "call_1", "type": "function", "function": {"name": "Step", "arguments": SEARCH}}) == SEARCH
    for itself in (SEARCH, {"name": "Step", "arguments": {"query": "tea"}}, {"name": "plan", "arguments": SEARCH}):
        assert value(itself) == itself


def test_a_call_with_a_list_holds_the_list() -> None:
    assert find_json(json.dumps([{"name": "output", "arguments": [TEA]}]), PRODUCTS, tool="output") == Found(
        [TEA], ("envelope",)
    )


def test_an_object_of_any_names_may_be_a_call_and_is_opened_where_it_names_the_tool() -> None:
    anything = {"type": "object"}
    assert find_json(json.dumps(call("output")), anything, tool="output") == Found(TEA, ("envelope",))
    assert find_json(json.dumps(call("other")), anything, tool="output") == Found(call("other"))


@pytest.mark.parametrize("told", SURROUNDED)
@pytest.mark.parametrize(
    "made",
    [
        call("answer"),
        call("search_web", query="Tea"),
        {"name": "search_web", "parameters": {"query": "Tea"}},
        {"type": "tool_use", "id": "toolu_1", "name": "search_web", "input": {"query": "Tea"}},
        {"name": "Product", "arguments": {"nom": "Tea"}},
        {"name": "Product", "description": "A product.", "parameters": {"type": "object", "properties": {}}},
        {"name": "Product", "strict": True, "schema": {"type": "object"}},
        {"name": "Product", "schema": TEA},
        {"name": "Product", "value": TEA},
        {"name": "Product", "data": json.dumps(TEA)},
        {"name": "Product", "data": {"name": "Tea"}, "price": 1},
        {"name": "ok", "page": {"products": [TEA]}},
    ],
    ids=json.dumps,
)
def test_where_another_may_be_meant_than_the_outer_object_none_is_taken(made: Any, told: str) -> None:
    answer = find_json(told.replace("%s", json.dumps(made)), PRODUCT, tool="Product")
    assert isinstance(answer, NotFound), answer
    assert answer.flaws


@pytest.mark.parametrize(
    ("text", "schema"),
    [
        ('{"status": "success", "data": {"status": "open", "message": "x"}}', STATUS),
        ('{"status": "success", "message": "It was read.", "data": {"status": "open", "message": "x"}}', STATUS),
        ('{"status": "success", "message": "It was read.", "data": {"status": "open"}}', STATUS),
        ('{"status": "success", "ticket": {"status": "open"}}', STATUS),
        ('{"status": "success", "tickets": [{"status": "open"}, {"status": "closed"}]}', STATUS),
        ('{"jsonrpc": "2.0", "id": 1, "result": {"id": 77, "title": "Bug", "status": "open"}}', TICKET),
        ('{"title": "Bug", "type": "object", "properties": {"title": {"type": "string"}}}', TICKET),
        ('{"id": 1, "result": {"id": 77}, "status": "ok"}', TICKET),
        (json.dumps([call("Product"), call("Product")]), PRODUCTS),
        (json.dumps([TEA, call("Product")]), PRODUCTS),
        (json.dumps([{"name": "Product", "value": TEA}]), PRODUCTS),
        ("\n".join(json.dumps(call("Product")) for _ in range(3)), PRODUCTS),
        ("\n".join(json.dumps(call("Product")) for _ in range(100)), PRODUCTS),
        (json.dumps({"name": "x", "result": TEA}), OPEN),
    ],
)
def test_an_envelope_that_has_a_name_in_common_with_the_type_is_not_the_value(
    text: str, schema: dict[str, Any]
) -> None:
    for told in (text, f"```json\n{text}\n```"):
        answer = find_json(told, schema, tool="output")
        assert isinstance(answer, NotFound), answer


def test_what_is_doubtful_says_where() -> None:
    answer = find_json('{"status": "ok", "data": {"status": "open"}}', STATUS)
    assert isinstance(answer, NotFound)
    assert answer.paths == ("$.data",)


@pytest.mark.parametrize(
    ("value", "schema"),
    [
        (TEA, PRODUCT),
        ({"name": "Tea", "supplier": {"country": "India"}}, PRODUCT),
        ({"name": "Tea", "price": 3.5, "supplier": {"name": "Ada"}}, PRODUCT),
        ({"name": "Tea", "price": 3.5, "like": {"name": "Mate", "price": 2}}, PRODUCT),
        ({"name": "Tea", "price": 3.5, "parameters": {"weight": 2}}, PRODUCT),
        ({"name": "Tea", "input": "230 V"}, PRODUCT),
        ({"name": "Product", "price": 3.5}, PRODUCT),
        ({"name": "Product", "price": 3.5, "supplier": {"country": "India"}}, PRODUCT),
        ({"name": "Tea", "properties": {"colour": "green"}}, PRODUCT),
        ({"name": "", "manager": {"name": "Bob"}}, PRODUCT),
        ({"name": "Tea", "variant": {"name": "Green tea", "price": 4}}, OPEN),
        ([{**TEA, "like": [{"name": "Mate"}]}, TEA], PRODUCTS),
        ({"name": "go", "arguments": {"name": "x"}}, {**PRODUCT, "properties": {"name": {}, "arguments": {}}}),
        ({"action": "click", "parameters": {"x": 1}}, {"properties": {"action": {}}, "required": ["action"]}),
    ],
    ids=json.dumps,
)
def test_a_value_with_more_to_say_than_is_asked_for_is_one(value: Any, schema: dict[str, Any]) -> None:
    assert find_json(json.dumps(value), schema, tool="Product") == Found(value)


@pytest.mark.parametrize(
    ("value", "schema"),
    [
        ({"name": "Ada", "manager": {"name": "Bob", "price": 1}}, PRODUCT),
        ({"name": "Ada", "children": [{"name": "Bob"}, {"name": "Cyd"}]}, PRODUCT),
        ({"id": 7, "parent": {"id": 1, "title": "Bug"}}, TICKET),
        ({"id": 7, "title": "Order", "items": [{"id": 1, "title": "Tea"}]}, TICKET),
    ],
    ids=json.dumps,
)
def test_what_is_like_the_value_and_belongs_to_it_makes_it_no_wrapper(value: Any, schema: dict[str, Any]) -> None:
    for told in (json.dumps(value), f"```json\n{json.dumps(value)}\n```"):
        answer = find_json(told, schema, tool="output")
        assert isinstance(answer, Found), answer
        assert answer.value == value
