"""Lists that hold the same value twice: found whatever stands in them, in time linear in that."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.policy.json_finding import find_json
from penstock.policy.json_values import frozen
from penstock.policy.same_values import holds_twice

NUMBERS = st.sampled_from([0, 1, -1, 10**16, 2**70, 10**22, 0.0, -0.0, 1.0, -1.0, 1e16, 1e22, 2.0**70, 1.5, 1e-7])
SCALARS = st.none() | st.booleans() | NUMBERS | st.sampled_from(["", "a", "1", "1.0", ":1.0,", "\ud800", "é"])
ITEMS = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
    max_leaves=4,
)


@given(st.lists(ITEMS, max_size=5))
@settings(max_examples=1_000, deadline=None)
def test_a_list_holds_the_same_twice_where_two_items_are_the_same_json(items: list[Any]) -> None:
    assert holds_twice(items) == (len({frozen(each) for each in items}) < len(items))


@pytest.mark.parametrize(
    ("items", "twice"),
    [
        ([1, 1.0], True),
        ([1, True], False),
        ([0, False, "0", None, ""], False),
        ([{"a": 1, "b": 2}, {"b": 2.0, "a": 1}], True),
        ([[1.0], [2]], False),
        ([10**22, 1e22], True),
        (["1.0", 1], False),
        ([["1.0", 1.0], ["1", 1]], False),
        ([["1.0", 1.0], ["1.0", 1]], True),
        ([{"a": -0.0, "-0.0": 1e16}, {"-0.0": 10**16, "a": 0}], True),
    ],
)
def test_numbers_are_the_same_as_they_are_to_json(items: list[Any], *, twice: bool) -> None:
    assert holds_twice(items) is twice


UNIQUE = {"type": "array", "uniqueItems": True}
LARGE: dict[str, tuple[dict[str, Any], Callable[[], str]]] = {
    "one object twice": (UNIQUE, lambda: json.dumps([*({"s": at} for at in range(70_000)), {"s": 1}])),
    "numbers of one hash": (UNIQUE, lambda: json.dumps([at * (2**61 - 1) for at in range(45_000)] + [0])),
    "nothing that is asked for": (
        {"type": "array", "contains": {"required": ["z"]}},
        lambda: json.dumps([{"s": at} for at in range(70_000)]),
    ),
    "no integer": (
        {"type": "array", "contains": {"type": "integer", "multipleOf": 3}},
        lambda: json.dumps(["a"] * 180_000),
    ),
}


@pytest.mark.parametrize(("schema", "text"), LARGE.values(), ids=LARGE)
def test_a_megabyte_that_does_not_fit_is_looked_through_once(schema: dict[str, Any], text: Callable[[], str]) -> None:
    written = text()
    assert len(written) > 600_000
    assert find_json(written, schema).reason == "misfit"  # type: ignore[union-attr]
    began = time.process_time()
    find_json(written, schema)
    # Some 50 ms on a machine that does nothing else; here others run beside it.
    assert time.process_time() - began < 0.25
