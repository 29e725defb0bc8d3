"""Foreign code behind a guard: what it raises becomes a PluginError, and what does not fit is found out beforehand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pluggy

from penstock import hookspecs
from penstock._foreign import let_through
from penstock.errors import PluginLoadError
from penstock.hookspecs import PROJECT

__all__ = ["guarded", "hook_manager", "rehearse"]

LONGEST_REASON = 300
"""Characters of a foreign error's text in ours."""


def hook_manager() -> pluggy.PluginManager:
    """One that knows penstock's hooks, and no plugin."""
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(hookspecs)
    return manager


def rehearse(plugin: object) -> None:
    """Registers the plugin where it can do no harm. Raises what is wrong with its hooks."""
    manager = hook_manager()
    manager.register(plugin)
    manager.check_pending()
    callers = manager.get_hookcallers(plugin)
    if not callers:
        raise TypeError(
            "it implements none of them: mark functions named as in penstock.hookspecs with penstock.hookimpl"
        )
    for caller in callers:
        for implementation in caller.get_hookimpls():
            if implementation.hookwrapper or implementation.wrapper:
                raise TypeError(f"its {caller.name} is a wrapper, which penstock's hooks do not take")


def guarded(act: Callable[[], Any], says: str) -> Any:
    """What `act` returns; whatever it raises, `sys.exit` too, becomes a PluginLoadError."""
    try:
        return act()
    except BaseException as error:
        let_through(error)
        # SystemExit too: a plugin that exits must not end the process.
        raise PluginLoadError(f"{says}: {_reason(error)}") from error


def _reason(error: BaseException) -> str:
    try:
        words = " ".join(str(error).split())
    except BaseException as unsaid:  # noqa: BLE001  # even the text of a foreign exception is foreign code
        let_through(unsaid)
        words = ""
    return f"{type(error).__name__}: {words[:LONGEST_REASON]}" if words else type(error).__name__
