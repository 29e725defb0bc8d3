"""`penstock budget report`: what was spent by whom and where, as a table, CSV or JSON.

Not here: adding it up (`sums`).
"""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from typing import Any, Literal, cast

import click
import msgspec

from penstock.cli._account import shown_account
from penstock.cli._budget.days import day_options, time_of, today
from penstock.cli._budget.opening import config_option, find_config, with_ledger_there
from penstock.cli._budget.sums import By, Sum, sums_of, total_of
from penstock.cli._exits import OK
from penstock.cli._screen import make_console, make_table
from penstock.cli._words import dollars, escaped, short_tokens
from penstock.policy.money import usd, usd_in_words

__all__ = ["report"]

FIELDS = (
    "calls",
    "attempts",
    "input_tokens",
    "cached_input_tokens",
    "cache_write_tokens",
    "output_tokens",
    "reasoning_tokens",
)
FIGURES = ("calls", "tries", "input", "output", "USD", "est.")
_ENCODER = msgspec.json.Encoder(decimal_format="number")


def _by(_: click.Context, __: click.Parameter, value: str) -> tuple[By, ...]:
    named = [name.strip() for name in value.split(",")]
    if not named or any(name not in ("account", "target") for name in named) or len(set(named)) < len(named):
        raise click.BadParameter(f"{value!r} is none; say account, target, or account,target.")
    return tuple(cast("By", name) for name in named)


@click.command(short_help="What was spent, by account and target.")
@click.option("--by", default="account,target", callback=_by, show_default=True, help="What to add up.")
@day_options
@click.option(
    "--format", "form", type=click.Choice(("table", "csv", "json")), default="table", show_default=True, help="How."
)
@config_option
def report(
    *,
    by: tuple[By, ...],
    first: date | None,
    last: date | None,
    timezone: str,
    form: Literal["table", "csv", "json"],
    config_file: str | None,
) -> int:
    """Report what was spent from the first to the last of the days, both included; without --from, this month.

    Without --to there is no end: where the ledger's clock ran ahead, the last day is the latest in which was spent.
    Calls count whether or not their account has a limit. One that was tried at two targets counts at both, and once
    more where a part of it was charged by estimate. "est." is the share that was charged without a bill. Input
    includes what was read from a prompt cache or written to one, output includes reasoning. CSV has no line of totals.

    \b
    Examples:
      penstock budget report
      penstock budget report --by account --from 2026-11-01 --to 2026-11-30 --timezone Europe/Berlin
      penstock budget report --by target --format csv > november.csv

    \b
    Exit codes:
      0  reported
      2  wrong usage or configuration, or no ledger yet
      3  the store does not answer
    """  # noqa: D301 - click reads the escape
    now = today(time.time(), timezone)
    begins = first or (last or now).replace(day=1)
    since, until = time_of(begins, last, timezone)
    rows = with_ledger_there(find_config(config_file), lambda store: store.spending(since=since, until=until))
    latest = max((row.since for row in rows), default=since)
    ends = last or max(now, today(latest, timezone))
    sums, total = sums_of(rows, by), total_of(rows)
    match form:
        case "csv":
            click.echo(_csv(sums, by), nl=False)
        case "json":
            told = {
                "from": begins.isoformat(),
                "to": ends.isoformat(),
                "timezone": timezone,
                "rows": [_fields(one, by) for one in sums],
                "total": _fields(total, ()),
            }
            click.echo(_ENCODER.encode(told).decode())
        case "table":
            _show(sums, total, by, f"{begins} to {ends} ({timezone})")
    return OK


def _show(sums: Sequence[Sum], total: Sum, by: Sequence[By], days: str) -> None:
    console = make_console()
    if not sums:
        console.print(f"Nothing was spent: {days}.")
        return
    table = make_table(", ".join(by), *FIGURES, title=f"Spent {days}", right=FIGURES, gap=1)
    for column in table.columns[1:]:
        column.no_wrap = True
    for one in sums:
        table.add_row("\n".join(_names(one, by)), *_cells(one))
    table.add_section()
    table.add_row("total", *_cells(total), style="bold")
    console.print(table)


def _names(one: Sum, by: Sequence[By]) -> list[str]:
    return [shown_account(one.account or "") if name == "account" else escaped(one.target or "-") for name in by]


def _cells(one: Sum) -> tuple[str, ...]:
    kinds = ((one.cached_input_tokens, "cached"), (one.cache_write_tokens, "written"))
    read = [short_tokens(one.input_tokens), *(f"{short_tokens(count)} {kind}" for count, kind in kinds if count)]
    written = [short_tokens(one.output_tokens)]
    written += [f"{short_tokens(one.reasoning_tokens)} thought"] if one.reasoning_tokens else []
    share = f"{100 * one.estimated_share:.0f} %" if one.estimated_share else "-"
    return (
        short_tokens(one.calls),
        short_tokens(one.attempts),
        "\n".join(read),
        "\n".join(written),
        dollars(usd(one.nano_usd)),
        share,
    )


def _csv(sums: Sequence[Sum], by: Sequence[By]) -> str:
    written = io.StringIO()
    table = csv.writer(written, lineterminator="\n")
    table.writerow([*by, *FIELDS, "usd", "estimated_usd", "estimated_share"])
    for one in sums:
        names = [getattr(one, name) for name in by]
        figures = [getattr(one, name) for name in FIELDS]
        money = [usd_in_words(one.nano_usd), usd_in_words(one.estimated_nano_usd), f"{one.estimated_share:.4f}"]
        table.writerow([*names, *figures, *money])
    return written.getvalue()


def _fields(one: Sum, by: Sequence[By]) -> dict[str, Any]:
    return {
        **{name: getattr(one, name) for name in by},
        **{name: getattr(one, name) for name in FIELDS},
        "usd": _usd(one.nano_usd),
        "estimated_usd": _usd(one.estimated_nano_usd),
        "estimated_share": round(one.estimated_share, 4),
    }


def _usd(nano: int) -> Decimal:
    return Decimal(usd_in_words(nano))
