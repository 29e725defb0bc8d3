"""The ledger's store of a configuration, opened without a kernel, for one question or one change.

Not here: what is asked of it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

import click
import trio

from penstock._config import Config, LedgerConfig
from penstock._config_stores import Ready, ready_ledger
from penstock._discovery import PluginHost
from penstock._open_plugins import OpenPlugins
from penstock.abc import LedgerStore
from penstock.cli._looking import check_there
from penstock.cli._loop import run_loop
from penstock.errors import ConfigError, LedgerUnavailableError, PenstockError
from penstock.hookspecs import LedgerSpec

__all__ = ["config_option", "find_config", "with_ledger", "with_ledger_there"]

T = TypeVar("T")
PATIENCE = 60.0
"""Seconds for the store to do what is asked; the report of a year takes a few."""

config_option = click.option(
    "-c",
    "--config",
    "config_file",
    metavar="FILE",
    help="The configuration; else PENSTOCK_CONFIG, else the keys in the environment.",
)


def find_config(config_file: str | None) -> Config:
    """The configuration that a command is about."""
    return Config.load(config_file) if config_file is not None else Config.from_environment()


def with_ledger(config: Config, act: Callable[[LedgerStore], Awaitable[T]]) -> T:
    """What comes of it. Raises ConfigError where there is nothing that another process could see."""
    return run_loop(_with_ledger, config, _ready(config), act)


def with_ledger_there(config: Config, act: Callable[[LedgerStore], Awaitable[T]]) -> T:
    """The same of what is about what is there: where there is no file it makes none, and ConfigError says so."""
    ready = _ready(config)
    check_there(config, ready)
    return run_loop(_with_ledger, config, ready, act)


def _ready(config: Config) -> Ready[LedgerConfig, LedgerSpec]:
    return ready_ledger(config, PluginHost(config.plugins))


async def _with_ledger(
    config: Config, ready: Ready[LedgerConfig, LedgerSpec], act: Callable[[LedgerStore], Awaitable[T]]
) -> T:
    name = ready.config.store
    tools = ready.tools(time.time, logging.getLogger("penstock.cli"))
    opened = OpenPlugins()
    trouble: PenstockError | click.ClickException | None = None
    result: list[T] = []
    async with trio.open_nursery() as nursery:
        try:
            opening = partial(ready.spec.open, ready.options, tools)
            store = await opened.open(f"ledger store {name!r}", LedgerStore, opening, nursery)
            if not store.durable:
                raise ConfigError(_only_in_memory(config))
            with trio.fail_after(PATIENCE):
                result.append(await act(store))
        except (PenstockError, click.ClickException) as error:
            trouble = error
        except trio.TooSlowError:
            trouble = LedgerUnavailableError(f"the ledger store {name!r} did not answer within {PATIENCE:g} s")
        finally:
            opened.stop()
    # Outside: what is raised inside comes out in a group of the nursery.
    if trouble is not None:
        raise trouble
    return result[0]


def _only_in_memory(config: Config) -> str:
    store = config.ledger.store
    return (
        f"the ledger (store = {store!r}) is kept in the memory of each process that spends, and is gone with it: there"
        ' is nothing to see from outside. Say store = "sqlite" in [ledger] for one that lasts; a running app tells its'
        " own by kernel.snapshot()"
    )
