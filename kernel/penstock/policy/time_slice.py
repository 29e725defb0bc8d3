"""How much of a call's time one attempt may use up in silence while another target is left that could be asked.

Not here: the timeouts themselves (`stream_watch`), and which targets are left (`retry`).

A timeout that somebody has set is taken as it is. The defaults know nothing of the call: 600 s for a whole answer is
all the time that a call has by default, and a target that says nothing would leave none to any other.
"""

from __future__ import annotations

import attrs

from penstock.policy.stream_watch import Phases

__all__ = ["sliced"]


def sliced(phases: Phases, *, streamed: bool, left: float) -> Phases:
    """The timeouts of an attempt after which others are to get their turn, in a call that has `left` seconds.

    The one that ends its silence (of a stream `first_token`, of a whole answer `total`) is at most half of that, where
    nobody has set it.
    """
    half = left / 2
    if streamed:
        keeps = "first_token" in phases.given or phases.first_token <= half
        return phases if keeps else attrs.evolve(phases, first_token=half, halved=True)
    keeps = "total" in phases.given or phases.total <= half
    return phases if keeps else attrs.evolve(phases, total=half, halved=True)
