"""What coredis logs of connections that are ours: nothing, for whoever asks by them tells what went wrong, in a line.

It logs each attempt that failed with a hundred lines of traceback, wherever an app listens. Of connections of the app's
own nothing is kept back.
"""

from __future__ import annotations

import logging
from contextvars import ContextVar

__all__ = ["OURS", "keep_quiet"]

OURS: ContextVar[bool] = ContextVar("penstock_coredis", default=False)
"""Set where a connection of ours is made and lives; tasks inherit it from whoever starts them."""


def keep_quiet() -> None:
    """From now on. Harmless where it was done before."""
    logger = logging.getLogger("coredis")
    logger.addFilter(_is_of_others)  # the same one is added once


def _is_of_others(_: logging.LogRecord) -> bool:
    return not OURS.get()
