"""Random batches on stores that share a file and on pages in memory: the same answers and the same rows after each."""

from __future__ import annotations

import logging
import shutil
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule
from ledgering import NOON
from soak import SOAK

from penstock.policy.holds import Amount, Line
from penstock.policy.ledger_book import LedgerBook
from penstock.policy.ledger_counting import EARLIEST
from penstock.policy.ledger_steps import (
    Adopt,
    Change,
    Release,
    Renew,
    Reserve,
    Settle,
    Spent,
    Step,
    TopUp,
    WindowUse,
)
from penstock.policy.memory_pages import MemoryPages
from penstock.policy.window import Per, bucket_at, window_at
from penstock_plugins.ledgers.sqlite_file import SqliteFile
from penstock_plugins.ledgers.sqlite_ledger import SqliteLedgerBook
from penstock_plugins.ledgers.sqlite_reading import read_file, read_history, read_holds, read_spending, read_windows

ACCOUNTS = ("", "team", "team/search", "team2", "other/deep/er")
IDS = tuple(f"hold-{n}" for n in range(8))
EVER = 4e10

accounts = st.sampled_from(ACCOUNTS)
ids = st.sampled_from(IDS)
tokens = st.sampled_from([0, 1, 7, 40, 100, 2**63])
few = st.integers(0, 120)
limits = st.sampled_from([None, 0, 100, 250, 400])
waits = st.sampled_from([0.0, 0.5, 1.0, 5.0, 30.0, 61.0, 900.0, 3_600.0, 43_200.0, 86_400.0, -20.0, -86_400.0])


def path_of(account: str) -> list[str]:
    parts = account.split("/") if account else []
    return ["/".join(parts[:n]) for n in range(len(parts) + 1)]


@st.composite
def uses(draw: st.DrawFn, now: float, account: str) -> WindowUse:
    kind = draw(st.sampled_from(["day", "day", "berlin", "minute", "rolling", "rolling hour"]))
    limit, guessed = draw(limits), draw(st.sampled_from([False, False, True]))
    match kind:
        case "day":
            return WindowUse(f"day:UTC:{account}", window_at(Per.DAY, now, "UTC").end, False, limit, None, guessed)
        case "berlin":
            end = window_at(Per.DAY, now, "Europe/Berlin").end
            return WindowUse(f"day:Europe/Berlin:{account}", end, False, limit, limit, guessed)
        case "minute":
            return WindowUse(f"minute:UTC:{account}", window_at(Per.MINUTE, now, "UTC").end, False, limit)
        case "rolling":
            return WindowUse(f"minute:rolling:{account}", bucket_at(Per.MINUTE, now).end, True, limit, None, guessed)
        case _:
            return WindowUse(f"hour:rolling:{account}", bucket_at(Per.HOUR, now).end, True, None, limit)


@st.composite
def windows(draw: st.DrawFn, now: float, account: str) -> tuple[WindowUse, ...]:
    chosen = [draw(uses(now, step)) for step in path_of(account)]
    return tuple({use.key: use for use in chosen}.values())


@st.composite
def steps(draw: st.DrawFn, now: float) -> Step:
    account = draw(accounts)
    chosen = windows(now, account)
    hold_id = draw(ids)
    match draw(
        st.sampled_from(
            ["reserve", "reserve", "reserve", "settle", "settle", "top-up", "renew", "adopt", "release", "change"]
        )
    ):
        case "reserve":
            least = draw(few)
            return Reserve(
                hold_id=hold_id,
                account=account,
                windows=draw(chosen),
                lines=(Line(draw(few), draw(tokens), 500_000, 100), Line(10, 0, 0, 60)),
                min_output=least,
                max_output=least + draw(few),
                lease=draw(st.sampled_from([1.0, 30.0, 60.0, 7_200.0])),
                waits=draw(st.booleans()),
                likely=draw(st.sampled_from([(), (Line(3, 20, 100_000, 100),)])),
            )
        case "settle":
            spent = Spent(
                target=draw(st.sampled_from(["a", "b"])), input_tokens=draw(tokens), estimated=draw(st.booleans())
            )
            return Settle(
                hold_id=hold_id,
                charged=Amount(draw(tokens), draw(few)),
                estimated=spent.estimated,
                account=account,
                windows=draw(st.one_of(st.just(()), chosen)),
                spent=(spent,) * draw(st.integers(0, 2)),
            )
        case "top-up":
            more, likely = Amount(draw(few), draw(few)), draw(st.sampled_from([None, Amount(4, 9)]))
            number = draw(st.integers(1, 3))
            return TopUp(hold_id=hold_id, number=number, windows=draw(chosen), more=more, likely=likely)
        case "renew":
            return Renew(tuple(draw(st.lists(ids, max_size=3))), draw(st.sampled_from([1.0, 60.0])))
        case "adopt":
            return Adopt(account, draw(uses(now, account)))
        case "release":
            return Release(hold_id, "by hand")
        case _:
            return Change(
                account=account,
                window=draw(uses(now, account)),
                limit_tokens=draw(limits),
                spent_tokens=draw(st.sampled_from([None, 0, 50])),
                reset=draw(st.booleans()),
            )


class FileBesideMemory(RuleBasedStateMachine):
    """Two stores take turns at one file; the book on pages in memory says what is right."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.path = self.folder / "ledger.db"
        self.now = NOON
        self.stores = [self._open(), self._open()]
        self.pages = MemoryPages()
        self.book = LedgerBook(self.pages)

    def teardown(self) -> None:
        for store in self.stores:
            store.file.close()
        shutil.rmtree(self.folder)

    @rule(store=st.sampled_from([0, 1]), wait=waits, size=st.integers(0, 6), data=st.data())
    def batch(self, store: int, wait: float, size: int, data: st.DataObject) -> None:
        self.now += wait
        batch = [data.draw(steps(max(self.now, self.book.now))) for _ in range(size)]
        landed = self.stores[store].commit(batch, _yes)
        assert landed == self.book.run(batch, self.now)
        self._compare()

    @rule(store=st.sampled_from([0, 1]), data=st.data())
    def nonsense_at_the_end(self, store: int, data: st.DataObject) -> None:
        batch = [data.draw(steps(max(self.now, self.book.now))) for _ in range(3)]
        with pytest.raises(ValueError, match="negative"):
            self.stores[store].commit([*batch, Settle(hold_id="nobody", charged=Amount(-1))], _yes)
        self._compare()

    @rule(store=st.sampled_from([0, 1]))
    def nobody_waits_any_more(self, store: int) -> None:
        assert self.stores[store].commit([Renew(IDS, 9_999.0)], lambda: False) is None

    @rule(store=st.sampled_from([0, 1]))
    def opened_anew(self, store: int) -> None:
        self.stores[store].file.close()
        self.stores[store] = self._open()

    @rule(store=st.sampled_from([0, 1]), idle=st.booleans())
    def checkpoint(self, store: int, *, idle: bool) -> None:
        self.stores[store].rest(idle)

    def _compare(self) -> None:
        """What readers of the file see is what is in memory, by the clock of the last batch."""
        now = self.book.now
        if now <= EARLIEST:  # nothing was ever carried out
            return
        # As readers do: what was released after its windows had ended is gone at the next look.
        self.book.advance(now)
        windows = self._read(partial(read_windows, keys=None, now=now))
        assert sorted(windows, key=_key) == sorted(_not_empty(self.pages.windows(None, now)), key=_key)
        some = [f"day:UTC:{account}" for account in ACCOUNTS]
        assert self._read(partial(read_windows, keys=some, now=now)) == _not_empty(self.pages.windows(some, now))
        holds = self._read(partial(read_holds, now=now))
        assert sorted(holds, key=_id) == sorted(self.pages.holds(), key=_id)
        spending = self._read(partial(read_spending, since=-EVER, until=EVER, now=now))
        assert sorted(spending, key=repr) == sorted(self.pages.spent(-EVER, EVER), key=repr)
        assert self._read(partial(read_history, since=-EVER, until=EVER)) == list(self.pages.history(-EVER, EVER))

    def _read(self, act: Any) -> Any:
        return read_file(self.path, act, timeout=5.0)

    def _open(self) -> SqliteLedgerBook:
        file = SqliteFile(self.path, synchronous="normal", lock_timeout=5.0, logger=logging.getLogger("penstock"))
        file.open(_yes)
        return SqliteLedgerBook(file, lambda: self.now, report_days=10_000)


def _yes() -> bool:
    return True


def _key(row: Any) -> str:
    return str(row.key)


def _id(row: Any) -> str:
    return str(row.hold_id)


def _not_empty(found: Any) -> list[Any]:
    return [
        row
        for row in found
        if row.ends_at is not None or row.limit_tokens is not None or row.limit_nano_usd is not None
    ]


TestFileBesideMemory = FileBesideMemory.TestCase
TestFileBesideMemory.settings = settings(
    max_examples=600 if SOAK else 40, stateful_step_count=60 if SOAK else 25, deadline=None
)
pytestmark = pytest.mark.slow
