"""Of several things in a text that could be the answer, one is taken only where the others plainly are none."""

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
INVOICES = {"type": "array", "items": INVOICE}
NUMBER = {"type": "integer"}
YES_OR_NO = {"enum": ["yes", "no"]}
WRAPPED = {"type": "object", "properties": {"value": YES_OR_NO}, "required": ["value"]}

EXAMPLE = '{"number": "A-0", "total": 0.0}'
ANSWER = '{"number": "A-17", "total": 1299.0}'
TWO = f'[{ANSWER}, {{"number": "A-18", "total": 2.0}}]'
# Whatever a model may write as its answer that is not a value of the schema as it stands.
OTHER_ANSWERS = (
    '{"invoice": ' + ANSWER + "}",
    '{"result": ' + ANSWER + "}",
    '{"name": "answer", "arguments": ' + ANSWER + "}",
    '{"tool_calls": [{"function": {"name": "answer", "arguments": ' + ANSWER + "}}]}",
    '[{"name": "answer", "arguments": ' + ANSWER + "}]",
    '{"reasoning": "I added it up.", "answer": ' + ANSWER + "}",
    json.dumps({"value": ANSWER}),
    f"[{ANSWER}]",
    TWO,
    '{"invoices": ' + TWO + "}",
    '{"Number": "A-17", "Total": 1299.0}',
    '{"invoice_number": "A-17", "amount": 1299.0}',
    '{"number": "A-17", "total": "1299"}',
    '{"invoice": {"number": "A-17", "total": "1299"}}',
    '{"invoice": {"number": "A-17", "total": 1,299.00}}',
    '{"reason": "sum", "number": "A-17", "total": 1,299.00}',
    '{"error": "no invoice found"}',
    "{}",
    "[]",
    "null",
)


def refused(text: str, schema: dict[str, Any]) -> NotFound:
    answer = find_json(text, schema)
    assert isinstance(answer, NotFound), answer
    return answer


def found(text: str, schema: dict[str, Any]) -> Any:
    answer = find_json(text, schema)
    assert isinstance(answer, Found), answer
    return answer.value


@pytest.mark.parametrize("answer", OTHER_ANSWERS)
@pytest.mark.parametrize(
    "told",
    [
        f"Format: {EXAMPLE}\n\n```json\n%s\n```",
        f"Format: {EXAMPLE}\n\n%s",
        f"First:\n```json\n{EXAMPLE}\n```\nAfter checking the sums:\n```json\n%s\n```",
        f"```json\n%s\n```\nThe format was {EXAMPLE}.",
        f"%s\n\n(Format: {EXAMPLE})",
    ],
)
def test_an_example_is_not_taken_for_an_answer_beside_it_whatever_that_is(told: str, answer: str) -> None:
    if answer == "null":  # in the middle of a text it is a value only in a fence
        told = told.replace("%s\n\n(", "```\n%s\n```\n(")
    refused(told % answer, INVOICE)


@pytest.mark.parametrize(
    "answer",
    [
        '{"number": "A-17", "total": 1,299.00}',
        '{"reason": "sum", "number": "A-17", "total": 1,299.00}',
        '{"invoice": {"number": "A-17", "total": 1,299.00}}',
        '{"invoice": {"number": "A-17", "total": "1299"}}',
        TWO,
    ],
)
def test_a_damaged_answer_is_seen_wherever_the_example_stands(answer: str) -> None:
    refused(f"{answer}, in the shape of {EXAMPLE}", INVOICE)


@pytest.mark.parametrize(
    ("text", "schema"),
    [
        ('{"value": 3} is the format. {"answer": 42}', NUMBER),
        ('{"value": 3}\n{"result": 42}', NUMBER),
        ('Format: {"value": 0}\n\n42', NUMBER),
        ('{"value": "..."} is the format.\n\n{"answer": "yes, 42"}', {"type": "string"}),
        ('Format: {"value": "yes"}\n\nno', WRAPPED),
        ('Format: {"value": "yes"}\n\n**no**', YES_OR_NO),
        ('Format: {"value": "yes"}\n```\n"no"\n```', WRAPPED),
        ("[] would be empty. " + '{"invoices": [' + ANSWER + "]}", INVOICES),
        (f'[{EXAMPLE}]\n{{"result": {TWO}}}', INVOICES),
    ],
)
def test_of_two_scalars_or_lists_none_is_taken(text: str, schema: dict[str, Any]) -> None:
    refused(text, schema)


@pytest.mark.parametrize(
    "text",
    [
        f"Format: {EXAMPLE}\n\nnumber: A-17\ntotal: 1299.0",
        f"Format: {EXAMPLE}\n\n| number | total |\n|---|---|\n| A-17 | 1299.0 |",
        f'Format: {EXAMPLE}\n\nInvoice(number="A-17", total=1299.0)',
        f"Format: {EXAMPLE}\n\n<number>A-17</number><total>1299.0</total>",
        f"Format: {EXAMPLE}\n\n{{&quot;number&quot;: &quot;A-17&quot;, &quot;total&quot;: 1.0}}",
        f'Format: {EXAMPLE}\n\n\uff5b"number": "A-17", "total": 1.0\uff5d',
        f"Format: {EXAMPLE}\n\n{{invoice number: A-17, total: 1,299.0}}",
        f"Format: {EXAMPLE}\n\n{{invoice.number: 'A-17'}}",
    ],
)
def test_an_example_is_not_taken_for_an_answer_in_another_notation(text: str) -> None:
    refused(text, INVOICE)


@pytest.mark.parametrize(
    "told",
    [
        "```typescript\ninterface Invoice {\n  number: string;\n  total: number;\n}\n```\n\n```json\n%s\n```",
        "```typescript\ninterface Invoice {\n  number: string;\n  total: number;\n}\n```\n\n%s",
        "```python\nresult = {'number': number, 'total': sum(prices)}\n```\nFinal:\n```json\n%s\n```",
        '```python\nresult = {"number": row["n"], "total": x}\n```\nFinal:\n```json\n%s\n```',
        'Format: {"number": "<number>", "total": <total>}\n\n```json\n%s\n```',
        'Format: {"number": "${n}", "total": ${t}}\n\n```json\n%s\n```',
        'The format is:\n```\n{"number": string, "total": number}\n```\nHere it is:\n```json\n%s\n```',
        '| schema | `{"number": string}` |\n|---|---|\n\n```json\n%s\n```',
        '```json\n%s\n```\n\n| field | value |\n|---|---|\n| number | {"A-17"} |\n| total | [1299] |\n',
        "%s\n\nNote: `note` may be left out. Use {} for an empty object.",
        '%s\n\nThe columns ["number", "total"] were read.',
        'For example {"number": "X"} would lack the total. Answer: %s',
        '{"tool": "search"}\n%s',
        "Schema: " + json.dumps(INVOICE) + "\n\nInstance: %s",
        "```json\n%s\n```\nOr on one line: `%s`",
        '%s\n\n```json\n{"result": %s}\n```',
        '```json\n%s\n```\nLoad it so:\n```python\ndata = json.loads(text)\nprint(data["number"])\n```',
        'Read with `row["number"]`:\n```\nrow = rows["first"]; print(row["total"])\n```\n%s',
        '```json\n%s\n```\n\nConfidence: 0.9\n\nI followed the schema {"type": "object"}.',
        "```json\n%s\n```\nNote: in a list this is `[{...}]`, and {} is not valid.",
        "```json\n%s\n```\nLines used: [1, 2, 7]",
        '```json\n%s\n```\n\n**Fields read:** ["a", "b"]\n',
        '```json\n%s\n```\n{"confidence": 0.95}',
        '```json\n%s\n```\n\nUsage: {"usage": {"tokens": 120}, "sources": ["p. 1"]}',
    ],
)
def test_an_answer_is_taken_beside_templates_code_and_what_is_but_mentioned(told: str) -> None:
    assert found(told.replace("%s", ANSWER), INVOICE) == {"number": "A-17", "total": 1299.0}


SHOWN = [f"```json\n{ANSWER}\n```", ANSWER, json.dumps(json.loads(ANSWER), indent=2)]


@pytest.mark.parametrize("shown", SHOWN)
@pytest.mark.parametrize(
    "behind",
    [
        '{"confidence": 0.9}',
        'Confidence: {"confidence": 0.9}',
        "---\nTokens used: {in: 5, out: 6}",
        'Usage: {"input_tokens": 5, "output_tokens": 6}',
        '{"usage": {"in": 5}}',
        "Lines used: [1, 2, 7]",
        'If you want a note, use {"note": "text"}.',
        'The number is sent as {"number": "A-17"}.',
        'Example usage:\n```bash\ncurl -d \'{"number": "A-1"}\' http://a.b/c\n```',
        "Example usage:\n```sh\ncurl http://a.b/c \\\n  -d '{\"id\": 1}'\n```",
    ],
)
def test_a_remark_on_an_object_that_is_shown_does_not_make_it_doubtful(behind: str, shown: str) -> None:
    assert found(f"Here it is.\n\n{shown}\n\n{behind}", INVOICE) == json.loads(ANSWER)


@pytest.mark.parametrize("shown", [f"```json\n{EXAMPLE}\n```", EXAMPLE])
@pytest.mark.parametrize(
    "behind",
    [
        "Corrected total: [4.0]",
        'Answer: ["A-17", 4.0]',
        '["A-17", 4.0]',
        "Lines used: []",
        "Lines: [[1], [2]]",
        '{"total": 4.0}',
        'Corrected: {"total": 4.0}',
        'Total used: {"amount": 4.0}',
        'Usage: {"total": 4.0}',
        '{"confidence": 0.9, "total": 4.0}',
        '{"confidence": 0.9, "error": "no invoice"}',
        '{"sources": [{"number": "A-17", "total": "4"}]}',
        '```json\n{"confidence": 0.9}\n```',
        '```bash\n{"number": "A-17"}\n```',
        "{}",
    ],
)
def test_what_may_say_more_of_a_value_that_is_shown_than_where_it_comes_from_is_no_remark(
    behind: str, shown: str
) -> None:
    refused(f"{shown}\n{behind}", INVOICE)


@pytest.mark.parametrize(
    "behind",
    [
        'It should be {"total": 4.0}.',
        'Both are right: {"total": 4.0, "note": "paid"}.',
        'The answer is {"id": "A-17"}.',
        'It is {"number": "A-17", "total": "4"}.',
    ],
)
def test_a_sentence_with_other_values_speaks_against_an_object_without_a_fence(behind: str) -> None:
    refused(f"{EXAMPLE}\n\n{behind}", INVOICE)


@pytest.mark.parametrize("behind", ["Lines used: [1, 2, 7]", '{"confidence": 0.9}', 'Use {"note": "text"}.'])
def test_nothing_is_a_remark_on_a_value_that_does_not_stand_out_or_holds_but_one_property(behind: str) -> None:
    refused(f"Answer: {EXAMPLE}\n{behind}", INVOICE)
    refused(f"[{EXAMPLE}]\n{behind}", INVOICES)
    refused(f'{{"value": "no"}}\n{behind}', WRAPPED)
    if "Use" not in behind:  # in a sentence, which speaks of nothing beside a fence
        refused(f"```json\n[{EXAMPLE}]\n```\n{behind}", INVOICES)
        refused(f'```json\n{{"value": "no"}}\n```\n{behind}', WRAPPED)


@pytest.mark.parametrize(
    "text",
    [
        f'Example:\n{EXAMPLE}\n\nThe answer is {{"id": "A-17"}}.',
        f"Format: {EXAMPLE}\nAnswer: null",
        f"Format: {EXAMPLE}. Answer: null",
        f'```json\n{{"number": "A-17"}}\n```\nFormat:\n```json\n{EXAMPLE}\n```',
        f"```python\n{{'number': 'A-17', 'total': $5}}\n```\nFormat:\n```json\n{EXAMPLE}\n```",
    ],
)
def test_what_may_be_the_answer_is_seen_beside_an_example_that_stands_out(text: str) -> None:
    refused(text, INVOICE)


def test_a_template_behind_a_value_may_be_all_that_was_answered() -> None:
    refused(f'Example: {EXAMPLE}\n```json\n{{"number": "<number>", "total": <total>}}\n```', INVOICE)


@pytest.mark.parametrize("first", ['{"error": "none"}', "null"])
def test_where_it_is_said_that_there_is_none_no_later_value_is_taken(first: str) -> None:
    refused(f"```json\n{first}\n```\nThe format would be:\n```json\n{EXAMPLE}\n```", INVOICE)


def test_a_fenced_answer_is_found_behind_dozens_of_others() -> None:
    inline = "\n".join(f'print({{"k": {n}}})' for n in range(80))
    blocks = "".join(f"```python\nx = {n}\n```\n" for n in range(80))
    for before in (inline, blocks):
        assert found(f"{before}\n```json\n{ANSWER}\n```", INVOICE)["number"] == "A-17"


COUNTS = {"type": "object", "additionalProperties": {"type": "integer"}}
GROUPS = {"type": "object", "additionalProperties": {"type": "array", "items": {"type": "string"}}}
NUMBERS = {"type": "array", "items": {"type": "integer"}}


@pytest.mark.parametrize(
    ("text", "schema"),
    [
        ('Counts: {"counts": {"oak": 3, "elm": 1}}\nMost: {"oak": 3}', COUNTS),
        ('Result: {"trees": {"oak": 3, "elm": 1}}\n\nMost common:\n{"oak": 3}', COUNTS),
        ('Counts: {"result": {"oak": 3, "elm": 0}, "trees": 2}\nMost: {"oak": 3}', COUNTS),
        ('{"counts": {"oak": 3, "elm": 1}}\n{"oak": 3}', COUNTS),
        ('```json\n{"trees": {"oak": 3, "elm": 1}}\n```\nMost:\n```json\n{"oak": 3}\n```', COUNTS),
        ('Groups: {"groups": {"a": ["rye"], "b": ["oats"]}, "total": 2}\nFirst: {"a": ["rye"]}', GROUPS),
        ('Heads: {"result": [12, 7], "total": 5}\nHighest: [12]', NUMBERS),
        ('Heads: {"heads": [12, 7, 12]}\n\nHighest:\n[12]', NUMBERS),
    ],
)
def test_a_part_of_what_an_object_before_it_holds_is_not_the_whole(text: str, schema: dict[str, Any]) -> None:
    refused(text, schema)


@pytest.mark.parametrize(
    ("text", "schema", "want"),
    [
        ('Filter: {"where": {"year": 2020}}\nCounts: {"oak": 3}', COUNTS, {"oak": 3}),
        ('Draft: {"counts": {"oak": 3, "elm": 1}}\nCorrected: {"oak": 4, "elm": 1}', COUNTS, {"oak": 4, "elm": 1}),
        ('Raw: {"trees": {"oak": 3, "elm": null}}\nClean: {"oak": 3}', COUNTS, {"oak": 3}),
        ('Input: {"numbers": [1, 2]}\nSquares: [1, 4]', NUMBERS, [1, 4]),
        ('Input: {"numbers": [2, 1]}\nSorted: [1, 2]', NUMBERS, [1, 2]),
        ('I read {"trees": {"oak": 3, "elm": 0}}.\n\n```json\n{"oak": 3}\n```', COUNTS, {"oak": 3}),
        ('Read: {"trees": {"oak": 3, "elm": 0}}\n\n```json\n{"oak": 3}\n```', COUNTS, {"oak": 3}),
    ],
)
def test_what_says_something_else_than_an_object_before_it_is_taken(
    text: str, schema: dict[str, Any], want: Any
) -> None:
    assert found(text, schema) == want
