"""`penstock check`: what a configuration says, or everything that is wrong with it.

Not here: finding it out (`_inspection`, `_live_check`).
"""

from __future__ import annotations

import os
import time

import click
from rich.console import Console

from penstock._config import Config
from penstock._price_book import configured_targets
from penstock.cli._exits import FAILED, OK
from penstock.cli._inspection import Inspection, inspect
from penstock.cli._live_check import LiveLine, try_targets
from penstock.cli._loop import run_loop
from penstock.cli._screen import make_console, make_table
from penstock.cli._tell import tell
from penstock.cli._words import plain

__all__ = ["check"]


@click.command(short_help="Check a configuration; tell all mistakes at once.")
@click.argument("file", required=False)
@click.option("--live", is_flag=True, help="Ask each target for one token. This costs a little.")
def check(file: str | None, *, live: bool) -> int:
    """Check the configuration in FILE, or the one that PENSTOCK_CONFIG or the keys in the environment make.

    Shows providers, targets with their prices and where these are from, routes, accounts, and where telemetry goes.
    Keys and headers are never shown, only where they come from.

    \b
    Examples:
      penstock check penstock.toml
      penstock check penstock.toml --live

    \b
    Exit codes:
      0  everything is in order
      1  with --live: a target did not answer
      2  there are mistakes; all of them are told
    """  # noqa: D301 - click reads the escape
    config = Config.load(file) if file is not None else Config.from_environment()
    inspection = inspect(config, time.time(), os.environ)
    console = make_console()
    _show(console, inspection)
    if not live:
        return OK
    lines = run_loop(try_targets, config, configured_targets(config))
    _show_live(console, lines)
    return OK if all(line.answered for line in lines) else FAILED


def _show(console: Console, inspection: Inspection) -> None:
    providers = make_table("name", "kind", "address", "key", title="Providers")
    for provider in inspection.providers:
        providers.add_row(provider.name, provider.kind, provider.address, provider.key)
    targets = make_table("name", "model", "USD per 1M in / out", "price from", "timeouts (s)", title="Targets")
    for target in inspection.targets:
        targets.add_row(target.name, target.model, target.price, target.priced_by, target.timeouts)
    routes = make_table("name", "cascade", "timeout", title="Routes")
    for route in inspection.routes:
        routes.add_row(route.name, route.cascade, route.timeout)
    accounts = make_table("path", "limit", title="Accounts")
    for account in inspection.accounts:
        accounts.add_row(account.path, account.limit)
    for table in (providers, targets, routes, accounts):
        if table.row_count:
            console.print(table)
            console.print()
    if inspection.targets:
        console.print("Timeouts: connect / first token / idle / total.", style="dim")
    console.print(f"Cache: {inspection.cache}.")
    console.print(f"Telemetry: {inspection.telemetry}.")
    console.print("The configuration is in order.", style="green")
    for warning in (*inspection.warnings, *inspection.problems):
        tell(f"note: {warning}")


def _show_live(console: Console, lines: list[LiveLine]) -> None:
    table = make_table("target", "", "took", "attempts", "cost", "", title="Live", right=("took", "attempts", "cost"))
    for line in lines:
        mark = "ok" if line.answered else "failed"
        table.add_row(line.target, mark, line.took, str(line.attempts), line.cost, plain(line.says))
    console.print()
    console.print(table)
