"""The ledger: who may spend what. Holds are reserved over all parents of an account at once, then settled.

Not here: what a request costs at most (bound, money, the providers), and waiting itself: the ledger says who waits and
until when, its owner keeps the time.

    reserve -> Granted -> [top_up] -> settle
            -> Waiting -> (take_grants) Granted | Refused
            -> Refused

The law: `free = limit - held - spent` after every message, for every account, window and unit; only a charge above its
hold (an overrun) makes `free` negative, and then nothing new is granted there. An exception leaves all as it was.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

import attrs

from penstock.policy.accounts import AccountSpec as AccountSpec
from penstock.policy.accounts import AccountTree, path_and_parents
from penstock.policy.accounts import Limit as Limit
from penstock.policy.accounts import Shape as Shape
from penstock.policy.accounts import check_request_limits as check_request_limits
from penstock.policy.accounts import request_output_cap as request_output_cap
from penstock.policy.counted_window import Bucket, CountedWindow
from penstock.policy.counted_window import WindowSnapshot as WindowSnapshot
from penstock.policy.holds import NOTHING, dearest, most_output
from penstock.policy.holds import Amount as Amount
from penstock.policy.holds import BudgetEvent as BudgetEvent
from penstock.policy.holds import Granted as Granted
from penstock.policy.holds import Line as Line
from penstock.policy.holds import Overrun as Overrun
from penstock.policy.holds import Refused as Refused
from penstock.policy.holds import SoftLimitReached as SoftLimitReached
from penstock.policy.holds import Waiting as Waiting
from penstock.policy.window import Per as Per

__all__ = [
    "AccountSnapshot",
    "AccountSpec",
    "Amount",
    "BudgetEvent",
    "Granted",
    "Ledger",
    "Limit",
    "Line",
    "Overrun",
    "Per",
    "Refused",
    "SoftLimitReached",
    "Waiting",
    "WindowSnapshot",
    "check_request_limits",
    "request_output_cap",
]


@attrs.frozen
class AccountSnapshot:
    """The limited windows of one account. The root's path is ""."""

    account: str
    windows: tuple[WindowSnapshot, ...]


@attrs.define
class _Part:
    """What was reserved at one time, and where it is counted: one bucket of every window on the account's path."""

    amount: Amount
    buckets: tuple[Bucket, ...]


@attrs.define
class _Hold:
    id: str
    account: str
    output_tokens: int
    parts: list[_Part]

    @property
    def amount(self) -> Amount:
        return sum((part.amount for part in self.parts), NOTHING)

    def granted(self) -> Granted:
        return Granted(self.id, self.output_tokens, self.amount)


@attrs.frozen
class _Ask:
    """A reserve that may have to wait."""

    hold_id: str
    account: str
    lines: tuple[Line, ...]
    min_output: int
    max_output: int
    wait_until: float | None
    least: Amount

    @classmethod
    def checked(
        cls, hold_id: str, account: str, lines: Sequence[Line], outputs: tuple[int, int], wait_until: float | None
    ) -> _Ask:
        min_output, max_output = outputs
        if not lines:
            raise ValueError("a hold needs at least one line")
        if not 0 <= min_output <= max_output:
            raise ValueError(f"outputs from {min_output} to {max_output} are no range")
        least = dearest(lines, min_output)
        return cls(hold_id, account, tuple(lines), min_output, max_output, wait_until, least)


@attrs.define
class _Node:
    """An account that has, or once had, limits of its own."""

    path: str
    windows: dict[Shape, CountedWindow] = attrs.Factory(dict[Shape, CountedWindow])


class Ledger:
    """The tree of accounts with everything held and spent. One owner calls it; nothing here waits.

    `now` is Unix time. One that goes back never reopens a window: windows follow the latest time ever given.
    A settled id is remembered for `tombstone` seconds, so that a reserve which comes after its settle is refused.
    """

    # Accounts made from patterns can be as many as there are users: the idle ones are dropped as their number doubles.
    _MOST_IDLE = 1_024

    def __init__(self, accounts: Sequence[AccountSpec], *, tombstone: float = 60.0) -> None:
        self._tree = AccountTree(accounts)
        self._tombstone_s = tombstone
        self._now = -math.inf
        self._nodes: dict[str, _Node] = {}
        self._sweep_at = self._MOST_IDLE
        self._holds: dict[str, _Hold] = {}
        self._waiting: dict[str, _Ask] = {}
        self._blocked: set[CountedWindow] = set()
        self._decided: list[Granted | Refused] = []
        self._tombstones: dict[str, float] = {}
        self._events: list[BudgetEvent] = []
        for path in self._tree.declared:
            self._open_node(path)

    def chain(self, account: str) -> tuple[AccountSpec, ...]:
        """The specs on the account's path, the root's first."""
        return self._tree.chain(account)

    def limited(self, account: str) -> bool:
        """True where any account on the path has a limit."""
        return any(spec.limits for spec in self._tree.chain(account))

    def money_limited(self, account: str) -> bool:
        """True where any account on the path has a limit in money."""
        return any(limit.nano_usd is not None for spec in self._tree.chain(account) for limit in spec.limits)

    def tenant_of(self, account: str) -> str:
        """The cache partition of the account."""
        return self._tree.tenant_of(account)

    def reserve(
        self,
        hold_id: str,
        account: str,
        lines: Sequence[Line],
        *,
        min_output: int,
        max_output: int,
        now: float,
        wait_until: float | None,
    ) -> Granted | Waiting | Refused:
        """Hold the dearest of the lines, with the largest output in the range that fits every window on the path.

        Where the least of it fits only once others settle, it waits, behind those who came before; None does not wait.
        Where it could not fit with every hold released, it is refused at once. Idempotent by id.
        """
        ask = _Ask.checked(hold_id, account, lines, (min_output, max_output), wait_until)
        self._tree.chain(account)
        self._advance(now)
        self._serve(now)
        held = self._holds.get(hold_id)
        if held is not None:
            return held.granted()
        if hold_id in self._tombstones:
            return Refused(hold_id, account, "", NOTHING, None, "settled")
        if hold_id in self._waiting:
            return Waiting(hold_id)
        decision = self._decide(ask, now)
        if isinstance(decision, Waiting):
            self._waiting[hold_id] = ask
        return decision

    def top_up(self, hold_id: str, more: Amount, now: float) -> Granted | Refused:
        """Hold more for a call that runs, all or nothing. It does not wait, and goes before those who do.

        What is added counts in the windows of now, the rest of the hold where it was reserved.
        """
        _check_amount(more)
        self._advance(now)
        hold = self._holds.get(hold_id)
        if hold is None:
            return Refused(hold_id, "", "", more, None, "settled")
        windows = self._windows(hold.account)
        for window in windows:
            missing = window.missing(more)
            if missing is not None:
                return self._refused(hold_id, window, missing, more)
        buckets = tuple(window.bucket(self._now) for window in windows)
        for bucket in buckets:
            bucket.hold(more)
        last = hold.parts[-1]
        if last.buckets == buckets:
            last.amount += more
        else:
            hold.parts.append(_Part(more, buckets))
        return hold.granted()

    def settle(self, hold_id: str, charged: Amount, now: float, *, estimated: bool = False) -> None:
        """Replace the hold by what was charged, in the window of the reservation. Idempotent by id.

        Takes a waiting one out of the queue. An unknown id leaves a tombstone: a reserve that comes later is refused.
        """
        _check_amount(charged)
        self._advance(now)
        if hold_id in self._tombstones:
            return
        self._tombstones[hold_id] = self._now + self._tombstone_s
        self._waiting.pop(hold_id, None)
        hold = self._holds.pop(hold_id, None)
        if hold is not None:
            self._charge(hold, charged, estimated=estimated)

    def take_grants(self, now: float) -> list[Granted | Refused]:
        """The answers for waiting holds that can go now, that no longer can, or whose wait is over."""
        self._advance(now)
        self._serve(now)
        decided, self._decided = self._decided, []
        return decided

    @property
    def next_wait_end(self) -> float | None:
        """When `take_grants` has something to decide although nothing was settled; None: nobody waits."""
        ends = [ask.wait_until for ask in self._waiting.values() if ask.wait_until is not None]
        refills = [window.buckets[0].end for window in self._blocked if window.buckets] if self._waiting else []
        return min([*ends, *refills], default=None)

    def snapshot(self, now: float | None = None) -> Mapping[str, AccountSnapshot]:
        """Every account with limited windows, by path: as of the last message, or of `now`."""
        if now is not None:
            self._advance(now)
        snapshots: dict[str, AccountSnapshot] = {}
        for node in self._nodes.values():
            windows = [window for window in node.windows.values() if window.limited]
            for window in windows:
                window.advance(self._now)
            if windows:
                snapshots[node.path] = AccountSnapshot(node.path, tuple(window.snapshot() for window in windows))
        return snapshots

    def take_events(self) -> list[BudgetEvent]:
        """Soft limits reached and overruns since it was last asked, in order."""
        events, self._events = self._events, []
        return events

    def reconfigure(self, accounts: Sequence[AccountSpec], now: float) -> None:
        """Other accounts and limits over what is held and spent.

        A window goes on where period, zone and kind stay the same, and goes on counting without a limit where it is no
        longer declared, in case it comes back. A new one begins with the outstanding holds of its subtree, and with
        what another window of the same account and period has spent.
        """
        tree = AccountTree(accounts)
        self._advance(now)
        self._tree = tree
        paths = dict.fromkeys([*self._nodes, *tree.declared])
        for hold in self._holds.values():
            paths.update(dict.fromkeys(path_and_parents(hold.account)))
        for path in paths:
            self._open_node(path)

    # How time passes

    def _advance(self, now: float) -> None:
        if not math.isfinite(now):
            raise ValueError(f"{now!r} is no time")
        self._now = max(self._now, now)
        while self._tombstones:
            oldest = next(iter(self._tombstones))
            if self._tombstones[oldest] > self._now:
                break
            del self._tombstones[oldest]

    # How a hold is decided

    def _serve(self, now: float) -> None:
        """Decide what of the queue can be decided, first come first served.

        Who lacks room in a window blocks it for all who come later, in whatever account they are: else small calls
        would starve a large one. Whom he does not compete with, he does not block.
        """
        self._blocked.clear()
        for ask in list(self._waiting.values()):
            decision = self._decide(ask, now)
            if not isinstance(decision, Waiting):
                del self._waiting[ask.hold_id]
                self._decided.append(decision)

    def _decide(self, ask: _Ask, now: float) -> Granted | Waiting | Refused:
        windows = self._windows(ask.account)
        hopeless = _lacking(windows, ask.least, but_holds=True)
        if hopeless:
            return self._exhausted(ask, hopeless)
        lacking = _lacking(windows, ask.least)
        behind = [window for window in windows if window in self._blocked]
        if not lacking and not behind:
            return self._grant(ask, windows)
        if ask.wait_until is None or now >= ask.wait_until:
            window, missing = lacking[0] if lacking else (behind[0], NOTHING)
            return Refused(ask.hold_id, window.account, window.describe(missing), missing, None, "held")
        self._blocked.update(window for window, _ in lacking)
        return Waiting(ask.hold_id)

    def _grant(self, ask: _Ask, windows: Sequence[CountedWindow]) -> Granted:
        tokens = min((window.free_tokens for window in windows if window.free_tokens is not None), default=None)
        nano_usd = min((window.free_nano_usd for window in windows if window.free_nano_usd is not None), default=None)
        output = most_output(ask.lines, tokens, nano_usd, ask.max_output)
        amount = dearest(ask.lines, output)
        buckets = tuple(window.bucket(self._now) for window in windows)
        for bucket in buckets:
            bucket.hold(amount)
        hold = self._holds[ask.hold_id] = _Hold(ask.hold_id, ask.account, output, [_Part(amount, buckets)])
        return hold.granted()

    def _exhausted(self, ask: _Ask, hopeless: Sequence[tuple[CountedWindow, Amount]]) -> Refused:
        # The one that refills last decides when to come back.
        refills = [(window.refills_at(ask.least), window, missing) for window, missing in hopeless]
        _, window, missing = max(refills, key=lambda refill: math.inf if refill[0] is None else refill[0])
        without_output = dearest(ask.lines, min(ask.min_output, 1))
        below = not _lacking(self._windows(ask.account), without_output, but_holds=True)
        return self._refused(ask.hold_id, window, missing, ask.least, below_minimum=below)

    def _refused(
        self, hold_id: str, window: CountedWindow, missing: Amount, need: Amount, *, below_minimum: bool = False
    ) -> Refused:
        exhausted = window.missing(need, but_holds=True) is not None
        return Refused(
            hold_id,
            window.account,
            window.describe(missing),
            missing,
            window.refills_at(need) if exhausted else None,
            "exhausted" if exhausted else "held",
            below_minimum,
        )

    # How a hold becomes a charge

    def _charge(self, hold: _Hold, charged: Amount, *, estimated: bool) -> None:
        rest = charged
        for part in hold.parts:
            share = rest if part is hold.parts[-1] else rest.at_most(part.amount)
            rest -= share
            for bucket in part.buckets:
                bucket.settle(part.amount, share, estimated=estimated)
        limited = {bucket.window: None for part in hold.parts for bucket in part.buckets if bucket.window.limited}
        if limited and not charged.fits(hold.amount):
            self._events.append(Overrun(hold.account, hold.id, hold.amount, charged))
        for window in limited:
            window.advance(self._now)
            self._events.extend(window.take_soft_events())

    # Which windows count for an account

    def _windows(self, account: str) -> list[CountedWindow]:
        windows = [window for node in self._path_nodes(account) for window in node.windows.values()]
        for window in windows:
            window.advance(self._now)
        return windows

    def _path_nodes(self, account: str) -> Iterator[_Node]:
        for path in path_and_parents(account):
            node = self._nodes.get(path) or self._open_node(path)
            if node is not None:
                yield node

    def _open_node(self, path: str) -> _Node | None:
        """The account's node with the limits of its spec, made where there is none; None where it needs none."""
        spec, node = self._tree.spec_of(path), self._nodes.get(path)
        if node is None:
            if spec is None:
                return None
            self._drop_idle()
            node = _Node(path)
        limits = _limits_by_shape(spec.limits if spec else ())
        for shape, window in node.windows.items():
            tokens, nano_usd = limits.pop(shape, (None, None))
            window.set_limits(tokens, nano_usd, spec.soft if spec else None)
        for shape, (tokens, nano_usd) in limits.items():
            node.windows[shape] = self._new_window(
                node, shape, CountedWindow(path, shape, tokens, nano_usd, spec.soft if spec else None)
            )
        self._nodes[path] = node
        return node

    def _new_window(self, node: _Node, shape: Shape, window: CountedWindow) -> CountedWindow:
        if self._now == -math.inf:
            return window
        bucket = window.bucket(self._now)
        for other in node.windows.values():
            if other.shape[0] is shape[0]:
                other.advance(self._now)
                bucket.spent = bucket.spent.at_least(other.spent)
        window.spent = bucket.spent
        for hold in self._holds.values():
            if node.path in path_and_parents(hold.account):
                for part in hold.parts:
                    part.buckets += (bucket,)
                    bucket.hold(part.amount)
        return window

    def _drop_idle(self) -> None:
        if len(self._nodes) < self._sweep_at:
            return
        for node in list(self._nodes.values()):
            for window in node.windows.values():
                window.advance(self._now)
            if node.path not in self._tree.declared and not any(window.buckets for window in node.windows.values()):
                del self._nodes[node.path]
        self._sweep_at = max(self._MOST_IDLE, 2 * len(self._nodes))


def _limits_by_shape(limits: Iterable[Limit]) -> dict[Shape, tuple[int | None, int | None]]:
    """The window limits, the smaller where two of them count over the same windows."""
    shapes: dict[Shape, tuple[int | None, int | None]] = {}
    for limit in limits:
        if limit.per is not Per.REQUEST:
            tokens, nano_usd = shapes.get(limit.shape, (None, None))
            shapes[limit.shape] = (_smaller(tokens, limit.tokens), _smaller(nano_usd, limit.nano_usd))
    return shapes


def _smaller(one: int | None, other: int | None) -> int | None:
    figures = [figure for figure in (one, other) if figure is not None]
    return min(figures, default=None)


def _lacking(
    windows: Iterable[CountedWindow], need: Amount, *, but_holds: bool = False
) -> list[tuple[CountedWindow, Amount]]:
    missing = [(window, window.missing(need, but_holds=but_holds)) for window in windows]
    return [(window, short) for window, short in missing if short is not None]


def _check_amount(amount: Amount) -> None:
    if amount.negative:
        raise ValueError(f"{amount} is negative")
