"""A key at every place of a configuration, with another mistake beside it or none: whatever is told shows no key."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeAlias, cast

import pytest

from penstock import Config
from penstock._config import PluginsConfig
from penstock._config_load import load_mapping
from penstock._discovery import PluginHost
from penstock._nearest import did_you_mean, one_of, quoted
from penstock.errors import ConfigError, NoRouteError, PenstockError

Tables: TypeAlias = dict[str, Any]
Place: TypeAlias = tuple[str | int, ...]

KEYS = [
    "sk-proj-Ab3dEf6hIj9lMn2pQr5t",
    "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",
    "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",
    "Xy7Kd93mQpZ2vRt8LsWn4BcHf6JgTa1E",
]
WHOLE: Tables = {
    "kernel": {"max_in_flight": 5},
    "providers": {
        "openai": {"api_key": "k", "base_url": "http://127.0.0.1:1", "kind": "openai"},
        "an": {"kind": "anthropic", "api_key": ["a", "b"], "beta": ["b"]},
    },
    "targets": {
        "t": {
            "provider": "openai",
            "model": "m",
            "params": {"user": "u"},
            "headers": {"x-t": "v"},
            "upstream_stream": "auto",
        },
        "u": {"provider": "an", "model": "m"},
    },
    "routes": {
        "cheap": {"cascade": ["u"]},
        "default": {"cascade": ["t", {"target": "u", "attempts": 2}], "commit": "first_content"},
    },
    "budget": {"limits": [{"per": "day", "usd": 20, "timezone": "Europe/Berlin"}], "on_unknown_price": "deny"},
    "accounts": {
        "team/search": {
            "limits": [{"per": "day", "tokens": 1000}],
            "tenant": "x",
            "degrade": {"route": "cheap", "at": 0.8},
        }
    },
    "ledger": {"store": "memory"},
    "cache": {"store": "memory", "when": "never"},
    "telemetry": {"capture_content": False},
    "plugins": {"discover": True, "allow": ["penstock"], "my-plugin": {"region": "eu"}},
    "defaults": {"timeouts": {"connect": 5}},
}
BESIDE: list[tuple[str, object]] = [
    ("routes", {"cascade": ["nope", "nope/x"]}),
    ("targets", {"provider": "nope", "model": "m"}),
    ("accounts", {"degrade": {"route": "nope", "at": 0.5}}),
]
"""Other mistakes, which tell what there is."""


def places(value: object, at: Place = ()) -> Iterator[tuple[object, Place]]:
    """Every value, with its place."""
    items: list[tuple[str | int, object]] = []
    if isinstance(value, dict):
        items = list(cast("dict[str | int, object]", value).items())
    elif isinstance(value, list):
        items = list(enumerate(cast("list[object]", value)))
    for key, inner in items:
        yield inner, (*at, key)
        yield from places(inner, (*at, key))


def within(tables: Tables, place: Place) -> Any:
    at: Any = tables
    for key in place:
        at = at[key]
    return at


def put(key: str, place: Place, how: str) -> Tables:
    """The whole with the key in the place of a value, in that of its name, or beside it."""
    tables = copy.deepcopy(WHOLE)
    holder = within(tables, place[:-1])
    if how == "value":
        holder[place[-1]] = key
    elif how == "name":
        holder[key] = holder.pop(place[-1])
    else:
        holder[key] = "x"
    return tables


def changed(key: str, forms: Sequence[str]) -> Iterator[Tables]:
    for _, place in places(WHOLE):
        for form in forms:
            yield put(form.format(key), place, "value")
        if isinstance(place[-1], str):
            yield put(key, place, "name")
            yield put(key, place, "beside")


@cache
def found(group: str) -> tuple[EntryPoint, ...]:
    return tuple(entry_points(group=group))


def host(settings: PluginsConfig) -> PluginHost:
    return PluginHost(settings, entry_points=found)


def told(tables: Tables) -> str:
    """All that comes of it: its mistakes, or what it says of names that it does not have."""
    try:
        config = load_mapping(tables, environ={}, host_for=host)
    except ConfigError as error:
        return f"{error} {error!r}"
    said: list[str] = []
    asks: list[Callable[[str], object]] = [config.route, config.resolve_target]
    for ask in asks:
        for name in ("nope", "nope/x"):
            with pytest.raises(NoRouteError) as caught:
                ask(name)
            said += [str(caught.value), repr(caught.value)]
    return " ".join(said)


def test_the_whole_is_right() -> None:
    assert "nope" in told(WHOLE)
    Config.from_dict(WHOLE, environ={})


@pytest.mark.parametrize("key", KEYS[:2])
def test_a_key_is_shown_at_no_place(key: str) -> None:
    for tables in changed(key, ["{}", "env:{}", "file:{}", "Bearer {}", "redis://:{}@h"]):
        says = told(tables)
        assert key not in says, says


@pytest.mark.parametrize("key", KEYS)
def test_a_key_is_shown_at_no_place_beside_other_mistakes(key: str) -> None:
    for tables in changed(key, ["{}"]):
        for section, table in BESIDE:
            if isinstance(tables.get(section), dict):
                tables[section]["z"] = table
        says = told(tables)
        assert key not in says, says


@pytest.mark.parametrize("key", KEYS)
def test_a_key_among_names_is_not_told_where_another_is_wrong(key: str) -> None:
    assert did_you_mean("targt", ["target", key]).startswith("; did you mean 'target'? valid: ")
    assert did_you_mean(key[:-1], [key, "t"]) in {"; valid: [key], t", "; valid: t, [key]"}
    assert key not in one_of([key, "a"])
    assert quoted(key) == "'[key]'"
    assert quoted("key:openai/0") == "'key:openai/0'"
    assert quoted(f"openai/{key}") == "'openai/[key]'"


@pytest.mark.parametrize("name", ["{}*", "{}//x", "{}/*", "a/{} "])
def test_a_key_in_the_path_of_an_account_that_is_none_is_not_shown(name: str) -> None:
    says = told({"accounts": {name.format(KEYS[0]): {"limits": [{"per": "dayy"}]}}})
    assert "[key]" in says
    assert KEYS[0] not in says


def test_ids_among_names_are_told_where_they_are_ordinary() -> None:
    ids = ["0f8fad5bd9cb469fa16570867728950e", "7c9e6679742540de944be07fc1f90ae7"]
    assert did_you_mean(ids[0][:-1], ids, ids=True) == f"; did you mean '{ids[0]}'? valid: {', '.join(ids)}"


@pytest.mark.parametrize("name", KEYS)
def test_a_name_that_a_call_makes_up_is_not_shown_where_it_is_a_key(name: str) -> None:
    config = Config.from_dict(WHOLE, environ={})
    for ask in (config.route, config.resolve_target):
        for asked in (name, f"openai-of-mine/{name}"):
            with pytest.raises(PenstockError) as caught:
                ask(asked)
            assert name not in f"{caught.value} {caught.value!r}"


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("redis://:pa/ssword@host/0", "redis://...@host/..."),
        ("redis://user:12/ab@host", "redis://...@host"),
        ("redis://first.last:12/ab@host", "redis://...@host"),
        ("redis://:pa ss@host", "redis://...@host"),
        ("redis://:p@ss#w?rd@host", "redis://...@host"),
        ("user:pa/ss@host", "...@host"),
        ("ftp://user:pa/ss@host/v1", "ftp://...@host/..."),
        ("http://user:pa/ss@host:99999/v1", "http://...@host:99999/v1"),
        ("http://127.0.0.1:99999/run/@cf/meta", "http://127.0.0.1:99999/run/@cf/meta"),
        ("http://localhost:99999/run/@cf/meta", "http://localhost:99999/run/@cf/meta"),
    ],
)
def test_no_half_of_a_password_is_shown_in_an_address(address: str, shown: str) -> None:
    says = told({"providers": {"openai": {"api_key": "k", "base_url": address}}})
    assert says.startswith(f'providers.openai.base_url: "{shown}": must be a URL')
    assert f'"{shown}"' in told({"ledger": {"store": address}})
