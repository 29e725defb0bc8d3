"""Where a string ends, and what its backslashes are, is read in one way or not at all."""

from __future__ import annotations

import json
from typing import Any

import pytest

from penstock.policy.json_finding import Found, find_json

WORDS = {"type": "array", "items": {"type": "string"}}
PATH = {"type": "object", "properties": {"p": {"type": "string"}, "q": {"type": "string"}}, "required": ["p"]}

SEPARATORS = [
    *("; ", ";", " ;\n", " and ", " or ", " - ", " \u2013 ", "-", ". ", ".", ": ", " => ", " -> ", " | ", " / ", " + "),
    *(
        "\tand\t",
        " then ",
        " ... ",
        "\u2026",
        " && ",
        " || ",
        " * ",
        " \u222a ",
        "\u00b7",
        " ~ ",
        "\u061b",
        "; \n ",
    ),
    *("\uff0c", "\u3001", "\uff0c\n", ",", ", ", "\n", "\nand also\n "),
]
ITEMS = [["Ada", "Bob"], ["Ada", "Bob", "Cy"], ["\u82f9\u679c", "\u9999\u8549"], ['say "hi"', "n\u00e9"]]


@pytest.mark.parametrize("separator", SEPARATORS)
@pytest.mark.parametrize("quote", ['"', "'"])
def test_items_with_any_separator_are_those_items_or_nothing(separator: str, quote: str) -> None:
    for items in ITEMS:
        written = [quote + item.replace('"', '\\"') + quote for item in items]
        for told in (f"[{separator.join(written)}]", f'{{"answer": [{separator.join(written)}]}}'):
            found = find_json(told, WORDS)
            assert not isinstance(found, Found) or found.value == items, told


def test_items_with_a_word_between_them_are_not_one() -> None:
    for items in ITEMS[:2]:
        told = "[" + "and".join(json.dumps(item, ensure_ascii=False) for item in items) + "]"
        assert not isinstance(find_json(told, WORDS), Found), told


@pytest.mark.parametrize("separator", SEPARATORS)
def test_two_strings_in_the_place_of_one_are_never_one(separator: str) -> None:
    for told in (f'{{"p": "x"{separator}"y", "q": "z"}}', f'{{"p": "say \\"hi\\" "{separator}"b"}}'):
        found = find_json(told, PATH)
        assert not isinstance(found, Found) or '"' not in found.value["p"].replace('"hi"', ""), told


@pytest.mark.parametrize("comma", ["\uff0c", "\u3001", "\uff0c\n"])
def test_a_comma_of_chinese_text_between_strings_is_a_comma(comma: str) -> None:
    assert find_json(f'["\u82f9\u679c"{comma}"\u9999\u8549"]', WORDS) == Found(
        ["\u82f9\u679c", "\u9999\u8549"], ("commas",)
    )
    told = f'{{"p"\uff1a"x"{comma}"q"\uff1a"y"}}'
    assert find_json(told, PATH) == Found({"p": "x", "q": "y"}, ("colons", "commas"))


@pytest.mark.parametrize(
    "note", ['choose "a" or "b" now', 'He said "no" to her', 'a"bcd"e', '\u4ed6\u8bf4"\u597d"\u4e86', 'the "best" one']
)
def test_a_quotation_in_a_string_is_kept(note: str) -> None:
    assert find_json(f'{{"p": "{note}", "q": "z"}}', PATH) == Found({"p": note, "q": "z"}, ("inner_quotes",))


@pytest.mark.parametrize(
    "text",
    [
        r'{"p": "C:\Users\b.txt"}',
        r'{"p": "C:\dir\f1"}',
        r'{"p": "C:\dir\2024\n"}',
        r'{"p": "^\d{3}\b"}',
        r'{"p": "\d\f"}',
        r'{"p": "\\server\share"}',
        r'{"p": "\\d+\s"}',
        r'{"p": "\(\d+\)\t"}',
        r'{"p": "C:\dir", "q": "C:\new"}',
        r'{"p": "C:\new", "q": "C:\dir"}',
        r"{'p': '''C:\dir\new'''}",
    ],
)
def test_backslashes_are_read_in_one_way_in_all_of_a_value_or_it_is_refused(text: str) -> None:
    assert not isinstance(find_json(text, PATH), Found)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (r'{"p": "C:\Users\me", "q": "D:\work"}', {"p": r"C:\Users\me", "q": r"D:\work"}),
        (r'{"p": "\d+\.\w*"}', {"p": r"\d+\.\w*"}),
        (r'{"p": "\alpha", "q": "say \"hi\""}', {"p": r"\alpha", "q": 'say "hi"'}),
        (r'{"p": "C:\\Users\\new"}', {"p": r"C:\Users\new"}),
        (r"{'p': 'a\nb\\c'}", {"p": "a\nb\\c"}),
    ],
)
def test_backslashes_that_are_all_literal_or_all_escapes_are_read(text: str, value: dict[str, Any]) -> None:
    found = find_json(text, PATH)
    assert isinstance(found, Found), found
    assert found.value == value
