"""What plugins opened, each kept in a task of its own from the start of the kernel to its end."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeVar

import trio

from penstock.errors import ConfigError, PluginLoadError

__all__ = ["OpenPlugins"]

logger = logging.getLogger("penstock")

Opened = TypeVar("Opened")

OPENING = 30.0
"""Seconds for one plugin to open what it offers."""
CLOSING = 5.0
"""Seconds for all plugins to close what they opened; one that hangs is left behind."""


class OpenPlugins:
    """Opens what plugins offer, and closes it in the end."""

    def __init__(self) -> None:
        self._stop = trio.Event()
        self._done: list[trio.Event] = []

    async def open(
        self,
        what: str,
        kind: type,
        make: Callable[[], AbstractAsyncContextManager[Opened]],
        nursery: trio.Nursery,
    ) -> Opened:
        """Opens one thing, which must be a `kind`, in a task of the nursery.

        Raises ConfigError where the plugin says so, PluginLoadError for whatever else goes wrong.
        """
        try:
            opening = make()
        except Exception as error:
            raise PluginLoadError(f"the plugin of {what} failed to open: {type(error).__name__}") from error
        opened: Opened = await nursery.start(self._hold, what, kind, opening)
        await trio.lowlevel.checkpoint_if_cancelled()  # it is closed again then: see `_hold`
        return opened

    def stop(self) -> None:
        """Tells all to close."""
        self._stop.set()

    async def close(self) -> None:
        """Closes all, and waits for them: for a bounded time."""
        self._stop.set()
        for done in self._done:
            await done.wait()

    async def _hold(
        self,
        what: str,
        kind: type,
        opening: AbstractAsyncContextManager[Any],
        *,
        task_status: trio.TaskStatus[Any] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Its scopes stay out of the user's.

        Shielded once it is open, like the actors: a cancel from outside ends the body first, and calls that the body
        still makes while it cleans up find everything in its place.
        """
        done = trio.Event()
        self._done.append(done)
        opened = False
        try:
            with trio.CancelScope(deadline=trio.current_time() + OPENING) as scope:
                async with opening as made:
                    if not isinstance(made, kind):
                        raise TypeError(f"{type(made).__name__} is no {kind.__name__}")  # noqa: TRY301 - as all that fails here
                    # Then nobody takes it over: a task that stays is waited for where it was started, for ever.
                    cancelled = trio.current_effective_deadline() == -math.inf
                    opened = scope.shield = True
                    scope.deadline = math.inf
                    task_status.started(made)
                    if not cancelled:
                        await self._stop.wait()
                    scope.deadline = trio.current_time() + CLOSING
        except Exception as error:
            if opened:
                # It had done its work: what breaks while it closes is told, and harms nobody else.
                logger.warning("the plugin of %s broke while it closed: %s", what, type(error).__name__)
            elif isinstance(error, ConfigError | PluginLoadError):
                raise
            else:
                raise PluginLoadError(f"the plugin of {what} failed to open: {type(error).__name__}") from error
        finally:
            done.set()
        if not opened:
            raise PluginLoadError(f"the plugin of {what} did not open within {OPENING:g} s")
