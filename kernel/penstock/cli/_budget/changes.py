"""`penstock budget set`, `reset` and `release`: what is done by hand, and kept in the history with its time.

Not here: what a change does (`policy.ledger_book`), and which windows there are (`lines`).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import attrs
import click

from penstock._config import Config
from penstock._nearest import did_you_mean, nearest
from penstock.abc import LedgerStore
from penstock.cli._account import account_argument, check_account, shown_account
from penstock.cli._budget.lines import (
    Wanted,
    known_accounts,
    limit_of,
    windows_of,
    words_of,
)
from penstock.cli._budget.opening import config_option, find_config, with_ledger, with_ledger_there
from penstock.cli._exits import FAILED, OK
from penstock.cli._tell import tell
from penstock.cli._words import plain
from penstock.policy.account_window import AccountWindow
from penstock.policy.account_windows import AccountWindows
from penstock.policy.ledger_steps import Change, Changed, Release, Stale
from penstock.policy.money import nano_from_usd, usd_in_words

__all__ = ["confirm", "confirming", "release", "reset", "set_limit"]

PERIODS = ("minute", "hour", "day", "month")
MOST_STALE = 5
"""Windows end while a change is on its way: once is chance, and five times a clock that is broken."""


def _nano_usd(_: click.Context, __: click.Parameter, value: str | None) -> int | None:
    """An amount as it is typed."""
    if value is None:
        return None
    try:
        return nano_from_usd(value.removeprefix("$"))
    except ValueError as error:
        raise click.BadParameter(f"{error}.") from None


def _limit_in_nano_usd(context: click.Context, parameter: click.Parameter, value: str | None) -> int | None:
    """A limit as it is typed: as in the configuration, one of nothing is a slip."""
    limit = _nano_usd(context, parameter, value)
    if limit == 0:
        raise click.BadParameter("a limit must be more than 0; 0.000000001, the least there is, lets nothing through.")
    return limit


def _choosing(command: Callable[..., int]) -> Callable[..., int]:
    """The options that say which windows of an account are meant."""
    for option in (
        click.option("--rolling/--calendar", default=None, help="The one that rolls, or the calendar's."),
        click.option("--timezone", metavar="ZONE", help="The one of that time zone, where there are several."),
        click.option("--per", type=click.Choice(PERIODS), help="The period."),
    ):
        command = option(command)
    return command


def confirming(command: Callable[..., int]) -> Callable[..., int]:
    """The option of whoever has made up his mind."""
    return click.option("-y", "--yes", is_flag=True, help="Do not ask first. In a pipe nobody is asked.")(command)


@click.command("set", short_help="Set a limit, or what counts as spent, by hand.")
@click.argument("account", callback=account_argument)
@_choosing
@click.option("--usd", "limit_usd", callback=_limit_in_nano_usd, metavar="USD", help="The limit in USD.")
@click.option("--tokens", "limit_tokens", type=click.IntRange(min=1), help="The limit in tokens.")
@click.option("--spent-usd", callback=_nano_usd, metavar="USD", help="What counts as spent, in USD.")
@click.option("--spent-tokens", type=click.IntRange(min=0), help="What counts as spent, in tokens.")
@click.option("--reason", default="", help="Kept in the history.")
@confirming
@config_option
def set_limit(account: str, *, reason: str, yes: bool, config_file: str | None, **told: Any) -> int:
    """Set the limit of one window of ACCOUNT, or what counts as spent in it, for all processes at once.

    A limit set by hand goes before the one of the configuration, also a later one, until `penstock budget reset`. It
    needs one to go before: a window that no configuration limits is not counted in. What is held stays held.

    \b
    Examples:
      penstock budget set / --usd 30 --reason "the quarter's end"
      penstock budget set team --per day --tokens 500000
      penstock budget set team --spent-usd 12.50 --reason "by the bill"

    \b
    Exit codes:
      0    set
      2    wrong usage or configuration
      3    the store does not answer
      130  not wanted after all
    """  # noqa: D301 - click reads the escape
    check_account(account)
    wanted = Wanted(per=told["per"], timezone=told["timezone"], rolling=told["rolling"])
    figures = {name: told[name] for name in ("limit_usd", "limit_tokens", "spent_usd", "spent_tokens")}
    if all(figure is None for figure in figures.values()):
        raise click.UsageError("Say what to set: --usd, --tokens, --spent-usd or --spent-tokens.")
    config = find_config(config_file)
    window = _the_one(config, account, wanted)
    _check_unit(window, "USD", figures["limit_usd"], window.limit_nano_usd)
    _check_unit(window, "tokens", figures["limit_tokens"], window.limit_tokens)
    confirm(f"Set {_in_words(figures)} of {shown_account(account)} per {words_of(window)}", yes=yes)
    change = _Changing(
        reason=reason,
        limit_tokens=figures["limit_tokens"],
        limit_nano_usd=figures["limit_usd"],
        spent_tokens=figures["spent_tokens"],
        spent_nano_usd=figures["spent_usd"],
    )
    return _tell_changes(with_ledger(config, lambda store: change.carry_out(store, [window])))


@click.command(short_help="Begin anew: nothing spent, and the configured limits.")
@click.argument("account", callback=account_argument)
@_choosing
@click.option("--reason", default="", help="Kept in the history.")
@confirming
@config_option
def reset(account: str, *, reason: str, yes: bool, config_file: str | None, **told: Any) -> int:
    """Take every window of ACCOUNT, or those that the options name, for empty, and forget limits set by hand.

    What calls in flight hold stays held. The accounts above and below keep what they have spent.

    \b
    Examples:
      penstock budget reset team
      penstock budget reset / --per day --reason "a runaway job, paid otherwise"

    \b
    Exit codes:
      0    done
      2    wrong usage or configuration
      3    the store does not answer
      130  not wanted after all
    """  # noqa: D301 - click reads the escape
    check_account(account)
    wanted = Wanted(per=told["per"], timezone=told["timezone"], rolling=told["rolling"])
    config = find_config(config_file)
    # Those that only the store knows of, too: their limits may have gone from the configuration.
    windows = with_ledger_there(config, lambda store: _known_windows(store, config, account))
    chosen = [window for window in windows if wanted.takes(window.shape)]
    if not chosen:
        raise click.UsageError(_no_window(account, windows, config))
    names = " and ".join(words_of(window) for window in chosen)
    confirm(f"Reset what {shown_account(account)} has spent per {names}, and its limits to those configured", yes=yes)
    change = _Changing(reason=reason, reset=True)
    return _tell_changes(with_ledger(config, lambda store: change.carry_out(store, chosen)))


@click.command(short_help="Charge a hold whose call is known to be over.")
@click.argument("hold")
@click.option("--reason", required=True, help="Kept in the history.")
@confirming
@config_option
def release(hold: str, *, reason: str, yes: bool, config_file: str | None) -> int:
    """Charge HOLD in full, as if its lease had ended: nothing is held by it any more. `show --holds` names them.

    Leases do the same by themselves, a minute after a process has died. Where its call lives after all, it stays
    charged, whatever is renewed, and the truth takes the place of the charge when it is settled.

    \b
    Examples:
      penstock budget release 3f9a2c1b-12 --reason "its machine is gone"

    \b
    Exit codes:
      0    released
      1    there is no such hold
      2    wrong usage or configuration
      3    the store does not answer
      130  not wanted after all
    """  # noqa: D301 - click reads the escape
    config = find_config(config_file)
    confirm(f"Charge hold {hold} in full", yes=yes)

    async def carry_out(store: LedgerStore) -> tuple[Changed | None, list[str]]:
        landed = await store.commit([Release(hold, reason)])
        answer = landed.answers[0]
        if isinstance(answer, Changed):
            return answer, []
        return None, [row.hold_id for row in await store.holds()]

    changed, others = with_ledger_there(config, carry_out)
    if changed is None:
        tell(f"there is no hold {hold}{did_you_mean(hold, others, ids=True)}; settled holds are gone")
        return FAILED
    return _tell_changes([(hold, changed)])


@attrs.frozen(kw_only=True)
class _Changing:
    """What is to be done to windows."""

    reason: str
    reset: bool = False
    limit_tokens: int | None = None
    limit_nano_usd: int | None = None
    spent_tokens: int | None = None
    spent_nano_usd: int | None = None

    async def carry_out(self, store: LedgerStore, windows: Sequence[AccountWindow]) -> list[tuple[str, Changed]]:
        """Does it, at the time of the store. Raises click.ClickException where that runs away."""
        now = (await store.commit([])).now
        left, done = list(windows), list[tuple[str, Changed]]()
        for _ in range(MOST_STALE):
            landed = await store.commit([self._step(window, now) for window in left])
            now, again = landed.now, list[AccountWindow]()
            for window, answer in zip(left, landed.answers, strict=True):
                if isinstance(answer, Changed):
                    done.append((f"{shown_account(window.account)} per {words_of(window)}", answer))
                elif isinstance(answer, Stale):
                    again.append(window)
            left = again
            if not left:
                return done
        raise click.ClickException("the clock of the store runs ahead of every window; nothing can be changed in them")

    def _step(self, window: AccountWindow, now: float) -> Change:
        return Change(
            account=window.account,
            window=window.use(now),
            limit_tokens=self.limit_tokens,
            limit_nano_usd=self.limit_nano_usd,
            spent_tokens=self.spent_tokens,
            spent_nano_usd=self.spent_nano_usd,
            reset=self.reset,
            reason=self.reason,
        )


async def _known_windows(store: LedgerStore, config: Config, account: str) -> list[AccountWindow]:
    rows = await store.windows()
    return windows_of(AccountWindows(config.budget.accounts), account, [row.key for row in rows])


def _the_one(config: Config, account: str, wanted: Wanted) -> AccountWindow:
    """The window that is meant. Raises click.UsageError where it is none, or not the only one."""
    limited = [window for window in AccountWindows(config.budget.accounts).own(account) if window.limited]
    found = [window for window in limited if wanted.takes(window.shape)]
    if len(found) == 1:
        return found[0]
    if not found:
        raise click.UsageError(_no_window(account, limited, config))
    names = ", ".join(words_of(window) for window in found)
    raise click.UsageError(f"{shown_account(account)} has {names}; say which: --per, --timezone, --rolling.")


def _no_window(account: str, windows: Sequence[AccountWindow], config: Config) -> str:
    if not windows:
        near = nearest(account, known_accounts(config.budget.accounts, (), ()) - {account, ""})
        return (
            f"{shown_account(account)} has no limit over a window in the configuration, so calls are not counted there;"
            f" give it one, and reload.{f' Did you mean {near!r}?' if near else ''}"
        )
    names = ", ".join(limit_of(window) for window in windows)
    return f"{shown_account(account)} has no such window; it has {names}."


def _check_unit(window: AccountWindow, unit: str, wanted: int | None, configured: int | None) -> None:
    """A call asks only for units that its configuration limits: another would be obeyed by halves."""
    if wanted is not None and configured is None:
        raise click.UsageError(
            f"{shown_account(window.account)} has no limit in {unit} per {words_of(window)} in the configuration, and a"
            " limit by hand needs one to go before."
        )


def _in_words(figures: dict[str, int | None]) -> str:
    words: list[str] = []
    for kind, says in (("limit", "the limit"), ("spent", "what is spent")):
        usd, tokens = figures[f"{kind}_usd"], figures[f"{kind}_tokens"]
        amounts = [] if usd is None else [f"{usd_in_words(usd)} USD"]
        amounts += [] if tokens is None else [f"{tokens:,} tokens"]
        if amounts:
            words.append(f"{says} to {' and '.join(amounts)}")
    return " and ".join(words)


def confirm(question: str, *, yes: bool) -> None:
    """Asks whoever sits there; a pipe has nobody to ask."""
    if not yes and sys.stdin.isatty():
        click.confirm(plain(f"{question}?"), abort=True, err=True)


def _tell_changes(changes: Sequence[tuple[str, Changed]]) -> int:
    for whose, changed in changes:
        click.echo(plain(f"{whose}: {changed.before} -> {changed.after}"))
    return OK
