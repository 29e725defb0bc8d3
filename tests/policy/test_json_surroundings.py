"""What people and models say beside a whole answer does not make it doubtful; thinking is never one."""

from __future__ import annotations

import re
from typing import Any

import pytest

from penstock.policy.json_finding import Found, NotFound, find_json

PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}, "note": {"type": "string"}},
    "required": ["name", "age"],
}
ADA = '{"name": "Ada", "age": 36}'
PRETTY = '{\n  "name": "Ada",\n  "age": 36\n}'


@pytest.mark.parametrize("written", [ADA, PRETTY])
@pytest.mark.parametrize(
    "told",
    [
        "%s\n\nand 3 more could be extracted if you like.",
        "%s\n\nHope that helps! :]",
        "Here you go :-]\n%s\nCheers :}",
        "%s\n:-]",
        "%s\nUse `}` to close.",
        '%s\n\n"tokens used": 12',
        "%s\n0.9",
        "%s\n\n36,\n",
        '%s\n\n[source]: http://a.b/c "title"',
        "\x1b[32m%s\x1b[0m",
    ],
)
def test_an_answer_is_taken_whatever_is_said_beside_it(told: str, written: str) -> None:
    answer = find_json(told.replace("%s", written), PERSON)
    assert isinstance(answer, Found), answer
    assert answer.value == {"name": "Ada", "age": 36}


def test_an_answer_in_a_quotation_of_markdown_is_found() -> None:
    for told in (PRETTY, f"Here:\n{PRETTY}", f"```json\n{PRETTY}\n```"):
        quoted = "".join(f"> {line}\n" for line in told.split("\n"))
        answer = find_json(quoted, PERSON)
        assert isinstance(answer, Found), quoted
        assert answer.value == {"name": "Ada", "age": 36}


@pytest.mark.parametrize("behind", ['\n"note": "x"', "\n... and more", ' ..."x"', "\nnote} and more}", ', note: "x"'])
def test_what_may_belong_to_the_answer_makes_it_doubtful(behind: str) -> None:
    assert isinstance(find_json(ADA + behind, PERSON), NotFound)


@pytest.mark.parametrize(
    ("text", "schema", "value"),
    [
        ("True", {"type": "boolean"}, True),
        ("**true**", {"type": "boolean"}, True),
        ("None", {"type": ["integer", "null"]}, None),
        ("**42**", {"type": "integer"}, 42),
        ("`42`", {"type": "integer"}, 42),
        ("2020-01-01", {"type": "string", "format": "date"}, "2020-01-01"),
        ("EUR", {"type": "string", "pattern": "^[A-Z]{3}$"}, "EUR"),
        ("<think>42?</think>\n**43**", {"type": "integer"}, 43),
    ],
)
def test_an_answer_of_one_word_needs_no_quotes(text: str, schema: dict[str, Any], value: Any) -> None:
    answer = find_json(text, schema)
    assert isinstance(answer, Found), answer
    assert answer.value == value
    assert type(answer.value) is type(value)


@pytest.mark.parametrize(
    ("text", "schema"),
    [
        ("42.", {"type": "integer"}),
        ("The answer is 42", {"type": "integer"}),
        ("None", {"type": "integer"}),
        ("True", {"type": "integer"}),
        ("I do not know", {"type": "string", "pattern": "."}),
        ("eur", {"type": "string", "pattern": "^[A-Z]{3}$"}),
        ("Rome", {"type": "string"}),
    ],
)
def test_words_that_may_be_no_answer_are_none(text: str, schema: dict[str, Any]) -> None:
    assert isinstance(find_json(text, schema), NotFound)


THOUGHTS = (
    "<|START_THINKING|>maybe %s<|END_THINKING|><|START_RESPONSE|>",
    "<plan>try %s</plan>\n",
    "```thinking\nmaybe %s\n```\n",
    "```think\n%s\n```\n",
    "Thought: maybe %s\n",
    "**Thought:** maybe %s\n",
    "Here is my thought process:\nmaybe\n%s\n\nHere is my response:\n",
    "\n**Here's my thought process:** maybe %s\n**Here's my response:** ",
    "<|inner_prefix|>maybe %s<|inner_suffix|>",
    "<unused94>thought\nmaybe %s<unused95>",
    "<reason>maybe %s</reason>",
    "<cot>maybe %s</cot>",
    "<|channel>thought\nmaybe %s<channel|>",
    "<|channel|>analysis<|message|>maybe %s<|end|><|start|>assistant<|channel|>final<|message|>",
)


@pytest.mark.parametrize("thought", THOUGHTS)
def test_a_draft_in_a_thought_is_no_answer(thought: str) -> None:
    draft = '{"name": "Eve", "age": 1}'
    assert isinstance(find_json(thought % draft + "I cannot tell.", PERSON), NotFound)
    assert isinstance(find_json(thought % draft, PERSON), NotFound)
    answer = find_json(thought % draft + ADA, PERSON)
    assert isinstance(answer, Found)
    assert answer.value == {"name": "Ada", "age": 36}


@pytest.mark.parametrize(
    "thought",
    [
        "Here is my thought process:\nmaybe\n%s",
        "Here's my thought process: maybe %s",
        "<|inner_prefix|>maybe %s",
        "<unused94>thought\nmaybe %s",
        "<|channel>thought\nmaybe %s",
        "<|channel|>analysis<|message|>maybe %s",
    ],
)
def test_a_thought_that_goes_on_to_the_end_holds_no_answer(thought: str) -> None:
    answer = find_json(thought % ADA, PERSON)
    assert isinstance(answer, NotFound)
    assert answer.says == "the text ends while the model is still thinking"


def test_a_word_of_a_process_or_a_response_is_no_thought() -> None:
    for told in ("Here is my response:\n%s", "The note is below. Here is my thought process: none.\n\n%s"):
        answer = find_json(told % ADA, PERSON)
        assert isinstance(answer, Found), told


NESTED = {"type": "array", "items": {"type": "array", "items": {"type": "integer"}}}


@pytest.mark.parametrize("text", ["[]]", "[[1], ]]", "[[1]]]", "[[1], [2]]]"])
def test_of_a_bracket_too_many_in_lists_of_lists_the_other_may_be_lost(text: str) -> None:
    assert isinstance(find_json(text, NESTED), NotFound)


def test_a_bracket_too_many_behind_a_plain_list_is_left_out() -> None:
    assert find_json("[1, 2]]", {"type": "array", "items": {"type": "integer"}}) == Found([1, 2], ("prose",))


def test_a_comment_as_long_as_a_book_costs_no_time() -> None:
    answer = find_json('{"name": "Ada", "age": 36 // ' + "it's " * 50_000 + "\n}", PERSON)
    assert isinstance(answer, NotFound)
    assert answer.reason == "too_long"
    assert not re.search("it's", answer.says)
