"""The upstream's own books: what it was asked, what it answered, and which tokens it would bill.

Not here: anything of penstock's books; the two are held side by side, so they share no code. Input is booked once
a request was read whole, output when it was written, whether or not a fault follows. What is refused (4xx) or never
arrived costs nothing, as with real providers.
"""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from msgspec import Struct

from penstock_plugins.rehearsal.script import WireName

__all__ = ["Account", "Ledger", "Served", "Statistics"]


class Account(NamedTuple):
    """Whom the tokens are counted for. `key` is a label, not the key."""

    wire: WireName
    model: str
    key: str


class Served(Struct, frozen=True, kw_only=True):
    """Counts of one account, or sums of several."""

    requests: int = 0
    """Read whole and understood."""
    refused: int = 0
    """Answered with 4xx, or not at all because the connection was refused."""
    completed: int = 0
    """Successes that were written to their end."""
    input_tokens: int = 0
    output_tokens: int = 0

    def __add__(self, other: Served) -> Served:
        return Served(**{name: getattr(self, name) + getattr(other, name) for name in self.__struct_fields__})


class Statistics(Struct, frozen=True, kw_only=True):
    """A moment of the books."""

    accounts: tuple[tuple[Account, Served], ...] = ()
    statuses: tuple[tuple[int, int], ...] = ()
    """How many heads of each status were written, in the order of statuses."""
    faults: tuple[tuple[str, int], ...] = ()
    """How often each fault struck, by name."""
    in_flight: int = 0
    most_in_flight: int = 0

    def served(self, *, wire: WireName | None = None, model: str | None = None, key: str | None = None) -> Served:
        """The sum over the accounts that fit."""
        wanted = (wire, model, key)
        fitting = (served for account, served in self.accounts if _fits(account, wanted))
        return sum(fitting, Served())

    def status(self, code: int) -> int:
        """How many heads of that status were written."""
        return dict(self.statuses).get(code, 0)

    def fault(self, name: str) -> int:
        """How often the fault of that name struck."""
        return dict(self.faults).get(name, 0)


class Ledger:
    """Counts as things happen; `statistics` is a copy."""

    def __init__(self) -> None:
        self._accounts: dict[Account, Served] = {}
        self._statuses: Counter[int] = Counter()
        self._faults: Counter[str] = Counter()
        self._in_flight = 0
        self._most_in_flight = 0

    def enter(self) -> int:
        """A request was read whole; returns how many are in flight with it."""
        self._in_flight += 1
        self._most_in_flight = max(self._most_in_flight, self._in_flight)
        return self._in_flight

    def leave(self) -> None:
        """Its exchange is over."""
        self._in_flight -= 1

    def book(self, account: Account, more: Served) -> None:
        """Adds to an account."""
        self._accounts[account] = self._accounts.get(account, Served()) + more

    def count_status(self, status: int) -> None:
        """A head was written."""
        self._statuses[status] += 1

    def count_fault(self, name: str) -> None:
        """A fault struck."""
        self._faults[name] += 1

    def statistics(self) -> Statistics:
        """The books as they are now."""
        return Statistics(
            accounts=tuple(sorted(self._accounts.items())),
            statuses=tuple(sorted(self._statuses.items())),
            faults=tuple(sorted(self._faults.items())),
            in_flight=self._in_flight,
            most_in_flight=self._most_in_flight,
        )


def _fits(account: Account, wanted: tuple[str | None, ...]) -> bool:
    return all(want in (None, have) for have, want in zip(account, wanted, strict=True))
