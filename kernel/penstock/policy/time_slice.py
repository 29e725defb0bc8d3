"""When an attempt is streamed, and how much of a call's time it may use up in silence while another target is left.

Not here: the timeouts themselves (`stream_watch`), and which targets are left (`retry`).

A timeout that somebody has set is taken as it is. The defaults know nothing of the call: 600 s for a whole answer is
all the time that a call has by default, and a target that says nothing would leave none to any other. Nobody is hurried
beyond half of the default itself, however short the call: up to there a target may well be slow, and not silent.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from penstock.policy.stream_watch import Phases
from penstock.policy.upstream_stream import UpstreamStream, streams_upstream
from penstock.types import Capabilities

__all__ = ["sliced", "timed"]


def timed(
    phases: Phases,
    capabilities: Capabilities,
    mode: UpstreamStream,
    *,
    watched: bool,
    takes_long: bool,
    left: float,
    could_follow: Callable[[], bool],
) -> tuple[Phases, bool]:
    """The timeouts of an attempt in a call that has `left` seconds, and whether it is streamed.

    `watched`: the answer is streamed to somebody anyway; `could_follow`: whether another target could be asked in the
    call's time. It is asked only where that matters.
    """
    follows = phases.total > left / 2 and could_follow()
    hurried = follows and phases.total >= left
    streamed = watched or streams_upstream(capabilities, mode, takes_long=takes_long, hurried=hurried)
    return (sliced(phases, streamed=streamed, left=left) if follows else phases), streamed


def sliced(phases: Phases, *, streamed: bool, left: float) -> Phases:
    """The timeouts of an attempt after which others are to get their turn, in a call that has `left` seconds.

    The one that ends its silence (of a stream `first_token`, of a whole answer `total`) is at most half of that, but no
    less than half of itself, where nobody has set it.
    """
    usual = phases.first_token if streamed else phases.total
    most = max(left, usual) / 2
    if ("first_token" if streamed else "total") in phases.given or usual <= most:
        return phases
    if streamed:
        return msgspec.structs.replace(phases, first_token=most, halved=True)
    return msgspec.structs.replace(phases, total=most, halved=True)
