"""A thread that does one job after another for a trio program, and owns what only it may touch.

Why not `trio.to_thread`: its threads come and go, and one job costs a third more. Not here: what the jobs do.

A job that has not begun when its caller leaves, or loses patience, is never begun: both try to take one lock, and who
gets it decides. One that has begun is carried through, whoever still waits for it.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Generic, TypeAlias, TypeVar, cast

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
    """One thing to do. All but `act` and `begin` is touched by the trio program alone."""

    __slots__ = ("_act", "_lock", "_task", "error", "finished", "result")

    def __init__(self, act: Callable[[Begin], R]) -> None:
        self._act = act
        self._lock = threading.Lock()
        self._task: trio.lowlevel.Task | None = None
        self.finished = False
        self.result: R | None = None
        self.error: BaseException | None = None

    def begin(self) -> bool:
        """True for the first who asks."""
        return self._lock.acquire(blocking=False)

    def carry_out(self) -> None:
        """In the thread."""
        if self._lock.locked():
            return
        try:
            self.result = self._act(self.begin)
        except BaseException as error:  # noqa: BLE001 - it is raised where the job was asked for
            self.error = error

    def finish(self) -> None:
        """Wakes who waits for it."""
        self.finished = True
        if self._task is not None:
            trio.lowlevel.reschedule(self._task)
            self._task = None

    async def wait(self) -> None:
        """Until it is finished."""
        if self.finished:
            return
        self._task = trio.lowlevel.current_task()

        def leave(_: object) -> trio.lowlevel.Abort:
            self._task = None
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(leave)


class OwnThread:
    """Starts with its first job, inside a running trio program. One task asks at a time.

    `rest` is called in the thread after each job, when its caller has been told, and once more when nothing was asked
    for `pause` seconds; it never raises. What the thread owns it lets go of in the last job, which `close` is given.
    """

    def __init__(self, name: str, *, rest: Callable[[bool], None], pause: float) -> None:
        self._name = name
        self._rest = rest
        self._pause = pause
        # No bound is needed: a job is put in when the one before is finished, and then the last one.
        self._jobs: queue.SimpleQueue[_Job[object] | None] = queue.SimpleQueue()
        self._token: trio.lowlevel.TrioToken | None = None
        self._unfinished: _Job[object] | None = None

    async def ask(self, act: Callable[[Begin], R], *, patience: float) -> R:
        """What `act` returns or raises. `act` asks its `Begin` before it does what cannot be undone.

        Waits for the job before, should its caller have left, and for this one, `patience` seconds each way: raises
        StuckError after so long for one that has not begun, after twice as long for one that has.
        """
        job = _Job(act)
        try:
            with trio.CancelScope(deadline=trio.current_time() + patience):
                if self._unfinished is not None:
                    await self._unfinished.wait()
                self._put(cast("_Job[object]", job))
                await job.wait()
            has_begun = job.finished or not job.begin()
            if has_begun and not job.finished:
                with trio.move_on_after(patience):
                    await job.wait()
        except BaseException:
            job.begin()
            raise
        if not job.finished:
            raise StuckError(begun=has_begun)
        if job.error is not None:
            raise job.error
        return cast("R", job.result)

    async def close(self, last: Callable[[], None], *, patience: float) -> bool:
        """Ends the thread when it is through with what it has begun. False where that takes longer than `patience`.

        Cannot be cancelled. A thread that is stuck does not keep the process alive; it ends when it can.
        """
        if self._token is None:
            return True
        job = cast("_Job[object]", _Job(lambda _: last()))
        self._jobs.put(job)
        self._jobs.put(None)
        with trio.move_on_after(patience, shield=True):
            await job.wait()
        return job.finished

    def _put(self, job: _Job[object]) -> None:
        if self._token is None:
            self._token = trio.lowlevel.current_trio_token()
            threading.Thread(target=self._run, args=(self._token,), name=self._name, daemon=True).start()
        self._unfinished = job
        self._jobs.put(job)

    def _run(self, token: trio.lowlevel.TrioToken) -> None:
        over = False
        while (job := self._next(over=over)) is not None:
            job.carry_out()
            try:
                token.run_sync_soon(job.finish)
            except trio.RunFinishedError:
                # The program is over. What it left to do is done all the same, its `close` above all.
                over = True
            self._rest(False)

    def _next(self, *, over: bool) -> _Job[object] | None:
        try:
            return self._jobs.get(timeout=0 if over else self._pause)
        except queue.Empty:
            self._rest(True)
        return None if over else self._jobs.get()
