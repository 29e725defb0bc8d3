"""The windows of accounts beside what a store shows of them: what there is to see, and which one is meant. Pure.

Not here: printing, and the store.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import attrs

from penstock.policy.account_window import AccountWindow, WindowSnapshot, window_of
from penstock.policy.account_windows import AccountWindows
from penstock.policy.accounts import AccountSpec, Shape, describe_limit
from penstock.policy.ledger_steps import HoldRow, WindowRow
from penstock.policy.window import Per

__all__ = [
    "AccountLine",
    "Wanted",
    "account_lines",
    "key_in_words",
    "known_accounts",
    "limit_of",
    "windows_of",
    "words_of",
]


@attrs.frozen
class AccountLine:
    """One window of one account."""

    account: str
    window: WindowSnapshot
    by_hand: bool
    """A limit of it was set by hand, and goes before the configured one."""
    limited: bool


@attrs.frozen(kw_only=True)
class Wanted:
    """Which windows of an account are meant; None: whatever it has."""

    per: str | None = None
    timezone: str | None = None
    rolling: bool | None = None

    def takes(self, shape: Shape) -> bool:
        """True where a window of that shape is meant."""
        per, zone, rolling = shape
        return (
            (self.per is None or per is Per(self.per))
            and (self.timezone is None or (zone == self.timezone and not rolling))
            and (self.rolling is None or rolling is self.rolling)
        )


def account_lines(
    accounts: Sequence[AccountSpec], rows: Iterable[WindowRow], *, below: str | None = None
) -> list[AccountLine]:
    """All windows that have a limit, or something in them; with `below` those of that account and its subtree."""
    known = AccountWindows(accounts)
    by_key = {row.key: row for row in rows}
    paths = {*known.tree.declared, *(window_of(key)[0] for key in by_key)}
    lines: list[AccountLine] = []
    for path in sorted(paths):
        if below and path != below and not path.startswith(f"{below}/"):
            continue
        for window in windows_of(known, path, by_key):
            line = _line(window, by_key.get(window.key))
            if line.limited or _counts(line.window):
                lines.append(line)
    return lines


def windows_of(known: AccountWindows, account: str, rows: Iterable[str]) -> list[AccountWindow]:
    """The windows of an account: those that are configured, and those that the store has a row of."""
    windows = {window.key: window for window in known.own(account)}
    for key in rows:
        path, shape = window_of(key)
        if path == account and key not in windows:
            windows[key] = AccountWindow(account, shape, None, None)
    return list(windows.values())


def known_accounts(accounts: Sequence[AccountSpec], rows: Iterable[WindowRow], holds: Iterable[HoldRow]) -> set[str]:
    """Those that are declared, patterns left out, or have something in the store."""
    declared = {spec.path for spec in accounts if "*" not in spec.path.split("/")}
    return declared | {window_of(row.key)[0] for row in rows} | {hold.account for hold in holds}


def words_of(window: AccountWindow | WindowSnapshot) -> str:
    """A window in words: "day (Europe/Berlin)"."""
    if isinstance(window, AccountWindow):
        per, zone, rolling = window.shape
        return _words(per.value, zone, rolling=rolling)
    return _words(window.per, window.timezone, rolling=window.rolling)


def key_in_words(key: str) -> str:
    """The same of a store's name for a window."""
    per, zone, rolling = window_of(key)[1]
    return _words(per.value, zone, rolling=rolling)


def limit_of(window: AccountWindow) -> str:
    """Its configured limit in words."""
    if not window.limited:
        return f"no limit per {words_of(window)}"
    return describe_limit(window.shape, tokens=window.limit_tokens, nano_usd=window.limit_nano_usd)


def _words(per: str, zone: str, *, rolling: bool) -> str:
    return f"{per} ({'rolling' if rolling else zone})"


def _line(window: AccountWindow, row: WindowRow | None) -> AccountLine:
    snapshot = window.snapshot(row)
    by_hand = row is not None and (row.limit_tokens, row.limit_nano_usd) != (None, None)
    limited = (snapshot.limit_tokens, snapshot.limit_nano_usd) != (None, None)
    return AccountLine(window.account, snapshot, by_hand, limited)


def _counts(window: WindowSnapshot) -> bool:
    return any(amount.tokens or amount.nano_usd for amount in (window.held, window.spent))
