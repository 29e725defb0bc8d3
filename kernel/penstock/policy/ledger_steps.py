"""What a ledger store is asked and what it answers: values that may cross a process, without a state.

No value here can be part of a cycle, so the garbage collector is spared looking at them: with hundreds of calls at
once it took a fifth of what a ledger costs.

Not here: who decides what to ask (`policy.budget`), and how steps are carried out (`policy.ledger_book`; a store that
runs them on a server has its own way, and the same laws: `penstock.abc.LedgerStore`).
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from msgspec import Struct

from penstock.policy.holds import Amount, Line

__all__ = [
    "Adopt",
    "Answer",
    "Change",
    "Changed",
    "Charged",
    "ClockSetBack",
    "Held",
    "HistoryRow",
    "HoldRow",
    "Known",
    "Lack",
    "Lacking",
    "Landed",
    "Release",
    "Renew",
    "Reserve",
    "Settle",
    "SpendRow",
    "Spent",
    "Stale",
    "Step",
    "TopUp",
    "Turn",
    "WindowRow",
    "WindowUse",
]


class WindowUse(Struct, frozen=True, gc=False):
    """One window of one account as a step counts in it."""

    key: str
    """Its name in the store: period, zone (or `rolling`) and account, joined by colons."""
    end: float
    """When what is reserved now leaves the window (Unix time): it names the bucket that is counted in."""
    rolling: bool
    """Whether buckets stand side by side; of a calendar window one is live at a time."""
    limit_tokens: int | None = None
    limit_nano_usd: int | None = None
    """None: it only counts. A limit that was set by hand in the store goes before these, and where there is none in its
    unit it limits nothing."""
    by_estimate: bool = False
    """Whether holds count in it by what they most likely come to (`Reserve.likely`), not by the most they can. Charges
    are what they are."""


class Reserve(Struct, frozen=True, kw_only=True, gc=False):
    """Hold the dearest of `lines`, at the largest output in the range that fits every window, or nothing at all.

    Answered by `Held` or `Lacking`; an id that was reserved before by what it holds, one that was settled by `Known`.
    """

    hold_id: str
    account: str
    windows: tuple[WindowUse, ...]
    lines: tuple[Line, ...]
    min_output: int
    max_output: int
    lease: float
    """Seconds until the hold is charged in full where nobody renews it, by the store's clock."""
    waits: bool = False
    """Where it lacks room that others hold, no later reserve of the same batch may take it from under it."""
    likely: tuple[Line, ...] = ()
    """What attempts most likely cost: the dearest of these is judged and held in windows by estimate, at the output
    that fits all. Empty: as `lines`."""


class TopUp(Struct, frozen=True, kw_only=True, gc=False):
    """Hold more for a hold, all or nothing, in the windows of now. Answered by `Held`, `Lacking` or `Known`."""

    hold_id: str
    number: int
    """Counts the top-ups of a hold from 1: one that was carried out before is not carried out again."""
    windows: tuple[WindowUse, ...]
    more: Amount
    likely: Amount | None = None
    """What counts in windows by estimate; None: as `more`. A window counts a hold in one way: as it did before, and by
    the bound where the hold has no estimate."""


class Spent(Struct, frozen=True, kw_only=True, gc=False):
    """What one target's share of a charge was: for reports. The names are those of `Usage`."""

    target: str
    attempts: int = 1
    input_tokens: int = 0
    cached_input_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    nano_usd: int = 0
    estimated: bool = False

    def __add__(self, other: Spent) -> Spent:
        """Both together, of the same target."""
        return Spent(
            target=self.target,
            attempts=self.attempts + other.attempts,
            input_tokens=self.input_tokens + other.input_tokens,
            cached_input_tokens=self.cached_input_tokens + other.cached_input_tokens,
            cache_write_tokens=self.cache_write_tokens + other.cache_write_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            reasoning_tokens=self.reasoning_tokens + other.reasoning_tokens,
            nano_usd=self.nano_usd + other.nano_usd,
            estimated=self.estimated,
        )


class Settle(Struct, frozen=True, kw_only=True, gc=False):
    """Put what was charged in the place of a hold, in the windows of its reservation. Answered by `Charged` or `Known`.

    Every window takes the whole charge, by whichever measure it held.

    One of an unknown id leaves a tombstone for the longest lease: a reserve that comes later is answered `Known`. With
    `windows`, an unknown id is charged in them all the same: the call was let through while the store was away. With
    them the tombstone stands for a day at least.
    """

    hold_id: str
    charged: Amount
    estimated: bool = False
    account: str = ""
    windows: tuple[WindowUse, ...] = ()
    spent: tuple[Spent, ...] = ()
    turns: bool = True
    """Whether the answer is to say what the charge did to each window."""


class Renew(Struct, frozen=True, gc=False):
    """New leases for holds of calls that live. Those whose lease had ended are held again, but for those that were
    released by hand. Answered by `Known`.
    """

    hold_ids: tuple[str, ...]
    lease: float


class Adopt(Struct, frozen=True, gc=False):
    """A window takes over what others of its account have counted without it, and counts the holds of its subtree.

    The others are those of the same account and period, whatever their zone. What is spent in the window is then no
    less than in each of those that have gone on without it in its span; what they counted before that, or beside it,
    and what is older than a correction by hand, is left where it is. Sent twice, it does the same as once. Answered by
    `Known`.
    """

    account: str
    window: WindowUse


class Release(Struct, frozen=True, gc=False):
    """Charges a hold in full by hand, as if its lease had ended, and for good: only its settle takes that away.

    What it is topped up by is charged as well. Kept in the history. Answered by `Changed`.
    """

    hold_id: str
    reason: str


class Change(Struct, frozen=True, kw_only=True, gc=False):
    """Changes one window by hand; kept in the history. Answered by `Changed`. Fields that are None stay as they are.

    The limits go before those of the configuration until `reset` is given. `reset`: nothing spent, and the configured
    limits again; what is held stays held.
    """

    account: str
    window: WindowUse
    limit_tokens: int | None = None
    limit_nano_usd: int | None = None
    spent_tokens: int | None = None
    spent_nano_usd: int | None = None
    reset: bool = False
    reason: str = ""


Step: TypeAlias = Reserve | TopUp | Settle | Renew | Adopt | Release | Change


class Held(Struct, frozen=True, gc=False):
    """It is held: all of it."""

    output_tokens: int
    amount: Amount
    """By the bound, whether or not a window counts by it."""
    likely: Amount | None = None
    """What is held in windows by estimate; None where no window of the hold counts by it."""


class Lack(Struct, frozen=True, gc=False):
    """One window in which there is no room."""

    key: str
    limit_tokens: int | None
    limit_nano_usd: int | None
    """The limits that counted: those of the step, or those set by hand."""
    missing: Amount
    missing_of_spent: Amount | None
    """What would be missing with every hold released; None where it would fit then."""
    refills_at: float | None
    """When it would fit if all holds were released and nothing else spent (Unix time); None: never."""
    frees_at: float | None
    """When the first of what is counted leaves the window; None where nothing is."""
    otherwise: Amount | None = None
    """What would be missing by the other measure, of bound and estimate: with every hold released where
    `missing_of_spent` says something, else now. None where it would fit by that."""
    by_estimate: bool = False
    """Which of the two was used."""


class Lacking(Struct, frozen=True, gc=False):
    """Nothing was held."""

    lacks: tuple[Lack, ...]
    """In the order of the step's windows. Empty where it fits, but those who came before wait for the same room."""
    behind: tuple[str, ...] = ()
    """Windows that those who came before in the batch wait for."""
    shortest_fits: bool = False
    """With one token of output it would fit (where something is spent, with every hold released)."""

    @property
    def hopeless(self) -> bool:
        """True where it would not fit with every hold released."""
        return any(lack.missing_of_spent is not None for lack in self.lacks)


class Turn(Struct, frozen=True, gc=False):
    """What a charge did to one window."""

    key: str
    before: Amount
    after: Amount
    """All that is spent in it."""
    ends_at: float
    limit_tokens: int | None = None
    limit_nano_usd: int | None = None
    """Set by hand; None: what the configuration says."""


class Charged(Struct, frozen=True, gc=False):
    """A hold is settled."""

    held: Amount
    """What it held."""
    windows: tuple[Turn, ...]
    """Those that are not over, where the step asked for them."""


class Known(Struct, frozen=True, gc=False):
    """Nothing was to be done: the id was settled or the step carried out before, or there was nothing there."""


class Changed(Struct, frozen=True, gc=False):
    """Done by hand; `before` is what was there, for the history: words for people."""

    before: str
    after: str


class Stale(Struct, frozen=True, gc=False):
    """Nothing was done: by the store's clock a window of the step is over. Ask again with those of `Landed.now`."""


Answer: TypeAlias = Held | Lacking | Charged | Known | Stale | Changed


class Landed(Struct, frozen=True, gc=False):
    """A batch was carried out as one: every step has an answer, in order."""

    now: float
    """The store's clock (Unix time); it never goes back."""
    answers: tuple[Answer, ...]


class ClockSetBack(Struct, frozen=True, gc=False):
    """The store's clock before and after (Unix times); equal where it had not run ahead."""

    before: float
    after: float


class WindowRow(Struct, frozen=True, kw_only=True, gc=False):
    """One window as a store shows it."""

    key: str
    held: Amount
    spent: Amount
    estimated: Amount
    """Of `spent`, what was charged without knowing the usage."""
    ends_at: float | None
    """When its first bucket leaves it; None where nothing is counted in it."""
    limit_tokens: int | None = None
    limit_nano_usd: int | None = None
    """Set by hand; None: what the configuration says."""


class HoldRow(Struct, frozen=True, kw_only=True, gc=False):
    """One hold that is not settled."""

    hold_id: str
    account: str
    amount: Amount
    reserved_at: float
    lease_ends: float
    lapsed: bool
    """Its lease has ended, or it was released by hand: it is charged in full until it is settled."""


class HistoryRow(Struct, frozen=True, kw_only=True, gc=False):
    """Something that was done by hand."""

    at: float
    action: Literal["set", "reset", "release", "clock"]
    account: str
    window: str
    """The window's key; of a release, the hold's id; empty where the clock was set back."""
    before: str
    after: str
    reason: str


class SpendRow(Struct, frozen=True, kw_only=True, gc=False):
    """What one account spent at one target in one quarter of an hour: for reports."""

    since: float
    """Unix time at which the quarter begins."""
    account: str
    calls: int
    """Calls whose charge has a share of that target."""
    spent: Spent
