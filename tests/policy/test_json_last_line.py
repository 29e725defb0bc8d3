"""A last line that says null: of the answer, or of something else that is said beside it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from penstock.policy.json_finding import Found, NotFound, find_json

INVOICE = {
    "type": "object",
    "properties": {"number": {"type": "string"}, "total": {"type": "number"}, "note": {"type": "string"}},
    "required": ["number", "total"],
}
COUNTS = {"type": "object", "additionalProperties": {"type": "integer"}}
VALUES: list[tuple[dict[str, Any], Any]] = [
    (INVOICE, {"number": "A-17", "total": 1299.0}),
    ({"type": "array", "items": INVOICE}, [{"number": "A-17", "total": 1299.0}]),
    (COUNTS, {"oak": 3}),
    ({"type": "array", "items": {"type": "string"}}, ["oak", "elm"]),
]
WHICH = pytest.mark.parametrize(("schema", "value"), VALUES, ids=["object", "objects", "map", "words"])
SHOWN = pytest.mark.parametrize("shown", ["```json\n{}\n```\n\n{}", "{}\n\n{}", "Result: {}\n{}"])


def told(shown: str, value: Any, last: str) -> str:
    before, _, behind = shown.partition("{}")
    return before + json.dumps(value) + behind.replace("{}", last)


@WHICH
@SHOWN
@pytest.mark.parametrize(
    "last",
    [
        "**Notes:** None",
        "Notes: None.",
        "- Errors: None\n- Warnings: None",
        "**Missing fields:** None.",
        "Missing data: None",
        "Action items: None",
        "Fields with no value = null",
        "Follow-up questions: None.",
        "Value of x: null",
        "Default value: null",
        "### Assumptions\n\nNone.",
        "**Missing information**\n\nNone.",
        "1. **Open points**\nNone",
        "Caveats:\n* None",
        "Anything that is not clear?\nNone.",
    ],
)
def test_null_of_something_else_says_nothing_of_a_value(
    schema: dict[str, Any], value: Any, shown: str, last: str
) -> None:
    answer = find_json(told(shown, value, last), schema)
    assert isinstance(answer, Found), answer
    assert answer.value == value


@WHICH
@SHOWN
@pytest.mark.parametrize(
    "last",
    [
        "null",
        "No claim is made in it.\n\nnull",
        "Answer: null",
        "**Final answer:** `None`",
        "There is no claim in it. Answer: null",
        "So the result is: null",
        "Nothing is named in it, so the correct output would be: null.",
        "### Answer\n\nNone",
        "**Result:**\nnull",
    ],
)
def test_null_that_is_announced_as_an_answer_or_stands_alone_may_be_it(
    schema: dict[str, Any], value: Any, shown: str, last: str
) -> None:
    answer = find_json(told(shown, value, last), schema)
    assert isinstance(answer, NotFound), answer
    assert answer.reason == "ambiguous"


@pytest.mark.parametrize("last", ["- number: A-17\n- note: None", "`note`: null", "Note:\nNone"])
def test_null_of_a_member_speaks_against_the_value_that_gives_it_another(last: str) -> None:
    without: dict[str, Any] = {"number": "A-17", "total": 1299.0}
    for value in (without, {**without, "note": ""}):
        answer = find_json(f"```json\n{json.dumps(value)}\n```\n{last}", INVOICE)
        assert isinstance(answer, Found), answer
    assert isinstance(find_json(f"```json\n{json.dumps({**without, 'note': 'paid'})}\n```\n{last}", INVOICE), NotFound)
