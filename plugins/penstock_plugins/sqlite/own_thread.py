"""A thread that does one job after another for a trio program, and owns what only it may touch.

Why not `trio.to_thread`: its threads come and go, and one job costs twice as much. Not here: what the jobs do.

A job that has not begun when its caller leaves, or loses patience, is never begun: both try to take one lock, and who
gets it decides. One that has begun is carried through, whoever still waits for it.

The two wake each other by a byte through a pair of sockets and find in a deque what is meant: a queue with its locks
and `TrioToken.run_sync_soon` took 50 us of CPU for every job, this takes 25. One of those who wait listens for all.
"""

from __future__ import annotations

import socket
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Generic, TypeAlias, TypeVar, cast

import trio

__all__ = ["Begin", "OwnThread", "StuckError"]

R = TypeVar("R")
Begin: TypeAlias = Callable[[], bool]
"""Asked by a job when it can still turn back: False says that nobody wants it any more."""


class StuckError(Exception):
    """The thread did not get through with the job in time. `begun`: nobody knows what becomes of it."""

    def __init__(self, *, begun: bool) -> None:
        super().__init__("begun" if begun else "not begun")
        self.begun = begun


class _Job(Generic[R]):
    """One thing to do. `finished` is set by the trio program alone."""

    __slots__ = ("_act", "_error", "_lock", "_result", "finished")

    def __init__(self, act: Callable[[Begin], R]) -> None:
        self._act = act
        self._lock = threading.Lock()
        self._result: R | None = None
        self._error: BaseException | None = None
        self.finished = False

    def begin(self) -> bool:
        """True for the first who asks."""
        return self._lock.acquire(blocking=False)

    def carry_out(self) -> None:
        """In the thread."""
        if self._lock.locked():
            return
        try:
            self._result = self._act(self.begin)
        except BaseException as error:  # noqa: BLE001 - it is raised where the job was asked for
            self._error = error

    def outcome(self) -> R:
        """What it came to."""
        error, self._error = self._error, None
        if error is not None:
            try:
                raise error
            finally:
                del error  # its traceback holds this frame: together they would wait for the collector
        return cast("R", self._result)


class OwnThread:
    """Starts with its first job, inside a running trio program. Jobs are done in the order in which they are asked for.

    `rest` is called in the thread after each job, when its caller has been told, and once more when nothing was asked
    for `pause` seconds; it never raises. What the thread owns it lets go of in the last job, which `close` is given.
    """

    def __init__(self, name: str, *, rest: Callable[[bool], None] = lambda _: None, pause: float = 1.0) -> None:
        self._name = name
        self._rest = rest
        self._pause = pause
        # No bound is needed: who asks waits, and who leaves takes along what has not begun.
        self._jobs: deque[_Job[Any] | None] = deque()
        self._done: deque[_Job[Any]] = deque()
        self._ear: socket.socket | None = None
        """The program's end of the pair; never blocks."""
        self._listens = False
        """One of the tasks does."""
        self._waiting: dict[_Job[Any], trio.lowlevel.Task] = {}
        """The others, until their job is finished, or they are to listen."""

    async def ask(self, act: Callable[[Begin], R]) -> R:
        """What `act` returns or raises. `act` asks its `Begin` before it does what cannot be undone."""
        job = _Job(act)
        self._put(job)
        try:
            await self._finished(job)
        except BaseException:
            self._give_up(job)
            raise
        return job.outcome()

    async def ask_within(self, patience: float, act: Callable[[Begin], R]) -> R:
        """The same, with `patience` seconds for what was asked before and for this.

        Raises StuckError after so long for what has not begun, after twice as long for what has.
        """
        job = _Job(act)
        self._put(job)
        try:
            with trio.CancelScope(deadline=trio.current_time() + patience):
                await self._finished(job)
            has_begun = job.finished or not self._give_up(job)
            if has_begun and not job.finished:
                with trio.move_on_after(patience):
                    await self._finished(job)
        except BaseException:
            self._give_up(job)
            raise
        if not job.finished:
            raise StuckError(begun=has_begun)
        return job.outcome()

    async def close(self, last: Callable[[], None]) -> None:
        """Ends the thread when it is through with what waits; then `last` is done, in any case.

        Cancelled, it does not wait for that; who still waits for a job then gets ClosedResourceError. A thread that is
        stuck does not keep the process alive.
        """
        if self._ear is None:
            return
        job = _Job(lambda _: last())
        self._put(job)
        self._put(None)
        try:
            await self._finished(job)
        finally:
            trio.lowlevel.notify_closing(self._ear)
            self._ear.close()

    def _put(self, job: _Job[Any] | None) -> None:
        if self._ear is None:
            self._ear, thread_end = socket.socketpair()
            self._ear.setblocking(False)
            token = trio.lowlevel.current_trio_token()
            # A daemon: where a disk hangs for good, the process must still be able to end.
            threading.Thread(target=self._live, args=(thread_end, token), name=self._name, daemon=True).start()
        _check_open(self._ear)
        self._jobs.append(job)
        try:
            self._ear.send(b"j")
        except BlockingIOError:
            return  # it is full of bytes: the thread will look anyway

    def _give_up(self, job: _Job[Any]) -> bool:
        """False where it has begun."""
        if not job.begin():
            return False
        with suppress(ValueError):  # the thread has it already, and passes it over
            self._jobs.remove(job)
        return True

    async def _finished(self, job: _Job[Any]) -> None:
        while not job.finished:
            if self._listens:
                await self._wait(job)
            else:
                await self._listen(job)

    async def _wait(self, job: _Job[Any]) -> None:
        def leave(_: object) -> trio.lowlevel.Abort:
            del self._waiting[job]
            return trio.lowlevel.Abort.SUCCEEDED

        self._waiting[job] = trio.lowlevel.current_task()
        await trio.lowlevel.wait_task_rescheduled(leave)

    async def _listen(self, job: _Job[Any]) -> None:
        """For all who wait, until its own is finished: then another one does."""
        assert self._ear is not None
        self._listens = True
        try:
            _check_open(self._ear)
            while not job.finished:
                await trio.lowlevel.wait_readable(self._ear)
                self._hear(self._ear)
        finally:
            self._listens = False
            if self._waiting:
                self._rouse(next(iter(self._waiting)))

    def _hear(self, ear: socket.socket) -> None:
        ear.recv(4_096)
        while self._done:
            job = self._done.popleft()
            job.finished = True
            if self._waiting:
                self._rouse(job)

    def _rouse(self, job: _Job[Any]) -> None:
        task = self._waiting.pop(job, None)
        if task is not None:
            trio.lowlevel.reschedule(task)

    # In the thread

    def _live(self, end: socket.socket, token: trio.lowlevel.TrioToken) -> None:
        with end:
            end.settimeout(self._pause)
            while self._is_called(end, token):
                try:
                    job = self._jobs.popleft()
                except IndexError:
                    continue  # who asked for it has left
                if job is None:
                    return
                self._do(job, end)

    def _do(self, job: _Job[Any], end: socket.socket) -> None:
        job.carry_out()
        self._done.append(job)
        with suppress(OSError):  # full of bytes: the program will look anyway; or closed: nobody waits any more
            end.send(b"d")
        self._rest(False)

    def _is_called(self, end: socket.socket, token: trio.lowlevel.TrioToken) -> bool:
        """Waits until there is something to do. False where there will be nothing any more."""
        while not self._jobs:
            try:
                heard = end.recv(4_096)
            except TimeoutError:
                self._rest(True)
                heard = self._call_after_the_pause(end, token)
            except OSError:
                heard = b""
            if not heard:
                break
        return bool(self._jobs)

    def _call_after_the_pause(self, end: socket.socket, token: trio.lowlevel.TrioToken) -> bytes:
        try:
            token.run_sync_soon(_nothing)
        except trio.RunFinishedError:
            # The program is over, and did not close this.
            assert self._ear is not None
            self._ear.close()
            return b""
        end.settimeout(None)
        try:
            return end.recv(4_096)
        except OSError:
            return b""
        finally:
            end.settimeout(self._pause)


def _check_open(ear: socket.socket) -> None:
    if ear.fileno() < 0:
        raise trio.ClosedResourceError


def _nothing() -> None:
    """What a program is asked to do that may be over."""
