"""The pages of a ledger that lives as long as the process."""

from __future__ import annotations

import math
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from heapq import heapify, heappop, heappush

from penstock.policy.account_paths import path_and_parents
from penstock.policy.ledger_counting import CHARGED_KNOWN
from penstock.policy.ledger_pages import Bucket, HoldPage, WindowPage, kin_of
from penstock.policy.ledger_steps import HistoryRow, HoldRow, SpendRow, Spent, WindowRow

__all__ = ["MemoryPages"]

MOST_IDLE = 1_024
"""Windows are dropped where nothing is counted in them, between batches, as their number doubles beyond this:
accounts made from patterns can be as many as there are users."""
MOST_HISTORY = 1_000
"""Rows of what was done by hand, in memory: the oldest go."""
MOST_SPENT = 10_000
"""Rows of the journal in memory, some megabytes: the oldest go."""


class MemoryPages:
    """Pages that live as long as the process."""

    def __init__(self) -> None:
        self._windows = _Windows()
        self._holds: dict[str, HoldPage] = {}
        self._below: defaultdict[str, list[HoldPage]] | None = None
        """The holds by their accounts and the parents of these, while they stay the same."""
        self._ends: list[tuple[float, str]] = []
        """A heap of leases; an entry that is no longer true is passed over."""
        self._tombstones: dict[str, float] = {}
        self._graves: deque[str] = deque()
        """The same by their ends: the first key of a dict that many were deleted from is far to seek."""
        self._old_graves: list[tuple[float, str]] = []
        """A heap of those that stand for longer than others that come later."""
        self._spent: dict[tuple[float, str, str, bool], SpendRow] = {}
        self._history: deque[HistoryRow] = deque(maxlen=MOST_HISTORY)
        self._now = 0.0
        # No methods of our own around these: every call asks seven times.
        self.window: Callable[[str], WindowPage] = self._windows.__getitem__
        self.hold: Callable[[str], HoldPage | None] = self._holds.get
        self.is_settled: Callable[[str], bool] = self._tombstones.__contains__

    def siblings(self, key: str) -> Iterator[str]:  # noqa: D102
        for other in list(self._windows.alike[kin_of(key)]):
            if other != key:
                yield other

    def holds_below(self, account: str) -> Iterable[HoldPage]:  # noqa: D102
        if self._below is None:
            # Of all accounts at once: a reload asks for one after the other.
            self._below = defaultdict(list)
            for page in self._holds.values():
                for path in path_and_parents(page.account):
                    self._below[path].append(page)
        return self._below.get(account, ())

    def add_hold(self, page: HoldPage) -> None:  # noqa: D102
        self._below = None
        self._holds[page.id] = page
        if page.lease_ends < math.inf:  # no kernel's own: it ends with these
            self._expect(page)

    def drop_hold(self, page: HoldPage) -> None:  # noqa: D102
        self._below = None
        del self._holds[page.id]
        if len(self._ends) > 64 and len(self._ends) > 2 * len(self._holds):
            self._ends = [entry for entry in self._ends if entry[1] in self._holds]
            heapify(self._ends)

    def touched_hold(self, page: HoldPage) -> None:  # noqa: D102
        self._expect(page)

    def touched(self, buckets: Iterable[Bucket]) -> None:
        """Nothing to do: what was changed is what is kept."""

    def touched_window(self, page: WindowPage) -> None:
        """Nothing to do: what was changed is what is kept."""

    def due(self, now: float) -> list[HoldPage]:  # noqa: D102
        self._now = now
        if len(self._windows) >= self._windows.sweep_at:
            self._windows.drop_idle(now)  # here, where no step has a page in hand
        if not self._ends or self._ends[0][0] > now:
            return []
        due: dict[str, HoldPage] = {}
        while self._ends and self._ends[0][0] <= now:
            at, hold_id = heappop(self._ends)
            page = self._holds.get(hold_id)
            if page is not None and at == _ends(page):
                due[hold_id] = page
        return list(due.values())

    def bury(self, hold_id: str, until: float) -> None:  # noqa: D102
        self._tombstones[hold_id] = until
        if until - self._now >= CHARGED_KNOWN:
            heappush(self._old_graves, (until, hold_id))
        else:
            self._graves.append(hold_id)

    def forget_buried(self, now: float) -> None:  # noqa: D102
        while self._graves and self._tombstones[self._graves[0]] <= now:
            del self._tombstones[self._graves.popleft()]
        while self._old_graves and self._old_graves[0][0] <= now:
            del self._tombstones[heappop(self._old_graves)[1]]

    def journal(self, since: float, account: str, spent: Iterable[Spent], *, calls: int = 1) -> None:  # noqa: D102
        for one in spent:
            key = (since, account, one.target, one.estimated)
            known = self._spent.pop(key, None)
            row = SpendRow(since=since, account=account, calls=calls, spent=one)
            if known is not None:
                row = SpendRow(since=since, account=account, calls=known.calls + calls, spent=known.spent + one)
            if row.calls <= 0:
                continue  # all of it was taken back
            self._spent[key] = row
            if len(self._spent) > MOST_SPENT:
                del self._spent[next(iter(self._spent))]

    def note(self, row: HistoryRow) -> None:  # noqa: D102
        self._history.append(row)

    def history(self, since: float, until: float) -> list[HistoryRow]:
        """What was done by hand in that time."""
        return [row for row in self._history if since <= row.at < until]

    def spent(self, since: float, until: float) -> list[SpendRow]:
        """The journal of that time."""
        return [row for row in self._spent.values() if since <= row.since < until]

    def windows(self, keys: Iterable[str] | None, now: float) -> list[WindowRow]:
        """Windows that something is kept of, as of `now`; None: all there are."""
        pages = list(self._windows.values())
        if keys is not None:
            pages = [self._windows[key] for key in keys if key in self._windows]
        for page in pages:
            page.advance(now)
        return [page.row() for page in pages]

    def holds(self) -> list[HoldRow]:
        """All holds that are not settled, oldest first."""
        return [page.row() for page in self._holds.values()]

    def tombstones(self) -> int:
        """How many settled ids are still known."""
        return len(self._tombstones)

    def _expect(self, page: HoldPage) -> None:
        ends = _ends(page)
        if ends < math.inf:
            heappush(self._ends, (ends, page.id))


class _Windows(dict[str, WindowPage]):
    """Those that were asked for: an empty one is made where there is none."""

    def __init__(self) -> None:
        super().__init__()
        self.sweep_at = MOST_IDLE
        """Beyond so many, those in which nothing counts are to be dropped."""
        self.alike: defaultdict[tuple[str, str], dict[str, None]] = defaultdict(dict)
        """Their keys by period and account."""

    def __missing__(self, key: str) -> WindowPage:
        page = self[key] = WindowPage(key)
        kin = kin_of(key)
        alike = self.alike[kin]
        if alike:
            page.kin = kin
            for other in alike:
                self[other].kin = kin
        alike[key] = None
        return page

    def drop_idle(self, now: float) -> None:
        """Drops those in which nothing counts. Whoever has such a page in hand would count where nobody looks."""
        for key, page in list(self.items()):
            page.advance(now)
            if not page.buckets and page.limit_tokens is None and page.limit_nano_usd is None:
                del self[key]
                alike = self.alike[kin_of(key)]
                del alike[key]
                if not alike:
                    del self.alike[kin_of(key)]
        self.sweep_at = max(MOST_IDLE, 2 * len(self))


def _ends(page: HoldPage) -> float:
    """When something is to be done about the hold."""
    return page.counts_until if page.lapsed else page.lease_ends
