"""The range of an output, the estimate of an input, the meter of a stream."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.policy.bound import Estimate, OutputRange, lower_bound_tokens, output_range

figures = st.none() | st.integers(1, 200_000)


def test_without_a_limited_account_nothing_is_inserted() -> None:
    free = output_range(requested=None, default_max_tokens=4_096, model_max=16_384, thinking=False, limited=False)
    assert not free.insert
    assert free.maximum == 16_384


def test_with_a_limited_account_the_smaller_of_default_and_model_is_the_most() -> None:
    first = output_range(requested=None, default_max_tokens=4_096, model_max=16_384, thinking=False, limited=True)
    assert first == OutputRange(1_024, 4_096, insert=True)
    second = output_range(requested=None, default_max_tokens=40_960, model_max=16_384, thinking=False, limited=True)
    assert second == OutputRange(1_024, 16_384, insert=True)


def test_thinking_needs_room_to_think() -> None:
    thinks = output_range(requested=None, default_max_tokens=None, model_max=64_000, thinking=True, limited=True)
    assert thinks == OutputRange(8_192, 64_000, insert=True)


def test_a_model_that_gives_less_than_the_floor_is_asked_for_all_it_gives() -> None:
    small = output_range(requested=None, default_max_tokens=None, model_max=512, thinking=False, limited=True)
    assert small == OutputRange(512, 512, insert=True)


def test_of_a_model_nobody_knows_no_fortune_is_reserved() -> None:
    unknown = output_range(requested=None, default_max_tokens=None, model_max=None, thinking=False, limited=True)
    assert unknown == OutputRange(1_024, 8_192, insert=True)


@given(
    requested=st.integers(1, 200_000),
    default=figures,
    model_max=figures,
    thinking=st.booleans(),
    limited=st.booleans(),
)
def test_what_a_request_asks_for_is_never_changed(
    *, requested: int, default: int | None, model_max: int | None, thinking: bool, limited: bool
) -> None:
    asked = output_range(
        requested=requested, default_max_tokens=default, model_max=model_max, thinking=thinking, limited=limited
    )
    assert asked == OutputRange(requested, requested, insert=False)


@given(
    default=figures,
    model_max=figures,
    thinking=st.booleans(),
    limited=st.booleans(),
    floor=st.integers(1, 10_000),
)
def test_a_range_is_never_empty_and_never_above_what_the_model_gives(
    *, default: int | None, model_max: int | None, thinking: bool, limited: bool, floor: int
) -> None:
    given_ = output_range(
        requested=None,
        default_max_tokens=default,
        model_max=model_max,
        thinking=thinking,
        limited=limited,
        min_output_tokens=floor,
        min_output_tokens_thinking=floor,
    )
    assert 0 <= given_.minimum <= given_.maximum
    assert model_max is None or given_.maximum <= model_max
    assert given_.insert == limited


def test_sixteen_bytes_of_an_answer_are_a_token_at_least() -> None:
    assert [lower_bound_tokens(count) for count in (0, 15, 16, 160)] == [0, 0, 1, 10]


def test_an_estimate_begins_careful() -> None:
    # Four bytes per token and a margin: more than the 5.75 that were measured.
    assert Estimate().tokens("new", 4_000) == 1_100
    assert Estimate().tokens("new", 0) == 0


def test_an_estimate_learns_each_target_for_itself() -> None:
    estimate = Estimate(margin=1.0)
    for _ in range(100):
        estimate.learn("dense", input_bytes=10_000, input_tokens=5_000)
        estimate.learn("thrifty", input_bytes=10_000, input_tokens=1_000)
    assert estimate.tokens("dense", 20_000) == pytest.approx(10_000, rel=0.02)
    assert estimate.tokens("thrifty", 20_000) == pytest.approx(2_000, rel=0.02)
    assert estimate.tokens("new", 20_000) == 5_000


def test_small_requests_do_not_spoil_the_estimate_of_a_large_one() -> None:
    estimate = Estimate()
    before = estimate.tokens("chatty", 100_000)
    for _ in range(1_000):
        estimate.learn("chatty", input_bytes=2, input_tokens=350)
    assert estimate.tokens("chatty", 100_000) == before


def test_the_targets_an_estimate_knows_are_bounded() -> None:
    estimate = Estimate()
    for number in range(5_000):
        estimate.learn(f"model-{number}", input_bytes=4_000, input_tokens=4_000)
    assert estimate.tokens("model-0", 4_000) == estimate.tokens("new", 4_000)
    assert estimate.tokens("model-4999", 4_000) > estimate.tokens("new", 4_000)


RECORDINGS = Path(__file__).parent.parent / "recordings"


def _bytes_per_token(recorded: Any) -> float | None:
    """Of the text and tools of one recorded request without images; None where the usage is not known."""
    match recorded:
        case {
            "request": {"body": {"messages": messages, **rest}},
            "response": {"body": {"usage": {"prompt_tokens": n}}},
        }:
            text = json.dumps([messages, rest.get("tools")], ensure_ascii=False)
            return None if "image_url" in text else len(text.encode()) / n
        case _:
            return None


def test_the_recordings_are_below_the_estimate_at_the_median() -> None:
    recordings = [json.loads(path.read_bytes()) for path in sorted(RECORDINGS.glob("openai-chat/*.json"))]
    ratios = [ratio for ratio in map(_bytes_per_token, recordings) if ratio is not None]
    assert len(ratios) > 10
    estimated = [Estimate().tokens("new", 10_000) / (10_000 / ratio) for ratio in ratios]
    assert statistics.median(estimated) > 1
