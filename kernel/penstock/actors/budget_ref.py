"""How the rest of the kernel speaks with the budget keeper, and sees what its store has without asking it."""

from __future__ import annotations

from collections.abc import Coroutine, Mapping, Sequence
from typing import Any

from penstock._clock import Clock
from penstock._foreign import let_through
from penstock.abc import LedgerStore
from penstock.actors._address import Address
from penstock.actors._budget_mail import NotedMail, ReconfigureMail, ReserveMail, SettleMail, TopUpMail
from penstock.actors._ref import ActorRef
from penstock.actors.store_standing import in_time, unavailable
from penstock.policy.account_window import AccountSnapshot
from penstock.policy.account_windows import AccountWindows
from penstock.policy.accounts import AccountSpec
from penstock.policy.foreseen_hold import foresee_hold
from penstock.policy.hold_ask import HoldAsk
from penstock.policy.holds import NOTHING, Amount, Granted, Line, Refused
from penstock.policy.ledger_steps import Held, Lacking, Reserve, Spent, WindowRow
from penstock.policy.refusals import refusals

__all__ = ["BudgetRef"]


class BudgetRef(ActorRef):
    """How calls reserve and settle."""

    def __init__(
        self, address: Address, windows: AccountWindows, store: LedgerStore, clock: Clock, timeout: float
    ) -> None:
        super().__init__(address)
        self._windows = windows
        self._store = store
        self._clock = clock
        self._timeout = timeout
        self.keeps_journal = store.durable
        """Whether anybody can read later what was spent at which target."""
        self._rows: Sequence[WindowRow] = ()
        self._seen: frozenset[str] = frozenset()
        """The windows that the store was asked for when it was last looked at."""

    def reserve(
        self,
        hold_id: str,
        account: str,
        lines: Sequence[Line],
        *,
        min_output: int,
        max_output: int,
        wait: float,
        deadline: float,
        context: object = None,
        likely: Sequence[Line] = (),
    ) -> Coroutine[Any, Any, Granted | Refused]:
        """Holds the dearest of `lines`, over all ancestors at once, or says which limit refuses.

        Windows by estimate hold the dearest of `likely` instead, at the same output; without it, that of `lines`.
        Waits up to `wait` seconds for other holds to settle where that would make room. Whatever comes of it, `settle`
        is owed. Raises LedgerUnavailableError where the store does not answer, ValueError for what is no range.
        """
        wait_until = self._clock.wall() + wait if wait > 0 else None
        ask = HoldAsk.checked(hold_id, account, lines, (min_output, max_output), wait_until, likely=likely)
        # Handed on as it is: one that awaits it would be one more for every call to be resumed through.
        return self._address.ask(ReserveMail(ask), owes=hold_id, deadline=deadline, context=context)

    async def top_up(
        self,
        hold_id: str,
        more: Amount,
        *,
        deadline: float,
        context: object = None,
        likely: Amount | None = None,
    ) -> Granted | Refused:
        """More for a hold that is not enough. Owes nothing of its own. Raises as `reserve` does.

        `likely` is what counts in windows by estimate; None: as `more`.
        """
        message = TopUpMail(hold_id, more, likely)
        return await self._address.ask(message, rides_on=hold_id, deadline=deadline, context=context)

    def settle(self, hold_id: str, charged: Amount, *, estimated: bool, spent: Sequence[Spent] = ()) -> None:
        """Replaces the hold by what was charged. Never raises, never waits; a second one is ignored.

        `spent` says which target it went to, for reports.
        """
        if self._address.owes(hold_id):
            self._address.tell_owed(hold_id, SettleMail(hold_id, charged, estimated, tuple(spent)))

    def note(
        self, call_id: str, account: str, charged: Amount, *, estimated: bool, spent: Sequence[Spent] = ()
    ) -> None:
        """What a call was charged that had no hold: for reports, in limits that there are by now, and in those that
        there were, in case they come back.

        Never raises, never waits.
        """
        if not spent and (charged == NOTHING or not self._windows.counts(account)):
            return

        def fold(_: object) -> NotedMail:
            return NotedMail(account, charged, estimated, tuple(spent))

        self._address.observe(call_id, fold, wake=True)

    async def reconfigure(self, accounts: Sequence[AccountSpec]) -> None:
        """Other accounts and limits over what is held and spent."""
        await self._address.ask_aside(ReconfigureMail(tuple(accounts)))

    def route_instead(self, account: str, now: float) -> str | None:
        """The route that calls of the account go instead of their own, because so much is spent; None: their own."""
        return self._windows.route_instead(account, now)

    def accounts(self) -> Mapping[str, AccountSnapshot]:
        """Every account that has limits, with what is held and spent there.

        Of a store that must be asked, those that it was asked of by the last `look`, as of then: none before the first.
        """
        rows = self._peeked()
        return self._windows.snapshot(self._rows, self._seen) if rows is None else self._windows.snapshot(rows)

    def foresee(
        self,
        account: str,
        lines: Sequence[Line],
        *,
        min_output: int,
        max_output: int,
        now: float,
        rows: Sequence[WindowRow] | None = None,
        likely: Sequence[Line] = (),
    ) -> Granted | tuple[Refused, ...] | None:
        """What a reserve of the same would come to at `now`: everything in its way, even where it would only wait.

        By `rows`, as `see` shows them; else by what is known without waiting. None: the store was not looked at yet.
        """
        own = self._windows.on_path(account)
        known = self._known({window.key for window in own}) if rows is None else rows
        if known is None:
            return None
        uses = self._windows.foreseen_uses(account, now)
        step = Reserve(
            hold_id="",
            account=account,
            windows=uses,
            lines=tuple(lines),
            min_output=min_output,
            max_output=max_output,
            lease=self._timeout,
            likely=tuple(likely),
        )
        answer = foresee_hold(step, known, now)
        if isinstance(answer, Held):
            return Granted("", answer.output_tokens, answer.amount, answer.likely)
        assert isinstance(answer, Lacking)  # nobody has settled it, and its windows are those of now
        return refusals(answer, own)

    async def see(self, account: str) -> Sequence[WindowRow]:
        """The windows on the path of an account, as the store has them now. Raises LedgerUnavailableError."""
        rows = self._peeked()
        return await self._shown([window.key for window in self._windows.on_path(account)]) if rows is None else rows

    async def look(self) -> None:
        """Asks the store how its windows are. Raises LedgerUnavailableError."""
        if self._store.durable:
            keys = self._windows.known_keys()
            self._rows, self._seen = await self._shown(keys), frozenset(keys)

    def _known(self, keys: set[str]) -> Sequence[WindowRow] | None:
        rows = self._peeked()
        return self._rows if rows is None and keys <= self._seen else rows

    def _peeked(self) -> Sequence[WindowRow] | None:
        """None, too, where the store breaks: asked in the other way it may answer, or says what is wrong."""
        try:
            return self._store.peek()
        except BaseException as error:  # noqa: BLE001 - foreign code
            let_through(error)
            return None

    async def _shown(self, keys: Sequence[str]) -> Sequence[WindowRow]:
        try:
            return await in_time(self._store.windows(keys), self._timeout)
        except BaseException as error:  # noqa: BLE001 - foreign code
            let_through(error)
            raise unavailable(error) from None
