"""How the command ends: its exit codes, and which error ends in which.

Not here: printing anything.
"""

from __future__ import annotations

from penstock.errors import (
    CacheStoreError,
    ConfigError,
    DeadlineExceededError,
    NoRouteError,
    PenstockError,
    PluginError,
    RejectedError,
    UnsendableRequestError,
)

__all__ = ["BROKEN_PIPE", "DEADLINE", "FAILED", "INTERRUPTED", "OK", "REFUSED", "USAGE", "exit_code"]

OK = 0
FAILED = 1
USAGE = 2
REFUSED = 3
"""Nothing was sent, so that it may be tried elsewhere at once."""
DEADLINE = 124
"""As timeout(1) has it."""
INTERRUPTED = 130
"""128 and SIGINT, as shells have it."""
BROKEN_PIPE = 141
"""128 and SIGPIPE, as for any command whose reader has left."""


def exit_code(error: PenstockError) -> int:
    """The code for an error, by what whoever called the command may do next."""
    match error:
        case DeadlineExceededError():
            return DEADLINE
        case NoRouteError() | UnsendableRequestError():
            return USAGE
        case RejectedError():
            # After attempts that were made, and paid for, it is a call that failed.
            return FAILED if error.attempts else REFUSED
        case CacheStoreError():
            return FAILED
        case ConfigError() | PluginError():
            return USAGE
        case _:
            return FAILED
