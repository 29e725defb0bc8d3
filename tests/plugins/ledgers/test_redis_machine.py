"""The book on the server against the book in Python: random batches, and after each the same answers and rows."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import pytest
import trio
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from redis_stores import Clock, opened
from valkey_process import Valkey

from penstock.policy.holds import Amount, Line
from penstock.policy.ledger_book import LedgerBook
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
    WindowRow,
    WindowUse,
)
from penstock.policy.memory_pages import MemoryPages
from penstock_plugins.ledgers.redis import RedisLedger

T = TypeVar("T")
USD = 10**9
BEGAN = 1_800_000_000.0
ACCOUNTS = ("", "team", "team/a", "team/a/b", "teams")
IDS = st.integers(0, 12).map("h{}".format)
TOKENS = st.sampled_from([0, 1, 7, 50, 333, 10**6])
MONEY = st.sampled_from([0, 1, 999_999_999, USD, 3 * USD + 5, 10**16 + 1, 9_007_199_254_740_993])
AMOUNTS = st.builds(Amount, TOKENS, MONEY)
LINES = st.builds(
    Line,
    TOKENS,
    MONEY,
    st.sampled_from([0, 1, 15 * USD, 999_999_999_999, 1_000 * USD]),
    st.sampled_from([0, 5, 4_000, 10**9]),
)
LIMITS = st.one_of(st.none(), st.sampled_from([0, 40, 400, 10**6, 10**9]))
MONEY_LIMITS = st.one_of(st.none(), st.sampled_from([0, 2 * USD, 10**13 + 3, 10**16, 2 * 10**16 + 1]))


class Loop:
    """An event loop of its own beside the tests, in which a store stays open from one step to the next."""

    def __init__(self, open_store: Callable[[], Any]) -> None:
        self._ready = threading.Event()
        self._thread = threading.Thread(target=trio.run, args=(self._main, open_store), daemon=True)
        self._thread.start()
        assert self._ready.wait(30)

    async def _main(self, open_store: Callable[[], Any]) -> None:
        self._token, self._over = trio.lowlevel.current_trio_token(), trio.Event()
        async with open_store() as self.store:
            self._ready.set()
            await self._over.wait()

    def run(self, ask: Callable[[RedisLedger], Awaitable[T]]) -> T:
        async def asked() -> T:
            return await ask(self.store)

        return trio.from_thread.run(asked, trio_token=self._token)

    def close(self) -> None:
        trio.from_thread.run_sync(self._over.set, trio_token=self._token)
        self._thread.join(30)


class BothBooks(RuleBasedStateMachine):
    url = ""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock(BEGAN)
        self.loop = Loop(lambda: opened(self.url, uuid.uuid4().hex, clock=self.clock))
        self.pages = MemoryPages()
        self.book = LedgerBook(self.pages)
        self.batch: list[Step] = []
        self.tops: dict[str, int] = {}

    def teardown(self) -> None:
        self.loop.close()

    @initialize()
    def begin(self) -> None:
        self.commit()

    # What is asked

    def path(self, account: str, draw: Any) -> tuple[WindowUse, ...]:
        """Some windows of the account and its parents: calendar and rolling, of several zones."""
        uses: list[WindowUse] = []
        now = max(self.clock.now, self.book.now)
        names = account.split("/") if account else []
        for depth in range(len(names) + 1):
            own = "/".join(names[:depth])
            period = draw(st.sampled_from(["day:UTC", "day:Europe/Berlin", "minute:rolling", ""]))
            if not period:
                continue
            length = {"day:UTC": 100.0, "day:Europe/Berlin": 130.0, "minute:rolling": 10.0}[period]
            # Buckets of ten seconds, of which six stand side by side; some steps come late, or from a clock ahead.
            shift = draw(st.sampled_from([0, 0, 0, 0, -length, length, 0.25]))
            end = (now // length + 1) * length + shift + (50.0 if period == "minute:rolling" else 0.0)
            limit, money = draw(LIMITS), draw(MONEY_LIMITS)
            by_estimate = draw(st.sampled_from([False, False, True]))
            uses.append(WindowUse(f"{period}:{own}", end, period == "minute:rolling", limit, money, by_estimate))
        return tuple(uses)

    @rule(data=st.data(), hold_id=IDS, account=st.sampled_from(ACCOUNTS), lines=st.lists(LINES, min_size=1, max_size=3))
    def reserve(self, data: Any, hold_id: str, account: str, lines: list[Line]) -> None:
        least, more = data.draw(st.sampled_from([0, 1, 100])), data.draw(st.sampled_from([0, 0, 50, 10**9]))
        step = Reserve(
            hold_id=hold_id,
            account=account,
            windows=self.path(account, data.draw),
            lines=tuple(lines),
            min_output=least,
            max_output=least + more,
            lease=data.draw(st.sampled_from([5.0, 40.0, 90.5])),
            waits=data.draw(st.booleans()),
            likely=tuple(data.draw(st.one_of(st.just([]), st.lists(LINES, min_size=1, max_size=3)))),
        )
        self.batch.append(step)

    @rule(
        data=st.data(),
        hold_id=IDS,
        more=AMOUNTS,
        likely=st.one_of(st.none(), AMOUNTS),
        account=st.sampled_from(ACCOUNTS),
    )
    def top_up(self, data: Any, hold_id: str, more: Amount, likely: Amount | None, account: str) -> None:
        number = self.tops.get(hold_id, 0) + data.draw(st.sampled_from([1, 1, 1, 0]))
        self.tops[hold_id] = number
        windows = self.path(account, data.draw)
        self.batch.append(TopUp(hold_id=hold_id, number=max(number, 1), windows=windows, more=more, likely=likely))

    @rule(data=st.data(), hold_id=IDS, charged=AMOUNTS, account=st.sampled_from(ACCOUNTS), estimated=st.booleans())
    def settle(self, data: Any, hold_id: str, charged: Amount, account: str, estimated: bool) -> None:  # noqa: FBT001 - drawn
        windows = self.path(account, data.draw) if data.draw(st.booleans()) else ()
        target = data.draw(st.sampled_from(["sonnet", "gpt"]))
        spent = Spent(target=target, input_tokens=3, output_tokens=charged.tokens, nano_usd=charged.nano_usd)
        shares = (spent, Spent(target="other", estimated=estimated)) if data.draw(st.booleans()) else ()
        step = Settle(
            hold_id=hold_id, charged=charged, estimated=estimated, account=account, windows=windows, spent=shares
        )
        self.batch.append(step)

    @rule(ids=st.lists(IDS, max_size=4), lease=st.sampled_from([5.0, 70.0]))
    def renew(self, ids: list[str], lease: float) -> None:
        self.batch.append(Renew(tuple(ids), lease))

    @rule(hold_id=IDS)
    def release(self, hold_id: str) -> None:
        self.batch.append(Release(hold_id, "by hand"))

    @rule(data=st.data(), account=st.sampled_from(ACCOUNTS))
    def change(self, data: Any, account: str) -> None:
        for window in self.path(account, data.draw)[-1:]:
            step = Change(
                account=account,
                window=window,
                limit_tokens=data.draw(LIMITS),
                limit_nano_usd=data.draw(MONEY_LIMITS),
                spent_tokens=data.draw(st.one_of(st.none(), TOKENS)),
                spent_nano_usd=data.draw(st.one_of(st.none(), MONEY)),
                reset=data.draw(st.booleans()),
                reason="by hand",
            )
            self.batch.append(step)

    @rule(data=st.data(), account=st.sampled_from(ACCOUNTS))
    def adopt(self, data: Any, account: str) -> None:
        for window in self.path(account, data.draw)[-1:]:
            self.batch.append(Adopt(account, window))

    @rule(seconds=st.sampled_from([0.25, 3.0, 9.0, 30.0, 120.0, 950.0, -40.0]))
    def time_passes(self, seconds: float) -> None:
        self.commit()
        self.clock.now += seconds

    @precondition(lambda self: len(self.batch) > 0)
    @rule()
    def commit(self) -> None:
        batch, self.batch = self.batch, []
        expected = self.book.run(batch, self.clock.now)
        seen = self.loop.run(lambda store: store.commit(batch))
        assert seen == expected
        # What people read is as of now: a hold that lives again with its old lease has lapsed by then.
        self.book.advance(self.clock.now)
        windows = self.loop.run(lambda store: store.windows())
        assert counted(windows) == counted(self.pages.windows(None, self.book.now))
        held = self.loop.run(lambda store: store.holds())
        assert {row.hold_id: row for row in held} == {row.hold_id: row for row in self.pages.holds()}

    @invariant()
    def nothing_is_below_nothing(self) -> None:
        for row in self.pages.windows(None, self.book.now):
            assert not any(amount.negative for amount in (row.held, row.spent, row.estimated)), row
            assert row.estimated.fits(row.spent), row

    @rule()
    def records(self) -> None:
        self.commit()
        history = self.loop.run(lambda store: store.history(since=0, until=9e9))
        assert list(history) == list(self.pages.history(0, 9e9))
        spending = self.loop.run(lambda store: store.spending(since=BEGAN + 900, until=9e9))
        assert sorted(spending, key=repr) == sorted(self.pages.spent(BEGAN + 900, 9e9), key=repr)


def counted(rows: Sequence[WindowRow]) -> dict[str, WindowRow]:
    """Windows in which anything is counted or set by hand."""
    return {row.key: row for row in rows if (row.ends_at, row.limit_tokens, row.limit_nano_usd) != (None, None, None)}


@pytest.mark.slow
def test_the_book_on_the_server_answers_as_the_book_in_python(valkey: Valkey) -> None:
    class OnValkey(BothBooks):
        url = valkey.url

    run_state_machine_as_test(OnValkey)
