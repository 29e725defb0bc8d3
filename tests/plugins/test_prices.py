"""The table of prices, against another public table of them, and by the names that models go by."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from msgspec import Struct

from penstock.policy.money import cost, nano_from_usd
from penstock.types import Price, Usage
from penstock_plugins.prices import AS_OF, penstock_price, priced_models


class ListedUsage(Struct, frozen=True):
    """Usage in the other table's words."""

    input_tokens: int
    output_tokens: int
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    cache_write_1h_tokens: int = 0

    def usage(self) -> Usage:
        return Usage(
            input_tokens=self.input_tokens,
            cached_input_tokens=self.cache_read_tokens,
            cache_write_tokens=self.cache_write_tokens,
            cache_write_1h_tokens=self.cache_write_1h_tokens,
            output_tokens=self.output_tokens,
        )


class Expectation(Struct, frozen=True):
    model: str
    usage: ListedUsage
    usd: str


class Expectations(Struct, frozen=True):
    source: str
    day: str
    expectations: tuple[Expectation, ...]


RECORDED = Path(__file__).with_name("price_expectations.json")
LISTED = msgspec.json.decode(RECORDED.read_bytes(), type=Expectations)


def price(model: str) -> Price:
    found = penstock_price(model)
    assert found is not None, model
    return found


def test_every_model_costs_what_the_other_table_says() -> None:
    for expected in LISTED.expectations:
        ours = cost(expected.usage.usage(), price(expected.model))
        assert ours == nano_from_usd(expected.usd), expected


def test_the_other_table_was_asked_for_the_day_and_all_models_of_ours() -> None:
    assert LISTED.day == AS_OF
    assert {expected.model for expected in LISTED.expectations} >= set(priced_models())


@pytest.mark.parametrize(
    ("snapshot", "model"),
    [
        ("gpt-4o-2024-08-06", "gpt-4o"),
        ("gpt-4o-mini-2024-07-18", "gpt-4o-mini"),
        ("claude-3-haiku-20240307", "claude-3-haiku"),
        ("claude-sonnet-4-20250514", "claude-sonnet-4"),
        ("claude-sonnet-4-0", "claude-sonnet-4"),
        ("claude-3-5-sonnet-latest", "claude-3-5-sonnet"),
        ("gpt-5.6-2026-07-01", "gpt-5.6-sol"),
    ],
)
def test_a_snapshot_costs_what_its_model_costs(snapshot: str, model: str) -> None:
    assert price(snapshot) == price(model)


def test_a_snapshot_with_a_price_of_its_own_keeps_it() -> None:
    assert price("gpt-4o-2024-05-13").input == 5_000_000_000
    assert price("gpt-4o").input == 2_500_000_000


@pytest.mark.parametrize(
    "model",
    [
        "",
        "gpt-4o-audio-preview",
        "gpt-4o-mini-search-preview",
        "gpt-4o-2024",
        "ft:gpt-4o-2024-08-06:acme::abc",
        "openai/gpt-4o",
        "claude-sonnet-4-99",
        "claude-sonnet",
        "-20250514",
        "llama3.3:70b",
    ],
)
def test_a_model_that_only_looks_like_one_of_them_has_no_price(model: str) -> None:
    assert penstock_price(model) is None


def test_a_price_says_of_which_day_it_is() -> None:
    assert {price(model).as_of for model in priced_models()} == {AS_OF}


def test_no_price_is_made_cheaper_by_a_long_prompt_or_dearer_by_the_cache() -> None:
    for model in priced_models():
        sheet = price(model)
        assert 0 < sheet.input <= sheet.output
        assert sheet.cached_input is None or sheet.cached_input < sheet.input
        assert sheet.cache_write is None or sheet.cache_write >= sheet.input
        assert sheet.cache_write_1h is None or sheet.cache_write_1h > (sheet.cache_write or 0)
        if sheet.long is not None:
            assert sheet.long_above > 0
            assert sheet.long.input > sheet.input
            assert sheet.long.output > sheet.output
