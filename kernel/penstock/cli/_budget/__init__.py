"""`penstock budget`: what a ledger holds, changed by hand where need be, and what was spent on whom.

Works beside running apps, on the store that they share. Not here: the subcommands, each in a file of its own.
"""

from __future__ import annotations

import click

from penstock.cli._budget.changes import release, reset, set_limit
from penstock.cli._budget.clock import clock
from penstock.cli._budget.history import history
from penstock.cli._budget.report import report
from penstock.cli._budget.show import show
from penstock.cli._utf8 import TextGroup

__all__ = ["budget"]


@click.group(cls=TextGroup, short_help="See and change what accounts may spend, and report what they spent.")
def budget() -> None:
    """See and change what accounts may spend, beside running apps, and report what they spent.

    An account is named as in calls, such as team/search; the root is "/" (an account named root is another one).

    \b
    Examples:
      penstock budget show
      penstock budget set team --per day --usd 30 --reason "the quarter's end"
      penstock budget report --by account --from 2026-11-01 --to 2026-11-30
    """  # noqa: D301 - click reads the escape


for command in (show, set_limit, reset, release, history, report, clock):
    budget.add_command(command)
