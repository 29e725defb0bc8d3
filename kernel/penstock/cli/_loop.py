"""The event loop of a command, where Ctrl-C comes only at checkpoints.

Elsewhere it may come while trio itself starts or ends a task of ours, which breaks the loop: a traceback of trio's in
place of a command that ends.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar, TypeVarTuple

import trio

__all__ = ["run_loop"]

T = TypeVar("T")
Arguments = TypeVarTuple("Arguments")


def run_loop(main: Callable[[*Arguments], Awaitable[T]], *args: *Arguments) -> T:
    """`trio.run(main, *args)`; an interrupt is raised at the next checkpoint of `main`."""
    return trio.run(main, *args, restrict_keyboard_interrupt_to_checkpoints=True)
