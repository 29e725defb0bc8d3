"""Which windows a process asks a ledger store to adopt, and with which batch.

Not here: which may be new to the store (`AccountWindows`), and what they take over there (`ledger_adoption`).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

from penstock.policy.account_window import AccountWindow
from penstock.policy.account_windows import AccountWindows
from penstock.policy.accounts import AccountSpec
from penstock.policy.ledger_steps import Adopt, Reserve, Settle, Step, TopUp

__all__ = ["MOST_ADOPTIONS", "Adoptions"]

MOST_ADOPTIONS = 500
"""In one batch, beside those that its other steps need: a store is busy with so many for some hundredths of a second,
and a start with thousands of accounts keeps nobody waiting for longer."""


class Adoptions:
    """The windows that the store is to be told of before anything is counted in them."""

    def __init__(self, windows: AccountWindows, *, store_lives_on: bool) -> None:
        self._windows = windows
        self._waiting: dict[str, AccountWindow] = {}
        self._adopting = store_lives_on
        """Whether windows may be new to a store that has counted before: where it lives on, and after a reload."""
        if store_lives_on:
            # It may have counted the same period otherwise: by another configuration.
            self._add(windows.declared())

    def __bool__(self) -> bool:
        """True while any waits for a batch."""
        return bool(self._waiting)

    def reconfigure(self, accounts: Sequence[AccountSpec], in_use: Iterable[str]) -> None:
        """Other accounts and limits: `AccountWindows.reconfigure`."""
        self._add(self._windows.reconfigure(accounts, in_use))
        self._adopting = True

    def again(self, step: Adopt) -> None:
        """Nothing came of this one."""
        self._add(window for window in self._windows.own(step.account) if window.key == step.window.key)

    def before(self, steps: Sequence[Step], now: float) -> list[Step]:
        """What goes before these steps: for all that they count in, and for others while those are not too many.

        One whose turn comes later has as much to take over then, as if it had been configured a moment later.
        """
        first_used = self._windows.first_used
        if first_used:
            if self._adopting:
                self._add(first_used.values())
            first_used.clear()
        if not self._waiting:
            return []
        return [Adopt(window.account, window.use(now)) for window in self._taken_before(steps)]

    def _add(self, windows: Iterable[AccountWindow]) -> None:
        self._waiting.update((window.key, window) for window in windows)

    def _taken_before(self, steps: Sequence[Step]) -> list[AccountWindow]:
        waiting = self._waiting
        if len(waiting) <= MOST_ADOPTIONS:
            self._waiting = {}
            return list(waiting.values())
        count = [step.windows for step in steps if isinstance(step, Reserve | TopUp | Settle)]
        counted = dict.fromkeys(use.key for windows in count for use in windows)
        now = [waiting.pop(key) for key in counted if key in waiting]
        others = list(itertools.islice(waiting, max(0, MOST_ADOPTIONS - len(now))))
        return [*now, *[waiting.pop(key) for key in others]]
