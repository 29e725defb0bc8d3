"""An account as it is typed and shown: the root is "/", for an empty word is easily lost on a command line."""

from __future__ import annotations

import click

from penstock.cli._words import escaped
from penstock.policy.account_paths import check_path, is_pattern

__all__ = ["ROOT", "account_argument", "check_account", "shown_account"]

ROOT = "/"


def account_argument(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    """The path that was typed. Raises click.UsageError where it is none."""
    return None if value is None else _checked("" if value == ROOT else value)


def check_account(account: str) -> str:
    """The path of one account. Raises click.UsageError where it is none, or a pattern."""
    _checked(account)
    if is_pattern(account):
        raise click.UsageError(f"{account} is a pattern for many accounts, each with limits of its own; name one.")
    return account


def shown_account(account: str) -> str:
    """As the command takes it, on one line."""
    return escaped(account) or ROOT


def _checked(account: str) -> str:
    try:
        check_path(account)
    except ValueError as error:
        raise click.UsageError(f'{error} (for the command "/")') from None
    return account
