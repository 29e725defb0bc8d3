"""The windows of every account that has limits, found by the account's path.

Not here: what is configured (accounts), how one window counts (counted_window), who is granted what (budget).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

import attrs

from penstock.policy.accounts import AccountSpec, AccountTree, Limit, Shape, path_and_parents
from penstock.policy.counted_window import CountedWindow, WindowSnapshot
from penstock.policy.window import Per

__all__ = ["AccountSnapshot", "CountedAccounts"]

_Figures: TypeAlias = tuple[int | None, int | None]
"""A limit in tokens and one in nano-USD."""


@attrs.frozen
class AccountSnapshot:
    """The limited windows of one account. The root's path is ""."""

    account: str
    windows: tuple[WindowSnapshot, ...]


class CountedAccounts:
    """Windows by account. They are made on first use, and forgotten only where nothing is counted in them."""

    # Accounts made from patterns can be as many as there are users: the idle ones are dropped as their number doubles.
    _MOST_IDLE = 1_024

    def __init__(self, accounts: Sequence[AccountSpec]) -> None:
        self.tree = AccountTree(accounts)
        self._windows: dict[str, dict[Shape, CountedWindow]] = {}
        # Found anew when windows go or change: those on the paths of accounts, declared or not, that were asked for.
        self._paths: dict[str, tuple[CountedWindow, ...]] = {}
        self._sweep_at = self._MOST_IDLE
        for path in self.tree.declared:
            self._declare(path)

    def on_path(self, account: str, now: float) -> tuple[CountedWindow, ...]:
        """The windows of the account and its parents, as of `now`."""
        if len(self._windows) >= self._sweep_at:
            self._drop_idle(now)
        windows = self._paths.get(account)
        if windows is None:
            windows = self._found(account)
        for window in windows:
            if window.buckets and window.buckets[0].end <= now:
                window.advance(now)
        return windows

    def reconfigure(self, tree: AccountTree, in_use: Iterable[str], now: float) -> list[CountedWindow]:
        """Other limits over what is counted; returns the windows that are new. `in_use`: accounts that have holds.

        A window goes on where period, zone and kind stay the same. Where it is no longer declared it goes on counting
        without a limit, in case it comes back. A new one begins with what the account's other windows of the same
        period have spent.
        """
        old = {window for windows in self._windows.values() for window in windows.values()}
        self.tree = tree
        self._paths.clear()
        paths = dict.fromkeys([*self._windows, *tree.declared])
        paths.update((path, None) for account in in_use for path in path_and_parents(account))
        for path in paths:
            self._declare(path)
        new = [window for windows in self._windows.values() for window in windows.values() if window not in old]
        for window in new:
            window.take_over(self._windows[window.account].values(), now)
        return new

    def snapshot(self, now: float) -> Mapping[str, AccountSnapshot]:
        """Every account with limited windows, by path."""
        snapshots: dict[str, AccountSnapshot] = {}
        for path, windows in self._windows.items():
            limited = [window for window in windows.values() if window.limited]
            for window in limited:
                window.advance(now)
            if limited:
                snapshots[path] = AccountSnapshot(path, tuple(window.snapshot() for window in limited))
        return snapshots

    def _found(self, account: str) -> tuple[CountedWindow, ...]:
        windows: list[CountedWindow] = []
        for path in path_and_parents(account):
            known = self._windows.get(path)
            windows.extend((self._declare(path) if known is None else known).values())
        if len(self._paths) >= self._MOST_IDLE:
            self._paths.clear()
        return self._paths.setdefault(account, tuple(windows))

    def _declare(self, path: str) -> Mapping[Shape, CountedWindow]:
        """Gives the account's windows the limits of its spec, and makes those that are missing."""
        spec = self.tree.spec_of(path)
        windows = self._windows.get(path, {})
        limits = _window_limits(spec.limits if spec else ())
        soft = spec.soft if spec else None
        for shape in {**windows, **limits}:
            window = windows.setdefault(shape, CountedWindow(path, shape))
            window.set_limits(*limits.get(shape, (None, None)), soft)
        if windows:
            self._windows[path] = windows
        return windows

    def _drop_idle(self, now: float) -> None:
        self._paths.clear()
        for path, windows in list(self._windows.items()):
            for window in windows.values():
                window.advance(now)
            if path not in self.tree.declared and not any(window.buckets for window in windows.values()):
                del self._windows[path]
        self._sweep_at = max(self._MOST_IDLE, 2 * len(self._windows))


def _window_limits(limits: Iterable[Limit]) -> dict[Shape, _Figures]:
    """The limits over windows; the smaller where two of them count over the same ones."""
    shapes: dict[Shape, _Figures] = {}
    for limit in limits:
        if limit.per is not Per.REQUEST:
            tokens, nano_usd = shapes.get(limit.shape, (None, None))
            shapes[limit.shape] = (_smaller(tokens, limit.tokens), _smaller(nano_usd, limit.nano_usd))
    return shapes


def _smaller(one: int | None, other: int | None) -> int | None:
    return min((figure for figure in (one, other) if figure is not None), default=None)
