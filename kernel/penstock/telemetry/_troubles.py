"""What goes wrong in telemetry: told once for each kind, and never to a call."""

from __future__ import annotations

import logging

__all__ = ["Troubles"]

logger = logging.getLogger("penstock")


class Troubles:
    """Those of one kernel."""

    def __init__(self) -> None:
        self._met: set[str] = set()

    def met(self, error: BaseException) -> None:
        """Something raised. Its words are not told: they may hold what a span holds."""
        kind = type(error).__name__
        if kind not in self._met and len(self._met) < 32:
            self._met.add(kind)
            logger.error("telemetry: a span or metric was lost to %s; the next of its kind are not told", kind)
