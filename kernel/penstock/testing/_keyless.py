"""A configuration with invented keys in place of the real ones, so that it opens where there are none.

Not here: what answers in place of the providers (`_answering`, and the rehearsal).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

import attrs

from penstock._config import Config
from penstock._config_file import read_toml
from penstock._default_models import CONFIG_VARIABLE, DEFAULT_MODELS, config_from_environment
from penstock._secrets import open_secret

__all__ = ["keyless"]


def keyless(config: Config | str | Path | Mapping[str, Any] | None = None) -> Config:
    """The same configuration with an invented key for each provider, one of its own.

    No secret is read for it: neither a variable of the environment nor a file. `config` is a Config, the path of a TOML
    file, or a mapping of its shape; None takes the file that PENSTOCK_CONFIG names, else the models that are used
    where nothing is configured. Its ledger and its cache are kept in memory. Raises ConfigError with every other
    mistake in it.
    """
    match config:
        case Config():
            return _replaced(config)
        case None:
            if named := os.environ.get(CONFIG_VARIABLE):
                return keyless(named)
            keys = {models.key_variable: _key(models.provider) for models in DEFAULT_MODELS}
            return _replaced(config_from_environment(keys))
        case Mapping():
            return _loaded(config, None)
        case _:
            path = Path(config)
            return _loaded(read_toml(path), path)


def _loaded(tables: Mapping[str, Any], source: Path | None) -> Config:
    from penstock._config_load import load_mapping  # noqa: PLC0415  # imports cattrs

    named = tables.get("providers", {})
    if not isinstance(named, Mapping):
        return Config.from_dict(tables, source=source, environ={})
    providers: dict[object, object] = {name: {} for name in _undeclared(tables)}
    providers |= cast("Mapping[object, object]", named)
    changed = {name: _with_key(name, table) for name, table in providers.items()}
    # An empty environment: it has neither keys nor addresses that a test could depend on. And no connection is made:
    # neither certificates nor the package for HTTP/2 need be where a test runs.
    loaded = load_mapping({**tables, "providers": changed}, source=source, environ={}, connects=False)
    return _replaced(loaded)


def _with_key(name: object, table: object) -> object:
    if not isinstance(table, Mapping):
        return table  # a mistake, which is told when it is read
    return {**cast("Mapping[str, Any]", table), "api_key": _key(str(name))}


def _undeclared(tables: Mapping[str, Any]) -> set[str]:
    """Kinds that are used without a table of their own: their key would come from the environment."""
    from penstock._discovery import PluginHost  # noqa: PLC0415  # the scan of entry points is heavy

    return {*_texts(tables.get("routes")), *_texts(tables.get("targets"))} & PluginHost().kinds()


def _texts(value: object) -> list[str]:
    """What may name a provider: every text, up to its first slash."""
    match value:
        case str():
            return [value.partition("/")[0]]
        case Mapping():
            table = cast("Mapping[object, object]", value)
            return [text for inner in table.values() for text in _texts(inner)]
        case list() | tuple():
            items = cast("list[object] | tuple[object, ...]", value)
            return [text for inner in items for text in _texts(inner)]
        case _:
            return []


def _replaced(config: Config) -> Config:
    providers = {
        name: attrs.evolve(provider, secrets=(open_secret(_key(name)),), ca_file=None, trust_env=True, http2=False)
        for name, provider in config.providers.items()
    }
    # A test leaves no file behind, asks no server, and runs on a clock that neither of them knows.
    cache = None if config.cache is None else attrs.evolve(config.cache, store="memory", options={})
    ledger = attrs.evolve(config.ledger, store="memory", options={})
    return attrs.evolve(config, providers=providers, ledger=ledger, cache=cache)


def _key(provider: str) -> str:
    """Another for each provider: what serves several can tell them apart by it. A header takes plain ASCII only."""
    return f"invented-{quote(provider, safe='')}"
