"""How long a call waits before it tries a target again that has just failed it.

Not here: what a server asks for (`hints`), and how long a call that has failed too often stays away (`call_share`).
"""

from __future__ import annotations

from msgspec import Struct

__all__ = ["DEFAULTS", "RetrySettings", "backoff"]


class RetrySettings(Struct, frozen=True):
    """Seconds. Base and cap as the OpenAI and Anthropic SDKs have them; full jitter as AWS measured it to be best."""

    backoff_base: float = 0.5
    backoff_cap: float = 8.0
    max_wait: float = 5.0
    """The longest wait for one target while another could answer."""


DEFAULTS = RetrySettings()


def backoff(failures: int, settings: RetrySettings, jitter: float) -> float:
    """Seconds to wait after the n-th failure (from 1): full jitter, `jitter` in [0, 1]."""
    # Doubled no further than to a thousand million times: a float has no room for what a thousand doublings come to.
    return jitter * min(settings.backoff_cap, settings.backoff_base * 2.0 ** min(failures - 1, 30))
