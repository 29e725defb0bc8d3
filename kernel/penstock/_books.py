"""The books of one call: its attempts, what they cost, and what is charged to its hold.

Two figures for one attempt: `likely`, the best guess, is what the caller is told; `charged` is what is booked and told
in events, and where anything bounds it, it is never below what the provider can bill. They differ only where the
provider did not say.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from operator import attrgetter

import msgspec
from msgspec import Struct

from penstock._budgeting import uncapped_bound
from penstock._live_target import LiveTarget
from penstock._text_size import text_bytes
from penstock.errors import (
    BudgetExceededError,
    CallError,
    CascadeExhaustedError,
    CircuitOpenError,
    ConnectionLostError,
    NoRouteError,
    PenstockError,
    QuotaExhaustedError,
    UnsupportedParameterError,
)
from penstock.policy.accounts import UnknownUsage
from penstock.policy.bound import lower_bound_tokens
from penstock.policy.budget import Amount
from penstock.policy.holds import NOTHING
from penstock.policy.ledger_steps import Spent
from penstock.policy.money import cost, dearest_prices, nano_for, usd
from penstock.policy.retry import ACTIONS, Next, Stop
from penstock.policy.retry_budget import Suppressed, Withdrawn
from penstock.policy.routing import Learned
from penstock.types import Attempt, ChatRequest, Price, Usage

__all__ = ["Books", "Running", "action_key"]

NEVER_ANSWERED = frozenset({"overloaded", "server_error", "provider_error", "connection_lost", "transport", "codec"})
"""Kinds after which the provider most likely billed nothing, though it may have."""


def action_key(error: PenstockError) -> str:
    """The row of the error-action table for an error."""
    if isinstance(error, ConnectionLostError) and error.reused:
        return "reused_connection_closed"
    if isinstance(error, QuotaExhaustedError) and error.of_this_request:
        return "quota_short"
    if not isinstance(error, CallError):
        return "transport"
    # A plugin's own class has a word of its own: the nearest known one among its parents decides.
    parents = (parent for parent in type(error).__mro__ if issubclass(parent, CallError))
    return next((parent.kind for parent in parents if parent.kind in ACTIONS), "codec")


class Running(Struct, eq=False, kw_only=True, gc=False):
    """An attempt under way."""

    target: LiveTarget
    number: int
    bound: Amount | None
    """What the attempt can cost at most; None where no account on the path asks."""
    likely: Amount | None = None
    """What it most likely costs; None likewise."""
    output_bound: int | None
    """Output tokens that it may be given; None: as `bound`."""
    price: Price | None
    """What it is charged at: the target's, or what one of unknown price is taken to cost."""
    request: ChatRequest
    started_wall: float
    started: float
    waited: float
    probe: bool = False
    hedge: bool = False
    withdrawn: Mapping[str | None, Withdrawn] = {}
    """The receipts of the retry budgets, where it needed leave (`_retry_leave.Receipts`)."""


class Books(Struct, eq=False):
    """Filled as the call goes on. `charged` never falls."""

    unknown_usage: UnknownUsage = "bound"
    journal: bool = True
    """Somebody can read later what was charged at which target: else that is not even added up."""
    attempts: tuple[Attempt, ...] = ()
    """In the order in which they ended."""
    errors: tuple[CallError, ...] = ()
    refusals: tuple[CallError, ...] = ()
    """Why stages were passed over without an attempt."""
    charged: Amount = NOTHING
    estimated: bool = False
    suppressed: Suppressed | None = None
    """Why an attempt that the cascade would have made was not made."""
    waited: float = 0.0
    """Since the last attempt."""
    begun: int = 0
    """Attempts so far, the ones under way among them."""
    under_way: Amount = NOTHING
    """What the attempts that are not over yet can cost at most."""
    likely_under_way: Amount = NOTHING
    """What they most likely cost."""
    by_target: dict[tuple[str, bool], Spent] = {}
    """What was charged, for reports: by target, and whether it is known."""

    def begin(self, bound: Amount | None, likely: Amount | None = None) -> int:
        """An attempt begins that can cost so much at most, and most likely. Returns its number, from 1."""
        self.begun += 1
        self.under_way += bound or NOTHING
        self.likely_under_way += likely or NOTHING
        return self.begun

    def close(
        self,
        running: Running,
        *,
        now: float,
        outcome: str,
        error: PenstockError | None = None,
        usage: Usage | None = None,
        complete: bool = False,
        streamed_bytes: int = 0,
        streamed_tokens: Callable[[], int | None] | None = None,
        first_token: float | None = None,
        request_id: str | None = None,
        status: int | None = None,
        sent: bool = True,
        learned: Learned | None = None,
    ) -> Attempt:
        """The attempt is over. `usage` is what the provider reported: all of it where `complete`, and not marked
        `estimated`. `streamed_bytes` are those of the answer's text, thinking and arguments, as far as they came.

        `streamed_tokens` counts exactly what was streamed, where a tokenizer can: asked only where usage was not told.
        `status` is that of the response; None: no head of it came. `sent` False: nothing of it can have gone out, so it
        cost nothing. `learned` is what is known of the target's bounds.
        """
        self.under_way -= running.bound or NOTHING
        self.likely_under_way -= running.likely or NOTHING
        unbilled = not sent or (error is not None and _is_unbilled(error, status))
        known = unbilled or (complete and usage is not None and not usage.estimated)
        if known:
            likely = usage or Usage()
        else:
            exact = streamed_tokens() if streamed_tokens and streamed_bytes else None
            likely = self._likely(running, outcome, usage, streamed_bytes, exact)
        likely_cost = _cost(running, likely, unbilled=unbilled)
        charge = Amount(likely.total_tokens, likely_cost or 0)
        if running.target.price is None:
            likely_cost = None  # what is charged in its place is nothing to be told as the cost
        if not known and self.unknown_usage == "bound":
            # Where no account asked for the bound before, it is found out now, and only now.
            bound = running.bound or uncapped_bound(running.request, running.target, learned) or NOTHING
            charge = charge.at_least(bound + _beyond(running, likely.output_tokens))
        self.charged += charge
        self.estimated = self.estimated or not known
        if self.journal:
            self._tell(running.target.name, likely, charge, estimated=not known)
        attempt = Attempt(
            target=running.target.name,
            number=running.number,
            outcome=outcome,
            error=error,
            waited=running.waited,
            started=running.started_wall,
            duration=now - running.started,
            first_token=None if first_token is None else first_token - running.started,
            usage=likely,
            cost=None if likely_cost is None else usd(likely_cost),
            hedge=running.hedge,
            probe=running.probe,
            provider_request_id=request_id,
        )
        self.attempts = (*self.attempts, attempt)
        return attempt

    def _tell(self, target: str, usage: Usage, charge: Amount, *, estimated: bool) -> None:
        spent = Spent(
            target=target,
            input_tokens=usage.input_tokens,
            cached_input_tokens=usage.cached_input_tokens,
            cache_write_tokens=usage.cache_write_tokens,
            # What was charged beyond the best guess could be either: it is told where it costs most.
            output_tokens=usage.output_tokens + max(0, charge.tokens - usage.total_tokens),
            reasoning_tokens=usage.reasoning_tokens,
            nano_usd=charge.nano_usd,
            estimated=estimated,
        )
        before = self.by_target.get((target, estimated))
        self.by_target[target, estimated] = spent if before is None else before + spent

    def note(self, error: CallError) -> None:
        """An error the call has met: of an attempt, or of a flight it had joined."""
        self.errors = (*self.errors, error)

    def _likely(
        self, running: Running, outcome: str, usage: Usage | None, streamed_bytes: int, exact: int | None
    ) -> Usage:
        if usage is None and outcome in NEVER_ANSWERED and not streamed_bytes:
            return Usage(estimated=True)
        least = lower_bound_tokens(streamed_bytes) if exact is None else exact
        # Four bytes a token, as for input that nothing was learned about yet; no more than it could be at most, except
        # of what was certainly served.
        written = -(-streamed_bytes // 4) if exact is None else exact
        if running.output_bound is not None:
            written = max(least, min(written, running.output_bound))
        begun = usage or Usage()
        # What was told is the beginning, marked as the guess it is: for the rest of it stands what came.
        return msgspec.structs.replace(
            begun,
            input_tokens=begun.input_tokens or -(-text_bytes(running.request) // 4),
            output_tokens=max(begun.output_tokens, written),
            estimated=True,
        )

    @property
    def in_order(self) -> tuple[Attempt, ...]:
        """The attempts in the order in which they began: of two in a race the later may end first."""
        attempts = self.attempts
        return attempts if len(attempts) < 2 else tuple(sorted(attempts, key=attrgetter("number")))

    @property
    def usage(self) -> Usage:
        """Of all attempts together."""
        if len(self.attempts) == 1:
            return self.attempts[0].usage or Usage()
        return sum((attempt.usage for attempt in self.attempts if attempt.usage is not None), Usage())

    @property
    def cost(self) -> Decimal | None:
        """Of all attempts together, in USD; None where one of them has no price."""
        if len(self.attempts) == 1:
            return self.attempts[0].cost
        total = Decimal(0)
        for attempt in self.attempts:
            if attempt.cost is None:
                return None
            total += attempt.cost
        return total

    def verdict(self, stop: Stop, now: float) -> CallError:
        """The error in which the cascade ends."""
        tried = {attempt.target for attempt in self.attempts}
        if not self.errors:
            return self._untried(stop, now)
        last = self.errors[-1]
        if self.suppressed is not None:
            self._suppress(last, self.suppressed, now)
        if len(tried) <= 1:
            return self.signed(last)
        causes = "; ".join(f"{attempt.target}: {attempt.outcome}" for attempt in self.in_order)
        telling, which = _most_telling(self.errors)
        exhausted = CascadeExhaustedError(
            f"no target answered after {len(self.attempts)} attempts ({causes}); {which}: {telling}",
            errors=self.errors,
            retry_after=_least([error.retry_after for error in self.errors]),
            request_id=telling.request_id,
        )
        exhausted.__cause__ = telling
        return self.signed(exhausted)

    @staticmethod
    def _suppress(error: CallError, suppressed: Suppressed, now: float) -> None:
        """The error says as well why it was not tried again."""
        error.args = (f"{error}; not tried again: {suppressed.says}",)
        if math.isfinite(suppressed.retry_at):
            error.retry_after = max(error.retry_after or 0.0, suppressed.retry_at - now)

    def _untried(self, stop: Stop, now: float) -> CallError:
        if self.refusals and stop.ready_at is None:
            budget = [refusal for refusal in self.refusals if isinstance(refusal, BudgetExceededError)]
            return self.signed(budget[-1] if budget else _together(self.refusals))
        if stop.ready_at is None:
            return self.signed(NoRouteError("the route has no target that may take the call"))
        beside = f"; of the others: {self.refusals[-1]}" if self.refusals else ""
        if stop.ready_at == float("inf"):
            says = "every target of the route is isolated by hand; close it to go on"
            return self.signed(CircuitOpenError(f"{says}{beside}"))
        wait = max(0.0, stop.ready_at - now)
        if stop.reason == "all_open":
            says = f"the circuit of every target of the route is open; the first may be tried in {wait:.1f} s"
            return self.signed(
                CircuitOpenError(f'{says}, and all_open = "fail" waits for none{beside}', retry_after=wait)
            )
        return self.signed(
            CircuitOpenError(
                f"every target of the route is failing or cooling down; the first may be tried in {wait:.1f} s,"
                f" later than the call's deadline{beside}",
                retry_after=wait,
            )
        )

    def signed(self, error: CallError) -> CallError:
        """The error with the books of this call in it."""
        error.attempts = self.in_order
        error.usage = self.usage
        error.cost = self.cost
        return error


def _most_telling(errors: Sequence[CallError]) -> tuple[CallError, str]:
    """The last that speaks of the request itself, which the caller can change; else the last. And what to call it."""
    of_the_request = [error for error in errors if ACTIONS[action_key(error)].next is not Next.YES]
    if of_the_request and of_the_request[-1] is not errors[-1]:
        return of_the_request[-1], "what can be done about it"
    return errors[-1], "the last error"


def _is_unbilled(error: PenstockError, status: int | None) -> bool:
    """True where the exchange certainly cost nothing: it was not sent, or it was refused and not begun."""
    if status is not None and 200 <= status < 300:
        # An error inside an answer, of whatever kind: work was done before it came.
        return False
    return not ACTIONS[action_key(error)].billed or (status is not None and 400 <= status < 500)


def _cost(running: Running, usage: Usage, *, unbilled: bool) -> int | None:
    """What the exchange costs in nano-USD; None where nobody knows a price for it."""
    price = running.price
    if price is None:
        return None
    # What cost nothing has no price for the request itself either.
    return 0 if unbilled and usage == Usage() else cost(usage, price, running.started_wall)


def _beyond(running: Running, output_tokens: int) -> Amount:
    """What was served beyond the output that the attempt was given: its bound does not cover that."""
    if running.output_bound is None or output_tokens <= running.output_bound:
        return NOTHING
    over, price = output_tokens - running.output_bound, running.price
    return Amount(over, 0 if price is None else nano_for(over, dearest_prices(price).output))


def _together(refusals: Sequence[CallError]) -> CallError:
    """The last of them; one that names them all where no target can take what is asked."""
    unfit = [refusal for refusal in refusals if isinstance(refusal, UnsupportedParameterError)]
    if len(unfit) < 2 or len(unfit) < len(refusals):
        return refusals[-1]
    parameters = dict.fromkeys(name for refusal in unfit for name in refusal.parameters)
    return UnsupportedParameterError("; ".join(map(str, unfit)), parameters=tuple(parameters))


def _least(hints: Sequence[float | None]) -> float | None:
    return min((hint for hint in hints if hint is not None), default=None)
