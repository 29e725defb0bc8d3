"""What is told of limits while money and tokens are charged: shares that are spent, accounts that degrade, overruns.

Not here: hard limits, which refuse (`ledger_room`).
"""

from __future__ import annotations

from penstock.policy.account_window import AccountWindow
from penstock.policy.account_windows import AccountWindows
from penstock.policy.holds import BudgetEvent, Degraded, NotBooked, Overrun, SoftLimitReached
from penstock.policy.ledger_steps import Charged, Settle, Turn

__all__ = ["SoftLimits"]

MOST_TOLD = 10_000
"""Windows of which it is remembered that a soft limit was told."""


class SoftLimits:
    """Those of the accounts of one process. Each share is told once, until less than it is spent."""

    def __init__(self, windows: AccountWindows) -> None:
        self._windows = windows
        self._told: dict[str, frozenset[tuple[str, float]]] = {}
        """Of each window the shares, by unit, of which it was told that they are spent."""
        self._events: list[BudgetEvent] = []

    def take_events(self) -> list[BudgetEvent]:
        """What is to be told since it was last asked, in order."""
        events, self._events = self._events, []
        return events

    def not_booked(self, step: Settle) -> None:
        """The store cannot keep the charge."""
        self._events.append(NotBooked(step.account, step.hold_id, step.charged))

    def charged(self, step: Settle, answer: Charged, now: float) -> None:
        """The charge is booked."""
        if not (step.windows or step.charged.fits(answer.held)) and self._windows.is_limited(step.account):
            self._events.append(Overrun(step.account, step.hold_id, answer.held, step.charged))
        if not step.turns:
            return
        own = {window.key: window for window in self._windows.on_path(step.account)}
        for turn in answer.windows:
            window = own.get(turn.key)
            if window is None:
                continue
            self._degrade(window, turn, now)
            if not window.soft:
                continue
            exceeded, before = window.softly_exceeded(turn, turn.after), window.softly_exceeded(turn, turn.before)
            told = self._told.pop(turn.key, frozenset())
            for mark, words in exceeded.items():
                # What fell below the share, in a new window or by a larger limit, is told again when it comes back.
                if mark not in told or mark not in before:
                    self._events.append(SoftLimitReached(window.account, words, turn.after, mark[1], turn.ends_at))
            if exceeded:
                if len(self._told) >= MOST_TOLD:
                    del self._told[next(iter(self._told))]
                self._told[turn.key] = frozenset(exceeded)

    def _degrade(self, window: AccountWindow, turn: Turn, now: float) -> None:
        """From so much spent on, calls of the account go another way; told once, until less of it is."""
        degrade, degraded = window.degrade, self._windows.degraded
        exceeded = window.exceeded(turn, degrade.at) if degrade else []
        if degrade is None or not exceeded:
            degraded.pop(turn.key, None)
            return
        if degraded.get(turn.key, now) <= now:
            words = " and ".join(exceeded)
            told = Degraded(window.account, words, turn.after, degrade.at, degrade.route, turn.ends_at)
            self._events.append(told)
            if len(degraded) >= MOST_TOLD:
                del degraded[next(iter(degraded))]
        degraded[turn.key] = turn.ends_at
