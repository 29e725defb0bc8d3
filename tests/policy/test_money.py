"""Money is whole nano-USD, rounded up, never a float."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.policy.holds import Amount, Line
from penstock.policy.money import cost, dearest_prices, nano_for, nano_from_usd, price_at, usd, usd_in_words
from penstock.types import KindPrice, Price, TimedPrice, Usage

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


def test_nothing_is_printed_as_a_plain_zero() -> None:
    assert str(usd(0)) == "0"


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


INPUT_KINDS = ("input_audio_tokens", "cache_audio_read_tokens", "input_image_tokens", "cache_image_read_tokens")
OUTPUT_KINDS = ("output_audio_tokens", "output_citation_tokens")
kind_prices = st.lists(
    st.builds(KindPrice, st.sampled_from((*INPUT_KINDS, *OUTPUT_KINDS)), prices),
    max_size=4,
    unique_by=lambda priced: priced.kind,
)
DAY = 86_400


NEVER: st.SearchStrategy[tuple[TimedPrice, ...]] = st.just(())


def priced(
    long: st.SearchStrategy[Price | None], timed: st.SearchStrategy[tuple[TimedPrice, ...]] = NEVER
) -> st.SearchStrategy[Price]:
    return st.builds(
        Price,
        input=prices,
        output=prices,
        cached_input=prices | st.none(),
        cache_write=prices | st.none(),
        cache_write_1h=prices | st.none(),
        reasoning=prices | st.none(),
        request=prices,
        kinds=kind_prices.map(tuple),
        long=long,
        long_above=tokens,
        timed=timed,
    )


hours = st.tuples(st.integers(0, DAY), st.integers(0, DAY)) | st.none()
longer = st.none() | priced(st.none())
timed_prices = st.builds(TimedPrice, price=priced(longer), starts=st.integers(0, 5 * DAY), hours=hours)
sheets = priced(longer, st.lists(timed_prices, max_size=3).map(tuple))


@pytest.mark.slow
@given(st.tuples(tokens, tokens, tokens, tokens), st.integers(0, 4), st.floats(0, 6 * DAY), sheets)
def test_no_usage_costs_more_than_the_dearest_line_for_it(
    counts: tuple[int, int, int, int], parts: int, at: float, sheet: Price
) -> None:
    plain, cached, write, output = counts
    total = plain + cached + write
    usage = Usage(
        input_tokens=total,
        cached_input_tokens=cached,
        cache_write_tokens=write,
        cache_write_1h_tokens=write // 2,
        output_tokens=output,
        reasoning_tokens=output // 3,
        kinds={
            "input_audio_tokens": plain // 2 + cached // 2,
            "cache_audio_read_tokens": cached // 2,
            "input_image_tokens": plain // 3,
            "output_audio_tokens": output // 3 if parts else 0,
            "output_citation_tokens": output // 4,
            "a_kind_of_tomorrow": total * parts,
        },
    )
    bound = Line.at_price(total, sheet, output).amount_at(output)
    assert cost(usage, sheet, at) <= cost(usage, sheet) <= bound.nano_usd
    assert usage.total_tokens == bound.tokens
    # A bound is no less of a bound where less comes in than it allows.
    assert cost(Usage(input_tokens=plain, output_tokens=output), sheet) <= bound.nano_usd


def test_a_long_prompt_makes_every_token_dearer() -> None:
    sheet = Price(input=1_000_000, output=1_000_000, long=Price(input=2_000_000, output=3_000_000), long_above=100)
    assert cost(Usage(input_tokens=100, output_tokens=10), sheet) == 110
    assert cost(Usage(input_tokens=101, output_tokens=10), sheet) == 232
    assert dearest_prices(sheet, 100) == (1_000_000, 1_000_000, 0)
    assert dearest_prices(sheet, 101) == (2_000_000, 3_000_000, 0)
    assert dearest_prices(sheet) == (2_000_000, 3_000_000, 0)


def test_each_request_has_its_price_beside_its_tokens() -> None:
    sheet = Price(input=1_000_000, output=2_000_000, request=5_000)
    assert cost(Usage(), sheet) == 5_000
    assert cost(Usage(input_tokens=3, output_tokens=2), sheet) == 5_007
    assert Line.at_price(3, sheet, 2).amount_at(2) == Amount(5, 5_007)


def test_reasoning_costs_what_output_costs_unless_it_has_a_price_of_its_own() -> None:
    usage = Usage(output_tokens=10, reasoning_tokens=4)
    assert cost(usage, Price(input=0, output=1_000_000)) == 10
    assert cost(usage, Price(input=0, output=1_000_000, reasoning=3_000_000)) == 6 + 12
    assert dearest_prices(Price(input=0, output=1_000_000, reasoning=3_000_000)).output == 3_000_000


def test_audio_is_taken_out_of_the_tokens_it_is_counted_in() -> None:
    sheet = Price(
        input=1_000_000,
        cached_input=500_000,
        output=2_000_000,
        kinds=(
            KindPrice("input_audio_tokens", 10_000_000),
            KindPrice("cache_audio_read_tokens", 4_000_000),
            KindPrice("output_audio_tokens", 20_000_000),
        ),
    )
    usage = Usage(
        input_tokens=100,
        cached_input_tokens=30,
        output_tokens=50,
        kinds={"input_audio_tokens": 40, "cache_audio_read_tokens": 10, "output_audio_tokens": 5},
    )
    # 40 audio, 10 of them cached; of the other 60, 20 cached.
    assert cost(usage, sheet) == 30 * 10 + 10 * 4 + 20 // 2 + 40 + 5 * 20 + 45 * 2
    assert dearest_prices(sheet) == (10_000_000, 20_000_000, 0)


def test_what_is_counted_beside_the_tokens_costs_beside_them() -> None:
    sheet = Price(input=1_000_000, output=0, kinds=(KindPrice("web_searches", 10_000_000_000_000),))
    assert cost(Usage(input_tokens=5, kinds={"web_searches": 2}), sheet) == 5 + 20_000_000
    assert dearest_prices(sheet) == (1_000_000, 0, 0), "searches have no bound: who asks for them has none"


@given(usages, st.dictionaries(st.text(max_size=20), tokens, max_size=4))
def test_kinds_that_no_price_knows_change_nothing(usage: Usage, kinds: dict[str, int]) -> None:
    sheet = Price(input=3_000_000, output=5_000_000, kinds=(KindPrice("input_audio_tokens", 7_000_000),))
    kinds.pop("input_audio_tokens", None)
    assert cost(msgspec.structs.replace(usage, kinds=kinds), sheet) == cost(usage, sheet)


def timed(nano: int, *, starts: int = 0, hours: tuple[int, int] | None = None) -> TimedPrice:
    return TimedPrice(price=Price(input=nano, output=nano), starts=starts, hours=hours)


@pytest.mark.parametrize(
    ("at", "nano"),
    [
        (9_999, 1),
        (10_000, 2),
        (10 * DAY + 3_599, 2),
        (10 * DAY + 3_600, 3),
        (10 * DAY + 7_199.9, 3),
        (10 * DAY + 7_200, 2),
        (10 * DAY + 82_800, 4),
        (11 * DAY + 1_799, 4),
        (11 * DAY + 1_800, 2),
    ],
)
def test_the_last_price_in_force_counts(at: float, nano: int) -> None:
    hourly = (timed(3, hours=(3_600, 7_200)), timed(4, hours=(82_800, 1_800)))
    sheet = Price(input=1, output=1, timed=(timed(2, starts=10_000), *(replace_starts(each) for each in hourly)))
    assert price_at(sheet, at).input == nano
    usage = Usage(input_tokens=2_000_000)
    assert cost(usage, sheet, at) == 2 * nano
    assert cost(usage, sheet) == 8, "at a time that nobody knows it is as dear as it may be"
    assert dearest_prices(sheet) == (4, 4, 0)


def replace_starts(hourly: TimedPrice) -> TimedPrice:
    """For some hours of each day from the tenth on."""
    return msgspec.structs.replace(hourly, starts=10 * DAY)


def test_the_dearest_of_other_times_is_that_of_requests_as_long_as_this_one() -> None:
    longer = Price(input=9, output=9)
    sheet = Price(input=1, output=1, timed=(TimedPrice(price=Price(input=2, output=2, long=longer, long_above=5)),))
    assert dearest_prices(sheet, 5).input == 2
    assert dearest_prices(sheet, 6).input == 9


def test_a_target_without_a_price_costs_tokens_only() -> None:
    assert Line.at_price(10, None, 5).amount_at(5) == Amount(15, 0)
