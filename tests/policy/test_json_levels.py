"""A bracket too few or too many, in an envelope as well: the value or nothing, and never an error of Python's own."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.policy.json_finding import Found, NotFound, find_json

INTEGER: dict[str, Any] = {"type": "integer"}
SCORE: dict[str, Any] = {
    "type": "object",
    "properties": {"home": INTEGER, "away": INTEGER},
    "required": ["home", "away"],
    "additionalProperties": False,
}
WHOLE: list[tuple[dict[str, Any], Any]] = [
    (INTEGER, 42),
    ({"type": "number"}, 1.5),
    ({"type": "boolean"}, True),
    ({"anyOf": [INTEGER, {"type": "null"}]}, None),
    ({"enum": ["low", "high"]}, "high"),
    (SCORE, {"home": 2, "away": 1}),
    ({"type": "array", "items": INTEGER}, [1, 2]),
    ({"type": "array", "items": SCORE}, [{"home": 2, "away": 1}]),
    ({"type": "object", "additionalProperties": SCORE}, {"final": {"home": 2, "away": 1}}),
]
ENVELOPES: list[dict[str, Any]] = [
    {"answer": ...},
    {"value": ...},
    {"result": {"answer": ...}},
    {"answer": ..., "confidence": 0.9, "reasoning": ["as said"]},
    {"name": "f", "arguments": ..., "id": {"of": {"calls": [1]}}},
    {"tool_calls": [{"id": ["a", {"b": []}], "function": {"name": "f", "arguments": ...}}]},
]
BRACKET = re.compile(r"[{}\[\]]")
BETWEEN = re.compile(r"^|(?<=[{}\[\],:])")
"""Where another bracket stands in no string."""


def written(envelope: Any, value: Any) -> str:
    return json.dumps(envelope, default=lambda _: value)


@pytest.mark.parametrize("text", ['{"answer": %s}]', '{"value": %s}}', '```json\n{"result": %s}]\n```'])
@pytest.mark.parametrize(("schema", "value"), WHOLE[:4], ids=str)
def test_a_scalar_in_an_object_has_no_members_that_a_bracket_too_many_could_part(
    text: str, schema: dict[str, Any], value: Any
) -> None:
    found = find_json(text.replace("%s", json.dumps(value)), schema)
    assert isinstance(found, Found), found
    assert json.dumps(found.value) == json.dumps(value)


@pytest.mark.parametrize(("schema", "value"), WHOLE, ids=str)
def test_what_is_not_closed_beside_a_value_is_not_looked_for_in_it(schema: dict[str, Any], value: Any) -> None:
    text = f'{{"arguments": {json.dumps(value)}, "name": "f", "id": {{"of": {{"calls": [1}}}}}}'
    found = find_json(text, schema, tool="f")
    assert isinstance(found, Found), found
    assert found.value == value


@given(st.sampled_from(WHOLE), st.sampled_from(ENVELOPES), st.data())
@settings(max_examples=400, deadline=None)
def test_brackets_taken_out_or_put_in_anywhere_give_the_value_or_nothing(
    whole: tuple[dict[str, Any], Any], envelope: dict[str, Any], data: st.DataObject
) -> None:
    schema, value = whole
    text = written(envelope, value)
    for _ in range(data.draw(st.integers(1, 2))):
        if data.draw(st.booleans()):
            at = data.draw(st.sampled_from([each.start() for each in BRACKET.finditer(text)]))
            text = text[:at] + text[at + 1 :]
        else:
            at = data.draw(st.sampled_from([each.start() for each in BETWEEN.finditer(text)]))
            text = text[:at] + data.draw(st.sampled_from("{}[]")) + text[at:]
    found = find_json(text, schema, tool="f")
    if isinstance(found, Found):
        assert json.dumps(found.value) == json.dumps(value), text


@pytest.mark.parametrize("text", ['[]{"answer": [1, 2]}', '{"answer": [1, 2]}[]', '[]\n{"result": [1, 2]}'])
def test_an_envelope_of_a_list_points_to_no_source_beside_another_list(text: str) -> None:
    found = find_json(text, {"type": "array", "items": INTEGER})
    assert isinstance(found, NotFound)
    assert found.reason == "ambiguous"
