"""Texts that are JSON and nothing else: read by the faster reader or the other, they come to the same."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from penstock.policy.json_finding import Found, NotFound, find_json
from penstock.policy.json_notation import DEEPEST, SCANNER
from penstock.policy.json_wholes import SHORT, read_once
from penstock.policy.schema_knowledge import NONE

SPACE = st.sampled_from(["", "", " ", "\n", "\t\r\n "])
NAMES = st.sampled_from(["a", "b", ":", 'a"', "a: b", "\\", "http://a"])
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from(
        [0, -1, 2**63, 2**64, -(2**70), 10**40, 0.0, -0.0, 1.5, 1e22, 1e23, 5e-324, 1.7976931348623157e308]
    ),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=4),
    NAMES,
).map(json.dumps)
SAID = st.sampled_from(
    ['"\\ud83d\\ude00"', '"\\ud800"', "1e400", "NaN", "-0", "1E5", "01", '"\\/"', '"\x01"', "1.", "'a'"]
)


@st.composite
def texts(draw: st.DrawFn, depth: int = 3) -> str:
    """Mostly JSON; an object may have a name twice."""
    kind = draw(st.sampled_from(["scalar", "said", "array", "object", "object"])) if depth else "scalar"
    match kind:
        case "array":
            inside = ",".join(draw(st.lists(texts(depth - 1), max_size=3)))
            return f"[{draw(SPACE)}{inside}{draw(SPACE)}]"
        case "object":
            members = draw(st.lists(st.tuples(NAMES, texts(depth - 1)), max_size=3))
            return "{" + ",".join(f"{json.dumps(name)}{draw(SPACE)}:{held}" for name, held in members) + "}"
        case "said":
            return draw(SAID)
        case _:
            return draw(SPACE) + draw(SCALARS) + draw(SPACE)


@given(texts())
@example('{"a":1,"a":2}')
@example('{"a" :1,"a":2,"b":":"}')
@example('{"a":1,"b":"::"}')
@settings(max_examples=1_500, deadline=None)
def test_a_whole_text_is_read_as_by_the_reader_that_keeps_every_name(text: str) -> None:
    for each in (text, f'[{text},"{"x" * SHORT}"]'):
        try:
            told = repr(SCANNER.decode(each))
        except ValueError:
            told = repr(NONE)
        if "\\ud800" not in text:
            assert repr(read_once(each).value) == told


@pytest.mark.parametrize("more", ["", ',"c":"' + "x" * SHORT + '"'])
@pytest.mark.parametrize("said", ['"a":1,"b":2,"a":3', '"a" :1,"b":":","a":{"c":3}', '"b":[{"a":1,"a":2}]'])
def test_what_is_said_twice_and_differently_is_no_value(said: str, more: str) -> None:
    assert isinstance(find_json(f"{{{said}{more}}}", {"type": "object"}), NotFound)


@pytest.mark.parametrize("said", ['"a":1,"b":2,"a":1.0', '"at":"10:30","url":"http://a"'])
def test_what_is_said_twice_and_the_same_and_colons_in_texts_are_no_harm(said: str) -> None:
    value: Any = json.loads(f"{{{said}}}")
    assert find_json(f"{{{said}}}", {"type": "object"}) == Found(value)


@pytest.mark.parametrize("many", [DEEPEST - 2, DEEPEST + 2, SHORT])
def test_many_containers_side_by_side_are_not_deep(many: int) -> None:
    assert find_json("[" + "[],{}," * many + "1]") == Found([[], {}] * many + [1])
