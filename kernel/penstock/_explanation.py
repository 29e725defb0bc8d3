"""What `Kernel.explain` tells of a call before it is made, as typed values. No prompt and no credential is in them.

Not here: finding it out (`_explain`), and the arithmetic of the worst case (`policy.worst_case`).
"""

from __future__ import annotations

from decimal import Decimal
from typing import Literal, TypeAlias

from msgspec import Struct

from penstock.policy.money import usd

__all__ = [
    "AccountExplanation",
    "AttemptTimeouts",
    "DeadlineSource",
    "Explanation",
    "Reason",
    "RetriesUsedUp",
    "StageExplanation",
    "When",
]

Reason: TypeAlias = Literal[
    "ready",
    "probe",
    "probing",
    "thawing",
    "cooling",
    "circuit_open",
    "ignored",
    "isolated",
    "budget",
    "unfit",
    "unsendable",
]
"""Why a target is tried when it is.

`ready`: nothing is in the way. `probe`: its circuit is open no longer than until somebody tries it. `probing`: others
try it just now, and a permit comes back when they are done. `cooling`: it asked for time. `circuit_open`: it failed.
`ignored`: it failed, and is tried all the same, for every circuit is open and the route's `all_open` is "ignore".
`isolated`: by hand. `budget`: the accounts on the path do not allow it, whatever is left in them; or it is too dear for
what is left, as far as that is known without asking the ledger's store, and one of them has `degrade`. `unfit`: it
cannot take what the request asks for. `unsendable`: its codec cannot say the request.
"""
DeadlineSource: TypeAlias = Literal["argument", "route", "scope", "kernel"]
"""Who named the deadline: the `timeout` of the call or its view, the route, the caller's own scope, `[kernel]`."""


class When(Struct, frozen=True, kw_only=True):
    """When a target may be tried, and why not before."""

    reason: Reason
    ready_in: float | None
    """Seconds; None: never, as things are, or (`probing`) nobody can say."""
    says: str
    """The same in words: "in 4.1 s: circuit open (failures in a row)"."""
    scope: str | None = None
    """What is in the way: `target:sonnet`, `provider:openai`, `key:openai/0`."""


class RetriesUsedUp(Struct, frozen=True, kw_only=True):
    """The retry budget of a provider has no room: who fails there does not go back, and no hedge begins there."""

    used: int
    limit: int
    """Retries and hedges of all calls within the window of the budget, and how many there may be by now."""
    room_in: float | None
    """Seconds until there is room again, if nobody else makes any; None: time alone makes none."""
    says: str
    """The same in words."""


class AttemptTimeouts(Struct, frozen=True, kw_only=True):
    """The timeouts of one attempt, in seconds. None: it does not apply to a response that is not streamed."""

    connect: float
    write: float
    first_token: float | None
    idle: float | None
    total: float


class StageExplanation(Struct, frozen=True, kw_only=True):
    """One stage of the cascade."""

    target: str
    provider: str
    model: str
    when: When
    allowed: int
    """Attempts as configured."""
    attempts: int
    """Attempts at most: one more where a kept connection turns out to be dead, and one where the target would not go on
    from a prefix (commit policy `continue`); where the answer is to become a value, one for each way of asking for it
    that the target may refuse, and all repairs of the call. None where it cannot be tried, or where the call fails
    before any."""
    streamed: bool
    """Whether the provider is asked for a stream."""
    retries: RetriesUsedUp | None
    """The retry budget of its provider, where that is used up: a call's first attempt there is free all the same. None:
    it has room, as far as anybody has asked it. What a cap on the money of retries will refuse is not foreseen: that
    depends on what the calls until then will have been charged."""
    timeouts: AttemptTimeouts
    longest_attempt: float
    """Seconds, where the deadline leaves as many. For a stream without the time its consumer takes."""
    silent: float
    """Seconds until the next target begins where this one, asked first, takes the request and says nothing.

    Where the timeout that ends its silence is not set and another target could be asked: at most half of the call's
    time. One that is set is kept; if it is not less than the deadline, it leaves the next target no time at all.
    """
    unreachable: float
    """The same where no connection comes about."""
    looked_up: bool
    """Whether the cache is asked before it."""
    input_tokens: int | None
    """What one attempt reads at most, an answer that is quoted to have it mended included; None: nothing bounds it."""
    likely_input_tokens: int
    """The estimate, margin included."""
    output_tokens: int | None
    """What one attempt writes at most, reasoning, all choices, and the room that a cut answer is given included; None:
    nothing bounds it."""
    nano_usd: int | None
    """What one attempt costs at most; None: no bound, or no price."""

    @property
    def cost(self) -> Decimal | None:
        """What one attempt costs at most, in USD."""
        return _usd(self.nano_usd)


class AccountExplanation(Struct, frozen=True, kw_only=True):
    """An account on the call's path that has limits."""

    account: str
    """Its path; the root's is ""."""
    limits: tuple[str, ...]
    """In words: "20 USD per day (Europe/Berlin)"."""


class Explanation(Struct, frozen=True, kw_only=True):
    """What would become of a call: whom it would ask, when, how often, and what it would cost at most.

    The bounds hold for a call made now: `attempts`, `seconds` and `nano_usd` are not exceeded, whatever providers do,
    but for two things. A provider that bills more than the bound of a request (one that ignores `max_tokens`) is booked
    with what it bills; and a transport of the caller's own may hang for a second more while it closes a response.
    """

    route: str
    account: str
    accounts: tuple[AccountExplanation, ...]
    """The accounts on its path that have limits, the root's first. Empty: none."""
    stages: tuple[StageExplanation, ...]
    """In the order of the cascade."""
    first: str | None
    """The target that would be tried first; None: none can be, within the deadline."""
    starts_in: float | None
    """Seconds until then; None likewise."""
    cache: Literal["off", "always", "deterministic", "never"]
    """The policy that applies; `off`: there is no cache."""
    deadline: float | None
    """Seconds from the start of the call; None: it was asked to have none."""
    deadline_from: DeadlineSource
    max_wait: float
    """Seconds that the call waits for one target while another could answer. A longer hint sends it on."""
    attempts: int
    """Attempts at most, over the whole cascade, hedges and repairs among them: 0 where the call would fail before any.

    Less than those of all stages together where an answer may be repaired: `max_repairs` is for the whole call.
    """
    seconds: float | None
    """How long the call takes at most: its deadline, for servers may ask it to wait until then. None: without end."""
    trying: float
    """Seconds of all attempts and back-offs at their longest: what the call takes at most where nobody makes it wait.

    Waits are what a server asks for, a cool-down, an open circuit, a place in the kernel, another call's answer or
    hold. For a stream it leaves out the time that its consumer takes.
    """
    tokens: int | None
    """Of all attempts together, at most; None: one of them has no bound."""
    nano_usd: int | None
    """What the call costs at most, all attempts together; None: one of them has no bound, or no price."""
    dearest_nano_usd: int | None
    """The dearest single attempt, repairs included: no more is held before the first. None likewise."""

    @property
    def cost(self) -> Decimal | None:
        """What the call costs at most, in USD; None: one of its attempts has no bound, or no price."""
        return _usd(self.nano_usd)

    @property
    def dearest(self) -> Decimal | None:
        """The dearest single attempt, repairs included, in USD: no more is held before the first."""
        return _usd(self.dearest_nano_usd)


def _usd(nano: int | None) -> Decimal | None:
    return None if nano is None else usd(nano)
