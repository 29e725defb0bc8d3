"""[ledger]: what of it is the kernel's, and what only the plugin of its store knows.

Read when the configuration is, and settled once more when the kernel opens: then the plugins that the program hands in
are known too. Not here: opening the store.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import attrs

from penstock._config import Config, LedgerConfig
from penstock._config_mistakes import Mistakes, join, shown
from penstock._config_structure import plain_reader
from penstock._config_tables import tables_reader
from penstock._discovery import PluginHost
from penstock._nearest import did_you_mean, is_slip
from penstock.errors import PluginError
from penstock.hookspecs import LedgerSpec

__all__ = ["ReadyLedger", "read_ledger", "ready_ledger"]

SECTION = "ledger"
DEFAULT_STORE = "sqlite"
"""Of a table that names none."""
KERNEL_KEYS = frozenset(field.name for field in attrs.fields(LedgerConfig)) - {"options"}


@attrs.frozen
class ReadyLedger:
    """A ledger whose store can be opened: `spec.open(options, tools)`."""

    config: LedgerConfig
    spec: LedgerSpec
    options: Any
    """An instance of the spec's options class."""


def read_ledger(table: Mapping[str, Any], host: PluginHost, mistakes: Mistakes) -> LedgerConfig:
    """What the table says. A store that no plugin offers yet may come with the program."""
    own = {"store": DEFAULT_STORE} | {key: value for key, value in table.items() if key in KERNEL_KEYS}
    options = {key: value for key, value in table.items() if key not in KERNEL_KEYS}
    read = tables_reader().read(LedgerConfig, own, SECTION, mistakes)
    store = own["store"]
    if not (isinstance(store, str) and store):
        return LedgerConfig()
    # Options are checked where the rest is wrong too, as long as it is known whose they are.
    config = attrs.evolve(read or LedgerConfig(store=store), options=options)
    known = host.ledger_stores()
    if store in known:
        _settled(config, host, mistakes)
    elif is_slip(store, known):
        mistakes.add(join(SECTION, "store"), _no_such_store(store, host))
    return config


def ready_ledger(config: Config, host: PluginHost) -> ReadyLedger:
    """The ledger of a configuration. Raises ConfigError where no plugin takes what it says."""
    mistakes = Mistakes()
    ready = _settled(config.ledger, host, mistakes)
    mistakes.end(str(config.source) if config.source else None)
    assert ready is not None
    folder = Path() if config.source is None else Path(config.source).parent
    return attrs.evolve(ready, options=_placed(ready.options, folder))


def _placed(options: Any, folder: Path) -> Any:
    """The options with their paths, those at their default too, relative to the configuration file's folder."""
    kind = cast("type[object]", type(options))
    if not attrs.has(kind):
        return options
    fields: tuple[attrs.Attribute[Any], ...] = attrs.fields(kind)
    values = {field.alias or field.name: getattr(options, field.name) for field in fields if field.init}
    return attrs.evolve(options, **{name: folder / path for name, path in values.items() if isinstance(path, Path)})


def _settled(config: LedgerConfig, host: PluginHost, mistakes: Mistakes) -> ReadyLedger | None:
    try:
        spec = host.ledger_spec(config.store)
    except PluginError as problem:
        known = config.store in host.ledger_stores()
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
    return ReadyLedger(config, spec, options) if len(mistakes) == before else None


def _no_such_store(name: str, host: PluginHost) -> str:
    known = host.ledger_stores()
    return f"{shown(name)}: no installed plugin offers a ledger store of this name{did_you_mean(name, known)}"
