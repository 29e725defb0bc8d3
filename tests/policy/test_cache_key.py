"""The cache key: equal for the same question, different for any other, and blind to who asks where that is known."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.policy.cache_key import cache_key
from penstock.types import Headers, WireRequest

OPENAI, ANTHROPIC = "openai-chat", "anthropic-messages"
BODY: dict[str, Any] = {
    "model": "m",
    "messages": [{"role": "user", "content": "hi"}],
    "temperature": 0,
    "tools": [{"name": "f"}],
    "some_new_field": 1,
}
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)


def key(
    body: object = BODY,
    *,
    raw: bytes | None = None,
    family: str = OPENAI,
    url: str = "https://a/v1",
    method: str = "POST",
    headers: Headers = (),
    significant: frozenset[str] = frozenset(),
    tenant: str = "default",
) -> str:
    wire = WireRequest(method, url, headers, msgspec.json.encode(body) if raw is None else raw)
    return cache_key(wire, family=family, significant_headers=significant, tenant=tenant)


@given(JSON, JSON)
def test_two_bodies_have_one_key_exactly_when_they_are_the_same_json(one: object, other: object) -> None:
    same = msgspec.json.encode(one, order="deterministic") == msgspec.json.encode(other, order="deterministic")
    assert (key(one, family="acme") == key(other, family="acme")) is same


@given(st.permutations(list(BODY)), st.sampled_from([b"", b" ", b"\n  "]))
def test_the_order_of_fields_and_blanks_between_them_mean_nothing(names: list[str], blank: bytes) -> None:
    fields = [blank + msgspec.json.encode(name) + b":" + blank + msgspec.json.encode(BODY[name]) for name in names]
    assert key(raw=b"{" + b",".join(fields) + blank + b"}") == key()


@pytest.mark.parametrize("field", BODY)
def test_every_field_counts_the_ones_nobody_here_has_heard_of_too(field: str) -> None:
    assert key(BODY | {field: "another"}) != key()
    assert key({name: value for name, value in BODY.items() if name != field}) != key()


def test_everything_around_the_body_counts() -> None:
    others = [key(url="https://b/v1"), key(method="PUT"), key(tenant="other"), key()]
    assert len(set(others)) == 4


@given(st.text(), st.text(), st.text(), st.text())
def test_what_stands_side_by_side_never_runs_together(url: str, tenant: str, other_url: str, other_tenant: str) -> None:
    same = (url, tenant) == (other_url, other_tenant)
    assert (key(url=url, tenant=tenant) == key(url=other_url, tenant=other_tenant)) is same


def test_only_headers_that_can_change_the_answer_count_whatever_their_case_and_order() -> None:
    significant = frozenset({"anthropic-beta", "x-mode"})
    plain = key(significant=significant)
    tracing: Headers = (("traceparent", "1"), ("authorization", "sk-1"), ("idempotency-key", "9"))
    assert key(headers=tracing, significant=significant) == plain
    beta: Headers = (("anthropic-beta", "a"), ("x-mode", "b"))
    assert key(headers=beta, significant=significant) != plain
    assert key(headers=beta[::-1], significant=significant) == key(headers=beta, significant=significant)
    loud: Headers = (("Anthropic-Beta", "a"), ("X-Mode", "b"))
    assert key(headers=loud, significant=significant) == key(headers=beta, significant=significant)


@pytest.mark.parametrize(
    ("family", "field"),
    [(OPENAI, "user"), (OPENAI, "safety_identifier"), (OPENAI, "metadata"), (ANTHROPIC, "metadata")],
)
def test_who_asks_does_not_split_the_cache_of_a_family_that_is_known(family: str, field: str) -> None:
    assert key(BODY | {field: "somebody"}, family=family) == key(family=family)


@pytest.mark.parametrize(("family", "field"), [("acme", "user"), ("acme", "metadata"), (ANTHROPIC, "user")])
def test_of_other_families_nothing_is_left_out_for_there_it_may_be_the_question(family: str, field: str) -> None:
    one, other = (key({field: question}, family=family) for question in ("what is one?", "what is two?"))
    assert one != other


def test_within_messages_no_field_is_left_out() -> None:
    one, other = ({"messages": [{"role": "user", "content": "x", "user": who}]} for who in ("a", "b"))
    assert key(one) != key(other)


@given(st.binary())
def test_a_body_that_is_no_json_has_a_key_of_its_own(raw: bytes) -> None:
    try:
        msgspec.json.decode(raw)
    except msgspec.DecodeError:
        assert key(raw=raw) == key(raw=raw)
        assert key(raw=raw) != key(raw=raw + b"\x00")
        assert key(raw=raw) != key(raw.hex())
        assert key(raw=raw) != key(raw)  # msgspec writes bytes as a text of base64


def test_nothing_and_null_are_two_questions() -> None:
    assert key(raw=b"") != key(None)


def test_long_numbers_are_not_rounded_into_one() -> None:
    assert key(raw=b'{"n": 123456789012345678901234567890}') != key(raw=b'{"n": 123456789012345678901234567891}')


def test_a_key_shows_nothing_of_what_it_was_made_from() -> None:
    assert len(key()) == 64
    assert set(key()) <= set("0123456789abcdef")
