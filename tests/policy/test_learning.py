"""What calls learn from one another: allowances, ratios, cool-downs, and that none of it grows without end."""

from __future__ import annotations

import pytest

from penstock.policy.routing import MOST_ALLOWANCE, Learned, Routing


def test_calls_under_way_together_do_not_add_up_one_excess() -> None:
    routing = Routing()
    for _ in range(10):
        routing.used("t", text_bytes=0, input_tokens=0, excess=100)
    assert routing.learned()["t"].extra_allowance == 100


def test_an_allowance_never_shrinks() -> None:
    routing = Routing()
    for excess in (50, 300, 20, -4):
        routing.used("t", text_bytes=0, input_tokens=0, excess=excess)
    assert routing.learned()["t"].extra_allowance == 300


def test_one_wrong_count_does_not_make_a_target_dear_for_good() -> None:
    routing = Routing()
    routing.used("t", text_bytes=10_000, input_tokens=10**9, excess=10**9)
    learned = routing.learned()["t"]
    assert learned.extra_allowance == MOST_ALLOWANCE
    assert learned.tokens_per_byte is not None
    assert learned.tokens_per_byte <= 1.1, "no token is shorter than a byte"


def test_the_ratio_of_a_target_is_learned_from_real_text() -> None:
    routing = Routing()
    for _ in range(100):
        routing.used("t", text_bytes=6_000, input_tokens=1_000)
    assert routing.learned()["t"].tokens_per_byte == pytest.approx(1.1 / 6, rel=0.05)


def test_what_moves_the_ratio_by_a_hair_is_not_published() -> None:
    routing = Routing()
    for _ in range(200):
        routing.used("t", text_bytes=6_000, input_tokens=1_000)
    version = routing.version
    for _ in range(50):
        routing.used("t", text_bytes=6_000, input_tokens=1_001)
    assert routing.version == version


@pytest.mark.slow
def test_names_from_callers_do_not_grow_without_end() -> None:
    routing = Routing()
    for n in range(10_000):
        routing.used(f"t{n}", text_bytes=0, input_tokens=0, excess=5)
        routing.cool(f"target:t{n}", "rate_limited", now=0.0, jitter=0.0)
    assert len(routing.learned()) <= 4_096
    assert len(routing.cooling()) <= 4_096
    assert "t9999" in routing.learned()
    assert routing.learned().get("t0", Learned()) == Learned()


def test_an_empty_account_cools_for_minutes_whatever_the_server_hints() -> None:
    routing = Routing()
    first = routing.cool("key:p/0", "quota_exhausted", now=0.0, jitter=0.0, retry_after=1.0)
    assert first is not None
    assert first.until >= 300.0
    longer = routing.cool("key:p/0", "quota_exhausted", now=400.0, jitter=0.0, retry_after=4_000.0)
    assert longer is not None
    assert longer.until == 4_400.0


def test_a_cool_down_is_extended_and_never_shortened() -> None:
    routing = Routing()
    routing.cool("target:t", "rate_limited", now=0.0, jitter=0.0, retry_after=60.0)
    assert routing.cool("target:t", "rate_limited", now=1.0, jitter=0.0, retry_after=2.0) is None
    assert routing.cooling()["target:t"].until == 60.0
