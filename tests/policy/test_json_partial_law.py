"""The law of partial values: whatever is shown is a beginning of the value that the answer turns out to be.

The texts are made around values that are known before: what the law is judged by is not asked of any of the code.
"""

from __future__ import annotations

import copy
import json
from itertools import pairwise
from typing import Any

import pytest
from attrs import frozen
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.policy.json_partial import NOTHING_YET, PartialJson
from penstock.policy.json_values import is_array, is_object

TEXT: dict[str, Any] = {"type": "string"}
NUMBER: dict[str, Any] = {"type": "integer"}
TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=8)
NUMBERS = st.integers(-99_999, 99_999)
ROOMS = st.sampled_from(["kitchen", "bath", "up", "down the hall", "Ω", "r2"])


def struct(required: list[str], **members: Any) -> dict[str, Any]:
    return {"type": "object", "properties": members, "required": required}


def mapping(held: Any) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": held}


SCORE = struct(["home", "away"], home=NUMBER, away=NUMBER)
MATCH = struct(
    ["home_team", "away_team", "score"],
    home_team=TEXT,
    away_team=TEXT,
    score=SCORE,
    scorers={"type": "array", "items": TEXT},
)
PERSON = {
    **struct(["name"], name=TEXT, title=TEXT, manager={"$ref": "#/$defs/Person"}),
    "$defs": {"Person": struct(["name"], name=TEXT, title=TEXT)},
}
PEOPLE = {"type": "array", "items": struct(["name", "title"], name=TEXT, title=TEXT)}
ACTIONS = struct(["action", "source"], action=TEXT, source=TEXT, port=NUMBER)
REPORT = struct(["answer"], answer=TEXT, data=mapping(NUMBER))
CHECKED = struct(["status", "lines"], status=TEXT, lines={"type": "array", "items": NUMBER})


def people() -> st.SearchStrategy[dict[str, Any]]:
    person = st.fixed_dictionaries({"name": TEXTS}, optional={"title": TEXTS})
    return st.fixed_dictionaries({"name": TEXTS}, optional={"title": TEXTS, "manager": person})


@frozen
class Kind:
    """A type, values of it, and what is none of them: objects that a text may speak of before."""

    schema: dict[str, Any]
    values: st.SearchStrategy[Any]
    others: tuple[str, ...]
    wrapped: tuple[str, ...] = ()
    """Names that envelopes of it have, besides those that all have."""


SCORES = st.fixed_dictionaries({"home": NUMBERS, "away": NUMBERS})
KINDS = {
    "match": Kind(
        MATCH,
        st.fixed_dictionaries(
            {
                "home_team": TEXTS,
                "away_team": TEXTS,
                "score": st.fixed_dictionaries({"home": NUMBERS, "away": NUMBERS}),
            },
            optional={"scorers": st.lists(TEXTS, max_size=3)},
        ),
        ('{"home": 1, "away": 0}', '{"home_team": "¿"}', "{raw: 1}", '{"score": {"home": 1, "away": 1}}', "{}", "[]"),
        ("match", "game"),
    ),
    "person": Kind(PERSON, people(), ('{"title": "¿"}', '{"x": {"y": 1}}', "{}"), ("person",)),
    "people": Kind(
        PEOPLE,
        st.lists(st.fixed_dictionaries({"name": TEXTS, "title": TEXTS}), min_size=2, max_size=3),
        ('{"name": "¿"}', "[1]", "[0, 7]", "{}", '["a"]'),
        ("people",),
    ),
    "action": Kind(
        ACTIONS,
        st.fixed_dictionaries({"action": TEXTS, "source": TEXTS}, optional={"port": NUMBERS}),
        ('{"action": "¿"}', '{"port": 22}', '{"type": "object"}'),
        ("rule",),
    ),
    "report": Kind(
        REPORT,
        st.fixed_dictionaries({"answer": TEXTS}, optional={"data": st.dictionaries(ROOMS, NUMBERS, max_size=2)}),
        ('{"data": {"a": 1}}', '{"question": "why"}'),
    ),
    "checked": Kind(
        CHECKED,
        st.fixed_dictionaries({"status": TEXTS, "lines": st.lists(NUMBERS, max_size=3)}),
        ('{"status": "ok"}', '{"lines": [1]}'),
    ),
    "counts": Kind(
        mapping(NUMBER),
        st.dictionaries(ROOMS, NUMBERS, min_size=1, max_size=4),
        ('{"version": "¿"}', '{"a": {"b": 1}}', '{"a": [1]}'),
        ("counts", "totals"),
    ),
    "words": Kind(
        mapping(TEXT),
        st.dictionaries(ROOMS, TEXTS, min_size=1, max_size=4),
        ('{"version": 1}', '{"a": {"b": "c"}}'),
        ("translations",),
    ),
    "groups": Kind(
        mapping({"type": "array", "items": TEXT}),
        st.dictionaries(ROOMS, st.lists(TEXTS, max_size=3), min_size=1, max_size=4),
        ('{"version": 1}', '{"a": [1]}', '{"a": [[]]}'),
        ("groups",),
    ),
    "nested": Kind(
        mapping(mapping(NUMBER)),
        st.dictionaries(ROOMS, st.dictionaries(ROOMS, NUMBERS, min_size=1, max_size=2), min_size=1, max_size=3),
        ('{"a": {"b": "c"}}', '{"version": 1}'),
        ("table",),
    ),
    "numbers": Kind(
        {"type": "array", "items": NUMBER},
        st.lists(NUMBERS, min_size=1, max_size=4),
        ('{"version": 1}', "[3]", "[1, 0]", '["a"]'),
    ),
}
FENCED = 'Given\n```json\n{"version": [1.5]}\n```\nit is'
PROSE = ["As {} says.", "Half-time: {}", "I read `parse({})`.", "Input:\n{}\nOutput:", FENCED]
ENVELOPES: list[dict[str, Any]] = [
    {"result": ...},
    {"data": ...},
    {"reasoning": "first this, then that", "result": ...},
    {"confidence": 0.9, "result": ...},
    {"status": "ok", "data": ...},
    {"success": True, "value": ...},
    {"result": {"data": ...}},
]
CALLS: list[dict[str, Any]] = [
    {"name": "Tool", "arguments": ...},
    {"id": "call_1", "type": "function", "function": {"name": "Tool", "arguments": ...}},
    {"tool_calls": [{"id": "call_1", "type": "function", "function": {"name": "Tool", "arguments": ...}}]},
    {"functionCall": {"name": "Tool", "args": ...}},
    {"thought": "I call it", "name": "Tool", "arguments": ...},
    {"action": "Tool", "action_input": ...},
]
THOUGHTS = [
    "",
    '<think>Maybe {"name": "¿"}?</think>\n',
    'Here is my thought process:\n{"action": "¿"}\n\nHere is my response:\n',
    "◁think▷{}◁/think▷",
]
BEHIND = ["", "\n", "\n\nThat is all.", "\n\nSee [1]."]


def filled(form: Any, held: Any) -> Any:
    if is_object(form):
        return {name: filled(each, held) for name, each in form.items()}
    if is_array(form):
        return [filled(each, held) for each in form]
    return held if form is ... else form


@st.composite
def answers(draw: st.DrawFn, kind: Kind) -> tuple[str, Any]:
    """What a model writes, and what it means."""
    value = draw(kind.values)
    written: Any = value
    how = draw(st.sampled_from(["bare", "envelope", "named", "call"]))
    if how == "envelope":
        written = filled(draw(st.sampled_from(ENVELOPES)), value)
    elif how == "named" and kind.wrapped:
        written = {draw(st.sampled_from(kind.wrapped)): value}
    elif how == "call":
        held = draw(st.sampled_from([value, json.dumps(value)]))
        written = filled(draw(st.sampled_from(CALLS)), held)
    text = json.dumps(written, ensure_ascii=draw(st.booleans()), indent=draw(st.sampled_from([None, 2])))
    if draw(st.booleans()):
        text = f"```json\n{text}\n```"
    before = [
        draw(st.sampled_from(PROSE)).replace("{}", draw(st.sampled_from(kind.others)))
        for _ in range(draw(st.integers(0, 3)))
    ]
    return draw(st.sampled_from(THOUGHTS)) + "\n\n".join([*before, text]) + draw(st.sampled_from(BEHIND)), value


def begins(part: Any, value: Any) -> bool:
    """True where one is the other before the rest of it came."""
    if is_object(part):
        return is_object(value) and all(name in value and begins(held, value[name]) for name, held in part.items())
    if is_array(part):
        return is_array(value) and len(part) <= len(value) and all(map(begins, part, value))
    if isinstance(part, str):
        return isinstance(value, str) and value.startswith(part)
    return bool(part == value)


def shown(text: str, schema: Any, cuts: list[int]) -> list[Any]:
    growing, seen = PartialJson(schema), list[Any]()
    places = [0, *sorted(cut % (len(text) + 1) for cut in cuts), len(text)]
    for before, after in pairwise(places):
        if growing.feed(text[before:after]):
            assert growing.value is not NOTHING_YET
            seen.append(copy.deepcopy(growing.value))
    return seen


@pytest.mark.parametrize("name", KINDS)
@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_what_is_shown_is_a_beginning_of_the_value_whatever_stands_around_it(name: str, data: st.DataObject) -> None:
    kind = KINDS[name]
    text, value = data.draw(answers(kind))
    each = list(range(len(text)))
    cuts = data.draw(st.one_of(st.just(each), st.lists(st.integers(0, 10_000), max_size=12)))
    for part in shown(text, kind.schema, cuts):
        assert begins(part, value), (text, part)


@pytest.mark.parametrize("name", KINDS)
@given(data=st.data())
@settings(max_examples=50, deadline=None)
def test_a_value_by_itself_is_shown_to_its_end(name: str, data: st.DataObject) -> None:
    kind = KINDS[name]
    value = data.draw(kind.values)
    text = json.dumps(value)
    assert shown(text, kind.schema, list(range(len(text))))[-1] == value


@pytest.mark.parametrize("schema", [{}, {"type": "object"}, mapping({}), mapping(True)])
@given(
    value=st.dictionaries(
        st.sampled_from(["result", "value", "data", "a", "input", "counts", "confidence", "name"]),
        st.recursive(NUMBERS | TEXTS, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(ROOMS, inner)),
        max_size=4,
    ),
)
@settings(max_examples=100, deadline=None)
def test_of_what_may_be_any_object_no_envelope_is_taken_off(schema: Any, value: Any) -> None:
    for part in shown(text := json.dumps(value), schema, list(range(len(text)))):
        assert begins(part, value)


PORTO = '{"home_team": "Porto", "away_team": "Benfica", "score": {"home": 2, "away": 1}}'


@pytest.mark.parametrize(
    "before",
    [
        'Half-time: {"home": 1, "away": 0}\n\n',
        "I read `parse({raw: 1})`.\n\n```json\n",
        'The form {"home_team": "Faro"} is not whole.\n\n```json\n',
        'Input:\n{"home_team": "Faro"}\n\nOutput:\n```json\n',
        '```json\n{"version": 3}\n```\n\n```json\n',
    ],
)
def test_behind_what_is_but_mentioned_the_value_is_shown(before: str) -> None:
    text = before + PORTO + ("\n```" if before.endswith("json\n") else "")
    seen = shown(text, MATCH, list(range(len(text))))
    assert seen[-1] == json.loads(PORTO)
    assert all(begins(part, seen[-1]) for part in seen)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("counts", '{"counts": {"kitchen": 1, "bath": 2}}', {"kitchen": 1, "bath": 2}),
        ("words", '{"translations": {"hello": "hallo"}}', {"hello": "hallo"}),
        ("groups", '{"groups": {"up": ["bed", "bath"]}}', {"up": ["bed", "bath"]}),
        ("report", '{"answer": {"answer": "yes", "data": {}}}', {"answer": "yes", "data": {}}),
        ("person", '{"name": "Tool", "arguments": {"name": "Ada", "title": "CTO"}}', {"name": "Ada", "title": "CTO"}),
    ],
)
def test_what_an_envelope_holds_is_shown_while_it_grows(name: str, text: str, value: Any) -> None:
    seen = shown(text, KINDS[name].schema, list(range(len(text))))
    assert len(seen) > 1
    assert seen[-1] == value
    assert all(begins(part, value) for part in seen)


@pytest.mark.parametrize("before", ["", "Sure!\n\n```json\n"])
def test_an_object_with_a_name_of_its_own_is_shown_from_its_first_character(before: str) -> None:
    assert shown(f'{before}{{"home_team": "P', MATCH, []) == [{"home_team": "P"}]
