"""What a nursery of ours ends in, bare: no group of ours reaches a user."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import NoReturn

import trio

__all__ = ["raise_as_it_is", "ungrouped", "unwrapped"]


@contextmanager
def ungrouped() -> Generator[None]:
    """Around a nursery: what comes out of it is one exception, with the cause and context that it has."""
    try:
        yield
    except BaseExceptionGroup as group:
        bare = unwrapped(group)
    else:
        return
    try:
        raise_as_it_is(bare)
    finally:
        del bare  # it holds this frame: together they would wait for the garbage collector


def raise_as_it_is(bare: BaseException) -> NoReturn:
    """Raises what came in a group, or was caught, with the context that it has: not that group, which holds it."""
    context = bare.__context__
    try:
        raise bare
    finally:
        bare.__context__ = context
        del bare, context  # as above


def unwrapped(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The gravest of a group: what ends the program, before what went wrong in it, before cancellations."""
    others = group.split(trio.Cancelled)[1] or group
    gravest = others.split(Exception)[1] or others
    first: BaseException = gravest.exceptions[0]
    return unwrapped(first) if isinstance(first, BaseExceptionGroup) else first  # pyright: ignore[reportUnknownArgumentType] - whatever is in a group is an exception
