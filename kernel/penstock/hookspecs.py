"""The hooks of penstock's plugins, typed; and the specs by which plugins offer objects.

Hooks are synchronous, few, and off the data path: they run at start and stop and for notifications. The objects that
do the work are opened once, from a spec, and implement a class of `penstock.abc`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import attrs
import pluggy

from penstock._events import Event
from penstock._wire import Price
from penstock.abc import CacheStore, LedgerStore, Provider, Validator

__all__ = ["PLUGIN_API", "CacheStoreSpec", "LedgerSpec", "PluginTools", "ProviderSpec", "ValidatorSpec", "hookimpl"]

PLUGIN_API = 1
"""The version of the plugin interface. A spec written for another is refused with PluginVersionError."""

PROJECT = "penstock"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)
"""Marks a plugin's implementation of a hook."""


@attrs.frozen
class PluginTools:
    """What the kernel lends to a plugin while it is open."""

    name: str
    """The name under which the plugin was configured."""
    wall: Callable[[], float]
    """Unix time, by the kernel's clock."""
    logger: logging.Logger
    folder: Path = Path()
    """Where relative paths of the plugin's options begin: the folder of the configuration's file."""
    timeout: float = 5.0
    """Seconds after which the kernel no longer waits for one answer of a store: it should say itself before what is
    wrong."""


@attrs.frozen
class ProviderSpec:
    """Offers a provider under `name`, the `kind` of a `[providers.*]` table."""

    name: str
    open: Callable[[Any, PluginTools], AbstractAsyncContextManager[Provider]]
    """Takes an instance of `options` and the tools. What it opens is closed when the kernel stops."""
    options: type = attrs.field(default=type(None))
    """An attrs class; the provider's table is structured into it, so that every mistake in it is named by its path."""
    key_variable: str | None = None
    """The environment variable that holds the key where the table names none."""
    url_variable: str | None = None
    """The environment variable that overrides `base_url` where the table names none."""
    needs_key: bool = True
    api_version: int = PLUGIN_API


@attrs.frozen
class LedgerSpec:
    """Offers a ledger store under `name`, the `store` of the `[ledger]` table."""

    name: str
    open: Callable[[Any, PluginTools], AbstractAsyncContextManager[LedgerStore]]
    """Takes an instance of `options` and the tools. What it opens is closed when the kernel stops.

    Law: it does not fail because what it keeps its books in is away for now; what it opened raises then. It raises
    ConfigError where its content cannot be read, PluginLoadError where something is missing that will not come by
    itself.
    """
    options: type = attrs.field(default=type(None))
    """An attrs class; what of `[ledger]` is not the kernel's is structured into it."""
    api_version: int = PLUGIN_API
    needs: Mapping[str, str] = attrs.field(factory=dict[str, str], eq=False)
    """Modules that it imports when it opens, and what to install where one is missing: that is told before."""


@attrs.frozen
class CacheStoreSpec:
    """Offers a store for the cache under `name`, the `store` of `[cache]`."""

    name: str
    open: Callable[[Any, PluginTools], AbstractAsyncContextManager[CacheStore | None]]
    """Takes an instance of `options` and the tools. None: the memory of the process is all there is.

    Law: it does not fail because what it keeps its entries in is away for now; what it opened raises then. It raises
    PluginLoadError where something is missing that will not come by itself.
    """
    options: type = attrs.field(default=type(None))
    """An attrs class; what of `[cache]` is not the kernel's is structured into it."""
    api_version: int = PLUGIN_API
    needs: Mapping[str, str] = attrs.field(factory=dict[str, str], eq=False)
    """Modules that it imports when it opens, and what to install where one is missing: that is told before."""


@attrs.frozen
class ValidatorSpec:
    """Offers validators under `name`."""

    name: str
    make: Callable[[Any], Validator | None]
    """A validator that builds values of what was asked for (a type, a union, a schema); None: it is none of its own.

    Laws: it holds nothing that must be closed; it raises TypeError, with a sentence, for what is its own and cannot be
    built.
    """
    api_version: int = PLUGIN_API


@hookspec
def penstock_validators() -> Sequence[ValidatorSpec]:  # type: ignore[empty-body]
    """The validators this plugin offers. The first that knows a type builds its values."""


@hookspec
def penstock_ledgers() -> Sequence[LedgerSpec]:  # type: ignore[empty-body]
    """The ledger stores this plugin offers."""


@hookspec
def penstock_providers() -> Sequence[ProviderSpec]:  # type: ignore[empty-body]
    """The providers this plugin offers."""


@hookspec
def penstock_caches() -> Sequence[CacheStoreSpec]:  # type: ignore[empty-body]
    """The stores for the cache that this plugin offers."""


@hookspec(firstresult=True)
def penstock_price(model: str, kind: str, base_url: str | None, now: float) -> Price | None:
    """The price of a model, None where it is not known here. The first plugin that knows one decides.

    The same model costs something else at another provider: `kind` is that of its table, `base_url` where it is spoken
    to (None: the codec knows), `now` the Unix time. An implementation may take fewer of them.
    """


@hookspec(firstresult=True)
def penstock_tokenizer(model: str, kind: str) -> Callable[[str], int] | None:
    """What counts the tokens of a text for a model, None where that is not known here. The first that knows decides.

    `kind` is that of the provider's table. Asked once for each target; what it returns is called in the kernel's own
    loop, for every text that is sent where an account has a limit, and for what streams as it nears its hold: it needs
    no network, and no more than milliseconds for a page. Laws: the same text has the same count; not less than the
    provider bills for it as input, nor more than it bills as output; no token is shorter than a UTF-8 byte. One that
    raises or breaks the last law is not called any more, and bytes count in its place.
    """


@hookspec
def penstock_redact(text: str) -> str:  # type: ignore[empty-body]
    """What of a text may go into a trace, where `[telemetry] capture_content` is on: a message, an argument, an answer.

    Called in the kernel's own loop for each of them, before it is cut to `content_limit`; all implementations one after
    the other. Where one raises, or returns no text, nothing of that text is captured.
    """


@hookspec
def penstock_event(event: Event) -> None:
    """Something happened. Called in the kernel's own loop: be quick. One that raises, or is slow again and again, is
    not called any more.
    """
