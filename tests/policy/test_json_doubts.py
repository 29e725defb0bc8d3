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
        f"{{num…\nThe shape was {EXAMPLE}.",
        f"The shape was {EXAMPLE}.\n{{num…",
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
        f'{{"number": "A-17"}}, total: 3}}, in the shape of {EXAMPLE}',
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
        ', /* too */ "note": "unpaid"}',
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
    "text",
    [
        *("[3] > [1] > [2]", "Final ranking: [4] > [2]", "[2] > [1] = [3]", "[2]>[1]", "[3] < [1]", "[3] <= [1]"),
        *("Relevant: [1, 2], irrelevant: [3, 4]", "Before: [2, 1]; after: [1, 2]", "keep=[1, 2], drop=[3, 4]"),
    ],
)
def test_the_last_of_a_ranking_is_no_answer(text: str) -> None:
    refused(text, NUMBERS)


@pytest.mark.parametrize(
    "text", ["x -> [2]", "a => [2]", "a \u2192 [2]", "<answer>[2]</answer>", "> [2]", "a[0] = [2]"]
)
def test_what_an_arrow_or_a_tag_leads_to_is_found(text: str) -> None:
    assert found(text, NUMBERS) == [2]


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


NOTED = {
    "type": "object",
    "properties": {"note": {"type": "string"}, "b": {"type": "integer"}},
    "required": ["note"],
}


@pytest.mark.parametrize(
    "text",
    [
        '{"b": 1, "note": "paid by "card" #4711"\n}',
        '{"note": "I love "python" #coding"}',
        '{"note": "I love "python" #coding", "b": 1}',
        '{"note": "see "docs" // internal"}',
        '{\n  "note": "see "docs" // internal",\n  "b": 3\n}',
        '{"note": "see "docs", // internal", "b": 1}',
        "{'b': 3, 'note': 'the 'best' #1'}",
        '{"note":"He said "ok"\n```\ndone\n```"}',
        '{"note": "python" #coding", "b": 1}',
        '{"note": "he said "hi", "b": 2}',
    ],
)
def test_text_behind_an_inner_quote_is_never_lost(text: str) -> None:
    refused(text, NOTED)


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ('{"note": "see docs" // internal\n, "b": 1}', "see docs"),
        ('{"note": "see docs" // the "best" ones\n, "b": 1}', "see docs"),
        ('{"note": "see docs" /* really */}', "see docs"),
        ('```json\n{"b": 1, "note": "see docs"\n```', "see docs"),
        ('{"note": "see "docs" now" // internal\n}', 'see "docs" now'),
        ('{"note": "see "docs" /* x */ now"}', 'see "docs" /* x */ now'),
        ('{"note":"He said "ok" ```done```"}', 'He said "ok" ```done```'),
        ("{'note': 'x', # it's fine\n 'b': 1}", "x"),
    ],
)
def test_comments_and_fences_are_left_out_behind_a_string_and_kept_inside(text: str, note: str) -> None:
    assert found(text, NOTED)["note"] == note


LEVELS = {
    "type": "object",
    "properties": {"level": {"enum": ["None", "High"]}, "owner": {"type": ["string", "null"]}},
    "required": ["level", "owner"],
}
EITHER = {"type": "object", "properties": {"level": {"anyOf": [{"enum": ["None", "High"]}, {"type": "null"}]}}}


def test_a_word_is_a_literal_where_the_schema_does_not_list_it_for_its_place() -> None:
    assert found("{'level': 'High', 'owner': None}", LEVELS) == {"level": "High", "owner": None}
    assert found("{level: None, owner: 'Ada'}", LEVELS) == {"level": "None", "owner": "Ada"}
    flags = {"type": "object", "properties": {"on": {"type": "boolean"}, "mode": {"enum": ["True", "False"]}}}
    assert found("{'on': True, 'mode': 'True'}", flags) == {"on": True, "mode": "True"}


def test_a_word_that_may_be_text_as_well_as_a_literal_is_not_guessed() -> None:
    assert refused("{'level': None}", EITHER).reason == "ambiguous"


CUSTOMER = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
ORDER = {
    "type": "object",
    "properties": {"customer": CUSTOMER, "paid": {"type": "boolean"}},
    "required": ["customer"],
}


@pytest.mark.parametrize(
    ("text", "schema"),
    [
        ('{"customer": {"name": "Ada", "paid": false}', ORDER),
        ('{"customer": {"name": "Ada", "paid": false', ORDER),
        ('[{"customer": {"name": "Ada", "paid": false}]', {"type": "array", "items": ORDER}),
        ('{"result": {"customer": {"name": "Ada", "paid": false}}', ORDER),
        ('{"customer": {"name": "Ada"}, "paid": false}}', {"type": "object", "properties": {"customer": ORDER}}),
        ('{"a": {"b": "x", "c": "y"}', None),
        ("[[1, 2], [3, 4]", None),
        ("[[1, 2], [3, 4]", {"type": "array", "items": {"type": ["array", "integer"]}}),
    ],
)
def test_where_a_bracket_is_missing_or_too_many_nothing_is_said_of_the_wrong_one(
    text: str, schema: dict[str, Any] | None
) -> None:
    refused(text, schema)


def test_where_a_bracket_is_missing_and_one_place_is_left_for_it_the_value_is_found() -> None:
    text = '{"paid": true, "customer": {"name": "Ada", "born": "1815"}'
    assert found(text, ORDER) == {"paid": True, "customer": {"name": "Ada", "born": "1815"}}
    assert found("[[1, 2], [3, 4]", {"type": "array", "items": NUMBERS}) == [[1, 2], [3, 4]]


@pytest.mark.parametrize(
    "comment",
    [
        "// 97 more omitted\n",
        "// and 7 more\n",
        "# etc.\n",
        "/* remaining omitted */",
        "// usw.\n",
        "/* … */",
        "# 省略\n",
    ],
)
def test_a_list_with_a_comment_that_something_was_left_out_is_not_whole(comment: str) -> None:
    refused(f"[1, 2, 3 {comment}]", NUMBERS)
    refused(f"[1, 2, 3, {comment}]", NUMBERS)


@pytest.mark.parametrize("text", ["[n", "[true, tru", '{"a": [nul', '{"a": tr'])
def test_what_is_cut_inside_a_word_is_not_whole(text: str) -> None:
    refused(text, {"type": ["array", "object"]})


def test_what_is_cut_inside_a_choice_is_whole_only_where_nothing_more_could_come() -> None:
    mood = {"type": "object", "properties": {"mood": {"enum": ["good", "bad"]}, "note": {"type": "string"}}}
    refused('{"mood": "goo', mood)
    del mood["properties"]["note"]  # type: ignore[attr-defined]
    assert found('{"mood": "goo', {**mood, "additionalProperties": False}) == {"mood": "good"}


@pytest.mark.parametrize(
    "text",
    [
        r'{"note": "in C:\dir\", "b": 1}',
        r'{"note": "say \hi\" to her"}',
        '{"note": "one line \\\n and another"}',
        '{"note": "C:\\\tmp"}',
    ],
)
def test_a_backslash_that_may_be_an_escape_or_none_is_not_guessed(text: str) -> None:
    refused(text, NOTED)


def test_items_between_which_a_comma_is_missing_are_no_quotation() -> None:
    refused('["say \\"hi\\" to", false "C:/tmp"]', {"type": "array"})


DRAFT, ANSWER = '{"number": "A-0", "total": 1.0}', '{"number": "A-1", "total": 2.0}'


@pytest.mark.parametrize(
    "text",
    [
        f"<think>{DRAFT}</think>{ANSWER}",
        f"<THINK>{DRAFT}</THINK>{ANSWER}",
        f"<Thinking>{DRAFT}</thinking>{ANSWER}",
        f"<seed:think>{DRAFT}</seed:think>{ANSWER}",
        f"◁think▷{DRAFT}◁/think▷{ANSWER}",
        f"[THINK]{DRAFT}[/THINK]{ANSWER}",
        f"{DRAFT}[/THINK]{ANSWER}",
        f"<|begin_of_thought|>{DRAFT}<|end_of_thought|>{ANSWER}",
        f"<|channel|>analysis<|message|>maybe {DRAFT}<|end|><|start|>assistant<|channel|>final<|message|>{ANSWER}",
        f"<|channel|>analysis<|message|>maybe {DRAFT}<|channel|>final<|message|>{ANSWER}",
        f"analysisMaybe {DRAFT}? Yes.assistantfinal{ANSWER}",
    ],
)
def test_what_a_model_thinks_aloud_is_not_its_answer(text: str) -> None:
    assert found(text, INVOICE) == {"number": "A-1", "total": 2.0}


@pytest.mark.parametrize(
    "opening", ["<think>", "<THINK>\n", "Well. <think>Now", "◁think▷", "[THINK]", "<|channel|>analysis"]
)
def test_what_is_not_thought_through_is_no_answer(opening: str) -> None:
    refused(f"{opening} {DRAFT}", INVOICE)


@pytest.mark.parametrize(
    "text", [f"I will not use <think> tags. {ANSWER}", f"Without `<think>`: {ANSWER}", f"No <think></think>: {ANSWER}"]
)
def test_prose_that_speaks_of_thinking_is_no_thought(text: str) -> None:
    assert found(text, INVOICE) == {"number": "A-1", "total": 2.0}


def test_the_end_of_a_text_that_speaks_of_thinking_ends_no_thought() -> None:
    refused(f'{{"number": "A-1"}}, "note": "as in </think>"}}\nNot {EXAMPLE}', INVOICE)
