"""Random reloads beside random calls, watched at the ledger's own door by a recount that knows nothing of windows.

The recount keeps every hold and every charge by its id, and adds them up anew for each question. Held and spent are
never lost, whatever the configurations between; and a limit is obeyed from the moment at which its reload has returned.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from functools import cache
from typing import TypeAlias, cast

import attrs
import httpx
import msgspec
import pytest
import trio
from hypothesis import example, given
from hypothesis import strategies as st
from worlds import GPT, config, openai_body, run

import penstock
from penstock import errors
from penstock.abc import LedgerStore
from penstock.hookspecs import LedgerSpec, PluginTools, hookimpl
from penstock.policy.ledger_steps import (
    Answer,
    Charged,
    Held,
    HistoryRow,
    HoldRow,
    Landed,
    Reserve,
    Settle,
    SpendRow,
    Step,
    WindowRow,
)
from penstock.testing import Reply, ScriptedTransport
from penstock_plugins.ledgers.memory import MemoryLedger

ACCOUNTS = ("", "team", "team/a", "team/b")
Limits: TypeAlias = Mapping[str, int]
"""Tokens, by account; those left out have no limit."""


@attrs.define
class Recount:
    """Every hold with its account and what it counts now, from the steps and answers alone."""

    limits: dict[str, tuple[int, ...]] = attrs.field(factory=dict[str, tuple[int, ...]])
    """Those that may hold now: one, or two while a reload is under way. Empty: none."""
    counted: dict[str, tuple[str, int, bool]] = attrs.field(factory=dict[str, tuple[str, int, bool]])
    """By hold id: account, tokens, whether it is still held."""
    since: dict[str, set[str]] = attrs.field(factory=dict[str, set[str]])
    """By account that was ever limited: ids that were over before, and count nowhere."""

    def hold(self, limits: Limits) -> None:
        """These limits hold from now on, and no others."""
        self.limits = {account: (tokens,) for account, tokens in limits.items()}
        over = {hold_id for hold_id, (_, _, held) in self.counted.items() if not held}
        for account in limits:
            self.since.setdefault(account, set(over))

    def total(self, account: str) -> int:
        """What is held and spent there."""
        passed = self.since.get(account, set[str]())
        return sum(
            tokens
            for hold_id, (whose, tokens, _) in self.counted.items()
            if hold_id not in passed and (not account or whose == account or whose.startswith(f"{account}/"))
        )

    def totals(self) -> dict[str, int]:
        return {account: self.total(account) for account in self.since}

    def take(self, step: Step, answer: object) -> None:
        match step, answer:
            case Reserve(), Held(amount=amount):
                self.counted[step.hold_id] = (step.account, amount.tokens, True)
            case Settle(), _ if step.hold_id in self.counted:
                self.counted[step.hold_id] = (step.account, step.charged.tokens, False)
            case Settle(), Charged():  # it began where nothing was limited, and so held nothing
                self.counted[step.hold_id] = (step.account, step.charged.tokens, False)
            case _:
                pass


class WatchedLedger(LedgerStore):
    """A ledger in memory, checked after every step of every batch."""

    shared = False
    durable = False

    def __init__(self, inner: MemoryLedger, recount: Recount) -> None:
        self._inner = inner
        self._recount = recount

    async def commit(self, steps: Sequence[Step]) -> Landed:
        recount = self._recount
        answers: list[Answer] = []
        landed = await self._inner.commit([])
        for step in steps:
            before = recount.totals()
            held_nothing = isinstance(step, Settle) and step.hold_id not in recount.counted
            landed = await self._inner.commit([step])
            recount.take(step, landed.answers[0])
            answers += landed.answers
            for account, total in recount.totals().items():
                limits = recount.limits.get(account, ())
                if limits and not held_nothing:
                    assert total <= max(*limits, before.get(account, 0)), (account, limits, step)
        return Landed(landed.now, tuple(answers))

    async def windows(self, keys: Sequence[str] | None = None) -> Sequence[WindowRow]:
        return await self._inner.windows(keys)

    def peek(self) -> Sequence[WindowRow]:
        return self._inner.peek()

    async def holds(self) -> Sequence[HoldRow]:
        return await self._inner.holds()

    async def history(self, *, since: float, until: float) -> Sequence[HistoryRow]:
        return await self._inner.history(since=since, until=until)

    async def spending(self, *, since: float, until: float) -> Sequence[SpendRow]:
        return await self._inner.spending(since=since, until=until)


@attrs.frozen
class WatchedPlugin:
    """Offers it as the store `watched`."""

    recount: Recount

    @hookimpl
    def penstock_ledgers(self) -> Sequence[LedgerSpec]:
        @asynccontextmanager
        async def opening(_: object, tools: PluginTools) -> AsyncGenerator[LedgerStore]:
            yield WatchedLedger(MemoryLedger(tools.wall), self.recount)

        return [LedgerSpec("watched", opening)]


def settings(limits: Limits) -> penstock.Config:
    """An hour that rolls: nothing leaves it while the test lasts."""
    return read(frozenset(limits.items()))


@cache
def read(limits: frozenset[tuple[str, int]]) -> penstock.Config:
    tables = {account: {"limits": [{"per": "hour", "rolling": True, "tokens": tokens}]} for account, tokens in limits}
    root = tables.pop("", {})
    return config(ledger={"store": "watched"}, budget={**root, "hold_wait": 3}, accounts=tables)


LIMITS = st.dictionaries(st.sampled_from(ACCOUNTS), st.sampled_from((10, 3_000, 8_000, 20_000, 90_000)))
ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("call"), st.sampled_from(ACCOUNTS), st.sampled_from((1_024, 2_000, 6_000))),
        st.tuples(st.just("leave"), st.sampled_from(ACCOUNTS), st.sampled_from((1, 3))),
        st.tuples(st.just("reload"), LIMITS),
        st.tuples(st.just("wait"), st.sampled_from((0, 1, 4))),
    ),
    min_size=5,
    max_size=25,
)


@attrs.define
class Load:
    """One run: what it did, and what the upstream was asked for."""

    kernel: penstock.Kernel
    nursery: trio.Nursery
    recount: Recount

    async def act(self, action: tuple[object, ...]) -> None:
        match action:
            case ("call", str(account), int(most)):
                self.nursery.start_soon(self.call, account, most)
            case ("leave", str(account), int(seconds)):
                self.nursery.start_soon(self.call, account, 1_024, seconds)
            case ("reload", limits):
                await self.reload(cast("Limits", limits))
            case ("wait", int(seconds)):
                await trio.sleep(seconds)
            case _:
                raise AssertionError(action)
        await self.check()

    async def call(self, account: str, most: int, leaves: float = 1_000) -> None:
        with trio.move_on_after(leaves), suppress(errors.BudgetExceededError):
            await self.kernel.complete("hello", model=GPT, account=account, max_tokens=most)

    async def reload(self, limits: Limits) -> None:
        recount = self.recount
        for account, tokens in limits.items():
            # Until it has returned either may hold; or none, where there was none.
            recount.limits[account] = (*recount.limits[account], tokens) if recount.limits.get(account) else ()
        recount.limits = {account: each for account, each in recount.limits.items() if account in limits}
        await self.kernel.reload(settings(limits))
        recount.hold(limits)

    async def check(self) -> None:
        """The kernel shows exactly what was counted by hand."""
        accounts = (await self.kernel.snapshot()).accounts
        assert set(accounts) == set(self.recount.limits)
        for account, shown in accounts.items():
            (window,) = shown.windows
            assert window.held.tokens + window.spent.tokens == self.recount.total(account), account


def upstream(used: Sequence[int]) -> ScriptedTransport:
    """Takes its time, and bills what it likes, within what it was allowed."""
    bills = itertools.cycle(used)

    def answer(request: httpx.Request) -> Reply:
        allowed = msgspec.json.decode(request.content).get("max_tokens") or 1_024
        output = min(next(bills), allowed)
        usage = {"prompt_tokens": 11, "completion_tokens": output, "total_tokens": 11 + output}
        return Reply(json={**openai_body(), "usage": usage}, delay=2.0)

    return ScriptedTransport(answer)


@pytest.mark.slow
@example(first={}, actions=[("call", "", 1_024)] * 3 + [("reload", {"": 10}), ("wait", 4)], used=[1])
@example(
    first={"": 90_000, "team": 20_000},
    actions=[
        ("call", "team", 1_024),
        ("wait", 4),
        ("reload", {"": 90_000}),
        ("call", "team", 1_024),
        ("wait", 4),
        ("reload", {"": 90_000, "team": 20_000}),
    ],
    used=[100],
)
@given(first=LIMITS, actions=ACTIONS, used=st.lists(st.integers(1, 1_024), min_size=1, max_size=8))
def test_no_sequence_of_reloads_loses_what_is_held_or_spent_or_breaks_a_limit(
    first: Limits, actions: Sequence[tuple[object, ...]], used: Sequence[int]
) -> None:
    recount = Recount()
    recount.hold(first)

    async def main() -> None:
        opening = penstock.open_kernel(settings(first), transport=upstream(used), plugins=[WatchedPlugin(recount)])
        async with opening as kernel, trio.open_nursery() as nursery:
            load = Load(kernel, nursery, recount)
            for action in actions:
                await load.act(action)
        # Every call is over, and has left no hold behind.
        assert not any(held for _, _, held in recount.counted.values())

    run(main)
