"""What goes wrong in telemetry: told once for each kind, and never to a call."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from penstock._foreign import let_through

__all__ = ["Troubles", "kept"]

logger = logging.getLogger("penstock")

P = ParamSpec("P")


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


class _Troubled(Protocol):
    troubles: Troubles


T = TypeVar("T", bound=_Troubled)


def kept(method: Callable[Concatenate[T, P], None]) -> Callable[Concatenate[T, P], None]:
    """The border: what the method raises is told once of each kind, and goes no further."""

    @wraps(method)
    def keeps(self: T, /, *args: P.args, **kwargs: P.kwargs) -> None:
        try:
            method(self, *args, **kwargs)
        except BaseException as error:  # noqa: BLE001 - foreign code
            let_through(error)
            self.troubles.met(error)

    return keeps
