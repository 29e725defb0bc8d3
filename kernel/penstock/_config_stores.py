"""[ledger] and [cache]: what of them is the kernel's, and what only the plugins of their stores know.

Read when the configuration is, and settled once more when the kernel opens: then the plugins that the program hands in
are known too. Not here: opening the stores.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

import attrs

from penstock._config import CacheConfig, Config, LedgerConfig
from penstock._config_checks import is_store_name
from penstock._config_mistakes import Mistakes, join, shown
from penstock._config_structure import plain_reader
from penstock._config_tables import tables_reader
from penstock._discovery import CACHES, LEDGERS, PluginHost, Sort
from penstock._nearest import did_you_mean, is_slip
from penstock.errors import PluginError
from penstock.hookspecs import CacheStoreSpec, LedgerSpec, PluginTools

__all__ = ["Ready", "check_files_apart", "check_stores", "read_cache", "read_ledger", "ready_cache", "ready_ledger"]

C = TypeVar("C", LedgerConfig, CacheConfig)
S = TypeVar("S", LedgerSpec, CacheStoreSpec)

DEFAULT_STORE = "sqlite"
"""Of a table that names none."""


SHORTEST_LEASE = 1.0
"""Seconds: what a busy process may take to come to its renewals."""


@attrs.frozen
class Ready(Generic[C, S]):
    """A section whose store can be opened: `spec.open(options, tools)`."""

    config: C
    spec: S
    options: Any
    """An instance of the spec's options class."""
    folder: Path = Path()
    """That of the configuration's file."""

    @property
    def file(self) -> Path | None:
        """Where its store is kept; None where it has no `path`."""
        path = getattr(self.options, "path", None)
        return _in_folder(self.folder, path) if isinstance(path, str | Path) else None

    def tools(self, wall: Callable[[], float], logger: logging.Logger) -> PluginTools:
        """What the store is lent while it is open."""
        config = self.config
        timeout = config.timeout if isinstance(config, LedgerConfig) else config.store_timeout
        return PluginTools(name=config.store, wall=wall, logger=logger, folder=self.folder, timeout=timeout)


def read_ledger(table: Mapping[str, Any], host: PluginHost, mistakes: Mistakes) -> LedgerConfig:
    """What [ledger] says. A store that no plugin offers yet may come with the program."""
    return _read("ledger", LedgerConfig, LEDGERS, table, host, mistakes)


def read_cache(table: Mapping[str, Any], host: PluginHost, mistakes: Mistakes) -> CacheConfig:
    """The same of [cache]."""
    return _read("cache", CacheConfig, CACHES, table, host, mistakes)


def check_files_apart(ledger: LedgerConfig, cache: CacheConfig | None, folder: Path, host: PluginHost) -> str | None:
    """What is wrong where both stores would be kept in one file."""
    if cache is None:
        return None
    file = _file(ledger, LEDGERS, folder, host)
    if file is None or file != _file(cache, CACHES, folder, host):
        return None
    return f"{file.name} is the file of the ledger: each store has a file of its own; name another one"


def _file(config: LedgerConfig | CacheConfig, sort: Sort[Any], folder: Path, host: PluginHost) -> Path | None:
    """Where the store is kept; None where it has no `path`, or its plugin is not known yet."""
    try:
        options = host.store_spec(sort, config.store).options
    except PluginError:
        return None
    fields: dict[str, attrs.Attribute[Any]] = attrs.fields_dict(options) if attrs.has(options) else {}
    path = config.options.get("path", fields["path"].default if "path" in fields else None)
    return _in_folder(folder, path).resolve() if isinstance(path, str | Path) else None


def ready_ledger(config: Config, host: PluginHost) -> Ready[LedgerConfig, LedgerSpec]:
    """The ledger of a configuration. Raises ConfigError where no plugin takes what it says."""
    return _ready("ledger", config.ledger, LEDGERS, config, host)


def ready_cache(config: Config, host: PluginHost) -> Ready[CacheConfig, CacheStoreSpec] | None:
    """The same of its cache; None: it has none."""
    return None if config.cache is None else _ready("cache", config.cache, CACHES, config, host)


def check_stores(config: Config, host: PluginHost) -> None:
    """Raises ConfigError with everything that would keep the stores of the configuration from being opened."""
    mistakes = Mistakes()
    _openable("ledger", config.ledger, LEDGERS, host, mistakes)
    if config.cache is not None:
        _openable("cache", config.cache, CACHES, host, mistakes)
    mistakes.end(str(config.source) if config.source else None)


def _read(  # noqa: PLR0917 - one section, whichever it is
    section: str, cls: type[C], sort: Sort[S], table: Mapping[str, Any], host: PluginHost, mistakes: Mistakes
) -> C:
    kernels = _kernel_keys(cls)
    own = {"store": DEFAULT_STORE} | {key: value for key, value in table.items() if key in kernels}
    options = {key: value for key, value in table.items() if key not in kernels}
    read = tables_reader().read(cls, own, section, mistakes)
    store = own["store"]
    if not (isinstance(store, str) and is_store_name(store)):
        return cls()
    # Options are checked where the rest is wrong too, as long as it is known whose they are.
    config = attrs.evolve(read or cls(store=store), options=options)
    if isinstance(config, LedgerConfig) and config.lease < max(SHORTEST_LEASE, 2 * config.timeout):
        mistakes.add(
            join(section, "lease"),
            f"{config.lease:g}: must be {SHORTEST_LEASE:g} s at least, and twice the timeout of the store"
            f" ({config.timeout:g} s): a live call renews its hold after a third of it, and is charged in full where"
            " that takes longer",
        )
    known = host.stores(sort)
    if store in known:
        _settled(section, config, sort, host, mistakes)
    elif is_slip(store, known):
        mistakes.add(join(section, "store"), _no_such_store(store, sort, host))
    return config


def _ready(section: str, own: C, sort: Sort[S], config: Config, host: PluginHost) -> Ready[C, S]:
    mistakes = Mistakes()
    ready = _openable(section, own, sort, host, mistakes)
    mistakes.end(str(config.source) if config.source else None)
    assert ready is not None
    folder = Path() if config.source is None else Path(config.source).parent
    return attrs.evolve(ready, options=_placed(ready.options, folder), folder=folder)


def _placed(options: Any, folder: Path) -> Any:
    """The options with their paths, those at their default too, relative to the configuration file's folder."""
    kind = cast("type[object]", type(options))
    if not attrs.has(kind):
        return options
    fields: tuple[attrs.Attribute[Any], ...] = attrs.fields(kind)
    values = {field.alias or field.name: getattr(options, field.name) for field in fields if field.init}
    return attrs.evolve(
        options, **{name: _in_folder(folder, path) for name, path in values.items() if isinstance(path, Path)}
    )


def _in_folder(folder: Path, path: str | Path) -> Path:
    """Where a path of the configuration is: `~` is one's own folder, and relative ones begin in that of its file."""
    return folder / Path(path).expanduser()


def _openable(section: str, config: C, sort: Sort[S], host: PluginHost, mistakes: Mistakes) -> Ready[C, S] | None:
    """What is settled, where all that it imports is installed: a configuration may be read where it is not."""
    ready = _settled(section, config, sort, host, mistakes)
    for module, package in ready.spec.needs.items() if ready else ():
        if not _is_installed(module):
            says = f"{shown(config.store)}: needs a package that is not installed: pip install {package!r}"
            mistakes.add(join(section, "store"), says)
    return ready


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):
        # A package that it would be in is missing, or has been put out of reach.
        return False


def _settled(section: str, config: C, sort: Sort[S], host: PluginHost, mistakes: Mistakes) -> Ready[C, S] | None:
    try:
        spec = host.store_spec(sort, config.store)
    except PluginError as problem:
        known = config.store in host.stores(sort)
        says = f"{shown(config.store)}: {problem}" if known else _no_such_store(config.store, sort, host)
        mistakes.add(join(section, "store"), says)
        return None
    before = len(mistakes)
    kernels: frozenset[str] = _kernel_keys(config.__class__)
    fields: tuple[attrs.Attribute[Any], ...] = attrs.fields(spec.options) if attrs.has(spec.options) else ()
    valid: set[str] = {field.name for field in fields}
    for key in config.options:
        # Told here, for the reader of the store's options knows no names but those.
        if key not in valid:
            mistakes.add(join(section, key), f"is unknown{did_you_mean(key, valid | kernels)}")
    options: Any = None
    if fields:
        table = {key: value for key, value in config.options.items() if key in valid}
        options = plain_reader().read(cast("Any", spec.options), table, section, mistakes)
    return Ready(config, spec, options) if len(mistakes) == before else None


def _kernel_keys(cls: type) -> frozenset[str]:
    return frozenset(field.name for field in attrs.fields(cls)) - {"options"}


def _no_such_store(name: str, sort: Sort[S], host: PluginHost) -> str:
    near = did_you_mean(name, host.stores(sort))
    return f"{shown(name)}: no installed plugin offers a {sort.what} of this name{near}"
