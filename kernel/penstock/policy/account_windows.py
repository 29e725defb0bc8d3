"""Which windows an account counts in, with which limits, at a given time.

Not here: one of them (`account_window`), what is held and spent in them (a ledger store), what is declared (accounts).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

import attrs

from penstock.policy.account_paths import path_and_parents
from penstock.policy.account_window import AccountSnapshot, AccountWindow, window_end, window_of
from penstock.policy.accounts import (
    AccountSpec,
    AccountTree,
    Degrade,
    Shape,
    Shares,
)
from penstock.policy.former_windows import FormerWindows
from penstock.policy.ledger_steps import WindowRow, WindowUse
from penstock.policy.window import Per, rolling_period

__all__ = ["AccountWindows"]

MOST_PATHS = 16_384
"""Names of accounts come from callers: beyond so many all are worked out anew."""
MOST_FIRST_USED = 16_384
"""Windows of which it is remembered that they were used: beyond it they are taken for new once more."""


@attrs.frozen
class _Figure:
    """One limit of a window, in one unit."""

    most: int
    soft: Shares


@attrs.frozen
class _Figures:
    """What limits one window."""

    tokens: _Figure | None = None
    nano_usd: _Figure | None = None
    by_estimate: bool = False


_UNLIMITED = _Figures()


@attrs.define
class _Path:
    """What was worked out for one account."""

    windows: tuple[AccountWindow, ...]
    limited: bool
    tells: bool
    kin: tuple[AccountWindow, ...]
    """Those beside which the same account has others of the same period."""
    uses: tuple[WindowUse, ...] = ()
    until: float = -math.inf
    """`uses` are right up to and including this time, if they were worked out at one before it."""


class _Paths(dict[str, _Path]):
    """Those that were asked for: each is worked out where it is not known."""

    def __init__(self, worked_out: Callable[[str], _Path]) -> None:
        super().__init__()
        self._worked_out = worked_out

    def __missing__(self, account: str) -> _Path:
        path = self._worked_out(account)
        if len(self) >= MOST_PATHS:
            self.clear()
        self[account] = path
        return path


class AccountWindows:
    """The windows on the paths of accounts."""

    def __init__(self, accounts: Sequence[AccountSpec]) -> None:
        self.tree = AccountTree(accounts)
        self.degraded: dict[str, float] = {}
        """Windows of which so much is spent that their accounts go another way, until when at the latest."""
        self._paths = _Paths(self._path)
        self._former = FormerWindows()
        self._used: set[str] = set()
        self._live_until: dict[str, float] = {}
        """By key, of windows with kin: until when the last step of this process counts in them."""
        self._begin: dict[Shape, float] = {}
        """By shape, when its windows of the time at which these accounts were first asked for end."""
        self.first_used: dict[str, AccountWindow] = {}
        """By key: windows that are used for the first time with these accounts, until who owns these takes them out.
        The store may count the same period otherwise, by what was configured before, here or elsewhere."""

    def on_path(self, account: str) -> tuple[AccountWindow, ...]:
        """The windows of the account and its parents, the root's first. Raises ValueError where it is no path."""
        return self._paths[account].windows

    def is_limited(self, account: str) -> bool:
        """True where any window on the path has a limit."""
        return self._paths[account].limited

    def counts(self, account: str) -> bool:
        """True where any window on the path has a limit, or had one that may come back."""
        return bool(self.on_path(account))

    def is_soft(self, account: str) -> bool:
        """True where somebody wants to be told of a share that is spent, or goes another way then."""
        return self._paths[account].tells

    def route_instead(self, account: str, now: float) -> str | None:
        """The route that calls of the account go instead of their own, by the nearest account that has spent so much.

        As this process was last told: by its own charges, which say what all have spent.
        """
        if not self.degraded:
            return None
        for window in reversed(self.on_path(account)):
            if window.degrade is not None and self.degraded.get(window.key, now) > now:
                return window.degrade.route
        return None

    def uses(self, account: str, now: float) -> tuple[WindowUse, ...]:
        """How a step at `now` counts on that path. `now` does not go back. Enters `first_used`."""
        path = self._paths[account]
        if now > path.until:
            if path.until == -math.inf:
                self._use_first(path.windows, now)
            path.uses = tuple([window.use(now) for window in path.windows])
            if path.kin:
                self._use_again(path.kin, now)
            path.until = min(map(_lasts, path.uses), default=math.inf)
        return path.uses

    def foreseen_uses(self, account: str, now: float) -> tuple[WindowUse, ...]:
        """The same for who only looks."""
        return tuple([window.use(now) for window in self.on_path(account)])

    def own(self, account: str) -> tuple[AccountWindow, ...]:
        """The windows of that account alone."""
        spec = self.tree.spec_of(account)
        limits = _window_limits(spec)
        shapes = dict.fromkeys((*limits, *self._former.shapes_of(account)))
        degrade = spec.degrade if spec else None
        return tuple([_window(account, shape, limits.get(shape, _UNLIMITED), degrade) for shape in shapes])

    def known_keys(self) -> list[str]:
        """The windows of all accounts that are declared or were asked for, while they are remembered."""
        keys = {window.key: None for window in self.declared()}
        for path in self._paths.values():
            keys.update((window.key, None) for window in path.windows)
        return list(keys)

    def declared(self) -> Iterable[AccountWindow]:
        """The windows of all accounts that are spelled out in the configuration."""
        for account in self.tree.declared:
            yield from self.own(account)

    def reconfigure(self, accounts: Sequence[AccountSpec], in_use: Iterable[str]) -> list[AccountWindow]:
        """Other accounts and limits; returns the windows that may be new. `in_use`: accounts that have holds.

        A window goes on where period, zone and kind stay the same. Where it is no longer declared it goes on counting
        without a limit, in case it comes back.
        """
        known = dict.fromkeys((*self.tree.declared, *self._former.paths))
        known.update((path, None) for account in (*self._paths, *in_use) for path in path_and_parents(account))
        before = {path: {window.shape for window in self.own(path)} for path in known}
        tree = AccountTree(accounts)
        self._former.replaced(self.tree, tree)
        self.tree = tree
        self._paths.clear()
        self._used.clear()
        self._live_until.clear()
        self._begin.clear()
        known.update(dict.fromkeys(self.tree.declared))
        return [window for path in known for window in self.own(path) if window.shape not in before.get(path, ())]

    def snapshot(
        self, rows: Iterable[WindowRow], asked: Collection[str] | None = None
    ) -> Mapping[str, AccountSnapshot]:
        """Every account with limited windows that is declared or has a row, by path.

        `asked`: the windows that the rows were asked for; of accounts with others nothing is known, and they are left
        out. None: all.
        """
        by_key = {row.key: row for row in rows}
        paths = dict.fromkeys([*self.tree.declared, *(window_of(key)[0] for key in by_key)])
        snapshots: dict[str, AccountSnapshot] = {}
        for path in paths:
            limited = [window for window in self.own(path) if window.limited]
            if limited and (asked is None or all(window.key in asked for window in limited)):
                windows = tuple([window.snapshot(by_key.get(window.key)) for window in limited])
                snapshots[path] = AccountSnapshot(path, windows)
        return snapshots

    def _use_first(self, windows: Iterable[AccountWindow], now: float) -> None:
        """Notes windows of which it is not known whether they were used with these accounts.

        Once the one of the time at which these accounts were first asked for is over, a window begins with nothing.
        """
        for window in windows:
            if window.key not in self._used:
                begin = self._begin.get(window.shape)
                if begin is None:
                    begin = self._begin[window.shape] = window_end(window.shape, now)
                if now < begin:
                    if len(self._used) >= MOST_FIRST_USED:
                        self._used.clear()
                    self._used.add(window.key)
                    self.first_used[window.key] = window

    def _use_again(self, windows: Iterable[AccountWindow], now: float) -> None:
        """Notes those in which nothing that this process counted is left: each is to begin anew.

        Others of its account and period count on, and another process that does not know of it yet may have counted in
        them alone since its span began.
        """
        for window in windows:
            if self._live_until.get(window.key, -math.inf) <= now:
                self.first_used[window.key] = window
            if len(self._live_until) >= MOST_FIRST_USED:
                self._live_until.clear()
            self._live_until[window.key] = window_end(window.shape, now)

    def _path(self, account: str) -> _Path:
        """Works it out, which is done once: every call asks for it three times."""
        self.tree.chain(account)  # raises where it is no path
        windows = [window for step in path_and_parents(account) for window in self.own(step)]
        limited = any(window.limited for window in windows)
        tells = any(window.soft or window.degrade is not None for window in windows)
        counted = Counter((window.account, window.shape[0]) for window in windows)
        kin = tuple([window for window in windows if counted[window.account, window.shape[0]] > 1])
        return _Path(tuple(windows), limited, tells, kin)


def _lasts(use: WindowUse) -> float:
    """Until when (included) a step counts in the same bucket."""
    return use.end - rolling_period(use.key.partition(":")[0]) if use.rolling else math.nextafter(use.end, -math.inf)


def _window(account: str, shape: Shape, limits: _Figures, degrade: Degrade | None) -> AccountWindow:
    tokens, nano_usd = limits.tokens, limits.nano_usd
    return AccountWindow(
        account,
        shape,
        None if tokens is None else tokens.most,
        None if nano_usd is None else nano_usd.most,
        () if tokens is None else tokens.soft,
        () if nano_usd is None else nano_usd.soft,
        degrade,
        limits.by_estimate,
    )


def _window_limits(spec: AccountSpec | None) -> dict[Shape, _Figures]:
    """The limits over windows; the smaller where two of them count over the same ones."""
    shapes: dict[Shape, _Figures] = {}
    if spec is None:
        return shapes
    for limit in spec.limits:
        if limit.per is not Per.REQUEST:
            soft = spec.soft if limit.soft is None else limit.soft
            known = shapes.get(limit.shape, _UNLIMITED)
            tokens = _smaller(known.tokens, limit.tokens, soft)
            nano_usd = _smaller(known.nano_usd, limit.nano_usd, soft)
            shapes[limit.shape] = _Figures(tokens, nano_usd, spec.measure(limit) == "estimate")
    return shapes


def _smaller(known: _Figure | None, most: int | None, soft: Shares) -> _Figure | None:
    if most is None or (known is not None and known.most <= most):
        return known
    return _Figure(most, soft)
