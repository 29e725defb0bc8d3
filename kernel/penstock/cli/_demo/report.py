"""The last screen of the demo: the picture, every call, and the two ledgers side by side.

Not here: whether they agree (`verdict`).
"""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from penstock.cli._demo.picture import PICTURED
from penstock.cli._demo.run import Books
from penstock.cli._demo.scenario import Scenario
from penstock.cli._demo.verdict import LedgerLine, Verdict
from penstock.cli._demo.view import draw_picture
from penstock.cli._words import tokens
from penstock.policy.money import usd

__all__ = ["report"]

WIDTH = 80


def report(console: Console, scenario: Scenario, books: Books, verdict: Verdict) -> None:
    """Prints it; fits 80 columns."""
    console.print(Text(PICTURED, "bold"))
    console.print(draw_picture(scenario, books.tally, unicode=not console.options.ascii_only))
    console.print(_endings(verdict))
    console.print()
    console.print(_ledgers(verdict))
    console.print(Text(_explanation(verdict), "dim"), width=min(console.width, WIDTH))
    console.print(Text(_spending(books)))
    console.print()
    for complaint in verdict.complaints:
        console.print(Text(f"WRONG: {complaint}.", "bold red"))
    if not verdict.complaints:
        console.print(Text(_praise(books, verdict), "green"))


def _endings(verdict: Verdict) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False, title="Every call", title_justify="left")
    table.title_style = "bold"
    table.add_column(width=58, overflow="fold")
    table.add_column(justify="right")
    for words, count in verdict.endings:
        table.add_row(words, tokens(count))
    table.add_section()
    table.add_row("all together", tokens(sum(count for _, count in verdict.endings)), style="bold")
    return table


def _ledgers(verdict: Verdict) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", title="Two ledgers", title_justify="left")
    table.title_style = "bold"
    table.add_column("target")
    for column in ("attempts", "no bill", "tokens booked", "served", "USD booked", "served"):
        table.add_column(column, justify="right")
    for line in verdict.lines:
        table.add_row(*_cells(line))
    table.add_row(*_cells(verdict.whole), style="bold")
    return table


def _cells(line: LedgerLine) -> tuple[str, ...]:
    return (
        line.name,
        tokens(line.attempts),
        tokens(line.unbilled),
        tokens(line.booked_tokens),
        tokens(line.served_tokens),
        f"{usd(line.booked_nano):.4f}",
        f"{usd(line.served_nano):.4f}",
    )


def _explanation(verdict: Verdict) -> str:
    whole = verdict.whole
    return (
        "Booked is what penstock charged to the budgets, served is what the upstream counted for itself."
        f" {whole.unbilled} attempts ended without a bill (5xx, silence, cut streams): for each of them the most"
        " that it can have cost is booked, so booked is never less than served."
    )


def _spending(books: Books) -> str:
    spent = (f"{path} ${usd(nano):.4f} of ${usd(limit):.4f}" for path, (nano, limit) in books.accounts.items())
    return f"Budgets: {', '.join(spent)}."


def _praise(books: Books, verdict: Verdict) -> str:
    tally = books.tally
    answered = sum(tally.count(sort) for sort in ("answered", "cached", "shared"))
    return (
        f"{tokens(tally.struck)} of {tokens(verdict.whole.attempts)} attempts failed upstream,"
        f" {tokens(tally.count('failed'))} of {tokens(verdict.total)} calls did.\n"
        f"All {tokens(verdict.total)} calls are accounted for, and none of {tokens(answered)} answers lacks a letter."
        f" {books.elapsed:.1f} s."
    )
