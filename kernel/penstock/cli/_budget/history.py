"""`penstock budget history`: what was set, reset and released by hand, with its time.

Not here: doing it (`changes`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from zoneinfo import ZoneInfo

import click
import msgspec

from penstock.cli._account import account_argument, check_account, shown_account
from penstock.cli._budget.days import day_options, time_of
from penstock.cli._budget.lines import key_in_words
from penstock.cli._budget.opening import config_option, find_config, with_ledger_there
from penstock.cli._exits import OK
from penstock.cli._screen import make_console, make_table
from penstock.cli._words import escaped, plain
from penstock.policy.ledger_steps import HistoryRow

__all__ = ["history"]

BEGINNING = date(2020, 1, 1)
"""There was no ledger before."""


@click.command(short_help="What was set, reset and released by hand.")
@click.argument("account", required=False, callback=account_argument)
@day_options
@click.option("--json", "as_json", is_flag=True, help="One JSON object for each line.")
@config_option
def history(
    account: str | None,
    *,
    first: date | None,
    last: date | None,
    timezone: str,
    as_json: bool,
    config_file: str | None,
) -> int:
    """Show every set, reset, release, and clock set back, oldest first: all there were, or those of ACCOUNT and those
    below it.

    \b
    Examples:
      penstock budget history
      penstock budget history team --from 2026-11-01

    \b
    Exit codes:
      0  shown
      2  wrong usage or configuration, or no ledger yet
      3  the store does not answer
    """  # noqa: D301 - click reads the escape
    below = None if account is None else check_account(account)
    since, until = time_of(first or BEGINNING, last, timezone)
    rows = with_ledger_there(find_config(config_file), lambda store: store.history(since=since, until=until))
    rows = [row for row in rows if not below or row.account == below or row.account.startswith(f"{below}/")]
    if as_json:
        for row in rows:
            click.echo(msgspec.json.encode(row).decode())
        return OK
    _show(rows, timezone)
    return OK


def _show(rows: Sequence[HistoryRow], zone: str) -> None:
    console = make_console()
    if not rows:
        console.print("Nothing was done by hand.")
        return
    table = make_table(f"when ({zone})", "", "account", "before, after")
    for row in rows:
        when = datetime.fromtimestamp(row.at, ZoneInfo(zone)).strftime("%Y-%m-%d %H:%M:%S")
        reason = f"\n({escaped(row.reason)})" if row.reason else ""
        table.add_row(
            when,
            row.action,
            f"{shown_account(row.account)}\n{_where(row)}",
            plain(f"{row.before}\n{row.after}{reason}"),
        )
    console.print(table)


def _where(row: HistoryRow) -> str:
    if row.action == "release":
        return f"hold {escaped(row.window)}"
    return key_in_words(row.window) if row.window else "all"
