"""When a server says to come back: the spellings seen on wires, and what no spelling may do."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.policy.hints import (
    parse_duration,
    parse_moment,
    retry_after,
    retry_delay,
    retry_in_words,
    stated_retry_after,
)

NOW = 1_754_667_600.0  # 2025-08-08T15:40:00Z


def after(**headers: str) -> float | None:
    return retry_after(tuple((name.replace("_", "-"), value) for name, value in headers.items()), now=NOW)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("6ms", 0.006),
        ("0s", 0.0),
        ("17.379s", 17.379),
        ("2m59.56s", 179.56),
        ("1m30s", 90.0),
        ("6m0s", 360.0),
        ("1h2m3s", 3723.0),
        ("48s", 48.0),
        ("250us", 0.00025),
        ("250\u00b5s", 0.00025),
        (" 5s ", 5.0),
    ],
)
def test_a_duration_as_go_writes_it_is_read(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text", ["", "s", "5", "-5s", "5 s", "5x", "1e3s", "5s!", "m5", "NaNs", "5sm", "\u0665s", "9" * 500]
)
def test_what_is_no_duration_is_none(text: str) -> None:
    assert parse_duration(text) is None


UNITS = {"h": Decimal(3600), "m": Decimal(60), "s": Decimal(1), "ms": Decimal("0.001"), "ns": Decimal("0.000000001")}


@given(st.lists(st.tuples(st.decimals(0, 10_000, places=3), st.sampled_from(sorted(UNITS))), min_size=1, max_size=5))
def test_a_duration_is_the_sum_of_its_pieces(pieces: list[tuple[Decimal, str]]) -> None:
    text = "".join(f"{number}{unit}" for number, unit in pieces)
    total = sum((number * UNITS[unit] for number, unit in pieces), Decimal(0))
    assert parse_duration(text) == pytest.approx(float(total))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("12", 12.0),
        ("1.5", 1.5),
        ("1754667660", 60.0),  # Cohere: epoch seconds
        ("1754667660000", 60.0),  # OpenRouter: epoch milliseconds
        ("2025-08-08T15:41:00Z", 60.0),  # Anthropic: RFC 3339
        ("2025-08-08T17:41:00+02:00", 60.0),
        ("2025-08-08T15:41:00.500Z", 60.5),
        ("Fri, 08 Aug 2025 15:41:00 GMT", 60.0),
        ("2m59.56s", 179.56),
        ("1754667000", -600.0),
    ],
)
def test_every_spelling_of_a_moment_is_read(text: str, seconds: float) -> None:
    assert parse_moment(text, now=NOW) == pytest.approx(seconds)


@given(st.integers(-10_000_000, 10_000_000), st.sampled_from(["http", "rfc3339", "seconds", "milliseconds"]))
def test_all_spellings_of_one_moment_agree(offset: int, spelling: str) -> None:
    moment = datetime(2025, 8, 8, 15, 40, tzinfo=UTC) + timedelta(seconds=offset)
    match spelling:
        case "http":
            text = format_datetime(moment, usegmt=True)
        case "rfc3339":
            text = moment.isoformat().replace("+00:00", "Z")
        case "seconds":
            text = str(1_754_667_600 + offset)
        case _:
            text = str((1_754_667_600 + offset) * 1000)
    assert parse_moment(text, now=NOW) == pytest.approx(offset)


@given(st.text(max_size=60), st.text(max_size=60), st.floats(0, 4e9))
def test_junk_is_no_hint_and_no_error(value: str, other: str, now: float) -> None:
    names = ("retry-after", "retry-after-ms", "x-amz-retry-after", "x-ratelimit-reset-tokens", "x-ratelimit-reset")
    headers = (*((name, value) for name in names), ("x-ratelimit-remaining-tokens", other))
    for told in (retry_after(headers, now=now), retry_in_words(value), retry_in_words(f"try again in {value}")):
        assert told is None or (told > 0 and math.isfinite(told))
    parse_moment(value, now=now)
    parse_duration(value)


def test_milliseconds_come_before_seconds_but_a_zero_says_nothing() -> None:
    assert after(retry_after="7", retry_after_ms="1500") == 1.5
    assert after(retry_after="1", retry_after_ms="0") == 1.0
    assert after(retry_after="0", retry_after_ms="0") is None
    assert after(retry_after="3", x_amz_retry_after="250") == 0.25


def test_a_date_is_counted_from_now_and_a_past_one_says_nothing() -> None:
    assert after(retry_after="Fri, 08 Aug 2025 15:40:30 GMT") == 30.0
    assert after(retry_after="Fri, 08 Aug 2025 15:39:30 GMT") is None


def test_the_longest_reset_of_what_is_used_up_counts() -> None:
    assert (
        after(
            x_ratelimit_remaining_requests="0",
            x_ratelimit_reset_requests="120ms",
            x_ratelimit_remaining_tokens="0",
            x_ratelimit_reset_tokens="6m0s",
        )
        == 360.0
    )


def test_a_reset_of_what_is_left_says_nothing() -> None:
    assert after(x_ratelimit_remaining_requests="59", x_ratelimit_reset_requests="1m0s") is None
    assert (
        after(
            x_ratelimit_remaining_requests="59",
            x_ratelimit_reset_requests="1m0s",
            x_ratelimit_remaining_tokens="0",
            x_ratelimit_reset_tokens="2s",
        )
        == 2.0
    )


def test_what_the_server_states_comes_before_its_resets() -> None:
    assert after(retry_after="2", x_ratelimit_remaining_requests="0", x_ratelimit_reset_requests="1m0s") == 2.0


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        (
            {
                "anthropic_ratelimit_input_tokens_remaining": "0",
                "anthropic_ratelimit_input_tokens_reset": "2025-08-08T15:40:09Z",
                "anthropic_ratelimit_requests_remaining": "49",
                "anthropic_ratelimit_requests_reset": "2025-08-08T15:45:00Z",
            },
            9.0,
        ),
        (
            {"x_ratelimit_limit": "20", "x_ratelimit_remaining": "0", "x_ratelimit_reset": "1754667660000"},
            60.0,
        ),  # OpenRouter
        ({"x_ratelimit_reset": "1754667605"}, 5.0),  # Cohere, which names no remainder
        ({"x_ratelimit_remaining_tokens": "0", "x_ratelimit_reset_tokens": "13"}, 13.0),  # Azure, Together
        ({"x_ratelimit_remaining_tokens": "0", "x_ratelimit_reset_tokens": "17.379s"}, 17.379),  # Groq
        ({"ratelimitbysize_remaining": "0", "ratelimitbysize_reset": "43"}, 43.0),  # Mistral
    ],
)
def test_every_vendors_reset_is_read(headers: dict[str, str], seconds: float) -> None:
    assert after(**headers) == pytest.approx(seconds)


def test_a_stated_hint_leaves_the_resets_aside() -> None:
    resets = (("x-ratelimit-remaining-requests", "0"), ("x-ratelimit-reset-requests", "5s"))
    assert stated_retry_after(resets, now=NOW) is None
    assert stated_retry_after((*resets, ("retry-after", "1")), now=NOW) == 1.0


@pytest.mark.parametrize(
    ("sentence", "seconds"),
    [
        ("Limit: 10000 / min. Please try again in 6ms. Contact us", 0.006),
        ("Please try again in 3.89s.", 3.89),
        ("Please try again in 174ms.", 0.174),
        ("Please try again in 6m0s.", 360.0),
        ("Please try again in 1h12m0s.", 4320.0),
        ("Please try again in 50.597142857s. Visit https://example.com/limits", 50.597142857),
        ("Please retry after 55 seconds.", 55.0),
        ("Please retry in 48.2s.", 48.2),
        ("Try again in 1 hour and 5 minutes", 3900.0),
    ],
)
def test_a_sentence_that_names_a_time_is_read(sentence: str, seconds: float) -> None:
    assert retry_in_words(sentence) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "sentence", ["", "Please try again later.", "Limit 30 s reached", "try again in 5 apples", "retry after 0 seconds"]
)
def test_a_sentence_that_names_no_time_is_no_hint(sentence: str) -> None:
    assert retry_in_words(sentence) is None


def test_a_long_sentence_is_read_in_linear_time() -> None:
    assert retry_in_words("try again in " + "1 s " * 100_000 + "!") is not None
    assert retry_in_words("try again in " * 100_000) is None


def test_googles_retry_info_is_found_among_the_details() -> None:
    quota = {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"quotaId": "PerMinute"}]}
    info = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "48s"}
    assert retry_delay([quota, info]) == 48.0
    assert retry_delay([quota]) is None
    assert retry_delay([{**info, "retryDelay": "soon"}, 5, None]) is None
    assert retry_delay({"retryDelay": "48s"}) is None
    assert retry_delay(None) is None
