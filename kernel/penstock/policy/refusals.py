"""What a ledger's answer says to who asked for a hold that there is no room for: which limit, how much, until when.

Not here: who waits all the same (`hold_queue`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal

from penstock.policy.account_window import AccountWindow
from penstock.policy.accounts import describe_limit
from penstock.policy.holds import NOTHING, Amount, Refused
from penstock.policy.ledger_steps import Lack, Lacking

__all__ = ["refusals", "refused"]


def refused(hold_id: str, lacking: Lacking, windows: dict[str, AccountWindow]) -> Refused:
    """Names the limit that decides when to come back: the spent one that refills last, else the first that is held."""
    below = lacking.shortest_fits
    spent = [(lack, lack.missing_of_spent) for lack in lacking.lacks if lack.missing_of_spent is not None]
    if spent:
        lack, missing = max(spent, key=lambda pair: math.inf if pair[0].refills_at is None else pair[0].refills_at)
        return _refusal(hold_id, lack, windows, missing, "exhausted", below_minimum=below)
    if lacking.lacks:
        lack = lacking.lacks[0]
        return _refusal(hold_id, lack, windows, lack.missing, "held", below_minimum=below)
    window = windows.get(lacking.behind[0]) if lacking.behind else None
    words = describe_limit(window.shape, tokens=window.limit_tokens, nano_usd=window.limit_nano_usd) if window else ""
    return Refused(hold_id, window.account if window else "", words, NOTHING, None, "held", below_minimum=below)


def refusals(lacking: Lacking, windows: Iterable[AccountWindow]) -> tuple[Refused, ...]:
    """One for each window in which there is no room, in their order; `refused` is the one that decides."""
    by_key = {window.key: window for window in windows}
    found: list[Refused] = []
    for lack in lacking.lacks:
        missing = lack.missing_of_spent or lack.missing
        reason: Literal["exhausted", "held"] = "held" if lack.missing_of_spent is None else "exhausted"
        found.append(_refusal("", lack, by_key, missing, reason, below_minimum=lacking.shortest_fits))
    return tuple(found)


def _refusal(
    hold_id: str,
    lack: Lack,
    windows: dict[str, AccountWindow],
    missing: Amount,
    reason: Literal["exhausted", "held"],
    *,
    below_minimum: bool,
) -> Refused:
    account, words = _limit_of(lack, windows, missing)
    return Refused(
        hold_id,
        account,
        words,
        missing,
        lack.refills_at,
        reason,
        below_minimum=below_minimum,
        basis="estimate" if lack.by_estimate else "bound",
        otherwise=lack.otherwise,
    )


def _limit_of(lack: Lack, windows: dict[str, AccountWindow], missing: Amount) -> tuple[str, str]:
    """The account and the limit in words: where something is missing, only the limit that it is missing of."""
    window = windows[lack.key]
    tokens = lack.limit_tokens if missing.tokens or not missing.nano_usd else None
    nano_usd = lack.limit_nano_usd if missing.nano_usd or not missing.tokens else None
    return window.account, describe_limit(window.shape, tokens=tokens, nano_usd=nano_usd)
