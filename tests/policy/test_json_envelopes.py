"""What a model wraps its answer in is taken off, where nothing that it says is lost."""

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
PEOPLE = {"type": "array", "items": PERSON}
ADA = {"name": "Ada", "age": 36}
WRITTEN = json.dumps(ADA)
CALL = {"id": "call_1", "type": "function", "index": 0, "function": {"name": "answer", "arguments": WRITTEN}}


@pytest.mark.parametrize(
    "text",
    [
        json.dumps({"value": WRITTEN}),
        json.dumps({"result": WRITTEN}),
        f'{{"value": {WRITTEN}, "reason": "z"}}',
        f'{{"reasoning": "She was born in 1815. Not much else is known.", "answer": {WRITTEN}}}',
        f'{{"status": "ok", "data": {WRITTEN}}}',
        f'{{"confidence": 0.9, "person": {WRITTEN}}}',
        f'[TOOL_CALLS][{{"name": "answer", "arguments": {WRITTEN}}}]',
        f'<tool_call>\n{{"name": "answer", "arguments": {WRITTEN}}}\n</tool_call>',
        json.dumps({"name": "answer", "arguments": WRITTEN}),
        json.dumps({"tool_calls": [{"name": "answer", "arguments": ADA}]}),
        json.dumps({"tool_calls": [{"function": {"name": "answer", "arguments": WRITTEN}}]}),
        json.dumps({"role": "assistant", "content": None, "tool_calls": [CALL], "refusal": None}),
        json.dumps([CALL]),
        json.dumps({"function_call": CALL["function"]}),
        f'{{"jsonrpc": "2.0", "error": null, "result": {WRITTEN}, "id": 1}}',
        f'{{"success": true, "data": {WRITTEN}, "errors": []}}',
        f'{{"status": 200, "data": {WRITTEN}}}',
        f'{{"thoughts": ["a date of birth", "a name"], "answer": {WRITTEN}, "sources": [3, 4]}}',
    ],
)
def test_one_answer_in_an_envelope_is_found(text: str) -> None:
    answer = find_json(text, PERSON)
    assert isinstance(answer, Found), answer
    assert answer.value == ADA


@pytest.mark.parametrize(
    "text",
    [f'{{"items": [{WRITTEN}], "count": 1}}', f'{{"reasoning": "One is named.", "people": [{WRITTEN}]}}'],
)
def test_a_list_in_an_envelope_is_found(text: str) -> None:
    answer = find_json(text, PEOPLE)
    assert isinstance(answer, Found), answer
    assert answer.value == [ADA]


@pytest.mark.parametrize(
    ("text", "schema"),
    [
        (f'{{"draft": {WRITTEN}, "answer": {WRITTEN}}}', PERSON),
        (json.dumps({"tool_calls": [CALL, {**CALL, "id": "call_2"}]}), PERSON),
        (json.dumps({"tool_calls": [CALL], "error": "it was not called"}), PERSON),
        (json.dumps({"tool_calls": [CALL], "content": "No, he is 37."}), PERSON),
        (json.dumps({"tool_calls": [CALL], "name": "Bob"}), PERSON),
        (f'{{"status": "failed", "data": {WRITTEN}}}', PERSON),
        (f'{{"valid": false, "data": {WRITTEN}}}', PERSON),
        (f'{{"error": "none found", "data": {WRITTEN}}}', PERSON),
        (f'{{"status": 404, "data": {WRITTEN}}}', PERSON),
        (f'{{"ok": 0, "data": {WRITTEN}}}', PERSON),
        (f'{{"data": {WRITTEN}, "correction": "he is 37"}}', PERSON),
        (f'{{"dummy": {WRITTEN}}}', PERSON),
        (f'{{"data": {WRITTEN}, "people": [{{"name": "Bob"}}]}}', PERSON),
        (f'{{"items": [{WRITTEN}], "next_cursor": "b2Zm"}}', PEOPLE),
        (f'{{"items": [{WRITTEN}], "count": 97}}', PEOPLE),
        (f'{{"items": [{WRITTEN}], "has_more": true}}', PEOPLE),
        (f'{{"items": [{WRITTEN}], "note": "The remaining ones are left out."}}', PEOPLE),
        ('{"result": 42, "unit": "thousands"}', {"type": "integer"}),
        (json.dumps({"text": f"The format is {WRITTEN}, but I found nobody."}), PERSON),
    ],
)
def test_an_envelope_that_says_more_of_its_content_is_not_opened(text: str, schema: dict[str, Any]) -> None:
    assert isinstance(find_json(text, schema), NotFound)


def test_json_in_a_string_is_read_where_nothing_says_that_a_string_is_wanted() -> None:
    assert find_json(json.dumps(WRITTEN)) == Found(ADA, ("quoted",))
    assert find_json(json.dumps(WRITTEN), {"type": "string"}) == Found(WRITTEN)


ALL_OPTIONAL = {"type": "object", "properties": {"name": {"type": "string"}, "age": {"type": "integer"}}}


@pytest.mark.parametrize(
    "text",
    [
        '{"result": {"name": "Ada", "age": "36"}}',
        '{"Name": "Ada", "Age": 36}',
        '{"error": "nobody is named"}',
        '[{"Name": "Ada"}]',
        'The format is {"name": 5}. {"people": ["Ada"]}',
    ],
)
def test_an_object_of_other_names_alone_is_not_taken_for_one_of_nothing_but_defaults(text: str) -> None:
    for schema in (ALL_OPTIONAL, {"type": "array", "items": ALL_OPTIONAL}):
        answer = find_json(text, schema)
        assert isinstance(answer, NotFound), answer
        assert answer.flaws


@pytest.mark.parametrize("value", [{}, {"name": "Ada"}, {"name": "Ada", "born": 1815}])
def test_an_object_that_leaves_out_what_is_optional_is_found(value: dict[str, Any]) -> None:
    assert find_json(json.dumps(value), ALL_OPTIONAL) == Found(value)


def test_where_any_name_will_do_every_name_does() -> None:
    said = {"x": 1}
    open_to_more: list[dict[str, Any]] = [
        {"additionalProperties": True},
        {"additionalProperties": {"type": "integer"}},
        {"properties": {}},
    ]
    for more in open_to_more:
        assert find_json(json.dumps(said), {**ALL_OPTIONAL, **more}) == Found(said)


def test_an_envelope_is_opened_where_what_is_asked_for_is_all_optional() -> None:
    assert find_json(f'{{"result": {WRITTEN}}}', ALL_OPTIONAL) == Found(ADA, ("envelope",))


MOOD = {"enum": ["positive", "negative"]}
TEXT = {"type": "string"}
TEXTS = {"type": "array", "items": TEXT}
MOODS = {"type": "array", "items": MOOD}


@pytest.mark.parametrize(
    ("text", "schema", "value"),
    [
        ('{"label": "positive"}', MOOD, "positive"),
        ('{"sentiment": "positive"}', MOOD, "positive"),
        ('{"status": "positive"}', MOOD, "positive"),
        ('{"keywords": ["a", "b"]}', TEXTS, ["a", "b"]),
        ('{"moods": ["positive"]}', MOODS, ["positive"]),
        ('{"capital": "Rome"}', TEXT, "Rome"),
        ('{"capital": "Rome"}', {"anyOf": [TEXT, {"type": "null"}]}, "Rome"),
    ],
)
def test_words_under_a_name_of_the_models_own_are_found(text: str, schema: dict[str, Any], value: Any) -> None:
    for told in ("%s", "```json\n%s\n```", "<answer>%s</answer>", "<think>Is it?</think>\n%s"):
        answer = find_json(told.replace("%s", text), schema)
        assert isinstance(answer, Found), (told, answer)
        assert answer.value == value


@pytest.mark.parametrize("text", ['{"label": "positive"}', '{"keywords": ["positive", "b"]}'])
def test_words_that_are_shown_are_found_among_prose(text: str) -> None:
    schema = MOOD if "label" in text else TEXTS
    answer = find_json(f"Here you are:\n\n```json\n{text}\n```\n\nThat is all.", schema)
    assert isinstance(answer, Found), answer
    assert isinstance(find_json(f"I was given {text}, and it is unclear.", schema), NotFound)


@pytest.mark.parametrize(
    ("text", "schema"),
    [
        *((f'{{"{name}": ["a"]}}', TEXTS) for name in ("errors", "warnings", "missing_fields", "options", "examples")),
        *((f'{{"{name}": ["a"]}}', TEXTS) for name in ("questions", "sources", "steps", "excludedKeywords", "notes")),
        *((f'{{"{name}": "Rome"}}', TEXT) for name in ("error", "question", "clarification", "reason", "message")),
        *((f'{{"{name}": "Rome"}}', TEXT) for name in ("note", "action", "tool", "status", "type", "query")),
        ('{"confidence": "positive"}', MOOD),
        ('{"not": "positive"}', MOOD),
        ('{"default": "positive"}', MOOD),
        ('{"label": "Positive"}', MOOD),
        ('{"label": "positive", "score": 0.9}', MOOD),
        ('{"label": "positive"}\n{"label": "negative"}', MOOD),
        ('{"label": "positive"}\n\n**negative**', MOOD),
        ('{"label": "positive"} or rather "negative"', MOOD),
        ('{"keywords": []}', TEXTS),
        ('{"keywords": ["a", 1]}', TEXTS),
        ('{"tags": ["a"], "keywords": ["b"]}', TEXTS),
        ('{"style": "formal"}\n\nThe capital is Rome.', TEXT),
        ('Here: {"capital": "Rome"}', TEXT),
        ('{"name": "Ada"}', {"anyOf": [TEXT, PERSON]}),
        ('{"names": ["Ada"]}', {"anyOf": [TEXTS, PEOPLE]}),
        ('{"price_in_cents": 5}', {"type": "integer"}),
        ('{"not_spam": true}', {"type": "boolean"}),
    ],
)
def test_words_that_may_be_something_else_are_not_taken_from_under_their_name(
    text: str, schema: dict[str, Any]
) -> None:
    assert isinstance(find_json(text, schema), NotFound)


def test_a_list_that_stands_there_by_itself_goes_before_one_under_a_name() -> None:
    answer = find_json('Given {"words": ["a b"]}:\n```json\n["a"]\n```', TEXTS)
    assert isinstance(answer, Found)
    assert answer.value == ["a"]


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
