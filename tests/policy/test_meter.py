"""The meter of a stream: what it lets pass, and from when on it does not."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from penstock.policy.holds import Amount, Line
from penstock.policy.meter import Meter, StreamedText
from penstock.policy.money import cost
from penstock.types import Price, Usage

PRICE = Price(input=2_500_000_000, output=10_000_000_000)
counts = st.integers(0, 100_000)


def held(input_tokens: int, output: int, price: Price | None = PRICE) -> Meter:
    return Meter(Line.at_price(input_tokens, price, output).amount_at(output), output, price)


def test_a_stream_without_reports_is_over_at_sixteen_bytes_a_token() -> None:
    meter = held(100, 10)
    assert [meter.is_over(count, None) for count in (0, 160, 175, 176, 10**9)] == [False, False, False, True, True]
    assert meter.most_bytes == 175


def test_it_is_over_by_the_report_or_by_the_bytes_whichever_is_more() -> None:
    meter = held(100, 10)
    assert not meter.is_over(40, Usage(input_tokens=100, output_tokens=10))
    assert meter.is_over(40, Usage(input_tokens=100, output_tokens=11))
    assert meter.is_over(176, Usage(input_tokens=100, output_tokens=9))


def test_input_beyond_its_bound_counts_where_all_of_it_together_is_more_than_is_held() -> None:
    meter = held(100, 10, None)
    assert not meter.is_over(0, Usage(input_tokens=109, output_tokens=1))
    assert meter.is_over(0, Usage(input_tokens=110, output_tokens=1))


def test_money_counts_at_the_price_of_the_target() -> None:
    most = Amount(1_000, cost(Usage(input_tokens=100, output_tokens=10), PRICE))
    meter = Meter(most, 500, PRICE)
    assert not meter.is_over(0, Usage(input_tokens=100, output_tokens=10))
    assert meter.is_over(0, Usage(input_tokens=100, output_tokens=11))


@given(bound=counts, used=counts, output=counts, written=counts, size=counts)
def test_who_keeps_to_its_bound_is_never_cut(bound: int, used: int, output: int, written: int, size: int) -> None:
    """Whatever the text is made of, as long as a token of it has no more than sixteen bytes."""
    meter = held(bound, output)
    reported = Usage(input_tokens=min(used, bound), output_tokens=min(written, output))
    assert not meter.is_over(min(size, 16 * output), None)
    assert not meter.is_over(min(size, 16 * output), reported)


@given(bound=counts, output=counts, more=st.integers(1, 1_000))
def test_one_token_beyond_the_hold_is_enough_once_it_is_known(bound: int, output: int, more: int) -> None:
    meter = held(bound, output)
    assert meter.is_over(0, Usage(input_tokens=bound, output_tokens=output + more))
    assert meter.is_over(16 * (output + more), None)


tokens_of: list[Callable[[str], int]] = [
    lambda text: len(text.encode()),
    lambda text: -(-len(text.encode()) // 4),
    lambda text: len(text.split()),
    lambda text: len(text.encode()) // 16,
]
pieces = st.lists(st.tuples(st.sampled_from(["text", "thinking"]), st.text("ab é\U0001f600", max_size=12)), max_size=60)


@given(count=st.sampled_from(tokens_of), said=pieces, most=st.integers(0, 60))
def test_counted_seldom_it_says_the_same_as_counted_each_time(
    count: Callable[[str], int], said: list[tuple[str, str]], most: int
) -> None:
    stream = StreamedText(count, most)
    parts: dict[str, str] = {}
    for part, text in said:
        stream.add(part, text, len(text.encode()))
        parts[part] = parts.get(part, "") + text
        assert stream.is_over() == (sum(map(count, parts.values())) > most)
    assert stream.tokens() == sum(map(count, parts.values()))


def test_a_stream_far_from_its_hold_is_never_counted_and_one_that_nears_it_a_few_times() -> None:
    counted: list[int] = []

    def by_fours(text: str) -> int:
        counted.append(len(text))
        return -(-len(text) // 4)

    stream = StreamedText(by_fours, 8_192)
    for _ in range(8_192):
        stream.add("text", "a", 1)
        assert not stream.is_over()
    assert counted == []
    for _ in range(3 * 8_192):
        stream.add("text", "a", 1)
        assert not stream.is_over()
    assert len(counted) < 40
    stream.add("text", "a", 1)
    assert stream.is_over()


def test_where_the_tokenizer_breaks_only_bytes_and_reports_count() -> None:
    stream = StreamedText(lambda _: None, 1)
    stream.add("text", "far too long", 12)
    assert not stream.is_over()
    assert stream.tokens() is None


def test_without_a_tokenizer_there_is_nothing_to_count_with() -> None:
    assert held(100, 10).text() is None
