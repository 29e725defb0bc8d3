"""A thread that does one job after another for a trio program, and owns what only it may touch.

Why not `trio.to_thread`: its threads come and go, and one job costs twice as much. Not here: what the jobs do.

A job that has not begun when its caller leaves, or loses patience, is never begun: both try to take one lock, and who
gets it decides. One that has begun is carried through, whoever still waits for it.

The two wake each other by a byte through a pair of sockets and find in a deque what is meant: a queue with its locks
and `TrioToken.run_sync_soon` took 50 us of CPU for every job, this takes 22. One of those who wait listens for all, and
one task watches over everybody's patience.
"""

from __future__ import annotations

import math
import socket
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Generic, TypeAlias, TypeVar, cast

import trio

from penstock_plugins.sqlite.watch import Watch

__all__ = ["Begin", "OwnThread", "StuckError"]

R = TypeVar("R")
HEARD = 256
"""Bytes that are taken at once, one of each job; those that are left only make it look once more."""
Begin: TypeAlias = Callable[[], bool]
"""Asked by a job when it can still turn back: False says that nobody wants it any more."""


class StuckError(Exception):
    """The thread did not get through with the job in time. `begun`: nobody knows what becomes of it. `resting`: the
    thread has not come to it yet, as it is not through with its `rest`.
    """

    def __init__(self, *, begun: bool, resting: bool = False) -> None:
        super().__init__("begun" if begun else "not begun")
        self.begun = begun
        self.resting = resting


class _Job(Generic[R]):
    """One thing to do. `finished`, `stuck` and `patience` are set by the trio program alone."""

    __slots__ = ("_act", "_error", "_lock", "_result", "finished", "patience", "stuck")

    def __init__(self, act: Callable[[Begin], R]) -> None:
        self._act = act
        self._lock = threading.Lock()
        self._result: R | None = None
        self._error: BaseException | None = None
        self.finished = False
        self.stuck: StuckError | None = None
        self.patience = 0.0
        """For how many more seconds it is waited for, once it has begun and the first are over."""

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
        error, self._error = self.stuck or self._error, None
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
        self._mouth: socket.socket | None = None
        """The thread's end, to speak by alone; never blocks either."""
        self._sleeps = False
        """The thread does, or is about to: it looks for jobs once more after it said so."""
        self._rests = False
        """The thread does."""
        self._listens = False
        """One of the tasks does."""
        self._waiting: dict[_Job[Any], trio.lowlevel.Task] = {}
        """The others, until their job is finished, or they are to listen."""
        self._watch = Watch(self._lose_patience)

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

        Raises StuckError after so long for what has not begun, after twice as long for what has: where `keep_watch`
        runs.
        """
        job = _Job(act)
        self._put(job)
        job.patience = patience
        self._watch.begin(job, trio.current_time() + patience)
        try:
            await self._finished(job)
        except BaseException:
            self._give_up(job)
            raise
        finally:
            self._watch.end(job)
        return job.outcome()

    async def keep_watch(self) -> None:
        """Looks after everybody's patience until this is closed: a task for the scope in which it is open."""
        await self._watch.keep()

    async def close(self, last: Callable[[], None]) -> None:
        """Ends the thread when it is through with what waits; then `last` is done, in any case.

        Cancelled, it does not wait for that; who still waits for a job then gets ClosedResourceError. A thread that is
        stuck does not keep the process alive.
        """
        try:
            if self._ear is not None:
                await self._end(self._ear, last)
        finally:
            self._watch.stop()

    def leave(self) -> None:
        """In the place of `close` in a fork of the process, where the thread does not live on: it is left alone."""
        self._watch.stop()

    async def _end(self, ear: socket.socket, last: Callable[[], None]) -> None:
        job = _Job(lambda _: last())
        self._put(job)
        self._put(None)
        try:
            await self._finished(job)
        finally:
            trio.lowlevel.notify_closing(ear)
            ear.close()

    @property
    def _is_closed(self) -> bool:
        return self._ear is not None and self._ear.fileno() < 0

    def _check_open(self) -> None:
        if self._is_closed:
            raise trio.ClosedResourceError

    def _put(self, job: _Job[Any] | None) -> None:
        if self._ear is None:
            self._ear, thread_end = socket.socketpair()
            self._mouth = thread_end.dup()
            for end in (self._ear, self._mouth):
                end.setblocking(False)
            token = trio.lowlevel.current_trio_token()
            # A daemon: where a disk hangs for good, the process must still be able to end.
            threading.Thread(target=self._live, args=(thread_end, token), name=self._name, daemon=True).start()
        self._check_open()
        self._jobs.append(job)
        if self._sleeps:
            self._sleeps = False
            self._ear.send(b"j")

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
            self._check_open()
            while not job.finished:
                await trio.lowlevel.wait_readable(self._ear)
                self._hear(self._ear)
        finally:
            self._listens = False
            if self._waiting:
                self._rouse(next(iter(self._waiting)))

    def _hear(self, ear: socket.socket) -> None:
        ear.recv(HEARD)
        while self._done:
            job = self._done.popleft()
            job.finished = True
            if self._waiting:
                self._rouse(job)

    def _lose_patience(self, job: _Job[Any]) -> float:
        """Who waits for it hears that it is stuck, as if the thread had said so; later, where it has begun."""
        if job.finished:
            return math.inf
        has_begun = not self._give_up(job)
        if has_begun and job.patience:
            more, job.patience = job.patience, 0.0
            return trio.current_time() + more
        job.stuck = StuckError(begun=has_begun, resting=self._rests and not has_begun)
        self._tell(job)
        return math.inf

    def _tell(self, job: _Job[Any]) -> None:
        """By the thread, or in its place."""
        self._done.append(job)
        assert self._mouth is not None
        try:  # noqa: SIM105 - `suppress` takes a microsecond, with every job
            self._mouth.send(b"d")
        except OSError:
            pass  # full of bytes: the program will look anyway; or closed: nobody waits any more

    def _rouse(self, job: _Job[Any]) -> None:
        task = self._waiting.pop(job, None)
        if task is not None:
            trio.lowlevel.reschedule(task)

    # In the thread

    def _live(self, end: socket.socket, token: trio.lowlevel.TrioToken) -> None:
        assert self._mouth is not None
        with end, self._mouth:
            end.settimeout(self._pause)
            while self._is_called(end, token):
                try:
                    job = self._jobs.popleft()
                except IndexError:
                    continue  # who asked for it has left
                if job is None:
                    return
                job.carry_out()
                self._tell(job)
                self._take_rest(idle=False)

    def _is_called(self, end: socket.socket, token: trio.lowlevel.TrioToken) -> bool:
        """Waits until there is something to do. False where there will be nothing any more."""
        while not self._jobs:
            self._sleeps = True
            if self._jobs:
                break
            try:
                heard = end.recv(HEARD)
            except TimeoutError:
                self._take_rest(idle=True)
                heard = self._call_after_the_pause(end, token)
            except OSError:
                heard = b""
            if not heard:
                break
        return bool(self._jobs)

    def _take_rest(self, *, idle: bool) -> None:
        self._rests = True
        self._rest(idle)
        self._rests = False

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
            return end.recv(HEARD)
        except OSError:
            return b""
        finally:
            end.settimeout(self._pause)


def _nothing() -> None:
    """What a program is asked to do that may be over."""
