"""`penstock budget clock`: the ledger's clock beside this machine's, and set back where it ran ahead.

Not here: what that does to windows and holds (the stores).
"""

from __future__ import annotations

import time

import click

from penstock.cli._budget.changes import confirm, confirming
from penstock.cli._budget.opening import config_option, find_config, with_ledger, with_ledger_there
from penstock.cli._exits import FAILED, OK
from penstock.cli._tell import tell
from penstock.cli._words import span
from penstock.policy.window import time_in_words

__all__ = ["clock"]

CLOSE = 5.0
"""Seconds by which a clock is no other one."""


@click.command(short_help="The ledger's clock; set it back where it ran ahead.")
@click.option("--set-back", is_flag=True, help="Take the time of now for the ledger's.")
@click.option("--reason", default="", help="Kept in the history.")
@confirming
@config_option
def clock(*, set_back: bool, reason: str, yes: bool, config_file: str | None) -> int:
    """Show the clock of the ledger. It never goes back by itself, so that no window is opened twice: where a machine's
    clock once ran far ahead, it stands still until then, and so do all windows.

    With --set-back it is set to the time of now; set the machine's clock right first, and end the apps that use the
    ledger (they refuse calls until they are started anew). What was spent in the windows of the time ahead counts in
    those of now, what is held is charged in full. Of what was spent before the clock ran ahead nothing may be left:
    `penstock budget set ACCOUNT --spent-usd` says it anew.

    \b
    Examples:
      penstock budget clock
      penstock budget clock --set-back --reason "the machine came up in 2036"

    \b
    Exit codes:
      0    shown, or set back
      1    this store's clock cannot be set back
      2    wrong usage or configuration, or no ledger yet
      3    the store does not answer
      130  not wanted after all
    """  # noqa: D301 - click reads the escape
    config = find_config(config_file)
    # An empty batch would take this machine's time for the ledger's, where that is the later one: as every call does.
    ahead = with_ledger_there(config, lambda store: store.commit([])).now - time.time()
    if not set_back:
        if ahead > CLOSE:
            at = time_in_words(time.time() + ahead)
            click.echo(f"The ledger's clock stands {span(ahead)} ahead of this machine's, at {at}.")
            click.echo("Until then no window ends. --set-back sets it to the time of now.")
        else:
            click.echo(f"The ledger's clock is this machine's: {time_in_words(time.time())}.")
        return OK
    confirm(f"Set the ledger's clock back by {span(max(0.0, ahead))}, and charge all that is held", yes=yes)
    done = with_ledger(config, lambda store: store.set_clock_back(reason))
    if done is None:
        tell(f"the store {config.ledger.store!r} has no clock that can be set back")
        return FAILED
    if done.before == done.after:
        click.echo("The ledger's clock had not run ahead; nothing was changed.")
        return OK
    click.echo(f"{time_in_words(done.before)} -> {time_in_words(done.after)}")
    return OK
