"""The error-action table as data: what each kind of error an attempt can end in means for the call and for everyone.

Not here: the cascade that walks a route by it (`retry`).
"""

from __future__ import annotations

import enum
from collections.abc import Mapping

import attrs

__all__ = ["ACTIONS", "Action", "Blame", "Cools", "Next", "Same"]


class Same(enum.Enum):
    """May the same target be tried again?"""

    NEVER = "never"
    AT_ONCE = "at once"
    """Once, on a fresh connection; it counts as no attempt."""
    ONCE = "once"
    BACKOFF = "backoff"
    WAIT = "wait"
    """As the server asks, where that is short; otherwise others go first."""
    LAST = "last"
    """Only when no other target is left."""


class Next(enum.Enum):
    """May the next target be tried?"""

    NEVER = "never"
    YES = "yes"
    LARGER_WINDOW = "larger window"
    BY_POLICY = "by policy"


class Blame(enum.Enum):
    """Whose breaker counts the failure."""

    NOBODY = "nobody"
    TARGET = "target"
    PROVIDER = "provider"
    KEY = "key"


class Cools(enum.Enum):
    """What is left alone for a while, by every call."""

    NOTHING = "nothing"
    TARGET = "target"
    KEY = "key"


@attrs.frozen
class Action:
    """One row of the table."""

    same: Same
    next: Next
    blame: Blame = Blame.NOBODY
    cools: Cools = Cools.NOTHING
    loud: bool = False
    """Someone must act (a key, a model name): logged as an error even where another target answers."""
    billed: bool = True
    """False where the exchange certainly cost nothing: it was not sent, or it was refused."""


_TIMEOUT = Action(Same.LAST, Next.YES, Blame.TARGET)
_PROVIDER_FAILED = Action(Same.BACKOFF, Next.YES, Blame.TARGET)

ACTIONS: Mapping[str, Action] = {
    "rate_limited": Action(Same.WAIT, Next.YES, cools=Cools.TARGET, billed=False),
    "quota_exhausted": Action(Same.NEVER, Next.YES, cools=Cools.KEY, billed=False),
    # What is left does for other requests, and maybe for this one at a cheaper model of the same account.
    "quota_short": Action(Same.NEVER, Next.YES, billed=False),
    "overloaded": _PROVIDER_FAILED,
    "server_error": _PROVIDER_FAILED,
    "provider_error": _PROVIDER_FAILED,
    "connect": Action(Same.BACKOFF, Next.YES, Blame.PROVIDER, billed=False),
    "connect_timeout": Action(Same.LAST, Next.YES, Blame.PROVIDER, billed=False),
    "connection_lost": Action(Same.BACKOFF, Next.YES, Blame.PROVIDER),
    "transport": Action(Same.BACKOFF, Next.YES, Blame.PROVIDER),
    # That nothing was read is likely, not certain: it costs its bound until somebody says otherwise.
    "reused_connection_closed": Action(Same.AT_ONCE, Next.YES),
    "timeout": _TIMEOUT,
    "first_token_timeout": _TIMEOUT,
    "idle_timeout": _TIMEOUT,
    "too_slow": _TIMEOUT,
    "total_timeout": _TIMEOUT,
    "malformed": Action(Same.ONCE, Next.YES, Blame.TARGET),
    "truncated": Action(Same.ONCE, Next.YES, Blame.TARGET),
    # The target is well. Another sample may do; where none does the request most likely asks too much of the model, and
    # that is nothing against it in the eyes of other calls.
    "generation_failed": Action(Same.ONCE, Next.YES),
    # What more there is to have is not paid for.
    "budget_cut": Action(Same.NEVER, Next.NEVER),
    "context_length": Action(Same.NEVER, Next.LARGER_WINDOW, billed=False),
    "content_filtered": Action(Same.NEVER, Next.BY_POLICY),
    "refused": Action(Same.NEVER, Next.BY_POLICY),
    "authentication": Action(Same.NEVER, Next.YES, Blame.KEY, loud=True, billed=False),
    "permission_denied": Action(Same.NEVER, Next.YES, Blame.KEY, loud=True, billed=False),
    "model_not_found": Action(Same.NEVER, Next.YES, loud=True, billed=False),
    "invalid_request": Action(Same.NEVER, Next.NEVER, billed=False),
    "unsendable": Action(Same.NEVER, Next.YES, billed=False),
    "unsupported": Action(Same.NEVER, Next.YES, billed=False),
    "parameter_demanded": Action(Same.NEVER, Next.NEVER, billed=False),
    # The target is well, and what is done about it is not the cascade's to say.
    "output_invalid": Action(Same.NEVER, Next.NEVER),
    "codec": Action(Same.NEVER, Next.YES, loud=True),
}
"""Every kind of error an attempt can end in. Kinds that end the call itself (its deadline, its budget) are not here."""
