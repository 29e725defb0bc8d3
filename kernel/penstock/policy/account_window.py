"""One window of one account: how a step counts in it, what of its limits is spent, and how it is shown.

Not here: which windows an account has (`account_windows`), and what is held and spent in them (a ledger store).
"""

from __future__ import annotations

import attrs

from penstock.policy.accounts import Degrade, Shape, Shares, describe_limit
from penstock.policy.holds import NOTHING, Amount
from penstock.policy.ledger_steps import Turn, WindowRow, WindowUse
from penstock.policy.window import Per, bucket_at, window_at

__all__ = ["AccountSnapshot", "AccountWindow", "WindowSnapshot", "window_end", "window_key", "window_of"]

ROLLING = "rolling"


def window_key(account: str, shape: Shape) -> str:
    """The name of a window in a store: `day:Europe/Berlin:team/search`, `minute:rolling:`."""
    per, zone, rolling = shape
    return f"{per.value}:{ROLLING if rolling else zone}:{account}"


def window_of(key: str) -> tuple[str, Shape]:
    """The account and shape that a key names. Raises ValueError where it is none."""
    per, zone, account = key.split(":", 2)
    rolling = zone == ROLLING
    return account, (Per(per), "" if rolling else zone, rolling)


def window_end(shape: Shape, now: float) -> float:
    """When what is counted in a window of that shape at `now` leaves it."""
    per, zone, rolling = shape
    return bucket_at(per, now).end if rolling else window_at(per, now, zone).end


@attrs.frozen(kw_only=True)
class WindowSnapshot:
    """One window of one account at one moment. Units without a limit have None for `limit_` and `free_`."""

    per: str
    timezone: str
    rolling: bool
    limit_tokens: int | None
    limit_nano_usd: int | None
    held: Amount
    spent: Amount
    estimated: Amount
    """Of `spent`, what was charged without knowing the usage."""
    free_tokens: int | None
    free_nano_usd: int | None
    ends_at: float | None
    """When the calendar window ends, or the next charge leaves the rolling one; None where there is none yet."""
    by_estimate: bool = False
    """Holds count in it by what their calls most likely come to, so that its limit may be exceeded."""


@attrs.frozen
class AccountSnapshot:
    """The limited windows of one account. The root's path is ""."""

    account: str
    windows: tuple[WindowSnapshot, ...]


@attrs.define(eq=False)
class AccountWindow:
    """The windows of one shape of one account."""

    account: str
    shape: Shape
    limit_tokens: int | None
    limit_nano_usd: int | None
    soft_tokens: Shares = ()
    soft_nano_usd: Shares = ()
    degrade: Degrade | None = None
    by_estimate: bool = False
    """Holds count in it by what they most likely come to."""
    key: str = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.key = window_key(self.account, self.shape)

    @property
    def limited(self) -> bool:
        """False where it only goes on counting, in case its limit comes back."""
        return self.limit_tokens is not None or self.limit_nano_usd is not None

    @property
    def soft(self) -> bool:
        """True where somebody wants to be told of a share of a limit that is spent."""
        return bool(self.soft_tokens or self.soft_nano_usd)

    def use(self, now: float) -> WindowUse:
        """How a step at `now` counts in it."""
        end = window_end(self.shape, now)
        return WindowUse(self.key, end, self.shape[2], self.limit_tokens, self.limit_nano_usd, self.by_estimate)

    def exceeded(self, turn: Turn, share: float) -> list[str]:
        """The limits, in words, of which that share is spent after a charge."""
        return [*self._reached(turn, turn.after, (share,), (share,)).values()]

    def softly_exceeded(self, turn: Turn, spent: Amount) -> dict[tuple[str, float], str]:
        """The limits, in words, of which a share is spent that somebody wants to be told of, by unit and share.

        By the limits that counted at the charge; `spent`: before it or after it.
        """
        return self._reached(turn, spent, self.soft_tokens, self.soft_nano_usd)

    def _reached(
        self, turn: Turn, spent: Amount, of_tokens: Shares, of_nano_usd: Shares
    ) -> dict[tuple[str, float], str]:
        reached: dict[tuple[str, float], str] = {}
        tokens, nano_usd = self._limits(turn.limit_tokens, turn.limit_nano_usd)
        for share in of_tokens:
            if _over(tokens, spent.tokens, share):
                reached["tokens", share] = describe_limit(self.shape, tokens=tokens)
        for share in of_nano_usd:
            if _over(nano_usd, spent.nano_usd, share):
                reached["usd", share] = describe_limit(self.shape, nano_usd=nano_usd)
        return reached

    def _limits(self, tokens: int | None, nano_usd: int | None) -> tuple[int | None, int | None]:
        """The limits that count where these were set by hand."""
        return (
            self.limit_tokens if tokens is None or self.limit_tokens is None else tokens,
            self.limit_nano_usd if nano_usd is None or self.limit_nano_usd is None else nano_usd,
        )

    def snapshot(self, row: WindowRow | None) -> WindowSnapshot:
        """With what a store shows of it."""
        per, zone, rolling = self.shape
        row = row or WindowRow(key=self.key, held=NOTHING, spent=NOTHING, estimated=NOTHING, ends_at=None)
        tokens, nano_usd = self._limits(row.limit_tokens, row.limit_nano_usd)
        return WindowSnapshot(
            per=per.value,
            timezone=zone,
            rolling=rolling,
            limit_tokens=tokens,
            limit_nano_usd=nano_usd,
            held=row.held,
            spent=row.spent,
            estimated=row.estimated,
            free_tokens=None if tokens is None else tokens - row.held.tokens - row.spent.tokens,
            free_nano_usd=None if nano_usd is None else nano_usd - row.held.nano_usd - row.spent.nano_usd,
            ends_at=row.ends_at,
            by_estimate=self.by_estimate,
        )


def _over(limit: int | None, spent: int, share: float) -> bool:
    return limit is not None and spent > 0 and spent >= limit * share
