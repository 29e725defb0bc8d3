"""What the laws of ledger stores work with: a store with its clock, and the steps and rows in few words.

Not here: the laws (`_ledger_laws` gathers them).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeAlias

import attrs

from penstock.abc import LedgerStore
from penstock.policy.account_window import window_end, window_of
from penstock.policy.holds import NOTHING, Amount, Line
from penstock.policy.ledger_steps import (
    Adopt,
    Answer,
    Change,
    Held,
    Lacking,
    Renew,
    Reserve,
    Settle,
    Step,
    TopUp,
    WindowRow,
    WindowUse,
)
from penstock.testing._laws import BrokenLawError

__all__ = ["Bench", "LedgerAtHand", "MakeLedger", "on_bench"]


@attrs.frozen
class LedgerAtHand:
    """A ledger store with nothing in it, and what a law needs to know to try it."""

    store: LedgerStore
    elapse: Callable[[float], Awaitable[object]]
    """Lets so many seconds pass by the store's clock: `trio.sleep`, or what moves a clock of your own."""
    span: float = 60.0
    """Seconds that the laws reckon with. By a real clock: short, and longer than a dozen commits take."""
    another: Callable[[], AbstractAsyncContextManager[LedgerStore]] | None = None
    """Opens the same ledger once more, as another process would; None: it belongs to one process."""


MakeLedger: TypeAlias = Callable[[], AbstractAsyncContextManager[LedgerAtHand]]
"""Opens a ledger store that is empty and tells of its clock; closes it behind a law."""


class Bench:
    """A ledger on which a law is tried."""

    def __init__(self, at_hand: LedgerAtHand) -> None:
        self.at_hand = at_hand
        self.store = at_hand.store
        self.span = at_hand.span
        self.began = 0.0
        """The store's clock at the beginning."""

    async def commit(self, *steps: Step) -> tuple[Answer, ...]:
        """Carries the steps out as one batch; as many answers come back."""
        landed = await self.store.commit(steps)
        self.expect(len(landed.answers), len(steps), "as many answers as steps")
        return landed.answers

    async def one(self, step: Step) -> Answer:
        """Carries one step out."""
        return (await self.commit(step))[0]

    async def now(self) -> float:
        """The store's clock."""
        return (await self.store.commit(())).now

    async def pass_spans(self, spans: float) -> None:
        """Time goes on."""
        await self.at_hand.elapse(spans * self.span)

    async def row(self, key: str) -> WindowRow:
        """A window; one with nothing in it where the store shows none."""
        rows = await self.store.windows((key,))
        return rows[0] if rows else WindowRow(key=key, held=NOTHING, spent=NOTHING, estimated=NOTHING, ends_at=None)

    async def expect_row(
        self, key: str, law: str, *, held: int = 0, spent: int = 0, estimated: int = 0, usd: tuple[int, int] = (0, 0)
    ) -> None:
        """What is counted in a window: tokens, and with `usd` held and spent nano-USD."""
        row = await self.row(key)
        seen = (row.held.tokens, row.spent.tokens, row.estimated.tokens, (row.held.nano_usd, row.spent.nano_usd))
        self.expect(seen, (held, spent, estimated, usd), f"{law}: held, spent, estimated and money of {key}")

    async def expect_held(self, step: Step, law: str, *, output: int | None = None) -> Held:
        """Carries one step out, which is to hold."""
        answer = await self.one(step)
        if not isinstance(answer, Held) or (output is not None and answer.output_tokens != output):
            wanted = "Held" if output is None else f"Held with {output} output tokens"
            raise BrokenLawError(f"{law}: {wanted} was expected of {step}, and the answer was {answer}")
        return answer

    async def expect_lacking(self, step: Step, law: str) -> Lacking:
        """Carries one step out, which is to lack room."""
        answer = await self.one(step)
        if not isinstance(answer, Lacking):
            raise BrokenLawError(f"{law}: Lacking was expected of {step}, and the answer was {answer}")
        return answer

    def expect(self, seen: Any, wanted: Any, law: str) -> None:
        """Raises BrokenLawError where they differ."""
        if seen != wanted:
            raise BrokenLawError(f"{law}: expected {wanted!r}, and it was {seen!r}")

    # Steps in few words

    def window(
        self,
        key: str = "day:UTC:team",
        *,
        spans: float = 1_000.0,
        tokens: int | None = None,
        nano_usd: int | None = None,
        rolling: bool = False,
        by_estimate: bool = False,
    ) -> WindowUse:
        """A window that is over so many spans after the beginning."""
        return WindowUse(key, self.began + spans * self.span, rolling, tokens, nano_usd, by_estimate)

    def real_window(self, key: str, *, tokens: int | None = None) -> WindowUse:
        """A window as the calendar has it."""
        shape = window_of(key)[1]
        return WindowUse(key, window_end(shape, self.began), shape[2], tokens)

    def reserve(
        self,
        hold_id: str,
        *windows: WindowUse,
        tokens: int = 0,
        nano_usd: int = 0,
        account: str = "team",
        spans: float = 1_000.0,
        waits: bool = False,
    ) -> Reserve:
        """Asks for a fixed amount."""
        lines = (Line(tokens, nano_usd, 0, 0),)
        return self.reserve_lines(hold_id, *windows, lines=lines, account=account, spans=spans, waits=waits)

    def reserve_lines(
        self,
        hold_id: str,
        *windows: WindowUse,
        lines: tuple[Line, ...],
        outputs: tuple[int, int] = (0, 0),
        account: str = "team",
        spans: float = 1_000.0,
        waits: bool = False,
        likely: tuple[Line, ...] = (),
    ) -> Reserve:
        """Asks for the dearest of the lines, at an output from the range."""
        return Reserve(
            hold_id=hold_id,
            account=account,
            windows=windows,
            lines=lines,
            min_output=outputs[0],
            max_output=outputs[1],
            lease=spans * self.span,
            waits=waits,
            likely=likely,
        )

    def top_up(self, hold_id: str, number: int, *windows: WindowUse, tokens: int, likely: int | None = None) -> TopUp:
        """Asks for more tokens."""
        guess = None if likely is None else Amount(likely)
        return TopUp(hold_id=hold_id, number=number, windows=windows, more=Amount(tokens), likely=guess)

    def settle(self, hold_id: str, tokens: int = 0, *, nano_usd: int = 0, estimated: bool = False) -> Settle:
        """Puts a charge in the place of a hold."""
        return Settle(hold_id=hold_id, charged=Amount(tokens, nano_usd), estimated=estimated)

    def renew(self, *hold_ids: str, spans: float) -> Renew:
        """New leases, from now on."""
        return Renew(hold_ids, spans * self.span)

    def adopt(self, window: WindowUse, account: str = "team") -> Adopt:
        """A window of the account is new."""
        return Adopt(account, window)

    def change(self, window: WindowUse, **changes: Any) -> Change:
        """Changes a window by hand."""
        return Change(account="team", window=window, **changes)


@asynccontextmanager
async def on_bench(make: MakeLedger) -> AsyncGenerator[Bench]:
    """Opens an empty ledger for one law."""
    async with make() as at_hand:
        bench = Bench(at_hand)
        bench.began = await bench.now()
        yield bench
