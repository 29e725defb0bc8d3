"""JSON while it grows: in the end the value, on the way never more than has come, and in linear time."""

from __future__ import annotations

import copy
import json
import time
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.policy.json_partial import NOTHING_YET, PartialJson
from penstock.policy.json_values import is_array, is_object

SCALARS = st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.text(max_size=12)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)
ROOTS = st.lists(VALUES, max_size=4) | st.dictionaries(st.text(max_size=5), VALUES, max_size=4)


def fed(pieces: list[str]) -> PartialJson:
    growing = PartialJson()
    for piece in pieces:
        growing.feed(piece)
    return growing


def split(text: str, cuts: list[int]) -> list[str]:
    places = [0, *sorted(cut % (len(text) + 1) for cut in cuts), len(text)]
    return [text[before:after] for before, after in pairwise(places)]


@given(ROOTS, st.lists(st.integers(0, 10_000), max_size=8), st.booleans())
@settings(max_examples=300, deadline=None)
def test_however_the_text_is_split_the_whole_value_stands_there_in_the_end(
    value: Any,
    cuts: list[int],
    ascii_only: bool,  # noqa: FBT001 - drawn by Hypothesis
) -> None:
    text = f"<think>{{}}</think>Here:\n{json.dumps(value, ensure_ascii=ascii_only, indent=1)} That is all."
    growing = fed(split(text, cuts))
    assert growing.whole
    assert growing.value == value


@pytest.mark.parametrize("size", [1, 2, 3, 1_000])
@pytest.mark.parametrize("between", ["\n2. ", "\n- ", " and "])
def test_however_the_text_is_split_what_stands_between_lines_ends_them(between: str, size: int) -> None:
    text = f'1. {{"n": 1}}{between}{{"n": 2}}\n{{"n": 3}}'
    growing = PartialJson({"type": "array", "items": {"type": "object", "properties": {"n": {"type": "integer"}}}})
    for at in range(0, len(text), size):
        growing.feed(text[at : at + size])
    assert growing.value == [{"n": 1}]


@given(ROOTS)
@settings(max_examples=200, deadline=None)
def test_on_the_way_it_never_shows_what_has_not_come(value: Any) -> None:
    growing, seen = PartialJson(), list[Any]()
    for char in json.dumps(value):
        growing.feed(char)
        if growing.value is not NOTHING_YET:
            seen.append(copy.deepcopy(growing.value))
    assert seen[-1] == value
    for before, after in pairwise(seen):
        assert is_part(before, after), (before, after)


def is_part(part: Any, whole: Any) -> bool:
    if isinstance(part, str):
        return isinstance(whole, str) and whole.startswith(part)
    if is_array(part):
        return is_array(whole) and len(part) <= len(whole) and all(map(is_part, part, whole))
    if is_object(part):
        return is_object(whole) and all(key in whole and is_part(part[key], whole[key]) for key in part)
    return bool(part == whole)


@given(st.lists(st.text(alphabet='{}[]",:\\u0d8ntrue1 <think>/', max_size=10), max_size=10))
@settings(max_examples=300, deadline=None)
def test_no_text_raises(pieces: list[str]) -> None:
    fed(pieces)


def test_a_text_is_shown_while_it_grows() -> None:
    growing = PartialJson()
    growing.feed('{"note": "All ro')
    assert growing.value == {"note": "All ro"}
    growing.feed('ads lead"')
    assert growing.value == {"note": "All roads lead"}


def least_seconds(pieces: list[str]) -> float:
    """CPU of feeding them, the best of three times."""
    best = 1e9
    for _ in range(3):
        began = time.process_time()
        fed(pieces)
        best = min(best, time.process_time() - began)
    return best


@pytest.mark.parametrize("kind", ["one long text", "many items"])
def test_all_partial_values_together_cost_time_linear_in_the_text(kind: str) -> None:
    def seconds(size: int) -> float:
        text = json.dumps({"a": "x" * size} if kind == "one long text" else {"a": [{"b": 1}] * (size // 10)})
        pieces = [text[at : at + 16] for at in range(0, len(text), 16)]
        return least_seconds(pieces)

    # Eight times the text: quadratic would be sixty-four times the time.
    assert seconds(800_000) < 24 * seconds(100_000)


def shown(text: str, schema: Any = None) -> list[Any]:
    """All that is shown while the text comes character by character: each time that there is something new."""
    growing, seen = PartialJson(schema), list[Any]()
    for char in text:
        if growing.feed(char):
            seen.append(copy.deepcopy(growing.value))
    return seen


PERSON = {"type": "object", "properties": {"name": {"type": "string"}, "items": {"type": "array"}}}
PEOPLE = {"type": "array", "items": PERSON}
PLACE = {"type": "object", "properties": {"city": {"type": "string"}}}


@pytest.mark.parametrize(
    "text",
    [
        "{'name': 'Ada', 'items': [1, 2]}",
        '{name: "Ada", items: [1, 2]}',
        "{“name”: “Ada”, “items”: [1, 2]}",
        'As [1] says: {"name": "Ada", "items": [1, 2]}',
        'With {braces} and {"name" in them: {"name": "Ada", "items": [1, 2]}',
        '{{"name": "Ada", "items": [1, 2]}}',
        '<THINK>{"name": "Bob"}</THINK>{"name": "Ada", "items": [1, 2]}',
        '◁think▷{"name": "Bob"}◁/think▷{"name": "Ada", "items": [1, 2]}',
        'Here is my thought process:\n{"name": "Bob"}\n\nHere is my response:\n{"name": "Ada", "items": [1, 2]}',
        '<|inner_prefix|>{"name": "Bob"}<|inner_suffix|>{"name": "Ada", "items": [1, 2]}',
        '<|channel>thought\n{"name": "Bob"}<channel|>{"name": "Ada", "items": [1, 2]}',
        '<|channel|>analysis<|message|>{"x": 1}<|end|><|channel|>final<|message|>{"name": "Ada", "items": [1, 2]}',
        '{"value": {"name": "Ada", "items": [1, 2]}}',
    ],
)
def test_what_is_written_otherwise_or_stands_behind_something_else_is_shown_as_it_is_meant(text: str) -> None:
    seen = shown(text, PERSON)
    assert seen[-1] == {"name": "Ada", "items": [1, 2]}
    assert all(is_part(part, seen[-1]) for part in seen)


def test_the_thoughts_before_a_closing_tag_alone_are_taken_back() -> None:
    assert shown('{"name": "Bob"}</think>{"name": "Ada"}', PERSON)[-1] == {"name": "Ada"}


@pytest.mark.parametrize(
    ("text", "schema", "last"),
    [
        ('{"value": [{"name": "Ada"}]}', PEOPLE, [{"name": "Ada"}]),
        ('{"value": "Ada"}', {"type": "string"}, "Ada"),
        ('{"value": 1, "unit": "m"}', {"type": "object"}, {"value": 1, "unit": "m"}),
        ("As [1] says: [4, 5.5]", {"type": "array"}, [4, 5.5]),
        ("[4, 5] as [1] says", {"type": "array"}, [4, 5]),
        ("{}", PERSON, {}),
        ("[]", PEOPLE, []),
        ('{"value": "alpha"}', {"enum": ["alpha", "beta"]}, "alpha"),
        ('{"value": "alpha"}', {"const": "alpha"}, "alpha"),
        ('{"value": 2}', {"$ref": "#/$defs/n", "$defs": {"n": {"enum": [1, 2]}}}, 2),
        ('{"answer": "alpha"}', {"enum": ["alpha", None]}, "alpha"),
        ('{"result": {"name": "Ada", "items": [1]}}', PERSON, {"name": "Ada", "items": [1]}),
        ('{"person": {"x": 1, "name": "Ada"}}', PERSON, {"x": 1, "name": "Ada"}),
        ('{"tool": "x", "name": "Ada"}', PERSON, {"tool": "x", "name": "Ada"}),
        ('{"name": "answer", "arguments": {"city": "Rome"}}', PLACE, {"city": "Rome"}),
        ('{"items": [{"name": "Ada"}]}', {"type": "array", "items": PLACE}, [{"name": "Ada"}]),
        ('{"people": [{"name": "Ada"}, {"name": "Bob"}]}', PEOPLE, [{"name": "Ada"}, {"name": "Bob"}]),
        ('{"name": "Ada"}\n{"name": "Bob"}', PEOPLE, [{"name": "Ada"}, {"name": "Bob"}]),
        ('{"name": "Ada"},\n{"name": "Bob"},\n', PEOPLE, [{"name": "Ada"}, {"name": "Bob"}]),
        ('```\n{"name": "Ada"}\n\n{"name": "Bob"}\n```', PEOPLE, [{"name": "Ada"}, {"name": "Bob"}]),
        ('{"name": "Ada"}\n{"name": "Bob"}\nI hope {that} helps.', PEOPLE, [{"name": "Ada"}, {"name": "Bob"}]),
    ],
)
def test_what_stands_around_the_value_is_never_shown(text: str, schema: Any, last: Any) -> None:
    seen = shown(text, schema)
    assert seen[-1] == last
    assert all(is_part(part, last) for part in seen)


def test_a_word_of_the_schema_is_shown_out_of_its_wrapper_while_it_grows() -> None:
    assert shown('{"value": "beta"}', {"enum": ["alpha", "beta"]}) == ["b", "be", "bet", "beta"]


def test_the_lines_of_a_list_are_shown_while_they_grow() -> None:
    assert shown('{"items": ["Ed"]}\n{"items": ["Al"]}', PEOPLE) == [
        [{"items": []}],
        [{"items": ["E"]}],
        [{"items": ["Ed"]}],
        [{"items": ["Ed"]}, {"items": []}],
        [{"items": ["Ed"]}, {"items": ["A"]}],
        [{"items": ["Ed"]}, {"items": ["Al"]}],
    ]


def test_the_lines_of_a_thought_are_none() -> None:
    text = '{"name": "Ed"}\n{"name": "Al"}</think>{"name": "Bo"}\n{"name": "Cy"}'
    assert shown(text, PEOPLE)[-1] == [{"name": "Bo"}, {"name": "Cy"}]


@given(st.integers(1, 40))
def test_what_is_taken_for_the_value_does_not_depend_on_how_the_text_is_split(length: int) -> None:
    members = ", ".join(f'"k{at}": {at}' for at in range(20))
    for text, schema in (
        (f'{{"person": {{{members}, "name": "Ada"}}}}', PERSON),
        (f'{{{members}, "person": {{"name": "Ada"}}}}', PERSON),
        (f'{{"people": [{"{}, " * 20}{{"name": "Ada"}}]}}', PEOPLE),
        ('{"name": "Ada"}\n{"name": "Bob"} {"x": 1}', PEOPLE),
    ):
        whole, split_up = PartialJson(schema), PartialJson(schema)
        whole.feed(text)
        for at in range(0, len(text), length):
            split_up.feed(text[at : at + length])
        assert split_up.value == whole.value or (split_up.value is whole.value is NOTHING_YET)


@pytest.mark.parametrize(
    "text", ['{"value": [{"name": "Ada", "items": [1, 2]}]}', '{"name": "Ada", "items": [[], {}]}']
)
def test_each_step_has_something_new(text: str) -> None:
    seen = shown(text, PEOPLE if text.startswith('{"value"') else PERSON)
    assert all(before != after for before, after in pairwise(seen))


CITY = {"type": "object", "properties": {"city": {"type": "string"}, "items": {"type": "array"}}}


@pytest.mark.parametrize(
    ("text", "last"),
    [
        ('{"city": "said "hi" to", "items": []}', {"city": "said "}),
        ("{'city': 'the dogs', and more', 'items': []}", {"city": "the dogs"}),
        ('{"city": "Ada" "items": []}', {"city": "Ada"}),
        ('{"city": "Ada", "items": [1, x]}', {"city": "Ada", "items": [1]}),
        ('{"city": "Ada", "items": [1.2.3]}', {"city": "Ada", "items": []}),
        ('{"city": "Ada"] "items": [1]}', {"city": "Ada"}),
    ],
)
def test_what_is_damaged_is_shown_as_far_as_it_was_sound(text: str, last: Any) -> None:
    assert shown(text, CITY)[-1] == last


FLOODS = [
    *(
        "</think>",
        "<think></think>",
        "<think>",
        "< ",
        "<",
        "{",
        "[",
        "{}",
        "[1]",
        "[1] see ",
        "'",
        "{'a':'",
        '{"a":"x",',
    ),
    *("{'a':' ' ' ' ", "[1,", "\\u", '{"a":"\\', "◁", "<|channel|>analysis", "a [think] ", "{a", "1", "\n{x: ", " "),
]


TEXT = {"type": "string"}
OF_SCHEMAS = {
    "unknown members": ("{", '"k{}": 1, ', PERSON),
    "unknown members of an envelope": ('{"person": {', '"k{}": 1, ', PERSON),
    "empty items of an envelope": ('{"people": [', "{{}}, ", PEOPLE),
    "lines": ("", '{{"name": "n{}"}}\n', PEOPLE),
    "what is but mentioned": ("", 'as {{"x": {}}} is, ', PERSON),
    "values that are but mentioned": ("", 'as {{"x": {}}} is, ', {"type": "object", "additionalProperties": TEXT}),
    "sources": ('{"sources": [', "{}, ", {"type": "object", "additionalProperties": TEXT}),
    "members of one kind": ("{", '"k{}": "x", ', {"type": "object", "additionalProperties": TEXT}),
    "numbers that may be a note": ("as [", "{}, ", {"type": "array"}),
    "a member that may be the value": (
        '{"answer": {',
        '"k{}": 1, ',
        {"type": "object", "properties": {"answer": {"type": "object"}}},
    ),
    "a long reason": ('{"reason": "', "word {} ", PERSON),
}


@pytest.mark.parametrize(("before", "member", "schema"), OF_SCHEMAS.values(), ids=OF_SCHEMAS)
def test_to_look_for_the_value_in_what_grows_costs_time_linear_in_the_text(
    before: str, member: str, schema: Any
) -> None:
    def seconds(size: int) -> float:
        text = before + "".join(member.format(at) for at in range(size))
        pieces = [text[at : at + 5] for at in range(0, len(text), 5)]
        best = 1e9
        for _ in range(3):
            growing, began = PartialJson(schema), time.process_time()
            for piece in pieces:
                growing.feed(piece)
            best = min(best, time.process_time() - began)
        return best

    assert seconds(8_000) < 24 * seconds(1_000) + 0.005


@pytest.mark.parametrize("flood", FLOODS)
@pytest.mark.parametrize("piece", [1, 10**9])
def test_a_flood_costs_time_linear_in_the_text(flood: str, piece: int) -> None:
    def seconds(size: int) -> float:
        text = (flood * (size // len(flood) + 1))[:size]
        pieces = [text[at : at + piece] for at in range(0, len(text), piece)]
        return least_seconds(pieces)

    assert seconds(16_000) < 24 * seconds(2_000) + 0.005
