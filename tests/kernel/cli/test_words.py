"""Figures and foreign text as a terminal should show them."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.cli._words import dollars, escaped, json_in, plain, seconds, tokens


@pytest.mark.slow
@given(st.text(max_size=50))
def test_no_text_can_move_a_cursor(text: str) -> None:
    shown = plain(text)
    assert not any(character < " " and character not in "\n\t" for character in shown)
    assert not any("\x7f" <= character <= "\x9f" for character in shown)


@given(st.text(alphabet=st.characters(exclude_categories=["Cc"]), max_size=50))
def test_ordinary_text_is_left_alone(text: str) -> None:
    assert plain(text) == text


def test_a_name_hides_nothing_and_stays_on_its_line() -> None:
    assert escaped("team\u202e/hcraes\u2028\x1b[2J\n\u200b\ufeff") == r"team\u202e/hcraes\u2028\x1b[2J\n\u200b\ufeff"
    assert escaped("équipe/日本語/🚰 and more") == "équipe/日本語/🚰 and more"


@pytest.mark.parametrize(
    ("amount", "words"),
    [
        (None, "price unknown"),
        (Decimal(0), "$0"),
        (Decimal("0.0000575"), "$0.000058"),
        (Decimal("0.0123456"), "$0.0123"),
        (Decimal("1234.5"), "$1,234.50"),
    ],
)
def test_money_has_the_digits_that_say_something(amount: Decimal | None, words: str) -> None:
    assert dollars(amount) == words


def test_counts_and_times_are_easy_to_read() -> None:
    assert tokens(1234567) == "1,234,567"
    assert seconds(0.0421) == "42 ms"
    assert seconds(12.34) == "12.3 s"


def test_json_is_escaped_where_an_encoding_or_a_terminal_cannot_take_it_and_says_the_same() -> None:
    line = json.dumps({"a": "é🏛\x7f\x9b", "b": '"\\u00e9'}, ensure_ascii=False)
    for encoding in ("ascii", "latin-1", "utf-8"):
        written = json_in(encoding, line)
        written.encode(encoding)
        assert json.loads(written) == json.loads(line)
        assert "\x9b" not in written
        assert "\x7f" not in written
    assert "é🏛" in json_in("utf-8", line)
