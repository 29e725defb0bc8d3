"""Money is whole nano-USD, rounded up, never a float."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.policy.holds import Amount, Line
from penstock.policy.money import cost, dearest_input, dearest_output, nano_for, nano_from_usd, usd, usd_in_words
from penstock.types import Price, Usage

tokens = st.integers(0, 10**7)
prices = st.integers(0, 10**12)


@pytest.mark.parametrize(
    ("amount", "nano"),
    [
        (20, 20_000_000_000),
        (0.1, 100_000_000),
        ("0.30", 300_000_000),
        (Decimal("0.000000001"), 1),
        (Decimal("0.0000000001"), 1),
        ("1.0000000001", 1_000_000_001),
        (0, 0),
        ("1e-400", 1),
        ("1e3", 1_000_000_000_000),
    ],
)
def test_an_amount_is_rounded_up_to_a_nano_usd(amount: Decimal | float | str, nano: int) -> None:
    assert nano_from_usd(amount) == nano


@pytest.mark.parametrize("amount", [-1, "-0.1", "nan", "inf", float("nan"), float("inf"), "twenty", "", "1e18", True])
def test_what_is_no_amount_is_refused(amount: Decimal | float | str) -> None:
    with pytest.raises(ValueError, match="not an amount"):
        nano_from_usd(amount)


@given(st.decimals(0, 10**17, allow_nan=False, allow_infinity=False))
def test_rounding_up_loses_nothing_and_adds_less_than_a_nano(amount: Decimal) -> None:
    exact = Fraction(amount) * 10**9
    assert exact <= nano_from_usd(amount) < exact + 1


@given(st.integers(-(10**40), 10**40))
def test_nano_usd_come_back_exactly(nano: int) -> None:
    assert Fraction(usd(nano)) == Fraction(nano, 10**9)
    if nano >= 0:
        assert Fraction(usd_in_words(nano)) == Fraction(nano, 10**9)


@pytest.mark.parametrize(
    ("nano", "words"), [(20 * 10**9, "20"), (0, "0"), (1, "0.000000001"), (1_500_000_000, "1.5"), (10**12, "1000")]
)
def test_amounts_read_like_amounts(nano: int, words: str) -> None:
    assert usd_in_words(nano) == words


@given(tokens, prices)
def test_the_cost_of_tokens_is_rounded_up(count: int, price: int) -> None:
    exact = Fraction(count * price, 10**6)
    assert exact <= nano_for(count, price) < exact + 1


SONNET = Price(
    input=3_000_000_000,
    cached_input=300_000_000,
    cache_write=3_750_000_000,
    cache_write_1h=6_000_000_000,
    output=15_000_000_000,
)


def test_every_kind_of_token_has_its_price() -> None:
    usage = Usage(
        input_tokens=1_000_000,
        cached_input_tokens=200_000,
        cache_write_tokens=300_000,
        cache_write_1h_tokens=100_000,
        output_tokens=10_000,
        reasoning_tokens=4_000,
    )
    in_usd = 0.5 * 3 + 0.2 * 0.3 + 0.2 * 3.75 + 0.1 * 6 + 0.01 * 15
    assert usd(cost(usage, SONNET)) == Decimal(str(round(in_usd, 9)))


def test_the_sum_is_rounded_once() -> None:
    usage = Usage(input_tokens=1, output_tokens=1)
    assert cost(usage, Price(input=500_000, output=500_000)) == 1


def test_prices_that_are_not_told_are_the_next_dearer_kind() -> None:
    plain = Price(input=2_000_000, output=0)
    assert cost(Usage(input_tokens=10, cached_input_tokens=4, cache_write_tokens=3), plain) == 20
    written = Price(input=2_000_000, output=0, cache_write=5_000_000)
    assert cost(Usage(input_tokens=2, cache_write_tokens=2, cache_write_1h_tokens=1), written) == 10


counts = st.integers(0, 10**6)
usages = st.builds(
    Usage,
    input_tokens=counts,
    cached_input_tokens=counts,
    cache_write_tokens=counts,
    cache_write_1h_tokens=counts,
    output_tokens=counts,
    reasoning_tokens=counts,
)


@given(usages)
def test_counts_that_contradict_one_another_never_make_it_cheaper(usage: Usage) -> None:
    total = cost(usage, SONNET)
    assert total >= cost(Usage(output_tokens=usage.output_tokens), SONNET)
    assert total >= nano_for(usage.cached_input_tokens, 300_000_000)
    assert total >= nano_for(usage.cache_write_1h_tokens, 6_000_000_000)
    assert total >= nano_for(usage.input_tokens, 300_000_000)


def priced(long: st.SearchStrategy[Price | None]) -> st.SearchStrategy[Price]:
    return st.builds(
        Price,
        input=prices,
        output=prices,
        cached_input=prices | st.none(),
        cache_write=prices | st.none(),
        cache_write_1h=prices | st.none(),
        long=long,
        long_above=tokens,
    )


sheets = priced(st.none() | priced(st.none()))


@given(tokens, tokens, tokens, tokens, sheets)
def test_no_usage_costs_more_than_the_dearest_line_for_it(
    plain: int, cached: int, write: int, output: int, sheet: Price
) -> None:
    total = plain + cached + write
    usage = Usage(
        input_tokens=total,
        cached_input_tokens=cached,
        cache_write_tokens=write,
        cache_write_1h_tokens=write // 2,
        output_tokens=output,
    )
    bound = Line.at_price(total, sheet, output).amount_at(output)
    assert cost(usage, sheet) <= bound.nano_usd
    assert usage.total_tokens == bound.tokens
    # A bound is no less of a bound where less comes in than it allows.
    assert cost(Usage(input_tokens=plain, output_tokens=output), sheet) <= bound.nano_usd


def test_a_long_prompt_makes_every_token_dearer() -> None:
    sheet = Price(input=1_000_000, output=1_000_000, long=Price(input=2_000_000, output=3_000_000), long_above=100)
    assert cost(Usage(input_tokens=100, output_tokens=10), sheet) == 110
    assert cost(Usage(input_tokens=101, output_tokens=10), sheet) == 232
    assert (dearest_input(sheet, 100), dearest_output(sheet, 100)) == (1_000_000, 1_000_000)
    assert (dearest_input(sheet, 101), dearest_output(sheet, 101)) == (2_000_000, 3_000_000)
    assert (dearest_input(sheet), dearest_output(sheet)) == (2_000_000, 3_000_000)


def test_a_target_without_a_price_costs_tokens_only() -> None:
    assert Line.at_price(10, None, 5).amount_at(5) == Amount(15, 0)
