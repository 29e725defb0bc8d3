"""`penstock budget show`: a bar for each window of each account, and the holds.

Not here: which windows there are (`lines`).
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from typing import Any

import attrs
import click
import msgspec
from rich.console import Console
from rich.text import Text

from penstock._config import Config
from penstock._nearest import did_you_mean
from penstock.abc import LedgerStore
from penstock.cli._account import account_argument, check_account, shown_account
from penstock.cli._budget.lines import (
    AccountLine,
    account_lines,
    known_accounts,
    words_of,
)
from penstock.cli._budget.opening import config_option, find_config, with_ledger_there
from penstock.cli._exits import FAILED, OK
from penstock.cli._screen import make_console, make_table
from penstock.cli._tell import tell
from penstock.cli._words import dollars, escaped, short_tokens, span
from penstock.policy.accounts import AccountTree
from penstock.policy.holds import Amount
from penstock.policy.ledger_steps import HoldRow, WindowRow
from penstock.policy.money import usd, usd_in_words

__all__ = ["show"]

BAR = 10
"""Characters."""
WITH_BARS = 76
"""Columns of a terminal below which there is no room for bars beside accounts that can be read."""
READABLE = 12
"""Characters of an account that stand side by side, however little room there is: figures give way to them."""
ROOM = {"held": 56, "refills": 56, "limit": 46}
"""Columns of a terminal below which a figure gives way."""
# Spent, held, free.
CELLS = "█▒░"
PLAIN_CELLS = "#=."
FIGURES = ("spent", "held", "limit", "free", "refills")
_ENCODER = msgspec.json.Encoder(decimal_format="number")


@attrs.frozen
class _Unit:
    """One unit of one window: what a line of the table shows."""

    limit: int | None
    held: int
    spent: int
    estimated: int
    money: bool

    def words(self, figure: int) -> str:
        return dollars(usd(figure)) if self.money else short_tokens(figure)

    def share(self, figure: int) -> float:
        return figure / self.limit if self.limit else float(figure > 0)


@click.command(short_help="What is held and spent, and what is free.")
@click.argument("account", required=False, callback=account_argument)
@click.option("--holds", is_flag=True, help="The holds as well, by their ids: also those whose lease is over.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@config_option
def show(account: str | None, *, holds: bool, as_json: bool, config_file: str | None) -> int:
    """Show the windows of all accounts that are declared or have spent, or of ACCOUNT and those below it.

    A bar is filled with what is spent, then with what calls in flight hold. "est." is the share of what is spent that
    was charged without a bill, at its bound. "refills" is when the window ends; of a rolling one, when the first of
    what is in it leaves.

    \b
    Examples:
      penstock budget show
      penstock budget show team/search --holds
      penstock budget show --json | jq '.windows[] | select(.free_usd < 1)'

    \b
    Exit codes:
      0  shown
      1  there is no such account
      2  wrong usage or configuration, or no ledger yet
      3  the store does not answer
    """  # noqa: D301 - click reads the escape
    below = None if account is None else check_account(account)
    config = find_config(config_file)
    rows, held = with_ledger_there(config, _rows)
    lines = account_lines(config.budget.accounts, rows, below=below)
    known = known_accounts(config.budget.accounts, rows, held)
    if below and not _is_known(below, known, config):
        near = did_you_mean(below, known - {""}, ids=True)
        tell(f"there is no account {below}: it is not declared, and has neither spent nor held anything{near}")
        return FAILED
    held = [hold for hold in held if not below or hold.account == below or hold.account.startswith(f"{below}/")]
    if as_json:
        told = {"windows": [_window_json(line) for line in lines], "holds": [_hold_json(hold) for hold in held]}
        click.echo(_ENCODER.encode(told).decode())
        return OK
    console, now = make_console(), time.time()
    _show(console, config, lines, now)
    if holds:
        console.print()
        _show_holds(console, held, now)
    elif held:
        console.print(f"{_holds_in_words(held)}: --holds shows them.", style="dim")
    return OK


def _is_known(account: str, known: Iterable[str], config: Config) -> bool:
    """True where there is such an account or one below it, or a pattern is meant for it."""
    if any(path == account or path.startswith(f"{account}/") for path in known):
        return True
    return AccountTree(config.budget.accounts).spec_of(account) is not None


async def _rows(store: LedgerStore) -> tuple[Sequence[WindowRow], Sequence[HoldRow]]:
    return await store.windows(), await store.holds()


def _show(console: Console, config: Config, lines: Sequence[AccountLine], now: float) -> None:
    if not lines:
        nobody = "no account has a limit" if not config.budget.accounts else "no account has a window"
        console.print(f"There is nothing to show: {nobody}, and nothing was spent.")
        return
    columns = ["account", "used", *[name for name in FIGURES if console.width >= ROOM.get(name, 0)]]
    table = make_table(*columns, right=FIGURES, gap=1)
    table.columns[0].min_width = READABLE
    for column in table.columns[1:]:
        column.no_wrap = True
    cells = CELLS if console.encoding.lower().startswith("utf") else PLAIN_CELLS
    for line in lines:
        for unit in _units(line):
            row = _row(line, unit, now, cells if console.width >= WITH_BARS else "")
            table.add_row(*[row[column] for column in columns])
    console.print(table)


def _row(line: AccountLine, unit: _Unit, now: float, cells: str) -> dict[str, str | Text]:
    window = line.window
    free = None if unit.limit is None else unit.limit - unit.held - unit.spent
    guessed = f"{100 * unit.estimated / unit.spent:.0f} % est." if unit.estimated and unit.spent else ""
    return {
        "account": f"{shown_account(line.account)}\n{words_of(window)}",
        "used": _bar(unit, cells),
        "spent": f"{unit.words(unit.spent)}\n{guessed}",
        "held": unit.words(unit.held),
        "limit": "none" if unit.limit is None else unit.words(unit.limit) + ("\nby hand" if line.by_hand else ""),
        "free": "-" if free is None else unit.words(free),
        "refills": "-" if window.ends_at is None or window.ends_at <= now else span(window.ends_at - now),
    }


def _units(line: AccountLine) -> Iterator[_Unit]:
    """Money and tokens: those that are limited; where none is, those of which there is something."""
    window = line.window
    held, spent, estimated = window.held, window.spent, window.estimated
    money = _Unit(window.limit_nano_usd, held.nano_usd, spent.nano_usd, estimated.nano_usd, money=True)
    tokens = _Unit(window.limit_tokens, held.tokens, spent.tokens, estimated.tokens, money=False)
    for unit in (money, tokens):
        if unit.limit is not None or (not line.limited and (unit.held or unit.spent)):
            yield unit


def _bar(unit: _Unit, cells: str) -> Text:
    """The share in figures below the bar; alone where there are no `cells` to draw it with."""
    if unit.limit is None:
        return Text("-", style="dim")
    used = unit.share(unit.spent + unit.held)
    # What is there is seen, however little; and only what is full looks full.
    spent = _cells(unit.share(unit.spent), unit.spent)
    both = max(_cells(used, unit.spent + unit.held), spent + (1 if unit.held and spent < BAR else 0))
    style = "red" if used >= 1 else "yellow" if used >= 0.8 else "green"
    share = Text("<1 %" if 0 < used < 0.01 else f"{100 * used:.0f} %", style=style)
    if not cells:
        return share
    bar = Text(cells[0] * spent + cells[1] * (both - spent), style=style)
    bar.append(cells[2] * (BAR - both), style="dim")
    return Text("\n").join((bar, share))


def _cells(share: float, figure: int) -> int:
    if figure <= 0:
        return 0
    return BAR if share >= 1 else min(BAR - 1, max(1, round(share * BAR)))


def _show_holds(console: Console, holds: Sequence[HoldRow], now: float) -> None:
    if not holds:
        console.print("Nothing is held.")
        return
    figures = ("USD", "tokens", "held for", "lease")
    table = make_table("hold", "account", *figures, right=figures)
    for hold in holds:
        lease = "over: charged" if hold.lapsed else span(max(0.0, hold.lease_ends - now))
        table.add_row(
            escaped(hold.hold_id),
            shown_account(hold.account),
            dollars(usd(hold.amount.nano_usd)),
            short_tokens(hold.amount.tokens),
            span(max(0.0, now - hold.reserved_at)),
            lease,
        )
    console.print(table)


def _window_json(line: AccountLine) -> dict[str, Any]:
    window = line.window
    fields: dict[str, Any] = {
        "account": line.account,
        "per": window.per,
        "timezone": window.timezone or None,
        "rolling": window.rolling,
        "limit_usd": _usd(window.limit_nano_usd),
        "limit_tokens": window.limit_tokens,
        "limit_by_hand": line.by_hand,
        "by_estimate": window.by_estimate,
    }
    for name, amount in (("held", window.held), ("spent", window.spent), ("estimated", window.estimated)):
        fields |= _amount_json(name, amount)
    free = {"free_usd": _usd(window.free_nano_usd), "free_tokens": window.free_tokens}
    return {**fields, **free, "ends_at": window.ends_at}


def _hold_json(hold: HoldRow) -> dict[str, Any]:
    return {
        "hold": hold.hold_id,
        "account": hold.account,
        **_amount_json("held", hold.amount),
        "reserved_at": hold.reserved_at,
        "lease_ends": hold.lease_ends,
        "lapsed": hold.lapsed,
    }


def _amount_json(name: str, amount: Amount) -> dict[str, Any]:
    return {f"{name}_usd": _usd(amount.nano_usd), f"{name}_tokens": amount.tokens}


def _usd(nano: int | None) -> Decimal | None:
    return None if nano is None else Decimal(usd_in_words(nano))


def _holds_in_words(holds: Sequence[HoldRow]) -> str:
    over = sum(hold.lapsed for hold in holds)
    told = [f"{_many(len(holds) - over, 'hold')} of calls in flight"] if over < len(holds) else []
    if over:
        told.append(f"{_many(over, 'hold')} charged in full, for the lease is over and the call was not settled")
    return ", and ".join(told)


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}" + ("" if count == 1 else "s")
