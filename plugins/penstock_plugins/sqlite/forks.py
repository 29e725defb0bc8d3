"""Forks of a process that has SQLite files open: none of them takes a connection along.

SQLite keeps what its process has locked in tables of the process. A fork has the tables and not the locks: what it
opens then is never locked, or locked for ever. So before a fork all is closed, as soon as nobody uses it, and the next
use opens it anew; a fork that could not wait for that is told so when it opens a file of its own.
Not here: how a file is opened and closed; programs that are started by `subprocess`, which take nothing along.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable

import attrs

__all__ = ["PATIENCE", "Guard", "trouble_of_fork"]

PATIENCE = 3.0
"""Seconds that a fork waits at most, which may be the thread in which trio runs: many times what a batch takes."""


class Guard:
    """What uses connections does it within this, in one thread at a time, and never within another one."""

    def __init__(self, let_go: Callable[[], None] = lambda: None) -> None:
        """`let_go` closes those that stay open, in any thread, while nobody uses them: soon, whatever the disk does."""
        self._let_go = let_go
        self._lock = threading.Lock()
        self._user = 0
        """The thread; 0: none."""
        with _door:
            _guards.add(self)

    def __enter__(self) -> None:
        with _door:  # a fork that is under way comes first
            self._lock.acquire()
        self._user = threading.get_ident()

    def __exit__(self, *_: object) -> None:
        self._user = 0
        self._lock.release()

    def leave(self) -> None:
        """There will be no connection any more."""
        with _door:
            _guards.discard(self)

    def stop(self, seconds: float) -> bool:
        """Waits until nobody uses it, and nobody does until `go_on`. False where that takes longer, or for ever."""
        return self._user != threading.get_ident() and self._lock.acquire(timeout=max(0.0, seconds))

    def let_go(self) -> None:
        """Closes what is open. Nobody uses it."""
        self._let_go()

    def go_on(self) -> None:
        """It may be used again."""
        self._lock.release()


@attrs.define
class _Fork:
    """One that is under way."""

    until: float
    has_door: bool = False
    stopped: list[Guard] = attrs.field(factory=list[Guard])
    is_clean: bool = False
    """Nothing is open."""

    def begin(self) -> None:
        self.has_door = _door.acquire(timeout=self._left())
        if not self.has_door:
            return
        for guard in list(_guards):
            if not guard.stop(self._left()):
                return
            self.stopped.append(guard)
        for guard in self.stopped:
            guard.let_go()
        self.is_clean = True

    def end(self) -> None:
        for guard in self.stopped:
            guard.go_on()
        if self.has_door:
            _door.release()

    def _left(self) -> float:
        return max(0.0, self.until - time.monotonic())


_door = threading.Lock()
"""Who begins to use a connection passes it; a fork keeps it, so that it does not wait for one after the other."""
_guards: weakref.WeakSet[Guard] = weakref.WeakSet()
_under_way: dict[int, _Fork] = {}
"""By its thread, which goes on in the child."""
_parent = 0
"""The process from which this one has taken connections along; 0: it has not."""


def trouble_of_fork() -> str | None:
    """Why this process may open no file, in words that say what to do. None: it may."""
    if not _parent:
        return None
    return (
        f"process {_parent} could not close its SQLite files when this one was forked from it, as one was in use, and"
        " SQLite cannot keep the two apart now: start this one by spawn or forkserver of multiprocessing, or before"
        " that one opens a kernel"
    )


def _before() -> None:
    if _parent:
        return
    fork = _under_way[threading.get_ident()] = _Fork(time.monotonic() + PATIENCE)
    fork.begin()


def _after_in_parent() -> None:
    fork = _under_way.pop(threading.get_ident(), None)
    if fork is not None:
        fork.end()


def _after_in_child() -> None:
    global _door, _parent  # noqa: PLW0603 - they are of the process, and this is another one
    fork = _under_way.pop(threading.get_ident(), None)
    _under_way.clear()
    if fork is not None and fork.is_clean:
        fork.end()
    elif _guards:
        # Threads that are not here may have the door, and guards. These nobody uses any more.
        _door = threading.Lock()
        _guards.clear()
        _parent = _parent or os.getppid()


if hasattr(os, "register_at_fork"):  # where processes fork
    os.register_at_fork(before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child)
