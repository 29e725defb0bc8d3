"""`penstock cache`: what the store of a configuration holds, why a request is not in it, and emptying it.

Works beside a running app, on the store that they share. Not here: the store (plugins), explaining (`_cache_controls`).
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import attrs
import click
import msgspec
import trio
from rich.console import Console

from penstock._cache_explanation import CacheExplanation
from penstock._config import Config, LedgerConfig
from penstock._config_stores import ready_cache
from penstock._discovery import PluginHost
from penstock._kernel import open_kernel
from penstock.abc import CacheStore, CacheStoreStatistics
from penstock.cli._account import account_argument, shown_account
from penstock.cli._exits import FAILED, OK
from penstock.cli._finite import FiniteRange
from penstock.cli._looking import check_there
from penstock.cli._loop import run_loop
from penstock.cli._prompt import read_prompt
from penstock.cli._screen import make_console, make_table
from penstock.cli._tell import tell
from penstock.cli._utf8 import TextGroup
from penstock.cli._words import plain, tokens
from penstock.errors import CacheStoreError
from penstock.policy.accounts import AccountTree
from penstock.policy.cache_key import tenant_prefix

__all__ = ["cache"]

T = TypeVar("T")
PATIENCE = 60.0
"""Seconds for the store to do what is asked; counting or removing a million entries takes a few."""

_config_option = click.option(
    "-c",
    "--config",
    "config_file",
    metavar="FILE",
    help="The configuration; else PENSTOCK_CONFIG, else the keys in the environment.",
)


@click.group(cls=TextGroup, short_help="See what the cache holds, why a request is not in it, and empty it.")
def cache() -> None:
    """Look into the cache of a configuration, beside a running app.

    \b
    Examples:
      penstock cache stats -c penstock.toml
      penstock cache explain "Name the moons of Mars." -t 0
      penstock cache purge --account team/search
    """  # noqa: D301 - click reads the escape


@cache.command(short_help="What is in the store.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@_config_option
def stats(*, as_json: bool, config_file: str | None) -> int:
    """Tell how many answers the store holds, and how much they take.

    \b
    Exit codes:
      0  told
      1  the store does not answer, or there is none yet
      2  wrong usage or configuration
    """  # noqa: D301 - click reads the escape
    config = _config(config_file)
    _check_there(config)
    found = run_loop(_with_store, config, _statistics)
    if found is None:
        return _no_store(config)
    if as_json:
        click.echo(json.dumps({"store": _name(config), **_as_dict(found)}))
        return OK
    table = make_table("store", "entries", "size", "given way", right=("entries", "size", "given way"))
    table.add_row(_name(config), tokens(found.entries), _size(found.bytes), _count(found.evictions))
    make_console().print(table)
    return OK


@cache.command(short_help="Remove answers.")
@click.option("-a", "--account", callback=account_argument, help="Those of this account's tenant alone.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask first. Needed where nobody could answer.")
@_config_option
def purge(*, account: str | None, yes: bool, config_file: str | None) -> int:
    """Remove every answer from the store, or those that one account's tenant can see.

    A running app goes on with what it has in memory, until that is too old.

    \b
    Exit codes:
      0    removed
      1    the store does not answer, or there is none yet
      2    wrong usage or configuration
      130  not wanted after all
    """  # noqa: D301 - click reads the escape
    config = _config(config_file)
    _check_there(config)
    whose = "every answer" if account is None else f"every answer that {shown_account(account)} can see"
    if not yes and not sys.stdin.isatty():
        raise click.UsageError(f"This removes {whose}, and nobody is here to be asked first: say --yes.")
    if not yes:
        click.confirm(f"Remove {whose} from the cache ({_name(config)})?", abort=True, err=True)
    prefix = "" if account is None else tenant_prefix(AccountTree(config.budget.accounts).tenant_of(account))

    async def remove(store: CacheStore) -> int:
        return await store.purge(prefix)

    removed = run_loop(_with_store, config, remove)
    if removed is None:
        return _no_store(config)
    click.echo(f"{tokens(removed)} removed")
    return OK


@cache.command(short_help="Why a request is, or is not, answered from the cache.")
@click.argument("prompt", required=False)
@click.option("-r", "--route", help="A cascade of the configuration.")
@click.option("-m", "--model", help="A target's name, or provider/model, instead of a route.")
@click.option("-s", "--system", help="The system prompt.")
@click.option("-a", "--account", callback=account_argument, help="The account that pays, such as team/search.")
@click.option("--max-tokens", type=click.IntRange(min=1), help="The longest answer.")
@click.option("-t", "--temperature", type=FiniteRange(min=0), help="0 for the likeliest answer.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@_config_option
def explain(prompt: str | None, *, as_json: bool, config_file: str | None, **options: Any) -> int:
    """Tell for each target whether it would be answered from the cache, and else what is in the way.

    Names the fields in which the nearest stored requests differ, never what they hold. Nothing is sent.

    \b
    Exit codes:
      0  it would be answered from the cache
      1  it would not, or there is no store yet
      2  wrong usage or configuration
    """  # noqa: D301 - click reads the escape
    asked = read_prompt(prompt)
    config = _config(config_file)
    _check_there(config)
    # With a ledger in memory: nothing is asked of it, and that of the configuration need not be there.
    told = run_loop(_explain, attrs.evolve(config, ledger=LedgerConfig()), asked, options)
    if as_json:
        click.echo(msgspec.json.encode(told).decode())
    else:
        _show(make_console(), told)
    return OK if told.hit else FAILED


async def _explain(config: Config, prompt: str, options: dict[str, Any]) -> CacheExplanation:
    async with open_kernel(config) as kernel:
        return await kernel.cache.explain_miss(prompt, **options)


def _show(console: Console, told: CacheExplanation) -> None:
    table = make_table("target", "", "why")
    for stage in told.stages:
        table.add_row(plain(stage.target), stage.outcome.replace("_", " "), plain(stage.says))
    console.print(table)
    for stage in told.stages:
        for near in stage.near:
            console.print(f"{stage.target}: stored {near.age:.0f} s ago, differs in {', '.join(near.differs)}")


def _config(config_file: str | None) -> Config:
    return Config.load(config_file) if config_file is not None else Config.from_environment()


def _check_there(config: Config) -> None:
    """Raises CacheStoreError where there is no file to look into."""
    ready = ready_cache(config, PluginHost(config.plugins))
    if ready is not None:
        check_there(config, ready)


async def _with_store(config: Config, act: Callable[[CacheStore], Awaitable[T]]) -> T | None:
    """What comes of it; None where the configuration has no store beyond a process."""
    ready = ready_cache(config, PluginHost(config.plugins))
    if ready is None:
        return None
    tools = ready.tools(time.time, logging.getLogger("penstock.cli"))
    trouble: CacheStoreError | None = None
    result: T | None = None
    async with ready.spec.open(ready.options, tools) as store:
        if store is None:
            return None
        try:
            with trio.fail_after(PATIENCE):
                result = await act(store)
        except trio.TooSlowError:
            trouble = CacheStoreError(f"the cache store {ready.config.store} did not answer within {PATIENCE:g} s")
        except CacheStoreError as error:
            trouble = error
    # Outside: what is raised inside may come out in a group of the store's own nursery.
    if trouble is not None:
        raise trouble
    return result


async def _statistics(store: CacheStore) -> CacheStoreStatistics:
    return await store.statistics()


def _no_store(config: Config) -> int:
    if config.cache is None:
        tell("there is no [cache] table: nothing is cached")
    else:
        tell(f"store = {config.cache.store!r} keeps answers in the memory of each process: nobody else can see them")
    return FAILED


def _name(config: Config) -> str:
    return "none" if config.cache is None else config.cache.store


def _size(size: int | None) -> str:
    return "-" if size is None else f"{size / 2**20:,.1f} MiB"


def _count(count: int | None) -> str:
    return "-" if count is None else tokens(count)


def _as_dict(found: CacheStoreStatistics) -> dict[str, int | None]:
    return {"entries": found.entries, "bytes": found.bytes, "evictions": found.evictions}
