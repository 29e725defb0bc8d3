"""Whatever mapping comes in, a Config or a ConfigError comes out, and no error shows a key."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock._config import Config, PluginsConfig
from penstock._config_load import load_mapping
from penstock._discovery import PluginHost
from penstock.errors import ConfigError

CANARY = "sk-canary-9f8e7d"
BASE: dict[str, Any] = {
    "kernel": {"max_in_flight": 5, "grace": 1, "timeout": 2.5},
    "providers": {
        "openai": {"api_key": CANARY, "max_connections": 3, "organization": "o", "breaker": {"window": 5}},
        "local": {"kind": "anthropic", "base_url": "http://127.0.0.1:1", "api_key": [CANARY]},
    },
    "targets": {
        "t": {
            "provider": "openai",
            "model": "m",
            "timeouts": {"connect": 1, "total": 5},
            "params": {"temperature": 0, "stop": ["a"]},
            "headers": {"authorization": f"Bearer {CANARY}"},
            "price": {"input": 1, "output": 2.5},
            "default_max_tokens": 5,
            "breaker": {"failures_in_a_row": 3},
        }
    },
    "routes": {"default": {"cascade": [{"target": "t", "attempts": 2}, "local/m"], "timeout": 5, "cache": "always"}},
    "defaults": {"timeouts": {"idle": 3}, "params": {"seed": 1}, "headers": {"x-key": CANARY}},
    "breaker": {"failure_ratio": 0.5},
    "retry_budget": {"floor": 5, "ratio": 0.5, "window": 5, "money_ratio": 0.5},
    "budget": {"limits": [{"per": "day", "usd": 2, "timezone": "UTC"}], "soft": 0.5, "hold_wait": 1},
    "accounts": {"a/b": {"limits": [{"per": "request", "input_tokens": 5}], "tenant": "x"}},
    "ledger": {"store": "memory"},
    "cache": {"store": "memory", "ttl": 5, "when": "always", "memory_bytes": 5},
    "plugins": {"discover": False, "allow": ["x"], "openai": {"project": "p"}},
}

words = st.sampled_from(
    ["kernel", "providers", "targets", "routes", "cascade", "target", "kind", "openai", "limits", "per", "store", "a/b"]
)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.sampled_from([10**4000, -(10**400), 2**63, 1e308, 5e-324])
    | st.floats()
    | st.text(max_size=8)
    | st.binary(max_size=4)
    | words
)
junk = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(words | st.text(max_size=6) | st.integers(), inner, max_size=4)
    ),
    max_leaves=12,
)


@cache
def _found(group: str) -> tuple[EntryPoint, ...]:
    return tuple(entry_points(group=group))


def _host(settings: PluginsConfig) -> PluginHost:
    return PluginHost(settings, entry_points=_found)


def _places(value: object) -> Iterator[tuple[Any, Any]]:
    """Every (container, key) of a nested value."""
    items: list[tuple[object, object]] = []
    if isinstance(value, dict):
        items = list(cast("dict[object, object]", value).items())
    elif isinstance(value, list):
        items = list(enumerate(cast("list[object]", value)))
    for key, inner in items:
        yield value, key
        yield from _places(inner)


def _outcome(mapping: object) -> Config | str:
    try:
        config = load_mapping(mapping, environ={"OPENAI_API_KEY": CANARY}, host_for=_host)
    except ConfigError as error:
        return str(error)
    assert CANARY not in repr(config)
    return config


def test_the_base_of_the_mutations_is_right() -> None:
    assert isinstance(_outcome(BASE), Config)


@pytest.mark.slow
@given(junk)
def test_any_junk_is_a_configuration_or_a_mistake(mapping: object) -> None:
    outcome = _outcome(mapping)
    assert isinstance(outcome, Config) or outcome


@pytest.mark.slow
@given(st.dictionaries(st.sampled_from(sorted(BASE)), junk, max_size=4))
def test_junk_in_every_section_is_a_configuration_or_a_mistake(mapping: dict[str, Any]) -> None:
    outcome = _outcome(mapping)
    assert isinstance(outcome, Config) or outcome


@pytest.mark.slow
@given(st.data())
def test_one_or_two_wrong_values_in_a_right_configuration_show_no_key(data: st.DataObject) -> None:
    mapping = copy.deepcopy(BASE)
    for _ in range(data.draw(st.integers(1, 2))):
        container, key = data.draw(st.sampled_from(list(_places(mapping))))
        container[key] = data.draw(junk)
    outcome = _outcome(mapping)
    assert isinstance(outcome, Config) or CANARY not in outcome


@pytest.mark.slow
@given(st.data())
def test_a_misspelled_key_is_never_taken_in_silence(data: st.DataObject) -> None:
    mapping = copy.deepcopy(BASE)
    # Names that the user makes up, and free-form tables, can be spelled in any way.
    free = [mapping[name] for name in ("providers", "targets", "routes", "accounts", "plugins")]
    free += [mapping["targets"]["t"]["params"], mapping["targets"]["t"]["headers"]]
    free += [mapping["defaults"]["params"], mapping["defaults"]["headers"]]
    places = [
        (container, key)
        for container, key in _places(mapping)
        if isinstance(key, str) and not any(container is each for each in free)
    ]
    container, key = data.draw(st.sampled_from(places))
    container[f"{key}x"] = container[key]
    outcome = _outcome(mapping)
    assert isinstance(outcome, str)
    assert f"{key}x" in outcome
