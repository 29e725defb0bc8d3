"""Which fault strikes which request: rules, chance, seeds, and the files they are written in."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.types import WireRequest
from penstock_plugins.rehearsal import Fault, Rule, Script, Upstream, faults, key_label


def request(prompt: str = "Why?", *, model: str = "gpt-4o", key: str = "k", stream: bool = False) -> WireRequest:
    body = {"model": model, "messages": [{"role": "user", "content": prompt}], "stream": stream}
    headers = (("authorization", f"Bearer {key}"),)
    return WireRequest("POST", "/v1/chat/completions", headers, msgspec.json.encode(body))


def strike(upstream: Upstream, asked: WireRequest, now: float = 0.0) -> str | None:
    """The fault a request meets."""
    exchange = upstream.receive(asked, now=now, wall=0.0)
    exchange.close()
    return exchange.fault


def rules(*made: Rule, seed: int = 0) -> Upstream:
    upstream = Upstream(Script(made, seed=seed))
    upstream.start(0.0)
    return upstream


def test_an_empty_script_strikes_nobody() -> None:
    upstream = Upstream()
    assert {strike(upstream, request(f"{n}")) for n in range(20)} == {None}


def test_the_first_rule_that_strikes_decides() -> None:
    upstream = rules(Rule(fault=faults.Quota(), model="gpt-*"), Rule(fault=faults.Overloaded()))
    assert strike(upstream, request()) == "quota"
    assert strike(upstream, request(model="o3")) == "overloaded"


@pytest.mark.parametrize(
    ("conditions", "struck", "spared"),
    [
        ({"model": "gpt-4o"}, request(), request(model="gpt-4o-mini")),
        ({"key": key_label("bad")}, request(key="bad"), request(key="good")),
        ({"streamed": True}, request(stream=True), request()),
        ({"streamed": False}, request(), request(stream=True)),
        ({"wire": "openai", "model": "gpt*"}, request(), request(model="other")),
    ],
)
def test_a_rule_strikes_what_fulfils_its_conditions(
    conditions: dict[str, Any], struck: WireRequest, spared: WireRequest
) -> None:
    upstream = rules(Rule(fault=faults.Overloaded(), **conditions))
    assert strike(upstream, struck) == "overloaded"
    assert strike(upstream, spared) is None


def test_a_window_includes_its_beginning_and_not_its_end() -> None:
    upstream = rules(Rule(fault=faults.Overloaded(), from_s=5, until_s=15))
    moments = {4.999: None, 5.0: "overloaded", 14.999: "overloaded", 15.0: None}
    assert {now: strike(upstream, request(), now) for now in moments} == moments


def test_windows_count_from_the_start_and_not_from_the_first_request() -> None:
    upstream = Upstream(Script((Rule(fault=faults.Overloaded(), from_s=5),)))
    upstream.start(100.0)
    upstream.start(104.0)
    assert strike(upstream, request(), 104.9) is None
    assert strike(upstream, request(), 105.0) == "overloaded"


def test_requests_are_counted_for_each_model() -> None:
    upstream = rules(Rule(fault=faults.Overloaded(), first=2, last=3))
    found = [strike(upstream, request(f"{n}", model=model)) for n in range(4) for model in ("a", "b")]
    assert found == [None, None, "overloaded", "overloaded", "overloaded", "overloaded", None, None]


def test_a_rule_can_spare_the_retry() -> None:
    upstream = rules(Rule(fault=faults.Overloaded(), occurrences=1))
    assert [strike(upstream, request("x")), strike(upstream, request("x")), strike(upstream, request("y"))] == [
        "overloaded",
        None,
        "overloaded",
    ]


def test_a_rule_can_wait_until_too_much_is_in_flight() -> None:
    upstream = rules(Rule(fault=faults.RateLimit(), in_flight_above=2))
    open_ones = [upstream.receive(request(f"{n}"), now=0.0, wall=0.0) for n in range(2)]
    assert strike(upstream, request("third")) == "rate-limit"
    open_ones[0].close()
    assert strike(upstream, request("third again")) is None


@given(st.permutations(range(12)), st.integers(0, 2**32))
def test_what_strikes_a_content_does_not_depend_on_the_order_of_others(order: list[int], seed: int) -> None:
    script = Script((Rule(fault=faults.Overloaded(), probability=0.5),), seed=seed)
    straight, shuffled = Upstream(script), Upstream(script)
    expected = {n: strike(straight, request(f"{n}")) for n in range(12)}
    assert {n: strike(shuffled, request(f"{n}")) for n in order} == expected


def test_chance_follows_its_probability_and_its_seed() -> None:
    def share(seed: int) -> list[bool]:
        upstream = rules(Rule(fault=faults.Overloaded(), probability=0.3), seed=seed)
        return [strike(upstream, request(f"{n % 100}")) is not None for n in range(500)]

    one = share(1)
    assert one == share(1)
    assert one != share(2)
    # Four standard deviations of 500 draws.
    assert abs(sum(one) - 150) < 4 * math.sqrt(500 * 0.3 * 0.7)


def test_the_same_content_draws_anew_each_time() -> None:
    upstream = rules(Rule(fault=faults.Overloaded(), probability=0.5))
    assert {strike(upstream, request("same")) for _ in range(40)} == {None, "overloaded"}


def test_certainty_and_impossibility_are_exact() -> None:
    never = rules(Rule(fault=faults.Overloaded(), probability=0.0))
    always = rules(Rule(fault=faults.Overloaded(), probability=1.0))
    assert {strike(never, request(f"{n}")) for n in range(200)} == {None}
    assert {strike(always, request(f"{n}")) for n in range(200)} == {"overloaded"}


def test_only_a_rule_without_conditions_closes_the_port() -> None:
    closing = Script(
        (Rule(fault=faults.Refused(), from_s=5, until_s=15), Rule(fault=faults.Refused(), model="x", from_s=20))
    )
    assert [closing.port_is_closed(moment) for moment in (4, 5, 14, 15, 25)] == [False, True, True, False, False]
    assert [closing.next_change(moment) for moment in (0, 5, 15)] == [5.0, 15.0, math.inf]
    chancy = Script((Rule(fault=faults.Refused(), probability=0.5, from_s=5, until_s=15),))
    assert not chancy.port_is_closed(10)


SCRIPT = """
seed = 7

[[rules]]
fault = { fault = "rate-limit", hint = "milliseconds", after_s = 0.2 }
wire = "anthropic"
model = "claude-*"
from_s = 5
until_s = 15
probability = 0.4

[[rules]]
fault = { fault = "split-utf8" }
"""


def test_a_script_is_read_from_toml() -> None:
    assert Script.parse(SCRIPT) == Script(
        (
            Rule(
                fault=faults.RateLimit(hint="milliseconds", after_s=0.2),
                wire="anthropic",
                model="claude-*",
                from_s=5.0,
                until_s=15.0,
                probability=0.4,
            ),
            Rule(fault=faults.SplitUtf8()),
        ),
        seed=7,
    )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('rules = [{ fault = { fault = "no-such" } }]', "no-such"),
        ('rules = [{ fault = { fault = "stall", after_chnks = 2 } }]', "after_chnks"),
        ('rules = [{ fault = { fault = "quota" }, probability = 1.5 }]', "probability"),
        ('rules = [{ fault = { fault = "quota" }, from_s = 9, until_s = 3 }]', "from_s"),
        ('rules = [{ fault = { fault = "quota" }, first = 0 }]', "counted from 1"),
        ('rules = [{ fault = { fault = "stall", for_s = -1 } }]', "for_s"),
        ('rules = [{ fault = { fault = "trickle", bytes_per_s = 0 } }]', "bytes_per_s"),
        ('rules = [{ fault = { fault = "late-first-token", by_s = inf } }]', "by_s"),
        ("rules = [{ model = 'x' }]", "fault"),
        ("sead = 7", "sead"),
        ("rules = [", "Invalid"),
    ],
)
def test_a_mistake_in_a_script_is_named(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Script.parse(text)


@pytest.mark.parametrize("kind", faults.ALL)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_every_fault_has_a_plan_for_streams_and_others_and_can_be_written_down(
    kind: type[Fault], *, stream: bool
) -> None:
    fault = kind(decompressed_bytes=1) if kind is faults.GzipBomb else kind()
    upstream = rules(Rule(fault=fault))
    exchange = upstream.receive(request(stream=stream), now=0.0, wall=0.0)
    assert exchange.steps
    script = Script((Rule(fault=fault),))
    assert msgspec.json.decode(msgspec.json.encode(script), type=Script) == script
