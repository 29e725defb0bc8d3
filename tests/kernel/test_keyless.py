"""Configurations with invented keys: they open where there are no keys, and read none where there are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import penstock
from penstock.testing import keyless

TABLES: dict[str, Any] = {
    "providers": {
        "anthropic": {"api_key": "env:THE_REAL_KEY"},
        "second": {"kind": "openai", "api_key": "file:/run/secrets/none"},
        "local": {"kind": "openai", "base_url": "http://127.0.0.1:1/v1"},
        "ours ü": {"kind": "openai", "api_key": ["sk-the-real-one", "sk-the-other"]},
    },
    "targets": {"mini": {"provider": "second", "model": "gpt-4o-mini"}},
    "routes": {"default": {"cascade": ["mini", {"target": "openai/gpt-4o"}, "anthropic/claude-3-haiku-20240307"]}},
}


def keys(config: penstock.Config) -> Mapping[str, str]:
    return {name: provider.secrets[0].reveal() for name, provider in config.providers.items()}


def test_every_provider_gets_a_key_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THE_REAL_KEY", "sk-canary")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    config = keyless(TABLES)
    assert set(config.providers) == {*TABLES["providers"], "openai"}
    assert len(set(keys(config).values())) == 5
    assert all(key.startswith("invented-") for key in keys(config).values())
    assert config.providers["openai"].options == {}, "nor is an address taken from the environment"


def test_a_file_is_read_where_its_key_files_are_missing(tmp_path: Path) -> None:
    file = tmp_path / "penstock.toml"
    file.write_text('[providers.openai]\napi_key = "file:missing"\n[routes.default]\ncascade = ["openai/gpt-4o"]\n')
    config = keyless(file)
    assert keys(config) == keys(keyless(str(file))) == {"openai": "invented-openai"}
    assert config.source == file


def test_the_keys_of_a_config_are_replaced() -> None:
    config = penstock.Config.cascade([("openai", "gpt-4o", 2)], environ={"OPENAI_API_KEY": "sk-canary"})
    assert keys(keyless(config)) == {"openai": "invented-openai"}
    assert keys(config) == {"openai": "sk-canary"}, "and those of the app's own stay"


def test_without_a_configuration_it_is_the_one_of_whoever_configures_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("PENSTOCK_CONFIG", raising=False)
    assert set(keyless().providers) == {"openai", "anthropic"}
    file = tmp_path / "own.toml"
    file.write_text('[routes.default]\ncascade = ["openai/gpt-4o"]\n')
    monkeypatch.setenv("PENSTOCK_CONFIG", str(file))
    assert set(keyless().providers) == {"openai"}


def test_every_other_mistake_is_told() -> None:
    with pytest.raises(penstock.ConfigError, match="attempts") as caught:
        keyless(
            {"routes": {"default": {"cascade": [{"target": "opena/gpt-4o", "attempts": 0}]}}, "providers": {"x": 3}}
        )
    assert len(caught.value.mistakes) >= 2
    with pytest.raises(penstock.ConfigError, match="providers"):
        keyless({"providers": 3})


def test_its_ledger_is_kept_in_memory_whatever_keeps_the_apps(tmp_path: Path) -> None:
    path = tmp_path / "penstock.toml"
    path.write_text('[routes.default]\ncascade = ["openai/gpt-4o"]\n[ledger]\npath = "ledger.db"\nlease = 90\n')
    ledger = keyless(path).ledger
    assert (ledger.store, ledger.options, ledger.lease) == ("memory", {}, 90)


def test_its_cache_is_kept_in_memory_whatever_keeps_the_apps(tmp_path: Path) -> None:
    path = tmp_path / "penstock.toml"
    path.write_text('[routes.default]\ncascade = ["openai/gpt-4o"]\n[cache]\npath = "cache.db"\nttl = 60\n')
    cache = keyless(path).cache
    assert cache is not None
    assert (cache.store, cache.options, cache.ttl) == ("memory", {}, 60)
