"""How long a call waits for a probe of a target that had fallen silent before it begins elsewhere too.

Not here: whether such a second attempt may be made (the call), and what becomes of the breaker (`circuit`).

Two dangers pull in opposite directions. Who waits long for a target that is still silent makes a caller pay for each
probe. Who never waits longer than a faster target takes to overtake it never learns that a slow one is well again. So
every other probe is short, and those between grow as the cut-offs of Luby's universal strategy do: 1, 2, 1, 4, 1, 2, 1,
8. Whatever time a healthy target needs, some probe gives it that much, after a number of probes in proportion to it;
and the waits of a silent one stay, on average, within a few times the shortest.
"""

from __future__ import annotations

__all__ = ["HEDGE_AFTER", "patience"]

HEDGE_AFTER = 2.0
"""Seconds that the first probe, and every other one after it, is waited for at most."""


def patience(usual: float | None, overtaken: int, *, limit: float, left: float) -> float:
    """Seconds until a hedge begins beside a probe.

    `usual`: within which the target, while it was healthy, began to answer in 19 cases of 20 (None: not known);
    `overtaken`: how many probes in a row a hedge has overtaken; `limit`: the timeout that ends the probe, of which half
    is what a healthy target may take; `left`: what the call has, of which half is kept for the hedge.
    """
    short = HEDGE_AFTER if usual is None else min(HEDGE_AFTER, usual)
    seconds = short
    if overtaken % 2:
        turn = (overtaken + 1) // 2
        seconds = max(usual or 0.0, 2 * short) * (turn & -turn)
    return max(0.0, min(seconds, limit / 2, left / 2))
