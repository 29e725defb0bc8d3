"""Who is the first to probe a circuit whose time is over: a call that comes just then, before those that wait for it.

Not here: how many may (`permits`), and the order among those who wait (`line`).

A call that waits would probe at the very first moment; with calls in line, a target that is down would be probed as
often as its circuit allows, and more often than calls come. The first time that is well: most troubles are short. Once
a probe has failed, those who come are let pass first, and those who wait learn from them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

__all__ = ["HELD_BACK", "held_back"]

HELD_BACK = 3.0
"""Seconds that calls which wait leave to those that come. With one call every 5 s, all of which wait, an outage of a
minute that began with five failures sees four probes at most, however the jitter falls; without it, five. And a target
that is back carries calls within 20 s: it is 15 at most until its circuit may be probed."""


def held_back(
    opened: Mapping[int, float], again: Collection[int], now: float, *, has_waited: bool, deadline: float
) -> Mapping[int, float]:
    """For each stage with an open circuit, the moment from which this call may probe it.

    `opened` has the moment at which its time is over; `again` are the stages of which a probe has failed already. There
    a call that had to wait (`has_waited`), or will have to, comes `HELD_BACK` seconds later, unless its time is up by
    then; one that comes after that moment goes at once.
    """
    held = {stage: over + HELD_BACK for stage, over in opened.items() if stage in again and (has_waited or over > now)}
    return {**opened, **{stage: at for stage, at in held.items() if at < deadline}}
