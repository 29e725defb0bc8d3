"""[cache]: what of it is the kernel's, and what only the plugin of its store knows.

Read when the configuration is, and settled once more when the kernel opens: then the plugins that the program hands in
are known too. Not here: opening the store.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import attrs

from penstock._config import CacheConfig, Config
from penstock._config_mistakes import Mistakes, join, shown
from penstock._config_structure import plain_reader
from penstock._config_tables import tables_reader
from penstock._discovery import PluginHost
from penstock._nearest import did_you_mean, is_slip
from penstock.errors import PluginError
from penstock.hookspecs import CacheStoreSpec

__all__ = ["ReadyCache", "read_cache", "ready_cache"]

SECTION = "cache"
KERNEL_KEYS = frozenset(field.name for field in attrs.fields(CacheConfig)) - {"options"}


@attrs.frozen
class ReadyCache:
    """A cache whose store can be opened: `spec.open(options, tools)`."""

    config: CacheConfig
    spec: CacheStoreSpec
    options: Any
    """An instance of the spec's options class."""


def read_cache(table: Mapping[str, Any], host: PluginHost, mistakes: Mistakes) -> CacheConfig | None:
    """What the table says; None where it has mistakes. A store that no plugin offers yet may come with the program."""
    own = {key: value for key, value in table.items() if key in KERNEL_KEYS}
    read = tables_reader().read(CacheConfig, own, SECTION, mistakes)
    # Options are checked where the rest is wrong too, as long as it is known whose they are.
    store = read.store if read else table.get("store", CacheConfig().store)
    if not isinstance(store, str):
        return None
    options = {key: value for key, value in table.items() if key not in KERNEL_KEYS}
    config = attrs.evolve(read or CacheConfig(store=store or "sqlite"), options=options)
    known = host.cache_stores()
    if store in known:
        _settled(config, host, mistakes)
    elif is_slip(store, known):
        mistakes.add(join(SECTION, "store"), _no_such_store(store, host))
    return config if read else None


def ready_cache(config: Config, host: PluginHost) -> ReadyCache | None:
    """The cache of a configuration; None: it has none. Raises ConfigError where no plugin takes what it says."""
    if config.cache is None:
        return None
    mistakes = Mistakes()
    ready = _settled(config.cache, host, mistakes)
    mistakes.end(str(config.source) if config.source else None)
    return ready


def _settled(config: CacheConfig, host: PluginHost, mistakes: Mistakes) -> ReadyCache | None:
    try:
        spec = host.cache_store_spec(config.store)
    except PluginError as problem:
        known = config.store in host.cache_stores()
        says = f"{shown(config.store)}: {problem}" if known else _no_such_store(config.store, host)
        mistakes.add(join(SECTION, "store"), says)
        return None
    before = len(mistakes)
    fields: tuple[attrs.Attribute[Any], ...] = attrs.fields(spec.options) if attrs.has(spec.options) else ()
    valid = {field.name for field in fields}
    for key in config.options:
        # Told here, for the reader of the store's options knows no names but those.
        if key not in valid:
            mistakes.add(join(SECTION, key), f"is unknown{did_you_mean(key, {*valid, *KERNEL_KEYS})}")
    options: Any = None
    if fields:
        table = {key: value for key, value in config.options.items() if key in valid}
        options = plain_reader().read(cast("Any", spec.options), table, SECTION, mistakes)
    return ReadyCache(config, spec, options) if len(mistakes) == before else None


def _no_such_store(name: str, host: PluginHost) -> str:
    return (
        f"{shown(name)}: no installed plugin offers a cache store of this name{did_you_mean(name, host.cache_stores())}"
    )
