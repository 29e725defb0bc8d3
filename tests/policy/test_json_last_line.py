"""A last line that says null: of the answer, or of something else that is said beside it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from penstock.policy.json_finding import Found, NotFound, find_json

INVOICE = {
    "type": "object",
    "title": "Invoice",
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
        "Notes for this text: None",
        "Data that is left out -> None",
        "Invoice of the buyer: None",
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
        "JSON output: null",
        "Output JSON: null",
        "Final: None",
        "Your text: `null`",
        "For this text: null",
        "In your case:\n\nnull",
        "Output for the given text: null",
        "It names nothing. Extracted data: null",
        "Return value = None",
        "### Extraction\nnull",
        "**Verdict**\nNone",
        "Your answer -> null",
        "This text \u2192 null",
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


@WHICH
@pytest.mark.parametrize(
    "example",
    [
        "For example:\n```json\n{}\n```",
        "Example: {}",
        "e.g. {}",
        "**Sample output**\n\n{}",
        "If there were one, I would give it so:\n\n```json\n{}\n```",
        "It is asked for an object like {}",
        "I am to give such as there are. Expected format:\n```\n{}\n```",
        "Format: ```json\n{}\n```",
        "### Old value\n{}",
        "<example>\n{}\n</example>",
        "<think>I look for it.</think>An answer would be {}",
    ],
)
@pytest.mark.parametrize(
    "last", ["Buyer: null", "Found in it: None", "**Named here**\n\nnull", "Elsewhere \u21d2 null"]
)
def test_any_null_behind_an_example_may_be_the_answer(
    schema: dict[str, Any], value: Any, example: str, last: str
) -> None:
    answer = find_json(f"{told(example, value, '')}\n\n{last}", schema)
    assert isinstance(answer, NotFound), answer
    assert answer.reason == "ambiguous"


@WHICH
@pytest.mark.parametrize(
    "said",
    [
        "Here it is in the format that you want:",
        "I left out what would be an example. Here is the rest:",
        "<think>The format is that of the example.</think>",
        "According to your schema:",
        "Sample 3:",
        "**Structured output**",
    ],
)
def test_words_that_only_speak_of_a_format_make_no_example(schema: dict[str, Any], value: Any, said: str) -> None:
    for last in ("**Notes:** None", "Buyer: null"):
        answer = find_json(f"{said}\n\n```json\n{json.dumps(value)}\n```\n\n{last}", schema)
        assert isinstance(answer, Found), answer
        assert answer.value == value


@WHICH
@pytest.mark.parametrize(
    "lead",
    [
        "The JSON would be as follows:",
        "Here is the JSON you would need:",
        "JSON format:",
        "If a field was not mentioned, I left it null:",
        "It looks like there is one, such as you asked for:",
    ],
)
@pytest.mark.parametrize("last", ["Notes: None", "**Missing fields:** None", "### Remarks\n\nNone"])
def test_nothing_to_note_behind_words_of_that_kind_says_nothing_of_the_value(
    schema: dict[str, Any], value: Any, lead: str, last: str
) -> None:
    answer = find_json(f"{lead}\n\n```json\n{json.dumps(value)}\n```\n\n{last}", schema)
    assert isinstance(answer, Found), answer
    assert answer.value == value


@pytest.mark.parametrize("last", ["Notes (for this text): None", "Missing fields, in this text: null"])
def test_for_what_there_is_nothing_to_note_may_be_said(last: str) -> None:
    shown = '```json\n{"number": "A-17", "total": 1}\n```'
    assert isinstance(find_json(f"{shown}\n\n{last}", INVOICE), Found)
    assert isinstance(find_json(f"{shown}\n\nSo, for this text: null", INVOICE), NotFound)


SEVERITY = {"enum": ["mild", "severe"]}


@pytest.mark.parametrize(
    ("shown", "schema", "last"),
    [
        ('{"number": "A-17", "total": 1}', INVOICE, "Invoice: null"),
        ('{"number": "A-17", "total": 1}', {"anyOf": [INVOICE, {"type": "null"}]}, "- **The invoice:** None"),
        ('[{"number": "A-17", "total": 1}]', {"type": "array", "items": INVOICE}, "## Extracted invoices\n\nNone"),
        ('{"bill": {"number": "A-17", "total": 1}}', INVOICE, "Bill: null"),
        ('{"result": {"bill": {"number": "A-17", "total": 1}}}', INVOICE, "**Bill**\n\nNone."),
        ('{"severity": "mild"}', SEVERITY, "Severity: None"),
        ('{"groups": {"oak": 3}}', COUNTS, "groups -> null"),
    ],
)
def test_null_under_a_name_of_the_value_may_be_meant_in_its_place(
    shown: str, schema: dict[str, Any], last: str
) -> None:
    answer = find_json(f"```json\n{shown}\n```\n\n{last}", schema)
    assert isinstance(answer, NotFound), answer
    assert answer.reason == "ambiguous"
    assert isinstance(find_json(f"```json\n{shown}\n```\n\nNotes: None", schema), Found)


def test_an_arrow_between_words_of_the_schema_points_to_no_other_answer() -> None:
    answer = find_json('{"severity": "mild"}\n\nRanking: mild -> severe', SEVERITY)
    assert isinstance(answer, Found), answer
