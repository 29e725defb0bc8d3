"""Every mistake is told by its path, with what is valid and what was probably meant; all of them at once."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from typing import Any

import pytest

from penstock._config import Config
from penstock.errors import ConfigError

ENVIRON = {"OPENAI_API_KEY": "sk-canary-openai", "ANTHROPIC_API_KEY": "sk-canary-anthropic"}


def mistakes_in(mapping: object, environ: Mapping[str, str] = ENVIRON) -> dict[str, str]:
    """What is wrong, by path."""
    with pytest.raises(ConfigError) as caught:
        Config.from_dict(mapping, environ=environ)  # type: ignore[arg-type]  # junk is the point
    assert all(str(mistake) in str(caught.value) for mistake in caught.value.mistakes)
    found = {mistake.path: mistake.says for mistake in caught.value.mistakes}
    assert len(found) == len(caught.value.mistakes)
    return found


def target(**settings: Any) -> dict[str, Any]:
    """A right target with settings over it."""
    return {"targets": {"t": {"provider": "openai", "model": "m", **settings}}}


def route(**settings: Any) -> dict[str, Any]:
    """A right route with settings over it."""
    return {"routes": {"default": {"cascade": ["openai/m"], **settings}}}


def limit(**settings: Any) -> dict[str, Any]:
    """A budget of one limit."""
    return {"budget": {"limits": [settings]}}


CASES: list[tuple[dict[str, Any], str, str]] = [
    # Unknown keys, each with the nearest.
    ({"kernle": {}}, "kernle", "did you mean 'kernel'"),
    ({"kernel": {"max_inflight": 5}}, "kernel.max_inflight", "did you mean 'max_in_flight'"),
    (target(timeouts={"idel": 5}), "targets.t.timeouts.idel", "did you mean 'idle'"),
    (target(modle="m"), "targets.t.modle", "did you mean 'model'"),
    (target(price={"input": 1, "output": 1, "cached": 1}), "targets.t.price.cached", "did you mean 'cached_input'"),
    (route(timeuot=5), "routes.default.timeuot", "did you mean 'timeout'"),
    (limit(per="day", usd=1, time_zone="UTC"), "budget.limits[0].time_zone", "did you mean 'timezone'"),
    ({"breaker": {"failures": 5}}, "breaker.failures", "failures_in_a_row"),
    ({"retry_budget": {"rato": 0.5}}, "retry_budget.rato", "did you mean 'ratio'"),
    ({"plugins": {"discovery": True}}, "plugins.discovery", "did you mean 'discover'"),
    ({"providers": {"openai": {"organisation": "x"}}}, "providers.openai.organisation", "did you mean 'organization'"),
    # Wrong types.
    ({"kernel": []}, "kernel", "must be a table"),
    ({"kernel": {"max_in_flight": "512"}}, "kernel.max_in_flight", '"512": must be a whole number'),
    ({"kernel": {"max_in_flight": 5.5}}, "kernel.max_in_flight", "5.5: must be a whole number"),
    ({"kernel": {"max_in_flight": True}}, "kernel.max_in_flight", "true: must be a whole number"),
    ({"kernel": {"grace": "10"}}, "kernel.grace", "must be a number"),
    ({"plugins": {"discover": "no"}}, "plugins.discover", "must be true or false"),
    ({"plugins": {"allow": "penstock"}}, "plugins.allow", "must be an array"),
    ({"plugins": {"allow": ["a", 5]}}, "plugins.allow[1]", "must be a string"),
    ({"providers": {"openai": "key"}}, "providers.openai", "must be a table"),
    ({"providers": {"openai": {"kind": 5}}}, "providers.openai.kind", "5: must be a string"),
    (target(headers={"x-a": 5}), "targets.t.headers.x-a", "must be a string"),
    (target(params=[]), "targets.t.params", "must be a table"),
    (route(cascade="openai/m"), "routes.default.cascade", "must be an array"),
    (route(cascade=[5]), "routes.default.cascade[0]", "must be a table"),
    (route(cascade=[{"target": 5}]), "routes.default.cascade[0].target", "must be a string"),
    (limit(per="day", tokens=1.5), "budget.limits[0].tokens", "must be a whole number"),
    (limit(per="day", usd="20"), "budget.limits[0].usd", "must be an amount in USD"),
    ({"budget": {"limits": {"per": "day"}}}, "budget.limits", "must be an array"),
    # Zero, negative, not finite, too large.
    ({"kernel": {"timeout": 0}}, "kernel.timeout", "more than 0"),
    ({"kernel": {"grace": -1}}, "kernel.grace", "more than 0"),
    ({"kernel": {"max_in_flight": 0}}, "kernel.max_in_flight", "at least 1"),
    ({"kernel": {"max_in_flight": 10**30}}, "kernel.max_in_flight", "too large"),
    ({"kernel": {"timeout": 10**400}}, "kernel.timeout", "too large"),
    (target(timeouts={"first_token": 0}), "targets.t.timeouts.first_token", "0: first_token must be more than 0"),
    (target(timeouts={"idle": float("nan")}), "targets.t.timeouts.idle", "must be a finite number"),
    (target(timeouts={"total": float("inf")}), "targets.t.timeouts.total", "must be a finite number"),
    (target(default_max_tokens=0), "targets.t.default_max_tokens", "at least 1"),
    (target(price={"input": -1, "output": 1}), "targets.t.price.input", "not negative"),
    (target(price={"input": 1, "output": float("nan")}), "targets.t.price.output", "finite"),
    ({"providers": {"openai": {"max_connections": 0}}}, "providers.openai.max_connections", "at least 1"),
    (route(timeout=0), "routes.default.timeout", "more than 0"),
    (route(cascade=[{"target": "openai/m", "attempts": 0}]), "routes.default.cascade[0].attempts", "at least 1"),
    (
        route(cascade=[{"target": "openai/m", "attempts": 1_001}]),
        "routes.default.cascade[0].attempts",
        "1001: attempts must be at most 1000; give fewer",
    ),
    (limit(per="day", usd=0), "budget.limits[0].usd", "more than 0"),
    (limit(per="day", tokens=-5), "budget.limits[0].tokens", "at least 1"),
    ({"budget": {"soft": 1.5}}, "budget.soft", "at most 1"),
    ({"budget": {"soft": [0.5, 0]}}, "budget.soft", "more than 0"),
    ({"budget": {"soft": "half"}}, "budget.soft", "must be a number, or must be an array"),
    (limit(per="day", usd=1, soft=[2]), "budget.limits[0].soft", "at most 1"),
    (limit(per="request", usd=1, soft=0.5), "budget.limits[0]", "soft is for those of a period"),
    (limit(per="request", usd=1, bound="proof"), "budget.limits[0]", "bound is for those of a period"),
    (limit(per="day", usd=1, bound="proven"), "budget.limits[0].bound", "must be one of estimate, proof"),
    (
        {"accounts": {"a": {"limits": [{"per": "day", "usd": 1, "bound": "estimate"}, {"per": "day", "tokens": 9}]}}},
        "accounts.a.limits",
        "give 9 tokens per day (UTC) the same bound",
    ),
    ({"accounts": {"a": {"retry_money": -0.1}}}, "accounts.a.retry_money", "-0.1: "),
    ({"budget": {"retry_money": 11}}, "budget.retry_money", "11: "),
    ({"accounts": {"a": {"unknown_usage": "guess"}}}, "accounts.a.unknown_usage", "must be one of bound, likely"),
    ({"budget": {"hold_wait": 0}}, "budget.hold_wait", "more than 0"),
    ({"budget": {"min_output_tokens": 0}}, "budget.min_output_tokens", "at least 1"),
    ({"cache": {"store": "memory", "ttl": 0}}, "cache.ttl", "more than 0"),
    ({"cache": {"store": "memory", "memory_bytes": -1}}, "cache.memory_bytes", "at least 1"),
    ({"breaker": {"failure_ratio": 1.5}}, "breaker.failure_ratio", "1.5: "),
    ({"breaker": {"window": 0}}, "breaker.window", "0: "),
    (target(breaker={"failures_in_a_row": 0}), "targets.t.breaker.failures_in_a_row", "0: "),
    ({"providers": {"openai": {"breaker": {"open_for": -1}}}}, "providers.openai.breaker.open_for", "-1: "),
    ({"retry_budget": {"floor": -1}}, "retry_budget.floor", "-1: "),
    ({"retry_budget": {"floor": 2.5}}, "retry_budget.floor", "must be a whole number"),
    ({"retry_budget": {"ratio": -0.1}}, "retry_budget.ratio", "-0.1: "),
    ({"retry_budget": {"window": 0}}, "retry_budget.window", "0: "),
    ({"retry_budget": {"window": 3600}}, "retry_budget.window", "3600: "),
    ({"retry_budget": {"money_ratio": -1}}, "retry_budget.money_ratio", "-1: "),
    ({"retry_budget": []}, "retry_budget", "must be a table"),
    ({"providers": {"openai": {"retry_budget": {"ratio": 11}}}}, "providers.openai.retry_budget.ratio", "11: "),
    ({"providers": {"openai": {"retry_budget": {"flor": 1}}}}, "providers.openai.retry_budget.flor", "'floor'"),
    # Missing.
    ({"targets": {"t": {"model": "m"}}}, "targets.t.provider", "is missing"),
    ({"targets": {"t": {"provider": "openai"}}}, "targets.t.model", "is missing"),
    (target(model=""), "targets.t.model", "must not be empty"),
    (target(price={"input": 1}), "targets.t.price.output", "is missing"),
    ({"routes": {"r": {}}}, "routes.r.cascade", "is missing"),
    (route(cascade=[]), "routes.default.cascade", "must not be empty"),
    (route(cascade=[{"attempts": 2}]), "routes.default.cascade[0].target", "is missing"),
    (limit(usd=1), "budget.limits[0].per", "is missing"),
    (limit(per="day"), "budget.limits[0]", "at least one of tokens, usd"),
    # Choices.
    ({"breaker": {"all_open": "wait"}}, "breaker.all_open", "must be one of fail, ignore, soonest"),
    ({"breaker": {"on_all_open": "fail"}}, "breaker.on_all_open", "did you mean 'all_open'"),
    (route(all_open="ignored"), "routes.default.all_open", "did you mean 'ignore'"),
    (route(all_open=False), "routes.default.all_open", "must be one of"),
    (target(breaker={"all_open": "fail"}), "targets.t.breaker.all_open", "is unknown"),
    ({"providers": {"openai": {"breaker": {"all_open": "fail"}}}}, "providers.openai.breaker.all_open", "is unknown"),
    (route(on_content_filter="nxt"), "routes.default.on_content_filter", "did you mean 'next'"),
    (route(commit="first"), "routes.default.commit", "must be one of buffer, continue, first_content, restart, whole"),
    (route(commit={"buffer": 0}), "routes.default.commit.buffer", "at least 1"),
    (route(commit={"buffer": 400, "bufer": 4}), "routes.default.commit.bufer", "did you mean 'buffer'"),
    (route(commit=400), "routes.default.commit", "must be"),
    (route(on_leave="drian"), "routes.default.on_leave", "did you mean 'drain'"),
    ({"kernel": {"on_leave": "stay"}}, "kernel.on_leave", "one of cancel, drain"),
    (target(upstream_stream="on"), "targets.t.upstream_stream", "one of always, auto, never"),
    ({"defaults": {"upstream_stream": True}}, "defaults.upstream_stream", "one of always, auto, never"),
    (target(timeouts={"min_throughput": 0}), "targets.t.timeouts.min_throughput", "more than 0"),
    (limit(per="dya", usd=1), "budget.limits[0].per", "did you mean 'day'"),
    ({"budget": {"on_unknown_price": "denied"}}, "budget.on_unknown_price", "one of allow, cap, deny"),
    ({"budget": {"on_unknown_price": "cap"}}, "budget.price_cap", "needs it"),
    ({"budget": {"price_cap": {"input": 20, "output": 100}}}, "budget.price_cap", "only where"),
    ({"budget": {"unknown_usage": "nothing"}}, "budget.unknown_usage", "one of bound, likely"),
    ({"cache": {"store": "memory", "when": "sometimes"}}, "cache.when", "one of always, deterministic, never"),
    ({"cache": {"store": "memroy"}}, "cache.store", "did you mean 'memory'"),
    ({"ledger": {"store": "memroy"}}, "ledger.store", "did you mean 'memory'"),
    ({"ledger": {"store": "memory", "path": "x.db"}}, "ledger.path", "is unknown"),
    ({"ledger": {"store": "memory", "lease": 0}}, "ledger.lease", "more than 0"),
    ({"ledger": {"lease": 0.2, "timeout": 0.05}}, "ledger.lease", "must be 1 s at least"),
    ({"ledger": {"lease": 9}}, "ledger.lease", "9: must be 1 s at least, and twice the timeout of the store (5 s)"),
    # Names that mean no file, or one that is taken.
    ({"ledger": {"path": ":memory:"}}, "ledger.path", 'path = ":memory:" names no file; name one, or say store = "m'),
    ({"ledger": {"path": ""}}, "ledger.path", 'path = "" names no file'),
    ({"cache": {"path": ":memory:"}}, "cache.path", 'say store = "memory"'),
    ({"cache": {"path": ""}}, "cache.path", 'say store = "memory"'),
    ({"ledger": {"path": "a.db"}, "cache": {"path": "./x/../a.db"}}, "cache.path", "a.db is the file of the ledger"),
    ({"ledger": {}, "cache": {"path": "penstock.db"}}, "cache.path", "penstock.db is the file of the ledger"),
    # Patterns that there are not.
    ({"accounts": {"team*": {}}}, 'accounts."team*"', "is no pattern: a * stands for one whole name between slashes"),
    ({"accounts": {"a/**": {}}}, 'accounts."a/**"', "is no pattern"),
    # A way out that is none.
    (route() | {"budget": {"degrade": {"route": "default"}}}, "budget.degrade.route", '"default" is the only route'),
    ({"ledger": {"store": "memory", "on_store_down": "alow"}}, "ledger.on_store_down", "did you mean 'allow'"),
    # References.
    (target(provider="opneai"), "targets.t.provider", "did you mean 'openai'"),
    (route(cascade=["antropic/m"]), "routes.default.cascade[0]", "did you mean 'anthropic'"),
    (route(cascade=["nobody-knows/m"]), "routes.default.cascade[0]", "no provider of that name"),
    (route(cascade=["sonnet"]), "routes.default.cascade[0]", "no target of that name"),
    (route(cascade=["openai/"]), "routes.default.cascade[0]", "no target of that name"),
    (target() | route(cascade=["tt"]), "routes.default.cascade[0]", "did you mean 't'"),
    (route(cascade=["openai/m", "openai/m"]), "routes.default.cascade[1]", "listed twice"),
    ({"providers": {"mine": {"kind": "opanai"}}}, "providers.mine.kind", "did you mean 'openai'"),
    (route(cache="always"), "routes.default.cache", "there is no [cache] table"),
    # Time zones and rules between the figures of a limit.
    (limit(per="day", usd=1, timezone="Europe/Berln"), "budget.limits[0].timezone", "did you mean 'Europe/Berlin'"),
    (limit(per="day", usd=1, timezone="Europe"), "budget.limits[0].timezone", "not a time zone"),
    (limit(per="day", usd=1, timezone="../etc/passwd"), "budget.limits[0].timezone", "not a time zone"),
    (limit(per="day", usd=1, timezone="\0"), "budget.limits[0].timezone", "not a time zone"),
    (limit(per="day", input_tokens=5), "budget.limits[0]", "per request only"),
    (limit(per="request", usd=1, rolling=True), "budget.limits[0]", "does not roll"),
    # Names.
    ({"providers": {"a/b": {"kind": "openai"}}}, 'providers."a/b"', "no slash"),
    ({"targets": {"": {"provider": "openai", "model": "m"}}}, 'targets.""', "cannot be a name"),
    ({"routes": {"a\nb": {"cascade": ["openai/m"]}}}, 'routes."a\\nb"', "cannot be a name"),
    ({"accounts": {"": {}}}, 'accounts.""', "the root account is [budget]"),
    ({"accounts": {"team//x": {}}}, 'accounts."team//x"', "not the path of an account"),
    ({"accounts": {"team": {"limits": [{"per": "day", "usd": 0}]}}}, "accounts.team.limits[0].usd", "more than 0"),
    # What is sent must be sendable.
    (target(headers={"x a": "b"}), "targets.t.headers", "name that no header may have"),
    (target(headers={"x-a": "b\r\nx-evil: 1"}), "targets.t.headers", "line break"),
    (target(headers={"x-a": "\u00e9"}), "targets.t.headers", "plain ASCII"),
    (target(headers={"X-A": "1", "x-a": "2"}), "targets.t.headers", "twice"),
    (target(headers={"Content-Length": "5"}), "targets.t.headers", "transport's own"),
    (target(params={"at": dt.date(2026, 1, 1)}), "targets.t.params", "cannot be sent as JSON"),
    (target(params={"t": float("nan")}), "targets.t.params", "cannot be sent as JSON"),
    (target(params={"t": "\ud800"}), "targets.t.params.t", "half a character"),
    ({"accounts": {"a\ud800": {}}}, "accounts", "half a character"),
    ({"accounts": {"a": {"tenant": "\udfff"}}}, "accounts.a.tenant", "half a character"),
    ({"defaults": {"params": {"s": {1, 2}}}}, "defaults.params", "cannot be sent as JSON"),
    # Addresses.
    ({"providers": {"openai": {"base_url": "localhost:8080"}}}, "providers.openai.base_url", "must be a URL"),
    ({"providers": {"openai": {"base_url": "ftp://x"}}}, "providers.openai.base_url", "must be a URL"),
    ({"providers": {"openai": {"base_url": "http://x:99999"}}}, "providers.openai.base_url", "must be a URL"),
    ({"providers": {"openai": {"base_url": "http://[::1"}}}, "providers.openai.base_url", "must be a URL"),
    ({"providers": {"openai": {"base_url": "http://x/v1?a=b"}}}, "providers.openai.base_url", "no query"),
    ({"providers": {"openai": {"base_url": "http://u:canary@x"}}}, "providers.openai.base_url", "api_key"),
    ({"providers": {"openai": {"base_url": 5}}}, "providers.openai.base_url", "must be a string"),
    # Keys.
    ({"providers": {"openai": {"api_key": "env:NOT_SET"}}}, "providers.openai.api_key", "NOT_SET is not set"),
    ({"providers": {"openai": {"api_key": "file:/nonexistent/key"}}}, "providers.openai.api_key", "cannot be read"),
    ({"providers": {"openai": {"api_key": "sk-canary\n"}}}, "providers.openai.api_key", "line break"),
    ({"providers": {"openai": {"api_key": 5}}}, "providers.openai.api_key", "a key is a string"),
    ({"providers": {"openai": {"api_key": []}}}, "providers.openai.api_key", "at least one"),
    ({"providers": {"openai": {"api_key": ["sk-1", ""]}}}, "providers.openai.api_key[1]", "empty"),
]


@pytest.mark.parametrize(("mapping", "path", "says"), CASES, ids=[path for _, path, _ in CASES])
def test_a_mistake_is_told_at_its_path(mapping: dict[str, Any], path: str, says: str) -> None:
    found = mistakes_in(mapping)
    assert list(found) == [path]
    assert says in found[path]
    assert "canary" not in found[path]


LATER: list[tuple[dict[str, Any], str]] = [
    (target(limits={"concurrency": 32, "rpm": 1000}), "targets.t.limits"),
    ({"defaults": {"limits": {"tpm": 5}}}, "defaults.limits"),
    (route(hedge=True), "routes.default.hedge"),
    ({"providers": {"openai": {"proxy": "http://proxy:3128"}}}, "providers.openai.proxy"),
    ({"providers": {"openai": {"limits": {"concurrency": 5}}}}, "providers.openai.limits"),
]


@pytest.mark.parametrize(("mapping", "path"), LATER, ids=[path for _, path in LATER])
def test_a_setting_whose_guard_is_not_built_is_refused_by_name(mapping: dict[str, Any], path: str) -> None:
    found = mistakes_in(mapping)
    assert list(found) == [path]
    assert "not available in this version" in found[path]


def test_all_mistakes_are_told_at_once_and_counted() -> None:
    mapping = {
        "kernel": {"grace": 0, "max_in_flight": "x", "tiemout": 1},
        "targets": {"a": {"provider": "nobody-knows", "model": 5}, "b": {"provider": "openai", "modle": "m"}},
        "routes": {"default": {"cascade": [{"target": "c", "attempts": 0}], "commit": "hole"}},
        "budget": {"limits": [{"per": "day", "usd": -1}, {"per": "week", "usd": 1}]},
    }
    found = mistakes_in(mapping)
    assert set(found) == {
        "kernel.grace",
        "kernel.max_in_flight",
        "kernel.tiemout",
        "targets.a.provider",
        "targets.a.model",
        "targets.b.model",
        "targets.b.modle",
        "routes.default.cascade[0]",
        "routes.default.cascade[0].attempts",
        "routes.default.commit",
        "budget.limits[0].usd",
        "budget.limits[1].per",
    }
    with pytest.raises(ConfigError, match=re.escape("12 mistakes in the configuration")):
        Config.from_dict(mapping, environ=ENVIRON)


def test_a_missing_key_says_what_to_set() -> None:
    found = mistakes_in(route(), environ={})
    assert list(found) == ["providers.openai.api_key"]
    assert "OPENAI_API_KEY" in found["providers.openai.api_key"]
    assert "env:" in found["providers.openai.api_key"]


def test_two_providers_without_keys_are_two_mistakes() -> None:
    found = mistakes_in(route(cascade=["openai/a", "anthropic/b"]), environ={})
    assert set(found) == {"providers.openai.api_key", "providers.anthropic.api_key"}


def test_an_environment_key_that_cannot_be_sent_is_not_shown() -> None:
    found = mistakes_in(route(), environ={"OPENAI_API_KEY": "sk-canary two"})
    assert "OPENAI_API_KEY" in found["providers.openai.api_key"]
    assert "canary" not in str(found)


@pytest.mark.parametrize("junk", [None, 5, "text", [], [{}], b"x"])
def test_what_is_no_mapping_is_no_configuration(junk: object) -> None:
    with pytest.raises(ConfigError, match="a configuration is a table"):
        Config.from_dict(junk, environ={})  # type: ignore[arg-type]  # junk is the point


def test_keys_that_are_no_strings_are_told() -> None:
    assert "the keys of a table are strings" in mistakes_in({"kernel": {5: 5}})["kernel"]
    assert "the keys of a table are strings" in mistakes_in({None: {}})[""]


def test_a_mapping_that_holds_itself_ends_in_a_mistake() -> None:
    params: dict[str, Any] = {}
    params["again"] = params
    found = mistakes_in({"defaults": {"params": params}})
    assert any("nested deeper" in says for says in found.values())


def test_numbers_of_more_digits_than_python_prints_are_mistakes_like_others() -> None:
    huge = 10**5000
    assert "too large" in mistakes_in({"kernel": {"max_in_flight": huge}})["kernel.max_in_flight"]
    assert "too large" in mistakes_in({"kernel": {"timeout": -huge}})["kernel.timeout"]
    assert "amount" in mistakes_in(limit(per="day", usd=huge))["budget.limits[0].usd"]
    assert "JSON" in mistakes_in(target(params={"seed": huge}))["targets.t.params"]
    assert "is no name" in mistakes_in({"kernel": {huge: 1}})["kernel"]


def test_values_are_shown_shortened_and_on_one_line() -> None:
    found = mistakes_in(route(on_content_filter="a\nb" + "x" * 10_000))
    assert len(found["routes.default.on_content_filter"]) < 200
    assert "\n" not in found["routes.default.on_content_filter"]


def test_the_source_is_named_in_front() -> None:
    with pytest.raises(ConfigError) as caught:
        Config.from_dict({"x": 1}, source=None, environ={})
    assert caught.value.source is None


def test_an_address_is_shown_without_what_may_be_secret_in_it() -> None:
    table = {"base_url": "https://127.0.0.1:9/v1?key=canary"}
    with pytest.raises(ConfigError) as caught:
        Config.from_dict({"providers": {"openai": {"api_key": "k", **table}}}, environ={})
    assert "canary" not in str(caught.value)
    assert "127.0.0.1:9/v1" in str(caught.value)
