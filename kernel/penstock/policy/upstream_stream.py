"""Whether an answer that is wanted whole is streamed upstream all the same.

A stream tells within seconds that a provider is silent; a long answer that comes whole tells it after minutes.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from penstock.types import Capabilities, ChatRequest

__all__ = ["UpstreamStream", "asks_for_thinking", "streams_upstream"]

UpstreamStream: TypeAlias = Literal["auto", "always", "never"]
LONG_ANSWER = 4_096
"""Output tokens above which an answer takes a minute or more at the usual 50 to 100 tokens a second."""


def asks_for_thinking(request: ChatRequest) -> bool:
    """True where the caller wants the model to think."""
    return request.thinking not in (None, "off", 0)


def streams_upstream(
    request: ChatRequest, capabilities: Capabilities, mode: UpstreamStream = "auto", *, hurried: bool = False
) -> bool:
    """True where the exchange is to be streamed.

    `auto`: where usage is told in streams, and the answer may take long or the call is `hurried`: waiting for a whole
    answer that never comes would take all the time that is left, and another target could be asked. What makes an
    answer long is what the caller asks for, not what a budget or a wire inserts.
    """
    if mode != "auto":
        return mode == "always"
    takes_long = asks_for_thinking(request) or (request.max_tokens or 0) > LONG_ANSWER
    return (takes_long or hurried) and capabilities.stream_usage
