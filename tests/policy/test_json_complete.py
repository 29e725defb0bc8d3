"""An answer is said to be all there only where it is: each row whole, nothing left out, and no word beside it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.policy.json_complete import says_all
from penstock.policy.json_finding import NotFound, find_json
from penstock.policy.json_schema import SchemaCheck

ROW = {
    "type": "object",
    "properties": {"team": {"type": "string"}, "points": {"type": "integer"}, "since": {"type": "string"}},
    "required": ["team", "points"],
}
ROWS = SchemaCheck({"type": "array", "items": ROW})
TEAM = SchemaCheck(ROW)
IN_DOUBT = [r"C:\dir\new", 'A" + "B', r"a\(b\)\t", 'he said "hi', r"\"x\d"]
"""In strings: read in several ways, and refused."""
WORDS = st.text("abcxyz ", min_size=1, max_size=8)


def row(team: str, points: int) -> str:
    return f'{{"team": "{team}", "points": {points}}}'


@st.composite
def rows(draw: st.DrawFn) -> list[str]:
    """Those of an answer with one in doubt."""
    given_ = [row(draw(WORDS), draw(st.integers(0, 99))) for _ in range(draw(st.integers(0, 4)))]
    given_.insert(draw(st.integers(0, len(given_))), row(draw(st.sampled_from(IN_DOUBT)), 3))
    return given_


@given(rows(), st.sampled_from(["%s", "```json\n%s\n```", "```\n%s\n```\n", "\n%s\n"]))
@settings(max_examples=200, deadline=None)
def test_where_quotes_or_backslashes_alone_are_in_doubt_all_is_there(written: list[str], around: str) -> None:
    text = around.replace("%s", f"[{', '.join(written)}]")
    assert isinstance(find_json(text, ROWS), NotFound)
    assert says_all(text, ROWS)


GAPS = [
    "...",
    "\u2026",
    "/* 17 more */",
    "// 17 more\n",
    "{...}",
    '"..."',
    "TBD",
    "?",
    "<row>",
    "etc.",
    "null",
    '{"team": "B"}',
    '{"team": "B", "points": }',
    '{"team": "B", "points": ?}',
    '{"team": "B", "points": TBD}',
    '{"team": "B", "points": null}',
    '{"team": "B", "points"}',
    '{"team": , "points": 3}',
    '{"team": "B", "points": 3} (and 3 more)',
]


@given(rows(), st.sampled_from(GAPS), st.data())
@settings(max_examples=300, deadline=None)
def test_where_anything_is_missing_it_is_not(written: list[str], gap: str, data: st.DataObject) -> None:
    written.insert(data.draw(st.integers(0, len(written))), gap)
    assert not says_all(f"[{', '.join(written)}]", ROWS)


@given(rows(), st.data())
@settings(max_examples=200, deadline=None)
def test_what_broke_off_is_not_all(written: list[str], data: st.DataObject) -> None:
    text = f"[{', '.join(written)}]"
    assert not says_all(text[: data.draw(st.integers(0, len(text) - 1))], ROWS)


@pytest.mark.parametrize(
    "beside", ["The first 10 of 50: %s", "%s\n\n(to be continued)", "%s\n%s", "<think>Hm.</think>%s"]
)
def test_words_beside_it_may_say_that_it_is_not_all(beside: str) -> None:
    assert not says_all(beside.replace("%s", f"[{row(IN_DOUBT[0], 3)}]"), ROWS)


@pytest.mark.parametrize(
    "text",
    [
        r'{"answer": {"team": "C:\dir\new", "points": 3}}',
        r'{"name": "C:\dir\new", "score": 3}',
        "{",
        "",
        "no",
    ],
)
def test_what_is_not_the_value_itself_is_not_all(text: str) -> None:
    assert not says_all(text, TEAM)


def test_of_a_type_of_options_an_object_of_other_names_says_nothing() -> None:
    options: dict[str, Any] = {"type": "object", "properties": {"team": {"type": "string"}}}
    assert says_all(json.dumps({"team": "A"}), SchemaCheck(options))
    assert not says_all(r'{"name": "C:\dir\new"}', SchemaCheck(options))
