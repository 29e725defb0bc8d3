"""Where what can be read may not be what was meant, nothing is found."""

from __future__ import annotations

from typing import Any

import pytest

from penstock.policy.json_finding import Found, NotFound, find_json

INVOICE = {
    "type": "object",
    "properties": {"number": {"type": "string"}, "total": {"type": "number"}, "note": {"type": "string"}},
    "required": ["number", "total"],
}
INVOICES = {"type": "array", "items": INVOICE}
NUMBERS = {"type": "array", "items": {"type": "integer"}}
WORDS = {"type": "array", "items": {"type": "string"}}


def found(text: str, schema: dict[str, Any] | None) -> Any:
    answer = find_json(text, schema)
    assert isinstance(answer, Found), answer
    return answer.value


def refused(text: str, schema: dict[str, Any] | None) -> NotFound:
    answer = find_json(text, schema)
    assert isinstance(answer, NotFound), answer
    return answer


EXAMPLE = '{"number": "A-0", "total": 0.0}'


@pytest.mark.parametrize(
    "text",
    [
        f'The shape is {EXAMPLE}.\n```json\n{{"number": "A-17", "total": 1,299.00}}\n```',
        f'{EXAMPLE}\nCorrection:\n{{"number": "A-17", "total": $13.5}}',
        f'For example {EXAMPLE}. Answer: {{"number": "A-17", "total": 01}}',
        f'For example {EXAMPLE}. Answer: {{"number": "A-17", "total": 2',
        f'{{"number": "A-17", "total": $13.5}}, in the shape of {EXAMPLE}',
        f'```json\n{{"number": "A-17", "total": ???}}\n```\nThe shape was {EXAMPLE}.',
        f'[{{"number": "A-17", "total": $13.5}}] in the shape of {EXAMPLE}',
        f'{EXAMPLE} is the shape, {{\\"number\\": \\"A-17\\", \\"total\\": 1,5}} the answer',
    ],
)
def test_an_example_is_not_taken_where_the_answer_beside_it_cannot_be_read(text: str) -> None:
    refused(text, INVOICE)


@pytest.mark.parametrize(
    "text",
    [
        f'For example {EXAMPLE}. Answer: {{"number": "A-17", "total": "2"}}',
        f'{{"number": "A-17", "total": "2"}}, in the shape of {EXAMPLE}',
        f'{EXAMPLE}\n```\n{{"number": 17}}\n```',
    ],
)
def test_an_example_is_not_taken_where_the_answer_beside_it_does_not_fit(text: str) -> None:
    assert refused(text, INVOICE).reason == "misfit"


@pytest.mark.parametrize(
    "text",
    [
        f"As {{curly: braces}} are used in CSS: {EXAMPLE}",
        f'For {{"tool": $x}} see the manual.\n{EXAMPLE}',
        f"As said in [1]:\n```json\n{EXAMPLE}\n```\nThat is all [2].",
        f'Without "number" ({{"total": 1}}) it is none, so: {EXAMPLE}',
        f"{EXAMPLE}\nI hope that helps: ask again :)",
        f"{EXAMPLE}}}\n",
    ],
)
def test_an_answer_among_prose_is_found(text: str) -> None:
    assert found(text, INVOICE) == {"number": "A-0", "total": 0.0}


LINES = '{"number": "A-1", "total": 1.5}\n{"number": "A-2", "total": 2.5}\n'


@pytest.mark.parametrize(
    "behind",
    [
        '{"number": "A-3"',
        '{"number": ',
        "{",
        '{"number": "A-3", "total": 3,5}',
        "...",
        "…and 7 more",
        ",",
        "[and so on",
    ],
)
def test_lines_of_which_one_is_cut_or_damaged_are_no_list(behind: str) -> None:
    refused(LINES + behind, INVOICES)


def test_lines_are_no_list_where_the_first_is_said_to_be_something_else() -> None:
    refused("For example " + LINES, INVOICES)


@pytest.mark.parametrize("behind", ["", "```", "</answer>", "\nThat is all."])
def test_lines_that_are_whole_are_a_list(behind: str) -> None:
    assert len(found(LINES + behind, INVOICES)) == 2


@pytest.mark.parametrize(
    "behind",
    [
        '\n"note": "unpaid"}',
        ', "note": "unpaid"}',
        '} "note": "unpaid"}',
        '}; "note": "unpaid"}',
        ', note: "unpaid"}',
        '}}, "note": "unpaid"}',
        '}],"note": "unpaid"}',
        ", 'note': 'unpaid'}",
        ", “note”: “unpaid”}",
        "\n``` \"note\": 'unpaid'",
        " unpaid}",
        "\n... and more",
    ],
)
def test_what_was_closed_too_early_is_not_taken_without_its_rest(behind: str) -> None:
    refused(EXAMPLE + behind, INVOICE)


@pytest.mark.parametrize("text", ["[1,2],3]", "[1, 2], 3, 4]", "[1, 2]\n3", "[1, 2], ...", "[1, 2]\n... and 97 more"])
def test_a_list_that_was_closed_too_early_is_not_taken_without_its_rest(text: str) -> None:
    refused(text, NUMBERS)


def test_lists_of_objects_closed_too_early_are_not_taken_without_their_rest() -> None:
    refused(f"[{EXAMPLE},{EXAMPLE}],\n{EXAMPLE}]", INVOICES)


def test_a_value_with_a_name_before_it_is_a_part_of_something() -> None:
    refused(f'The order: "customer": "Ada", "invoice": {EXAMPLE}}}', INVOICE)


@pytest.mark.parametrize(
    ("text", "schema"),
    [
        ("As [3] shows, the answer is 42.", {"type": "integer"}),
        ("Answer: 7 [1]", {"type": "integer"}),
        ("According to [1], the values are 4 and 5.", NUMBERS),
        ("The values are 4 and 5 [1, 2].", NUMBERS),
        ("Sources: [1]", NUMBERS),
        ("The values are 4 and 5 [1].", None),
        ('I would not say ["yes"]', {"enum": ["yes", "no"]}),
    ],
)
def test_a_note_is_no_answer(text: str, schema: dict[str, Any] | None) -> None:
    refused(text, schema)


@pytest.mark.parametrize(
    "text", ["According to [1]: [4, 5]", "The values are [4, 5].", "The list:\n[4, 5]\nIt is sorted [1].", "**[4, 5]**"]
)
def test_a_list_among_prose_is_found_beside_notes(text: str) -> None:
    assert found(text, NUMBERS) == [4, 5]


@pytest.mark.parametrize(
    ("text", "schema"),
    [
        ('{"error": "I cannot do that"}', {"type": "string"}),
        ('{"error_code": 5}', {"type": "integer"}),
        ('{"unreadable_lines": ["a", "b"]}', WORDS),
        ('{"rejectedInvoices": [' + EXAMPLE + "]}", INVOICES),
        ('{"example": ' + EXAMPLE + "}", INVOICE),
    ],
)
def test_what_an_envelope_says_is_something_else_is_no_answer(text: str, schema: dict[str, Any]) -> None:
    refused(text, schema)


@pytest.mark.parametrize(
    ("text", "schema", "value"),
    [
        ('{"answer": "Rome"}', {"type": "string"}, "Rome"),
        ('{"result": [4, 5]}', NUMBERS, [4, 5]),
        ('{"invoice": ' + EXAMPLE + "}", INVOICE, {"number": "A-0", "total": 0.0}),
        ('{"invoices": [' + EXAMPLE + "]}", INVOICES, [{"number": "A-0", "total": 0.0}]),
    ],
)
def test_an_envelope_is_opened(text: str, schema: dict[str, Any], value: Any) -> None:
    assert found(text, schema) == value
