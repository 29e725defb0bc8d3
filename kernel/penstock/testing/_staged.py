"""A kernel on a stage: opened from a user's configuration, with something else in place of its providers.

No key, no network, and where the clock is virtual no time either. Not here: what plays the providers (`_answering`,
`penstock_plugins.rehearsal.chaos`).
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from importlib import import_module
from types import TracebackType
from typing import Concatenate, Literal, ParamSpec, TypeVar

import httpx
import trio
from trio.testing import MockClock

from penstock._clock import MOCK_WALL_ANCHOR, Clock
from penstock._config import Config
from penstock._front import Kernel
from penstock._kernel import OpenKernel, open_kernel
from penstock.errors import KernelError

__all__ = ["StagedKernel"]

P = ParamSpec("P")
T = TypeVar("T")

BEGINNING = 1_767_268_800.0
"""Unix time at which every virtual run begins: noon of 1 January 2026, UTC, far from the end of any day or month."""


class StagedKernel:
    """Opened once, by `run` or by `async with`. Its parts serve an app that opens its kernel by itself:

    `open_kernel(staged.config, transport=staged.transport, plugins=staged.plugins)`.
    """

    def __init__(
        self, config: Config, transport: httpx.AsyncBaseTransport, plugins: Sequence[object], *, seed: int
    ) -> None:
        self.config = config
        """What was given, with an invented key for each provider."""
        self.transport = transport
        self.plugins = tuple(plugins)
        self.seed = seed
        self.seconds = 0.0
        """How long the body took: virtual seconds under a virtual clock."""
        self._clock: Clock | None = None
        self._began: float | None = None
        self._opened: OpenKernel | None = None
        self._settings = ExitStack()

    def run(self, app: Callable[Concatenate[Kernel, P], Awaitable[T]], /, *args: P.args, **keywords: P.kwargs) -> T:
        """What `await app(kernel, ...)` returns, in a loop of its own whose clock jumps over every wait.

        An app that waits for something outside the loop (a thread, a process, a socket of its own) needs a real clock:
        there, use `async with`. Raises what the app raises, and what `check` raises.
        """
        if trio.lowlevel.in_trio_run():
            raise KernelError("run() starts a loop, and there is one already: use `async with` in a test that is async")

        async def main() -> T:
            async with self as kernel:
                return await app(kernel, *args, **keywords)

        return trio.run(main, clock=MockClock(autojump_threshold=0))

    def check(self) -> None:
        """Raises what a test must hear of, whatever the app made of it. Called at the end of `run` and of the block."""

    def wall(self) -> float:
        """Unix time by the clock that the kernel has."""
        if self._clock is None:
            self._clock = Clock()
        return self._clock.wall()

    async def __aenter__(self) -> Kernel:
        if self._opened is not None:
            raise KernelError("a staged kernel is opened once; make another")
        self._opened = open_kernel(self.config, transport=self.transport, plugins=self.plugins)
        self._settings.enter_context(_repeatable(self.seed))
        try:
            kernel = await self._opened.__aenter__()
        except BaseException:
            self._settings.close()
            raise
        self._began = trio.current_time()
        return kernel

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> Literal[False]:
        assert self._opened is not None
        assert self._began is not None
        self.seconds = trio.current_time() - self._began
        try:
            await self._opened.__aexit__(kind, error, traceback)
        finally:
            self._settings.close()
        # A cancellation or Ctrl-C goes on its way; any other failure may have come of what the check tells.
        if error is None or isinstance(error, Exception):
            self.check()
        return False


@contextmanager
def _repeatable(seed: int) -> Generator[None]:
    """The same chances, the same order of tasks and, under a mock clock, the same date, for the length of the block."""
    # Trio shuffles the tasks that are ready, and sorts them first where this flag stands: Hypothesis and pytest-trio
    # use the same two names. In a version that has others the order of concurrent tasks is not repeated.
    scheduler = import_module("trio._core._run")
    flag = "_ALLOW_DETERMINISTIC_SCHEDULING"
    shuffler: object = getattr(scheduler, "_r", None)
    sorts: object = getattr(scheduler, flag, None)
    chances = random.getstate()
    anchor = MOCK_WALL_ANCHOR.set(BEGINNING)
    random.seed(seed)
    try:
        if not isinstance(shuffler, random.Random):
            yield
            return
        order = shuffler.getstate()
        shuffler.seed(seed)
        setattr(scheduler, flag, True)
        try:
            yield
        finally:
            shuffler.setstate(order)
            setattr(scheduler, flag, sorts)
    finally:
        random.setstate(chances)
        MOCK_WALL_ANCHOR.reset(anchor)
