"""What plugins opened, each kept in a task of its own from the start of the kernel to its end."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeVar, cast

import trio

from penstock._edge import named
from penstock._foreign import let_through
from penstock.errors import ConfigError, PluginLoadError

__all__ = ["OpenPlugins", "cannot_open"]

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
        except BaseException as error:
            let_through(error)
            inside = error.__traceback__ is not None and error.__traceback__.tb_next is not None
            why = error if inside else f"its open cannot be called with (options, tools): {type(error).__name__}"
            raise cannot_open(what, why) from error
        if not isinstance(cast("object", opening), AbstractAsyncContextManager):
            given = type(opening).__name__
            raise cannot_open(what, f"its open gave {given}, and is to give an asynchronous context manager")
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
                        raise cannot_open(what, f"it opened {type(made).__name__}, which is no {kind.__name__}")  # noqa: TRY301 - as all that fails here
                    # Then nobody takes it over: a task that stays is waited for where it was started, for ever.
                    cancelled = trio.current_effective_deadline() == -math.inf
                    opened = scope.shield = True
                    scope.deadline = math.inf
                    task_status.started(made)
                    if not cancelled:
                        await self._stop.wait()
                    scope.deadline = trio.current_time() + CLOSING
        except BaseException as error:
            let_through(error)
            if opened:
                # It had done its work: what breaks while it closes is told, and harms nobody else.
                logger.warning("the plugin of %s broke while it closed: %s", what, type(error).__name__)
            elif isinstance(error, ConfigError | PluginLoadError):
                raise
            else:
                raise cannot_open(what, error) from error
        finally:
            done.set()
        if not opened:
            raise PluginLoadError(f"the plugin of {what} did not open within {OPENING:g} s")


def cannot_open(what: str, why: BaseException | str) -> PluginLoadError:
    """Our error for a plugin that failed to open: what, where in it, and what to do. Its own words are those of the
    cause: they may quote its options.
    """
    says = why if isinstance(why, str) else f"{named(why)} (the cause of this error has its words)"
    return PluginLoadError(
        f"the plugin of {what} failed to open: {says}; mend the plugin or its options, or take it out of the"
        " configuration"
    )
