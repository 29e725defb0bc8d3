"""Room on the stack of whoever calls: a call that began always has enough of it to come to its end.

Much of a call runs in its caller's own task, the work of actors as well. A caller that recurses without end would run
out of stack in the middle of it, and what belongs to all would be left half done.
"""

from __future__ import annotations

import sys

__all__ = ["check_stack_room"]

ROOM = 250
"""Frames. A call takes 24 of them, with structured output 40; plugins come on top."""


def check_stack_room() -> None:
    """Raises RecursionError where the stack is nearly full: before anything has begun."""
    limit = sys.getrecursionlimit()
    try:
        sys._getframe(max(limit - ROOM, limit // 2))  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - documented
    except ValueError:
        return  # it is not that deep
    raise RecursionError(
        f"fewer than {ROOM} frames are left of the recursion limit of {limit}: does something call the kernel over and"
        " over from within itself? A call needs room on the stack; sys.setrecursionlimit allows more of it"
    )
