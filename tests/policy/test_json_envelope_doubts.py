"""What may be an envelope of the answer and what only looks like one: schemas that were sent back, failures, and
envelopes that have names in common with the type.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from penstock.policy.json_finding import Found, NotFound, find_json

PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["name", "age"],
}
WRITTEN = '{"name": "Ada", "age": 36}'
DOC = {
    "title": "Doc",
    "type": "object",
    "properties": {"metadata": {"type": "object"}, "title": {"type": ["string", "null"]}},
}
PARTS = {"metadata": {"type": "object"}}
STATES = {"title": {"enum": ["a", "b"]}, "metadata": {"$ref": "#/$defs/Any"}}


@pytest.mark.parametrize(
    "told",
    [
        {"properties": PARTS},
        {"type": "object", "properties": PARTS},
        {"type": "object", "properties": PARTS, "required": ["metadata"], "$defs": {}},
        {"properties": {"metadata": {"anyOf": [{"type": "object"}, {"type": "null"}]}}},
        {"properties": STATES},
        {"name": "Doc", "parameters": {"type": "object", "properties": PARTS}},
        {"type": "function", "function": {"name": "Doc", "parameters": {"type": "object", "properties": PARTS}}},
        {"schema": {"properties": PARTS}},
        {"result": {"properties": PARTS}},
        [{"type": "object", "properties": PARTS}],
    ],
    ids=json.dumps,
)
def test_a_schema_that_was_sent_back_is_no_value_where_its_parts_would_fit(told: Any) -> None:
    for tool in ("", "Doc"):
        answer = find_json(json.dumps(told), DOC, tool=tool)
        assert isinstance(answer, NotFound), answer


@pytest.mark.parametrize(
    ("told", "want"),
    [
        ({"properties": {"metadata": {"a": 1}}}, {"metadata": {"a": 1}}),
        ({"properties": {"title": "Tea"}}, {"title": "Tea"}),
        (
            {"properties": {"metadata": {"type": "object"}, "title": "Tea"}},
            {"metadata": {"type": "object"}, "title": "Tea"},
        ),
    ],
)
def test_values_in_the_place_of_the_schemas_parts_are_one(told: Any, want: Any) -> None:
    answer = find_json(json.dumps(told), DOC, tool="Doc")
    assert isinstance(answer, Found), answer
    assert answer.value == want


TASK = {"type": "object", "properties": {"title": {"type": "string"}}, "required": ["title"]}
MILK = {"title": "Buy milk"}


@pytest.mark.parametrize(
    "beside",
    [
        {"status": "fail"},  # JSend: what is wrong with each part of the request
        {"status": "unsuccessful"},
        {"status": "denied"},
        {"status": "unavailable"},
        {"status": "timeout"},
        {"status": "none"},
        {"status": "no match"},
        {"status": "404"},
        {"status": "404 not there"},
        {"status": "206 part of it"},
        {"status": "0 found"},
        {"state": "aborted"},
        {"outcome": "exception"},
        {"code": "500"},
        {"responseCode": "E12"},
        {"success": "false"},
        {"isSuccess": "no"},
        {"ok": "no"},
        {"valid": "no"},
        {"found": "false"},
        {"match_found": "0"},
        {"complete": "incomplete"},
    ],
    ids=json.dumps,
)
def test_an_envelope_that_does_not_say_that_all_went_well_holds_no_answer(beside: dict[str, Any]) -> None:
    for told in ({**beside, "data": MILK}, {"task": MILK, **beside}):
        assert isinstance(find_json(json.dumps(told), TASK), NotFound), told
    told = {**beside, "data": [MILK]}
    assert isinstance(find_json(json.dumps(told), {"type": "array", "items": TASK}), NotFound), told


@pytest.mark.parametrize(
    "beside",
    [
        {"status": "success"},
        {"status": "OK"},
        {"status": "completed"},
        {"status": "Extraction successful."},
        {"status": "The task was read from the second paragraph of the mail."},
        {"status": "200"},
        {"status": "200 OK"},
        {"state": "done"},
        {"code": "201"},
        {"response_code": "200"},
        {"success": "true"},
        {"isSuccess": "1"},
        {"ok": "yes"},
        {"valid_until": "2026-01-31"},
        {"country_code": "DE"},
        {"order_status": "shipped"},
        {"message": "Here it is."},
    ],
    ids=json.dumps,
)
def test_an_envelope_that_says_so_does(beside: dict[str, Any]) -> None:
    for told in ({**beside, "data": MILK}, {"task": MILK, **beside}):
        answer = find_json(json.dumps(told), TASK)
        assert isinstance(answer, Found), answer
        assert answer.value == MILK


QUIZ = {
    "title": "Quiz",
    "type": "object",
    "properties": {
        "question": {"type": "string"},
        "options": {"type": "array", "items": {"type": "string"}},
        "answer": {"type": "integer"},
    },
    "required": ["question", "options", "answer"],
}
ASKED = {"question": "1 + 1?", "options": ["2", "3"], "answer": 0}
STATE = {
    "type": "object",
    "properties": {"status": {"enum": ["open", "closed"]}, "priority": {"type": "integer"}},
    "required": ["status", "priority"],
}
OPEN = {"status": "open", "priority": 1}
EMPLOYEE: dict[str, Any] = {
    "$ref": "#/$defs/Employee",
    "$defs": {
        "Employee": {
            "type": "object",
            "properties": {"name": {"type": "string"}, "data": {"anyOf": [{"$ref": "#/$defs/Employee"}]}},
            "required": ["name"],
        }
    },
}


@pytest.mark.parametrize(
    ("told", "schema", "want"),
    [
        ({"answer": ASKED}, QUIZ, ASKED),
        ({"reasoning": "It is a sum.", "answer": ASKED}, QUIZ, ASKED),
        ({"answer": ASKED, "confidence": 0.9}, QUIZ, ASKED),
        ({"status": "success", "data": OPEN}, STATE, OPEN),
        ({"status": "200 OK", "result": OPEN, "error": None}, STATE, OPEN),
        ({"result": {"data": ASKED}}, QUIZ, ASKED),
        ({"tool_uses": [{"recipient_name": "functions.Quiz", "parameters": ASKED}]}, QUIZ, ASKED),
        ({"functionCall": {"name": "Quiz", "args": ASKED}}, QUIZ, ASKED),
        ({"functionCall": {"name": "Quiz", "args": {"name": "Ada"}}}, EMPLOYEE, {"name": "Ada"}),
    ],
)
def test_an_envelope_may_have_a_name_in_common_with_the_type_that_it_does_not_fit(
    told: Any, schema: dict[str, Any], want: Any
) -> None:
    answer = find_json(json.dumps(told), schema, tool="Quiz")
    assert isinstance(answer, Found), answer
    assert answer.value == want


@pytest.mark.parametrize(
    ("told", "schema"),
    [
        ({"question": "2 + 2?", "answer": ASKED}, QUIZ),
        ({"answer": ASKED, "previous": ASKED}, QUIZ),
        ({"answer": ASKED, "output": {**ASKED, "answer": 1}}, QUIZ),
        ({"status": "failed", "data": OPEN}, STATE),
        ({"status": "denied", "data": OPEN}, STATE),
        ({"status": "closed", "data": OPEN}, STATE),
        ({"priority": 3, "data": OPEN}, STATE),
        ({"question": "1 + 1?", "options": ["2"], "answer": None, "explanation": ASKED}, QUIZ),
        ({"data": {"name": "Ada"}}, EMPLOYEE),
    ],
)
def test_what_may_be_a_part_of_the_value_is_not_taken_for_all_of_it(told: Any, schema: dict[str, Any]) -> None:
    answer = find_json(json.dumps(told), schema, tool="Quiz")
    assert isinstance(answer, NotFound), answer


COUNTS = {"type": "object", "additionalProperties": {"type": "integer"}}
MATRIX = {"type": "array", "items": {"type": "array", "items": {"type": "integer"}}}
ROWS = {"type": "array", "items": {"type": "object"}}


@pytest.mark.parametrize(
    ("told", "schema", "want"),
    [
        ({"counts": {"a": 1}}, COUNTS, {"a": 1}),
        ({"word_counts": {"a": 1, "b": 2}}, COUNTS, {"a": 1, "b": 2}),
        ({"matrix": [[1, 2], [3, 4]]}, MATRIX, [[1, 2], [3, 4]]),
        ({"rows": [{"a": 1}, {"a": 2}]}, ROWS, [{"a": 1}, {"a": 2}]),
        ({"records": [{"a": 1}]}, ROWS, [{"a": 1}]),
    ],
)
def test_what_has_no_names_of_its_own_is_found_under_one_of_the_models(
    told: Any, schema: dict[str, Any], want: Any
) -> None:
    for text in (json.dumps(told), f"```json\n{json.dumps(told)}\n```"):
        answer = find_json(text, schema)
        assert isinstance(answer, Found), answer
        assert answer.value == want


@pytest.mark.parametrize(
    ("told", "schema"),
    [
        ({"error": {"code": 5}}, COUNTS),
        ({"usage": {"tokens": 5}}, COUNTS),
        ({"wrong_counts": {"a": 1}}, COUNTS),
        ({"counts": {}}, COUNTS),
        ({"counts": {"a": 1}, "others": {"b": 2}}, COUNTS),
        ({"counts": {"a": "many"}}, COUNTS),
        ({"example": [[1, 2]]}, MATRIX),
        ({"matrix": []}, MATRIX),
        ({"tags": [{"a": 1}]}, ROWS),
        ({"errors": [{"a": 1}]}, ROWS),
    ],
)
def test_what_may_be_something_else_is_not(told: Any, schema: dict[str, Any]) -> None:
    answer = find_json(json.dumps(told), schema)
    assert isinstance(answer, NotFound), answer


@pytest.mark.parametrize(
    "text",
    ["```json\nnull\n```", "<think>x</think>\nnull", "```\nnull\n```\n", "<think>There is none.</think>\n\nnull"],
)
def test_null_is_a_value_where_it_may_be_one(text: str) -> None:
    schema = {"anyOf": [PERSON, {"type": "null"}]}
    answer = find_json(text, schema)
    assert isinstance(answer, Found), answer
    assert answer.value is None
    for told in (f"{WRITTEN}\n\nnull", f"```json\nnull\n```\n```json\n{WRITTEN}\n```"):
        assert isinstance(find_json(told, schema), NotFound)
