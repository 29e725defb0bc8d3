"""Whether an answer that is wanted whole is streamed upstream all the same.

A stream tells within seconds that a provider is silent; a long answer that comes whole tells it after minutes.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from penstock.types import Capabilities, ChatRequest

__all__ = ["LONG_ANSWER", "UpstreamStream", "asked_to_think", "may_be_streamed", "streams_upstream", "takes_long"]

UpstreamStream: TypeAlias = Literal["auto", "always", "never"]
LONG_ANSWER = 4_096
"""Output tokens above which an answer takes a minute or more at the usual 50 to 100 tokens a second."""


def asked_to_think(request: ChatRequest, *, own: bool | None = None) -> bool | None:
    """Whether the model is asked to think, by the caller or else by the target's params (`own`). None: nobody says."""
    return own if request.thinking is None else request.thinking not in ("off", 0)


def takes_long(request: ChatRequest, *, thinks: bool, own_max_tokens: int | None = None) -> bool:
    """True where the answer may take minutes: `thinks` is what was asked for, and so are the params' `own_max_tokens`.

    What makes an answer long is what somebody asks for, not what a budget or a wire inserts.
    """
    return thinks or (request.max_tokens or own_max_tokens or 0) > LONG_ANSWER


def streams_upstream(
    capabilities: Capabilities, mode: UpstreamStream, *, takes_long: bool, hurried: bool = False
) -> bool:
    """True where the exchange is to be streamed.

    `auto`: where usage is told in streams, and the answer may take long or the call is `hurried`: waiting for a whole
    answer that never comes would take all the time that is left, and another target could be asked.
    """
    if mode != "auto":
        return mode == "always"
    return (takes_long or hurried) and capabilities.stream_usage


def may_be_streamed(capabilities: Capabilities, mode: UpstreamStream, *, others: bool) -> bool:
    """True where a target of which a whole answer is asked now may be asked for a stream once less time is left.

    `others`: the call has other targets.
    """
    return others and streams_upstream(capabilities, mode, takes_long=False, hurried=True)
