"""`penstock plugins`: every entry point of penstock's groups, and what is wrong with it.

Not here: finding and loading them (`penstock._discovery`).
"""

from __future__ import annotations

import contextlib
import time

import click

from penstock._config import Config, PluginsConfig
from penstock._discovery import PluginHost, PluginInfo
from penstock._installed import OWN_DISTRIBUTION
from penstock.cli._exits import FAILED, OK
from penstock.cli._inspection import OLD_PRICES
from penstock.cli._screen import make_console, make_table
from penstock.cli._tell import tell
from penstock.cli._words import days_since, plain
from penstock.errors import PluginError
from penstock_plugins.prices import price_lists

__all__ = ["plugins"]


@click.command(short_help="List what is installed, and what is wrong with it.")
@click.option("--strict", is_flag=True, help="Exit with 1 where anything is wrong.")
@click.option("-c", "--config", "config_file", metavar="FILE", help="Take [plugins] discover and allow from it.")
def plugins(*, strict: bool, config_file: str | None) -> int:
    """List every installed plugin: name, group, where it comes from, and whether it works.

    All of them are imported to find out, unlike when a kernel is opened.

    \b
    Examples:
      penstock plugins
      penstock plugins --strict
    """  # noqa: D301 - click reads the escape
    host = PluginHost(PluginsConfig() if config_file is None else Config.load(config_file).plugins)
    found = _load_all(host)
    table = make_table("name", "group", "distribution", "version", "origin", "status")
    for info in sorted(found, key=lambda info: (info.group, info.name, info.distribution)):
        origin = "built-in" if info.distribution == OWN_DISTRIBUTION else "third party"
        table.add_row(info.name, info.group, info.distribution, info.version or "-", origin, _status(info))
    make_console().print(table)
    make_console().print(_prices(time.time()))
    problems = [info.problem for info in found if info.problem]
    for problem in problems:
        tell(str(problem))
    return FAILED if strict and problems else OK


def _prices(now: float) -> str:
    """Which price lists there are, in the order they are asked, and how old they are."""
    told: list[str] = []
    for listed in price_lists():
        days = days_since(listed.day, now)
        age = "" if days is None else f", {days} days old"
        old = "; update penstock, or install penstock[prices]" if days is not None and days > OLD_PRICES else ""
        told.append(f"{listed.source}{age}{old}")
    return f"Prices: {'; then '.join(told)}."


def _load_all(host: PluginHost) -> tuple[PluginInfo, ...]:
    for info in host.list_plugins():
        # What goes wrong is kept by the host, with the plugin it belongs to.
        with contextlib.suppress(PluginError):
            host.provider_spec(info.name) if info.group == "providers" else host.load_plugin(info.name)
    return host.list_plugins()


def _status(info: PluginInfo) -> str:
    return plain("ok" if info.status == "loaded" else info.status)
