"""The cache key: equal for the same question, different for any other, and blind to who asks where that is known."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any, cast

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.policy.cache_key import Parts, Question, differing, tenant_prefix
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
    return Question.of(wire, family=family, significant_headers=significant).key(tenant)


def canonical(value: object) -> str:
    """Python's own writer of JSON, with the numbers that are whole as integers."""

    def whole(inner: Any) -> Any:
        match inner:
            case float() if inner.is_integer() and abs(inner) < 1e39:
                return int(Decimal(repr(inner)))
            case list():
                return [whole(each) for each in cast("list[object]", inner)]
            case dict():
                return {name: whole(each) for name, each in cast("dict[str, object]", inner).items()}
            case _:
                return inner

    return json.dumps(whole(value), sort_keys=True)


@given(JSON, JSON)
def test_two_bodies_have_one_key_exactly_when_they_are_the_same_json(one: object, other: object) -> None:
    same = canonical(one) == canonical(other)
    assert (key(one, family="acme") == key(other, family="acme")) is same


@given(st.permutations(list(BODY)), st.sampled_from([b"", b" ", b"\n  "]))
def test_the_order_of_fields_and_blanks_between_them_mean_nothing(names: list[str], blank: bytes) -> None:
    fields = [blank + msgspec.json.encode(name) + b":" + blank + msgspec.json.encode(BODY[name]) for name in names]
    assert key(raw=b"{" + b",".join(fields) + blank + b"}") == key()


def called_with(arguments: object) -> dict[str, Any]:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": arguments}}
    return BODY | {"messages": [*BODY["messages"], {"role": "assistant", "tool_calls": [call]}]}


def test_the_order_within_the_arguments_of_a_call_means_nothing_though_they_are_a_string() -> None:
    one = key(called_with('{"a": 1.0, "b": {"c": 2, "d": [1, 2]}}'))
    assert key(called_with('{"b":{"d":[1,2],"c":2},"a":1}')) == one
    others = [
        key(called_with('{"a": 1, "b": {"c": 2, "d": [2, 1]}}')),
        key(called_with('{"a": "1", "b": {"c": 2, "d": [1, 2]}}')),
        key(called_with({"a": 1, "b": {"c": 2, "d": [1, 2]}})),
        key(called_with(["json", {"a": 1, "b": {"c": 2, "d": [1, 2]}}])),
        key(called_with("no json")),
        key(called_with("no json ")),
        key(called_with('"no json"')),
    ]
    assert len({one, *others}) == 8
    assert parts(called_with('{"b": 1, "a": 2}')) == parts(called_with('{"a": 2, "b": 1}'))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ('{"x": 12345678.123456789012345}', '{"x": 12345678.123456789099999}'),
        ('{"x": 1e400}', '{"x": 2e400}'),
        ('{"x": 1e99999999999999999999}', '{"x": 2e99999999999999999999}'),
        ('{"x": 1e-400}', '{"x": 0}'),
        ('{"x": 1, "x": 2}', '{"x": 2}'),
        ('{"x": 1, "x": 2}', '{"x": 3, "x": 2}'),
        ('{"x": NaN}', '{"x": Infinity}'),
        ('{"x": "\\ud800"}', '{"x": "\\uDFFF"}'),
        ("[" * 100_000, "[" * 100_001),
        ("9" * 5_000, "9" * 4_999 + "8"),
        ('{"x": ', '{"x":'),
        ("null", ""),
    ],
)
def test_what_the_model_reads_as_two_arguments_is_never_one(one: str, other: str) -> None:
    assert key(called_with(one)) != key(called_with(other))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ('{"x":12345678.1234567890123450}', '{ "x" : 12345678.123456789012345 }'),
        ('{"x": 1e25}', '{"x": 1' + "0" * 25 + "}"),
    ],
)
def test_arguments_may_be_spelled_in_several_ways(one: str, other: str) -> None:
    assert key(called_with(one)) == key(called_with(other))


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


def test_headers_count_but_for_those_without_influence_whatever_their_case_and_order() -> None:
    plain = key()
    tracing: Headers = (("traceparent", "1"), ("Authorization", "sk-1"), ("idempotency-key", "9"), ("User-Agent", "x"))
    assert key(headers=tracing) == plain
    routed: Headers = (("x-portkey-config", "a"), ("x-mode", "b"))
    assert key(headers=routed) != plain
    assert key(headers=routed) != key(headers=(("x-portkey-config", "b"), ("x-mode", "b")))
    assert key(headers=routed[::-1]) == key(headers=routed)
    loud: Headers = (("X-Portkey-Config", "a"), ("X-Mode", "b"))
    assert key(headers=loud) == key(headers=routed)


def test_a_codec_may_say_that_one_of_those_counts_all_the_same() -> None:
    one, other = ((("user-agent", name),) for name in "ab")
    assert key(headers=one) == key(headers=other)
    assert key(headers=one, significant=frozenset({"user-agent"})) != key(
        headers=other, significant=frozenset({"user-agent"})
    )


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


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (b'{"t": 0}', b'{"t": 0.0}'),
        (b'{"t": 1000}', b'{"t": 1e3}'),
        (b'{"t": 0}', b'{"t": -0.0}'),
        (b"[2.50]", b"[2.5]"),
    ],
)
def test_a_number_may_be_spelled_in_several_ways(one: bytes, other: bytes) -> None:
    assert key(raw=one) == key(raw=other)


def test_numbers_that_differ_a_little_are_not_the_same() -> None:
    assert key(raw=b'{"t": 0.7}') != key(raw=b'{"t": 0.70000001}')
    assert key(raw=b'{"t": 9007199254740993}') != key(raw=b'{"t": 9007199254740992.0}')


def test_a_letter_may_be_spelled_in_several_ways() -> None:
    assert key(raw='{"t": "ä\\n"}'.encode()) == key(raw=b'{"t": "\\u00e4\\u000a"}')


def test_a_key_shows_nothing_of_what_it_was_made_from_but_whose_it_is() -> None:
    tenant, _, question = key(tenant="somebody").partition("/")
    assert (len(tenant), len(question)) == (16, 64)
    assert set(tenant + question) <= set("0123456789abcdef")
    assert tenant + "/" == tenant_prefix("somebody") != tenant_prefix("somebody else")


def parts(body: object = BODY, *, raw: bytes | None = None, headers: Headers = (), url: str = "https://a/v1") -> Parts:
    wire = WireRequest("POST", url, headers, msgspec.json.encode(body) if raw is None else raw)
    return Question.of(wire, family=OPENAI, significant_headers=frozenset({"x-mode"})).parts()


def test_what_tells_two_requests_apart_is_named() -> None:
    messages = [{"role": "user", "content": "hi"}, {"role": "user", "content": "more"}]
    other = BODY | {"temperature": 1, "messages": messages, "seed": 7}
    assert differing(parts(), parts(other)) == ("messages[1]", "seed", "temperature")
    assert differing(parts(), parts(BODY | {"user": "me"})) == ()
    assert differing(parts(), parts(headers=(("X-Mode", "b"),), url="https://b/")) == ("header x-mode", "url")
    assert differing(parts(), parts(raw=b"\xff")) != ()


def test_of_a_long_list_the_end_is_one_part() -> None:
    one, other = ({"messages": [{"content": str(n)} for n in [*range(70), last]]} for last in ("x", "y"))
    assert differing(parts(one), parts(other)) == ("messages[64...]",)
    assert differing(parts({"messages": []}), parts({})) == ("messages[0...]",)


@given(JSON, JSON)
def test_requests_of_one_key_differ_in_no_part(one: object, other: object) -> None:
    same = key(one) == key(other)
    assert not same or differing(parts(one), parts(other)) == ()
