"""Texts with many values beside each other, or with many names, end as soon as others.

50 ms for a megabyte is the promise, on a machine that does nothing else (benchmarks); here others run beside it.
"""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from penstock.policy.json_finding import Found, NotFound, find_json
from penstock.policy.json_schema import SchemaCheck

SIZE = 1_000_000
ADA = '{"name": "Ada", "age": 36}'
PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["name"],
}
NUMBERS = {"type": "array", "items": {"type": "integer"}}


def looked_for(text: str, schema: dict[str, Any], *, least: float = 0.25) -> Found | NotFound:
    """What is found, in less than so many seconds, in the better of two."""
    check = SchemaCheck(schema)
    spent: list[float] = []
    answers: list[Found | NotFound] = []
    for _ in range(2):
        began = time.process_time()
        answers.append(find_json(text, check))
        spent.append(time.process_time() - began)
    assert min(spent) < least
    return answers[0]


@pytest.mark.parametrize(
    ("said", "schema"), [('a {"x": 1} ', PERSON), ("a [1] ", NUMBERS), ("a <think> ", PERSON), ('{"name": 1} ', PERSON)]
)
def test_characters_that_look_like_newlines_to_a_search_cost_no_more_than_others(
    said: str, schema: dict[str, Any]
) -> None:
    # U+4E0A: its low byte is that of a newline, and a search for one stops at each.
    looked_for((said + "\u4e0a" * (1_000 - len(said))) * (SIZE // 1_000) + f"\n{ADA}", schema)


@pytest.mark.parametrize("part", ["/", "</a>", "[/", "◁/"])
def test_what_a_thought_may_end_with_is_not_looked_for_at_each_slash(part: str) -> None:
    looked_for((part * SIZE)[:SIZE], PERSON, least=0.05)


ORDER = {
    "type": "object",
    "properties": {"id": {"type": "string"}, "items": {"type": "array"}, "total": {"type": "number"}},
    "required": ["id", "items", "total"],
}
SOME_ORDER = '\n```json\n{"id": "o", "items": [], "total": 5}\n```'


@pytest.mark.parametrize("said", ['as {"id": 1} is. ', 'as {"id": 1} "a" is. ', 'as {"id": 1} (`x`) is. '])
def test_objects_that_are_mentioned_are_not_each_paired_with_all_brackets_behind(said: str) -> None:
    looked_for(said * 1_000 + SOME_ORDER, ORDER, least=0.15)


def test_an_answer_behind_some_objects_that_are_mentioned_is_found() -> None:
    answer = looked_for('as {"id": 1} is. ' * 100 + SOME_ORDER, ORDER)
    assert isinstance(answer, Found)
    assert answer.value["id"] == "o"


def texts(count: int) -> dict[str, Any]:
    """An object of so many, all of them required."""
    names = [f"field_{number:02d}" for number in range(count)]
    return {"type": "object", "properties": {name: {"type": "string"} for name in names}, "required": names}


def mentioned(name: str, held: str, count: int = 1) -> str:
    """Objects of sixty names each, in a sentence of their own."""
    written = "{" + ",".join(f'"{name}{number:02d}":{held}' for number in range(60)) + "}"
    return f"x {written} y\n" * count


@pytest.mark.parametrize("fields", [10, 100])
@pytest.mark.parametrize(("name", "held"), [("other", "1"), ("field_x", '{"a":1}'), ("other", "[1]")])
def test_objects_of_many_names_are_not_compared_name_by_name(fields: int, name: str, held: str) -> None:
    schema = texts(fields)
    answer = "\n```json\n" + json.dumps(dict.fromkeys(schema["required"], "x")) + "\n```"
    looked_for(mentioned(name, held, 400) + answer, schema, least=0.15)
    found = looked_for(mentioned("other", held, 50) + answer, schema)
    assert isinstance(found, Found)
    assert found.value["field_09"] == "x"


def test_different_names_without_end_are_no_reason_to_go_on() -> None:
    said = "".join(f'x {{"name": 1, "a{number}": 2, "b{number}": 3}} y\n' for number in range(1_000))
    assert isinstance(looked_for(said + f"```json\n{ADA}\n```", PERSON), Found | NotFound)


@pytest.mark.parametrize("member", ['"a":[1,2,3]', '"a":{"b":[1],"b":[1]}', '"a":[1,2],"a":[1,2.0]', '"a":[true,1]'])
def test_what_is_said_again_and_again_is_not_compared_without_end(member: str) -> None:
    looked_for("{" + ",".join([member] * (SIZE // len(member))) + "}", PERSON, least=0.15)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": [1, {"b": 2, "c": 3}], "a": [1.0, {"c": 3, "b": 2}]}', {"a": [1.0, {"c": 3, "b": 2}]}),
        ('{"a": {"x": true, "y": 1}, "a": {"y": 1, "x": true}}', {"a": {"x": True, "y": 1}}),
        ('{"a": 1, "a": true}', None),
        ('{"a": [1], "a": [true]}', None),
        ('{"a": [[1]], "a": [[1], []]}', None),
    ],
)
def test_what_is_said_twice_is_compared_as_json(text: str, value: object) -> None:
    answer = find_json(text)
    assert (answer.value if isinstance(answer, Found) else None) == value
