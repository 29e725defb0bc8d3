"""Events for plugins: each listener is called behind a guard and on a watch, and put aside where it misbehaves."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

import attrs

from penstock._events import Event
from penstock._foreign import let_through

__all__ = ["EventPlugins"]

logger = logging.getLogger("penstock")

SLOW = 0.01
"""Seconds. A call lasts seconds and a chunk milliseconds: a listener that takes longer than this stops them all."""
SLOW_TIMES = 3
"""How often it may be slow: once can be the machine's fault."""


@attrs.define
class _Listener:
    name: str
    call: Callable[[Event], object]
    slow: int = 0


class EventPlugins:
    """Calls every `penstock_event` of the plugins. Never raises."""

    def __init__(self, listeners: Sequence[tuple[str, Callable[[Event], object]]]) -> None:
        self._listeners = [_Listener(name, call) for name, call in listeners]

    def __bool__(self) -> bool:
        return bool(self._listeners)

    def __call__(self, event: Event) -> None:
        for listener in tuple(self._listeners):
            began = time.perf_counter()
            try:
                listener.call(event)
            except BaseException as error:  # noqa: BLE001 - foreign code; told by name, and not called again
                let_through(error)
                self._put_aside(listener, f"it raised {type(error).__name__}")
                continue
            if time.perf_counter() - began > SLOW:
                listener.slow += 1
                if listener.slow >= SLOW_TIMES:
                    self._put_aside(listener, f"it took more than {SLOW:g} s, {SLOW_TIMES} times")

    def _put_aside(self, listener: _Listener, why: str) -> None:
        self._listeners.remove(listener)
        logger.warning("plugin %s: its penstock_event is not called any more: %s", listener.name, why)
